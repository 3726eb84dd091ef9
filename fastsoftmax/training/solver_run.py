"""A fit by a solver of the whole objective: an epoch is an iteration, and a bound of the gap ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite, log
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends import Rule, State
from ..backends.recorder import REST, timed
from .duality_gap import Dual, Optimality
from .lbfgs import Lbfgs, Point
from .linear_algebra import dot, inverse_of_spd
from .loop import TrainingRun
from .newton import FLATTENED, Newton, pays
from .objective import Objective
from .preconditioner import (
    FeatureFactor,
    Preconditioner,
    curvature_of_classes,
    features_of,
    preconditioner_of,
)
from .problem import Problem
from .proximal_newton import ProximalNewton, pairs_for

# The preconditioner is renewed after these numbers of iterations: 0, 5, and twice as many each time.
_RENEWALS = frozenset([0, *(5 << i for i in range(32))])
# If no bound exists, a fit ends when that many iterations in a row promise less than this share of tol.
_PATIENCE = 3
_SHARE_WITHOUT_BOUND = 0.1
# So does a run whose minimum is only compared with others, after so many: a bound of many classes may take
# ten times as many.
_PATIENCE_TO_COMPARE = 2
# If Newton's step of the intercept leaves more than that share of the bound, the classes' curvature is
# computed again, from all rows or as many as take so many passes.
_SHARE_LEFT_BY_INTERCEPT, _PASSES_FOR_INTERCEPT = 0.25, 2
# After that many iterations in a row without a smaller bound, rounding dominates.
_MAX_WITHOUT_GAIN = 10
# In float32 the bound is checked in float64 when it meets tol; if it does not there, again when it has
# fallen to this share, and that often at most.
_SHARE_OF_NEXT_CHECK = 0.1
_MAX_CHECKS = 4
_EPS = float(np.finfo(np.float64).eps)


# What an iteration changes.
_CHANGED = (
    *("state", "point", "optimality", "preconditioner", "is_at_rest", "_is_exact", "_check_below"),
    *("_n_checks", "_calm_iterations", "_best", "_n_without_gain", "proximal", "_promised"),
    "_estimate",
)


@dataclass
class SolverRun(TrainingRun):
    """A training run by L-BFGS from the weights of `state`; the first iteration sets up everything else."""

    keeps_completed_steps: ClassVar[bool] = False

    solver: Lbfgs = field(default=None)  # type: ignore[assignment]  # by the problem's configuration
    point: Point | None = None
    preconditioner: Preconditioner | None = None
    is_at_rest: bool = False  # no step lowers the objective by more than rounding
    _dual: Dual | None = None
    _is_exact: bool = False  # whether `optimality` was computed in float64
    _check_below: float = np.inf  # relative bounds up to this one are checked in float64
    _n_checks: int = 0
    _features: FeatureFactor | None = None
    _newton: Newton | None = None  # of a small problem
    proximal: ProximalNewton | None = None  # with L1
    _promised: float = np.inf  # the decrease that the last step of that method promised
    _exact: Objective | None = None  # in float64, once a bound has been checked
    _calm_iterations: int = 0
    _estimate: float = np.inf  # of the gap, if that has a part in the end of the run
    _best: tuple[Point, Optimality] | None = None  # the point of the smallest bound
    _n_without_gain: int = 0
    # Whether the minimum is only compared with others: an estimate of the gap ends the run then, unless it
    # is of a small problem or with L1, where the bound is small soon.
    is_compared: bool = False

    def __post_init__(self) -> None:
        if self.solver is None:
            self.solver = solver_of(self._objective(), self.problem.config.rule)

    def _objective(self) -> Objective:
        config, double = self.problem.config, self.state.coef.dtype == np.float64
        args = config.backend, self.problem.samples, self.state, config.n_threads
        return Objective(*args, keeps=double or not config.rule.l1)

    def for_problem(self, problem: Problem) -> Self:
        """Return a run on the same rows from these weights, with another penalty and this one's memory."""
        before, point, rule = self.solver, self.point, problem.config.rule
        solver = before.with_penalty(rule.l2, rule.l1)
        run = type(self).of(problem, self.state, self.random, solver=solver)
        run.is_compared = self.is_compared
        if point is None or not point.gradient.size:  # of a run that comes from a checkpoint
            return run
        if self._dual is not None:
            run._dual = replace(self._dual, l2=solver.l2, l1=solver.l1)
        run._exact, run._features, run.proximal = self._exact, self._features, self.proximal
        if self._newton is not None:
            run._newton = self._newton.with_penalty(solver.l2)
            solver.evaluate = run._newton.evaluate
        run._judge(run.solver.point(point.weights, point.at))
        # What this run keeps is for its caller, who may keep many.
        before.pairs, self.preconditioner = replace(before.pairs, limit=0), None
        before.forget_direction()
        return run

    def with_intercept(self) -> FloatArray:
        """Return the weights with the intercept as their last column."""
        return self.solver.objective.weights_of(self.state)

    def try_weights(self, weights: FloatArray) -> None:
        """Go to some weights if the objective is smaller there, as a step of the solver."""
        before = self._point()
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.solver.at(weights.astype(before.weights.dtype))
        if found.value < before.value:
            if self._newton is None:
                self.solver.remember(before, found)
            self._judge(found)

    @timed(REST)
    def epoch(self) -> float:
        """Run one iteration and return the objective at the new weights."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is no smaller
            return self._iterate()

    def _iterate(self) -> float:
        if self.point is None:
            self._begin()
        point = self._point()
        if not self.meets_tol() or self._waits_for_next_check():  # as a warm start may
            found = self._proximal_step(point) if self.solver.l1 else self._newton_step(point)
            if found is None and not self.solver.l1:
                is_due = self._newton is not None or len(self.curve) in _RENEWALS
                if is_due:
                    self._precondition(curvature_of_classes(self.solver.objective, point.weights))
                found = self._intercept_step(point) or self.solver.step(point, self.preconditioner)
            if found is not None:
                self._judge(found)
            # Without a penalty, the loss of separable classes falls forever.
            has_vanished = self.optimality.gap is None and self._point().value <= (
                np.finfo(point.weights.dtype).eps * log(len(point.weights))
            )
            self.is_at_rest = found is None or has_vanished or self._is_stalled()
            if self.is_at_rest and self._best is not None:
                self.point, self.optimality = self._best
                self._is_exact = self._computes_in_float64
        self.state = self._state_of(self._point().weights)
        return self._point().value

    def snapshot(self) -> dict[str, Any]:
        """Return all that an iteration changes; the pairs may lose one, which costs passes alone."""
        return {name: getattr(self, name) for name in _CHANGED}

    def restore(self, before: dict[str, Any]) -> None:
        """Return to a snapshot."""
        for name, value in before.items():
            setattr(self, name, value)

    @property
    def steps_of_epoch(self) -> int:
        """The number of steps of an iteration: one."""
        return 1

    @property
    def rates(self) -> None:
        """None: the solver chooses its steps."""

    @property
    def remark(self) -> str:
        """The bound of the gap, for the progress line."""
        gap = self.optimality.gap
        return "" if gap is None else f"gap {gap:.2g}"

    def copy(self) -> tuple[State, Any]:
        """Return the state, which no iteration changes in place, and no average."""
        return self.state, None

    @property
    def stopped_by_tol(self) -> bool:
        """False: small features fool the rule of SGD alone."""
        return False

    @property
    def has_converged(self) -> bool:
        """True once the gap is small enough, or no step lowers the objective."""
        return self.is_at_rest or self.meets_tol()

    def apply_stopping_rules(self, value: float) -> bool:  # noqa: ARG002 - the bound is the rule
        """Return whether the gap is small enough, in float64, or no step lowers the objective."""
        if self._ends_by_estimate:
            self.is_at_rest = self.is_at_rest or self.meets_tol()
            return self.is_at_rest
        if self.is_at_rest or not self.meets_tol() or self._is_exact:
            return self.is_at_rest or self.meets_tol()
        gap, point = self.optimality.gap, self._point()
        if gap is None or point.weights.dtype == np.float64:
            return True
        if self._waits_for_next_check():
            return False
        self.confirm()
        if self.meets_tol():
            return True
        self._n_checks += 1
        self._check_below = _SHARE_OF_NEXT_CHECK * gap / point.value
        self.is_at_rest = self._n_checks == _MAX_CHECKS
        return self.is_at_rest

    def meets_tol(self) -> bool:
        """Return whether the gap is at most `tol` times the objective."""
        tol = self.problem.config.tol
        if tol is None:
            return False
        if self._ends_by_estimate and self._calm_iterations >= _PATIENCE_TO_COMPARE:
            return True
        if self.optimality.gap is not None:
            return self.optimality.gap <= tol * self._point().value
        return self._calm_iterations >= _PATIENCE

    @property
    def _ends_by_estimate(self) -> bool:
        return self.is_compared and not self._computes_in_float64

    def promises_at_most(self, share: float) -> bool:
        """Return whether the next step promises to lower the objective by that share of it at most."""
        return self._estimate <= share * abs(self._point().value)

    def _waits_for_next_check(self) -> bool:
        """Return whether a bound in float32 is no smaller than one that float64 has not confirmed."""
        gap = self.optimality.gap
        return (
            gap is not None and not self._is_exact and gap > self._check_below * self._point().value
        )

    @property
    def gap_left_by_rounding(self) -> float | None:
        """The gap, relative to the objective, if rounding kept it above tol."""
        gap, tol = self.optimality.gap, self.problem.config.tol
        if not self.is_at_rest or gap is None or tol is None or self.meets_tol():
            return None
        if self._ends_by_estimate:
            return None
        return gap / self._point().value

    def solver_values(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the pairs, the preconditioner, counts, and the best point."""
        values = super().solver_values()
        values["solver_counts"] = [self._calm_iterations, self._n_without_gain]
        pairs = self.solver.pairs
        if pairs:
            values["solver_steps"] = pairs.steps.reshape(len(pairs), -1)
            values["solver_gradients"] = pairs.differences.reshape(len(pairs), -1)
        if self.preconditioner is not None:
            values["solver_classes"] = self.preconditioner.classes
        if self.proximal is not None:
            values["solver_classes"] = self.proximal.classes
            points = [self._point().weights, (self._best or (self._point(),))[0].weights]
            if self.proximal.hessian is not None:
                points.append(self.proximal.hessian.weights)
            values["solver_points"] = np.array(points).reshape(len(points), -1)
        if self._best is not None:
            best = self._state_of(self._best[0].weights)
            values |= {"best_coef": best.coef, "best_intercept": best.intercept}
        return values

    def restore_solver(self, values: Mapping[str, Any]) -> None:
        """Continue with the values of a checkpoint; what the data give is computed again."""
        if values["solver_counts"] is None:
            raise ValueError("solver_counts: expected two counts, got null")
        best, self.best_weights = self.best_weights, None
        self._begin()
        weights, points = self._point().weights, values.get("solver_points", ())
        if len(points) == 1:
            raise ValueError("solver_points: expected two or three points, got one")
        if len(points):
            # The state's are rounded to its dtype.
            weights = points[0].reshape(weights.shape)
            self._judge(self.solver.at(weights))
            self._best = None
        if best is not None:
            of_best = self.solver.objective.weights_of(best[0])
            if len(points):
                of_best = points[1].reshape(weights.shape)
            point = self.solver.at(of_best)
            self._best = (point, self._optimality(point))
        for step, difference in zip(
            values.get("solver_steps", ()), values.get("solver_gradients", ()), strict=True
        ):
            shaped = (
                each.reshape(weights.shape).astype(weights.dtype) for each in (step, difference)
            )
            self.solver.pairs.add(*shaped)
        if "solver_classes" in values and not self.solver.l1:
            self._precondition(values["solver_classes"])
        if self.proximal is not None:
            self.proximal = replace(self.proximal, classes=values.get("solver_classes"))
            if len(points) > 2:
                self.proximal = self.proximal.restored(
                    self.solver, points[2].reshape(weights.shape)
                )
        self._calm_iterations, self._n_without_gain = values["solver_counts"]

    def finish(self) -> None:
        """Compute the bound in float64, unless the run is only compared with others."""
        if not self.is_compared:
            self.confirm()

    def confirm(self) -> None:
        """Compute the bound in float64, so that the rounding of float32 has no part in it."""
        objective = self.solver.objective
        if self.solver.l1:
            self._judge_rounded()
            return
        if self._is_exact or self.optimality.gap is None or objective.like.coef.dtype == np.float64:
            return
        if self._exact is None:
            self._exact = objective.in_float64()
        exact = replace(self.solver, objective=self._exact)
        point = exact.at(self._point().weights.astype(np.float64))
        self.optimality, self._is_exact = self._optimality(point), True

    def _judge_rounded(self) -> None:
        """Compute the bound of the weights as the state has them, rounded, from that of the minimum."""
        gap, point = self.optimality.gap, self._point()
        if gap is None or self.state.coef.dtype == np.float64:
            return
        rounded = self.solver.at(self.solver.objective.weights_of(self.state).astype(np.float64))
        self.optimality = Optimality(gap + max(rounded.value - point.value, 0.0))

    @property
    def _computes_in_float64(self) -> bool:
        return self._newton is not None or self.proximal is not None

    def _state_of(self, weights: FloatArray) -> State:
        """Return weights as a state, of its dtype."""
        state, dtype = self.solver.objective.state_of(weights), self.state.coef.dtype
        intercept = state.intercept
        if intercept is not None:
            intercept = intercept.astype(dtype, copy=False)
        return State(state.coef.astype(dtype, copy=False), intercept, None, None)

    def _begin(self) -> None:
        objective = self.solver.objective
        if not self.solver.l1 and pays(objective):
            objective = objective.in_float64(keeps=True)
            self._newton = Newton.of(objective, self.solver.l2)
            self.solver.evaluate = self._newton.evaluate
        weights = objective.weights_of(self.state)
        if self.solver.l1:
            self.proximal = ProximalNewton.of(objective)
            weights = weights.astype(np.float64)
        self._judge(self.solver.at(weights))

    def _precondition(self, curvature: NDArray[np.float64]) -> None:
        if self._features is None:
            self._features = features_of(self.solver.objective)
        self.preconditioner = preconditioner_of(
            self.solver.objective, self._features, curvature, 2 * self.solver.l2
        )

    def _point(self) -> Point:
        assert self.point is not None
        return self.point

    def _judge(self, point: Point) -> None:
        """Go to a point, and note how near the minimum it is, and whether it is the nearest so far."""
        self.point, self.optimality = point, self._optimality(point)
        self._is_exact = self._computes_in_float64
        gap = self.optimality.gap
        if gap is None or self._ends_by_estimate:
            self._estimate = self._estimated_gap(point)
            is_calm = self.promises_at_most(_SHARE_WITHOUT_BOUND * (self.problem.config.tol or 0.0))
            self._calm_iterations = self._calm_iterations + 1 if is_calm else 0
        if gap is None:
            return
        if self._best is None or gap < (self._best[1].gap or 0.0):
            self._best, self._n_without_gain = (point, self.optimality), 0
        else:
            self._n_without_gain += 1

    def _is_stalled(self) -> bool:
        """Return whether neither the bound nor, beyond its rounding, the objective still falls."""
        if self._n_without_gain < _MAX_WITHOUT_GAIN or self._best is None:
            return False
        best, point = self._best[0].value, self._point()
        return point.value >= best - float(np.finfo(point.weights.dtype).eps) * abs(best)

    def _optimality(self, point: Point) -> Optimality:
        if self._dual is None:
            objective = self.solver.objective.in_float64()
            self._dual = Dual.of(objective, self.solver.l2, self.solver.l1)
        dual = self._dual
        if reason := dual.why_none:
            return Optimality(None, reason)
        gap = _gap_of(point, dual)
        if not isfinite(gap):
            return Optimality(None, "the objective is not finite")
        # The objective is a sum in float64: below its rounding, no gap can be told.
        rounding = 8 * _EPS * max(1.0, abs(point.value))
        return Optimality(max(gap, 0.0) + rounding)

    def _newton_step(self, point: Point) -> Point | None:
        """Return a point of a smaller objective, or None if the problem is not small, or the step fails."""
        direction = self._newton_direction(point)
        if direction is None:
            return None
        slope = self.solver.objective.backend.dot(point.gradient, direction)
        return self.solver.along(point, point.gradient, direction, slope, FLATTENED)

    def _proximal_step(self, point: Point) -> Point | None:
        """Return a point of a smaller objective, or None where rounding lets no step find one."""
        assert self.proximal is not None
        for _ in range(2):
            had = bool(self.solver.pairs) or self.proximal.hessian is not None
            is_due = len(self.curve) in _RENEWALS
            self.proximal = self.proximal.renewed(self.solver, point, is_due)
            found, self._promised = self.proximal.step(self.solver, point)
            if found is not None or not had:
                return found
            self.solver.pairs.clear()
            self.proximal = replace(self.proximal, hessian=None)
        return None

    def _newton_direction(self, point: Point) -> NDArray[np.float64] | None:
        if self._newton is None:
            return None
        return self._newton.direction(point.weights, point.at, point.gradient)

    def _intercept_step(self, point: Point) -> Point | None:
        """Return a point of a smaller bound with another intercept, if the intercept is what is left.

        The bound has the gradient of the intercept in it, the objective only its square: the last digits of
        the intercept, which L-BFGS would find late, are found by Newton's method.
        """
        dual, tol, objective = self._dual, self.problem.config.tol, self.solver.objective
        if dual is None or tol is None or self.preconditioner is None or dual.why_none:
            return None
        if self._ends_by_estimate:
            return None
        l1, l2 = self.solver.l1, self.solver.l2
        if l1 or not dual.has_intercept:
            return None
        # The part of the bound that is there for any intercept.
        if point.slopes_square > 2 * l2 * tol * point.value:
            return None
        found = self._newton_step_of_intercept(point)
        left = _SHARE_LEFT_BY_INTERCEPT * _gap_of(point, dual)
        if found is not None and _gap_of(found, dual) <= max(left, tol * found.value):
            return found
        n_classes, n_features = objective.like.coef.shape
        n_rows = 2 * _PASSES_FOR_INTERCEPT * len(objective) * n_features // (n_classes + n_features)
        nearer = point if found is None else found
        self._precondition(objective.class_curvature(nearer.weights, n_rows))
        return self._newton_step_of_intercept(nearer) or found

    def _newton_step_of_intercept(self, point: Point) -> Point | None:
        """Return a point of a smaller bound, or None."""
        dual, objective = self._dual, self.solver.objective
        if dual is None or self.preconditioner is None:
            return None
        S = self.preconditioner.classes
        # S is singular along ones, where the gradient is 0.
        regular = S + np.trace(S) / len(S) ** 2
        inverse = inverse_of_spd(objective.backend, regular, objective.n_threads)
        if inverse is None:
            return None
        weights = point.weights.copy()
        step = (inverse * point.gradient[:, -1]).sum(axis=1)
        weights[:, -1] -= step.astype(weights.dtype)
        found = self.solver.at(weights)
        return found if _gap_of(found, dual) < _gap_of(point, dual) else None

    def _estimated_gap(self, point: Point) -> float:
        """Return half of the decrease that the slope along the next step promises."""
        if self.problem.config.tol is None:
            return np.inf
        if self.solver.l1:
            return self._promised / 2
        step = self._newton_direction(point)
        if step is not None:
            return -dot(point.gradient, step) / 2
        if self._ends_by_estimate and self.preconditioner is None:  # the first of a strength
            return np.inf
        _, slope = self.solver.downhill(point, self.preconditioner)
        return -slope / 2


def _gap_of(point: Point, dual: Dual) -> float:
    """Return the gap of a point, which is computed once."""
    if point.gap is None:
        point.gap = dual.gap(point.weights, point.at)
    return point.gap


def solver_of(objective: Objective, rule: Rule) -> Lbfgs:
    """Return the solver for a penalty; with L1 it computes in float64, and has that method's memory."""
    if not rule.l1:
        return Lbfgs(objective, rule.l2, rule.l1)
    objective = objective.in_float64(keeps=True)
    return Lbfgs(objective, rule.l2, rule.l1, pairs_for(objective))


def run_of(problem: Problem, state: State, random: np.random.Generator) -> TrainingRun:
    """Return a run by the solver of the problem's configuration, which has not begun."""
    kind = TrainingRun if problem.config.solver == "sgd" else SolverRun
    return kind.of(problem, state, random)
