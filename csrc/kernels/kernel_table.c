/* The translation unit of the kernels: all of them over the vector vocabulary (simd/simd.h). Compiled once
 * for every instruction set and type. */
#include "kernels/kernel_table.h"

#include "kernels/convert.h"
#include "kernels/cross_entropy.h"
#include "kernels/dot_tiles.h"
#include "kernels/sgd_update.h"
#include "kernels/step_packed.h"
#include "kernels/step_panels.h"
#include "kernels/peak_throughput.h"
#include "kernels/softmax.h"
#include "kernels/step_short_rows.h"
#include "kernels/step_sparse.h"

#define JOIN(a, b, c) a##b##_##c
#define TABLE_NAME(set, type) JOIN(kernels_, set, type)

#if defined(FASTSOFTMAX_FLOAT32)
#define TYPE float32
#else
#define TYPE float64
#endif

extern const struct kernels TABLE_NAME(INSTRUCTION_SET, TYPE);

const struct kernels TABLE_NAME(INSTRUCTION_SET, TYPE) = {
    .lanes = LANES,
    .element_size = sizeof(real),
    .softmax = softmax,
    .log_softmax = log_softmax,
    .logsumexp = logsumexp,
    .cross_entropy = cross_entropy,
    .pack = pack,
    .unpack = unpack,
    .scores = scores,
    .outer_sum = outer_sum,
    .convert = convert,
    .moments = moments,
    .panel_scores = panel_scores,
    .panel_cross_entropy = panel_cross_entropy,
    .panel_update = panel_update,
    .panel_update_intercept = panel_update_intercept,
    .short_scores = short_scores,
    .short_gradient = short_gradient,
    .short_update = short_update,
    .pack_block = pack_block,
    .pack_slab = pack_slab,
    .unpack_block = unpack_block,
    .packed_scores = packed_scores,
    .pack_dlogits = pack_dlogits,
    .packed_update = packed_update,
    .packed_gradient = packed_gradient,
    .packed_update_intercept = packed_update_intercept,
    .sparse_pack = sparse_pack,
    .sparse_unpack = sparse_unpack,
    .sparse_catch_up = sparse_catch_up,
    .sparse_scores = sparse_scores,
    .sparse_unpacked_scores = sparse_unpacked_scores,
    .sparse_update = sparse_update,
    .sparse_add_map = sparse_add_map,
    .sparse_update_velocity = sparse_update_velocity,
    .sparse_update_intercept = sparse_update_intercept,
    .column_sums = column_sums,
    .multiply_adds = multiply_adds,
    .read_memory = read_memory,
    .copy_memory = copy_memory,
    .penalty = penalty,
};
