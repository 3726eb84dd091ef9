"""Time the same epoch in other installed libraries, for comparison."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._optional import import_optional, why_missing
from ..classifier.classifier import SoftmaxClassifier
from .errors import FAILED, CommandError
from .timing import measure

_RUNS = 3
_RATE = 1e-3


def seconds_per_epoch(
    X: NDArray[Any], y: NDArray[Any], batch_size: int, n_threads: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the seconds of one epoch of minibatch SGD for each library, and why others are not available.

    The time is the median of three epochs after a warm-up.
    """
    try:
        threadpoolctl = import_optional("threadpoolctl", "needs")
    except ImportError as error:
        raise CommandError(str(error), FAILED) from None
    X = X.astype(np.float64 if X.dtype == np.float64 else np.float32, copy=False)
    y = np.unique(y, return_inverse=True)[1]
    epochs, reasons = {}, {}
    with threadpoolctl.threadpool_limits(n_threads):
        for name, (module, prepare) in _PEERS.items():
            if (reason := why_missing(module)) is not None:
                reasons[name] = reason
            else:
                epochs[name] = prepare(X, y, batch_size, n_threads)
        timings = measure(epochs, _RUNS)
    return {name: timing.median for name, timing in timings.items()}, reasons


def _numpy(
    X: NDArray[Any], y: NDArray[Any], batch_size: int, n_threads: int
) -> Callable[[], object]:
    model = SoftmaxClassifier(
        backend="vectorized",
        batch_size=batch_size,
        learning_rate="constant",
        eta0=_RATE,
        max_iter=1,
        tol=None,
    )
    return lambda: model.fit(X, y)


def _sklearn(
    X: NDArray[Any], y: NDArray[Any], batch_size: int, n_threads: int
) -> Callable[[], object]:
    """Prepare a network without hidden layers, which is softmax regression."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (), solver="sgd", batch_size=batch_size, learning_rate_init=_RATE, momentum=0
    )
    classes = np.unique(y)
    return lambda: model.partial_fit(X, y, classes=classes)


def _torch(
    X: NDArray[Any], y: NDArray[Any], batch_size: int, n_threads: int
) -> Callable[[], object]:
    import torch

    torch.set_num_threads(n_threads)
    rows, labels = torch.from_numpy(np.ascontiguousarray(X)), torch.from_numpy(y)
    layer = torch.nn.Linear(X.shape[1], int(y.max()) + 1, dtype=rows.dtype)
    optimizer = torch.optim.SGD(layer.parameters(), lr=_RATE, weight_decay=1e-4)

    def epoch() -> None:
        for batch in torch.randperm(len(rows)).split(batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(rows[batch]), labels[batch]).backward()
            optimizer.step()

    return epoch


# For each library, the module that it needs and the function that prepares an epoch.
_PEERS = {
    "NumPy": ("numpy", _numpy),
    "scikit-learn": ("sklearn.neural_network", _sklearn),
    "PyTorch": ("torch", _torch),
}
