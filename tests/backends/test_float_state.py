"""No bit depends on the floating-point state of the caller's thread, in any thread, and it is restored."""

import subprocess
import sys
from pathlib import Path

import float_states
import numpy as np
import pytest
import scipy.sparse
from float_states import STATES, control, state
from paths import SUPPORT
from step_algorithms import forced
from variants import BACKENDS

import fastsoftmax as fs
from fastsoftmax import SoftmaxClassifier, lecture
from fastsoftmax.backends import get_backend, shuffling

pytestmark = pytest.mark.skipif(
    not float_states.IS_KNOWN or "compiled" not in BACKENDS,
    reason="needs the compiled backend, and a C library that keeps it in a known place",
)

N = 1200
RNG = np.random.default_rng(3)
LOGITS = (RNG.normal(size=(N, 40)) * 40).astype(np.float32)  # probabilities down to subnormal ones
LABELS = RNG.integers(0, 40, N)
SOFT = RNG.dirichlet(np.ones(40), N).astype(np.float32)
WEIGHTS = RNG.uniform(0.1, 3, N)


def data_of(d, c):
    """Return rows and labels, with numbers so small that products are subnormal."""
    X = RNG.normal(size=(N, d)).astype(np.float32)
    X[:, ::2] *= np.float32(1e-38)
    return X, RNG.integers(0, c, N)


W = RNG.normal(size=(200, 60)).astype(np.float32)
SHAPES = {"short_rows": data_of(12, 5), "panels": data_of(200, 10), "packed": data_of(60, 60)}
SPARSE = scipy.sparse.csr_array(SHAPES["packed"][0])
COEF = np.ones((10, 200), np.float32)
SCALE = 1 / N
TINY = LOGITS * np.float32(1e-38)


def training(X, y, n_threads, backend="auto", *, algorithm="", **options):
    options = {"max_iter": 2, "tol": None, "random_state": 0, "eta0": 0.1} | options
    with forced(algorithm):
        model = SoftmaxClassifier(n_jobs=n_threads, backend=backend, **options).fit(X, y)
        model.partial_fit(X[:300], y[:300])
    return [
        *(model.coef_, model.intercept_, model.loss_curve_, model.predict_proba(X)),
        *(model.predict_log_proba(X), model.decision_function(X), model.score(X, y)),
    ]


def linear(X, y, n_threads, backend="auto"):
    loss, gradients = fs.linear_cross_entropy(
        X, W[: X.shape[1], : y.max() + 1], y, wrt=("W", "X"), n_threads=n_threads, backend=backend
    )
    return [loss, gradients.W, gradients.X]


def gradient_sum(n_threads):
    X, y = SHAPES["panels"]
    found = fs.loss_gradient_sum(X, y, COEF, np.zeros(10, np.float32), n_threads=n_threads)
    return [found.loss, found.coef, found.intercept]


def search(n_threads):
    X, y = SHAPES["short_rows"]
    found = fs.search(
        X,
        y,
        learning_rates=[0.1, 0.2],
        regs=[0.01],
        validation=(X, y),
        n_jobs=n_threads,
        max_iter=1,
        random_state=0,
    )
    return [found.scores, found.losses, found.best_model.coef_]


def of_the_lecture(_):
    X, y = SHAPES["short_rows"]
    return lecture.softmax_loss_vectorized(np.full((12, 5), 0.3), X, y, 0.01)


# Each returns arrays and numbers, computed on n threads.
CALLS = {
    "softmax": lambda n: [fs.softmax(LOGITS, n_threads=n)],
    "log_softmax": lambda n: [fs.log_softmax(LOGITS, n_threads=n)],
    "logsumexp": lambda n: [fs.logsumexp(LOGITS, n_threads=n)],
    "cross_entropy": lambda n: [fs.cross_entropy(LOGITS, SOFT, n_threads=n, reduction="sum")],
    "the usual call": lambda n: fs.softmax_cross_entropy(LOGITS, LABELS, n_threads=n),
    "a small call": lambda n: fs.softmax_cross_entropy(LOGITS[:9], LABELS[:9], n_threads=n),
    "with options": lambda n: fs.softmax_cross_entropy(
        LOGITS, LABELS, sample_weight=WEIGHTS, label_smoothing=0.1, n_threads=n
    ),
    "penalty": lambda n: fs.penalty(TINY, 0.3, 0.1, n_threads=n),
    **{f"linear, {name}": lambda n, data=data: linear(*data, n) for name, data in SHAPES.items()},
    **{
        f"training, {name}": lambda n, name=name: training(*SHAPES[name], n, algorithm=name)
        for name in SHAPES
    },
    "training, sparse": lambda n: training(SPARSE, SHAPES["packed"][1], n, alpha=1e-3),
    "training, standardized": lambda n: training(
        *SHAPES["panels"], n, standardize=True, momentum=0.9, penalty="l1", average=True
    ),
    "training, step size": lambda n: training(*SHAPES["panels"], n, eta0="auto"),
    "gradient sums": gradient_sum,
    "search": search,
    "lecture": of_the_lecture,
}


def bits(found):
    return [np.asarray(value).tobytes() for value in found]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.costly
def test_the_bits_of_a_call_are_those_of_the_default_state(call):
    expected = bits(call(1))
    for name in STATES:
        for n_threads in (1, 2):
            with state(name):
                before = control()
                found = call(n_threads)
                assert control() == before, name
            assert bits(found) == expected, (name, n_threads)


@pytest.mark.parametrize("name", STATES)
def test_on_every_backend(backend, name):
    X, y = SHAPES["short_rows"][0][:40], SHAPES["short_rows"][1][:40]

    def found():
        logits = LOGITS[:40]
        return bits(
            [
                *fs.softmax_cross_entropy(logits, SOFT[:40], backend=backend, reduction="sum"),
                fs.softmax(logits, backend=backend),
                *linear(X, y, 1, backend),
                *training(X, y, 1, backend),
            ]
        )

    expected = found()
    with state(name):
        assert found() == expected


def test_the_compiled_backend_alone():
    """Its own functions set the state too: a thread may call them without a public one."""
    kernels = get_backend("compiled")

    def found():
        X, _ = SHAPES["panels"]
        sums, squares = np.zeros(X.shape[1]), np.zeros(X.shape[1])
        kernels.column_moments(X, np.zeros(X.shape[1]), sums, squares, 2)
        logits = np.empty((N, 10), np.float32)
        kernels.linear_scores(X, COEF, np.zeros(10, np.float32), logits, 2)
        losses, gradient = np.empty(N), np.empty_like(LOGITS)
        kernels.softmax_cross_entropy(LOGITS, LABELS, SCALE, losses, gradient, 2)
        return bits([sums, squares, logits, losses, gradient])

    expected = found()
    with state("up"):
        assert found() == expected


def test_an_order_is_within_bounds_also_where_products_are_rounded_up():
    class Largest:
        def random(self, out):
            out[:] = 1 - 2**-53

    with state("up"):
        order = shuffling.permutation(1000, Largest())
    assert order.tolist() == list(range(1000))


def test_an_error_leaves_the_state_and_no_flag():
    """Rows without a softmax are reported by their index, and raise no FE_INVALID."""
    with state("up"):
        before = control()
        with pytest.raises(ValueError, match="finite log-sum-exp"):
            fs.softmax(np.full((2, 3), np.nan, np.float32))
        with pytest.raises(ValueError, match="finite log-sum-exp"):
            fs.softmax_cross_entropy(np.full((1, 2), np.inf), np.array([0]))
        with pytest.raises(ValueError, match="alpha"):
            SoftmaxClassifier(alpha=-1).fit([[0.0], [1.0]], [0, 1])
        fs.logsumexp(np.full((2, 3), np.nan, np.float32))
        assert control() == before


FOLDERS = [str(SUPPORT), str(Path(__file__).parent)]
TRAPS = """
import sys
sys.path[:0] = {folders!r}
import numpy as np, float_states, fastsoftmax as fs
import test_float_state as t
libm = float_states.c_library()
assert libm.feenableexcept(float_states.TRAPS) == 0
for call in ("the usual call", "with options", "training, panels", "training, packed"):
    t.CALLS[call](2)
try:
    fs.softmax(np.full((3, 300), np.nan))
except ValueError:
    print(libm.fegetexcept() == float_states.TRAPS)
"""


def test_traps_do_not_spring():
    program = TRAPS.format(folders=FOLDERS)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr


POOL = """
import sys
sys.path[:0] = {folders!r}
import numpy as np, float_states
import test_float_state as t
logits = np.tile(t.LOGITS, (20, 1))
found = []
with float_states.state({state!r}):
    t.fs.softmax(logits, n_threads=2)  # starts the pool
for n_threads in (2, 2, 2, 2, 2, 1):
    found.append(t.fs.softmax(logits, n_threads=n_threads).tobytes())
print(found == found[:1] * 6)
"""


@pytest.mark.parametrize("name", ["up", "flush to zero"])
def test_the_bits_after_a_pool_has_begun_in_another_state(name):
    program = POOL.format(folders=FOLDERS, state=name)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr
