"""What the Cython core uses of csrc/; each function is described in its header there."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "runtime/platform.h" nogil:
    enum:
        CACHE_LINE
    void *platform_allocate(size_t n_bytes)
    void platform_free(void *memory)
    void platform_guard(void *gap)
    void platform_fetch(const void *memory, size_t n_bytes)


cdef extern from "runtime/system.h" nogil:
    double platform_seconds()
    size_t platform_cache_bytes()
    uint64_t platform_nanoseconds()


cdef extern from "runtime/float_state.h" nogil:
    struct float_state:
        pass
    float_state float_state_enter()
    void float_state_leave(const float_state *caller)


cdef extern from "kernels/tuning.h" nogil:
    enum:
        CACHES_OF_ROWS
        CACHE_PERCENT
        CHUNKS_PER_THREAD
        CLASSES_PER_PASS
        DEFAULT_CACHE_BYTES
        FEW_CLASSES
        FEATURES_PER_SUM
        GRADIENT_FEATURES
        LOSS_ROWS_PER_BLOCK
        MAX_CATCH_UP_STEPS
        MAX_CHUNKS
        MAX_LOSSES_ON_STACK
        MAX_MOMENTS
        MAX_MOMENT_CHUNKS
        MAX_PACKED_LOSS_ROWS
        PACKED_DLOGITS
        MAX_PANELS
        MAX_PASS_ROW_BYTES
        MAX_PREDICTED_BYTES
        MAX_ROWS_PER_SUM
        MAX_SAMPLE_CHUNKS
        MAX_SHORT_ROW_BYTES
        MAX_SUMMED_ROWS
        MAX_TRANSPOSED_CLASSES
        MIN_ELEMENTS_FOR_THREADS
        MIN_ELEMENTS_TO_RELEASE
        MIN_LOGITS_FOR_THREADS
        MIN_PRODUCTS_FOR_THREADS
        MIN_ROWS_PER_CHUNK
        MIN_ROWS_PER_MOMENT_CHUNK
        MIN_SUMMED_ROWS
        PACKED_LOGITS_BYTES
        PANEL_VECTORS
        PIECE_GAP
        PREDICTED_ROWS_PER_BLOCK
        PRODUCTS_OF_A_CHUNK
        PRODUCTS_OF_A_SAMPLE
        PRODUCTS_PER_CHUNK
        ROWS_AHEAD
        SAMPLES_AHEAD
        SAMPLES_PER_PASS
        SAMPLES_PER_SLAB
        SLABS_PER_TILE
        SPARSE_ROWS_AHEAD
        SPARSE_SLAB_VECTORS
        SUMMED_BYTES


cdef extern from "kernels/kernel_table.h" nogil:
    struct sgd_rule:
        double rate, l2, l1, momentum
        int nesterov, subgradient
        ptrdiff_t to_sums, intercept_to_sums
        const void *negative_rates
        const void *twice_l2s
        const void *thresholds

    enum rows_ahead "ahead":
        SECOND_HALVES
        WHOLE_ROWS
        NO_ROWS

    enum input_dtype:
        INPUT_UINT8
        INPUT_FLOAT16
        INPUT_FLOAT32
        INPUT_REAL

    struct rows_to_fetch:
        const void **rows
        size_t n_rows, first, n_features

    struct sparse_row:
        const void *values
        const void *indices
        size_t n_values

    struct penalty_prefix:
        double scale, inverse_scale, shrinkage

    struct momentum_map:
        double ww, wv, vw, vv

    struct sparse_weights:
        void *start
        size_t n_features, n_classes
        int wide_indices
        const void *inverse_scale
        uint32_t *steps
        const penalty_prefix *prefixes
        size_t now
        void *velocity
        momentum_map *maps

    struct target_weights:
        const double *rows
        const void *classes
        double smoothing
        const double *upstream

    struct targets_view:
        const int64_t *labels
        const void *probabilities
        const target_weights *weights
        size_t n_classes

    struct row_metrics:
        int64_t *argmax
        uint8_t *top_k_correct
        double *label_log_prob
        double *entropy
        size_t top_k

    struct logit_options:
        double scale, temperature, softcap, z_loss
        const uint8_t *mask
        size_t mask_stride
        const double *lse_upstream
        double *lse
        void *scratch
        size_t scratch_width
        row_metrics metrics

    struct scaling_view:
        const void *mean
        const void *inverse_scale

    struct weights_view:
        const void *coef
        const void *intercept
        size_t stride, n_features, n_classes

    struct update_view:
        void *weights
        void *velocity
        size_t stride, n_classes
        double *squares
        double *magnitudes

    struct blocks_view:
        const void *start
        size_t stride, n_samples

    struct parts_view:
        const void *start
        size_t n_parts, stride

    struct matrix_view:
        const void *start
        size_t row_stride, column_stride, n_columns

    # In C each subject has a table of its own; here their kernels are members of one.
    struct kernel_table "kernels":
        size_t lanes, element_size
        ptrdiff_t (*softmax "loss->softmax")(
            const void *logits, size_t n_rows, size_t n_classes, void *out) noexcept nogil
        ptrdiff_t (*log_softmax "loss->log_softmax")(
            const void *logits, size_t n_rows, size_t n_classes, void *out) noexcept nogil
        void (*logsumexp "loss->logsumexp")(
            const void *logits, size_t n_rows, size_t n_classes, void *out) noexcept nogil
        ptrdiff_t (*cross_entropy "loss->cross_entropy")(
            const void *logits, size_t stride, size_t n_rows, const targets_view *targets,
            double scale, double *losses, void *dlogits, size_t dlogits_stride) noexcept nogil
        ptrdiff_t (*cross_entropy_with_options "loss->cross_entropy_with_options")(
            const void *logits, size_t stride, size_t n_rows, const targets_view *targets,
            const logit_options *options, double *losses, void *dlogits,
            size_t dlogits_stride) noexcept nogil
        void (*pack "dense->pack")(
            const void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride, size_t n_features,
            size_t n_classes, void *coef, size_t coef_stride) noexcept nogil
        void (*unpack "dense->unpack")(
            const void *coef, size_t coef_stride, size_t n_features, size_t n_classes, void *W,
            ptrdiff_t feature_stride, ptrdiff_t class_stride) noexcept nogil
        void (*scores "dense->scores")(
            const void **rows, size_t n_rows, const weights_view *weights, void *logits,
            size_t logits_stride) noexcept nogil
        void (*outer_sum "dense->outer_sum")(
            const void **rows, size_t n_rows, size_t first, size_t n_features,
            const matrix_view *g, int add_to_out, void *out, size_t out_stride) noexcept nogil
        void (*convert "input->convert")(
            const void **rows, size_t n_rows, input_dtype dtype, size_t first, size_t n_features,
            const scaling_view *scaling, void *out, size_t out_stride) noexcept nogil
        void (*moments "input->moments")(
            const void *rows, size_t stride, size_t n_rows, size_t n_features, input_dtype dtype,
            const double *origin, double *sums, double *squares) noexcept nogil
        void (*panel_scores "panels->panel_scores")(
            const void **rows, size_t n_rows, size_t first, size_t n_features, rows_ahead ahead,
            const weights_view *weights, void *scores) noexcept nogil
        void (*panel_cross_entropy "panels->panel_cross_entropy")(
            const parts_view *scores, size_t n_rows, const void *intercept,
            const targets_view *targets, double scale, double *losses,
            void *dlogits) noexcept nogil
        void (*training_cross_entropy "panels->training_cross_entropy")(
            const parts_view *scores, size_t n_rows, const void *intercept,
            const targets_view *targets, double scale, double *losses,
            void *dlogits) noexcept nogil
        void (*panel_update "panels->panel_update")(
            const void **rows, size_t n_rows, const rows_to_fetch *fetch, size_t first,
            size_t n_features, const void *dlogits, const sgd_rule *rule,
            const update_view *update) noexcept nogil
        void (*panel_update_intercept "panels->panel_update_intercept")(
            const void *dlogits, size_t n_rows, size_t n_classes, const sgd_rule *rule,
            void *intercept, void *velocity) noexcept nogil
        void (*column_sums "dense->column_sums")(
            const void *g, size_t stride, size_t n_rows, size_t n_columns, int add_to_out,
            void *out) noexcept nogil
        void (*short_scores "short_rows->short_scores")(
            const void **rows, size_t n_rows, size_t n_features, const void **next_rows,
            const void *strips, size_t n_classes, void *block) noexcept nogil
        void (*short_gradient "short_rows->short_gradient")(
            const void **rows, size_t n_rows, size_t n_features, const void *dlogits,
            size_t n_classes, int add_to_out, void *out) noexcept nogil
        void (*short_update "short_rows->short_update")(
            const parts_view *gradients, size_t n_features, const sgd_rule *rule,
            const update_view *update, void *intercept, void *intercept_velocity) noexcept nogil
        void (*row_dots "two_classes->row_dots")(
            const void **rows, size_t n_rows, size_t n_features, const void *weights,
            void *dots) noexcept nogil
        void (*two_class_cross_entropy "two_classes->two_class_cross_entropy")(
            void *differences, size_t n_rows, double offset, const int64_t *labels,
            const double *row_weights, double scale, double *losses) noexcept nogil
        void (*pack_block "packed->pack_block")(
            const void **rows, size_t n_rows, size_t n_features, void *block) noexcept nogil
        void (*unpack_block "packed->unpack_block")(
            const void *block, size_t n_rows, size_t n_features, void **rows) noexcept nogil
        void (*packed_scores "packed->packed_scores")(
            const blocks_view *samples, const weights_view *weights, int add_to_logits,
            void *logits, size_t logits_stride) noexcept nogil
        void (*pack_rows "packed->pack_rows")(
            const void *rows, size_t stride, size_t first_row, size_t n_rows, size_t n_columns,
            void *slabs, size_t slab_stride) noexcept nogil
        void (*packed_update "packed->packed_update")(
            const blocks_view *samples, size_t first, size_t n_features, const void *dlogits,
            const sgd_rule *rule, const update_view *update) noexcept nogil
        void (*pack_slab "packed->pack_slab")(
            const void *start, ptrdiff_t depth_stride, ptrdiff_t lane_stride, size_t depth,
            size_t n_lanes, void *slab) noexcept nogil
        void (*packed_update_intercept "packed->packed_update_intercept")(
            const void *dlogits, size_t n_samples, size_t n_classes, const sgd_rule *rule,
            void *intercept, void *velocity) noexcept nogil
        double (*multiply_adds "peak->multiply_adds")(size_t n_rounds, double *sink) noexcept nogil
        double (*read_memory "peak->read_memory")(const void *memory, size_t n) noexcept nogil
        void (*copy_memory "peak->copy_memory")(const void *source, size_t n, void *to) noexcept nogil
        void (*sparse_pack "sparse->sparse_pack")(
            const void *coef, const sparse_weights *weights, size_t slab) noexcept nogil
        void (*sparse_unpack "sparse->sparse_unpack")(
            const sparse_weights *weights, size_t slab, void *coef) noexcept nogil
        void (*sparse_catch_up "sparse->sparse_catch_up")(
            const sparse_weights *weights, size_t slab) noexcept nogil
        void (*sparse_scores "sparse->sparse_scores")(
            const sparse_row *rows, size_t n_rows, const sparse_weights *weights, size_t slab,
            const void *intercept, void *logits, size_t logits_stride) noexcept nogil
        void (*sparse_products "sparse->sparse_products")(
            const sparse_row *rows, size_t n_rows, const sparse_weights *weights, size_t slab,
            const void *intercept, void *logits, size_t logits_stride) noexcept nogil
        void (*sparse_unpacked_scores "sparse->sparse_unpacked_scores")(
            const sparse_row *rows, size_t n_rows, const void *coef, size_t n_features,
            size_t n_classes, const void *intercept, int wide_indices, void *logits) noexcept nogil
        void (*sparse_update "sparse->sparse_update")(
            const sparse_row *rows, size_t n_rows, const sparse_weights *weights, size_t slab,
            const void *dlogits, size_t dlogits_stride, double factor) noexcept nogil
        void (*sparse_add_map "sparse->sparse_add_map")(
            sparse_weights *weights, const momentum_map *map) noexcept nogil
        void (*sparse_update_velocity "sparse->sparse_update_velocity")(
            const sparse_row *rows, size_t n_rows, const sparse_weights *weights, size_t slab,
            const void *dlogits, size_t dlogits_stride, double factor) noexcept nogil
        void (*sparse_update_intercept "sparse->sparse_update_intercept")(
            const void *dlogits, size_t stride, size_t n_rows, size_t n_classes,
            const sgd_rule *rule, void *intercept, void *velocity) noexcept nogil
        double (*penalty "dense->penalty")(
            const void *weights, size_t n, double l2, double l1, void *gradient) noexcept nogil

    struct instruction_set_row "instruction_set":
        const char *name
        int (*is_supported)() noexcept nogil
        const kernel_table *float32
        const kernel_table *float64

    const instruction_set_row *rows_of_sets "instruction_sets"


cdef extern from "runtime/thread_pool.h" nogil:
    struct pool
    pool *pool_begin(int n_threads)
    int pool_threads(const pool *pool)
    int pool_thread_index()
    void pool_for(
        pool *pool, void (*function)(void *context, size_t chunk) noexcept nogil, void *context,
        size_t n_chunks)
    void pool_end(pool *pool)


cdef extern from "runtime/timers.h" nogil:
    enum phase_kind "phase":
        PHASE_CONVERT
        PHASE_SCORES
        PHASE_LOSS
        PHASE_UPDATE
        PHASE_WAIT
        N_PHASES

    struct phase_event:
        phase_kind phase
        uint64_t start, end

    struct phase_totals:
        uint64_t *nanoseconds
        uint64_t *calls
        const phase_event *events
        size_t n_events, n_dropped, n_helpers

    uint64_t phase_begin()
    uint64_t phase_next(phase_kind phase, uint64_t start)
    int phases_start(int with_events)
    void phases_stop()
    int phases_of_thread(size_t i, phase_totals *totals)
