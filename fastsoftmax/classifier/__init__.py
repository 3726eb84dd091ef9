"""The estimator `SoftmaxClassifier`, its fitted models and their files, and grid search."""

from .classifier import SoftmaxClassifier
from .model_files import load

__all__ = ["SoftmaxClassifier", "load"]
