"""Data-parallel training on Dask: the estimator, for data that lie on several machines.

Needs ``pip install "dask[array,dataframe,distributed]"``. Imports go one way: rows, sharing, partitions and
groups know where the data are, the statistics summarise all rows, the two kinds of rounds say how
they are trained on; training and the classifier put it together.
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
