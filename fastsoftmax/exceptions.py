"""Errors that callers may want to tell apart."""


class NotFittedError(ValueError, AttributeError):
    """A method that needs a fitted model was called before `fit`."""


class DivergenceError(ArithmeticError):
    """Training stopped because the loss grew or became NaN; the message says what to change."""


class ClusterError(RuntimeError):
    """Training on a cluster cannot go on: workers, scheduler or data are lost; the message says which."""


class ModelFileError(ValueError):
    """A file is no model file, or is damaged; the message names the file and says why."""


class ConvergenceWarning(UserWarning):
    """`fit` ended at `max_iter`, while the loss still fell; the message says what to change."""
