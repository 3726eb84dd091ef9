/* Rows of logits, and what measures the machine. */
#include "kernels/subject_tables.h"

#include "kernels/cross_entropy.h"
#include "kernels/logit_options.h"
#include "kernels/peak_throughput.h"
#include "kernels/softmax.h"
#include "kernels/two_classes.h"

const struct loss_kernels TABLE_OF(loss) = {
    .softmax = softmax,
    .log_softmax = log_softmax,
    .logsumexp = logsumexp,
    .cross_entropy = cross_entropy,
    .cross_entropy_with_options = cross_entropy_with_options,
};

const struct two_class_kernels TABLE_OF(two_classes) = {
    .row_dots = row_dots,
    .two_class_cross_entropy = two_class_cross_entropy,
};

const struct peak_kernels TABLE_OF(peak) = {
    .multiply_adds = multiply_adds,
    .read_memory = read_memory,
    .copy_memory = copy_memory,
};
