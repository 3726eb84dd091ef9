"""CSR rows: recognised by their attributes and checked, so that nothing imports SciPy.

Row i of the matrix holds `values[indptr[i] : indptr[i + 1]]` in the columns `indices[...]` of the same
range, in any order; duplicate columns add up, and all else is 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import validation
from .validation import FloatArray

IndexArray = NDArray[np.int32] | NDArray[np.int64]

# Target size of the block of terms that a product sums together.
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class SparseRows:
    """A checked matrix of CSR rows, read in place. Indexing gives dense rows, as for an array."""

    values: FloatArray  # native float32 or float64, contiguous
    indices: IndexArray  # native, contiguous
    indptr: IndexArray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def has_many_values(self) -> bool:
        """Whether products with weights are faster if the weights are copied first, feature by feature.

        Gathering weights from scattered memory takes several times as long as copying as many in order.
        """
        return len(self.values) >= self.shape[1] / 4

    def astype(self, dtype: np.dtype[Any]) -> "SparseRows":
        """Return the same rows with values of `dtype`: this object if they already are."""
        if self.dtype == dtype:
            return self
        with np.errstate(over="ignore"):  # reported by the check that finds it
            return replace(self, values=self.values.astype(dtype))

    def __getitem__(self, rows: int | NDArray[np.int64]) -> FloatArray:
        row_indices, stored = self._stored_in(np.atleast_1d(rows))
        dense = np.zeros((np.size(rows), self.shape[1]), self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(dense, (row_indices, self.indices[stored]), self.values[stored])
        return dense.reshape(*np.shape(rows), -1)

    def product(self, W: FloatArray) -> FloatArray:
        """Return the dense `self @ W` for W (n_features, n_columns).

        The cost is that of the stored values. `W` may have any strides; it is copied, its rows contiguous,
        only for many values.
        """
        if self.has_many_values:
            W = np.ascontiguousarray(W)
        out = np.zeros((len(self), W.shape[1]), W.dtype)
        for start, stop in self.blocks(_BLOCK_BYTES // max(1, W.shape[1] * W.itemsize)):
            begin, end = int(self.indptr[start]), int(self.indptr[stop])
            values = self.values[begin:end, np.newaxis].astype(W.dtype, copy=False)
            # In C order, whatever the order of W: the order of the sums follows from it.
            terms = np.multiply(W[self.indices[begin:end]], values, order="C")
            # reduceat has no empty sums: rows without values keep their zeros.
            filled = start + np.flatnonzero(np.diff(self.indptr[start : stop + 1]))
            out[filled] = np.add.reduceat(terms, self.indptr[filled] - begin, axis=0)
        return out

    def transposed(self) -> "SparseRows":
        """Return the transposed matrix, whose rows have their values in the order of the rows here."""
        n_rows, n_columns = self.shape
        stored = slice(int(self.indptr[0]), int(self.indptr[-1]))
        columns = self.indices[stored]
        # By counts: NumPy sorts numbers of 16 bits so, others by comparisons, which takes longer.
        order = np.argsort((columns & 0xFFFF).astype(np.uint16), kind="stable")
        for shift in range(16, (n_columns - 1).bit_length(), 16):
            digits = (columns[order] >> shift & 0xFFFF).astype(np.uint16)
            order = order[np.argsort(digits, kind="stable")]
        number = np.dtype(np.int32 if n_rows <= np.iinfo(np.int32).max else np.int64)
        rows = np.repeat(np.arange(n_rows, dtype=number), np.diff(self.indptr))
        indptr = np.zeros(n_columns + 1, np.int64)
        np.cumsum(np.bincount(columns, minlength=n_columns)[:n_columns], out=indptr[1:])
        return SparseRows(self.values[stored][order], rows[order], indptr, (n_columns, n_rows))

    def with_values(self, values: FloatArray) -> "SparseRows":
        """Return rows with other values in the same places."""
        return replace(self, values=values)

    def blocks(self, n_values: int) -> Iterator[tuple[int, int]]:
        """Yield the first row and the end of blocks of about `n_values` stored values, or of one row.

        Rows before the first value are in no block.
        """
        cuts = np.arange(0, len(self.values), max(1, n_values))
        rows_at_cuts = np.unique(np.searchsorted(self.indptr, cuts, side="right") - 1).tolist()
        yield from pairwise([*rows_at_cuts, len(self)])

    def take(self, rows: NDArray[np.int64]) -> "SparseRows":
        """Return these rows, with copied values."""
        row_indices, stored = self._stored_in(rows)
        indptr = np.searchsorted(row_indices, np.arange(len(rows) + 1))
        shape = (len(rows), self.shape[1])
        return SparseRows(self.values[stored], self.indices[stored], indptr, shape)

    def between(self, start: int, stop: int) -> "SparseRows":
        """Return the rows from `start` to before `stop`, which share the values."""
        begin = self.indptr[start]
        stored = slice(int(begin), int(self.indptr[stop]))
        indptr = self.indptr[start : stop + 1] - begin
        shape = (len(indptr) - 1, self.shape[1])
        return SparseRows(self.values[stored], self.indices[stored], indptr, shape)

    def places(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.int64], IndexArray, NDArray[np.float64]]:
        """Return rows, columns and values of all stored places of some rows, each place once.

        Rows count from `start`; values are in float64.
        """
        starts = self.indptr[start : stop + 1] - self.indptr[start]
        stored = slice(int(self.indptr[start]), int(self.indptr[stop]))
        rows = np.repeat(np.arange(stop - start), np.diff(starts))
        columns = self.indices[stored]
        with np.errstate(invalid="ignore"):  # of a signalling NaN; the check for NaN reports it
            values = self.values[stored].astype(np.float64)
        rises = columns[1:] > columns[:-1]
        rises[starts[(starts > 0) & (starts < len(columns))] - 1] = True
        if rises.all():
            return rows, columns, values
        place = rows * self.shape[1] + columns
        order = np.argsort(place, kind="stable")
        cuts = np.flatnonzero(np.diff(place[order], prepend=-1))
        firsts = order[cuts]
        with np.errstate(over="ignore", invalid="ignore"):
            return rows[firsts], columns[firsts], np.add.reduceat(values[order], cuts)

    def row_of(self, stored: int) -> int:
        """Return the row of a stored value."""
        return int(np.searchsorted(self.indptr, stored, side="right")) - 1

    def _stored_in(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return, for all values of some rows, which row they are in and where they are stored."""
        starts = self.indptr[rows].astype(np.int64)
        lengths = self.indptr[rows + 1] - starts
        row_indices = np.repeat(np.arange(len(rows)), lengths)
        before = np.cumsum(lengths) - lengths
        return row_indices, np.arange(len(row_indices)) + (starts - before)[row_indices]


def steps_between_penalties(X: SparseRows, batch_size: int) -> int:
    """Return how many steps share one penalty in their objectives; see `Backend.sgd_epoch`.

    The penalty needs a pass over the weights of all features, in order. Between two passes the steps visit
    8 times as many features, in no particular order.
    """
    visited = max(1.0, len(X.values) / max(1, len(X)) * min(batch_size, len(X)))
    return max(1, int(np.ceil(8 * X.shape[1] / visited)))


def as_sparse_rows(name: str, value: object) -> SparseRows | None:
    """Return a sparse matrix as `SparseRows`, or None if `value` is not sparse.

    CSR rows are used in place, other formats are converted. Values of dtypes other than float32 and
    float64 are copied, in the compute dtype.

    Raises
    ------
    TypeError
        If its values are not real numbers, or its indices not integers.
    ValueError
        If its arrays are not those of CSR rows.
    """
    if isinstance(value, np.ndarray):
        return None
    format_name = getattr(value, "format", None)
    if not isinstance(format_name, str) or format_name != "csr":
        if not hasattr(value, "tocsr"):
            return None
        value = value.tocsr()  # SciPy's own conversion: the one copy
    parts = [np.asarray(getattr(value, part, None)) for part in ("data", "indices", "indptr")]
    for part, array in zip(("data", "indices", "indptr"), parts, strict=True):
        if array.ndim != 1:
            raise ValueError(f"{name}: expected {name}.{part} in one dimension, got {array.ndim}")
    values, indices, indptr = parts
    values = validation.as_array(name, validation.without_long_double(values))
    if values.dtype.kind != "f" or values.dtype.itemsize not in (4, 8):
        values = values.astype(validation.training_dtype(values.dtype))
    for part, array in (("indices", indices), ("indptr", indptr)):
        if array.dtype.kind != "i" or array.dtype.itemsize not in (4, 8):
            raise TypeError(
                f"{name}: expected {name}.{part} of int32 or int64, got dtype {array.dtype}"
            )
    shape = _shape_of(name, value)
    _check_indptr(name, indptr, shape[0], min(len(values), len(indices)))
    used = int(indptr[-1])
    rows = SparseRows(_native(values[:used]), _native(indices[:used]), _native(indptr), shape)
    check_indices(name, rows)
    return rows


def _native(array: NDArray[Any]) -> NDArray[Any]:
    return validation.as_native(array, array.dtype.newbyteorder("="))


def _shape_of(name: str, value: object) -> tuple[int, int]:
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(f"{name}: expected two dimensions, got shape {shape}")
    sizes = [validation.as_integer(f"{name}: its shape", size, 0) for size in shape]
    return sizes[0], sizes[1]


def _check_indptr(name: str, indptr: IndexArray, n_rows: int, n_stored: int) -> None:
    if len(indptr) != n_rows + 1:
        raise ValueError(
            f"{name}: expected {n_rows + 1} numbers in {name}.indptr, one more than rows, "
            f"got {len(indptr)}"
        )
    if indptr[0] != 0 or indptr[-1] > n_stored:
        raise ValueError(
            f"{name}: expected {name}.indptr from 0 to at most {n_stored}, as many as there are "
            f"values and indices, got {indptr[0]} to {indptr[-1]}"
        )
    rises = indptr[1:] >= indptr[:-1]
    if not rises.all():
        raise ValueError(
            f"{name}: expected non-decreasing {name}.indptr, got a decrease in row "
            f"{int(np.argmin(rises))}"
        )


def check_indices(name: str, rows: SparseRows) -> None:
    """Raise unless every value is in a column of the matrix."""
    indices, n_features = rows.indices, rows.shape[1]
    # In one pass: a negative number is huge when unsigned.
    if not len(indices) or indices.view(f"u{indices.itemsize}").max() < n_features:
        return
    at = int(np.argmin((indices >= 0) & (indices < n_features)))
    raise ValueError(
        f"{name}: expected column indices from 0 to {n_features - 1}, got {indices[at]} "
        f"at {name}.indices[{at}]"
    )
