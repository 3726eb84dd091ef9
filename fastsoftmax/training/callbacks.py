"""Watching a long fit: lines, a progress bar, and callbacks that may stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from .._optional import import_optional

# What a callback gets and may return: true to stop the fit.
Callback = Callable[["EpochEnd"], object]


class EpochEnd:
    """The state of a fit after an epoch, as callbacks get it.

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
        """That of the last step; asks a callable schedule for it."""
        return self._rate()

    @property
    def model(self) -> Any:
        """A fitted copy of the classifier, with the weights as they are when it is asked for."""
        return self._make_model()

    def __repr__(self) -> str:
        score = (
            "" if self.validation_score is None else f", validation_score={self.validation_score:g}"
        )
        return f"EpochEnd(epoch={self.epoch}, loss={self.loss:.6g}{score})"


def callbacks_of(callbacks: object) -> list[Callback]:
    """Return the functions to call after an epoch.

    Raises
    ------
    TypeError
        If one is neither callable nor has a method `on_epoch_end`.
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
    """Call all of them, and return whether one has returned true."""
    if not callbacks:
        return False
    state = make_state()
    wishes = [callback(state) for callback in callbacks]  # each, whatever another one wants
    for wish in wishes:
        if wish is not None and not isinstance(wish, bool | int | np.bool_):
            raise TypeError(
                "callbacks: expected that they return True to stop the fit, or False or None, "
                f"got {wish!r}"
            )
    return any(wishes)


def line(epoch: int, loss: float, validation_score: float | None, remark: str = "") -> str:
    """Return what is printed of an epoch."""
    score = "" if validation_score is None else f", validation score {validation_score:.4f}"
    return f"epoch {epoch}: loss {loss:.6g}{score}{_added(remark)}"


def _added(remark: str) -> str:
    return f", {remark}" if remark else ""


class Bar:
    """A progress bar on the standard error stream, where that is a terminal, or in a notebook."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, epoch: int, loss: float, validation_score: float | None, remark: str) -> None:
        """Move it to the end of an epoch, counted from 1."""
        if self._progress is None:
            return
        text = f"loss {loss:.4g}"
        if validation_score is not None:
            text += f", validation {validation_score:.1%}"
        self._progress.update(self._task, completed=epoch, losses=text + _added(remark))


_NO_BAR = Bar(None, None)


def progress_bar(wanted: bool, n_epochs: int, n_done: int) -> Bar:
    """Show a bar until the `with` block ends, or nothing where it is not wanted or nobody would see it.

    Of `n_epochs`, `n_done` have run before.

    Raises
    ------
    ImportError
        If it is wanted and rich cannot be imported.
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
        bars.TextColumn("epochs"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[losses]}"),
        bars.TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )
    task = progress.add_task("", total=n_epochs, completed=n_done, losses="")
    try:
        progress.start()
    except errors.LiveError:  # another fit, of another thread, has the terminal
        return _NO_BAR
    return Bar(progress, task)
