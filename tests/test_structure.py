"""The structure: one protocol, imports that point one way, and an import that costs next to nothing."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from variants import BACKENDS

import fastsoftmax
from fastsoftmax.backends import (
    NAMES,
    Backend,
    Shortcuts,
    get_backend,
    shortcuts_of,
    why_unavailable,
)

PACKAGE = Path(fastsoftmax.__file__).parent
TESTS = Path(__file__).parent


def functions_of(protocol):
    return {
        name: member
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


FUNCTIONS = functions_of(Backend)
SHORTCUTS = functions_of(Shortcuts)


def signature_of(function):
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


def test_the_protocol_has_the_functions_of_the_plan():
    assert FUNCTIONS.keys() == {
        "softmax",
        "log_softmax",
        "logsumexp",
        "softmax_cross_entropy",
        "linear_cross_entropy",
        "linear_scores",
        "penalty",
        "column_moments",
        "sgd_epoch",
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_backend_has_the_signatures_of_the_protocol(kernels, function):
    expected = signature_of(FUNCTIONS[function])[1:]
    assert signature_of(getattr(kernels, function)) == expected


def test_the_protocol_has_these_shortcuts():
    assert SHORTCUTS.keys() == {"mean_cross_entropy", "sgd_epoch_of_models"}


def test_a_backend_has_all_shortcuts_or_none(kernels, backend):
    present = {name for name in SHORTCUTS if hasattr(kernels, name)}
    assert present == (SHORTCUTS.keys() if backend == "compiled" else set())
    for name in present:
        assert signature_of(getattr(kernels, name)) == signature_of(SHORTCUTS[name])[1:]


def test_shortcuts_by_name(monkeypatch):
    from fastsoftmax.backends import registry

    compiled = get_backend("compiled")
    get_backend("auto")
    assert shortcuts_of("auto") is compiled
    assert shortcuts_of("compiled") is compiled
    get_backend("vectorized")
    for name in ("vectorized", "no backend", None, ["compiled"]):
        assert shortcuts_of(name) is None
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(registry, "_shortcuts", {})
    assert shortcuts_of("auto") is None  # the general way imports it


def test_a_backend_has_a_name_and_no_public_functions_but_these(kernels, backend):
    assert kernels.name == backend
    module = kernels.__name__
    own = {
        name
        for name, member in vars(kernels).items()
        if callable(member) and getattr(member, "__module__", "").startswith(module)
    }
    public = {name for name in own if not name.startswith("_")}
    assert public <= FUNCTIONS.keys() | SHORTCUTS.keys() | {"instruction_set", "instruction_sets"}


def test_backends_by_name(backend):
    assert backend in NAMES
    assert why_unavailable(backend) is None
    assert get_backend(backend) is get_backend(backend)


def test_auto_is_the_first_one_that_is_available(monkeypatch):
    from fastsoftmax.backends import registry

    assert get_backend("auto") is get_backend("compiled")
    assert get_backend() is get_backend("auto")
    # As where there is no compiled backend: its module cannot be imported.
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(registry, "_shortcuts", {})
    monkeypatch.setitem(sys.modules, "fastsoftmax.backends.compiled", None)
    assert get_backend("auto").name == "vectorized"
    with pytest.raises(ImportError, match=r"^backend: 'compiled' is not available.*C compiler"):
        get_backend("compiled")
    monkeypatch.setitem(sys.modules, "fastsoftmax.backends.numba_loops", None)
    with pytest.raises(ImportError, match=r"; pip install numba$"):
        get_backend("numba")


LEAVES = {
    *(
        "_version",
        "exceptions",
        "labels",
        "mapped",
        "optional",
        "phases",
        "regularizers",
        "schedules",
        "sparse",
        "threads",
    ),
    "validation",
}
# The rooms of the package, and what each may import of it besides itself.
MAY_IMPORT = {
    **{leaf: {"validation"} for leaf in LEAVES},
    "mapped": {"sparse"},
    "validation": set(),
    "gradcheck": LEAVES,
    "backends": LEAVES,
    "datasets": LEAVES | {"backends"},
    "plotting": LEAVES | {"backends", "datasets"},
    "loss_options": LEAVES | {"backends"},
    "loss": LEAVES | {"backends", "loss_options"},
    "linear": LEAVES | {"backends", "loss_options"},
    "roofline": LEAVES | {"backends"},
    "work": LEAVES | {"backends"},
    "provenance": LEAVES | {"backends"},
    "profiling": LEAVES | {"backends", "plotting", "provenance", "roofline", "work"},
    "standardization": LEAVES | {"backends"},
    "step_size": LEAVES | {"standardization"},
    "averaging": LEAVES | {"backends"},
    "growing": LEAVES | {"averaging", "backends"},
    "sgd": LEAVES | {"averaging", "backends", "standardization"},
    "targets": LEAVES,
    "watching": LEAVES,
    "settings": LEAVES
    | {"averaging", "backends", "sgd", "standardization", "step_size", "targets", "watching"},
    "fitted": LEAVES | {"averaging", "backends", "estimator", "settings", "standardization"},
    "scores": LEAVES | {"backends"},
    "checkpoints": LEAVES | {"averaging", "backends", "persistence"},
    "fitting": LEAVES
    | {"averaging", "backends", "checkpoints", "scores", "settings", "sgd", "step_size", "targets"}
    | {"watching"},
    "streaming": LEAVES
    | {"fitted", "fitting", "growing", "settings", "sgd", "standardization", "targets"},
    "persistence": LEAVES | {"averaging", "fitted", "settings", "standardization", "step_size"},
    "estimator": LEAVES,
    "samples": LEAVES,
    "classifier": LEAVES
    | {"averaging", "backends", "checkpoints", "estimator", "fitted", "fitting", "loss", "linear"}
    | {"persistence", "samples", "scores", "settings", "standardization", "step_size"}
    | {"growing", "streaming", "targets", "watching"},
    "gradient_sums": LEAVES | {"backends", "loss_options", "samples", "settings"},
    "several": LEAVES | {"backends", "settings", "sgd"},
    "searching": LEAVES
    | {"backends", "classifier", "estimator", "fitting", "samples", "settings", "several", "sgd"}
    | {"targets", "watching"},
    "dask": LEAVES
    | {
        "backends",
        "classifier",
        "estimator",
        "fitted",
        "fitting",
        "gradient_sums",
        "samples",
        "settings",
        "sgd",
    }
    | {"averaging", "scores", "standardization", "step_size", "targets"},
    "torch": LEAVES | {"loss"},
    "njit": LEAVES | {"__init__", "backends"},
    "lecture": LEAVES | {"backends", "loss", "linear", "gradcheck"},
}
MAY_IMPORT["__init__"] = set(MAY_IMPORT)
MAY_IMPORT["cli"] = MAY_IMPORT.keys()
MAY_IMPORT["__main__"] = {"cli"}


def imported_modules(file):
    """The absolute names of all modules that a file imports, anywhere in it."""
    package = ["fastsoftmax", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = base + ([node.module] if node.module else [])
            # `from package import name` may import a module
            yield from (".".join([*base, alias.name]) for alias in node.names)


def room_of(parts):
    return parts[0].removesuffix(".py") if parts else "__init__"


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(PACKAGE)) for file in FILES])
def test_imports_point_one_way(file):
    room = room_of(file.relative_to(PACKAGE).parts)
    assert room in MAY_IMPORT, "a new room: say in MAY_IMPORT what it may import"
    rooms = MAY_IMPORT.keys()
    for module in imported_modules(file):
        parts = module.split(".")
        if parts[0] == "fastsoftmax":
            imported = parts[1] if len(parts) > 1 and parts[1] in rooms else "__init__"
            assert imported == room or imported in MAY_IMPORT[room], f"{room} imports {module}"


def test_the_oracle_imports_nothing_of_the_package():
    tree = ast.parse((TESTS / "oracle.py").read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [node.names[0].name])
    }
    assert imported == {"functools", "typing", "mpmath", "numpy"}


def modules_after(code):
    """The modules that are imported in a fresh interpreter after some code, but not after NumPy."""
    program = (
        f"import sys, numpy\nbefore = set(sys.modules)\n{code}\n"
        "print(*(set(sys.modules) - before), sep='\\n')"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    return set(output.split())


OPTIONAL = {"numba", "scipy", "sklearn", "matplotlib", "rich", "safetensors", "onnx", "pyarrow"}


def test_import_takes_little_beyond_numpy():
    # The budget is 15 ms; these two take 1, and a list needs no clock.
    assert modules_after("import fastsoftmax") == {"fastsoftmax", "fastsoftmax._version"}


USE = f"""
from fastsoftmax import *
for backend in {[name for name in BACKENDS if name != "numba"]}:
    model = SoftmaxClassifier(backend=backend, max_iter=2)
    model.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1]).predict_proba([[0.0, 1.0]])
    softmax_cross_entropy([0.0, 1.0], 1, backend=backend)
"""


def test_use_needs_numpy_alone():
    modules = modules_after(USE)
    assert {"fastsoftmax.datasets", "fastsoftmax.lecture"} <= modules
    assert not {name.split(".")[0] for name in modules} & OPTIONAL


def test_public_names():
    for name in fastsoftmax.__all__:
        assert hasattr(fastsoftmax, name)
    assert len(set(fastsoftmax.__all__)) == len(fastsoftmax.__all__)
    with pytest.raises(AttributeError, match="'softmin'"):
        _ = fastsoftmax.softmin
    assert set(fastsoftmax.__all__) <= set(dir(fastsoftmax))
    namespace = {}
    exec("from fastsoftmax import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(fastsoftmax.__all__)


OPTIONS = "sample_weight=None, class_weight=None, label_smoothing=0.0, ignore_index=None, reduction='mean'"
LOSS_CORE = {
    "softmax": "logits, axis=-1",
    "log_softmax": "logits, axis=-1",
    "logsumexp": "logits, axis=-1, *, keepdims=False",
    "cross_entropy": f"logits, targets, *, {OPTIONS}",
    "softmax_cross_entropy": f"logits, targets, out=None, *, {OPTIONS}",
    "linear_cross_entropy": (
        f"X, W, targets, intercept=None, *, wrt=('W', 'intercept', 'X'), {OPTIONS}"
    ),
    "penalty": "W, l2=0.0, l1=0.0",
}


@pytest.mark.parametrize("name", LOSS_CORE)
def test_the_loss_core_has_the_signatures_promised(name):
    parameters = inspect.signature(getattr(fastsoftmax, name)).parameters.values()
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    common = "" if "*" in LOSS_CORE[name] else ", *"
    expected = f"({LOSS_CORE[name]}{common}, backend='auto', n_threads=None)"
    assert str(inspect.Signature(plain)) == expected
