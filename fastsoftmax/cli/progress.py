"""A progress bar on the terminal while a comparison runs."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


class ProgressBar:
    """A `ProgressListener` that draws on standard error, and nothing if that is not a terminal.

    A thread redraws the bar twice per second: rarely enough not to disturb the measurement.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            refresh_per_second=2,
            transient=True,
        )
        self._task = self._progress.add_task("preparing the data", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def on_warm_up(self, backend: str) -> None:
        """Show which backend warms up."""
        self._progress.update(self._task, description=f"warming up {backend:<10}")

    def on_start(self, n_epochs: int) -> None:
        """Show the total number of epochs."""
        self._progress.update(self._task, total=n_epochs)

    def on_turn(self, backend: str) -> None:
        """Show which backend is running."""
        self._progress.update(self._task, description=f"training   {backend:<10}")

    def on_epoch_end(self) -> None:
        """Advance by one epoch."""
        self._progress.advance(self._task)
