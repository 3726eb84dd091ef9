"""The data sets of `optimum`: scikit-learn's, made-up ones, and files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax import datasets

from .text import made_up_text

Shape = tuple[int, int, int]  # samples, features, classes

# `--quick` takes that share of the rows of a made-up set, and of its columns if there are more of them.
_QUICK_ROWS, _QUICK_COLUMNS = 8, 4
_MAX_QUICK_CLASSES = 20
_EMBEDDING_RANK = 32
# The ratio that is asked for, by the size of a set: samples x features x classes.
_LARGE, _SMALL = 1e7, 1e5
_FEW_CLASSES, _MANY_CLASSES = 20, 100


class OptimumProblem(NamedTuple):
    """Samples, and the penalty of the objective, which is that of `Problem`.

    Both matrices have the same values, so that all contenders minimise the same function.
    """

    X32: Any  # float32, an array or a CSR matrix
    X64: Any
    y: NDArray[np.int64]  # 0 to n_classes - 1
    n_classes: int
    alpha: float
    held_out: tuple[Any, NDArray[np.int64]] | None = None  # rows as those of X64, and their labels

    @property
    def shape(self) -> Shape:
        """Samples, features and classes."""
        return (*self.X32.shape, self.n_classes)

    @property
    def is_sparse(self) -> bool:
        """Whether `X` is a CSR matrix."""
        return not isinstance(self.X32, np.ndarray)

    @property
    def least_times(self) -> float | None:
        """How many times as fast as scikit-learn's fastest solver fastsoftmax is asked to be."""
        n_samples, n_features, n_classes = self.shape
        size = n_samples * n_features * n_classes
        if size < _SMALL:
            return 2.0
        if n_classes >= _MANY_CLASSES:
            return 3.0
        if size < _LARGE:
            return 4.0
        return 8.0 if n_classes <= _FEW_CLASSES else None


@dataclass(frozen=True)
class OptimumSet:
    """How a set is made; `shape` is None if it cannot be chosen."""

    alpha: float
    load: Callable[..., tuple[Any, NDArray[Any]]]  # of the three sizes, if there is a shape
    shape: Shape | None = None

    def problem(
        self, shape: Shape | None, quick: bool, alpha: float | None, held_out: float = 0.0
    ) -> OptimumProblem:
        """Return the set, in another shape if one is given, or in a smaller one; a share is held out."""
        shape = shape or (_quick(self.shape) if quick and self.shape else self.shape)
        X, y = self.load(*shape) if shape else self.load()
        order = np.random.default_rng(0).permutation(len(y)) if held_out else np.arange(len(y))
        kept, left = np.split(order, [round((1 - held_out) * len(y))])
        labels, targets = np.unique(y[kept], return_inverse=True)  # classes may not occur
        X32 = X.astype(np.float32)
        X64, strength = X32.astype(np.float64), self.alpha if alpha is None else alpha
        if not held_out:
            return OptimumProblem(X32, X64, targets, len(labels), strength)
        left = left[np.isin(y[left], labels)]
        apart = X64[left], np.searchsorted(labels, y[left])
        return OptimumProblem(X32[kept], X64[kept], targets, len(labels), strength, apart)


def _quick(shape: Shape) -> Shape:
    n_samples, n_features, n_classes = shape
    if n_features > n_samples:
        n_features //= _QUICK_COLUMNS
    return n_samples // _QUICK_ROWS, n_features, min(n_classes, _MAX_QUICK_CLASSES)


def standardised(X: NDArray[Any]) -> NDArray[np.float64]:
    """Return the columns with mean 0 and standard deviation 1; those that are constant as 0."""
    X = X.astype(np.float64)
    X -= X.mean(axis=0)
    scale = X.std(axis=0)
    return X / np.where(scale > 0, scale, 1)


def _bundled(name: str) -> Callable[[], tuple[Any, NDArray[Any]]]:
    def load() -> tuple[Any, NDArray[Any]]:
        import sklearn.datasets

        X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
        return standardised(X), y

    return load


def _labels(X: NDArray[Any], n_classes: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw labels from a softmax model of standardised features; the logits have the deviation 3."""
    logits = X @ random.normal(size=(X.shape[1], n_classes))
    logits *= 3 / logits.std()
    y: NDArray[np.int64] = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return y


def _correlated(decay: float) -> Callable[..., tuple[Any, NDArray[Any]]]:
    """Return a maker of standardised normal features, whose covariance had the eigenvalues i**-decay."""

    def make(n_samples: int, n_features: int, n_classes: int) -> tuple[Any, NDArray[Any]]:
        random = np.random.default_rng(0)
        X = standardised(_spectrum(n_samples, n_features, decay, random))
        return X, _labels(X, n_classes, random)

    return make


def _spectrum(
    n_samples: int, n_features: int, decay: float, random: np.random.Generator
) -> NDArray[np.float64]:
    X = random.normal(size=(n_samples, n_features))
    if decay:
        basis = np.linalg.qr(random.normal(size=(n_features, n_features)))[0]
        X = X * np.arange(1, n_features + 1.0) ** (-decay / 2) @ basis
    return X


def _unscaled(n_samples: int, n_features: int, n_classes: int) -> tuple[Any, NDArray[Any]]:
    """Return columns of scales from 0.01 to 100, and of means as large."""
    random = np.random.default_rng(0)
    X = standardised(_spectrum(n_samples, n_features, 1.0, random))
    y = _labels(X, n_classes, random)
    scale = 10 ** random.uniform(-2, 2, size=n_features)
    return (X + random.normal(size=n_features)) * scale, y


def _text(n_samples: int, n_features: int, n_classes: int) -> tuple[Any, NDArray[Any]]:
    problem = made_up_text(n_samples, n_features, n_classes, batch_size=1)
    return problem.X, problem.y


def _pixels(n_samples: int, n_features: int, n_classes: int) -> tuple[Any, NDArray[Any]]:
    """Return bytes with correlations and many zeros, standardised."""
    random = np.random.default_rng(0)
    X = standardised(_spectrum(n_samples, n_features, 1.5, random))
    X = standardised((40 + 80 * X).clip(0, 255).astype(np.uint8))
    return X, _labels(X, n_classes, random)


def _embeddings(n_samples: int, n_features: int, n_classes: int) -> tuple[Any, NDArray[Any]]:
    """Return a matrix of low rank and noise, standardised."""
    random = np.random.default_rng(0)
    rank = min(_EMBEDDING_RANK, n_features)
    X = random.normal(size=(n_samples, rank)) @ random.normal(size=(rank, n_features))
    X += 0.3 * np.sqrt(rank) * random.normal(size=X.shape)
    X = standardised(X)
    return X, _labels(X, n_classes, random)


SETS = {
    "iris": OptimumSet(1e-3, _bundled("iris")),
    "wine": OptimumSet(1e-3, _bundled("wine")),
    "breast-cancer": OptimumSet(1e-3, _bundled("breast_cancer")),
    "digits": OptimumSet(1e-4, _bundled("digits")),
    "well-conditioned": OptimumSet(1e-3, _correlated(0.0), (30_000, 50, 7)),
    "ill-conditioned": OptimumSet(1e-4, _correlated(2.0), (80_000, 54, 7)),
    "two-classes": OptimumSet(1e-4, _correlated(1.0), (20_000, 100, 2)),
    "many-classes": OptimumSet(1e-3, _correlated(1.0), (4_000, 50, 100)),
    "wide": OptimumSet(1e-3, _correlated(1.0), (500, 1_000, 5)),
    "unscaled": OptimumSet(1e-3, _unscaled, (10_000, 50, 5)),
    "text": OptimumSet(1e-4, _text, (4_000, 8_000, 10)),
    "pixels": OptimumSet(1e-3, _pixels, (8_000, 784, 10)),
    "embeddings": OptimumSet(1e-3, _embeddings, (7_200, 384, 20)),
}


def set_of_file(path: str) -> OptimumSet:
    """Return the samples of a file that `fastsoftmax.datasets.load` reads, standardised unless sparse."""

    def load() -> tuple[Any, NDArray[Any]]:
        samples = datasets.load(Path(path))
        if np.ndim(samples.y) != 1:
            raise ValueError(f"{path}: expected labels, got rows of probabilities")
        if hasattr(samples.X, "indptr"):
            return samples.X, samples.y
        return standardised(np.asarray(samples.X)), samples.y

    return OptimumSet(1e-4, load)
