"""Data-parallel training on Dask: the estimator for data on several machines.

It needs ``pip install "dask[array,dataframe,distributed]"``. Imports go one way: rows, sharing, partitions
and groups know where the data are; the statistics summarise all rows; local and synchronous rounds train on
them; training and the classifier combine these parts.
"""

from .._optional import unavailable

try:
    import dask.array
    import distributed
except Exception as error:
    raise unavailable("dask", "fastsoftmax.dask: needs", error) from error

from .classifier import SoftmaxClassifier

del dask, distributed
__all__ = ["SoftmaxClassifier"]
