"""The estimator `SoftmaxClassifier`, its fitted models and their files, and grid search."""

from .classifier import SoftmaxClassifier, load

__all__ = ["SoftmaxClassifier", "load"]
