"""The contenders of the loss core: mean cross-entropy of softmax(logits) and its gradient on the logits."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

import fastsoftmax

from .contender import Contender
from .problem import Floats


class LossCore(Contender, ABC):
    """A contender that computes the loss and the gradient, of the same logits and labels every time."""

    def __init__(self, logits: Floats, labels: np.ndarray) -> None:
        self.logits, self.labels = logits, labels

    @abstractmethod
    def __call__(self) -> None:
        """Compute both."""

    @abstractmethod
    def result(self) -> tuple[float, Floats]:
        """Return the mean loss and the gradient that the last call computed."""


class FastSoftmax(LossCore):
    """The compiled backend, by the public function."""

    name = "fastsoftmax"

    def __init__(self, logits: Floats, labels: np.ndarray) -> None:
        super().__init__(logits, labels)
        self.dlogits = np.empty_like(logits)

    def __call__(self) -> None:
        self.loss, _ = fastsoftmax.softmax_cross_entropy(
            self.logits, self.labels, self.dlogits, backend="compiled", n_threads=1
        )

    def result(self) -> tuple[float, Floats]:
        return self.loss, self.dlogits


class NumPy(LossCore):
    """In place, in buffers made once."""

    name = "numpy"

    def __init__(self, logits: Floats, labels: np.ndarray) -> None:
        super().__init__(logits, labels)
        n_rows, n_classes = logits.shape
        self.dlogits = np.empty_like(logits)
        self.of_a_row = np.empty((n_rows, 1), np.float32)
        self._work_in(self.dlogits, np.arange(n_rows) * n_classes + labels)

    def _work_in(self, buffer: Floats, of_labels: np.ndarray) -> None:
        """Name the array to compute in, and where in its memory the entries of the labels are."""
        self.flat, self.of_labels = buffer.reshape(-1), of_labels

    def __call__(self) -> None:
        np.max(self.logits, axis=1, keepdims=True, out=self.of_a_row)
        np.subtract(self.logits, self.of_a_row, out=self.dlogits)
        self._from_shifted(self.dlogits, self.of_a_row, axis=1)

    def _from_shifted(self, shifted: Floats, of_a_row: Floats, axis: int) -> None:
        """Overwrite logits less the row's maximum by their gradient."""
        n_rows = len(self.logits)
        of_labels = self.flat[self.of_labels].sum(dtype=np.float64)
        np.exp(shifted, out=shifted)
        np.sum(shifted, axis=axis, keepdims=True, out=of_a_row)
        self.loss = (np.log(of_a_row).sum(dtype=np.float64) - of_labels) / n_rows
        np.divide(np.float32(1 / n_rows), of_a_row, out=of_a_row)
        np.multiply(shifted, of_a_row, out=shifted)
        self.flat[self.of_labels] -= np.float32(1 / n_rows)

    def result(self) -> tuple[float, Floats]:
        return float(self.loss), self.dlogits


class NumPyTransposed(NumPy):
    """The same in a transposed copy: NumPy's sums and maxima over a short last axis are slow."""

    name = "numpy-transposed"

    def __init__(self, logits: Floats, labels: np.ndarray) -> None:
        super().__init__(logits, labels)
        n_rows, n_classes = logits.shape
        self.transposed = np.empty((n_classes, n_rows), np.float32)
        self.of_a_row = np.empty((1, n_rows), np.float32)
        self._work_in(self.transposed, labels * n_rows + np.arange(n_rows))

    def __call__(self) -> None:
        np.copyto(self.transposed, self.logits.T)
        np.max(self.transposed, axis=0, keepdims=True, out=self.of_a_row)
        np.subtract(self.transposed, self.of_a_row, out=self.transposed)
        self._from_shifted(self.transposed, self.of_a_row, axis=0)
        np.copyto(self.dlogits, self.transposed.T)


class TorchEager(LossCore):
    """`cross_entropy`, and autograd back to the logits."""

    name = "torch"
    needs: ClassVar[dict[str, str]] = {"torch": "torch"}

    def __init__(self, logits: Floats, labels: np.ndarray) -> None:
        import torch

        super().__init__(logits, labels)
        torch.set_num_threads(1)
        self.cross_entropy: Any = torch.nn.functional.cross_entropy
        self.leaf = torch.from_numpy(logits).requires_grad_()
        self.targets = torch.from_numpy(labels)

    def __call__(self) -> None:
        self.leaf.grad = None
        self.loss = self.cross_entropy(self.leaf, self.targets)
        self.loss.backward()

    def result(self) -> tuple[float, Floats]:
        return float(self.loss.detach()), self.leaf.grad.numpy()


class ScikitLearn(LossCore):
    """The loss of its `LogisticRegression`; it takes labels as floats, and sums over rows."""

    name = "sklearn"
    needs: ClassVar[dict[str, str]] = {"sklearn": "scikit-learn"}

    def __init__(self, logits: Floats, labels: np.ndarray) -> None:
        from sklearn._loss import HalfMultinomialLoss

        super().__init__(logits, labels)
        self.loss_gradient = HalfMultinomialLoss(n_classes=logits.shape[1]).loss_gradient
        self.options: dict[str, Any] = {
            "y_true": labels.astype(np.float32),
            "raw_prediction": logits,
            "loss_out": np.empty(len(logits), np.float32),
            "gradient_out": np.empty_like(logits),
            "n_threads": 1,
        }

    def __call__(self) -> None:
        self.loss_gradient(**self.options)

    def result(self) -> tuple[float, Floats]:
        loss, gradient = self.options["loss_out"], self.options["gradient_out"]
        return float(loss.mean(dtype=np.float64)), gradient / np.float32(len(loss))


PEERS: tuple[type[LossCore], ...] = (NumPy, NumPyTransposed, TorchEager, ScikitLearn)
