"""`defaults`: how good the defaults of solver "sgd" are, without tuning (decision 29).

Three tables: the gap of the training objective after some epochs, over the best gap of a grid; held-out log
loss and accuracy of `SoftmaxClassifier(standardize=True)`, beside the constant rate and LogisticRegression;
and those of `alpha="auto"`, beside the best of a grid of strengths.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from fastsoftmax import DivergenceError, LogisticRegression, SoftmaxClassifier
from fastsoftmax.cli.errors import CommandError
from fastsoftmax.cli.options import positive_integer

from . import tables
from .optimum_sets import SETS, OptimumProblem, Shape

# Small enough for ten splits; with --full the sets have the sizes of `optimum`.
_SHAPES: dict[str, Shape] = {
    "well-conditioned": (4_000, 50, 7),
    "ill-conditioned": (16_000, 54, 7),
    "two-classes": (4_000, 100, 2),
    "many-classes": (4_000, 50, 60),
    "wide": (667, 1_000, 5),
    "unscaled": (4_000, 50, 5),
    "text": (3_000, 3_000, 10),
    "pixels": (3_000, 784, 10),
    "embeddings": (3_000, 384, 20),
}
_EPOCHS = (10, 30, 100)
_BATCHES, _MOMENTA, _STEPS = (8, 32, 128), (0.0, 0.9), (0.25, 1.0, 4.0, 16.0)
_SCHEDULES = ("constant", "linear")
_MIN_GAP = 1e-6  # of float32
_ALPHAS = tuple(10 ** (-i / 2) for i in range(1, 13))
_NOTE = """\
(a) log10 of the gap to the minimum over the smallest of the grid (batch x momentum x step x schedule).
(b), (c) Means over the splits. "worse" is the largest difference to the others, in standard errors of it:
above 1 the defaults are worse. "constant": a constant rate, batch_size=200, alpha=1e-4, as before."""


class Quality(NamedTuple):
    """Scores on held-out samples, one for each split."""

    log_loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def add_options(options: argparse.ArgumentParser) -> None:
    """Add the options that no other command has."""
    options.add_argument("--sets", default=",".join(SETS), metavar="NAME,...", help="%(default)s")
    options.add_argument(
        "--parts", default="a,b,c", help="out of a, b and c (default: %(default)s)"
    )
    options.add_argument(
        "--splits", type=positive_integer, default=10, metavar="N", help="default: %(default)s"
    )
    options.add_argument("--full", action="store_true", help="made-up sets as large as in optimum")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    names, parts = arguments.sets.split(","), arguments.parts.split(",")
    if unknown := [name for name in names if name not in SETS]:
        raise CommandError(
            f"argument --sets: expected names out of {', '.join(SETS)}, got {unknown[0]!r}"
        )
    if unknown := [part for part in parts if part not in _PARTS]:
        raise CommandError(f"argument --parts: expected a, b or c, got {unknown[0]!r}")
    console, record = tables.new_console(arguments.json), {}
    for part in parts:
        record[part] = {}
        for name in names:
            tables.report_progress(f"{part}: {name}")
            shape = None if arguments.full else _SHAPES.get(name)
            problem = SETS[name].problem(shape, quick=False, alpha=None)
            with catch_warnings():
                simplefilter("ignore")
                record[part][name] = _PARTS[part](problem, arguments.splits)
        _print(console, part, record[part])
    console.print(_NOTE, markup=False)
    tables.save_json(arguments.json, "defaults", {"splits": arguments.splits}, {"parts": record})
    return 0


def _print(console: Console, part: str, rows: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(rows.values())))
    table = tables.new_table(f"({part})", *columns)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.3g}" for column in columns))
    means = {column: float(np.mean([row[column] for row in rows.values()])) for column in columns}
    table.add_row("mean", *(f"{mean:.3g}" for mean in means.values()))
    console.print("", table, "", sep="\n")


def gaps(problem: OptimumProblem, n_splits: int) -> dict[str, float]:
    """Return log10 of the gap of the defaults over the smallest of the grid, by number of epochs."""
    X, y, alpha = problem.X32, problem.y, problem.alpha
    common = {"alpha": alpha, "tol": None, "random_state": 0}
    best = SoftmaxClassifier(solver="lbfgs", alpha=alpha, tol=1e-8, max_iter=5_000)
    minimum = _objective(best.fit(problem.X64, y), problem)
    sizes = {
        batch: SoftmaxClassifier(**common, learning_rate="constant", batch_size=batch, max_iter=1)
        .fit(X, y)
        .eta0_
        for batch in _BATCHES
    }

    def gap(**parameters: Any) -> float:
        try:
            model = SoftmaxClassifier(**common, **parameters).fit(X, y)
        except DivergenceError:
            return np.inf
        return max((_objective(model, problem) - minimum) / minimum, _MIN_GAP)

    found = {}
    for n in _EPOCHS:
        grid = min(
            gap(max_iter=n, batch_size=b, momentum=m, eta0=step * sizes[b], learning_rate=schedule)
            for b, m, step, schedule in product(_BATCHES, _MOMENTA, _STEPS, _SCHEDULES)
        )
        constant = gap(max_iter=n, learning_rate="constant", batch_size=200)
        found[f"defaults, {n} epochs"] = float(np.log10(gap(max_iter=n) / grid))
        found[f"constant, {n}"] = float(np.log10(constant / grid))
    return found


def as_it_comes(problem: OptimumProblem, n_splits: int) -> dict[str, float]:
    """Return the quality of the defaults, of the constant rate and of LogisticRegression."""
    ours = _quality(problem, n_splits, lambda: SoftmaxClassifier(standardize=True, random_state=0))
    others = {
        "constant": _quality(
            *(problem, n_splits),
            lambda: SoftmaxClassifier(
                standardize=True,
                learning_rate="constant",
                batch_size=200,
                alpha=1e-4,
                random_state=0,
            ),
        ),
        "LR": _quality(problem, n_splits, lambda: LogisticRegression(max_iter=1_000), scales=True),
    }
    row = {"log loss": float(ours.log_loss.mean()), "accuracy": float(ours.accuracy.mean())}
    for name, other in others.items():
        row |= {f"{name}: loss": float(other.log_loss.mean())}
        row |= {f"{name}: accuracy": float(other.accuracy.mean())}
    row["worse: loss"] = max(_errors(ours.log_loss - each.log_loss) for each in others.values())
    row["worse: accuracy"] = max(_errors(each.accuracy - ours.accuracy) for each in others.values())
    return row


def with_automatic_alpha(problem: OptimumProblem, n_splits: int) -> dict[str, float]:
    """Return the quality with `alpha="auto"`, and the best of a grid of strengths at their minima."""
    common: dict[str, Any] = {"standardize": True, "random_state": 0}
    ours = _quality(problem, n_splits, lambda: SoftmaxClassifier(**common, alpha="auto"))
    grid = [
        _quality(
            problem, n_splits, lambda a=a: SoftmaxClassifier(solver="lbfgs", alpha=a, **common)
        )
        for a in _ALPHAS
    ]
    return {
        "log loss": float(ours.log_loss.mean()),
        "best of the grid": min(float(each.log_loss.mean()) for each in grid),
        "accuracy": float(ours.accuracy.mean()),
        "best accuracy": max(float(each.accuracy.mean()) for each in grid),
    }


_PARTS: dict[str, Callable[[OptimumProblem, int], dict[str, float]]] = {
    "a": gaps,
    "b": as_it_comes,
    "c": with_automatic_alpha,
}


def _objective(model: SoftmaxClassifier, problem: OptimumProblem) -> float:
    coef = model.coef_.astype(np.float64)
    logits = np.asarray(problem.X64 @ coef.T) + model.intercept_
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(logits)), problem.y]
    losses = np.log(np.exp(logits).sum(axis=1)) - own
    return float(losses.mean() + problem.alpha / 2 * (coef**2).sum())


def _quality(
    problem: OptimumProblem, n_splits: int, make: Callable[[], Any], scales: bool = False
) -> Quality:
    """Return the scores of new models on the splits; `scales` standardises for those that do not."""
    from sklearn.model_selection import ShuffleSplit
    from sklearn.preprocessing import StandardScaler

    X, y = problem.X32, problem.y
    losses, accuracies = [], []
    splits = ShuffleSplit(n_splits, test_size=0.25, random_state=0)
    for trained, scored in splits.split(np.zeros(len(y))):
        scored = scored[np.isin(y[scored], y[trained])]  # a class of few samples may be missing
        X_train, X_test = X[trained], X[scored]
        if scales:
            scaler = StandardScaler(with_mean=not problem.is_sparse).fit(X_train)
            X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
        model = make().fit(X_train, y[trained])
        places = np.searchsorted(model.classes_, y[scored])
        log_p = model.predict_log_proba(X_test)[np.arange(len(scored)), places]
        losses.append(-log_p.astype(np.float64).mean())
        accuracies.append(model.score(X_test, y[scored]))
    return Quality(np.array(losses), np.array(accuracies))


def _errors(worse: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the mean difference in its standard errors; 0 if there is none."""
    mean, n = float(np.mean(worse)), len(worse)
    if not mean or n < 2:
        return 0.0
    return mean / max(float(np.std(worse, ddof=1)) / n**0.5, 1e-12)
