"""Progress of a fit: printed lines, a progress bar, and callbacks that may stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Protocol, Self

import numpy as np

from .._arrays.validation import shown
from .._optional import import_optional

# A callback gets the state after an epoch, and returns true to stop the fit.
Callback = Callable[["EpochEnd"], object]


class EpochEnd:
    """The state of a fit after an epoch, which callbacks get.

    Attributes
    ----------
    epoch : int
        The number of the epoch, counted from 1.
    n_steps : int
        Steps taken so far.
    loss : float
        The objective of the epoch, the last number of `loss_curve_`.
    validation_score : float or None
        The last number of `validation_scores_`, with `early_stopping`.
    """

    def __init__(
        self,
        epoch: int,
        n_steps: int,
        loss: float,
        validation_score: float | None,
        rate: Callable[[], float],
        make_model: Callable[[], Any],
    ) -> None:
        self.epoch = epoch
        self.n_steps = n_steps
        self.loss = loss
        self.validation_score = validation_score
        self._rate = rate
        self._make_model = make_model

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step; a callable schedule is called for it."""
        return self._rate()

    @property
    def model(self) -> Any:
        """A fitted copy of the classifier, with the current weights."""
        return self._make_model()

    def __repr__(self) -> str:
        score = (
            "" if self.validation_score is None else f", validation_score={self.validation_score:g}"
        )
        return f"EpochEnd(epoch={self.epoch}, loss={self.loss:.6g}{score})"


class Tasks(Protocol):
    """An observer of the beginning and the end of every epoch; `make_model` returns the present model."""

    def begin(self, make_model: Callable[[], Any]) -> None:
        """Take notice that an epoch begins."""

    def end(self, make_model: Callable[[], Any]) -> bool:
        """Take notice that it has ended, and return whether the fit is to stop."""


def callbacks_of(callbacks: object) -> list[Callback]:
    """Return the functions to call after an epoch.

    Raises
    ------
    TypeError
        If a callback is neither callable nor has a method `on_epoch_end`.
    """
    if callbacks is None:
        return []
    given = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    functions: list[Any] = [getattr(callback, "on_epoch_end", callback) for callback in given]
    for callback, function in zip(given, functions, strict=True):
        if not callable(function):
            raise TypeError(
                f"callbacks: expected a callable, an object with a method on_epoch_end(state), or a list "
                f"of them, got {callback!r}"
            )
    return functions


def should_stop(callbacks: Sequence[Callback], make_state: Callable[[], EpochEnd]) -> bool:
    """Call all callbacks, and return whether one of them has returned true."""
    if not callbacks:
        return False
    state = make_state()
    answers = [callback(state) for callback in callbacks]  # all are called, even if the first stops
    for answer in answers:
        if answer is not None and not isinstance(answer, bool | int | np.bool_):
            raise TypeError(
                "callbacks: expected them to return True to stop the fit, or False or None, "
                f"got {shown(answer)}"
            )
    return any(answers)


def line(epoch: int, loss: float, validation_score: float | None, remark: str = "") -> str:
    """Return the line that `verbose` prints for an epoch."""
    score = "" if validation_score is None else f", validation score {validation_score:.4f}"
    return f"epoch {epoch}: loss {loss:.6g}{score}{_after_comma(remark)}"


def _after_comma(remark: str) -> str:
    return f", {remark}" if remark else ""


class Bar:
    """A progress bar in a notebook or on the standard error stream; it draws nothing without `progress`."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, epoch: int, loss: float, validation_score: float | None, remark: str) -> None:
        """Advance the bar to the end of an epoch, counted from 1."""
        if self._progress is None:
            return
        text = f"loss {loss:.4g}"
        if validation_score is not None:
            text += f", validation {validation_score:.1%}"
        self._progress.update(self._task, completed=epoch, losses=text + _after_comma(remark))


_NO_BAR = Bar(None, None)


def progress_bar(wanted: bool, n_epochs: int | None, n_done: int, unit: str = "epochs") -> Bar:
    """Return a bar that is shown until the `with` block ends, with `n_done` of `n_epochs` epochs completed.

    It may count another unit; None if their number is not known.

    Nothing is shown unless it is wanted and the output is a terminal or a notebook.

    Raises
    ------
    ImportError
        If a bar is wanted and rich cannot be imported.
    """
    if not wanted:
        return _NO_BAR
    consoles, errors, bars = (
        import_optional(f"rich.{name}", "progress_bar: needs")
        for name in ("console", "errors", "progress")
    )
    console = consoles.Console(stderr=True)
    if not console.is_terminal and not console.is_jupyter:
        return _NO_BAR
    progress = bars.Progress(
        bars.TextColumn(unit),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[losses]}"),
        bars.TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )
    task = progress.add_task("", total=n_epochs, completed=n_done, losses="")
    try:
        progress.start()
    except errors.LiveError:  # a fit in another thread already draws on the terminal
        return _NO_BAR
    return Bar(progress, task)


class PathProgress:
    """Progress of a path of strengths: a line for each iteration if `verbose`, and a bar of the strengths.

    Several threads may report to it.
    """

    def __init__(self, bar: Bar, verbose: int, n_strengths: int | None = None) -> None:
        self._bar, self._verbose = bar, verbose
        self._number = "" if n_strengths is None else f" of {n_strengths}"
        self._lock, self._n_done, self._is_stopped = Lock(), 0, False

    def iteration(self, alpha: float, part: str, run: Any) -> None:
        """Show an iteration of a run of the solver; `part` names the samples if there are several sets.

        Raises
        ------
        KeyboardInterrupt
            After `stop`, so that other threads end soon, too.
        """
        with self._lock:
            if self._is_stopped:
                raise KeyboardInterrupt
            n_epochs, loss = len(run.curve), run.curve[-1]
            passes = f"{run.solver.n_passes} passes"
            remark = f"{run.remark}, {passes}" if run.remark else passes
            if self._verbose:
                where = f"strength {self._n_done + 1}{self._number}, alpha {alpha:.3g}"
                print(f"{where}{_after_comma(part)}, {line(n_epochs, loss, None, remark)}")
            text = f"{remark}, alpha {alpha:.3g}{_after_comma(part)}"
            self._bar.update(self._n_done, loss, None, text)

    def strength(self, alpha: float, log_loss: float, accuracy: float) -> None:
        """Show that a strength is done, and its scores on held-out samples."""
        with self._lock:
            self._n_done += 1
            if self._verbose:
                where = f"strength {self._n_done}{self._number}, alpha {alpha:.3g}"
                print(f"{where}: held-out log loss {log_loss:.6g}, accuracy {accuracy:.2%}")
            self._bar.update(self._n_done, log_loss, accuracy, f"alpha {alpha:.3g}")

    def stop(self) -> None:
        """End the runs of other threads with their next iteration."""
        self._is_stopped = True
