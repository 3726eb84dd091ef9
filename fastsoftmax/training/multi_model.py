"""Epochs of several models, trained together in one pass over the data."""

from __future__ import annotations  # they name np.random, which is imported on first use

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from ..backends import State, fast_paths
from ..schedules import Schedule
from .epoch import blocks_of, check_rows, mean_over, order_of
from .problem import Problem

# Models are trained together while their weights fit this size: more would be read from memory in every
# step.
_BYTES_OF_WEIGHTS = 1 << 28


class Penalties(NamedTuple):
    """The penalties of the models, each of shape (n_models,)."""

    l2s: NDArray[np.float64]
    l1s: NDArray[np.float64]


def models_per_pass(problem: Problem, state: State) -> int:
    """Return how many models train together; 1 if the backend or the data do not support more."""
    paths = fast_paths.get(problem.config.backend.name)
    if paths is None or not hasattr(paths, "sgd_epoch_of_models"):
        return 1
    if isinstance(problem.samples.X, SparseRows) or problem.config.rule.subgradient:
        return 1
    compiled: Any = paths
    try:
        compiled.step_algorithm(*state.coef.shape[::-1], state.coef.dtype, has_models=True)
    except ValueError:  # FASTSOFTMAX_STEP forces one that trains a model at a time
        return 1
    model_bytes = state.coef.nbytes * (1 if state.coef_velocity is None else 2)
    return max(1, _BYTES_OF_WEIGHTS // max(1, model_bytes))


def repeat_state(state: State, n_models: int) -> State:
    """Return the state of `n_models` equal models, their classes one model after another."""
    return State(
        *(None if array is None else np.concatenate([array] * n_models) for array in state)  # type: ignore[arg-type]
    )


def extract_state(states: State, model: int, n_models: int) -> State:
    """Return a copy of the state of one of several models."""
    parts: list[Any] = [
        None if array is None else array.reshape(n_models, -1, *array.shape[1:])[model].copy()
        for array in states
    ]
    return State(*parts)


def select_states(states: State, models: list[int], n_models: int) -> State:
    """Return the state of some of the models, in the order of `models`."""
    return State(
        *(  # type: ignore[arg-type]
            None
            if array is None
            else array.reshape(n_models, -1, *array.shape[1:])[models].reshape(-1, *array.shape[1:])
            for array in states
        )
    )


def train_epoch_of_models(
    problem: Problem,
    states: State,
    penalties: Penalties,
    schedules: list[Schedule],
    first_step: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Train all models for one epoch, changing `states`, and return their mean objectives, (n_models,).

    The objective of a model that has diverged is not finite; it does not affect the others.

    Raises
    ------
    ValueError
        If a row of `X` is not finite; the message names the row.
    """
    config, samples = problem.config, problem.samples
    backend: Any = fast_paths[config.backend.name]
    sampling, dtype = config.sampling, states.coef.dtype
    n_samples = len(samples)
    n_steps, size = sampling.n_steps(n_samples), min(sampling.batch_size, n_samples)
    order = order_of(samples, sampling, random)
    rates = np.stack([schedule.rates(first_step, n_steps, n_steps) for schedule in schedules])
    objectives = np.empty((len(schedules), n_steps))
    for start, stop, data, rows in blocks_of(samples, states, sampling, order, set()):
        block_rates = np.ascontiguousarray(rates[:, start:stop])
        done = backend.sgd_epoch_of_models(
            data, states, config.rule, *penalties, rows, size, block_rates, config.n_threads
        )
        objectives[:, start:stop] = done
        diverged = ~np.isfinite(done).any(axis=0)
        if (
            diverged.any()
        ):  # all models in one step: because of a row, or because all rates are too large
            step = start + int(np.argmax(diverged))
            check_rows(samples.X, order[step * size : (step + 1) * size], dtype)
            break
    else:
        return mean_over(objectives, size, n_samples)
    return np.full(len(schedules), np.nan)
