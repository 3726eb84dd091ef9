"""Tables in batches of rows: the samples and the errors are those of the whole table."""

import bz2
import gzip
import weakref

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from fastsoftmax import datasets
from fastsoftmax.datasets import csv_blocks, formats, tables

# Bytes of a block of CSV, rows of a batch of Parquet; the last ones hold every table below.
SIZES = [(64, 1), (200, 7), (1 << 20, 1 << 14)]


@pytest.fixture(params=SIZES, ids=["small", "middle", "whole"])
def sizes(request, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", request.param[0])
    monkeypatch.setattr(tables, "_ROWS_PER_BATCH", request.param[1])
    return request.param


def whole(path, **options):
    """Return the samples, or the message of the error."""
    try:
        return datasets.load(path, **options)
    except ValueError as error:
        return str(error)


def from_batches(path, **options):
    """Return the same, of the batches together."""
    try:
        batches = list(formats.load_batches(path, **options))
    except ValueError as error:
        return str(error)
    X = np.concatenate([batch.X for batch in batches])
    y = None if batches[0].y is None else np.concatenate([batch.y for batch in batches])
    ignored = None
    if batches[0].ignored is not None:
        ignored = pyarrow.concat_tables([batch.ignored for batch in batches])
    assert {batch.feature_names for batch in batches} == {batches[0].feature_names}
    return batches[0]._replace(X=X, y=y, ignored=ignored)


def assert_same(path, **options):
    expected, found = whole(path, **options), from_batches(path, **options)
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    np.testing.assert_array_equal(found.X, expected.X)
    assert (found.y is None) == (expected.y is None)
    if found.y is not None:
        np.testing.assert_array_equal(found.y, expected.y)
    assert found.feature_names == expected.feature_names
    assert (found.ignored is None) == (expected.ignored is None)
    if found.ignored is not None:
        assert found.ignored.to_pydict() == expected.ignored.to_pydict()


def csv_of(columns, header=True):
    rows = [",".join(columns)] if header else []
    rows += [",".join(row) for row in zip(*columns.values(), strict=True)]
    return "\n".join(rows) + "\n"


# The rows of every kind of column begin with one type, and may end with another one.
KINDS = {
    "integers": ["1", "255"] * 20,
    "late numbers": ["1", "2"] * 19 + ["0.5", "-3"],
    "late booleans": ["1", "0"] * 19 + ["true", "0"],
    "booleans, then numbers": ["true", "0"] * 19 + ["2", "0"],
    "booleans, then fractions": ["true", "0"] * 19 + ["2.5", "0"],
    "late words": ["1", "0"] * 19 + ["cat", "0"],
    "late fractions, early hexadecimals": ["0x10", "0"] * 19 + ["2.5", "0"],
    "dates, then times": ["2020-01-01"] * 39 + ["2020-01-01 10:00:00"],
    "dates, then numbers": ["2020-01-01"] * 39 + ["1.5"],
    "late gaps": ["1"] * 39 + [""],
    "early gaps": [""] + ["1"] * 39,
    "only gaps": [""] * 40,
    "late infinity": ["1"] * 39 + ["inf"],
    "words": ["cat", '"a dog"'] * 20,
    "line breaks": ['"a\nb"', '"c,""d"""'] * 20,
    "late other encoding": ["cat"] * 39 + ["\xff"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", ["feature", "label", "ignored"])
@pytest.mark.parametrize("header", [True, False])
def test_batches_of_csv(sizes, kind, use, header, tmp_path):
    file = tmp_path / "a.csv"
    columns = {"a": ["0.25", "7"] * 20, "b": KINDS[kind]}
    file.write_bytes(csv_of(columns, header).encode("latin1"))
    options = {"label": {"target": 1}, "ignored": {"ignore": [1]}, "feature": {}}[use]
    assert_same(file, **options, header=header, require_labels=False, keep_ignored=True)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_batches_of_compressed_csv(sizes, compress, tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(compress(csv_of({"a": KINDS["late numbers"], "y": ["1"] * 40}).encode()))
    assert_same(file)


@pytest.mark.parametrize(
    "content",
    [
        "a,a\n" + "1,cat\n" * 30,  # PyArrow names types by the column
        "a,b\n" + "1,2\n" * 30 + "1,2,3\n",
        "a,b\n" + "1,2\n\n" * 30 + "0.5,2\n",
        "a,b\n",
        "a,b",
        "\n\n",
        "\ufeffa,b\r\n" + "1,2\r\n" * 30 + "0.5,2",
    ],
)
def test_batches_of_strange_csv(sizes, content, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(content)
    for options in ({}, {"target": 1}, {"features": [0]}):
        assert_same(file, **options, header=True, require_labels=False)


def test_a_column_that_turns_wrong_is_named_with_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", 64)
    file = tmp_path / "a.csv"
    for cell, label, match in (
        ("", "1", "none or NaN in column 'a', row 49"),
        ("inf", "1", "got inf in column 'a', row 49"),
        ("1.5", "", "none or NaN in column 'y', row 49"),
        ("1.5", "1.5", "whole numbers as labels, got 1.5 in row 49"),
    ):
        file.write_text("a,y\n" + "0.5,0\n" * 49 + f"{cell},{label}\n0.5,1\n")
        assert match in from_batches(file)
        assert_same(file)


def test_an_empty_label_is_named_with_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", 64)
    (tmp_path / "a.csv").write_text("a,y\n" + "0.5,cat\n" * 40 + '0.5,""\n')
    assert "got '' in column 'y', row 40; rows count from 0" in from_batches(tmp_path / "a.csv")
    assert_same(tmp_path / "a.csv")


def test_batches_of_parquet(sizes, tmp_path):
    file = tmp_path / "a.parquet"
    lists = [[float(i), 0.5] for i in range(20)]
    columns = {"id": [*map(str, range(20))], "e": lists, "n": range(20), "y": ["x", "z"] * 10}
    for change in ({}, {"e": [*lists[:19], [1.0]]}, {"e": [*lists[:19], [1.0, np.nan]]}):
        parquet.write_table(pyarrow.table({**columns, **change}), file, row_group_size=6)
        assert_same(file, ignore=["id"], keep_ignored=True)
        assert_same(file, features=["n"], target="y")


def test_two_lists_do_not_exchange_their_numbers(tmp_path, monkeypatch):
    """The rows of both batches have three numbers."""
    monkeypatch.setattr(tables, "_ROWS_PER_BATCH", 2)
    file = tmp_path / "a.parquet"
    columns = {"a": [[1, 2]] * 2 + [[1]] * 2, "b": [[3]] * 2 + [[2, 3]] * 2}
    parquet.write_table(pyarrow.table(columns), file)
    found = from_batches(file, require_labels=False)
    assert "expected lists of equal length, got another length in column 'a', row 2" in found


def test_other_formats_are_one_batch(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.eye(3), y=[0, 1, 2])
    assert len(list(formats.load_batches(tmp_path / "a.npz"))) == 1
    assert_same(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_one_batch_is_in_memory_at_a_time(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(tables, "_ROWS_PER_BATCH", 10)
    file = tmp_path / f"a.{kind}"
    if kind == "csv":
        file.write_text("a,b\n" + "1,2.5\n" * 300)
    else:
        parquet.write_table(pyarrow.table({"a": [1] * 300, "b": [2.5] * 300}), file)
    checked, batches = [], []
    numbers = tables._numbers
    monkeypatch.setattr(tables, "_numbers", lambda *args: checked.append(1) or numbers(*args))
    n_rows = 0
    for samples in formats.load_batches(file, require_labels=False):
        assert len(checked) == len(batches) + 1  # nothing is read in advance
        assert len(samples.X) <= 20
        batches.append(weakref.ref(samples.X))
        n_rows += len(samples.X)
        del samples
        assert sum(batch() is not None for batch in batches) <= 1
    assert n_rows == 300
    assert len(batches) >= 20


def test_texts_with_line_breaks_may_lie_anywhere(tmp_path):
    """PyArrow reads 1 MiB at a time, unless told otherwise up to the last line break."""
    file = tmp_path / "a.csv"
    file.write_text("text,a,y\n" + f'"{"x" * 99}\n{"x" * 99}",0.5,1\n' * 6000)
    samples = datasets.load(file, ignore=["text"])
    assert samples.X.shape == (6000, 1)
    assert_same(file, ignore=["text"], keep_ignored=True)
