"""The contenders of an epoch of minibatch SGD, each as fast as its library lets an expert write it.

All start from zeros, draw a new order of the samples for every epoch, take the remainder as a smaller
last minibatch, and do the arithmetic of `Problem`. None but fastsoftmax and scikit-learn is made to
compute the loss on the way. Data are converted before the clock starts. Those that can draw the orders
of ``fit(random_state=seed)``, by fastsoftmax's own function, which is faster than NumPy's: so they end with
the same weights, and drawing takes all the same time.
"""

import os
from abc import ABC, abstractmethod
from shutil import which
from typing import Any, ClassVar
from warnings import catch_warnings, simplefilter

import numpy as np

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.backends.shuffling import permutation

from .contender import Contender
from .problem import Floats, Problem


class Trainer(Contender, ABC):
    """A contender that trains."""

    # Whether `seed` gives the orders of the samples that it gives fastsoftmax.
    same_order: ClassVar[bool] = True

    def __init__(self, problem: Problem, n_threads: int) -> None:
        self.problem, self.n_threads = problem, n_threads

    @abstractmethod
    def fit(self, n_epochs: int, seed: int) -> None:
        """Train from zeros; all work is done when it returns."""

    @abstractmethod
    def weights(self) -> tuple[Floats, Floats]:
        """Return coef, (n_classes, n_features), and intercept of the last `fit`."""


class FastSoftmax(Trainer):
    """The compiled backend, by the public estimator."""

    name = "fastsoftmax"

    def __init__(self, problem: Problem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        self.model = SoftmaxClassifier(
            backend="compiled",
            penalty="l2",
            alpha=problem.alpha,
            tol=None,
            batch_size=problem.batch_size,
            learning_rate="constant",
            eta0=problem.learning_rate,
            n_jobs=n_threads,
        )

    def fit(self, n_epochs: int, seed: int) -> None:
        self.model.set_params(max_iter=n_epochs, random_state=seed)
        self.model.fit(self.problem.X, self.problem.y)

    def weights(self) -> tuple[Floats, Floats]:
        return self.model.coef_, self.model.intercept_


class Pixels(FastSoftmax):
    """On bytes, standardised by the kernels: mean and scale are found within the time as well."""

    name = "fastsoftmax-uint8"

    def __init__(self, problem: Problem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        self.model.set_params(standardize=True)

    def fit(self, n_epochs: int, seed: int) -> None:
        self.model.set_params(max_iter=n_epochs, random_state=seed)
        self.model.fit(self.problem.pixels, self.problem.y)

    def weights(self) -> tuple[Floats, Floats]:
        model = self.model
        coef = (model.coef_ * model.scale_).astype(np.float32)
        return coef, (model.intercept_ + model.coef_ @ model.mean_).astype(np.float32)


class Standardised(FastSoftmax):
    """On the float32 matrix that somebody has standardised before."""

    name = "fastsoftmax-float32"


class NumPy(Trainer):
    """In place, in buffers made once.

    Of the ways to lay things out these are the fastest: `W` as (n_features, n_classes) for the scores;
    and where classes are few, the softmax in an array of classes by rows, as NumPy's sums and maxima
    over a short last axis are slow.
    """

    name = "numpy"
    _FEW_CLASSES = 64

    def __init__(self, problem: Problem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        n_features, n_classes = problem.X.shape[1], problem.n_classes
        self.W = np.empty((n_features, n_classes), np.float32)
        self.intercept = np.empty((n_classes, 1), np.float32)
        self.dW = np.empty_like(self.W)
        self.dintercept = np.empty_like(self.intercept)
        remainder = len(problem.X) % problem.batch_size
        self.buffers = {size: self._buffers(size) for size in {problem.batch_size, remainder} - {0}}

    def _buffers(self, size: int) -> tuple[Any, ...]:
        n_classes = self.problem.n_classes
        x = np.empty((size, self.problem.X.shape[1]), np.float32)
        scores = np.empty((size, n_classes), np.float32)
        few = n_classes < self._FEW_CLASSES
        logits = np.empty((n_classes, size), np.float32) if few else scores.T
        # Where the entries of the labels are in the memory of `logits`.
        entries = np.empty(size, np.int64)
        to_next_class, to_next_row = (size, 1) if few else (1, n_classes)
        offsets = np.arange(size) * to_next_row
        flat = logits.reshape(-1) if few else scores.reshape(-1)
        of_a_row = np.empty((1, size), np.float32)
        return x, scores, logits, flat, entries, np.int64(to_next_class), offsets, of_a_row

    def fit(self, n_epochs: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.W.fill(0)
        self.intercept.fill(0)
        n_samples, size = len(self.problem.X), self.problem.batch_size
        for _ in range(n_epochs):
            order = permutation(n_samples, random)
            for start in range(0, n_samples, size):
                self._step(order[start : start + size])

    def _step(self, rows: np.ndarray) -> None:
        X, y, _, _, learning_rate, alpha, _ = self.problem
        x, scores, logits, flat, entries, to_next_class, offsets, of_a_row = self.buffers[len(rows)]
        rate = np.float32(learning_rate / len(rows))
        np.take(X, rows, axis=0, out=x, mode="clip")  # mode="raise" would copy once more
        np.matmul(x, self.W, out=scores)
        np.add(scores.T, self.intercept, out=logits)
        np.subtract(logits, logits.max(axis=0, keepdims=True, out=of_a_row), out=logits)
        np.exp(logits, out=logits)
        np.divide(-rate, logits.sum(axis=0, keepdims=True, out=of_a_row), out=of_a_row)
        np.multiply(logits, of_a_row, out=logits)
        np.take(y, rows, out=entries, mode="clip")
        np.multiply(entries, to_next_class, out=entries)
        np.add(entries, offsets, out=entries)
        flat[entries] += rate
        # `logits` now are the gradient times -rate: what comes of it is the step.
        np.matmul(x.T, logits.T, out=self.dW)
        np.sum(logits, axis=1, keepdims=True, out=self.dintercept)
        np.multiply(self.W, np.float32(1 - learning_rate * alpha), out=self.W)
        np.add(self.W, self.dW, out=self.W)
        np.add(self.intercept, self.dintercept, out=self.intercept)

    def weights(self) -> tuple[Floats, Floats]:
        return self.W.T, self.intercept[:, 0]


class TorchEager(Trainer):
    """The gradient written out: without autograd, which takes longer.

    One `addmm_` applies penalty, gradient and step to the weights, which are faster as
    (n_classes, n_features) than the other way round.
    """

    name = "torch"
    needs: ClassVar[dict[str, str]] = {"torch": "torch"}

    def __init__(self, problem: Problem, n_threads: int) -> None:
        import torch

        super().__init__(problem, n_threads)
        torch.set_num_threads(n_threads)
        self.torch = torch
        self.X, self.y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)
        self.coef = torch.empty(problem.n_classes, problem.X.shape[1])
        self.intercept = torch.empty(problem.n_classes)
        self.minus_one = torch.full((problem.batch_size, 1), -1.0)
        rate, decay = problem.learning_rate, 1 - problem.learning_rate * problem.alpha

        def step(X: Any, y: Any, coef: Any, intercept: Any, minus_one: Any, rows: Any) -> None:
            n_rows = rows.shape[0]
            x, labels = X.index_select(0, rows), y.index_select(0, rows)
            dlogits = torch.softmax(torch.addmm(intercept, x, coef.T), 1)
            dlogits.scatter_add_(1, labels.unsqueeze(1), minus_one[:n_rows])
            coef.addmm_(dlogits.T, x, beta=decay, alpha=-rate / n_rows)
            intercept.sub_(dlogits.sum(0), alpha=rate / n_rows)

        self.step = step

    def fit(self, n_epochs: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        with self.torch.inference_mode():
            self.coef.zero_()
            self.intercept.zero_()
            for _ in range(n_epochs):
                order = self.torch.from_numpy(permutation(len(self.problem.X), random))
                for rows in order.split(self.problem.batch_size):
                    self.step(self.X, self.y, self.coef, self.intercept, self.minus_one, rows)

    def weights(self) -> tuple[Floats, Floats]:
        return self.coef.numpy(), self.intercept.numpy()


class TorchCompile(TorchEager):
    """The same step, by torch.compile."""

    name = "torch.compile"

    @classmethod
    def why_missing(cls) -> str | None:
        if which(os.environ.get("CXX", "g++")) is None:
            return "needs a C++ compiler: install g++, or name another in CXX"
        return super().why_missing()

    def __init__(self, problem: Problem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        # It refuses to compile one function for too many shapes: forget those of other problems.
        self.torch.compiler.reset()
        self.step = self.torch.compile(self.step, fullgraph=True, dynamic=False)


class JAX(Trainer):
    """A whole epoch in one jit: `lax.scan` over the minibatches, rows gathered in its body.

    Weights as (n_classes, n_features) are faster here too.
    """

    name = "jax"
    needs: ClassVar[dict[str, str]] = {"jax": "jax"}

    def __init__(self, problem: Problem, n_threads: int) -> None:
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax
        import jax.numpy as jnp

        super().__init__(problem, n_threads)
        self.jax, self.jnp = jax, jnp
        self.X, self.y = jnp.asarray(problem.X), jnp.asarray(problem.y, jnp.int32)
        size, rate, alpha = problem.batch_size, problem.learning_rate, problem.alpha
        n_whole = len(problem.X) // size * size

        def step(weights: Any, X: Any, y: Any, rows: Any) -> Any:
            coef, intercept = weights
            x = X.at[rows].get(mode="promise_in_bounds")
            labels = y.at[rows].get(mode="promise_in_bounds")
            logits = x @ coef.T + intercept
            targets = jax.nn.one_hot(labels, problem.n_classes, dtype=logits.dtype)
            dlogits = (jax.nn.softmax(logits) - targets) * (rate / len(rows))
            coef = coef * (1 - rate * alpha) - dlogits.T @ x
            return coef, intercept - dlogits.sum(axis=0)

        def epoch(weights: Any, X: Any, y: Any, order: Any) -> Any:
            minibatches = order[:n_whole].reshape(-1, size)
            weights, _ = jax.lax.scan(
                lambda weights, rows: (step(weights, X, y, rows), None), weights, minibatches
            )
            return step(weights, X, y, order[n_whole:]) if n_whole < len(order) else weights

        self.epoch = jax.jit(epoch, donate_argnums=0)

    def fit(self, n_epochs: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        n_samples, n_features = self.problem.X.shape
        weights = (
            self.jnp.zeros((self.problem.n_classes, n_features)),
            self.jnp.zeros(self.problem.n_classes),
        )
        for _ in range(n_epochs):
            order = permutation(n_samples, random).astype(np.int32)
            weights = self.epoch(weights, self.X, self.y, order)
        self.coef, self.intercept = self.jax.block_until_ready(weights)

    def weights(self) -> tuple[Floats, Floats]:
        return np.asarray(self.coef), np.asarray(self.intercept)


class ScikitLearn(Trainer):
    """`MLPClassifier` without hidden layers, which is softmax regression by minibatch SGD.

    Of two classes it has one score, the difference of both: a step of each weight moves it twice as far.
    """

    name = "sklearn"
    needs: ClassVar[dict[str, str]] = {"sklearn": "scikit-learn"}
    same_order = False

    def __init__(self, problem: Problem, n_threads: int) -> None:
        from sklearn.neural_network import MLPClassifier

        super().__init__(problem, n_threads)
        steps = 2 if len(np.unique(problem.y)) == 2 else 1
        self.model = MLPClassifier(
            hidden_layer_sizes=(),
            solver="sgd",
            momentum=0,
            learning_rate_init=steps * problem.learning_rate,
            # It divides by the size of the minibatch.
            alpha=problem.alpha * problem.batch_size / steps,
            batch_size=problem.batch_size,
            max_iter=1,
            tol=0,
            n_iter_no_change=10**9,
            warm_start=True,
        )
        # It starts from random weights; with warm_start from those that it has, which can be set.
        _, one_of_each = np.unique(problem.y, return_index=True)
        few = np.union1d(one_of_each, np.arange(min(len(problem.y), problem.batch_size)))
        self._fit(problem.X[few], problem.y[few])

    def fit(self, n_epochs: int, seed: int) -> None:
        self.model.set_params(max_iter=n_epochs, random_state=seed)
        for parameters in (*self.model.coefs_, *self.model.intercepts_):
            parameters.fill(0)
        self._fit(self.problem.X, self.problem.y)

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        with catch_warnings():
            simplefilter("ignore")  # that the last epoch is no minimum
            self.model.fit(X, y)

    def weights(self) -> tuple[Floats, Floats]:
        coef, intercept = self.model.coefs_[0].T, self.model.intercepts_[0]
        if len(coef) == 1:
            return np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        return coef, intercept


PEERS: tuple[type[Trainer], ...] = (NumPy, TorchEager, TorchCompile, JAX, ScikitLearn)
