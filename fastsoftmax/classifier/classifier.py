"""`SoftmaxClassifier`: softmax regression with the interface of scikit-learn's estimators."""

from __future__ import annotations  # they name np.random, which is imported on first use

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.csr import SparseRows
from .._arrays.inputs import as_samples
from .._arrays.labels import are_equal, check_type, encode, find_classes, joined, listed
from .._arrays.validation import FloatArray
from ..backends import in_default_float_state
from ..training.alpha_choice import choose_alpha
from ..training.averaging import Average
from ..training.callbacks import Callback, line
from ..training.checkpoints import checkpoint_of, identity_of
from ..training.config import copy_of_generator, generator_of
from ..training.duality_gap import Optimality
from ..training.holdout import HeldOut
from ..training.loop import TrainingRun, train
from ..training.new_classes import expand_rows
from ..training.problem import prepare
from ..training.solver_run import run_of
from ..training.standardization import Moments
from ..training.state import state_at
from ..training.step_size import StepSizes
from ..training.targets import check_sorted, is_soft, targets_of
from . import sklearn_api
from .calibration import Calibration, warn_of_dropped
from .fitted_model import (
    ATTRIBUTES,
    FeaturesOfWeights,
    FittedModel,
    check_n_features,
    parameters_of,
    snapshot_for_training,
)
from .model_files import ModelFiles
from .parameters import checkpoint_parameters, config_of, takes_sparse
from .partial_fit import trained_on_chunk
from .prediction_methods import PredictionMethods
from .sklearn_callbacks import CallbackSupport, FitTasks, with_tasks

# Below this norm of the rows, features learn a hundred times as slowly as the intercept, whose feature is
# 1.
_SMALL = 0.1


class SoftmaxClassifier(
    sklearn_api.IncrementalEstimator, CallbackSupport, PredictionMethods, Calibration, ModelFiles
):
    """Linear classifier trained by minibatch SGD on the softmax cross-entropy.

    With logits ``z = coef_ @ x + intercept_``, minimises over the training data::

        mean(-log softmax(z)_y) + l2 * sum(coef_**2) + l1 * sum(|coef_|)

    or of samples with weights, divided by their mean, the mean of ``-weight * log softmax(z)_y``. Each step
    takes the gradient of a minibatch's mean; L1 is a proximal step (soft thresholding), which leaves exact
    zeros. The intercept is not penalised. Training starts from zeros, and the same `random_state` gives
    the same trajectory on every backend, to rounding (but see `l1_step`).

    Parameters
    ----------
    backend : {"auto", "compiled", "vectorized", "numba", "naive"}, default "auto"
        The backend that computes. "auto" is the first available of compiled, vectorized and naive.
    solver : {"sgd", "lbfgs"}, default "sgd"
        "sgd" takes steps along the gradients of minibatches. "lbfgs" goes on to the minimum of the same
        objective: each iteration passes over all samples once or twice, needs no step size, and depends on
        no random numbers. The parameters of SGD, from `batch_size` to `average`, then keep their defaults,
        and so do `l1_step`, `n_iter_no_change` and `early_stopping`; `partial_fit` needs "sgd".
    penalty : {"l2", "l1", "elasticnet"} or None, default "l2"
        The penalty, as in ``SGDClassifier``: "l2" is ``alpha / 2 * sum(coef_**2)``, "l1" is
        ``alpha * sum(|coef_|)``, "elasticnet" is ``l1_ratio`` of the second plus ``1 - l1_ratio`` of
        the first.
    alpha : float, "size" or "auto", default "size"
        The strength of the penalty, 0 or more. "size" is, with `standardize` and penalty "l2",
        ``n_features / (20 * total)``, of a sparse `X` ``1 / total``, where ``total`` is the sum of the
        weights of the samples, without weights their number, but at most 1; `partial_fit` then uses that of
        the last `fit`, or 1e-4. Otherwise "size" is 1e-4.
        With "auto" `fit` first looks for the strength whose minimum has the smallest mean cross-entropy on
        held-out samples, among strengths a factor of ``10 ** (1 / 3)`` apart; with up to 10000 samples
        there are five folds, with more, one tenth is held out. Then it trains on all samples, by default
        from there. `partial_fit` does not take "auto".
    l1_ratio : float or None, default 0.15
        The share of L1 in "elasticnet", from 0 to 1; ignored by the other penalties, which accept None.
    l1_step : {"proximal", "subgradient"}, default "proximal"
        How a step applies L1: soft thresholding after it, which leaves exact zeros, or the lecture's
        ``l1 * sign(coef_)`` in the gradient, which oscillates about 0. A sparse `X` needs "proximal". With
        "subgradient", the sign of a weight that is 0 up to rounding depends on the rounding: the weights of
        two backends may then differ by ``2 * rate * l1`` after a step, and not by rounding alone. The
        results of one backend are reproducible.
    class_weight : mapping of label to number, "balanced" or None, default None
        The weight of the samples of each class; 1 for labels that are not in the mapping. "balanced" gives
        all classes the same total weight: (sum of weights) / (number of classes * sum of the class), and 0
        for a class whose samples all have weight 0.
    label_smoothing : float, default 0.0
        The share e, from 0 to 1, of every target that is spread evenly over the classes:
        ``(1 - e) * target + e / n_classes``.
    fit_intercept : bool, default True
        Whether to learn an intercept.
    standardize : bool, default False
        Whether to train on ``(x - mean_) / scale_``, which the kernels compute on the fly: no such matrix
        is stored. The penalty acts on the weights of the standardised features; `coef_` and `intercept_`
        are in the original units. With a sparse `X`, whose zeros stay zeros, and without an intercept
        features are only scaled. With `partial_fit` the statistics are those of all samples so far; when
        they change, the weights for `X` stay the same. If the first samples were sparse, dense ones are
        only scaled too; if they were dense, sparse ones are refused, since no mean can be subtracted from
        them.
    max_iter : int or "auto", default "auto"
        The maximum number of epochs, or of iterations, of `fit`; "auto" is 200 or, with solver "sgd" and
        `learning_rate` "auto", 30, but only as many as have 6000 steps, and at least 10. `fit` warns
        (`ConvergenceWarning`) if more would help: if the loss still falls by `tol` or, as the rate falls to
        0, if the second half of the epochs brought more than a fifth of the fall.
    tol : float or None, default 1e-4
        `fit` stops when `n_iter_no_change` epochs in a row have lowered the smallest loss so far by less
        than the share `tol` of its fall since the start; with `early_stopping`, have raised the score by
        less than `tol`. Schedules that fall to 0 are not stopped by the loss. None disables the rule and
        the warning.
        With solver "lbfgs" it is relative: `fit` stops when the bound `optimality_` is at most `tol` times
        the objective, or, if there is no bound, when three iterations in a row promise less than a tenth
        of that.
    n_iter_no_change : int, default 5
        See `tol`.
    batch_size : int, default 64
        The number of samples of a minibatch; the last one of an epoch may have fewer.
    shuffle : bool or "blocks", default True
        Whether every epoch takes the samples in a new random order. "blocks" is for files larger than
        memory: blocks of about 4 MiB of rows come in random order, and the rows of 16 blocks are mixed.
    replacement : bool, default False
        Whether samples are drawn with replacement, as the course does; `shuffle` has no effect then.
        An epoch still takes as many samples as there are.
    learning_rate : str or callable, default "auto"
        One of "auto", "constant", "invscaling", "adaptive", "step", "cosine", "linear", or a callable.
        "auto" is "linear" with momentum in `fit`, and "constant" in `partial_fit`, which has no last epoch.
        "constant" is `eta0`; "invscaling" is ``eta0 / t**power_t`` at the t-th step, counted from 1.
        "adaptive" begins with `eta0` and divides it by 5 whenever `tol` would stop the fit, down to a
        thousandth. "step" multiplies by `step_factor` after every `step_every` epochs. "cosine" falls from
        `eta0` to 0 at `max_iter` as half a period of a cosine, "linear" on a line.
        A callable takes the number of the step, counted from 0, and returns the rate.
    eta0 : "auto" or float, default "auto"
        The (first) learning rate, greater than 0. "auto" is one over a bound on the curvature of the loss,
        computed from the rows of `X`: the larger their values, the smaller the rate. `partial_fit` computes
        it for every chunk, and uses at most the geometric mean of all chunks so far, weighted by their
        numbers of samples.
    power_t : float, default 0.5
        The exponent of "invscaling".
    step_every, step_factor : int, default 30, and float, default 0.1
        The period in epochs and the factor of "step".
    warmup_epochs : float, default 0.0
        The number of epochs, possibly a fraction, over which the rate rises linearly from about 0; a
        callable `learning_rate` ignores it.
    momentum : float or "auto", default "auto"
        From 0 to less than 1: ``v = momentum * v - rate * gradient; coef_ += v``. With a sparse `X` an
        L1 penalty needs 0. "auto" is 0.9 in `fit` with `learning_rate` "auto", but for this case; else 0.
    nesterov : bool, default False
        Whether the momentum, which must not be 0 then, is Nesterov's:
        ``coef_ += momentum * v - rate * gradient`` with the new v.
    average : bool or int, default False
        Whether `coef_` and `intercept_` are the mean of the weights after every step, which varies less
        than the last weights do; a number n begins with the step of the n-th sample. With a sparse `X`
        every step then passes over all weights.
    early_stopping : bool, default False
        Whether `fit` holds out `validation_fraction` of the samples, stratified by class, and stops by the
        accuracy on them instead of the loss. The weights are then those of the best epoch.
    validation_fraction : float, default 0.1
        See `early_stopping`; between 0 and 1.
    warm_start : bool, default False
        Whether `fit` starts from the present weights instead of zeros; those of new labels are zeros, and
        classes that are missing in `y` stay. Everything else begins again: steps, schedule, order of the
        samples, momentum and averages.
    random_state : int, Generator, RandomState, numpy.random or None, default None
        The seed of the order of the samples. Each `fit` draws one number from an instance; the module
        `numpy.random` stands for NumPy's global state.
    n_jobs : int or None, default None
        The number of threads. None and -1 stand for ``FASTSOFTMAX_NUM_THREADS``, else ``OMP_NUM_THREADS``,
        else the CPUs that this process may use; -2 for one less, and so on. The results of the compiled
        backend do not depend on it.
    verbose : int or bool, default 0
        Whether to print the loss of every epoch.
    progress_bar : bool, default False
        Whether `fit` shows a progress bar (needs rich) on a terminal's standard error stream or in a
        notebook. Nothing is shown elsewhere.
    callbacks : callable, object or list of them, default None
        Called after every epoch of `fit` with an object that has the attributes `epoch`, `n_steps`, `loss`,
        `validation_score`, `learning_rate` and `model`, a fitted copy. An object that is not callable needs
        a method `on_epoch_end`. A callback that returns true stops the fit.

    Attributes
    ----------
    coef_ : ndarray, shape (n_classes, n_features)
        The weights, float32 if `X` was float32, float16 or uint8, else float64.
    intercept_ : ndarray, shape (n_classes,)
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features,)
        The names of the columns, if `X` was a pandas or polars frame or an Arrow table whose names are all
        strings.
    mean_, scale_ : ndarray of float64, shape (n_features,), or None
        With `standardize`, the weighted mean and standard deviation of every feature over all samples that
        were trained on, zeros of a sparse `X` included; else None. A constant feature has the scale 1.
    eta0_ : float, or None with solver "lbfgs"
        The (first) learning rate that was used, the `eta0` in the formulas of `learning_rate`; with "auto",
        that of the last call of `partial_fit`.
    validation_scores_ : list of float, or None
        With `early_stopping`, the accuracy after every epoch on the held-out samples, weighted by
        `sample_weight`.
    best_validation_score_ : float or None
        The largest validation score: that of `coef_`, unless an error or Ctrl-C ended the fit.
    n_iter_ : int
        The number of epochs of `fit` and of all calls of `partial_fit` since.
    t_ : int
        The number of steps in these epochs.
    loss_curve_ : list of float
        The objective of every epoch, penalty included: the mean over its minibatches, each before its
        update. With a sparse `X` the penalty is computed every m steps, by a pass over all weights, and the
        objective has the last one of the epoch; m is such that the m steps visit the weights of 8 times as
        many features as there are. With solver "lbfgs" it is the objective after every iteration.
    temperature_ : float
        The number by which the logits are divided in probabilities. 1.0 after training, whose last call
        warns if it resets another one; see `calibrate`.
    alpha_ : float or None
        The strength of the penalty, that of the last call; None in a model whose weights were set by hand.
    alpha_path_ : list of dict, or None
        With ``alpha="auto"``, a row for each strength that was tried, from strong to weak: "alpha", and of
        the held-out samples "accuracy", "log_loss" (in nats), "balanced_accuracy" (the mean of the
        classes' accuracies) and "top_5_accuracy", all with the weights of training.
        ``pandas.DataFrame(model.alpha_path_)`` shows it.
    optimality_ : tuple (gap, reason)
        With solver "lbfgs", `gap` is how far, at most, the objective of `coef_` is above its minimum: a
        duality gap, in nats, computed in float64. It is None with solver "sgd", without a penalty, and with
        an intercept if a class has the total weight 0; `reason` says so.

    Notes
    -----
    `classes_`, `coef_` and `intercept_` may be set by hand, on a new or a fitted object, by assignment or
    in place: all methods use them as they are, and `partial_fit` and, with `warm_start`, `fit` continue
    from them. An average of weights that were replaced starts again. Classes have to be sorted, and two
    classes have two rows of weights.

    `X` may be float32, float64, float16, uint8, other integers or booleans, with any strides, or long
    double, which is converted to float64 as a whole. Rows of the first four dtypes are read in place, and
    the kernels of the compiled backend convert them minibatch by minibatch if necessary; other dtypes are
    converted a few minibatches at a time. A Fortran-ordered `X` is copied once per call.

    `X` may also be sparse: a CSR matrix with float32 or float64 values, from SciPy or any object with the
    attributes `format`, `data`, `indices`, `indptr` and `shape`, is read in place. Indices need not be
    sorted, and duplicate entries are added. Other formats and dtypes are converted to CSR. On the compiled
    backend the cost of a step is proportional to its stored values; the other backends make dense
    minibatches. The effect of penalty and momentum on a weight is applied lazily: the next step that reads
    the weight makes up, exactly, for those that skipped it, so that the steps are those of the dense
    matrix, to rounding. Soft thresholding (L1) with `momentum` is refused: over several steps it has no
    closed form. The cost of a prediction is proportional to the stored values of its rows, too.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), section 4.3.4.
    Parikh, Boyd: Proximal Algorithms (2014), section 6.5.2, for the L1 step.

    Examples
    --------
    >>> from fastsoftmax import SoftmaxClassifier
    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.1]], ["up", "right", "up", "right"]
    >>> SoftmaxClassifier(eta0=0.5, random_state=0).fit(X, y).predict([[0.2, 0.8]]).tolist()
    ['up']
    """

    coef_: FloatArray
    intercept_: FloatArray
    classes_: NDArray[Any]
    n_features_in_ = FeaturesOfWeights()
    feature_names_in_: NDArray[Any]
    mean_: NDArray[np.float64] | None
    scale_: NDArray[np.float64] | None
    eta0_: float | None
    alpha_: float | None
    alpha_path_: list[dict[str, float]] | None
    optimality_: Optimality
    temperature_: float
    n_iter_: int
    t_: int
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    _random: np.random.Generator
    _last: tuple[FloatArray, FloatArray | None] | None
    _average: Average | None
    _mean_weight: float
    _grows: bool  # whether partial_fit accepts new labels
    _velocity: tuple[FloatArray | None, FloatArray | None]
    _is_centred: bool  # whether standardize subtracts the mean
    _moments: Moments | None  # from which mean_ and scale_ are computed
    _step_sizes: StepSizes | None  # of eta0="auto", over all chunks

    def __init__(
        self,
        *,
        backend: str = "auto",
        solver: str = "sgd",
        penalty: str | None = "l2",
        alpha: float | str = "size",
        l1_ratio: float | None = 0.15,
        l1_step: str = "proximal",
        class_weight: Mapping[Any, float] | str | None = None,
        label_smoothing: float = 0.0,
        fit_intercept: bool = True,
        standardize: bool = False,
        max_iter: int | str = "auto",
        tol: float | None = 1e-4,
        n_iter_no_change: int = 5,
        batch_size: int = 64,
        shuffle: bool | str = True,
        replacement: bool = False,
        learning_rate: str | Callable[[int], float] = "auto",
        eta0: str | float = "auto",
        power_t: float = 0.5,
        step_every: int = 30,
        step_factor: float = 0.1,
        warmup_epochs: float = 0.0,
        momentum: float | str = "auto",
        nesterov: bool = False,
        average: bool | int = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: int | np.random.Generator | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int | bool = 0,
        progress_bar: bool = False,
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> None:
        self.backend = backend
        self.solver = solver
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.l1_step = l1_step
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.replacement = replacement
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.step_every = step_every
        self.step_factor = step_factor
        self.warmup_epochs = warmup_epochs
        self.momentum = momentum
        self.nesterov = nesterov
        self.average = average
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.progress_bar = progress_bar
        self.callbacks = callbacks

    @in_default_float_state
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
        *,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int = 1,
        resume: bool = False,
    ) -> Self:
        """Train until `tol` or `max_iter` stops it, by default from zero weights.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        y : array_like of labels, shape (n_samples,), or of probabilities, shape (n_samples, n_classes)
            Integers, strings, bytes, booleans, floats without a fraction or datetime64, all of one type;
            at least two different ones. Integers and booleans of an object array become int64 and bool.
            Rows of probabilities sum to 1; the classes are then 0, 1, ..., or those that the model has.
        sample_weight : array_like of real numbers, shape (n_samples,), optional
            The weights of the samples, 0 or more; at a given `alpha` only their ratios matter. A weight of
            2 equals two such samples. The features and the probabilities of a sample of weight 0 are not
            read. Its label is, and it is a class even if all its samples have weight 0; this class becomes
            improbable.
        coef_init, intercept_init : array_like, shapes (n_classes, n_features) and (n_classes,), optional
            The weights to start from, instead of zeros.
        checkpoint : str or path-like, optional
            A file, whose name ends in .npz, in which the state of the training is saved atomically every
            `checkpoint_every` epochs and at the end. X is read once more for its digest.
        checkpoint_every : int, default 1
            See `checkpoint`.
        resume : bool, default False
            Whether to resume from the checkpoint, if it exists; the result has the bits of an uninterrupted
            fit. Callables are not stored and have to be given again.

        Returns
        -------
        SoftmaxClassifier
            This object.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are not as described, or a checkpoint to resume from belongs to other
            parameters or data. The message names them, and the attributes are as before the call.
        DivergenceError
            If the loss becomes infinite or NaN, or that of an epoch is above 10 times that of the starting
            weights, log(n_classes). The attributes are those after the last good epoch, or as before the
            call if there was none.
        MemoryError
            If an array does not fit into memory. The attributes are as with DivergenceError, as they are
            after any exception of a callback or a signal handler.
        KeyboardInterrupt
            On Ctrl-C. The weights are those after the last completed step; `n_iter_`, `t_` and
            `loss_curve_` describe the completed epochs before.
        """
        config = config_of(self)
        matrix, names = as_samples(X), sklearn_api.feature_names_of(X)
        config = config.for_rows(isinstance(matrix, SparseRows))
        goes_on = config.warm_start and self.__sklearn_is_fitted__()
        before = snapshot_for_training(self) if goes_on else None
        grows = before is None or before._grows
        targets = targets_of(
            *(sklearn_api.as_vector(y), len(matrix), validation.training_dtype(matrix.dtype)),
            *(sample_weight, config.class_weight, None if before is None else before.classes_),
            grows=grows and before is not None,
        )
        if len(targets.classes) < 2:
            raise ValueError(
                f"y: expected at least two classes, got one class: {listed(targets.classes)[0]!r}"
            )
        if before is not None:
            check_n_features(before, matrix)
            warn_of_dropped(before)
            starts = before._weights_for(targets.classes)
        random = generator_of(self.random_state, draws=False)
        saving, random = checkpoint_of(checkpoint, checkpoint_every, resume, random)
        if saving is not None:
            parameters = checkpoint_parameters(self.get_params()) | {"backend": config.backend.name}
            given = (matrix, targets, sample_weight, coef_init, intercept_init)
            saving.identity = identity_of(parameters, *given)
        if before is not None:
            coef_init = starts[0] if coef_init is None else coef_init
            if intercept_init is None and config.fit_intercept:
                intercept_init = starts[1]
        rows, held_out = targets.rows, None
        if config.validation_fraction is not None:
            rows, held_out = HeldOut.drawn(
                *(config.backend, config.n_threads, matrix, targets),
                *(config.validation_fraction, random),
            )
        alpha_path = None
        if config.alpha is None:
            choice = choose_alpha(config, matrix, targets, rows, random)
            config, alpha_path = config.with_alpha(choice.alpha), choice.tried
            if coef_init is None and intercept_init is None:
                coef_init, intercept_init = choice.coef, choice.intercept
        problem = replace(prepare(config, matrix, targets, rows, held_out), alpha_path=alpha_path)
        zeros = problem.zero_state()
        state = state_at(coef_init, intercept_init, zeros, problem.samples.units)
        run = run_of(problem, state, random)

        def published(model: SoftmaxClassifier, run: TrainingRun) -> SoftmaxClassifier:
            model._publish(run, names, grows)
            return model

        def make_model(run: TrainingRun) -> SoftmaxClassifier:
            seen = copy(run)
            (seen.state, seen.average), seen.random = run.copy(), copy_of_generator(run.random)
            return published(copy(self), seen)

        def fitted(tasks: FitTasks | None) -> bool:
            try:
                # From zeros all classes are equally probable.
                at_zeros = np.log(len(targets.classes))
                converged = train(run, at_zeros, state is zeros, make_model, saving, tasks=tasks)
                published(self, run)
            except BaseException:
                if run.is_publishable:
                    published(self, run)
                raise
            finally:
                if run.is_publishable:  # else the caller's generator is as it was
                    generator_of(self.random_state)
            return converged

        unit = "epoch" if config.solver == "sgd" else "iteration"
        converged = with_tasks(
            *(self, fitted, problem.config.max_iter, unit, attributes_of),
            *(X, y, sample_weight),
        )
        warn_of_end(run, converged)
        return self

    @in_default_float_state
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Continue training with one epoch over these samples.

        Parameters
        ----------
        X, y
            As in `fit`; `y` may hold any of the classes, or a column of probabilities for each, sorted.
        classes : array_like of labels, optional
            All labels that will ever occur. The first call that names them fixes the set, together with the
            labels seen before; later calls may name only this set. Until then every call may bring new
            labels, also after `fit`, whose weights begin as zeros.
        sample_weight : array_like of real numbers, shape (n_samples,), optional
            As in `fit`, but divided by the mean weight of the first call.

        Returns
        -------
        SoftmaxClassifier
            This object.

        Raises
        ------
        ValueError, TypeError, KeyboardInterrupt
            As `fit`, and if `y` contains a label that is not among the classes that were named.
        DivergenceError
            If the loss becomes infinite or NaN, or is above 100 times the sum of log(n_classes), times
            the mean weight, and the penalty of the previous weights. The loss of fewer than 32 samples
            counts in proportion.

        The model is as before the call, whatever the error.

        Warns
        -----
        UserWarning
            If the first chunk was on another scale than the second one, which is no shorter, and its
            weights are worse on the second than zeros: training starts again with the second.
        """
        config = config_of(self)
        config.check_sgd("partial_fit")
        config.check_alpha("partial_fit")
        if config.early_stopping:
            raise ValueError("early_stopping: expected False for partial_fit, got True")
        if isinstance(config.class_weight, str) and config.class_weight == "balanced":
            raise ValueError(
                f"class_weight: expected a mapping or None for partial_fit, got {config.class_weight!r}: "
                "it would depend on samples that are still to come"
            )
        matrix, names = as_samples(X), sklearn_api.feature_names_of(X)
        config = config.for_rows(isinstance(matrix, SparseRows))
        before = snapshot_for_training(self) if self.__sklearn_is_fitted__() else None
        config = config.for_stream(None if before is None else getattr(before, "alpha_", None))
        known = None if classes is None else find_classes(classes, "classes")
        grows = known is None
        if before is not None:
            sklearn_api.check_feature_names(before, X, stacklevel=4)
            names = getattr(before, "feature_names_in_", None)
            if known is not None and not before._grows:
                before._check_classes(known)
            grows = grows and before._grows
            check_n_features(before, matrix)
            known = before.classes_ if known is None else joined(before.classes_, known, "classes")
        elif known is not None and len(known) < 2:
            raise ValueError(f"classes: expected at least two, got {listed(known)}")
        if classes is not None and is_soft(y):
            check_sorted(classes)
        targets = targets_of(
            *(sklearn_api.as_vector(y), len(matrix), validation.training_dtype(matrix.dtype)),
            *(sample_weight, config.class_weight, known),
            *(None if before is None else before._mean_weight, grows),
        )
        # Draw from a copy: a call that fails leaves the caller's generator as it was.
        warn_of_dropped(before)
        random = None if before is None else before._random
        begins = random is None
        random = (
            generator_of(self.random_state, draws=False)
            if random is None
            else copy_of_generator(random)
        )
        run = trained_on_chunk(config, before, matrix, targets, random)
        if config.verbose:
            print(line(len(run.curve), run.curve[-1], None))
        if begins:
            generator_of(self.random_state)
        self._publish(run, names, grows)
        return self

    def __sklearn_tags__(self) -> Any:
        """Return the tags for scikit-learn, which say whether these parameters allow a sparse X."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = takes_sparse(self)
        return tags

    def _publish(
        self,
        run: TrainingRun,
        names: NDArray[Any] | None,
        grows: bool,
    ) -> None:
        model = FittedModel.of(run, names, grows)
        if names is None:
            self.__dict__.pop("feature_names_in_", None)
        # One atomic update: a signal handler sees all of the old attributes or all of the new ones.
        self.__dict__.update(model.attributes())

    def _weights_for(self, classes: NDArray[Any]) -> list[FloatArray]:
        """Return `coef_` and `intercept_` with a row for each of `classes`: zeros for new ones."""
        places = encode(self.classes_, classes)
        return [expand_rows(each, places, len(classes)) for each in parameters_of(self)]

    def _check_classes(self, classes: NDArray[Any]) -> None:
        """Raise unless `classes` are those that an earlier call named."""
        check_type(classes, self.classes_, "classes")
        if classes.shape != self.classes_.shape or not are_equal(classes, self.classes_).all():
            raise ValueError(
                f"classes: expected those that were named before, {listed(self.classes_)}, "
                f"got {listed(classes)}"
            )


def attributes_of(model: SoftmaxClassifier) -> dict[str, Any]:
    """Return the fitted attributes of a model."""
    return {name: value for name, value in vars(model).items() if name in ATTRIBUTES}


def warn_of_end(run: TrainingRun, converged: bool) -> None:
    """Warn the user, two calls up the stack, if a fit ended before it converged.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` ended it, or if `tol` did although the features are small compared to the intercept's
        1.
    """
    config, units = run.problem.config, run.problem.samples.units
    if not converged:
        sklearn_api.warn_of_max_iter(
            *(config.max_iter, config.reason_not_converged, units is None, 5),
            uses_tol=not config.schedule.ends_at_0,
        )
    elif (gap := run.gap_left_by_rounding) is not None:
        sklearn_api.warn_of_rounding(gap, config.tol, run.state.coef.dtype, 5)
    elif units is None and config.fit_intercept and run.stopped_by_tol:
        norm = run.norm_of_rows()
        if norm < _SMALL:
            sklearn_api.warn_of_small_features(norm, len(run.curve), 5)
