"""The compiled backend's kernels for every instruction set that this CPU can run."""

import os
import subprocess
import sys

import numpy as np
import pytest
from cases import case

from fastsoftmax.backends import get_backend

SETS = get_backend("compiled").instruction_sets()
SHAPES = [(1, 1), (5, 3), (5, 17), (37, 33), (5, 1000)]

# Reads arrays, and writes what the compiled backend makes of them.
PROGRAM = """
import sys
import numpy as np
import fastsoftmax as f
from fastsoftmax.backends import get_backend

assert get_backend("compiled").instruction_set() == sys.argv[1]
given, results = np.load(sys.argv[2]), {}
names = sorted({name.split()[0] for name in given})
for name in names:
    logits, targets, X, y = (given[f"{name} {part}"] for part in ("logits", "targets", "X", "y"))
    for function in (f.softmax, f.log_softmax, f.logsumexp):
        results[f"{name} {function.__name__}"] = function(logits, backend="compiled")
    loss, dlogits = f.softmax_cross_entropy(logits, targets, backend="compiled", n_threads=2)
    model = f.SoftmaxClassifier(
        backend="compiled", max_iter=2, momentum=0.5, penalty="elasticnet", batch_size=7,
        random_state=0, alpha=0.01,
    ).fit(X, y)
    results |= {f"{name} loss": loss, f"{name} dlogits": dlogits}
    results |= {f"{name} coef": model.coef_, f"{name} curve": model.loss_curve_}
np.savez(sys.argv[3], **results)
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The file with the arrays that every instruction set gets."""
    arrays, rng = {}, np.random.default_rng(5)
    for n, c in SHAPES:
        for dtype in (np.float32, np.float64):
            logits, targets, _ = case(n, c, dtype, masked=True, soft=c % 2 == 1)
            X = rng.normal(size=(20, n + 1)).astype(dtype)
            parts = {
                "logits": logits,
                "targets": targets,
                "X": X,
                "y": np.arange(20) % min(c + 1, 20),
            }
            arrays |= {f"{n}x{c}x{np.dtype(dtype)} {key}": value for key, value in parts.items()}
    path = tmp_path_factory.mktemp("sets") / "given.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def results(given):
    """What each instruction set makes of them, by its name."""
    made = {}
    for name in SETS:
        path = given.with_name(f"{name}.npz")
        command = [sys.executable, "-c", PROGRAM, name, str(given), str(path)]
        subprocess.run(command, check=True, env=os.environ | {"FASTSOFTMAX_ISA": name})
        with np.load(path) as file:
            made[name] = dict(file)
    return made


@pytest.mark.parametrize("name", SETS)
def test_values_are_within_the_bounds(results, name):
    for n, c in SHAPES:
        for dtype in (np.float32, np.float64):
            expected = case(n, c, dtype, masked=True, soft=c % 2 == 1).expected
            actual = {
                key.split()[1]: value
                for key, value in results[name].items()
                if key.startswith(f"{n}x{c}x{np.dtype(dtype)} ")
            }
            for part in ("softmax", "log_softmax", "logsumexp", "dlogits"):
                getattr(expected, part).check(actual[part])
            expected.mean_loss().check(actual["loss"])


@pytest.mark.parametrize("name", SETS)
def test_instruction_sets_agree(results, name):
    reference = results[SETS[0]]
    for key, value in results[name].items():
        if name == "portable":  # has no FMA
            tolerance = 1e-4 if "float32" in key else 1e-10
            if key.endswith(("coef", "curve")):
                np.testing.assert_allclose(value, reference[key], rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(value, reference[key], err_msg=key)


@pytest.mark.parametrize("name", ["sse9", "AVX2", "portable,avx2", " "])
def test_an_unknown_instruction_set_is_an_error_that_lists_the_others(name):
    program = "import fastsoftmax; fastsoftmax.softmax([1.0], backend='compiled')"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"FASTSOFTMAX_ISA": name},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    last_line = result.stderr.splitlines()[-1]
    assert last_line.startswith("ValueError: ")
    assert "FASTSOFTMAX_ISA" in last_line
    assert repr(name) in last_line
    assert all(known in last_line for known in SETS)


def test_portable_is_always_there():
    assert SETS[-1] == "portable"
    assert len(set(SETS)) == len(SETS)
