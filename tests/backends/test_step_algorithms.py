"""Which step algorithm the compiled backend trains by, and how another one is forced."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array
from step_algorithms import DENSE, forced

from fastsoftmax import SoftmaxClassifier, search
from fastsoftmax.backends import get_backend

compiled = get_backend("compiled")
NAMES = (*DENSE, "sparse")


def model_of(algorithm, X, y):
    with forced(algorithm):
        return SoftmaxClassifier(max_iter=2, tol=None, random_state=0, backend="compiled").fit(X, y)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((256, 40, np.float32), "short_rows"),
        ((257, 40, np.float32), "panels"),
        ((128, 2, "float64"), "short_rows"),
        ((129, 2, "float64"), "panels"),
        ((1, 41, np.float32), "packed"),
        ((5000, 1000, np.float64), "packed"),
        ((1, 2, np.float32, True), "sparse"),
        ((5000, 1000, np.float64, True), "sparse"),
        ((1, 2, np.float32, False, True), "packed"),
    ],
)
def test_each_shape_has_a_step_algorithm(arguments, expected):
    assert compiled.step_algorithm(*arguments) == expected


def test_a_forced_algorithm_is_the_one_that_runs(rng):
    X, y = rng.normal(size=(200, 100)), np.arange(200) % 40
    models = {name: model_of(name, X, y).coef_ for name in ("", *DENSE)}
    np.testing.assert_array_equal(models.pop(""), models["short_rows"])
    # They add up in orders of their own.
    assert len({coef.tobytes() for coef in models.values()}) == 3
    np.testing.assert_allclose(models["panels"], models["short_rows"], rtol=1e-9)
    np.testing.assert_allclose(models["packed"], models["short_rows"], rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "n_classes", "convert", "reason"),
    [
        (
            "short_rows",
            41,
            np.asarray,
            "dense rows of 3 .* 41 classes; 'short_rows' takes at most 40",
        ),
        (
            "panels",
            41,
            np.asarray,
            "dense rows of 3 .* 41 classes; 'panels' takes at most 40 classes",
        ),
        *((name, 2, csr_array, f"sparse rows .*; '{name}' takes dense rows") for name in DENSE),
        ("sparse", 2, np.asarray, "dense rows .*; 'sparse' takes sparse rows"),
    ],
)
def test_a_forced_algorithm_refuses_what_it_cannot_train(rng, name, n_classes, convert, reason):
    X, y = rng.normal(size=(90, 3)), np.arange(90) % n_classes
    with pytest.raises(ValueError, match=rf"^the environment variable FASTSOFTMAX_STEP .*{reason}"):
        model_of(name, convert(X), y)
    assert model_of("", convert(X), y).n_iter_ == 2


@pytest.mark.parametrize("name", DENSE)
def test_models_side_by_side_are_packed_and_others_are_trained_alone(rng, name):
    X, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    rates = {"learning_rates": [0.1, 0.2], "regs": [0.0]}
    how = {"max_iter": 1, "random_state": 0, "backend": "compiled"}
    expected = search(X, y, **rates, **how)
    with forced(name):
        np.testing.assert_allclose(search(X, y, **rates, **how).losses, expected.losses, rtol=1e-9)
        if name != "packed":
            with pytest.raises(ValueError, match=f"models; '{name}' takes one model"):
                compiled.step_algorithm(3, 4, np.float64, has_models=True)


def test_no_algorithm_trains_models_on_sparse_rows(rng):
    with pytest.raises(ValueError, match="several models on sparse rows"):
        compiled.step_algorithm(3, 4, np.float64, is_sparse=True, has_models=True)
    with forced("sparse"), pytest.raises(ValueError, match="'sparse' takes sparse rows"):
        search(rng.normal(size=(60, 3)), np.arange(60) % 2, backend="compiled")


@pytest.mark.parametrize("name", ["dense", "PANELS", "short rows", " "])
def test_an_unknown_name_is_an_error_that_lists_the_others(name):
    assert compiled.force_step_algorithm("") == ""
    with pytest.raises(ValueError, match=f"one of {', '.join(NAMES)}; got {name!r}"):
        compiled.force_step_algorithm(name)
    assert compiled.force_step_algorithm("") == ""


@pytest.mark.parametrize("name", [*NAMES, "sparse,packed"])
def test_the_environment_variable_is_read_at_import(name):
    program = (
        "import fastsoftmax\n"
        "fastsoftmax.softmax([1.0], backend='compiled')\n"
        "from fastsoftmax.backends import get_backend\n"
        "print(get_backend('compiled').force_step_algorithm(''))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"FASTSOFTMAX_STEP": name},
        capture_output=True,
        text=True,
    )
    if name in NAMES:
        assert (ran.stdout, ran.stderr) == (f"{name}\n", "")
    else:
        last_line = ran.stderr.splitlines()[-1]
        assert last_line.startswith(
            "ValueError: the environment variable FASTSOFTMAX_STEP must name"
        )
        assert last_line.endswith(f"one of {', '.join(NAMES)}; got {name!r}")
