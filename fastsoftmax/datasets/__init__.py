"""Data to train on: real images that scikit-learn bundles, and made-up data of any shape."""

from .dataset import Dataset
from .digits import load_digits
from .teacher import make_linear_teacher

__all__ = ["Dataset", "load_digits", "make_linear_teacher"]
