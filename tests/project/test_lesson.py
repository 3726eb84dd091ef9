"""The lesson in docs/lesson: checks fail before an exercise is solved, and all of it runs after that."""

import importlib
import sys
from itertools import count
from time import perf_counter

import pytest
from paths import ROOT
from threadpoolctl import threadpool_limits

LESSON = ROOT / "docs" / "lesson"
# What makes the second part take seconds instead of half a minute.
SHORTENED = {
    "n, d, c = 16384": "n, d, c = 1024",
    "256 << 20": "8 << 20",
    "24 << 20": "1 << 20",
    "max_iter=100": "max_iter=2",
    "measure_peaks(1).float32": "1e9",
    "measure_peaks(n_threads).float32": "2e9",
}


@pytest.fixture
def notebooks(monkeypatch):
    """The module that knows the cells, in the folder and with the modules that a notebook has."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(LESSON)
    monkeypatch.syspath_prepend(LESSON)
    with threadpool_limits():  # restores what the second part limits
        yield importlib.import_module("notebooks")
    for name in ("notebooks", "ladder"):
        sys.modules.pop(name, None)


@pytest.fixture
def hurried(notebooks, monkeypatch):
    """Let the stopwatch of the lesson have seen enough after a few calls."""
    looks = count()
    clock = importlib.import_module("ladder")
    monkeypatch.setattr(clock, "perf_counter", lambda: perf_counter() + next(looks) / 10)


@pytest.mark.parametrize("part", ["part1_softmax_regression", "part2_ladder"])
def test_checks_fail_until_the_exercise_before_is_solved(part, notebooks, hurried):
    namespace, exercise = {"__name__": "__main__"}, None
    outputs, n_figures, n_checks = [], 0, 0
    for cell in shortened(notebooks.cells(LESSON / f"{part}.py")):
        if cell.is_markdown:
            continue
        if cell.source.startswith("# Exercise"):
            exercise = cell
        if cell.source.startswith("# Check"):
            with pytest.raises(NotImplementedError):
                notebooks.run(cell, namespace)
            notebooks.run(notebooks.solved([exercise])[0], namespace)
            n_checks += 1
        printed, figures = notebooks.run(cell, namespace)
        outputs.append(printed)
        n_figures += len(figures)
    assert n_checks == {"part1_softmax_regression": 6, "part2_ladder": 1}[part]
    assert n_figures >= 5
    assert "False" not in "".join(outputs)  # "the same gradient: True"


def shortened(cells):
    for cell in cells:
        source = cell.source
        for long, short in SHORTENED.items():
            source = source.replace(long, short)
        yield cell._replace(source=source)
