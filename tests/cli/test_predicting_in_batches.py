"""`fastsoftmax predict` on tables of any size: batches of rows, and the output of the whole."""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from command_line import error_of, output_of
from pyarrow import parquet

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.cli import predict
from fastsoftmax.datasets import csv_blocks, tables

N = 300


@pytest.fixture
def table(here, rng):
    """A table with an identifier, features and labels, in both formats, and a model of it."""
    X = rng.normal(size=(N, 3)).round(3)
    X[:200, 2] = rng.integers(9, size=200)  # numbers that are whole until they are not
    kinds = np.where(X[:, 0] > 0, "cat", "dog")
    columns = {"id": [f"{i:03d}" for i in range(N)], "a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}
    columns["note"] = ["x", "ż,\n"] * (N // 2)
    columns["kind"] = kinds
    frame = pyarrow.table(columns).to_pandas()
    frame.to_csv("t.csv", index=False)
    frame.to_parquet("t.parquet")
    SoftmaxClassifier(max_iter=3, tol=None).fit(frame[["a", "b", "c"]], kinds).save("m.npz")
    return frame


def in_small_batches(monkeypatch, n_bytes=150, n_rows=7):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", n_bytes)
    monkeypatch.setattr(tables, "_ROWS_PER_BATCH", n_rows)
    monkeypatch.setattr(predict, "_BYTES_IN_MEMORY", 100)


ARGUMENTS = ("predict", "--model", "m.npz", "--target", "kind")


@pytest.mark.parametrize("shares", [(), ("--probabilities",)])
@pytest.mark.parametrize("output", [".csv", ".jsonl", ".parquet", ".npy", "-"])
@pytest.mark.parametrize("data", ["t.csv", "t.parquet", "-"])
def test_the_output_does_not_depend_on_the_batches(
    capsys, table, monkeypatch, data, output, shares
):
    def written():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("t.csv").read_bytes())))
        name = output if output == "-" else f"out{output}"
        out = output_of(capsys, *ARGUMENTS, data, "--output", name, *shares)
        return out if output == "-" else (out, Path(name).read_bytes())

    expected = written()
    for n_bytes, n_rows in ((100, 1), (150, 7), (4000, 299)):
        in_small_batches(monkeypatch, n_bytes, n_rows)
        assert written() == expected


def test_no_more_than_a_batch_is_predicted_at_a_time(capsys, table, monkeypatch):
    in_small_batches(monkeypatch)
    n_rows = []
    of_whole = SoftmaxClassifier.predict
    monkeypatch.setattr(
        SoftmaxClassifier, "predict", lambda self, X: n_rows.append(len(X)) or of_whole(self, X)
    )
    for data in ("t.csv", "t.parquet"):
        n_rows.clear()
        out = output_of(capsys, *ARGUMENTS, data, "--output", "out.csv")
        assert out == f"Predictions of {N} samples: out.csv\n"
        assert sum(n_rows) == N
        assert max(n_rows) <= 10


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "out.npy", "-"])
@pytest.mark.parametrize(
    ("row", "cell", "reason"),
    [
        (299, "", "t.csv: expected a value in every row, got none or NaN in column 'a', row 299"),
        (298, "inf", "t.csv: expected finite numbers, got inf in column 'a', row 298"),
        (280, "1e300", "t.csv: a number in row 280 overflows float32"),
        (280, "1e38", "t.csv: the scores X @ W of row 280 overflow float32; scale X or W down"),
        (270, "cat", "t.csv: expected numbers in column 'a', got string"),
        (260, "1,2", "t.csv: expected CSV rows of equal length, got damaged or other data"),
    ],
)
def test_an_error_of_a_late_row_leaves_no_output(
    capsys, table, monkeypatch, output, row, cell, reason
):
    X = table[["a", "b", "c"]].astype("f4")
    model = SoftmaxClassifier(max_iter=3, tol=None).fit(X, table["kind"])
    model.coef_ *= 100
    model.save("m.npz")
    column = table["a"].astype(object)
    column[row] = cell
    table.assign(a=column).drop(columns="note").to_csv("t.csv", index=False)
    if cell == "1,2":
        Path("t.csv").write_text(Path("t.csv").read_text().replace('"1,2"', "1,2"))
    arguments = (*ARGUMENTS, "t.csv", "--output", output)
    if output != "-":
        Path(output).write_bytes(b"before")
    expected = error_of(capsys, *arguments, code=1)
    assert reason in expected
    in_small_batches(monkeypatch)
    before = sorted(Path().iterdir())
    assert error_of(capsys, *arguments, code=1) == expected
    assert sorted(Path().iterdir()) == before
    assert output == "-" or Path(output).read_bytes() == b"before"


def test_row_groups_of_parquet_are_bounded(capsys, table, monkeypatch):
    in_small_batches(monkeypatch)
    for rows, n_bytes, expected in (
        (128, 1 << 27, [128, 128, 44]),
        (150, 1 << 27, [150, 150]),
        (1000, 1, None),
    ):
        monkeypatch.setattr(predict, "_ROWS_OF_GROUP", rows)
        monkeypatch.setattr(predict, "_BYTES_OF_GROUP", n_bytes)
        output_of(capsys, *ARGUMENTS, "t.parquet", "--output", "out.parquet")
        data = parquet.ParquetFile("out.parquet").metadata
        groups = [data.row_group(i).num_rows for i in range(data.num_row_groups)]
        assert groups == (expected or [7] * 42 + [6])
        assert parquet.read_table("out.parquet")["id"].to_pylist() == [*table["id"]]
