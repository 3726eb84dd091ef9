"""Checkpoints: files with the whole state of a fit, from which it resumes with the same bits.

A checkpoint belongs to one fit, with its parameters and its data. Both are compared before the fit resumes:
the parameters as JSON, the data by their SHA-256. Values that JSON cannot hold, such as callables, are not
stored and have to be given again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import validation
from .._arrays.csr import SparseRows
from .._arrays.memory_mapping import BYTES_HELD, bytes_of_row, release
from .._version import __version__
from ..backends import State
from ..exceptions import ModelFileError
from ..persistence import npz
from ..persistence.atomic import remove_leftovers, write_atomically
from ..persistence.entries import (
    Scalar,
    Tensor,
    as_stored,
    check_version,
    flag,
    integer,
    number,
    or_none,
    positive,
    read_scalars,
    read_tensors,
    with_later_entries,
)
from ..persistence.random_states import generator_from, generator_state
from ..persistence.scalars import labels_as_json, parameters_as_json
from ..persistence.strict_json import parsed, written
from .averaging import Average

_FORMAT = "fastsoftmax checkpoint"
_VERSION = 2
_STATE = ("coef", "intercept", "coef_velocity", "intercept_velocity")


def _tensors_of(prefix: str, is_needed: bool) -> tuple[Tensor, ...]:
    weights_shape = ("classes", "features")
    return (
        Tensor(f"{prefix}coef", weights_shape, is_needed=is_needed),
        Tensor(f"{prefix}intercept", ("classes",), only_with=f"{prefix}coef"),
        Tensor(f"{prefix}coef_velocity", weights_shape, only_with=f"{prefix}coef"),
        Tensor(f"{prefix}intercept_velocity", ("classes",), only_with=f"{prefix}coef"),
        Tensor(f"{prefix}average_coef", weights_shape, is_double=True, only_with=f"{prefix}coef"),
        Tensor(
            f"{prefix}average_intercept",
            ("classes",),
            is_double=True,
            only_with=f"{prefix}average_coef",
        ),
    )


def _finite_or_none(value: float) -> float | None:
    return None if np.isinf(value) else float(value)


def _number_or_infinity(name: str, value: Any) -> float:
    return np.inf if value is None else number(name, value)


def _counts(name: str, value: Any) -> list[int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{name}: expected two counts, got {str(value)[:80]}")
    return [integer(0)(name, count) for count in value]


# The state that a run changes, and whether the run has ended.
_SCALARS = (
    Scalar("random", generator_state, lambda _, state: generator_from(state)),
    Scalar("is_done", bool, flag),
    Scalar("n_steps", int, integer(0)),
    Scalar("eta0", float, positive),
    Scalar("best", _finite_or_none, _number_or_infinity),
    Scalar("epochs_without_gain", int, integer(0)),
    Scalar("starting_loss", _finite_or_none, _number_or_infinity),
    Scalar("average", or_none(list), or_none(_counts)),
    Scalar("best_average", or_none(list), or_none(_counts)),
    Scalar("solver_counts", or_none(list), or_none(_counts), since=2),
)
_TENSORS = (
    Tensor("loss_curve", ("epochs",), is_double=True, is_needed=True),
    Tensor("validation_scores", ("scores",), is_double=True, is_needed=True),
    *_tensors_of("", is_needed=True),
    *_tensors_of("best_", is_needed=False),
    # Of L-BFGS: the pairs, oldest first, each row the weights of all classes with their intercepts; and the
    # curvature of the classes that its preconditioner has.
    Tensor("solver_steps", ("pairs", "parameters"), is_double=True),
    Tensor("solver_gradients", ("pairs", "parameters"), is_double=True, only_with="solver_steps"),
    Tensor("solver_classes", ("classes", "classes"), is_double=True),
    # With L1: the weights, those of the smallest bound, and those that the Hessian was computed at.
    Tensor("solver_points", ("points", "parameters"), is_double=True),
)


@dataclass
class Checkpoint:
    """The file that a fit is saved in, how often, and the identity of the fit."""

    file: Path
    every: int
    identity: dict[str, Any]
    random_at_start: dict[str, Any]
    saved: dict[str, Any] | None  # the metadata of the file to resume from
    tensors: dict[str, NDArray[Any]]

    def is_due(self, n_epochs: int) -> bool:
        """Return whether the fit is saved after `n_epochs` epochs."""
        return n_epochs % self.every == 0

    def save(self, run: Any, is_done: bool) -> None:
        """Write the state of the fit, atomically: the file is the previous checkpoint or this one."""
        values = {
            "random": run.random,
            "is_done": is_done,
            "n_steps": run.n_steps,
            "eta0": run.schedule.eta0,
            "best": run.best,
            "epochs_without_gain": run.epochs_without_gain,
            "starting_loss": run.starting_loss,
            "loss_curve": run.curve,
            "validation_scores": run.scores,
            **_values_of("", run.state, run.average),
            **_values_of("best_", *(run.best_weights or (None, None))),
            **run.solver_values(),
        }
        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "package": __version__,
            "identity": self.identity,
            "random_at_start": self.random_at_start,
            **{entry.name: entry.write(values[entry.name]) for entry in _SCALARS},
        }
        tensors = {
            entry.name: as_stored(entry, values[entry.name])
            for entry in _TENSORS
            if values[entry.name] is not None
        }
        write_checkpoint(self.file, metadata, tensors)

    def restore(self, run: Any) -> bool:
        """Load the state of the file, if the fit resumes from it, and return whether that fit had ended.

        Raises
        ------
        ValueError
            If the file belongs to another fit; the message says what differs.
        ModelFileError
            If the file is damaged, or is not a checkpoint of this fit.
        """
        if self.saved is None:
            return False
        check_same(self.file, self.saved.get("identity"), self.identity)
        try:
            return self._restored(run, self.saved)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{self.file}: is not a checkpoint of this fit: {error}") from None

    def _restored(self, run: Any, saved: dict[str, Any]) -> bool:
        n_classes, n_features = run.state.coef.shape
        sizes = {"classes": n_classes, "features": n_features}
        sizes["parameters"] = n_classes * (n_features + (run.state.intercept is not None))
        sizes["pairs"] = len(self.tensors.get("solver_steps", ()))
        sizes["points"] = len(self.tensors.get("solver_points", ()))
        values: dict[str, Any] = read_scalars(_SCALARS, saved)
        values |= read_tensors(_TENSORS, self.tensors, sizes)
        state, average = _weights_from("", values, run)
        best_weights = _weights_from("best_", values, run) if "best_coef" in values else None
        curve = values["loss_curve"].tolist()
        if len(curve) > run.problem.config.max_iter:
            raise ValueError("more epochs than max_iter")
        run.state, run.average, run.best_weights = state, average, best_weights
        run.curve, run.scores = curve, values["validation_scores"].tolist()
        run.n_steps = min(values["n_steps"], 1 << 62)
        run.epochs_without_gain = values["epochs_without_gain"]
        run.schedule = run.schedule._replace(eta0=values["eta0"])
        run.best, run.starting_loss = values["best"], values["starting_loss"]
        run.random = values["random"]
        run.restore_solver(values)
        is_done: bool = values["is_done"]
        return is_done


def write_checkpoint(
    file: Path, metadata: dict[str, Any], tensors: dict[str, NDArray[Any]]
) -> None:
    """Write a checkpoint, atomically."""
    try:
        write_atomically(file, npz.pack(written(metadata), tensors))
    except OSError as error:
        what = f"checkpoint: {file} cannot be written: {error.strerror or error}"
        raise OSError(error.errno, what) from error


def checkpoint_of(
    path: str | PathLike[str] | None, every: object, resume: object, random: np.random.Generator
) -> tuple[Checkpoint | None, np.random.Generator]:
    """Check the arguments `checkpoint`, `checkpoint_every` and `resume`, and read the file to resume from.

    Returns
    -------
    tuple
        The checkpoint, whose identity is still empty, and the generator that the fit began with.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described in `SoftmaxClassifier.fit`.
    ModelFileError
        If the file is damaged, or is not a checkpoint.
    """
    if type(every) is not int or every < 1:
        every = validation.as_integer("checkpoint_every", every, 1)
    file = checked_file(path, resume)
    if file is None:
        return None, random
    saved: dict[str, Any] | None = None
    tensors: dict[str, NDArray[Any]] = {}
    if resume and file.exists():
        saved, tensors = read_checkpoint(file, _FORMAT, _VERSION)
        try:
            saved = with_later_entries(_SCALARS, saved, saved["version"])
            random = generator_from(saved.get("random_at_start"))
        except ValueError as error:
            raise ModelFileError(f"{file}: {error}") from None
    state = generator_state(random)
    return Checkpoint(file, every, {}, state, saved, tensors), random


def checked_file(path: str | PathLike[str] | None, resume: object) -> Path | None:
    """Return the file of the arguments `checkpoint` and `resume`; both are checked.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described in `SoftmaxClassifier.fit`.
    """
    if not isinstance(resume, bool | np.bool_):
        raise TypeError(f"resume: expected True or False, got {validation.shown(resume)}")
    if path is None:
        if resume:
            raise ValueError("resume: expected False without a checkpoint, got True")
        return None
    if not isinstance(path, str | PathLike):
        raise TypeError(f"checkpoint: expected a str or a path-like object, got {path!r}")
    file = Path(path)
    if file.suffix.lower() != ".npz":
        raise ValueError(f"checkpoint: expected a name that ends in .npz, got {path!r}")
    if not file.absolute().parent.is_dir():
        raise ValueError(f"checkpoint: expected a file in an existing folder, got {path!r}")
    if file.exists() and not file.is_file():
        raise ValueError(f"checkpoint: expected a regular file, got {path!r}")
    if not os.access(file.absolute().parent, os.W_OK):
        raise PermissionError(
            f"checkpoint: {file} cannot be written: its folder is write-protected"
        )
    remove_leftovers(file)
    return file


def read_checkpoint(
    file: Path, kind: str, newest: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the metadata and the tensors of a checkpoint, whose format is `kind`.

    Raises
    ------
    ModelFileError
        If the file is damaged, of another format, or of a version that is newer than `newest`.
    """
    try:
        text, tensors = npz.unpack(file.read_bytes())
        saved = parsed(text, "its metadata")
        if not isinstance(saved, dict) or saved.get("format") != kind:
            raise ValueError(f"is not a {kind}")
        check_version(saved, newest, "or start again without resume")
    except ValueError as error:
        raise ModelFileError(f"{file}: {error}") from None
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ModelFileError(f"{file}: {name} contains numbers that are not finite")
    return saved, {
        name: array.astype(array.dtype.newbyteorder("=")) for name, array in tensors.items()
    }


def identity_of(
    parameters: dict[str, Any],
    X: NDArray[Any] | SparseRows,
    targets: Any,
    sample_weight: Any,
    coef: Any = None,
    intercept: Any = None,
) -> dict[str, Any]:
    """Return the identity of a fit: its parameters and digests of its data; read X once."""
    plain, left_out = parameters_as_json({n: _plain(value) for n, value in parameters.items()})
    values = targets.values if targets.rows is None else targets.values[targets.rows]
    return {
        "parameters": plain | dict.fromkeys(left_out, "given again"),
        "X": _digest_of_rows(X),
        "y": _digest(
            [values, np.frombuffer(written(labels_as_json(targets.classes)).encode(), np.uint8)]
        ),
        "sample_weight": None
        if sample_weight is None
        else _digest([np.asarray(sample_weight, np.float64)]),
        "coef_init": None if coef is None else _digest([np.asarray(coef, np.float64)]),
        "intercept_init": None
        if intercept is None
        else _digest([np.asarray(intercept, np.float64)]),
    }


def _plain(value: Any) -> Any:
    """Return NumPy scalars as Python numbers, and mappings sorted by their keys."""
    if isinstance(value, Mapping):
        return dict(sorted(value.items(), key=lambda item: repr(item[0])))
    return value.item() if isinstance(value, np.generic) else value


def _digest_of_rows(X: NDArray[Any] | SparseRows) -> str:
    if isinstance(X, SparseRows):
        return _digest([np.array(X.shape), X.indptr, X.indices, X.values])
    digest = sha256(f"{X.shape} {X.dtype.str}".encode())
    n_rows = max(1, BYTES_HELD // 8 // bytes_of_row(X))
    for start in range(0, len(X), n_rows):
        digest.update(np.ascontiguousarray(X[start : start + n_rows]).data)
        release(X)
    return digest.hexdigest()


def _digest(arrays: list[NDArray[Any]]) -> str:
    digest = sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype.str} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def check_same(file: Path, saved: Any, expected: dict[str, Any]) -> None:
    """Check that the identity in a checkpoint is the one that is expected.

    Raises
    ------
    ValueError
        If it is another; the message says what differs.
    """
    if not isinstance(saved, dict) or not isinstance(saved.get("parameters"), dict):
        raise ModelFileError(f"{file}: does not name the fit that it belongs to")
    ours, theirs = expected["parameters"], saved["parameters"]
    differing = [
        f"{name!s:.40} (there {_shown(theirs.get(name))}, here {_shown(ours.get(name))})"
        for name in sorted({*ours, *theirs})
        if name not in ours or name not in theirs or ours[name] != theirs[name]
    ]
    differing += [
        name for name in expected if name != "parameters" and expected[name] != saved.get(name)
    ]
    if differing:
        raise ValueError(
            f"resume: {file} is the checkpoint of a fit with other {', '.join(differing)}; "
            "give those, or resume=False to start again"
        )


def _shown(value: Any) -> str:
    return repr(value)[:60]


def _values_of(prefix: str, state: State | None, average: Average | None) -> dict[str, Any]:
    """Return the values for the entries of `_tensors_of` and for the counts of the average."""
    values = {name: None if state is None else getattr(state, name) for name in _STATE}
    values["average_coef"] = None if average is None else average.coef
    values["average_intercept"] = None if average is None else average.intercept
    values["average"] = None if average is None else [average.n_samples, average.n_steps]
    return {prefix + name: value for name, value in values.items()}


def _weights_from(prefix: str, values: dict[str, Any], like: Any) -> tuple[State, Average | None]:
    """Return a state and an average with the same arrays as those of the run `like`.

    Raises
    ------
    ValueError
        If an array is missing or has another dtype.
    """

    def read(name: str, array: Any) -> Any:
        if array is None:
            return None
        found = values[prefix + name]
        if found.dtype != array.dtype:
            raise ValueError(f"{prefix}{name}: expected {array.dtype}, got {found.dtype}")
        return found

    state = State(**{name: read(name, getattr(like.state, name)) for name in _STATE})
    average, counts = like.average, values[f"{prefix}average"]
    if average is None:
        return state, None
    if counts is None:
        raise ValueError(f"{prefix}average: expected two counts, got null")
    coef = read("average_coef", average.coef)
    intercept = read("average_intercept", average.intercept)
    return state, Average(average.first_sample, coef, intercept, *counts)
