"""Data-parallel training on Dask: the estimator, for data that lie on several machines.

Needs ``pip install "fastsoftmax[dask]"``. Imports go one way: rows, sharing, partitions and groups know
where the data are, the survey what has to be known of all of them, the two kinds of rounds how they are
trained on; training and the classifier put it together.
"""

try:
    import dask.array
    import distributed
except ImportError as error:
    raise ImportError(
        f'fastsoftmax.dask: needs Dask, which is not installed ({error}): pip install "fastsoftmax[dask]"'
    ) from None

from .classifier import SoftmaxClassifier

del dask, distributed
__all__ = ["SoftmaxClassifier"]
