"""`fastsoftmax.dask.SoftmaxClassifier`: the estimator on Dask collections."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any, Self

import cloudpickle
import numpy as np
from dask.base import is_dask_collection

from .._arrays import validation
from ..backends import State, in_default_float_state
from ..classifier import classifier, sklearn_api
from ..classifier.calibration import warn_of_dropped
from ..classifier.fitted_model import (
    ATTRIBUTES,
    shaped_parameters_of,
    snapshot_for_training,
    snapshot_of,
)
from ..classifier.parameters import config_of
from ..classifier.sklearn_callbacks import FitTasks, with_tasks
from ..training.config import TrainingConfig, generator_of
from ..training.loop import train
from ..training.state import state_at, zero_state
from .cluster import Cluster, client_of
from .partitions import Collection, check_collection, check_whole_rows, collection_of, is_array
from .predictions import predict_lazily
from .solver import DistributedSolverRun, run_on_cluster
from .training import DistributedRun, Method, prepare_dataset, problem_over

_ALGORITHMS = ("local", "synchronous")


class SoftmaxClassifier(classifier.SoftmaxClassifier):
    """`fastsoftmax.SoftmaxClassifier` trained on Dask arrays and dataframes, where their partitions are.

    Rows never move: only weights, gradients and sums are sent. `fit` and the attributes are those of the
    local estimator; `predict` and the other methods for predictions return lazy Dask arrays.

    Parameters
    ----------
    client : distributed.Client or None, default None
        The client of the cluster; None for the current client.
    algorithm : {"local", "synchronous"}, default "local"
        "local" is local SGD: every worker runs whole epochs over its partitions, then the weights are
        averaged, weighted by the number of rows of each worker. It needs little communication; its
        trajectory is not that of one process, and depends on the placement of the partitions. "synchronous"
        takes each step with the gradient of a minibatch drawn from all rows, summed over the partitions: up
        to rounding the steps are those of the local estimator with the same seed, whatever the partitions
        and workers, and the bits do not depend on the workers. A step costs some milliseconds, so
        minibatches should be large; ``batch_size=len(X)``, or a larger number, is one step per epoch.
        With ``solver="lbfgs"`` it must be the default, and so must `local_epochs`: an iteration is one or
        two passes over all rows, whose sums are added in the order of the partitions. Its iterations are
        those of the local estimator up to rounding, and the bits do not depend on the workers.
    local_epochs : int, default 1
        With "local", the number of epochs between two averages.
    persist : bool or "auto", default "auto"
        Whether the workers keep the rows in memory while `fit` runs; with "auto" they do if the rows take
        at most a third of the memory that the workers have left. Otherwise every worker reads its
        partitions again in every epoch, one at a time. Persisted partitions stay where they are, and the
        rows of a shuffle are always kept in memory.
    **parameters
        Those of `fastsoftmax.SoftmaxClassifier`; `average` requires "synchronous". With `early_stopping`,
        every partition holds out its share of the rows, and a score is computed once per round. With
        "local", a callable `learning_rate` is called on the workers, and must be picklable. `n_jobs` is the
        number of threads per worker, by default that of its threads for tasks. `verbose`, `tol` and
        `n_iter_no_change` use the last epoch of every round; `verbose` also prints the bytes it moved.

    Attributes
    ----------
    bytes_moved_ : list of int
        For every round (an epoch, or with "local" `local_epochs` of them), the bytes of weights, gradients
        and sums sent between the client and the workers. If rows are not kept in memory, the first round
        also counts the tasks that read them, and with these the rows that are in the client's memory; the
        round in which a worker joins counts those sent to it.
    client_ : distributed.Client
        The client that `fit` uses.
    coef_, intercept_, classes_, n_features_in_, mean_, scale_, eta0_, loss_curve_, n_iter_, ...
        As of the local estimator.
    t_ : int
        The number of steps; with "local", of the worker that took the most.

    References
    ----------
    Zinkevich, Weimer, Smola, Li: Parallelized stochastic gradient descent (2010), NIPS 23.
    Stich: Local SGD converges fast and communicates little (2019), ICLR.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastsoftmax.dask import SoftmaxClassifier
    >>> X = da.from_array([[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.1]], chunks=(2, 2))
    >>> y = da.from_array(["up", "right", "up", "right"], chunks=2)
    >>> with Client(n_workers=1, processes=False, dashboard_address=":0") as client:
    ...     model = SoftmaxClassifier(client=client, eta0=0.5, random_state=0).fit(X, y)
    ...     model.predict(X).compute().tolist()
    ['up', 'right', 'up', 'right']
    """

    bytes_moved_: list[int]

    def __init__(
        self,
        *,
        client: Any = None,
        algorithm: str = "local",
        local_epochs: int = 1,
        persist: bool | str = "auto",
        **parameters: Any,
    ) -> None:
        super().__init__(**parameters)
        self.client = client
        self.algorithm = algorithm
        self.local_epochs = local_epochs
        self.persist = persist

    @in_default_float_state
    def fit(  # type: ignore[override]
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        coef_init: Any = None,
        intercept_init: Any = None,
    ) -> Self:
        """Train like the local estimator, on partitions of rows.

        Parameters
        ----------
        X : dask.array.Array or dask.dataframe.DataFrame, shape (n_samples, n_features)
            In chunks of whole rows, which may be NumPy arrays, frames or SciPy sparse matrices. Their
            numbers of rows may be unknown or 0.
        y : dask.array.Array, or dask.dataframe.Series or DataFrame
            Labels, or probabilities as in the local estimator, in partitions of the same rows as `X`. If
            both are frames or series, every partition has the index of that of `X`, in any order.
        sample_weight : dask.array.Array or dask.dataframe.Series, optional
            The weights of the samples, partitioned like `y`.
        coef_init, intercept_init : array_like, optional
            As of the local estimator.

        Returns
        -------
        SoftmaxClassifier
            This object.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are not as described; the message names it, and the partition.
        DivergenceError
            As of the local estimator.
        ClusterError
            If all workers, the scheduler or data are lost permanently, the cluster is restarted, or a
            worker or the scheduler does not have this package. The attributes are those after the last
            whole round, or unchanged if there was none. The loss of a single worker only costs time.

        Warns
        -----
        ConvergenceWarning
            As the local estimator does.
        UserWarning
            If a worker that joined during the fit does not have this package: other workers did its part.
        """
        config, method = config_of(self), self._method()
        config.check_alpha("data on several machines")
        with Cluster(self.client) as cluster:
            collection = _collection_on(cluster, X, y, sample_weight)
            end = self._train(cluster, collection, config, method, coef_init, intercept_init)
        cluster.warn_of_left_out(stacklevel=4)
        classifier.warn_of_end(*end)
        return self

    def _train(
        self,
        cluster: Cluster,
        collection: Collection,
        config: TrainingConfig,
        method: Method,
        coef_init: Any,
        intercept_init: Any,
    ) -> tuple[DistributedRun | DistributedSolverRun, bool]:
        """Train and publish the attributes; return the run, and whether it converged."""
        random = generator_of(self.random_state, draws=False)
        # Drawn from a copy: the order of the samples then is that of the local estimator.
        seed = int(deepcopy(random).integers(1 << 63))
        goes_on = config.warm_start and self.__sklearn_is_fitted__()
        before = snapshot_for_training(self) if goes_on else None
        grows = before is None or before._grows
        known = (None, False) if before is None else (before.classes_, grows)
        dataset = prepare_dataset(collection, cluster, config, method, seed, *known)
        statistics, config = dataset.statistics, dataset.config
        classes, names = statistics.context.classes, statistics.names
        if before is not None:
            if statistics.n_features != before.n_features_in_:
                raise ValueError(
                    f"X: expected {before.n_features_in_} features, as before, got {statistics.n_features}"
                )
            warn_of_dropped(before, stacklevel=5)
            starts = before._weights_for(classes)
            coef_init = starts[0] if coef_init is None else coef_init
            if intercept_init is None and config.fit_intercept:
                intercept_init = starts[1]
        shape = (len(classes), statistics.n_features)
        momentum = config.rule.momentum
        zeros = zero_state(shape, statistics.context.dtype, config.fit_intercept, momentum)
        state: State = state_at(coef_init, intercept_init, zeros, dataset.units)
        problem = problem_over(dataset, config)
        run = run_on_cluster(problem, state, random, method)

        def published(model: SoftmaxClassifier, run: Any) -> SoftmaxClassifier:
            model._publish(run, names, grows)
            model.bytes_moved_ = list(run.bytes_moved)
            return model

        def make_model(run: Any) -> SoftmaxClassifier:
            seen = copy(run)
            (seen.state, seen.average), seen.random = run.copy(), deepcopy(run.random)
            return published(copy(self), seen)

        def fitted(tasks: FitTasks | None) -> bool:
            try:
                at_zeros = np.log(len(classes))
                converged = train(run, at_zeros, state is zeros, make_model, tasks=tasks)
                published(self, run)
            except BaseException:
                if run.curve:
                    published(self, run)
                raise
            finally:
                if run.curve:  # otherwise the caller's generator stays unchanged
                    generator_of(self.random_state)
            return converged

        # Callbacks get no data, which are on the workers.
        unit = "epoch" if config.solver == "sgd" else "iteration"
        return run, with_tasks(self, fitted, config.max_iter, unit, classifier.attributes_of)

    def partial_fit(self, *_: Any, **__: Any) -> Self:
        """Raise TypeError: Dask collections are not supported; `to_local().partial_fit` takes arrays.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            "partial_fit: not for Dask collections; to_local().partial_fit takes arrays"
        )

    @in_default_float_state
    def calibrate(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the temperature as the local estimator does, on held-out samples in memory.

        Raises
        ------
        TypeError
            If `X` is a Dask collection: ``X.compute()`` is an array.
        """
        if is_dask_collection(X):
            raise TypeError(
                "calibrate: not for Dask collections; X.compute() brings them into memory"
            )
        return super().calibrate(X, y, sample_weight)

    def decision_function(self, X: Any) -> Any:
        """Return the logits as a lazy array; with two classes, the second minus the first."""
        return self._predict_lazily("decision_function", X)

    def predict(self, X: Any) -> Any:
        """Return the most probable label of every sample, shape (n_samples,), as a lazy array.

        For a frame, the chunks have unknown sizes; ``frame.assign(label=model.predict(frame))`` accepts
        them. For rows that are not a Dask collection, all methods for predictions compute the result
        immediately.
        """
        return self._predict_lazily("predict", X)

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of every class as a lazy array."""
        return self._predict_lazily("predict_proba", X)

    def predict_log_proba(self, X: Any) -> Any:
        """Return the natural logarithm of the probabilities as a lazy array."""
        return self._predict_lazily("predict_log_proba", X)

    @in_default_float_state
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on labels or probabilities, as the local estimator defines it."""
        if not is_dask_collection(X):
            return super().score(X, y, sample_weight)
        from .scoring import accuracy

        self._check_is_fitted()
        cluster = Cluster(self.client)
        collection = _collection_on(cluster, X, y, sample_weight)
        return accuracy(self._model_for(X), cluster, collection)

    def to_local(self) -> classifier.SoftmaxClassifier:
        """Return the local estimator with the same parameters and the same fitted attributes, if any."""
        names = classifier.SoftmaxClassifier._parameters()
        local = classifier.SoftmaxClassifier(**{name: getattr(self, name) for name in names})
        kept = (*ATTRIBUTES, "_metadata_request")  # the latter of scikit-learn's set_fit_request
        found = {name: vars(self)[name] for name in kept if name in vars(self)}
        local.__dict__.update(deepcopy(found))
        return local

    def save(self, path: Any) -> None:
        """Write `to_local()` to a file, which `fastsoftmax.load` reads."""
        self.to_local().save(path)

    @property
    def client_(self) -> Any:
        """The client that `fit` uses."""
        return client_of(self.client)

    def __getstate__(self) -> dict[str, Any]:
        # A client is a connection of this process, and cannot be pickled.
        return vars(self) | {"client": None}

    def __copy__(self) -> Self:
        new = type(self).__new__(type(self))
        new.__dict__.update(vars(self))
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = type(self).__new__(type(self))
        new.__dict__.update(deepcopy(self.__getstate__(), memo), client=self.client)
        return new

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted estimator with the same parameters, for scikit-learn's `clone`."""
        new = type(self)(
            **{
                name: value if name == "client" else deepcopy(value)
                for name, value in self.get_params().items()
            }
        )
        if hasattr(self, "_metadata_request"):
            new._metadata_request = deepcopy(self._metadata_request)
        if hasattr(self, "_skl_callbacks"):  # shared, as scikit-learn does
            new._skl_callbacks = self._skl_callbacks
        return new

    def _method(self) -> Method:
        if self.algorithm not in _ALGORITHMS:
            accepted, found = ", ".join(_ALGORITHMS), validation.shown(self.algorithm)
            raise ValueError(f"algorithm: expected one of {accepted}, got {found}")
        if self.algorithm == "local" and self.average:
            raise ValueError(
                'average: expected False for algorithm="local", which averages weights itself, '
                f"got {validation.shown(self.average)}"
            )
        is_flag = isinstance(self.persist, bool | np.bool_)
        if not is_flag and not (isinstance(self.persist, str) and self.persist == "auto"):
            raise ValueError(
                f"persist: expected True, False or 'auto', got {validation.shown(self.persist)}"
            )
        epochs = validation.as_integer("local_epochs", self.local_epochs, 1)
        if self.solver != "sgd":
            for name, default in (("algorithm", "local"), ("local_epochs", 1)):
                if (given := getattr(self, name)) != default:
                    raise ValueError(
                        f"{name}: expected its default, {default!r}, with solver={self.solver!r}, "
                        f"which does not use it; got {validation.shown(given)}"
                    )
        if self.algorithm == "local" and callable(self.learning_rate):
            _check_picklable(self.learning_rate)
        n_threads = None if self.n_jobs in (None, -1) else int(self.n_jobs)
        return Method(self.algorithm, epochs, self.persist, n_threads)

    def _check_is_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise sklearn_api.not_fitted("this SoftmaxClassifier is not fitted: call fit first")

    def _predict_lazily(self, method: str, X: Any) -> Any:
        self._check_is_fitted()
        if not is_dask_collection(X):
            return getattr(self.to_local(), method)(X)
        return predict_lazily(self._model_for(X), method, X)

    def _model_for(self, X: Any) -> classifier.SoftmaxClassifier:
        """Return the local model for the partitions of X: features and weights are checked once, here."""
        now = snapshot_of(self)
        check_collection("X", X)
        check_whole_rows(X)
        sklearn_api.check_feature_names(now, getattr(X, "_meta", None), stacklevel=5)
        n_features = X.shape[1] if is_array(X) else len(X.columns)
        if n_features != now.n_features_in_ and not np.isnan(n_features):
            raise ValueError(
                f"X has {n_features} features, but {type(self).__name__} is expecting "
                f"{now.n_features_in_} features as input"
            )
        now.coef_, now.intercept_ = shaped_parameters_of(now)
        # Tasks run side by side; only the attributes that predictions need are sent.
        n_jobs = 1 if now.n_jobs in (None, -1) else now.n_jobs
        local = classifier.SoftmaxClassifier(backend=now.backend, n_jobs=n_jobs)
        for name in ("coef_", "intercept_", "classes_", "n_features_in_", "temperature_"):
            setattr(local, name, deepcopy(getattr(now, name)))
        return local


def _check_picklable(learning_rate: Any) -> None:
    """Raise unless the function can be pickled: workers call it with the number of a step."""
    try:
        cloudpickle.dumps(learning_rate)
    except Exception as error:  # pickling runs arbitrary code
        raise TypeError(
            f"learning_rate: expected a function that can be pickled, for workers to call it, "
            f"got {validation.shown(learning_rate)}: {error}"
        ) from None


def _collection_on(cluster: Cluster, X: Any, y: Any, sample_weight: Any) -> Collection:
    y = _as_vector(y)
    with cluster.current():
        return collection_of(X, y, sample_weight)


def _as_vector(y: Any) -> Any:
    """Return a single column of labels as a vector, with the local estimator's warning."""
    if not is_dask_collection(y) or getattr(y, "ndim", 1) != 2 or y.shape[1] != 1:
        return y
    sklearn_api.warn_of_column(stacklevel=6)
    return y[:, 0] if is_array(y) else y[y.columns[0]]
