"""Models in ONNX: its runtime predicts what the model does."""

import numpy as np
import onnx
import onnxruntime
import pytest
from model_file_cases import LABELS, MODELS, OPTIONS, data_of, fitted

import fastsoftmax
from fastsoftmax import SoftmaxClassifier


def session_of(model, path):
    model.to_onnx(path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", MODELS)
def test_onnx_predicts_the_same(name, dtype, tmp_path):
    model = fitted(name, dtype)
    X = data_of(np.float32)[0]
    labels, probabilities = session_of(model, tmp_path / "model.onnx").run(None, {"X": X})
    assert probabilities.dtype == np.float32
    expected = model.predict_proba(X)
    if dtype == np.float64:
        # Rounded once; float64 has nothing to add to that but where it falls between two numbers.
        np.testing.assert_allclose(probabilities, expected, rtol=2**-23)
    else:
        # A logit is a sum of 7 terms, with an error of 7 eps of the largest sum of their sizes, on each
        # side; an error d of the logits is a relative one of 2 d. A softmax adds a few eps itself.
        size = (np.abs(X) @ np.abs(model.coef_.T) + np.abs(model.intercept_)).max()
        rtol = (4 * 7 * size + 32) * 2**-24
        np.testing.assert_allclose(probabilities, expected, rtol=rtol, atol=1e-37)
    top = np.sort(expected, axis=1)
    sure = top[:, -1] - top[:, -2] > 1e-5
    assert sure.sum() > 100
    assert labels[sure].tolist() == model.predict(X)[sure].tolist()


def test_onnx_keeps_the_temperature(dtype, tmp_path):
    X, model = data_of(dtype)[0], fitted("plain", dtype)
    model.temperature_ = 2.5
    labels, probabilities = session_of(model, tmp_path / "model.onnx").run(
        None, {"X": X.astype(np.float32)}
    )
    expected = model.predict_proba(X.astype(np.float32))
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-37)
    assert labels.tolist() == model.predict(X).tolist()
    if dtype == np.float32:
        model.temperature_ = 1e-50
        with pytest.raises(ValueError, match=r"^temperature_: expected a float32, got 1e-50"):
            model.to_onnx(tmp_path / "model.onnx")


def test_the_graph_of_onnx(tmp_path):
    model = fitted()
    session = session_of(model, tmp_path / "model.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("X", "tensor(float)", ["N", 6])
    outputs = [(o.name, o.type, o.shape) for o in session.get_outputs()]
    assert outputs == [
        ("label", "tensor(string)", ["N"]),
        ("probabilities", "tensor(float)", ["N", 3]),
    ]
    written = onnx.load(tmp_path / "model.onnx")
    assert (written.producer_name, written.producer_version) == (
        "fastsoftmax",
        fastsoftmax.__version__,
    )
    for n_samples in (1, 7):
        labels, probabilities = session.run(None, {"X": np.zeros((n_samples, 6), np.float32)})
        assert (labels.shape, probabilities.shape) == ((n_samples,), (n_samples, 3))


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_onnx(name, tmp_path):
    labels = LABELS[name]
    X = 5 * np.eye(len(labels), dtype=np.float32)
    model = SoftmaxClassifier(**OPTIONS).fit(X, labels)
    path = tmp_path / "model.onnx"
    if labels.dtype.kind == "M" or name in ("uint64", "huge floats", "str", "bytes"):
        with pytest.raises(
            ValueError,
            match=r"^classes_: expected (labels within int64|Unicode strings|integers or)",
        ):
            model.to_onnx(path)
        assert not path.exists()
        if name != "str":
            return
        labels = np.array(["b", "a", "", "ü☃𝄞", "e", 'q"\\\n'])
        model.fit(X, labels)
    predicted = session_of(model, path).run(["label"], {"X": X})[0]
    assert predicted.dtype == (object if isinstance(labels[0], str) else np.int64)
    assert predicted.tolist() == model.predict(X).tolist()


def test_the_order_of_equal_logits_and_logits_beyond_exp(tmp_path):
    model = fitted("plain")
    model.coef_[:], model.intercept_[:] = 0, [2.0, 3.0, 3.0]
    session = session_of(model, tmp_path / "model.onnx")
    assert session.run(["label"], {"X": np.ones((1, 6), np.float32)})[0] == ["dog"]
    model.coef_[0] = 1e6
    probabilities = session_of(model, tmp_path / "model.onnx").run(
        ["probabilities"], {"X": np.ones((1, 6), np.float32)}
    )[0]
    assert probabilities.tolist() == [[1.0, 0.0, 0.0]]
