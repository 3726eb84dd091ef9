import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..._arrays.csr import SparseRows
from ..protocol import (
    Data,
    FloatArray,
    LabelArray,
    LogitOptions,
    NewtonRows,
    QuadraticModel,
    Rule,
    State,
    TargetWeights,
)

def instruction_set() -> str: ...
def instruction_sets() -> tuple[str, ...]: ...

C_API: object
PAIRWISE_SUM: object

class FloatState:
    def __enter__(self) -> None: ...
    def __exit__(self, kind: object, error: object, traceback: object) -> None: ...

def softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int: ...
def log_softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int: ...
def logsumexp(logits: FloatArray, out: FloatArray, n_threads: int) -> None: ...
def softmax_cross_entropy(
    logits: FloatArray,
    targets: LabelArray | FloatArray,
    scale: float,
    losses: NDArray[np.float64],
    dlogits: FloatArray | None,
    n_threads: int,
    weights: TargetWeights | None = None,
    options: LogitOptions | None = None,
) -> int: ...
def map_rows(
    function: str, logits: object, axis: object, out: object, n_threads: object
) -> FloatArray | int | None: ...
def mean_cross_entropy(
    logits: object, labels: object, out: object, n_threads: object
) -> tuple[float, FloatArray, int] | None: ...
def linear_cross_entropy(
    X: FloatArray,
    W: FloatArray,
    intercept: FloatArray | None,
    targets: LabelArray | FloatArray,
    scale: float,
    losses: NDArray[np.float64],
    dW: FloatArray | None,
    dintercept: FloatArray | None,
    dX: FloatArray | None,
    n_threads: int,
    weights: TargetWeights | None = None,
    options: LogitOptions | None = None,
) -> int: ...
def penalty(
    W: FloatArray, l2: float, l1: float, gradient: FloatArray | None, n_threads: int
) -> float: ...
def linear_scores(
    X: NDArray[np.generic] | SparseRows,
    coef: FloatArray,
    intercept: FloatArray,
    logits: FloatArray,
    n_threads: int,
) -> None: ...
def sgd_epoch(
    data: Data,
    state: State,
    rule: Rule,
    order: NDArray[np.int64],
    batch_size: int,
    rates: NDArray[np.float64],
    n_threads: int,
) -> NDArray[np.float64]: ...
def sgd_epoch_of_models(
    data: Data,
    state: State,
    rule: Rule,
    l2s: NDArray[np.float64],
    l1s: NDArray[np.float64],
    order: NDArray[np.int64],
    batch_size: int,
    rates: NDArray[np.float64],
    n_threads: int,
) -> NDArray[np.float64]: ...
def force_step_algorithm(name: str) -> str: ...
def step_algorithm(
    n_features: int,
    n_classes: int,
    dtype: DTypeLike,
    is_sparse: bool = False,
    has_models: bool = False,
) -> str: ...
def shuffle_in(order: NDArray[np.int64], first: int, uniforms: NDArray[np.float64]) -> None: ...
def column_moments(
    X: FloatArray,
    origin: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    n_threads: int,
) -> None: ...
def convert_rows(
    X: FloatArray,
    rows: NDArray[np.int64] | None,
    mean: FloatArray | None,
    inverse_scale: FloatArray | None,
    out: FloatArray,
    n_threads: int,
) -> None: ...
def add_class_sums(
    X: FloatArray,
    labels: LabelArray,
    weights: NDArray[np.float64] | None,
    sums: NDArray[np.float64],
    n_threads: int,
) -> None: ...
def inverse_factor(A: NDArray[np.float64], out: NDArray[np.float64]) -> bool: ...
def dot(a: FloatArray, b: FloatArray) -> float: ...
def subtract_pairs(
    steps: FloatArray,
    differences: FloatArray,
    products: NDArray[np.float64],
    q: NDArray[np.float64],
    factors: NDArray[np.float64],
) -> None: ...
def add_pairs(
    steps: FloatArray,
    differences: FloatArray,
    products: NDArray[np.float64],
    q: NDArray[np.float64],
    factors: NDArray[np.float64],
) -> None: ...
def add_penalty(
    weights: FloatArray,
    mean: NDArray[np.float64],
    l2: float,
    n_columns: int,
    gradient: NDArray[np.float64],
) -> tuple[float, float]: ...
def take_step(
    weights: FloatArray,
    direction: NDArray[np.float64],
    size: float,
    slopes: NDArray[np.float64],
    found: FloatArray,
    moved: FloatArray,
) -> tuple[float, bool]: ...
def fill_pair(
    ends: tuple[FloatArray, FloatArray],
    gradients: tuple[NDArray[np.float64], NDArray[np.float64]],
    step: FloatArray,
    difference: FloatArray,
) -> tuple[float, float, float]: ...
def duality_gap(
    weights: FloatArray,
    gradient: NDArray[np.float64],
    loss: float,
    means: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    min_share: float,
    l2: float,
    l1: float,
) -> float: ...
def newton_direction(
    rows: NewtonRows,
    of_logits: NDArray[np.float64],
    gradient: NDArray[np.float64],
    weights: FloatArray,
    damping: float,
    direction: NDArray[np.float64],
) -> bool: ...
def transposed_product(
    A: FloatArray, B: FloatArray, out: NDArray[np.float64], n_threads: int
) -> None: ...
def coordinate_descent(
    model: QuadraticModel, weights: NDArray[np.float64], tolerance: float, max_sweeps: int
) -> int: ...
def start_phases(with_events: bool) -> bool: ...
def stop_phases() -> list[tuple[list[int], list[int], list[tuple[int, int, int]], int, int]]: ...
def phase_clock() -> int: ...
def measure_multiply_adds(is_double: bool, n_rounds: int, n_threads: int) -> float: ...
def measure_bandwidth(memory: FloatArray, copies: bool, n_threads: int) -> float: ...
