"""How much a search over learning rates and penalties costs: at once, one fit each, and by `GridSearchCV`.

    python -m benchmarks.search

All four train the same combinations for as many epochs on the same share of the samples, and score them on
the rest. In turns, medians; nothing else should run.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from fastsoftmax import SoftmaxClassifier, search
from fastsoftmax._arrays.threads import default_n_threads
from fastsoftmax.cli.timing import measure

SHAPES = [(20000, 784, 10), (20000, 784, 10, "uint8"), (50000, 54, 7), (1797, 64, 10)]
RATES, REGS = np.geomspace(1e-4, 1e-2, 4), np.geomspace(1e-5, 1e-2, 4)
EPOCHS, SHARE, BATCH = 10, 0.2, 128


def problem_of(shape: tuple[Any, ...]) -> tuple[Any, Any]:
    """Made-up data of a shape, with classes that a linear model can tell."""
    n, d, c, *kind = shape
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)).astype(np.float32)
    y = (X @ rng.normal(size=(d, c)).astype(np.float32)).argmax(axis=1)
    if kind:
        X = (128 + 40 * X).clip(0, 255).astype(kind[0])
    return X, y


def ways(X: Any, y: Any) -> dict[str, Callable[[], Any]]:
    """Each does all of it; `standardize` so that one grid of rates serves every shape."""
    fixed = {"max_iter": EPOCHS, "batch_size": BATCH, "random_state": 0, "standardize": True}
    fixed["learning_rate"] = "constant"
    split = ShuffleSplit(1, test_size=SHARE, random_state=0)
    grid = {"eta0": RATES.tolist(), "alpha": REGS.tolist()}
    ((train, test),) = split.split(X)

    def one_by_one() -> None:
        for rate in RATES:
            for reg in REGS:
                model = SoftmaxClassifier(eta0=rate, alpha=reg, tol=None, **fixed)
                model.fit(X[train], y[train]).score(X[test], y[test])

    def by_grid_search(n_threads: int, n_jobs: int) -> None:
        model = SoftmaxClassifier(tol=None, n_jobs=n_jobs, **fixed)
        with joblib.parallel_backend("threading", n_jobs=n_threads):
            GridSearchCV(model, grid, cv=split, refit=False, n_jobs=n_threads).fit(X, y)

    n = default_n_threads()
    return {
        "search": lambda: search(X, y, learning_rates=RATES, regs=REGS, validation=SHARE, **fixed),
        "a fit each": one_by_one,
        "GridSearchCV": lambda: by_grid_search(1, n),
        "GridSearchCV, 1 thread": lambda: by_grid_search(1, 1),
        f"GridSearchCV, {n} threads": lambda: by_grid_search(n, 1),
    }


def main() -> None:
    """Print a table for every shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore", ConvergenceWarning)
    table = Table("shape", "way", "seconds", "over search")
    for shape in SHAPES:
        timings = measure(ways(*problem_of(shape)), rounds)
        for name, timing in timings.items():
            ratio = f"{timing.median / timings['search'].median:.2f}"
            shown = "x".join(map(str, shape)) if name == "search" else ""
            table.add_row(shown, name, f"{timing.median:.3f}", ratio)
        table.add_section()
    Console().print(table)
    print(f"{len(RATES) * len(REGS)} combinations, {EPOCHS} epochs, minibatches of {BATCH}.")


if __name__ == "__main__":
    main()
