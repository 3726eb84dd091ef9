/* The loss core for other people's compiled code: a table of functions in a capsule.
 *
 *   const struct fastsoftmax_api *api = fastsoftmax_import();      once, holding the GIL
 *   if (!api) return NULL;                                          an ImportError is set
 *   api->cross_entropy(...)                                         from any thread, with or without the GIL
 *
 * The functions take pointers, sizes, strides and flags, hold no Python object and need neither OpenMP nor a
 * BLAS library. They check nothing: shapes must fit, labels be classes, rows not overlap but for an
 * output that is exactly its input. Row strides are in elements; the elements of a row are contiguous.
 * They compute in the default floating-point state, and restore the caller's.
 * A later version of the table only adds to the end of this one.
 *
 * Notation: z is a row of logits, lse(z) = log(sum over k of exp(z_k)), p = exp(z - lse(z)).
 */
#ifndef FASTSOFTMAX_H
#define FASTSOFTMAX_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#define FASTSOFTMAX_API_VERSION 1

enum fastsoftmax_type { FASTSOFTMAX_FLOAT32 = 0, FASTSOFTMAX_FLOAT64 = 1 };

/* What the targets t of a row count: u_k = row * class_k * ((1 - smoothing) * t_k + smoothing / n_classes). */
struct fastsoftmax_weights {
    const double *rows;  /* (n_rows), or NULL for ones; a row of weight 0 is not looked at */
    const void *classes; /* (n_classes), of the logits' type, or NULL for ones */
    double smoothing;    /* from 0 to 1 */
};

struct fastsoftmax_api {
    int version; /* FASTSOFTMAX_API_VERSION of the library that made the table */

    /* out = p. Returns the first row without a softmax (a NaN or +inf in it, or nothing but -inf), or -1; what is
     * written to that row has no meaning. */
    ptrdiff_t (*softmax)(enum fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride,
                         size_t n_rows, size_t n_classes, void *out, ptrdiff_t out_stride,
                         int n_threads);

    /* out = z - lse(z). Returns as softmax does. */
    ptrdiff_t (*log_softmax)(enum fastsoftmax_type type, const void *logits,
                             ptrdiff_t logits_stride, size_t n_rows, size_t n_classes, void *out,
                             ptrdiff_t out_stride, int n_threads);

    /* out[i] = lse of row i, (n_rows) of the logits' type: NaN for a row with a NaN, else +inf for one with
     * +inf, -inf for one of nothing but -inf. */
    void (*logsumexp)(enum fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride,
                      size_t n_rows, size_t n_classes, void *out, int n_threads);

    /* losses[i] = sum over k of u_k * (lse(z) - z_k), dlogits[i] = scale * (sum(u) * p - u).
     * Either labels (n_rows) or probabilities (n_rows, n_classes), contiguous and of the logits' type, the
     * other NULL. weights may be NULL: then u = t. dlogits may be NULL, or logits with the same stride.
     * Returns the first row whose loss is NaN, or -1. */
    ptrdiff_t (*cross_entropy)(enum fastsoftmax_type type, const void *logits,
                               ptrdiff_t logits_stride, size_t n_rows, size_t n_classes,
                               const int64_t *labels, const void *probabilities,
                               const struct fastsoftmax_weights *weights, double scale,
                               double *losses, void *dlogits, ptrdiff_t dlogits_stride,
                               int n_threads);
};

static inline const struct fastsoftmax_api *fastsoftmax_import(void) {
    const struct fastsoftmax_api *api =
        (const struct fastsoftmax_api *)PyCapsule_Import("fastsoftmax.C_API", 0);
    if (api && api->version < FASTSOFTMAX_API_VERSION) {
        PyErr_Format(PyExc_ImportError,
                     "fastsoftmax: this was compiled for version %d of its C API, and version %d is "
                     "installed",
                     FASTSOFTMAX_API_VERSION, api->version);
        return NULL;
    }
    return api;
}

#endif
