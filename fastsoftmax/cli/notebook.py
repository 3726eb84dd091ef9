"""`fastsoftmax.bench`: the comparison of the backends from Python, with a result that a notebook shows."""

from __future__ import annotations

import argparse
import io
import os
import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import validation
from .._arrays.labels import as_labels
from .._optional import import_optional
from ..backends import NAMES
from ..datasets import Dataset, Samples
from ..datasets.dataset import as_float_dtype
from . import comparing, data, machine, own_data, workload
from .errors import CommandError
from .html_report import render
from .html_report.fragment import fragment_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 100  # characters of the table as text
_DPI = 90


class BenchResult:
    """The result of `fastsoftmax.bench`: a notebook shows its table and its picture.

    Attributes
    ----------
    record : dict
        All settings, versions and numbers, as ``fastsoftmax bench --json`` saves them: times in seconds,
        losses in nats. ``record["results"]`` has an entry for each backend.
    """

    def __init__(self, outcome: comparing.Outcome) -> None:
        self._outcome = outcome
        self.record: dict[str, Any] = outcome.record

    def speedup(self, backend: str, over: str = "naive") -> float | None:
        """Return how many times as fast as the backend `over` another is; None if one did not run.

        Parameters
        ----------
        backend, over : str
            Names of backends.

        Returns
        -------
        float or None
        """
        comparison = self._outcome.comparison
        for result in comparison.results:
            if result.backend == backend:
                return comparison.speedup(result, over)
        return None

    def plot(self) -> Figure:
        """Return the picture of the command: loss curves, speed and, for images, the learned weights.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If no backend has trained on all samples.
        """
        figure: Figure | None = self._outcome.picture()
        if figure is None:
            raise ValueError(
                "no backend has trained on all samples, so that there are no losses to plot"
            )
        return figure

    def to_html(self) -> str:
        """Return the page of ``fastsoftmax bench --report``.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If the backends were not profiled: ``bench(profiled=True)``.
        """
        if "profiles" not in self.record:
            raise ValueError("the report needs profiles of the backends: bench(profiled=True)")
        return render(self.record, self._outcome.weights())

    def __repr__(self) -> str:
        from rich.console import Console

        from .report import print_comparison

        text = io.StringIO()
        console = Console(file=text, width=_WIDTH, highlight=False, color_system=None)
        print_comparison(console, self._outcome.comparison, self._outcome.heading)
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        """Return the table and the picture for a notebook; without matplotlib the table alone."""
        picture = None
        try:
            figure = self._outcome.picture()
        except ImportError:
            figure = None
        if figure is not None:
            stream = io.BytesIO()
            figure.savefig(stream, format="png", dpi=_DPI)
            picture = b64encode(stream.getvalue()).decode("ascii")
        return fragment_of(self.record, self._outcome.heading, picture)


class _Silent:
    """A `ProgressListener` that shows nothing."""

    def on_warm_up(self, backend: str) -> None: ...

    def on_start(self, n_epochs: int) -> None: ...

    def on_turn(self, backend: str) -> None: ...

    def on_epoch_end(self) -> None: ...


def bench(
    data: Any = None,
    *,
    shape: Sequence[int] | None = None,
    backends: Sequence[str] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    eta0: float | None = None,
    dtype: Any = np.float32,
    n_threads: int | None = None,
    random_state: int = 0,
    profiled: bool = False,
) -> BenchResult:
    """Train a softmax classifier with every backend, from the same seed, and compare them.

    This is the command ``fastsoftmax bench``: the backends take turns, after a warm-up that is not counted.

    Parameters
    ----------
    data : path, Dataset, or (X, y), optional
        A file or folder that `fastsoftmax.datasets.load` reads, such as that of CIFAR-10; samples to train
        on and to test on; or samples `X` (n_samples, n_features) and labels `y`. Without a part to test on,
        a quarter of the samples is held out, stratified. Pixels of uint8 are divided by 255 and the mean is
        subtracted, other columns are standardised; those of a `Dataset` are taken as they are. By default
        scikit-learn's digits.
    shape : (int, int, int), optional
        Samples, features and classes of synthetic data, instead of `data`.
    backends : sequence of str, optional
        The names of those to compare; by default all that are available.
    epochs, batch_size : int, optional
        By default 30 and 32 for the digits, 5 and 256 for other data.
    eta0 : float, optional
        The step size; by default 0.5 for the digits, and one that suits other data.
    dtype : {float32, float64}, default float32
        The dtype of data and weights.
    n_threads : int, optional
        Threads of all backends, NumPy's BLAS included; see `fastsoftmax info` for the default.
    random_state : int, default 0
        The seed of the data and of the order of the samples.
    profiled : bool, default False
        Whether to train once more under the profiler, for `BenchResult.to_html`.

    Returns
    -------
    BenchResult
        A notebook shows it as a table and a picture; ``print`` shows the table.

    Raises
    ------
    ValueError, TypeError
        If a parameter is not as described, a backend is not available, the step size is too large, or the
        file cannot be read.
    ImportError
        If a package is missing: scikit-learn for the digits, threadpoolctl, rich to print the table.

    Examples
    --------
    >>> import fastsoftmax
    >>> result = fastsoftmax.bench(shape=(300, 5, 3), epochs=2, backends=["vectorized", "compiled"])
    >>> [row["backend"] for row in result.record["results"]]
    ['vectorized', 'compiled']
    """
    load = machine.load()  # first, as this run will add its own
    import_optional("threadpoolctl", "bench: needs")
    if data is not None and shape is not None:
        raise ValueError("shape: expected none with data, whose shape is known")
    arguments = argparse.Namespace(
        shape=_shape(shape),
        backends=_names(backends),
        epochs=_count("epochs", epochs),
        batch_size=_count("batch_size", batch_size),
        eta0=None if eta0 is None else _rate(eta0),
        dtype=str(as_float_dtype(dtype)),
        threads=_count("n_threads", n_threads),
        seed=validation.as_integer("random_state", random_state, 0),
    )
    if not isinstance(profiled, bool | np.bool_):
        raise TypeError(f"profiled: expected True or False, got {validation.shown(profiled)}")
    try:
        present = comparing.available(arguments.backends)
        work = _workload(data, arguments, len(present[0]))
        outcome = comparing.compare(arguments, work, present, _Silent(), load, bool(profiled))
    except CommandError as error:
        raise ValueError(_with_parameters(str(error))) from None
    return BenchResult(outcome)


def _workload(given: Any, arguments: argparse.Namespace, n_backends: int) -> workload.Workload:
    if given is None:
        return workload.bundled(arguments.shape, arguments.dtype, arguments.seed, n_backends)
    if isinstance(given, str | os.PathLike):
        arguments.data = Path(given)
        vars(arguments).update(dict.fromkeys(data.OPTIONS))
        return own_data.load(arguments, n_backends)
    if isinstance(given, Dataset):
        dtype = np.dtype(arguments.dtype)
        X, X_test = (np.ascontiguousarray(X, dtype) for X in (given.X_train, given.X_test))
        return workload.Workload(given._replace(X_train=X, X_test=X_test), "data", "your data")
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(
            f"data: expected a path, a Dataset, or (X, y), got {validation.shown(type(given).__name__)}"
        )
    X, y = validation.as_array("X", given[0]), as_labels(given[1], "y")
    if X.ndim != 2 or not X.size or len(X) != len(y):
        raise ValueError(
            f"data: expected X of shape (n_samples, n_features) with a label for each sample, got shapes "
            f"{X.shape} and {y.shape}"
        )
    return own_data.prepare("data", Samples(X, y), None, arguments, n_backends)


def _shape(shape: Sequence[int] | None) -> tuple[int, int, int] | None:
    if shape is None:
        return None
    if len(shape) != 3:
        raise ValueError(
            f"shape: expected (samples, features, classes), got {validation.shown(shape)}"
        )
    n, d, c = (
        validation.as_integer("shape", size, least)
        for size, least in zip(shape, (1, 1, 2), strict=True)
    )
    return n, d, c


def _names(backends: Sequence[str] | None) -> tuple[str, ...] | None:
    if backends is None:
        return None
    names = (backends,) if isinstance(backends, str) else tuple(backends)
    if not names or len(set(names)) < len(names) or not set(names) <= set(NAMES):
        raise ValueError(
            f"backends: expected names out of {', '.join(NAMES)}, each once, "
            f"got {validation.shown(backends)}"
        )
    return names


def _rate(eta0: float) -> float:
    rate = validation.as_non_negative("eta0", eta0)
    if not rate:
        raise ValueError(f"eta0: expected a number greater than 0, got {validation.shown(eta0)}")
    return rate


def _count(name: str, value: int | None) -> int | None:
    return None if value is None else validation.as_integer(name, value, 1)


def _with_parameters(message: str) -> str:
    """Return the message of the command with the parameter in the place of its option."""
    name = {"threads": "n_threads", "seed": "random_state"}
    return re.sub(
        r"argument --([\w-]+)",
        lambda option: name.get(option[1], option[1].replace("-", "_")),
        message,
    )
