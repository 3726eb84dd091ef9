# cython: language_level=3, boundscheck=False, wraparound=False
"""The loss of a language model's last layer, whose logits are never in memory as a whole.

It needs version 2 of the C API. The weight has the layout of `torch.nn.Linear`, (tokens, features): the
call takes its strides.
"""

from libc.math cimport NAN
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastsoftmax.c_api cimport (
    FASTSOFTMAX_FLOAT32, FASTSOFTMAX_NO_MEMORY, fastsoftmax_api, fastsoftmax_import,
    fastsoftmax_linear, fastsoftmax_options,
)

import numpy as np

cdef const fastsoftmax_api *api = fastsoftmax_import()


def policy_gradient(
    const float[:, ::1] hidden, const float[:, ::1] head, const int64_t[::1] tokens,
    const double[::1] rewards, double label_smoothing=0.0, int n_threads=1
):
    """Mean of reward * -log p of each token, and its gradients for hidden and head."""
    cdef Py_ssize_t n = hidden.shape[0], i
    if n == 0 or tokens.shape[0] != n or rewards.shape[0] != n or head.shape[1] != hidden.shape[1]:
        raise ValueError("expected a token and a reward for each row of hidden, and its features in head")
    for i in range(n):
        if not 0 <= tokens[i] < head.shape[0]:
            raise ValueError(f"token {tokens[i]} is not one of {head.shape[0]}")
    cdef double[::1] losses = np.empty(n)
    cdef float[:, ::1] of_hidden = np.empty_like(hidden), of_head = np.empty_like(head)
    cdef double total = 0
    cdef ptrdiff_t invalid
    cdef fastsoftmax_linear linear
    cdef fastsoftmax_options options
    with nogil:
        memset(&linear, 0, sizeof(linear))
        linear.size, linear.type, linear.n_threads = sizeof(linear), FASTSOFTMAX_FLOAT32, n_threads
        linear.n_rows, linear.n_features, linear.n_classes = n, hidden.shape[1], head.shape[0]
        linear.X, linear.W, linear.labels = &hidden[0, 0], &head[0, 0], &tokens[0]
        linear.W_feature_stride, linear.W_class_stride = 1, head.shape[1]
        linear.dX, linear.dW, linear.losses = &of_hidden[0, 0], &of_head[0, 0], &losses[0]
        linear.dW_feature_stride, linear.dW_class_stride = 1, head.shape[1]
        linear.scale = 1.0 / n
        memset(&options, 0, sizeof(options))
        options.size, options.smoothing = sizeof(options), label_smoothing
        options.upstream = &rewards[0]
        invalid = api.linear_cross_entropy(&linear, &options)
        for i in range(n):
            total += rewards[i] * losses[i]
    if invalid == FASTSOFTMAX_NO_MEMORY:
        raise MemoryError
    return NAN if invalid >= 0 else total / n, np.asarray(of_hidden), np.asarray(of_head)
