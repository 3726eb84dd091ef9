"""Training data: readers of files, images bundled with scikit-learn, and synthetic data of any shape."""

from .dataset import Dataset, Samples
from .digits import load_digits
from .formats import load
from .patches import load_patches
from .synthetic import make_linear_teacher

__all__ = ["Dataset", "Samples", "load", "load_digits", "load_patches", "make_linear_teacher"]
