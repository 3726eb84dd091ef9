/* The table of all kernels of an instruction set and type, and its kernels on dense rows. This file and each
 * kernels_*.c is a translation unit, compiled once for every instruction set and type: after an edit of a header
 * those that include it. */
#include "kernels/subject_tables.h"

#include "kernels/convert.h"
#include "kernels/dot_tiles.h"
#include "kernels/sgd_update.h"
#include "kernels/step_short_rows.h"

const struct dense_kernels TABLE_OF(dense) = {
    .pack = pack,
    .unpack = unpack,
    .scores = scores,
    .outer_sum = outer_sum,
    .column_sums = column_sums,
    .penalty = penalty,
};

const struct input_kernels TABLE_OF(input) = {
    .convert = convert,
    .moments = moments,
};

const struct short_rows_kernels TABLE_OF(short_rows) = {
    .short_scores = short_scores,
    .short_gradient = short_gradient,
    .short_update = short_update,
};

const struct kernels TABLE_OF(kernels) = {
    .lanes = LANES,
    .element_size = sizeof(real),
    .loss = &TABLE_OF(loss),
    .dense = &TABLE_OF(dense),
    .input = &TABLE_OF(input),
    .panels = &TABLE_OF(panels),
    .short_rows = &TABLE_OF(short_rows),
    .two_classes = &TABLE_OF(two_classes),
    .packed = &TABLE_OF(packed),
    .sparse = &TABLE_OF(sparse),
    .peak = &TABLE_OF(peak),
};
