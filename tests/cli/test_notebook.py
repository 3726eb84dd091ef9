"""`fastsoftmax.bench`: the comparison from Python, and what a notebook shows of it."""

from html.parser import HTMLParser

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import BenchResult, bench, datasets
from fastsoftmax.cli import machine

SMALL = {
    "shape": (300, 5, 3),
    "epochs": 2,
    "batch_size": 50,
    "backends": ["vectorized", "compiled"],
}


@pytest.fixture(scope="module")
def result():
    return bench(**SMALL, profiled=True)


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.rows, self.images, self._open = [], 0, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):  # noqa: ARG002
        self.images += tag == "img"
        if tag == "tr":
            self.rows.append([])
        self._open = tag in ("th", "td", "data", "span")

    def handle_data(self, data):
        if self._open and self.rows:
            self.rows[-1].append(data)


def test_a_notebook_shows_a_table_and_a_picture(result):
    assert isinstance(result, BenchResult)
    shown = Cells(result._repr_html_())
    head, *rows = shown.rows
    assert [row[0] for row in rows] == ["vectorized", "compiled"]
    assert head[0] == "backend"
    assert rows[1][4].endswith("×")
    assert shown.images == 1


def test_the_text_is_the_table_of_the_command(result):
    text = repr(result)
    assert "same\n" in text or "same" in text
    assert "\ncompiled " in text
    assert "synthetic data, 5 features, 3 classes" in " ".join(text.split())


def test_the_record_is_that_of_the_command(result):
    settings = result.record["settings"]
    assert (settings["n_train"], settings["epochs"], settings["batch_size"]) == (300, 2, 50)
    slow, fast = result.record["results"]
    assert result.speedup("compiled", over="vectorized") == fast["speed_over_vectorized"]
    assert result.speedup("compiled") is None
    assert result.speedup("naive") is None
    assert fast["agrees"]
    assert slow["loss_curve"] == pytest.approx(fast["loss_curve"], rel=1e-5)


def test_pictures_and_report(result):
    assert len(result.plot().axes) == 2
    assert result.to_html().startswith("<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"bench\(profiled=True\)"):
        bench(**SMALL | {"backends": "vectorized"}).to_html()


def test_data_come_from_files_arrays_and_data_sets(tmp_path, rng):
    X = rng.integers(256, size=(40, 6), dtype=np.uint8)
    y = np.array(["no", "yes"])[np.arange(40) % 2]
    np.savez(tmp_path / "own.npz", X=X, y=y)
    quick = {"epochs": 1, "backends": ["vectorized"]}
    one = bench(tmp_path / "own.npz", **quick).record
    other = bench((X, y), **quick).record
    assert one["settings"]["data"].endswith("own.npz")
    assert other["settings"]["data"] == "data"
    assert one["results"][0]["loss_curve"] == other["results"][0]["loss_curve"]
    record = bench(datasets.load_digits(dtype=np.float64), dtype="float64", **quick).record
    assert record["settings"]["n_test"] == 450
    assert record["settings"]["dtype"] == "float64"


def test_a_sample_alone_has_no_picture(result, monkeypatch):
    monkeypatch.setattr(result._outcome.comparison, "reference", None)
    with pytest.raises(ValueError, match="no backend has trained on all samples"):
        result.plot()
    assert Cells(result._repr_html_()).images == 0


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"shape": (3, 3)}, ValueError, "^shape: "),
        ({"shape": (3, 3, 1)}, ValueError, "^shape: "),
        ({"data": "x.npz"}, ValueError, "^shape: expected none with data"),
        ({"epochs": 0}, ValueError, "^epochs: "),
        ({"batch_size": 1.5}, (ValueError, TypeError), "^batch_size: "),
        ({"eta0": 0.0}, ValueError, "^eta0: "),
        ({"eta0": 1e9}, ValueError, r"^eta0: 1e\+09 is too large"),
        ({"backends": ["fast"]}, ValueError, "^backends: "),
        ({"backends": []}, ValueError, "^backends: "),
        ({"dtype": "int8"}, ValueError, "^dtype: "),
        ({"n_threads": 0}, ValueError, "^n_threads: "),
        ({"random_state": -1}, ValueError, "^random_state: "),
        ({"profiled": 1}, TypeError, "^profiled: "),
        ({"shape": None, "data": "no.npz"}, ValueError, "no.npz"),
        ({"shape": None, "data": 3}, TypeError, "^data: "),
        ({"shape": None, "data": ([[1.0]], ["a", "b"])}, ValueError, "^data: "),
    ],
    ids=str,
)
def test_bad_arguments_are_named(change, error, match):
    with pytest.raises(error, match=match):
        bench(**SMALL | change)


def test_a_backend_that_is_missing_is_named_by_the_argument(monkeypatch):
    monkeypatch.setattr(machine, "why_unavailable", lambda name: "there is no compiler")
    with pytest.raises(
        ValueError, match=r"^backends: 'vectorized' is not available: there is no c"
    ):
        bench(**SMALL)


def test_the_function_is_imported_when_it_is_used():
    assert "bench" in dir(fastsoftmax)
    assert fastsoftmax.bench is bench
