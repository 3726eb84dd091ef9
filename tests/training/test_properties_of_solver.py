"""What holds of solver "lbfgs" whatever the problem is, on drawn ones.

The minimum is that of a Newton's method in float64 which shares no line with the package. It need not
converge: the objective at any weights is at least the minimum, so that a bound of the gap that is smaller
than the distance to it is wrong, and so are weights that are further above it than tol.
"""

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from strategies import optima, seeds

from fastsoftmax import SoftmaxClassifier

TOL = {"float32": 1e-5, "float64": 1e-9}
ROUNDING = 1e-13  # of the objective in float64, relative
# An example has two fits to the minimum, which take ten times as long as those of other properties.
fewer = settings(max_examples=settings.default.max_examples // 2)


def fitted(case, X=None, y=None, weights=None, **changed):
    """Of the case, but for what is given."""
    model = SoftmaxClassifier(**{"tol": TOL[case.dtype]} | case.parameters | changed)
    X = case.X if X is None else X
    weights = case.sample_weight if weights is None else weights
    with warnings.catch_warnings():
        # Rounding may keep a gap above tol: a warning tells so, and the bound is right.
        warnings.filterwarnings("ignore", "fit ended where rounding")
        return model.fit(csr_array(X) if case.sparse else X, case.y if y is None else y, weights)


class Problem:
    """The objective of a case in float64, at weights (n_classes, n_features + 1) of scaled features."""

    def __init__(self, case, model):
        n, self.case = case.n_samples, case
        self.scale = np.ones(case.n_features) if model.scale_ is None else model.scale_
        X = case.X.astype(np.float64)
        # The mean that standardising subtracts is a part of the intercept, if there is one.
        self.A = np.hstack([X / self.scale, np.full((n, 1), float(case.fit_intercept))])
        t = case.y.astype(np.float64) if case.soft else np.eye(case.n_classes)[case.y]
        self.t = (1 - case.smoothing) * t + case.smoothing / case.n_classes
        w = np.ones(n) if case.sample_weight is None else case.sample_weight.astype(np.float64)
        self.w = w / w.sum()

    def weights_of(self, model):
        return np.column_stack([model.coef_ * self.scale, model.intercept_]).astype(np.float64)

    def at(self, weights):
        """The objective, and the probabilities."""
        z = self.A @ weights.T
        z -= z.max(axis=1, keepdims=True)
        total = np.exp(z).sum(axis=1, keepdims=True)
        losses = (self.t * (np.log(total) - z)).sum(axis=1)
        W, case = weights[:, :-1], self.case
        penalty = case.l2 * np.square(W).sum() + case.l1 * np.abs(W).sum()
        return float(self.w @ losses) + penalty, np.exp(z) / total

    def lowest_near(self, weights):
        """The smallest objective of Newton's iterations among the weights that are not 0 here."""
        case, shape = self.case, weights.shape
        free = np.ones(shape, bool) if not case.l1 else weights != 0
        free[:, -1] = case.fit_intercept
        penalised = np.ones(shape, bool)
        penalised[:, -1] = False
        lowest, _ = self.at(weights)
        for _ in range(12):
            p = self.at(weights)[1]
            mass = self.t.sum(axis=1, keepdims=True)
            gradient = ((mass * p - self.t) * self.w[:, np.newaxis]).T @ self.A
            gradient += penalised * (2 * case.l2 * weights + case.l1 * np.sign(weights))
            S = (self.w * mass[:, 0])[:, np.newaxis, np.newaxis] * (
                p[:, :, np.newaxis] * (np.eye(shape[0]) - p[:, np.newaxis])
            )
            hessian = np.einsum("ikl,ij,im->kjlm", S, self.A, self.A).reshape(weights.size, -1)
            hessian += np.diag(2 * case.l2 * penalised.ravel())
            chosen = np.flatnonzero(free)
            if not len(chosen):
                break
            step = np.zeros(weights.size)
            step[chosen] = np.linalg.lstsq(
                hessian[np.ix_(chosen, chosen)], gradient.ravel()[chosen], rcond=1e-13
            )[0]
            for size in 0.5 ** np.arange(20):
                tried = weights - size * step.reshape(shape)
                if self.at(tried)[0] < lowest:
                    lowest, weights = self.at(tried)[0], tried
                    break
            else:
                break
        return lowest


@fewer
@given(optima())
def test_the_bound_is_at_least_the_gap_and_at_most_tol(case):
    model = fitted(case)
    problem = Problem(case, model)
    weights = problem.weights_of(model)
    value = problem.at(weights)[0]
    gap = value - problem.lowest_near(weights)
    bound, tol = model.optimality_.gap, model.tol
    # Standardised float32 features, and the weights in the units of X, are rounded.
    of_units = 1e-6 if case.standardize and case.dtype == "float32" else ROUNDING
    assert gap <= bound + of_units * max(1, value)
    np.testing.assert_allclose(
        model.loss_curve_[-1], value, rtol=1e-5 if case.dtype == "float32" else 1e-11
    )
    if not case.l1:
        assert model.n_iter_ < model.max_iter
    if case.dtype == "float64" and model.n_iter_ < model.max_iter:
        assert bound <= tol * value


@fewer
@given(optima(), st.integers(1, 6))
def test_the_bound_is_at_least_the_gap_on_the_way(case, n_iterations):
    """Far from the minimum, too, which a fit that goes on to it finds."""
    model = fitted(case, max_iter=n_iterations, tol=1e-14)
    problem = Problem(case, model)
    value = problem.at(problem.weights_of(model))[0]
    end = problem.weights_of(fitted(case))
    of_units = 1e-6 if case.standardize and case.dtype == "float32" else ROUNDING
    assert value - problem.lowest_near(end) <= model.optimality_.gap + of_units * max(1, value)


def assert_same_minimum(case, model, other, of_other=None):
    """Objectives differ by at most the larger bound; and weights, as L2 says how flat it can be."""
    problem = Problem(case, model)
    value, found = (problem.at(problem.weights_of(each))[0] for each in (model, other))
    of_model, of_other = (
        each.optimality_.gap + ROUNDING * max(1, value) for each in (model, other)
    )
    if (
        case.dtype == "float32"
    ):  # of the features, which may be scaled and converted in another order
        of_model = of_other = of_model + of_other + 1e-6 * max(1, value)
    assert value - found <= of_model
    assert found - value <= of_other
    if case.l2:
        distance = np.linalg.norm((problem.weights_of(model) - problem.weights_of(other))[:, :-1])
        assert distance <= np.sqrt(of_model / case.l2) + np.sqrt(of_other / case.l2)


@fewer
@given(optima(), seeds)
def test_the_order_of_the_rows_does_not_matter(case, seed):
    order = np.random.default_rng(seed).permutation(case.n_samples)
    weights = None if case.sample_weight is None else case.sample_weight[order]
    assert_same_minimum(case, fitted(case), fitted(case, case.X[order], case.y[order], weights))


@fewer
@given(optima(weights=(True,)))
def test_a_weight_is_that_many_rows(case):
    rows = np.repeat(np.arange(case.n_samples), case.sample_weight)
    repeated = fitted(case, case.X[rows], case.y[rows], np.ones(len(rows)))
    assert_same_minimum(case, fitted(case), repeated)


@fewer
@given(optima(soft=(False,)), seeds)
def test_names_of_classes_are_but_names(case, seed):
    """Another order of the classes is another order of the rows of coef_."""
    order = np.random.default_rng(seed).permutation(case.n_classes)
    model, other = fitted(case), fitted(case, y=order[case.y])
    other.coef_, other.intercept_ = other.coef_[order], other.intercept_[order]
    assert_same_minimum(case, model, other)
