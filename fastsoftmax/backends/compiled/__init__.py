"""Cython over C kernels: forward and backward fused, a whole epoch in one call.

The kernels are in `csrc/`, one build for each instruction set; the best that the CPU can run is chosen
when this module is imported. The environment variable ``FASTSOFTMAX_ISA`` forces one.
"""

from ._core import (
    C_API,
    PAIRWISE_SUM,
    column_moments,
    instruction_set,
    instruction_sets,
    linear_cross_entropy,
    linear_scores,
    log_softmax,
    logsumexp,
    mean_cross_entropy,
    measure_bandwidth,
    measure_multiply_adds,
    packs_samples,
    penalty,
    phase_clock,
    sgd_epoch,
    sgd_epoch_of_models,
    softmax,
    softmax_cross_entropy,
    start_phases,
    stop_phases,
)

__all__ = [
    "C_API",
    "PAIRWISE_SUM",
    "column_moments",
    "instruction_set",
    "instruction_sets",
    "linear_cross_entropy",
    "linear_scores",
    "log_softmax",
    "logsumexp",
    "mean_cross_entropy",
    "measure_bandwidth",
    "measure_multiply_adds",
    "name",
    "packs_samples",
    "penalty",
    "phase_clock",
    "sgd_epoch",
    "sgd_epoch_of_models",
    "softmax",
    "softmax_cross_entropy",
    "start_phases",
    "stop_phases",
]

name = "compiled"
