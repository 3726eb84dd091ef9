/* The step algorithms on packed weights, dense and sparse rows. */
#include "kernels/subject_tables.h"

#include "kernels/step_packed.h"
#include "kernels/step_sparse.h"

const struct packed_kernels TABLE_OF(packed) = {
    .pack_block = pack_block,
    .pack_slab = pack_slab,
    .unpack_block = unpack_block,
    .packed_scores = packed_scores,
    .pack_rows = pack_rows,
    .packed_update = packed_update,
    .packed_update_intercept = packed_update_intercept,
};

const struct sparse_kernels TABLE_OF(sparse) = {
    .sparse_pack = sparse_pack,
    .sparse_unpack = sparse_unpack,
    .sparse_catch_up = sparse_catch_up,
    .sparse_scores = sparse_scores,
    .sparse_products = sparse_products,
    .sparse_unpacked_scores = sparse_unpacked_scores,
    .sparse_update = sparse_update,
    .sparse_add_map = sparse_add_map,
    .sparse_update_velocity = sparse_update_velocity,
    .sparse_update_intercept = sparse_update_intercept,
};
