"""The lecture's linear classifiers, trained by minibatch SGD."""

from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.validation import FloatArray
from ..backends import in_default_float_state
from .linear_model import LinearModel, warn_of_divergence
from .losses import course_names, softmax_loss


class LinearClassifier(LinearModel):
    """A linear classifier trained by SGD, on the softmax loss unless a subclass defines another.

    Parameters
    ----------
    backend : {"auto", "compiled", "vectorized", "numba", "naive"}, default "auto"
        What computes the loss. The same seed gives the same training on all of them, up to rounding.

    Attributes
    ----------
    W : ndarray, shape (n_features, n_classes), or None
        The weights; None before training.
    """

    def __init__(self, backend: str = "auto") -> None:
        super().__init__()
        self.backend = backend

    @in_default_float_state
    def train(
        self,
        X: ArrayLike,
        y: ArrayLike,
        learning_rate: float = 1e-3,
        reg: float = 1e-5,
        num_iters: int = 100,
        batch_size: int = 200,
        verbose: bool = False,
    ) -> list[float]:
        """Train by SGD; a further call continues from the current weights.

        The first call draws `W` from a normal distribution of standard deviation 0.001. Minibatches are
        drawn with replacement. Both use NumPy's global generator.

        Parameters
        ----------
        X : array_like of real numbers, shape (n_samples, n_features)
        y : array_like of int, shape (n_samples,)
            Labels from 0 to n_classes - 1; the first call derives n_classes from the largest one.
        learning_rate : float, default 1e-3
            The step is ``W - learning_rate * dW``.
        reg : float, default 1e-5
            The strength of the penalty, passed on to `loss`.
        num_iters : int, default 100
            The number of steps.
        batch_size : int, default 200
            Samples of a minibatch; it may exceed the number of samples.
        verbose : bool, default False
            Whether to print the loss of every hundredth step.

        Returns
        -------
        list of float
            The loss of every minibatch, before its step.

        Warns
        -----
        RuntimeWarning
            If the loss becomes infinite or NaN, as it does for a learning rate or penalty that is too
            large. Training stops there and keeps the weights of the last finite loss.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described; the message names it.
        """
        rate = validation.as_non_negative("learning_rate", learning_rate)
        strength = validation.as_non_negative("reg", reg)
        steps = validation.as_integer("num_iters", num_iters, 0)
        size = validation.as_integer("batch_size", batch_size, 1)
        matrix, labels = self._prepare(X, y)
        minibatches = (
            np.random.choice(len(matrix), size)  # noqa: NPY002  # the notebooks seed this one
            for _ in range(steps)
        )
        history = []
        losses = self._descend(self.loss, matrix, labels, minibatches, rate, strength)
        for iteration, value in enumerate(losses):
            history.append(value)
            if verbose and iteration % 100 == 0:
                print(f"iteration {iteration} / {steps}: loss {value:f}")
        warn_of_divergence(history, "iteration", rate, strength)
        return history

    def loss(self, X_batch: ArrayLike, y_batch: ArrayLike, reg: float) -> tuple[float, FloatArray]:
        """Return the softmax loss of a minibatch with the penalty, and its gradient.

        Subclasses may override it with another loss.

        Parameters
        ----------
        X_batch : array_like of real numbers, shape (n_samples, n_features)
        y_batch : array_like of int, shape (n_samples,)
        reg : float
            The strength of the penalty ``reg * sum(W**2)``.

        Returns
        -------
        loss : float
            In nats.
        dW : ndarray
            The shape of `W`.

        Raises
        ------
        NotFittedError
            If `W` is None.
        ValueError, TypeError, ImportError
            As `softmax_loss_naive` does, or if the backend is not available.
        """
        W = self._weights()
        with course_names(X="X_batch", y="y_batch"):
            return softmax_loss(W, X_batch, y_batch, reg, self.backend)

    def save(self, fname: str | PathLike[str]) -> None:
        """Write `W` to a ``.npy`` file; the suffix is added if it is missing.

        Parameters
        ----------
        fname : str or path
            The path, relative to the working directory.
        """
        np.save(_npy(fname), self._weights(), allow_pickle=False)
        print(fname, "saved.")

    def load(self, fname: str | PathLike[str]) -> bool:
        """Read `W` from a file that `save` wrote.

        Parameters
        ----------
        fname : str or path

        Returns
        -------
        bool
            True if the file was read; False, with `W` unchanged, if there is no such file.

        Raises
        ------
        ValueError
            If the file contains anything but one matrix of floats. Pickled objects, as in the files of
            the course's own `save`, are refused: they could run any code.
        """
        path = _npy(fname)
        if not path.exists():
            print(fname, "not available.")
            return False
        with path.open("rb") as file:
            try:
                W = np.lib.format.read_array(file, allow_pickle=False)
            except ValueError as error:
                raise ValueError(f"fname: {path} is not a file that save wrote: {error}") from None
        if W.ndim != 2 or W.dtype.kind != "f":
            raise ValueError(
                f"fname: expected a matrix of floats in {path}, got shape {W.shape}, dtype {W.dtype}"
            )
        self.W = W
        print(fname, "loaded.")
        return True


class Softmax(LinearClassifier):
    """`LinearClassifier` with its softmax loss and L2 penalty, under the course's name.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import Softmax
    >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.1]]), np.array([1, 0, 1, 0])
    >>> softmax = Softmax()
    >>> loss_history = softmax.train(X, y, learning_rate=0.5, num_iters=50)
    >>> softmax.predict(X)
    array([1, 0, 1, 0])
    """


class LinearSoftmaxClassifier(LinearModel):
    """Softmax regression trained by SGD over whole epochs.

    Parameters
    ----------
    backend : {"auto", "compiled", "vectorized", "numba", "naive"}, default "auto"
        What computes the loss. The same seed gives the same training on all of them, up to rounding.

    Attributes
    ----------
    W : ndarray, shape (n_features, n_classes), or None
        The weights; None before training.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import LinearSoftmaxClassifier
    >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.1]]), np.array([1, 0, 1, 0])
    >>> classifier = LinearSoftmaxClassifier()
    >>> loss_history = classifier.fit(X, y, learning_rate=0.5, epochs=2)
    Epoch 0, loss: 0.69...
    Epoch 1, loss: 0.59...
    >>> classifier.predict(X)
    array([1, 0, 1, 0])
    """

    def __init__(self, backend: str = "auto") -> None:
        super().__init__()
        self.backend = backend

    @in_default_float_state
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        batch_size: int = 100,
        learning_rate: float = 1e-7,
        reg: float = 1e-5,
        epochs: int = 1,
    ) -> list[float]:
        """Train by SGD and print the loss of every epoch; a further call continues from the weights.

        The first call draws `W` from a normal distribution of standard deviation 0.001. Every epoch visits
        all samples in a new random order. Both use NumPy's global generator.

        Parameters
        ----------
        X : array_like of real numbers, shape (n_samples, n_features)
        y : array_like of int, shape (n_samples,)
            Labels from 0 to n_classes - 1; the first call derives n_classes from the largest one.
        batch_size : int, default 100
            Samples of a minibatch; the last of an epoch may have fewer.
        learning_rate : float, default 1e-7
            The step is ``W - learning_rate * dW``.
        reg : float, default 1e-5
            The strength of the penalty ``reg * sum(W**2)``.
        epochs : int, default 1
            The number of passes over the samples.

        Returns
        -------
        list of float
            The loss of every epoch, penalty included: the mean over its samples, each computed with its
            minibatch, before the step.

        Warns
        -----
        RuntimeWarning
            If the loss becomes infinite or NaN, as it does for a learning rate or penalty that is too
            large. Training stops there and keeps the weights of the last finite loss.

        Raises
        ------
        ValueError, TypeError, ImportError
            If an argument is not as described, or the backend is not available; the message names it.
        """
        size = validation.as_integer("batch_size", batch_size, 1)
        rate = validation.as_non_negative("learning_rate", learning_rate)
        strength = validation.as_non_negative("reg", reg)
        n_epochs = validation.as_integer("epochs", epochs, 0)
        matrix, labels = self._prepare(X, y)
        starts = range(0, len(matrix), size)
        shares = np.array([min(size, len(matrix) - start) for start in starts]) / len(matrix)
        orders = (
            np.random.permutation(len(matrix))  # noqa: NPY002  # the notebooks seed this one
            for _ in range(n_epochs)
        )
        minibatches = (order[start : start + size] for order in orders for start in starts)
        losses = self._descend(self._loss, matrix, labels, minibatches, rate, strength)
        history: list[float] = []
        for epoch in range(n_epochs):
            values = list(islice(losses, len(starts)))
            history.append(float(values @ shares[: len(values)]))
            print(f"Epoch {epoch}, loss: {history[-1]:f}")
            if not np.isfinite(values[-1]):
                break
        warn_of_divergence(history, "epoch", rate, strength)
        return history

    def _loss(
        self, X_batch: NDArray[Any], y_batch: NDArray[Any], reg: float
    ) -> tuple[float, FloatArray]:
        return softmax_loss(self._weights(), X_batch, y_batch, reg, self.backend)


def _npy(fname: str | PathLike[str]) -> Path:
    """Return the path that `numpy.save` writes to."""
    name = fspath(fname)
    return Path(name if name.endswith(".npy") else name + ".npy")
