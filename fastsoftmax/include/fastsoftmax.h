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
 * Versions: a later version of the table, and of a struct with a size, only adds to its end. What was compiled for an
 * older header runs with this library; for a newer one, fastsoftmax_import raises ImportError.
 *
 * Notation: z is a row of logits, lse(z) = log(sum over k of exp(z_k)), p = exp(z - lse(z)).
 */
#ifndef FASTSOFTMAX_H
#define FASTSOFTMAX_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#define FASTSOFTMAX_API_VERSION 2

#define FASTSOFTMAX_NO_MEMORY (-2)

enum fastsoftmax_type { FASTSOFTMAX_FLOAT32 = 0, FASTSOFTMAX_FLOAT64 = 1 };

/* What the targets t of a row count: u_k = row * class_k * ((1 - smoothing) * t_k + smoothing / n_classes). */
struct fastsoftmax_weights {
    const double *rows;  /* (n_rows), or NULL for ones; a row of weight 0 is not looked at */
    const void *classes; /* (n_classes), of the logits' type, or NULL for ones */
    double smoothing;    /* from 0 to 1 */
};

/* Since version 2. Options of the losses. Start from zeros and set the size: what is 0 or NULL is not asked for, and
 * neither is what a later version adds.
 *
 *   struct fastsoftmax_options options = {sizeof options};
 *   options.smoothing = 0.1; */
struct fastsoftmax_options {
    size_t size;               /* sizeof(struct fastsoftmax_options) */
    const double *row_weights; /* as fastsoftmax_weights.rows */
    const void *class_weights; /* as fastsoftmax_weights.classes */
    double smoothing;
    const double *upstream; /* (n_rows): factors of the gradients of rows, not of their losses */
    /* With q = softcap * tanh(z / temperature / softcap), or z / temperature, in place of z, and masked classes as if
     * they were not there, a row's loss is sum over k of u_k * (lse(q) - q_k + z_loss * lse(q)^2). */
    double temperature;   /* 0 stands for 1 */
    double softcap;       /* 0: none */
    double z_loss;        /* 0 or more */
    const uint8_t *mask;  /* (n_rows, n_classes), 0 where a class, never a label, takes no part; or NULL */
    size_t mask_stride;   /* of its rows; 0 where all rows have the same mask, (n_classes) */
    double *lse;          /* out, (n_rows): lse(q), 0 for rows without weight; or NULL */
    const double *lse_upstream; /* (n_rows): factors of the gradients of lse, to which scale is not applied; or NULL */
    /* Out, (n_rows), or NULL: metrics of each row; -1 and 0 for rows without weight. Those of a label need labels. */
    int64_t *argmax;        /* the first class with the largest z_k */
    uint8_t *top_k_correct; /* 1 where fewer than top_k classes have a larger z_k than the label, else 0 */
    double *label_log_prob; /* q_label - lse(q) */
    double *entropy;        /* of the probabilities exp(q - lse(q)), in nats */
    size_t top_k;
};

/* Since version 2. The rows X, the weights W and the labels of a linear classifier, whose logits are
 * z = x @ W + intercept; and where its loss and gradients go. Start from zeros and set the size, as of the options.
 * Numbers are of `type`, strides of W and dW in elements and of any sign, everything else contiguous. */
struct fastsoftmax_linear {
    size_t size; /* sizeof(struct fastsoftmax_linear) */
    enum fastsoftmax_type type;
    int n_threads;
    size_t n_rows, n_features, n_classes; /* n_classes at least 1 */
    const void *X;                        /* (n_rows, n_features), finite */
    const void *W;                        /* (n_features, n_classes), finite */
    ptrdiff_t W_feature_stride, W_class_stride;
    const void *intercept;     /* (n_classes): finite, or -inf for a masked class; or NULL */
    const int64_t *labels;     /* (n_rows), or NULL */
    const void *probabilities; /* (n_rows, n_classes), or NULL */
    double scale;              /* of the gradients */
    double *losses;            /* (n_rows) */
    void *dW;                  /* (n_features, n_classes), or NULL */
    ptrdiff_t dW_feature_stride, dW_class_stride;
    void *dintercept; /* (n_classes), or NULL */
    void *dX;         /* (n_rows, n_features), or NULL */
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

    /* Since version 2. */

    /* As cross_entropy, with options, which may be NULL. Returns FASTSOFTMAX_NO_MEMORY, too: for the options on logits
     * it needs some rows to work in. */
    ptrdiff_t (*softmax_cross_entropy)(enum fastsoftmax_type type, const void *logits,
                                       ptrdiff_t logits_stride, size_t n_rows, size_t n_classes,
                                       const int64_t *labels, const void *probabilities,
                                       const struct fastsoftmax_options *options, double scale,
                                       double *losses, void *dlogits, ptrdiff_t dlogits_stride,
                                       int n_threads);

    /* The losses of cross_entropy for z = x @ W + intercept and, with dz = upstream * dlogits of a row,
     * dW = sum of outer(x, dz), dintercept = sum of dz, dX = dz @ W^T. Logits are never in memory as a whole.
     * options may be NULL. Outputs overlap nothing. Returns the first row whose loss is NaN (the gradients then have no
     * meaning), FASTSOFTMAX_NO_MEMORY for memory to work in, or -1. */
    ptrdiff_t (*linear_cross_entropy)(const struct fastsoftmax_linear *linear,
                                      const struct fastsoftmax_options *options);
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
