"""Cython over C kernels: forward and backward fused, a whole epoch in one call.

The kernels are in `csrc/`, one build for each instruction set; the best that the CPU can run is chosen
when this module is imported. The environment variable ``FASTSOFTMAX_ISA`` forces one.

A step of training goes by one of four algorithms, `short_rows`, `panels`, `packed` and `sparse`, which
`step_algorithm` names for a problem. The environment variable ``FASTSOFTMAX_STEP`` forces one.
"""

from .. import thread_limit
from ._core import (
    C_API,
    PAIRWISE_SUM,
    add_class_sums,
    add_pairs,
    add_penalty,
    column_moments,
    convert_rows,
    coordinate_descent,
    dot,
    duality_gap,
    fill_pair,
    force_step_algorithm,
    instruction_set,
    instruction_sets,
    inverse_factor,
    linear_cross_entropy,
    linear_scores,
    log_softmax,
    logsumexp,
    map_rows,
    mean_cross_entropy,
    measure_bandwidth,
    measure_multiply_adds,
    newton_direction,
    penalty,
    phase_clock,
    sgd_epoch,
    sgd_epoch_of_models,
    softmax,
    softmax_cross_entropy,
    start_phases,
    step_algorithm,
    stop_phases,
    subtract_pairs,
    take_step,
    transposed_product,
)

__all__ = [
    "C_API",
    "PAIRWISE_SUM",
    "add_class_sums",
    "add_pairs",
    "add_penalty",
    "column_moments",
    "convert_rows",
    "coordinate_descent",
    "dot",
    "duality_gap",
    "fill_pair",
    "force_step_algorithm",
    "instruction_set",
    "instruction_sets",
    "inverse_factor",
    "linear_cross_entropy",
    "linear_scores",
    "log_softmax",
    "logsumexp",
    "map_rows",
    "mean_cross_entropy",
    "measure_bandwidth",
    "measure_multiply_adds",
    "name",
    "newton_direction",
    "penalty",
    "phase_clock",
    "sgd_epoch",
    "sgd_epoch_of_models",
    "softmax",
    "softmax_cross_entropy",
    "start_phases",
    "step_algorithm",
    "stop_phases",
    "subtract_pairs",
    "take_step",
    "transposed_product",
]

name = "compiled"
thread_limit.announce()
