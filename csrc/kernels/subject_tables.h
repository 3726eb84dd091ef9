/* The names of the tables of this instruction set and type: loss_avx2_float32, kernels_avx2_float32. */
#ifndef FASTSOFTMAX_SUBJECT_TABLES_H
#define FASTSOFTMAX_SUBJECT_TABLES_H

#include "kernels/kernel_table.h"
#include "simd/simd.h"

#define JOIN(a, b, c) a##_##b##_##c
#define TABLE_NAME(subject, set, type) JOIN(subject, set, type)
#if defined(FASTSOFTMAX_FLOAT32)
#define TABLE_OF(subject) TABLE_NAME(subject, INSTRUCTION_SET, float32)
#else
#define TABLE_OF(subject) TABLE_NAME(subject, INSTRUCTION_SET, float64)
#endif

extern const struct loss_kernels TABLE_OF(loss);
extern const struct dense_kernels TABLE_OF(dense);
extern const struct input_kernels TABLE_OF(input);
extern const struct panels_kernels TABLE_OF(panels);
extern const struct short_rows_kernels TABLE_OF(short_rows);
extern const struct two_class_kernels TABLE_OF(two_classes);
extern const struct packed_kernels TABLE_OF(packed);
extern const struct sparse_kernels TABLE_OF(sparse);
extern const struct peak_kernels TABLE_OF(peak);
extern const struct kernels TABLE_OF(kernels);

#endif
