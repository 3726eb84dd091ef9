"""Trainings and what they should give: the textbook's trajectories, and an epoch that a signal ends."""

import signal

import numpy as np
import oracle
import pytest

# Same seed, same trajectory on all backends: the loss curves agree to this, relatively.
AGREEMENT = {np.float32: 1e-5, np.float64: 1e-10}

# Parameters of the classifier. The other ones are the defaults below.
DEFAULTS = {"penalty": None, "batch_size": 8, "eta0": 0.2, "tol": None, "random_state": 7}
DEFAULTS["n_jobs"] = 1  # but where a test is about threads
DEFAULTS |= {"learning_rate": "constant", "alpha": 1e-4}


def expected_trajectory(X, targets, n_classes, n_epochs, parameters):
    """The oracle's trajectory for parameters of the classifier."""
    p = {"alpha": 1e-4, "l1_ratio": 0.15, "power_t": 0.5, "learning_rate": "constant"}
    p |= {"shuffle": True, "replacement": False} | DEFAULTS | parameters
    alpha, share = p["alpha"], p["l1_ratio"]
    l2, l1 = {
        None: (0, 0),
        "l2": (alpha / 2, 0),
        "l1": (0, alpha),
        "elasticnet": (alpha * (1 - share) / 2, alpha * share),
    }[p["penalty"]]
    rate = {
        "constant": lambda step: p["eta0"],
        "invscaling": lambda step: p["eta0"] / (step + 1) ** p["power_t"],
    }.get(p["learning_rate"], p["learning_rate"])
    random, n = np.random.default_rng(p["random_state"]), len(X)
    orders = []
    for _ in range(n_epochs):
        if p["replacement"]:
            orders.append(random.integers(n, size=n))
        else:
            orders.append(oracle.shuffled(n, random) if p["shuffle"] else np.arange(n))
    rule = {name: p[name] for name in ("momentum", "nesterov", "fit_intercept") if name in p}
    return oracle.sgd(
        X, targets, orders, p["batch_size"], rate, n_classes=n_classes, l2=l2, l1=l1, **rule
    )


def assert_follows(model, expected, tolerance):
    np.testing.assert_allclose(model.loss_curve_, expected.curve, rtol=tolerance, atol=0)
    for ours, theirs in ((model.coef_, expected.coef), (model.intercept_, expected.intercept)):
        theirs = theirs.astype(np.float64)
        size = np.abs(expected.coef).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * float(size))


def made_up(n, d, c, dtype):
    rng = np.random.default_rng([n, d, c])
    X = rng.normal(size=(n, d)).astype(dtype)
    return X, (X[:, :c] + rng.normal(size=(n, min(c, d)))).argmax(axis=1) % c


def interrupt_by_signal(kernels, data, state, rule, order, batch_size, rates):
    """Run an epoch until a timer's signal raises KeyboardInterrupt, as Ctrl-C does."""

    def handle(number, frame):
        raise KeyboardInterrupt

    # The timer of this process's own time: the one of wall-clock time is the test runner's.
    before = signal.signal(signal.SIGVTALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            kernels.sgd_epoch(data, state, rule, order, batch_size, rates, 2)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
