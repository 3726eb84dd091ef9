"""The ratios that guard.py watches, and how each is measured.

In a round all that is compared takes turns, and the ratio is the median of those of the rounds: what
slows the machine down for a while is in both numbers. NumPy is the vectorized backend, called as the
compiled one is. Both have one thread and their times are the CPU's, of which others on the machine take
nothing; where threads or neighbours are what matters, the clock on the wall tells.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from time import process_time
from typing import Any

import numpy as np

from fastsoftmax import SoftmaxClassifier, linear_cross_entropy, softmax_cross_entropy
from fastsoftmax._arrays.threads import allowed_cpus
from fastsoftmax.cli.timing import Timing, measure
from fastsoftmax.datasets import make_linear_teacher

from .peers.busy import LOADS, measure_beside
from .peers.text import made_up_text
from .peers.threads import limited

# By the names of ratios.
Ratios = dict[str, float]

_SECONDS_A_TURN = 0.05
# Samples x features x classes x batch size: digits, MNIST, Covertype in part, CIFAR-10 in part, many
# classes.
_EPOCHS = (
    (1797, 64, 10, 32),
    (60_000, 784, 10, 128),
    (100_000, 54, 7, 256),
    (20_000, 3073, 10, 256),
    (4000, 2048, 1000, 256),
)
_BYTES = ((20_000, 3073, 10, 256),)
_SPARSE = (4000, 16_384, 20, 32)
_LOSSES = ((128, 10), (60_000, 10), (128, 1000), (64, 32_768))
_LINEAR = ((32, 64, 10), (256, 3073, 10), (256, 2048, 1000))
_THREADS = ((60_000, 784, 10, 128), (100_000, 54, 7, 256), (4000, 2048, 1000, 256))
_BUSY = (60_000, 784, 10, 128)
_SOLVER = (60_000, 784, 10, 128)
_ITERATIONS = 5

# Sizes that a test can wait for, with the same names of what is measured.
TINY: dict[str, Any] = {
    "_EPOCHS": ((300, 20, 3, 32),),
    "_BYTES": ((300, 20, 3, 32),),
    "_SPARSE": (200, 300, 3, 32),
    "_LOSSES": ((16, 10),),
    "_LINEAR": ((16, 8, 3),),
    "_THREADS": ((300, 20, 3, 32),),
    "_BUSY": (300, 20, 3, 32),
    "_SOLVER": (300, 20, 3, 32),
}


def groups() -> Iterator[tuple[tuple[str, ...], str, Callable[[int], Ratios]]]:
    """Yield the names of ratios, whether they must be "at_least" or "at_most", and what measures them."""
    for shape in _EPOCHS:
        yield _against_numpy(f"epoch {_name(shape)}", partial(_epochs, shape, np.float32))
    for shape in _BYTES:
        yield _against_numpy(f"epoch {_name(shape)} uint8", partial(_epochs, shape, np.uint8))
    yield _against_numpy(f"epoch {_name(_SPARSE)} sparse", partial(_sparse_epochs, _SPARSE))
    for shape in _LOSSES:
        yield _against_numpy(f"softmax_cross_entropy {_name(shape)}", partial(_losses, shape))
    for shape in _LINEAR:
        yield _against_numpy(f"linear_cross_entropy {_name(shape)}", partial(_linear_losses, shape))
    if allowed_cpus() > 1:
        for shape in _THREADS:
            name = f"epoch {_name(shape)} threads"
            yield (name,), "at_least", partial(_of_threads, name, shape)
    name = f"iteration of lbfgs {_name(_SOLVER)} over an epoch"
    yield (name,), "at_most", partial(_of_iterations, name, _SOLVER)
    names = {load: f"epoch {_name(_BUSY)} beside {load} busy" for load in LOADS if load}
    yield tuple(names.values()), "at_most", partial(_beside_others, names, _BUSY)


def _against_numpy(
    name: str, ways: Callable[[], Mapping[str, Callable[[], object]]]
) -> tuple[tuple[str, ...], str, Callable[[int], Ratios]]:
    def ratio(n_rounds: int) -> Ratios:
        with limited(1):
            timings = measure(ways(), n_rounds, _SECONDS_A_TURN, clock=process_time)
        return {name: ratio_of(timings["vectorized"], timings["compiled"])}

    return (name,), "at_least", ratio


def ratio_of(timing: Timing, other: Timing) -> float:
    """Return the median over the rounds of the first time over the second."""
    return median(a / b for a, b in zip(timing.seconds, other.seconds, strict=True))


def _name(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _model(batch_size: int, **parameters: Any) -> SoftmaxClassifier:
    # So small a rate that nothing diverges, given so that no time goes into finding one.
    fixed = {"max_iter": 1, "tol": None, "eta0": 1e-6, "random_state": 0, "batch_size": batch_size}
    fixed["learning_rate"] = "constant"
    return SoftmaxClassifier(**fixed | parameters)


def _samples(shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the shape; labels by turns, so that every class is there."""
    n_samples, n_features, n_classes, _ = shape
    data = make_linear_teacher(n_samples, n_features, 2)
    X = data.X_train
    if dtype == np.uint8:
        X = np.clip(np.rint(40 * X + 128), 0, 255).astype(np.uint8)
    return X, np.arange(n_samples) % n_classes


def _epochs(shape: tuple[int, ...], dtype: Any) -> dict[str, Callable[[], object]]:
    X, y = _samples(shape, dtype)
    return {
        name: partial(_model(shape[-1], backend=name, n_jobs=1).fit, X, y)
        for name in ("compiled", "vectorized")
    }


def _sparse_epochs(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    text = made_up_text(*shape)
    return {
        name: partial(_model(shape[-1], backend=name, n_jobs=1).fit, text.X, text.y)
        for name in ("compiled", "vectorized")
    }


def _losses(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=shape).astype(np.float32)
    labels, out = rng.integers(shape[1], size=shape[0]), np.empty_like(logits)
    return {
        name: partial(softmax_cross_entropy, logits, labels, out, backend=name, n_threads=1)
        for name in ("compiled", "vectorized")
    }


def _linear_losses(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    n, d, c = shape
    rng = np.random.default_rng(0)
    X, W, intercept = (rng.normal(size=s).astype(np.float32) for s in ((n, d), (d, c), c))
    labels, options = rng.integers(c, size=n), {"wrt": ("W", "intercept"), "n_threads": 1}
    return {
        name: partial(linear_cross_entropy, X, W / 16, labels, intercept, backend=name, **options)
        for name in ("compiled", "vectorized")
    }


def _of_threads(name: str, shape: tuple[int, ...], n_rounds: int) -> Ratios:
    X, y = _samples(shape, np.float32)
    runs = {
        str(n): partial(_model(shape[-1], backend="compiled", n_jobs=n).fit, X, y) for n in (1, 2)
    }
    timings = measure(runs, n_rounds, _SECONDS_A_TURN)
    return {name: ratio_of(timings["1"], timings["2"])}


def _of_iterations(name: str, shape: tuple[int, ...], n_rounds: int) -> Ratios:
    """Return the time of the first iterations, and of what they start from, over that of epochs."""
    X, y = _samples(shape, np.float32)
    common = {"backend": "compiled", "n_jobs": 1, "max_iter": _ITERATIONS, "tol": None}
    runs = {
        "lbfgs": partial(SoftmaxClassifier(solver="lbfgs", **common).fit, X, y),
        "sgd": partial(_model(shape[-1], **common).fit, X, y),
    }
    with limited(1):
        timings = measure(runs, n_rounds, _SECONDS_A_TURN, clock=process_time)
    return {name: ratio_of(timings["lbfgs"], timings["sgd"])}


def _beside_others(names: Mapping[int, str], shape: tuple[int, ...], n_rounds: int) -> Ratios:
    X, y = _samples(shape, np.float32)

    def fit() -> None:
        _model(shape[-1], backend="compiled", n_jobs=2).fit(X, y)

    timings = measure_beside({"compiled": fit}, [0, *names], n_rounds, 1)
    quiet = timings[0]["compiled"]
    return {name: ratio_of(timings[load]["compiled"], quiet) for load, name in names.items()}
