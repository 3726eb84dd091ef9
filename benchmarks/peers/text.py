"""The row of `epochs` that is sparse: time to the same accuracy, against one binary classifier a class.

`SGDClassifier(loss="log_loss")` has another model and steps of one sample, so that neither an epoch's time
nor its loss can be compared. What can is how long a fit takes that classifies as well: the target is the
accuracy, on samples held out, at which `SGDClassifier` with its defaults stops by itself. Every contender
fits as few whole epochs as reach it, in the mean over some seeds; these numbers are found before the clock
starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.cli.timing import Timing, measure

from . import tables
from .contender import Contender, present_and_missing
from .threads import limited

NAME = "40000x65536x20x32"
_VALUES_A_ROW = 37
_TEST_SHARE = 0.2
_SECONDS_A_TURN = 0.05
_MAX_EPOCHS = 12
_SEEDS = range(3)
# The time of SGDClassifier with its defaults over ours.
_MIN_TIMES = 3.0


class TextProblem(NamedTuple):
    """CSR matrices like those of documents weighted by tf-idf, and labels."""

    X: Any  # scipy.sparse.csr_array
    y: NDArray[np.int64]
    X_test: Any
    y_test: NDArray[np.int64]
    batch_size: int


def made_up_text(n: int, n_words: int, n_topics: int, batch_size: int) -> TextProblem:
    """Return documents of `_VALUES_A_ROW` words on average, out of topics, a fifth more of them to test.

    Words follow Zipf's law. A sixth of a document's words are drawn by the frequencies of its topic, which
    has an order of the words of its own.
    """
    from scipy.sparse import csr_array

    random = np.random.default_rng(0)
    n_all = n + int(n * _TEST_SHARE)
    cumulative = np.cumsum(1 / np.arange(1, n_words + 1))
    drawn = random.random(int(n_all * _VALUES_A_ROW * 1.12)) * cumulative[-1]  # some twice
    words = np.searchsorted(cumulative, drawn).clip(0, n_words - 1)
    documents = np.sort(random.integers(n_all, size=len(words)))
    y = random.integers(n_topics, size=n_all)
    orders = random.permuted(np.tile(np.arange(n_words), (n_topics, 1)), axis=1)
    of_topic = random.random(len(words)) < 1 / 6
    words[of_topic] = orders[y[documents[of_topic]], words[of_topic]]
    counts = csr_array(
        (np.ones(len(words), np.float32), (documents.astype(np.int32), words.astype(np.int32))),
        shape=(n_all, n_words),
    )
    counts.sum_duplicates()
    in_documents = np.bincount(counts.indices, minlength=n_words)
    rarity = np.log((1 + n_all) / (1 + in_documents)) + 1
    counts.data *= rarity[counts.indices].astype(np.float32)
    row_of = np.repeat(np.arange(n_all), np.diff(counts.indptr))
    squares = np.bincount(row_of, weights=counts.data.astype(float) ** 2, minlength=n_all)
    counts.data /= np.sqrt(squares)[row_of].astype(np.float32)
    return TextProblem(counts[:n], y[:n], counts[n:], y[n:], batch_size)


class TextClassifier(Contender):
    """A contender that classifies documents."""

    model: Any

    def __init__(self, problem: TextProblem, n_threads: int) -> None:
        self.problem, self.n_threads = problem, n_threads

    def fit(self, n_epochs: int, seed: int) -> None:
        """Train from zeros."""
        with catch_warnings():
            simplefilter("ignore")  # that the last epoch is no minimum
            self.model.set_params(max_iter=n_epochs, random_state=seed)
            self.model.fit(self.problem.X, self.problem.y)

    def accuracy(self) -> float:
        """Return the share of the test's documents that are classified right."""
        return float(self.model.score(self.problem.X_test, self.problem.y_test))


class FastSoftmax(TextClassifier):
    """The compiled backend; the rate falls linearly to 0 at the last step."""

    name = "fastsoftmax"

    def fit(self, n_epochs: int, seed: int) -> None:
        n_steps = n_epochs * -(-self.problem.X.shape[0] // self.problem.batch_size)
        self.model = SoftmaxClassifier(
            backend="compiled",
            penalty="l2",
            alpha=1e-5,
            tol=None,
            batch_size=self.problem.batch_size,
            learning_rate=lambda step: 16 * (1 - step / n_steps),
            n_jobs=self.n_threads,
        )
        super().fit(n_epochs, seed)


class SGD(TextClassifier):
    """With its defaults, but for when it stops."""

    name = "sgd"
    needs: ClassVar[dict[str, str]] = {"sklearn": "scikit-learn"}

    def __init__(self, problem: TextProblem, n_threads: int) -> None:
        from sklearn.linear_model import SGDClassifier

        super().__init__(problem, n_threads)
        self.model = SGDClassifier(loss="log_loss", tol=None)

    def target(self) -> float:
        """Return the accuracy of a fit that stops by itself."""
        from sklearn.linear_model import SGDClassifier

        model = SGDClassifier(loss="log_loss", random_state=0)
        model.fit(self.problem.X, self.problem.y)
        return float(model.score(self.problem.X_test, self.problem.y_test))


class SGDTuned(SGD):
    """With the strength of the penalty that does best, out of powers of 10, and all threads."""

    name = "sgd-tuned"

    def __init__(self, problem: TextProblem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        self.model.set_params(alpha=1e-5, n_jobs=n_threads)


PEERS: tuple[type[SGD], ...] = (SGD, SGDTuned)


@dataclass(frozen=True)
class Outcome:
    """What was found: of fits that reach the target."""

    target: float
    epochs: Mapping[str, int]
    accuracies: Mapping[str, float]  # in the mean over the seeds
    timings: Mapping[str, Timing]  # of a whole fit

    def reaches(self, name: str) -> bool:
        """Whether a contender classifies as well as asked."""
        return self.accuracies[name] >= self.target

    def ratio(self, name: str) -> float:
        """Return the time of a contender over ours."""
        return self.timings[name].median / self.timings[FastSoftmax.name].median


def outcome_of(
    problem: TextProblem, contenders: Sequence[type[SGD]], n_rounds: int, n_threads: int
) -> Outcome:
    """Measure fastsoftmax and others."""
    trainers = [FastSoftmax(problem, n_threads), *(peer(problem, n_threads) for peer in contenders)]
    epochs, accuracies = {}, {}
    target = SGD(problem, n_threads).target()
    with limited(n_threads):
        for trainer in trainers:
            epochs[trainer.name], accuracies[trainer.name] = _epochs_to(target, trainer)
        seed = 0

        def begin_turn(i: int) -> None:
            nonlocal seed
            seed = i

        def fit(trainer: TextClassifier) -> None:
            trainer.fit(epochs[trainer.name], seed)

        timings = measure(
            {trainer.name: partial(fit, trainer) for trainer in trainers},
            n_rounds,
            _SECONDS_A_TURN,
            begin_turn,
        )
    return Outcome(target, epochs, accuracies, timings)


def _epochs_to(target: float, trainer: TextClassifier) -> tuple[int, float]:
    """Return the fewest epochs that reach the target, or those that come nearest, and the accuracy."""
    best = (0, 0.0)
    for n_epochs in range(1, _MAX_EPOCHS + 1):
        accuracies = []
        for seed in _SEEDS:
            trainer.fit(n_epochs, seed)
            accuracies.append(trainer.accuracy())
        best = max(best, (n_epochs, float(np.mean(accuracies))), key=lambda found: found[1])
        if best[1] >= target:
            break
    return best


def run(n_rounds: int, n_threads: int) -> tuple[Outcome | None, dict[str, str]]:
    """Measure the row; None, and the reasons, where scikit-learn is missing."""
    peers, missing = present_and_missing(PEERS)
    if not peers:
        return None, missing
    tables.report_progress(f"{NAME}: {', '.join(peer.name for peer in peers)}")
    n, n_words, n_topics, batch_size = map(int, NAME.split("x"))
    problem = made_up_text(n, n_words, n_topics, batch_size)
    return outcome_of(problem, peers, n_rounds, n_threads), missing


def print_table(console: Console, outcome: Outcome) -> None:
    """Print what was found."""
    table = tables.new_table(
        "sparse shape",
        "contender",
        "fit",
        "from all rounds",
        "over ours",
        "at least",
        "epochs",
        "accuracy",
        names=2,
    )
    for i, (name, timing) in enumerate(outcome.timings.items()):
        ratio, least = outcome.ratio(name), _MIN_TIMES if name == SGD.name else None
        accuracy = f"{outcome.accuracies[name]:.4f}"
        table.add_row(
            "" if i else NAME,
            name,
            *tables.timing_cells(timing),
            tables.at_least(tables.times(ratio), ratio, least),
            "-" if least is None else tables.times(least),
            str(outcome.epochs[name]),
            accuracy if outcome.reaches(name) else Text(f"MISSES {accuracy}", style="bold red"),
        )
    console.print(table, "", sep="\n")
    console.print(
        f"CSR, {_VALUES_A_ROW} values a row, like documents. Time of a whole fit, of the fewest epochs "
        f"with a test accuracy of\n{outcome.target:.4f} in the mean over {len(_SEEDS)} seeds: that of "
        "SGDClassifier(loss='log_loss') where it stops by itself. sgd: with its\ndefaults, on one thread; "
        "sgd-tuned: its best alpha, and all threads.\n",
        markup=False,
    )


def as_record(outcome: Outcome) -> dict[str, Any]:
    """Return the numbers in the types of JSON."""
    return {
        "shape": NAME,
        "target_accuracy": outcome.target,
        "contenders": {
            name: {
                **timing.as_record(),
                "over_ours": outcome.ratio(name),
                "epochs": outcome.epochs[name],
                "accuracy": outcome.accuracies[name],
                "reaches": outcome.reaches(name),
            }
            for name, timing in outcome.timings.items()
        },
        "least_times": _MIN_TIMES,
    }
