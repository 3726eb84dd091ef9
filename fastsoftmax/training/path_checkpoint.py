"""Checkpoints of a path: files with the minima of the strengths that are done.

A path that goes on from such a file begins at the last minimum. The solver's memory is not in the file, so
that later minima are as near as `tol` asks for, and not the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..exceptions import ModelFileError
from ..persistence.entries import (
    Scalar,
    Tensor,
    as_stored,
    flag,
    integer,
    number,
    or_none,
    read_scalars,
    read_tensors,
    texts,
)
from .checkpoints import check_same, checked_file, read_checkpoint, write_checkpoint
from .duality_gap import Optimality
from .lbfgs import Point
from .objective import Evaluation
from .path import run_from_zeros
from .problem import Problem
from .solver_run import SolverRun

_FORMAT = "fastsoftmax checkpoint of a path"
_VERSION = 1


def _each(read: Any) -> Any:
    """Return a `read` of a list, whose values `read` reads."""

    def read_list(name: str, values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise ValueError(f"{name}: expected a list, got {str(values)[:80]}")
        return [read(name, value) for value in values]

    return read_list


# Each has a value for every strength that is done.
_SCALARS = (
    Scalar("n_epochs", list, _each(integer(1))),
    Scalar("gaps", list, _each(or_none(number))),
    Scalar("reasons", list, texts),
    Scalar("are_at_rest", list, _each(flag)),
)
_TENSORS = (
    Tensor("loss_curves", ("all_epochs",), is_double=True, is_needed=True),
    # A row for each strength: the weights of all classes with their intercepts.
    Tensor("weights", ("strengths", "parameters"), is_needed=True),
)


@dataclass
class PathCheckpoint:
    """The file that the minima of a path are saved in, and the identity of the path."""

    file: Path
    saved: dict[str, Any] | None  # the metadata of the file to go on from
    tensors: dict[str, NDArray[Any]]
    identity: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: str | PathLike[str] | None, resume: object) -> Self | None:
        """Check the arguments `checkpoint` and `resume`, and read the file to go on from.

        Raises
        ------
        ValueError, TypeError, ModelFileError
            As `checkpoint_of`.
        """
        file = checked_file(path, resume)
        if file is None:
            return None
        saved: dict[str, Any] | None = None
        tensors: dict[str, NDArray[Any]] = {}
        if resume and file.exists():
            saved, tensors = read_checkpoint(file, _FORMAT, _VERSION)
        return cls(file, saved, tensors)

    def save(self, runs: list[SolverRun]) -> None:
        """Write the minima of the runs, of all strengths that are done, in their order."""
        values: dict[str, list[Any]] = {
            "n_epochs": [len(run.curve) for run in runs],
            "gaps": [run.optimality.gap for run in runs],
            "reasons": [run.optimality.reason for run in runs],
            "are_at_rest": [run.is_at_rest for run in runs],
        }
        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "package": __version__,
            "identity": self.identity,
            **{entry.name: entry.write(values[entry.name]) for entry in _SCALARS},
        }
        arrays = {
            "loss_curves": np.concatenate([run.curve for run in runs]),
            "weights": np.stack([run.with_intercept().reshape(-1) for run in runs]),
        }
        tensors = {entry.name: as_stored(entry, arrays[entry.name]) for entry in _TENSORS}
        write_checkpoint(self.file, metadata, tensors)

    def restore(self, problems: list[Problem]) -> list[SolverRun]:
        """Return the runs of the file, which are those of the first of the problems.

        Raises
        ------
        ValueError
            If the file belongs to another path; the message says what differs.
        ModelFileError
            If the file is damaged, or is not a checkpoint of this path.
        """
        if self.saved is None:
            return []
        check_same(self.file, self.saved.get("identity"), self.identity)
        try:
            return self._restored(problems, self.saved)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{self.file}: is not a checkpoint of this path: {error}"
            ) from None

    def _restored(self, problems: list[Problem], saved: dict[str, Any]) -> list[SolverRun]:
        values = read_scalars(_SCALARS, saved)
        ends = [0, *accumulate(values["n_epochs"])]
        n_done = len(values["n_epochs"])
        if not n_done <= len(problems) or any(len(each) != n_done for each in values.values()):
            raise ValueError("another number of strengths")
        like = run_from_zeros(problems[0])
        shape, dtype = like.with_intercept().shape, like.state.coef.dtype
        sizes = {"strengths": n_done, "parameters": shape[0] * shape[1], "all_epochs": ends[-1]}
        arrays = read_tensors(_TENSORS, self.tensors, sizes)
        if arrays["weights"].dtype != dtype:
            raise ValueError(f"weights: expected {dtype}, got {arrays['weights'].dtype}")
        runs = []
        bounds = zip(values["gaps"], values["reasons"], strict=True)
        for i, (bound, (begin, end)) in enumerate(zip(bounds, pairwise(ends), strict=True)):
            run = run_from_zeros(problems[i])
            weights = arrays["weights"][i].reshape(shape)
            run.state = run.solver.objective.state_of(weights)
            run.curve = arrays["loss_curves"][begin:end].tolist()
            run.n_steps, run.is_at_rest = len(run.curve), values["are_at_rest"][i]
            # The gradient, which no pass has computed, is not read: the solver has no memory of this run.
            unknown = np.empty((0, 0))
            run.point = Point(weights, Evaluation(inf, unknown), run.curve[-1], unknown, inf)
            run.optimality = Optimality(*bound)
            runs.append(run)
        return runs
