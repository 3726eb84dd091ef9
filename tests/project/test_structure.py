"""The structure: one protocol, imports that point one way, and an import that costs next to nothing."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks
from paths import ROOT, SUPPORT
from variants import BACKENDS

import fastsoftmax
from fastsoftmax.backends import (
    NAMES,
    Backend,
    FastPaths,
    fast_paths,
    get_backend,
    why_unavailable,
)

PACKAGE = Path(fastsoftmax.__file__).parent
COMPILED = PACKAGE / "backends" / "compiled"


def functions_of(protocol):
    return {
        name: member
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


FUNCTIONS = functions_of(Backend)
FAST_PATHS = functions_of(FastPaths)


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
        "transposed_product",
        "penalty",
        "column_moments",
        "convert_rows",
        "inverse_factor",
        "add_class_sums",
        "dot",
        "add_penalty",
        "take_step",
        "fill_pair",
        "duality_gap",
        "newton_direction",
        "subtract_pairs",
        "add_pairs",
        "coordinate_descent",
        "sgd_epoch",
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_backend_has_the_signatures_of_the_protocol(kernels, function):
    expected = signature_of(FUNCTIONS[function])[1:]
    assert signature_of(getattr(kernels, function)) == expected


def test_the_protocol_has_these_fast_paths():
    assert FAST_PATHS.keys() == {"map_rows", "mean_cross_entropy", "sgd_epoch_of_models"}


def test_a_backend_has_all_fast_paths_or_none(kernels, backend):
    present = {name for name in FAST_PATHS if hasattr(kernels, name)}
    assert present == (FAST_PATHS.keys() if backend == "compiled" else set())
    for name in present:
        assert signature_of(getattr(kernels, name)) == signature_of(FAST_PATHS[name])[1:]


def test_fast_paths_by_name(monkeypatch):
    from fastsoftmax.backends import registry

    compiled = get_backend("compiled")
    get_backend("auto")
    assert fast_paths.get("auto") is compiled
    assert fast_paths.get("compiled") is compiled
    get_backend("vectorized")
    assert "vectorized" not in fast_paths
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(registry, "fast_paths", {})
    registry.get_backend("auto")
    assert registry.fast_paths.keys() == {"compiled", "auto"}


def test_a_backend_has_a_name_and_no_public_functions_but_these(kernels, backend):
    assert kernels.name == backend
    module = kernels.__name__
    own = {
        name
        for name, member in vars(kernels).items()
        if callable(member) and getattr(member, "__module__", "") == module
    }
    public = {name for name in own if not name.startswith("_")}
    assert public <= FUNCTIONS.keys() | FAST_PATHS.keys() | {"instruction_set", "instruction_sets"}


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
    monkeypatch.setattr(registry, "fast_paths", {})
    monkeypatch.setitem(sys.modules, "fastsoftmax.backends.compiled", None)
    assert get_backend("auto").name == "vectorized"
    with pytest.raises(ImportError, match=r"^backend: 'compiled' is not available.*C compiler"):
        get_backend("compiled")
    monkeypatch.setitem(sys.modules, "fastsoftmax.backends.numba_loops", None)
    with pytest.raises(ImportError, match=r"; pip install numba$"):
        get_backend("numba")


# The rooms of the package from the lowest to the highest: each may import those above it in this list, and
# itself. The picture in ARCHITECTURE.md is compared with it.
ROOMS = (
    ("_version", "_optional", "exceptions"),
    ("_arrays",),
    ("persistence",),
    ("backends",),
    ("loss", "schedules", "datasets"),
    ("training", "plotting"),
    ("classifier", "profiling"),
    ("torch", "njit", "lecture", "dask"),
    ("cli",),
    ("__init__",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


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


def test_every_file_has_a_room():
    assert {room_of(file.relative_to(PACKAGE).parts) for file in FILES} == LEVEL.keys()


PAGE = ROOT / "ARCHITECTURE.md"


def rooms_of_the_picture():
    """The rooms of each level of the picture, whose levels are between horizontal lines."""
    _, picture = next(iter(blocks(PAGE, "text")))
    levels = re.split(r"^[┌├└].*\n", picture, flags=re.MULTILINE)
    return tuple(tuple(re.findall(r"^│ (\w+)", level, re.MULTILINE)) for level in levels[1:-1])


def test_the_page_shows_the_rooms_in_their_order():
    assert rooms_of_the_picture() == ROOMS


def test_the_page_names_files_that_exist():
    text = PAGE.read_text("utf-8")
    walk = [code for _, code in blocks(PAGE, "text")][1]
    named = re.findall(r"`([\w./*]+/[\w.*]*)`", text) + re.findall(r"[\w./*]+/[\w*]+\.\w+", walk)
    assert len(named) > 20
    for path in named:
        found = [*ROOT.glob(path), *PACKAGE.glob(path), *(ROOT / "csrc").glob(path)]
        assert found or list((ROOT / "tests").glob(path)), path


def test_few_modules_stand_outside_of_folders():
    assert len(list(PACKAGE.glob("*.py"))) <= 12


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(PACKAGE)) for file in FILES])
def test_imports_point_down(file):
    room = room_of(file.relative_to(PACKAGE).parts)
    for module in imported_modules(file):
        parts = module.split(".")
        if parts[0] == "fastsoftmax":
            imported = parts[1] if len(parts) > 1 and parts[1] in LEVEL else "__init__"
            assert imported == room or LEVEL[imported] < LEVEL[room], f"{room} imports {module}"


def test_kernels_take_at_most_eight_parameters():
    table = (ROOT / "csrc" / "kernels" / "kernel_table.h").read_text("utf-8")
    kernels = dict(re.findall(r"\(\*(\w+)\)\(([^)]*)\);", table))
    assert {"softmax", "panel_update", "sparse_update", "copy_memory"} <= kernels.keys()
    assert {name for name, parameters in kernels.items() if parameters.count(",") >= 8} == set()


def test_thresholds_are_in_one_file_with_the_command_that_tests_them():
    tuning = (ROOT / "csrc" / "kernels" / "tuning.h").read_text("utf-8")
    enums = re.findall(r"/\*((?:(?!/\*).)*)\*/\nenum \{(.*?)\};", tuning, re.DOTALL)
    assert len(enums) == tuning.count("enum {") > 20
    assert [names for comment, names in enums if "python -m " not in comment] == []
    # What is left in the drivers has no effect on speed: sizes of arrays, a value that is returned.
    drivers = "".join(file.read_text("utf-8") for file in COMPILED.glob("*.p[yx][xi]"))
    left = re.findall(r"^cdef enum:\n((?: +.*\n)+)", drivers, re.MULTILINE)
    assert set(re.findall(r"\w+(?= = )", "".join(left))) == {
        "N_STEP_ALGORITHMS",
        "MAX_LANES",
        "MAX_BUFFERS",
        "N_EXTRAPOLATED",
        "ROWS_PER_UPDATE",
        "INTERRUPTED",
    }


def test_the_oracle_imports_nothing_of_the_package():
    tree = ast.parse((SUPPORT / "oracle.py").read_text())
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


OPTIONS = (
    "sample_weight=None, class_weight=None, label_smoothing=0.0, ignore_index=None, reduction='mean', "
    "mask=None, temperature=1.0, softcap=None, z_loss=0.0, return_lse=False, metrics=(), top_k=5"
)
OF_ROWS = "mask=None, temperature=1.0"
LOSS_CORE = {
    "softmax": f"logits, axis=-1, out=None, *, {OF_ROWS}",
    "log_softmax": f"logits, axis=-1, out=None, *, {OF_ROWS}",
    "logsumexp": f"logits, axis=-1, out=None, *, keepdims=False, {OF_ROWS}, b=None, return_sign=False",
    "cross_entropy": f"logits, targets, *, {OPTIONS}",
    "softmax_cross_entropy": f"logits, targets, out=None, *, {OPTIONS}",
    "linear_cross_entropy": (
        f"X, W, targets, intercept=None, *, wrt=('W', 'intercept', 'X'), {OPTIONS}, upstream=None"
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
