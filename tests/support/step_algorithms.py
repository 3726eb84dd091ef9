"""What trains a classifier: every backend, the compiled one by each of its step algorithms, forced."""

from contextlib import contextmanager
from typing import NamedTuple

from variants import BACKENDS

from fastsoftmax.backends import get_backend

# Each of these can train on any dense rows with at most 40 classes; sparse rows have one of their own.
DENSE = ("short_rows", "panels", "packed")
# Samples, features and classes that leave remainders of vectors, and more than one of what an algorithm
# cuts features and classes into: strips, panels, slabs.
SHAPES = {
    "short_rows": (13, 17, 5),
    "panels": (13, 530, 5),
    "packed": (30, 530, 45),
    "sparse": (30, 530, 45),
}


class Trainer(NamedTuple):
    backend: str
    algorithm: str = ""  # of the compiled backend
    is_sparse: bool = False  # what it trains on

    def __str__(self):
        return "-".join(filter(None, (self.backend, self.algorithm or "sparse" * self.is_sparse)))

    @property
    def shape(self):
        """(n_samples, n_features, n_classes): those of the algorithm, small ones for the other backends."""
        return SHAPES[self.algorithm or ("sparse" if self.is_sparse else "short_rows")]


def trainers(algorithms, is_sparse=False):
    return [
        Trainer(backend, algorithm, is_sparse)
        for backend in BACKENDS
        for algorithm in (algorithms if backend == "compiled" else ("",))
    ]


DENSE_TRAINERS = trainers(DENSE)
ALL_TRAINERS = DENSE_TRAINERS + trainers(("sparse",), is_sparse=True)


@contextmanager
def forced(algorithm):
    """Have the compiled backend train by this step algorithm; by an empty name, as it does by itself."""
    if not algorithm:  # where it may be missing
        yield
        return
    compiled = get_backend("compiled")
    before = compiled.force_step_algorithm(algorithm)
    try:
        yield
    finally:
        compiled.force_step_algorithm(before)
