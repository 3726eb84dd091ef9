"""Checks an installed fastsoftmax with NumPy alone, as a user has it: `python check_installed.py [--pure]`.

--pure: the compiled backend has been left out on purpose, and must not be there.
"""

import importlib.metadata
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastsoftmax
from fastsoftmax.backends import NAMES, get_backend, why_unavailable

PURE = "--pure" in sys.argv[1:]
BACKENDS = ("naive", "vectorized") if PURE else ("naive", "vectorized", "compiled")
# A few roundings of sums of some dozens of terms of order 1.
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
# The names that /proc/cpuinfo has for what an instruction set needs, best first.
FLAGS = {
    "avx512": {"avx2", "fma", "f16c", "avx512f", "avx512dq", "avx512vl"},
    "avx2": {"avx2", "fma", "f16c"},
}


def check_the_package():
    """It is the installed one, of the version that its metadata has, with all that it ships."""
    folder = Path(fastsoftmax.__file__).parent
    assert Path(sys.prefix).resolve() in folder.resolve().parents, f"{folder}: not installed"
    assert importlib.metadata.version("fastsoftmax") == fastsoftmax.__version__
    others = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    assert others <= {"fastsoftmax", "numpy", "pip", "setuptools"}, f"not NumPy alone: {others}"
    assert (folder / "py.typed").is_file()
    assert "fastsoftmax_import" in Path(fastsoftmax.get_include(), "fastsoftmax.h").read_text()
    assert (folder / "c_api.pxd").is_file()
    command = [Path(sys.executable).with_name("fastsoftmax"), "--version"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["fastsoftmax", fastsoftmax.__version__]


def check_the_backends():
    """Those that need no other package are there, and the others say what to install."""
    for name in NAMES:
        if name in BACKENDS:
            assert why_unavailable(name) is None, why_unavailable(name)
        else:
            remedy = "without FASTSOFTMAX_PURE" if name == "compiled" else f"fastsoftmax[{name}]"
            assert remedy in why_unavailable(name)
    assert get_backend("auto").name == ("vectorized" if PURE else "compiled")


def instruction_sets_of_the_cpu():
    """What the kernel of Linux says of an x86-64, or None elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.is_file():
        return None
    flags = set(re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)[1].split())
    return (*(name for name, needed in FLAGS.items() if needed <= flags), "portable")


def check_the_instruction_sets():
    """All that the CPU has, best first; each can be forced, and gives the same numbers."""
    found = get_backend("compiled").instruction_sets()
    expected = instruction_sets_of_the_cpu()
    assert expected in (None, found), f"the CPU has {expected}, the kernels {found}"
    # Windows does not say. MSVC would compile the portable kernels alone.
    if platform.machine() == "AMD64":
        assert "avx2" in found, f"the kernels are {found}"
    program = (
        "import sys; from fastsoftmax.backends import get_backend; from fastsoftmax import softmax;"
        "assert get_backend('compiled').instruction_set() == sys.argv[1];"
        "print(softmax([0.0, 1.0, 3.0])[2])"
    )
    for name in found:
        printed = subprocess.run(
            [sys.executable, "-c", program, name],
            env=os.environ | {"FASTSOFTMAX_ISA": name},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        expected = math.exp(3) / math.fsum(map(math.exp, (0, 1, 3)))
        assert math.isclose(float(printed), expected, rel_tol=TOLERANCE["float64"])
    return found


def softmax_of(row):
    """The probabilities of a row and its log-sum-exp, by the textbook, in exact sums."""
    terms = [math.exp(z) for z in row]
    total = math.fsum(terms)
    return [term / total for term in terms], math.log(total)


def check_against_the_textbook(backend, dtype):
    """Loss and gradients of logits and of a linear classifier."""
    rng, tolerance = np.random.default_rng(3), TOLERANCE[dtype]
    X, W = rng.normal(size=(37, 11)).astype(dtype), rng.normal(size=(11, 5)).astype(dtype)
    labels = rng.integers(5, size=37)
    logits = (X.astype(np.float64) @ W.astype(np.float64)).astype(dtype)
    exact = [softmax_of(row) for row in logits.tolist()]
    loss = math.fsum(
        normalizer - float(row[label])
        for (_, normalizer), row, label in zip(exact, logits, labels, strict=True)
    ) / len(labels)
    dlogits = (np.array([p for p, _ in exact]) - np.eye(5)[labels]) / len(labels)
    found, gradient = fastsoftmax.softmax_cross_entropy(logits, labels, backend=backend)
    assert math.isclose(found, loss, rel_tol=tolerance)
    assert gradient.dtype == dtype
    assert np.abs(gradient - dlogits).max() <= tolerance
    linear, gradients = fastsoftmax.linear_cross_entropy(X, W, labels, backend=backend)
    # Logits of order 3, summed over 11 features.
    assert math.isclose(linear, loss, rel_tol=30 * tolerance)
    assert np.abs(gradients.W - X.T.astype(np.float64) @ dlogits).max() <= 30 * tolerance


def check_training(backend, folder):
    """A fit learns, predicts, and comes back from its file with the same bits; return its curve."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(400, 6)).astype(np.float32)
    y = np.array(["cat", "dog", "owl"])[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    model = fastsoftmax.SoftmaxClassifier(
        backend=backend, momentum=0.9, max_iter=20, tol=None, random_state=0
    ).fit(X, y)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.score(X, y) > 0.95, model.score(X, y)
    path = folder / f"{backend}.npz"
    model.save(path)
    loaded = fastsoftmax.load(path)
    assert (loaded.predict(X) == model.predict(X)).all()
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
    assert (loaded.partial_fit(X, y).coef_ == model.partial_fit(X, y).coef_).all()
    return model.loss_curve_


def main():
    check_the_package()
    check_the_backends()
    found = "no compiled backend" if PURE else "/".join(check_the_instruction_sets())
    for backend in BACKENDS:
        for dtype in TOLERANCE:
            check_against_the_textbook(backend, dtype)
    with tempfile.TemporaryDirectory() as folder:
        curves = [check_training(backend, Path(folder)) for backend in BACKENDS]
    for curve in curves[1:]:
        np.testing.assert_allclose(curve, curves[0], rtol=1e-4)
    python = ".".join(map(str, sys.version_info[:2]))
    print(f"Python {python}, NumPy {np.__version__}: {', '.join(BACKENDS)} agree; {found}")


if __name__ == "__main__":
    main()
