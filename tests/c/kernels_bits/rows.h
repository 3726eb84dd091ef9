/* Of test_kernels_bits.c: the functions of rows of logits, and the losses. */
#ifndef KERNELS_BITS_ROWS_H
#define KERNELS_BITS_ROWS_H

#include "inputs.h"

static void softmax_case(size_t n, size_t c, size_t number) {
    void *logits = logits_of(n, c, c), *out = number % 2 ? logits : stale(OUT, n * c);
    hash_word((uint64_t)kernels->loss->softmax(logits, n, c, out));
    hash_reals(out, n * c);
}

static void log_softmax_case(size_t n, size_t c, size_t number) {
    void *logits = logits_of(n, c, c), *out = number % 2 ? logits : stale(OUT, n * c);
    hash_word((uint64_t)kernels->loss->log_softmax(logits, n, c, out));
    hash_reals(out, n * c);
}

static void logsumexp_case(size_t n, size_t c, size_t number) {
    void *out = stale(OUT, n);
    (void)number;
    kernels->loss->logsumexp(logits_of(n, c, c), n, c, out);
    hash_reals(out, n);
}

/* Of rows, of classes, both, with label smoothing, or none at all: the bits of the number say. */
static const struct target_weights *weights_of(size_t n, size_t c, size_t number) {
    static struct target_weights weights;
    static double rows[64];
    for (size_t i = 0; i < n; ++i) rows[i] = below(4) ? (double)below(100) / 64 : 0;
    void *classes = uniforms(WEIGHTS, c);
    for (size_t k = 0; k < c; ++k) put(classes, k, below(5) ? (1 + uniform()) / 2 : 0);
    weights.rows = number & 1 ? rows : NULL;
    weights.classes = number & 2 ? classes : NULL;
    weights.smoothing = number & 4 ? 0.1 : 0;
    return number & 7 ? &weights : NULL;
}

/* Without a gradient, into an array of its own, and in place. */
static void cross_entropy_case(size_t n, size_t c, const int64_t *labels, const void *probabilities,
                               size_t number) {
    const struct target_weights *weights = weights_of(n, c, number / LENGTH(N_ROWS));
    struct targets_view targets = {labels, probabilities, weights, c};
    double *losses = array_of(LOSSES, n, sizeof *losses);
    for (size_t gradient = 0; gradient < 3; ++gradient) {
        size_t stride = c + gradient, out_stride = gradient == 1 ? c : stride;
        void *logits = logits_of(n, c, stride);
        void *dlogits = (void *[]){NULL, stale(OUT, n * c), logits}[gradient];
        hash_word((uint64_t)kernels->loss->cross_entropy(
            logits, stride, n, &targets, 1.0 / (double)n, losses, dlogits, out_stride));
        for (size_t i = 0; i < n; ++i) hash_double(losses[i]);
        if (dlogits) hash_reals(dlogits, n * out_stride);
    }
}

static void cross_entropy_of_labels_case(size_t n, size_t c, size_t number) {
    cross_entropy_case(n, c, labels_of(n, c), NULL, number);
}

static void cross_entropy_of_probabilities_case(size_t n, size_t c, size_t number) {
    cross_entropy_case(n, c, NULL, probabilities_of(n, c), number);
}

/* Temperature, softcap, z_loss, a mask of all rows or of each, lse and metrics: the bits of the number say. Masked rows, and
 * labels of masked classes, are among them. */
static void logit_options_case(size_t n, size_t c, size_t number) {
    size_t bits = number / LENGTH(N_ROWS), width = c > 16 * MAX_TRANSPOSED_CLASSES ? c : 512;
    const struct target_weights *weights = weights_of(n, c, bits / 4);
    struct targets_view targets = {labels_of(n, c), NULL, weights, c};
    if (number & 1) {
        targets.labels = NULL;
        targets.probabilities = probabilities_of(n, c);
    }
    double *losses = array_of(LOSSES, 5 * n, sizeof *losses), *lse = losses + n,
           *upstream = lse + n, *label_log_prob = upstream + n, *entropy = label_log_prob + n;
    uint8_t *mask = array_of(INTERCEPT, n * c, 1);
    int64_t *argmax = array_of(DATA, n, sizeof *argmax);
    uint8_t *top_k_correct = array_of(VELOCITY, n, 1);
    for (size_t k = 0; k < n * c; ++k) mask[k] = below(4) != 0;
    for (size_t gradient = 0; gradient < 3; ++gradient) {
        struct logit_options options = {1.0 / (double)n,
                                        bits & 1 ? 1 : 0.7,
                                        bits & 2 ? 0 : 3.5,
                                        bits & 4 ? 0 : 0.01,
                                        number & 2 ? mask : NULL,
                                        number & 4 ? c : 0,
                                        bits & 8 ? upstream : NULL,
                                        bits & 16 ? lse : NULL,
                                        stale(PRODUCTS, 4 * width),
                                        width,
                                        {0}};
        /* Each of the metrics with some of the cases, and none with others. */
        size_t metrics = number * 3 + gradient;
        if (metrics & 1) options.metrics.argmax = argmax;
        if (metrics & 2 && targets.labels) options.metrics.top_k_correct = top_k_correct;
        if (metrics & 4 && targets.labels) options.metrics.label_log_prob = label_log_prob;
        if (metrics & 8) options.metrics.entropy = entropy;
        options.metrics.top_k = 1 + number % 3;
        size_t stride = c + gradient, out_stride = gradient == 1 ? c : stride;
        for (size_t i = 0; i < n; ++i) upstream[i] = uniform();
        for (size_t i = 0; i < n; ++i) lse[i] = 0;
        void *logits = logits_of(n, c, stride);
        void *dlogits = (void *[]){NULL, stale(OUT, n * c), logits}[gradient];
        hash_word((uint64_t)kernels->loss->cross_entropy_with_options(
            logits, stride, n, &targets, &options, losses, dlogits, out_stride));
        for (size_t i = 0; i < 2 * n; ++i) hash_double(losses[i]);
        for (size_t i = 0; i < n; ++i) {
            if (options.metrics.argmax) hash_word((uint64_t)argmax[i]);
            if (options.metrics.top_k_correct) hash_word(top_k_correct[i]);
            if (options.metrics.label_log_prob) hash_double(label_log_prob[i]);
            if (options.metrics.entropy) hash_double(entropy[i]);
        }
        if (dlogits) hash_reals(dlogits, n * out_stride);
    }
}

#endif
