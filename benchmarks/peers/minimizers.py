"""The contenders of `optimum`: fits whose length a whole number limits, as their users would call them.

Each is given all samples, in its own dtype, before the clock starts, and all CPUs that it can use.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastsoftmax import SoftmaxClassifier
from fastsoftmax._optional import why_missing

from .contender import Contender
from .optimum_sets import OptimumProblem

Weights = tuple[NDArray[np.float64], NDArray[np.float64]]

_MAX_ITERATIONS = 100_000
# The smallest `tol` of fastsoftmax is 1e-8.
_MAX_LIMIT_OF_TOL = 9
# A Newton solver whose Hessian would be larger is left out.
_MAX_HESSIAN_BYTES = 1 << 26
_SHARE_OF_SGD = 0.2
_SEED = 0


class Minimizer(Contender, ABC):
    """A contender that comes nearer to the minimum with a larger limit."""

    is_ours: ClassVar[bool] = False
    is_sklearn: ClassVar[bool] = False  # a solver of scikit-learn itself
    dtype: ClassVar[type[np.floating[Any]]] = np.float64
    # Whether it has another objective than the others, whose minimum it does not approach.
    has_other_objective: bool = False
    # Of the time that a fit may take: less for those that do not come near the minimum.
    share_of_time: float = 1.0

    def __init__(self, problem: OptimumProblem, n_threads: int) -> None:
        self.problem, self.n_threads = problem, n_threads
        self.X: Any = problem.X32 if self.dtype is np.float32 else problem.X64
        self.y = problem.y

    @classmethod
    def why_missing(cls) -> str | None:
        """Return why its package cannot be imported, or None."""
        reasons = (why_missing(module) for module in cls.needs)
        return super().why_missing() or next(filter(None, reasons), None)

    @classmethod
    def why_left_out(cls, problem: OptimumProblem) -> str | None:  # noqa: ARG003 - for the others
        """Return why it cannot take part in one set, or None."""
        return None

    @abstractmethod
    def fit(self, limit: int) -> None:
        """Train from zeros, with a limit of 1 or more."""

    @abstractmethod
    def weights(self) -> Weights:
        """Return coef, (n_classes, n_features), and intercept of the last `fit`, in float64."""

    def next_limit(self, limit: int) -> int | None:
        """Return the limit of the next rung of the ladder; None at its end."""
        return 2 * limit if limit < _MAX_ITERATIONS else None

    @property
    def has_stopped(self) -> bool:
        """Whether the last fit ended by itself, so that no larger limit changes its result."""
        return False


class FastSoftmax(Minimizer):
    """L-BFGS of the compiled backend in float32; the limit k stands for ``tol=10**(1 - k)``."""

    name = "fastsoftmax"
    is_ours = True
    dtype: ClassVar[type[np.floating[Any]]] = np.float32

    def __init__(self, problem: OptimumProblem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        self.model = SoftmaxClassifier(
            solver="lbfgs", backend="compiled", alpha=problem.alpha, n_jobs=n_threads
        )

    def fit(self, limit: int) -> None:
        self.model.set_params(tol=10.0 ** (1 - limit), max_iter=_MAX_ITERATIONS)
        self.model.fit(self.X, self.y)

    def weights(self) -> Weights:
        return self.model.coef_.astype(np.float64), self.model.intercept_.astype(np.float64)

    def next_limit(self, limit: int) -> int | None:
        return limit + 1 if limit < _MAX_LIMIT_OF_TOL else None


class FastSoftmax64(FastSoftmax):
    """The same in float64."""

    name = "fastsoftmax-f64"
    dtype = np.float64

    def minimum(self, tol: float) -> tuple[Weights, float | None]:
        """Return the weights at which the bound of the gap meets `tol`, and that bound."""
        self.model.set_params(tol=tol, max_iter=_MAX_ITERATIONS)
        self.model.fit(self.X, self.y)
        return self.weights(), self.model.optimality_[0]


class FastSoftmaxSGD(FastSoftmax):
    """Minibatch SGD with its defaults; the limit is of epochs, over which the rate falls to 0."""

    name = "fastsoftmax-sgd"
    is_ours = False  # it is for models, not for minima
    share_of_time = _SHARE_OF_SGD

    def __init__(self, problem: OptimumProblem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        self.model.set_params(solver="sgd", random_state=_SEED)

    def fit(self, limit: int) -> None:
        self.limit = limit
        self.model.set_params(max_iter=limit).fit(self.X, self.y)

    def next_limit(self, limit: int) -> int | None:
        return Minimizer.next_limit(self, limit)

    @property
    def has_stopped(self) -> bool:
        return bool(self.model.n_iter_ < self.limit)


class ScikitLearn(Minimizer):
    """`LogisticRegression`, whose `tol` is so small that the limit, of iterations, ends the fit.

    For two classes it has one row of weights, w, where softmax has -w/2 and w/2: the same penalty of
    softmax is half of its own.
    """

    is_sklearn = True
    needs: ClassVar[dict[str, str]] = {"sklearn": "scikit-learn"}
    solver: ClassVar[str] = "lbfgs"
    tol: ClassVar[float] = 0.0

    def __init__(self, problem: OptimumProblem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        self.alpha = problem.alpha / 2 if problem.n_classes == 2 else problem.alpha
        self.model = self._model()

    def _model(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        C = 1 / (self.alpha * len(self.y))
        return LogisticRegression(C=C, tol=self.tol, solver=self.solver, random_state=_SEED)

    def fit(self, limit: int) -> None:
        self.limit = limit
        self.model.set_params(max_iter=limit).fit(self.X, self.y)

    def weights(self) -> Weights:
        return _softmax_weights(self.model.coef_, self.model.intercept_)

    @property
    def has_stopped(self) -> bool:
        return bool(np.max(self.model.n_iter_) < self.limit)


class ScikitLearnLbfgs(ScikitLearn):
    """In float32."""

    name = "sklearn-lbfgs"
    dtype = np.float32


class ScikitLearnLbfgs64(ScikitLearn):
    """In float64."""

    name = "sklearn-lbfgs-f64"


class ScikitLearnNewtonCholesky(ScikitLearn):
    """In float64; with a `tol` of 0 its line search would fail at the minimum, and L-BFGS follow."""

    name = "sklearn-newton-cholesky"
    solver = "newton-cholesky"
    tol = 1e-10

    @classmethod
    def why_left_out(cls, problem: OptimumProblem) -> str | None:
        _, n_features, n_classes = problem.shape
        n_bytes = 8 * (n_features * (1 if n_classes == 2 else n_classes)) ** 2
        if n_bytes <= _MAX_HESSIAN_BYTES:
            return None
        return f"its Hessian would take {n_bytes >> 20} MiB"


class ScikitLearnNewtonCG(ScikitLearn):
    """In float64."""

    name = "sklearn-newton-cg"
    solver = "newton-cg"
    tol = 1e-10


class ScikitLearnSaga(ScikitLearn):
    """In float32; the limit is of epochs."""

    name = "sklearn-saga"
    solver = "saga"
    dtype = np.float32


class ScikitLearnSGD(ScikitLearn):
    """`SGDClassifier`; for more than two classes it has another objective, one for each class."""

    name = "sklearn-sgd"

    def __init__(self, problem: OptimumProblem, n_threads: int) -> None:
        super().__init__(problem, n_threads)
        if problem.n_classes > 2:
            self.has_other_objective, self.share_of_time = True, _SHARE_OF_SGD

    def _model(self) -> Any:
        from sklearn.linear_model import SGDClassifier

        return SGDClassifier(
            loss="log_loss", alpha=self.alpha, tol=None, random_state=_SEED, n_jobs=self.n_threads
        )


class Intelex(ScikitLearn):
    """`LogisticRegression` of Intel's extension for scikit-learn, in float32."""

    name = "sklearnex-lbfgs"
    is_sklearn = False
    needs: ClassVar[dict[str, str]] = {"sklearnex": "scikit-learn-intelex"}
    dtype = np.float32

    def _model(self) -> Any:
        from sklearnex.linear_model import LogisticRegression

        C = 1 / (self.alpha * len(self.y))
        return LogisticRegression(C=C, tol=self.tol, n_jobs=self.n_threads)


class Cyanure(ScikitLearn):
    """Its choice of a solver, in float64: in float32 it warns of instability."""

    name = "cyanure"
    is_sklearn = False
    needs: ClassVar[dict[str, str]] = {"cyanure": "cyanure"}

    def _model(self) -> Any:
        from cyanure.estimators import Classifier

        return Classifier(
            loss="logistic" if self.problem.n_classes == 2 else "multiclass-logistic",
            lambda_1=self.alpha,
            tol=1e-12,
            n_threads=self.n_threads,
            verbose=False,
        )

    def weights(self) -> Weights:
        coef = self.model.coef_.reshape(self.problem.shape[1], -1).T
        return _softmax_weights(coef, np.ravel(self.model.intercept_))

    @property
    def has_stopped(self) -> bool:
        return bool(np.max(self.model.n_iter_) + self.model.duality_gap_interval < self.limit)


class TorchLbfgs(Minimizer):
    """`torch.optim.LBFGS` with strong Wolfe steps on all samples, in float32."""

    name = "torch-lbfgs"
    needs: ClassVar[dict[str, str]] = {"torch": "torch"}
    dtype = np.float32

    def __init__(self, problem: OptimumProblem, n_threads: int) -> None:
        import torch

        super().__init__(problem, n_threads)
        torch.set_num_threads(n_threads)
        self.torch: Any = torch
        self.inputs, self.targets = torch.from_numpy(self.X), torch.from_numpy(self.y)

    @classmethod
    def why_left_out(cls, problem: OptimumProblem) -> str | None:
        return "sparse" if problem.is_sparse else None

    def fit(self, limit: int) -> None:
        torch, alpha = self.torch, self.problem.alpha
        _, n_features, n_classes = self.problem.shape
        self.limit = limit
        self.coef = torch.zeros((n_features, n_classes), requires_grad=True)
        self.intercept = torch.zeros(n_classes, requires_grad=True)
        self.optimizer = torch.optim.LBFGS(
            [self.coef, self.intercept],
            max_iter=limit,
            max_eval=_MAX_ITERATIONS,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Any:
            self.optimizer.zero_grad()
            logits = torch.addmm(self.intercept, self.inputs, self.coef)
            loss = torch.nn.functional.cross_entropy(logits, self.targets)
            loss = loss + alpha / 2 * self.coef.square().sum()
            loss.backward()
            return loss

        self.optimizer.step(closure)

    def weights(self) -> Weights:
        coef, intercept = self.coef.detach().numpy(), self.intercept.detach().numpy()
        return coef.T.astype(np.float64), intercept.astype(np.float64)

    @property
    def has_stopped(self) -> bool:
        return bool(self.optimizer.state[self.coef]["n_iter"] < self.limit)


def _softmax_weights(coef: NDArray[Any], intercept: NDArray[Any]) -> Weights:
    """Return the weights of softmax; for two classes from those of the second class alone."""
    coef, intercept = coef.astype(np.float64), intercept.astype(np.float64)
    if len(coef) > 1:
        return coef, intercept
    return np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2


OURS: tuple[type[FastSoftmax], ...] = (FastSoftmax, FastSoftmax64)
PEERS: tuple[type[Minimizer], ...] = (
    FastSoftmaxSGD,
    ScikitLearnLbfgs,
    ScikitLearnLbfgs64,
    ScikitLearnNewtonCholesky,
    ScikitLearnNewtonCG,
    ScikitLearnSaga,
    ScikitLearnSGD,
    Intelex,
    Cyanure,
    TorchLbfgs,
)
