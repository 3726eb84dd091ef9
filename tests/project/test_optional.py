"""Packages that need not be there: whatever importing one raises, the message says why it is missing."""

import os
import re
import subprocess
import sys

import pytest
from paths import ROOT

# What installations that are broken raise when they are imported.
BROKEN = {
    "SystemError": "raise SystemError('initialization failed')",
    "AttributeError": "raise AttributeError('_ARRAY_API not found')",
    "OSError": "raise OSError('libgomp.so.1: cannot open shared object file')",
    "RuntimeError": "raise RuntimeError('compiled against\\nanother API')",
    "ValueError": "raise ValueError('numpy.dtype size changed')",
    "ImportError": "raise ImportError('Numba needs NumPy 2.0 or less')",
}


@pytest.fixture
def broken(tmp_path):
    """Run Python where some packages raise when they are imported; return its output and that of errors."""

    def run(packages, *arguments, how="SystemError", code=0):
        for name in packages:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "__init__.py").write_text(BROKEN[how] + "\n")
        ran = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran.stdout, ran.stderr

    return run


@pytest.mark.parametrize("how", BROKEN)
def test_info_says_why_a_broken_numba_is_not_available(broken, how):
    printed, _ = broken(["numba"], "-m", "fastsoftmax", "info", how=how)
    (line,) = [line for line in printed.splitlines() if line.startswith("backend numba")]
    assert re.search(rf"not available: {how}: .+; pip install --upgrade numba$", line)


def test_commands_say_what_is_broken_and_go_on(broken):
    packages = ["numba", "sklearn", "torch"]
    shape = ("--shape", "40x5x3", "--epochs", "1", "--threads", "1")
    printed, _ = broken(packages, "-m", "fastsoftmax", "bench", *shape, "--no-plot")
    text = " ".join(printed.split())
    assert "numba: not available: SystemError: initialization failed;" in text
    options = ("--backend", "vectorized", "--peers", "--json", "p.json")
    printed, _ = broken(packages, "-m", "fastsoftmax", "profile", *shape, *options)
    assert re.search(r"^NumPy: .* ms per epoch$", printed, re.MULTILINE)
    why = "SystemError: initialization failed; pip install --upgrade"
    assert f"scikit-learn: not available: {why} scikit-learn\n" in printed
    assert f"PyTorch: not available: {why} torch\n" in printed


COMMANDS = {
    "rich": "bench --shape 40x5x3 --no-plot",
    "threadpoolctl": "profile --shape 40x5x3 --peers",
    "sklearn": "bench --no-plot",
    "matplotlib": "search digits.npz --plot p.png",
    "safetensors": "predict --model m.safetensors digits.npz",
    "pyarrow": "train t.csv --target y --model m.npz",
}


@pytest.mark.parametrize("package", COMMANDS)
def test_a_command_that_needs_what_is_broken_ends_with_one_line(broken, tmp_path, package):
    (tmp_path / "t.csv").write_text("a,y\n1,0\n2,1\n")
    _, errors = broken([package], "-m", "fastsoftmax", *COMMANDS[package].split(), code=1)
    assert "SystemError: initialization failed; pip install --upgrade" in errors
    assert errors.count("\n") == 1


def test_a_bar_that_nobody_asked_for_is_left_out_where_rich_is_broken(broken, tmp_path):
    (tmp_path / "m.npz").unlink(missing_ok=True)
    make = "import numpy as np; np.savez('d.npz', X=np.eye(4), y=[0, 1, 0, 1])"
    broken([], "-c", make)
    broken(["rich"], "-m", "fastsoftmax", "train", "d.npz", "--model", "m.npz")
    assert (tmp_path / "m.npz").exists()


CALLS = {
    "numba": "fastsoftmax.softmax([0.0], backend='numba')",
    "numba ": "import fastsoftmax.njit",
    "numba  ": "fastsoftmax.SoftmaxClassifier(backend='numba').fit([[0.0], [1.0]], [0, 1])",
    "torch": "import fastsoftmax.torch",
    "dask": "import fastsoftmax.dask",
    "matplotlib": "fastsoftmax.plotting.plot_loss_curves({'a': [1.0]})",
    "sklearn": "fastsoftmax.datasets.load_digits()",
    "sklearn ": "model.set_fit_request(sample_weight=True)",
    "onnx": "model.to_onnx('m.onnx')",
    "safetensors": "model.save('m.safetensors')",
    "rich": "fastsoftmax.SoftmaxClassifier(progress_bar=True).fit([[0.0], [1.0]], [0, 1])",
}


@pytest.mark.parametrize("package", CALLS)
@pytest.mark.parametrize("how", ["SystemError", "AttributeError"])
def test_the_error_of_a_call_has_the_cause(broken, package, how):
    program = f"""
import fastsoftmax
model = fastsoftmax.SoftmaxClassifier().fit([[0.0], [1.0]], [0, 1])
try:
    {CALLS[package]}
except ImportError as error:
    print(type(error.__cause__).__name__, error, sep="; ")
"""
    printed, _ = broken([package.strip()], "-c", program, how=how)
    assert printed.startswith(f"{how}; ")
    assert f"not available: {how}: " in printed
    assert "; pip install --upgrade " in printed


def test_auto_takes_the_next_backend_where_one_is_broken(broken):
    program = f"""
import sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "fastsoftmax.backends.compiled._core":
            {BROKEN["SystemError"]}

sys.meta_path.insert(0, Broken())
import fastsoftmax, numpy
from fastsoftmax.backends import get_backend
model = fastsoftmax.SoftmaxClassifier(random_state=0).fit([[0.0], [1.0]], [0, 1])
print(get_backend().name)
"""
    assert broken([], "-c", program)[0] == "vectorized\n"


def test_no_text_says_to_install_the_project_from_an_index():
    """It is installed from a checkout: `pip install fastsoftmax` finds nothing, or what is not ours."""
    files = [
        *(ROOT / "fastsoftmax").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")),
    ]
    for file in files:
        text = file.read_text("utf-8")
        for command in re.findall(r"pip install[^`\n)]*", text):
            assert not re.search(r"(?<![\w/])fastsoftmax", command), f"{file}: {command}"


def test_what_messages_say_to_install_are_the_packages_that_the_project_depends_on():
    import tomllib

    from fastsoftmax._optional import reason_of

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    known = {re.split(r"[<>=;\[ ]", text)[0] for texts in extras.values() for text in texts}
    for module in ("numba", "torch", "sklearn", "pyarrow", "rich", "matplotlib", "onnx", "dask"):
        command = reason_of(ModuleNotFoundError("no"), f"{module}.part").partition("; ")[2]
        package = command.removeprefix("pip install ").strip('"').partition("[")[0]
        assert package in known
