"""Every allocation fails in turn, and then the start of threads: run by test_allocation.py.

`tests/c/fault_injection.c`, preloaded, makes them fail. Printed is a JSON object: for each kind of
allocation and each case how many there were, and what was wrong, a list that should be empty.

    LD_PRELOAD=fault_injection.so python fault_injection.py
"""

import ctypes
import json
import re

import numpy as np
import scipy.sparse
from step_algorithms import forced

import fastsoftmax as f
from fastsoftmax.backends import get_backend

SYSTEM = ctypes.CDLL(None)
SYSTEM.system_watch.argtypes = (ctypes.c_long, ctypes.c_size_t)
SYSTEM.system_stop.restype = ctypes.c_long
# Arrays of NumPy's, of the sizes below; what Python itself asks for is smaller.
MIN_BYTES = 4500
MESSAGE = re.compile(r"cannot allocate [\d.]+ (bytes|.B) for the compiled kernels to work in$")
LEARNED = ("coef_", "intercept_", "classes_", "mean_", "scale_", "loss_curve_", "t_", "_velocity")

rng = np.random.default_rng(0)
DENSE = rng.normal(size=(600, 120)).astype(np.float32)
# Features and classes for each step algorithm.
SHAPES = {"short_rows": (9, 3), "panels": (120, 5), "packed": (100, 50)}
WIDE = rng.normal(size=(300, 1500))


def labels_of(n_classes, n_samples=600):
    return np.arange(n_samples) % n_classes


def model_of(**options):
    options = {"max_iter": 2, "tol": None, "batch_size": 200, "random_state": 0} | options
    # A fit of fewer epochs begins as one of more does, at the constant rate alone.
    rate = {"learning_rate": "constant", "eta0": 0.01}
    return f.SoftmaxClassifier(**rate, n_jobs=2, backend="compiled", **options)


def learned(model):
    """Copies of what a model has learned, as bytes."""
    found = {}
    for name in LEARNED:
        value = getattr(model, name, None)
        parts = value if isinstance(value, tuple) else (value,)
        found[name] = [None if part is None else np.asarray(part).tobytes() for part in parts]
    return found


class Fit:
    """A fit, which keeps whole epochs."""

    def __init__(self, X, y, algorithm="", **options):
        self.X, self.y, self.algorithm, self.options = X, y, algorithm, options
        self.kept = set()

    def begin(self):
        self.model = model_of(**self.options)
        self.before = learned(self.model)

    def run(self):
        self.model.fit(self.X, self.y)

    def result(self):
        return learned(self.model)

    def is_whole(self):
        """Whether the model is as before the call, or as after some epochs."""
        found, n_epochs = learned(self.model), getattr(self.model, "n_iter_", 0)
        self.kept.add(n_epochs)
        if n_epochs == 0:
            return found == self.before
        fewer = model_of(**self.options | {"max_iter": n_epochs}).fit(self.X, self.y)
        return found == learned(fewer)

    def lost(self):
        """Whether the first epoch never outlived a failure of the second one."""
        return not self.kept & {1, 2}


class PartialFit(Fit):
    """An epoch, which leaves the model as it was where it fails."""

    def begin(self):
        self.model = model_of(**self.options)
        self.model.partial_fit(self.X[:300], self.y[:300], classes=np.unique(self.y))
        self.before = learned(self.model)

    def run(self):
        self.model.partial_fit(self.X, self.y)

    def is_whole(self):
        return learned(self.model) == self.before

    def lost(self):
        return False


class Call:
    """A function of arrays or of a fitted model, which does not change, nor what was returned before."""

    algorithm = ""

    def __init__(self, function, model=None):
        self.function, self.model = function, model
        self.earlier = function()
        self.before = self.seen()

    def begin(self):
        pass

    def run(self):
        self.latest = self.function()

    def result(self):
        return as_bytes(self.latest)

    def seen(self):
        return as_bytes(self.earlier), None if self.model is None else learned(self.model)

    def is_whole(self):
        return self.seen() == self.before

    def lost(self):
        return False


def as_bytes(value):
    if isinstance(value, tuple):
        return [as_bytes(part) for part in value]
    return np.asarray(value).tobytes()


def cases():
    for kind, (d, c) in SHAPES.items():
        X, y = DENSE[:, :d], labels_of(c)
        yield f"fit: {kind}", Fit(X, y, kind, average=True, momentum=0.9, class_weight={0: 2})
        images = (X * 30 + 128).clip(0, 255).astype(np.uint8)
        yield (
            f"fit: {kind}, standardized",
            Fit(images, y, kind, standardize=True, early_stopping=True),
        )
        yield f"partial_fit: {kind}", PartialFit(X, y, kind, momentum=0.5, average=True)
        soft = rng.dirichlet(np.ones(c), 600)
        yield f"fit: {kind}, probabilities", Fit(X, soft, kind)
        model = model_of().fit(X, y)
        for name, rows in (("float32", X), ("uint8", images), ("sparse", sparse(X))):
            yield (
                f"predict_proba: {kind}, {name}",
                Call(lambda m=model, X=rows: m.predict_proba(X), model),
            )
    X, y = sparse(DENSE), labels_of(5)
    yield "fit: sparse", Fit(X, y, average=True)
    yield "partial_fit: sparse", PartialFit(X, y)
    yield "search", Call(searched)
    logits = rng.normal(size=(2000, 10))
    yield (
        "softmax_cross_entropy",
        Call(lambda: f.softmax_cross_entropy(logits, labels_of(10, 2000), n_threads=2)),
    )
    yield "softmax", Call(lambda: f.softmax(logits, n_threads=2))
    for c in (5, 100):
        W = rng.normal(size=(1500, c)) / 40
        yield (
            f"linear_cross_entropy: {c} classes",
            Call(lambda W=W, c=c: linear(W, labels_of(c, len(WIDE)))),
        )


def sparse(X):
    return scipy.sparse.csr_array(np.where(X > 1, X, 0))


def linear(W, labels):
    loss, gradients = f.linear_cross_entropy(WIDE, W, labels, n_threads=2)
    return loss, *gradients


def searched():
    found = f.search(
        *(DENSE, labels_of(5)),
        learning_rates=[0.1, 0.01],
        regs=[0.0, 0.1],
        max_iter=2,
        random_state=0,
        n_jobs=2,
        backend="compiled",
    )
    return found.losses, found.best_model.coef_


def try_all(case, least):
    """Let the first allocation fail, then the second, ...: return their number, and what was wrong."""
    case.begin()
    case.run()
    expected = case.result()
    n_blocks, wrong = SYSTEM.system_blocks(), []
    for n in range(1, 1000):
        case.begin()
        error = None
        SYSTEM.system_watch(n, least)
        try:
            case.run()
        except MemoryError as caught:
            error = str(caught)
        finally:
            n_seen = SYSTEM.system_stop()
        if n_seen < n:
            break
        if error is None:
            wrong.append(f"allocation {n} of {n_seen} failed, and no MemoryError came")
        elif not least and not MESSAGE.match(error):
            wrong.append(f"allocation {n}: message {error!r}")
        if error is not None and not case.is_whole():
            wrong.append(f"allocation {n}: the model is neither as before nor whole")
    if case.lost():
        wrong.append("no epoch was ever kept")
    if case.result() != expected:
        wrong.append("other bits afterwards")
    if SYSTEM.system_blocks() != n_blocks:
        wrong.append(f"{SYSTEM.system_blocks() - n_blocks} blocks of memory were never freed")
    return n - 1, wrong


def without_threads():
    """Return how many threads were refused, and what was wrong; before any has started."""
    logits, model = rng.normal(size=(4000, 40)), model_of(batch_size=600)
    model.n_jobs = 1
    expected = learned(model.fit(DENSE, labels_of(50)))
    alone = f.softmax(logits, n_threads=1)
    SYSTEM.system_deny_threads(1)
    wrong = []
    for n_threads in (2, 4):
        model.n_jobs = n_threads
        if learned(model.fit(DENSE, labels_of(50))) != expected:
            wrong.append("other weights")
        if not np.array_equal(f.softmax(logits, n_threads=n_threads), alone):
            wrong.append("other probabilities")
    n_denied = SYSTEM.system_deny_threads(0)
    if learned(model.fit(DENSE, labels_of(50))) != expected:
        wrong.append("other weights once there are threads")
    return n_denied, wrong


if __name__ == "__main__":
    get_backend("compiled")
    printed = {"threads": {"": without_threads()}}
    every = list(cases())
    for kind, least in (("aligned", 0), ("arrays", MIN_BYTES)):
        printed[kind] = {}
        for name, case in every:
            with forced(case.algorithm):
                printed[kind][name] = try_all(case, least)
    print(json.dumps(printed))
