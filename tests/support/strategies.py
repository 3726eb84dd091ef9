"""Drawn cases for the properties: sizes, families of numbers, weights, and how arrays lie in memory.

Hypothesis draws sizes and seeds; the numbers follow from a seed, as an array drawn number by number takes a
thousand times as long, and so do the choices of backend, type and options, as Hypothesis would try few
combinations of them in few examples. A case that fails still shrinks, to few rows and classes, and what is
printed of it is short and makes it again.

The same cases come in every run, of each property 80, and the first of them in `make test`.
FASTSOFTMAX_EXAMPLES=1000 draws that many, others each time.
"""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

import covering
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from step_algorithms import DENSE, forced
from variants import BACKENDS, LAYOUTS

_EXAMPLES = os.environ.get("FASTSOFTMAX_EXAMPLES")
settings.register_profile(
    "properties",
    max_examples=int(_EXAMPLES or (20 if covering.is_quick else 80)),
    derandomize=_EXAMPLES is None,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # the first example of a backend compiles it
)
settings.load_profile("properties")

# At, below and above the lengths of vectors, and where the kernels go another way.
CLASSES = (1, 2, 3, 10, 15, 16, 17, 31, 32, 33, 40, 41, 48, 64, 70)
FEATURES = (1, 2, 7, 15, 16, 17, 33, 54, 100, 257, 300)
# What the naive backend multiplies in some hundredths of a second.
_MAX_NAIVE_WORK = 10_000

DTYPES = ("float32", "float64")
# The kernels are many, and the other backends one each.
_AMONG = ("compiled", "compiled", *BACKENDS)
seeds = st.integers(0, 2**32 - 1)
n_rows = st.sampled_from((1, 2, 8, 16, 17)) | st.integers(1, 40)
n_classes = st.sampled_from(CLASSES) | st.integers(1, 70)
n_features = st.sampled_from(FEATURES) | st.integers(1, 60)
layouts = st.sampled_from(tuple(LAYOUTS))


def _ties(rng, shape):
    return rng.integers(-2, 3, size=shape)


def _equal(rng, shape):
    return np.repeat(rng.normal(size=(shape[0], 1)), shape[1], axis=1)


def _one_dominates(rng, shape):
    values = rng.normal(size=shape)
    values[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] += 20
    return values


FAMILIES = {
    "ties": _ties,
    "normal": lambda rng, shape: rng.normal(size=shape),
    "equal": _equal,
    "one dominates": _one_dominates,
}


@dataclass(frozen=True)
class Rows:
    """Rows of logits, targets and the options of their losses."""

    backend: str
    n_rows: int
    n_classes: int
    dtype: str
    family: str
    exponent: int  # of 10: the magnitude of the logits
    masked: bool = False  # some logits are -inf
    soft: bool = False  # the targets are probabilities, of any sum
    row_weights: bool = False
    class_weights: bool = False
    smoothing: float = 0.0
    ignored: bool = False
    seed: int = 0

    def rng(self, purpose):
        return np.random.default_rng([self.seed, self.n_rows, self.n_classes, purpose])

    @property
    def shape(self):
        return self.n_rows, self.n_classes

    @cached_property
    def labels(self):
        return self.rng(0).integers(self.n_classes, size=self.n_rows)

    @cached_property
    def logits(self):
        rng = self.rng(1)
        logits = (10.0**self.exponent * FAMILIES[self.family](rng, self.shape)).astype(self.dtype)
        if self.masked:
            logits[self._mask] = -np.inf
        return logits

    @cached_property
    def _mask(self):
        mask = self.rng(2).random(self.shape) < 0.4
        mask[np.arange(self.n_rows), self.labels] = False
        return mask

    @cached_property
    def probabilities(self):
        """Sixteenths of any sum, exact in either type; 0 for masked classes, whose loss is infinite."""
        probabilities = self.rng(3).integers(9, size=self.shape) / 16
        if self.masked:
            probabilities[self._mask] = 0
        return probabilities.astype(self.dtype)

    @cached_property
    def targets(self):
        if self.soft:
            return self.probabilities
        labels = self.labels.copy()
        labels[self.ignored_rows] = -1
        return labels

    @cached_property
    def ignored_rows(self):
        """Never all of them."""
        if not self.ignored or self.soft:
            return np.zeros(self.n_rows, bool)
        rows = self.rng(4).random(self.n_rows) < 0.3
        rows[0] = False
        return rows

    @cached_property
    def sample_weight(self):
        """Quarters, of which not all are 0."""
        if not self.row_weights:
            return None
        weights = self.rng(5).integers(5, size=self.n_rows) / 4
        weights[0] = 0.75
        return weights

    @cached_property
    def class_weight(self):
        return self.rng(6).integers(1, 17, size=self.n_classes) / 8 if self.class_weights else None

    @property
    def run(self):
        """What says how to compute."""
        return {"backend": self.backend}

    @property
    def options(self):
        """All keywords of a loss."""
        return self.run | {
            "sample_weight": self.sample_weight,
            "class_weight": self.class_weight,
            "label_smoothing": self.smoothing,
            "ignore_index": -1 if self.ignored and not self.soft else None,
        }

    @cached_property
    def weighted(self):
        """The targets that the losses are linear in, as the documentation has them: (n, c), in float64."""
        t = self.probabilities if self.soft else np.eye(self.n_classes)[self.labels]
        t = (1 - self.smoothing) * t.astype(np.float64) + self.smoothing / self.n_classes
        t = t * (1 if self.class_weight is None else self.class_weight)
        t = t * (1 if self.sample_weight is None else self.sample_weight[:, np.newaxis])
        return np.where(self.ignored_rows[:, np.newaxis], 0, t)

    @cached_property
    def total(self):
        """What the mean divides by."""
        s = np.ones(self.n_rows) if self.sample_weight is None else self.sample_weight
        s = np.where(self.ignored_rows, 0, s)
        if self.soft or self.class_weight is None:
            return s.sum()
        return (s * self.class_weight[self.labels]).sum()


@st.composite
def rows_of_logits(draw, with_options=True, most_exponent=4, rows=n_rows):
    seed, n, c = draw(seeds), draw(rows), draw(n_classes)
    choose = Random(f"{seed} {n} {c}").choice
    masked = choose((False, True))
    plain = not with_options
    return Rows(
        backend=choose(_AMONG),
        n_rows=n,
        n_classes=c,
        dtype=choose(DTYPES),
        family=choose(tuple(FAMILIES)),
        exponent=choose(range(-3, most_exponent + 1)),
        masked=masked,
        soft=choose((False, True)),
        row_weights=not plain and choose((False, True)),
        class_weights=not plain and choose((False, True)),
        # A share of a class that is masked is an infinite loss.
        smoothing=0.0 if plain or masked else choose((0.0, 0.125, 0.1, 1.0)),
        ignored=not plain and choose((False, True)),
        seed=seed,
    )


@dataclass(frozen=True)
class Linear(Rows):
    """The same of a linear classifier, whose logits are X @ W + intercept."""

    n_features: int = 1

    @cached_property
    def X(self):
        return self._matrix(7, (self.n_rows, self.n_features))

    @cached_property
    def W(self):
        """About so large that logits are of the magnitude that was drawn."""
        size = 10.0**self.exponent / np.sqrt(self.n_features)
        return (size * self._matrix(8, (self.n_features, self.n_classes))).astype(self.dtype)

    @cached_property
    def intercept(self):
        size = 10.0**self.exponent
        return (size * self._matrix(9, (1, self.n_classes))[0]).astype(self.dtype)

    def _matrix(self, purpose, shape):
        """Integers over 4, or normal numbers."""
        rng = self.rng(purpose)
        if self.family == "ties":
            return (rng.integers(-4, 5, size=shape) / 4).astype(self.dtype)
        return rng.normal(size=shape).astype(self.dtype)

    def with_rows(self, n_rows):
        return replace(self, n_rows=n_rows)


@st.composite
def linear_problems(draw, most_exponent=1, rows=n_rows):
    of_rows = draw(rows_of_logits(most_exponent=most_exponent, rows=rows))
    most = _MAX_NAIVE_WORK // (of_rows.n_rows * of_rows.n_classes)
    d = draw(n_features)
    if of_rows.backend == "naive":
        d = min(d, max(most, 1))
    fields = {name: getattr(of_rows, name) for name in Rows.__dataclass_fields__}
    return Linear(**fields | {"masked": False}, n_features=d)


@dataclass(frozen=True)
class Training:
    """Samples, and a classifier to train on them from zeros, at a rate at which every step contracts."""

    backend: str
    n_samples: int
    n_features: int
    n_classes: int
    dtype: str
    penalty: str | None
    alpha: float
    batch_size: int
    epochs: int
    fit_intercept: bool
    weights: bool
    seed: int
    algorithm: str  # of the compiled backend's steps on dense rows; "" for its choice

    def rng(self, purpose):
        return np.random.default_rng([self.seed, self.n_samples, self.n_features, purpose])

    @cached_property
    def X(self):
        """Integers from 0 to 20, of which most are 0: exact in every type, sums of them too."""
        rng, shape = self.rng(0), (self.n_samples, self.n_features)
        return np.where(rng.random(shape) < 0.3, rng.integers(1, 21, shape), 0).astype(self.dtype)

    @cached_property
    def y(self):
        """Every class occurs."""
        n_more = self.n_samples - self.n_classes
        labels = np.append(
            np.arange(self.n_classes), self.rng(1).integers(self.n_classes, size=n_more)
        )
        return self.rng(2).permutation(labels)

    @cached_property
    def sample_weight(self):
        """Halves; or None."""
        return self.rng(3).integers(1, 5, self.n_samples) / 2 if self.weights else None

    @property
    def largest_row(self):
        return self.largest_row_of(self.X)

    def largest_row_of(self, X):
        """The length of a row, with the 1 of the intercept."""
        squares = np.square(X, dtype=np.float64).sum(axis=1) + 1
        return float(np.sqrt(squares.max()))

    @property
    def largest_weight(self):
        s = self.sample_weight
        return 1.0 if s is None else float(s.max() / s.mean())

    def rate_for(self, largest_row):
        """One over the curvature: of a loss weight * |x|**2 / 2 at most (Böhning 1992), and 2 * l2."""
        return 1 / (self.largest_weight * largest_row**2 / 2 + self.alpha)

    @property
    def parameters(self):
        return {
            "backend": self.backend,
            "penalty": self.penalty,
            "alpha": self.alpha,
            "l1_ratio": 0.5,
            "batch_size": self.batch_size,
            "max_iter": self.epochs,
            "tol": None,
            "learning_rate": "constant",
            "eta0": self.rate_for(self.largest_row),
            "fit_intercept": self.fit_intercept,
            "random_state": self.seed,
        }

    def forced(self, X):
        """Force the step algorithm for a fit on X."""
        is_dense = self.backend == "compiled" and isinstance(X, np.ndarray)
        return forced(self.algorithm if is_dense else "")

    @property
    def n_steps(self):
        return self.epochs * -(-self.n_samples // self.batch_size)


@st.composite
def trainings(draw, among=_AMONG):
    seed, more = draw(seeds), draw(st.integers(0, 40))
    d = draw(st.sampled_from((1, 2, 7, 16, 17, 33, 100)))
    choose = Random(f"{seed} {more} {d}").choice
    backend, c = choose(among), choose((2, 3, 10, 16, 17, 40))
    n = c + more
    if backend == "naive":
        d = min(d, max(_MAX_NAIVE_WORK // (n * c), 1))
    return Training(
        backend=backend,
        n_samples=n,
        n_features=d,
        n_classes=c,
        dtype=choose(DTYPES),
        penalty=choose((None, "l2", "l1", "elasticnet")),
        alpha=choose((1e-4, 0.01, 1.0)),
        batch_size=choose((1, 3, 16, 64)),
        epochs=draw(st.integers(1, 3)),
        fit_intercept=choose((False, True)),
        weights=choose((False, True)),
        seed=seed,
        algorithm=choose(("", *DENSE)),
    )


@dataclass(frozen=True)
class Optimum:
    """A problem with a minimum that solvers are to find, with a penalty."""

    backend: str
    n_samples: int
    n_features: int
    n_classes: int
    dtype: str
    penalty: str
    alpha: float
    smoothing: float
    fit_intercept: bool
    standardize: bool
    sparse: bool
    soft: bool
    weights: bool
    seed: int

    def rng(self, purpose):
        return np.random.default_rng([self.seed, self.n_samples, self.n_features, purpose])

    @cached_property
    def X(self):
        """Features of unequal sizes that depend on each other; with `sparse`, a third is not 0."""
        rng, d = self.rng(0), self.n_features
        X = rng.normal(size=(self.n_samples, d)) @ rng.normal(size=(d, d))
        X *= 4.0 ** rng.integers(-2, 3, size=d)
        return np.where(rng.random(X.shape) < 1 / 3, X, 0 if self.sparse else X).astype(self.dtype)

    @cached_property
    def labels(self):
        """Every class occurs."""
        return self.rng(1).permutation(np.arange(self.n_samples) % self.n_classes)

    @cached_property
    def y(self):
        if not self.soft:
            return self.labels
        return self.rng(2).dirichlet(np.ones(self.n_classes), self.n_samples).astype(self.dtype)

    @cached_property
    def sample_weight(self):
        """Integers, or None; no class is without weight."""
        if not self.weights:
            return None
        weights = self.rng(3).integers(0, 4, self.n_samples)
        weights[np.unique(self.labels, return_index=True)[1]] = 2
        return weights

    @property
    def parameters(self):
        return {
            "solver": "lbfgs",
            "backend": self.backend,
            "penalty": self.penalty,
            "alpha": self.alpha,
            "l1_ratio": 0.5,
            "label_smoothing": self.smoothing,
            "fit_intercept": self.fit_intercept,
            "standardize": self.standardize,
            "max_iter": 300,
        }

    @property
    def l1(self):
        return {"l2": 0, "l1": self.alpha, "elasticnet": self.alpha / 2}[self.penalty]

    @property
    def l2(self):
        return {"l2": self.alpha / 2, "l1": 0, "elasticnet": self.alpha / 4}[self.penalty]


@st.composite
def optima(draw, soft=(False, True), weights=(False, True)):
    seed, n = draw(seeds), draw(st.integers(4, 40))
    choose = Random(f"{seed} {n} optimum").choice
    return Optimum(
        # Without the naive backend: with L1 there may be hundreds of iterations.
        backend=choose(("compiled", "compiled", "vectorized", "numba")),
        n_samples=n,
        n_features=choose((1, 2, 5, 8)),
        n_classes=choose((2, 3, 4)),
        dtype=choose(DTYPES),
        penalty=choose(("l2", "l2", "l1", "elasticnet")),
        alpha=choose((1e-3, 0.02, 1.0)),
        smoothing=choose((0.0, 0.0, 0.125)),
        fit_intercept=choose((False, True)),
        standardize=choose((False, True)),
        sparse=choose((False, True)),
        soft=choose(soft),
        weights=choose(weights),
        seed=seed,
    )
