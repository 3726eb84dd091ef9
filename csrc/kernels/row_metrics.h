/* Metrics of a row besides its loss (struct row_metrics), from its logits z and from q of logit_options.h.
 *
 *   argmax = the first k with the largest z_k;   top_k_correct: fewer than top_k classes have z_k > z_y
 *   label_log_prob = log p_y = q_y - lse,   entropy = -sum over k of p_k * log p_k,   with p = softmax(q)
 *
 * Decisions:
 *   - Ranks are those of z: temperature and softcap keep the order, and a softcap may round two logits to one q.
 *   - entropy = log(1 + others / e_m) + (sum of e_k * (m - q_k)) / total, with others the sum of the terms but e_m:
 *     nothing is negative and nothing cancels, so the smallest entropy has all its digits. So has label_log_prob, by
 *     the formula of the loss.
 *   - The terms are those that lse is computed from: one pass of exponentials serves lse and both metrics.
 */
#ifndef FASTSOFTMAX_ROW_METRICS_H
#define FASTSOFTMAX_ROW_METRICS_H

#include "kernels/cross_entropy.h"

/* Return the first class with the largest logit of those that take part. */
static size_t first_largest(const real *z, size_t n, const uint8_t *mask) {
    if (!mask) return find_first(z, n, row_maximum(z, n));
    size_t found = n;
    for (size_t k = 0; k < n; ++k) {
        if (mask[k] && (found == n || z[k] > z[found])) found = k;
    }
    return found;
}

/* Return how many of the classes that take part have a larger logit. */
static size_t n_larger(const real *z, size_t n, const uint8_t *mask, real score) {
    size_t count = 0;
    if (mask) {
        for (size_t k = 0; k < n; ++k) count += (z[k] > score) & (mask[k] != 0);
        return count;
    }
    vec bound = broadcast(score), zero = broadcast(0), one = broadcast(1), counts = zero;
    for (size_t k = 0; k < n; k += LANES) {
        vec here = load_up_to(z + k, n - k, MINUS_INFINITY);
        counts = add(counts, select_less(bound, here, one, zero));
    }
    return (size_t)sum_lanes(counts);
}

/* Fill the metrics of row i that are those of its logits; mask may be NULL. */
static void fill_ranks(const struct row_metrics *metrics, size_t i, const real *z, size_t n,
                       const uint8_t *mask, size_t label) {
    if (metrics->argmax) metrics->argmax[i] = (int64_t)first_largest(z, n, mask);
    if (!metrics->top_k_correct) return;
    /* A label may have changed since it was validated. */
    metrics->top_k_correct[i] = label < n && n_larger(z, n, mask, z[label]) < metrics->top_k;
}

/* Return the metrics of the rows from `first` on. */
static struct row_metrics metrics_from(const struct row_metrics *metrics, size_t first) {
    struct row_metrics shifted = *metrics;
    if (shifted.argmax) shifted.argmax += first;
    if (shifted.top_k_correct) shifted.top_k_correct += first;
    if (shifted.label_log_prob) shifted.label_log_prob += first;
    if (shifted.entropy) shifted.entropy += first;
    return shifted;
}

/* Return the sum of the terms but that of a class; *error is what rounding has lost of it. */
static double sum_but(real *e, size_t n, size_t class, double *error) {
    real term = e[class];
    precise_sums s = zero_sums();
    e[class] = 0;
    for (size_t k = 0; k < n; k += LANES) s = add_terms(s, load_up_to(e + k, n - k, 0));
    e[class] = term;
    return fold_lanes(s, error);
}

/* Return the sum of e_k * (m - q_k), where classes without probability do not contribute. */
static double weighted_gaps(const real *q, size_t n, real m, const real *e) {
    vec largest = broadcast(m), zero = broadcast(0);
    precise_sums s = zero_sums();
    for (size_t k = 0; k < n; k += LANES) {
        vec term = load_up_to(e + k, n - k, 0), gap = sub(largest, load_up_to(q + k, n - k, 0));
        s = add_terms(s, select_less(zero, term, mul(term, gap), zero));
    }
    double error, sum = fold_lanes(s, &error);
    return sum + error;
}

/* Fill the metrics of row i that are those of its probabilities, out of its q and their terms e. */
static void fill_log_metrics(const struct row_metrics *metrics, size_t i, const real *q, size_t n,
                             size_t label, const struct row_shift *row, real *e) {
    double m = (double)row->largest, largest_term = row_term(row->largest, row), error;
    if (metrics->label_log_prob) {
        metrics->label_log_prob[i] = (double)NAN;
        if (label < n) {
            double others = sum_but(e, n, label, &error);
            metrics->label_log_prob[i] = 0 - log_loss(m, (double)q[label], others, error,
                                                      (double)e[label], largest_term);
        }
    }
    if (metrics->entropy) {
        double others = sum_but(e, n, find_first(q, n, row->largest), &error);
        metrics->entropy[i] = log_loss(0, 0, others, error, largest_term, largest_term) +
                              weighted_gaps(q, n, row->largest, e) / (others + largest_term);
    }
}

/* Set the metrics of a row that does not count. */
static void clear_metrics(const struct row_metrics *metrics, size_t i) {
    if (metrics->argmax) metrics->argmax[i] = -1;
    if (metrics->top_k_correct) metrics->top_k_correct[i] = 0;
    if (metrics->label_log_prob) metrics->label_log_prob[i] = 0;
    if (metrics->entropy) metrics->entropy[i] = 0;
}

#endif
