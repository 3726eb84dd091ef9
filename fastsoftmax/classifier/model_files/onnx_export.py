"""Export the predictions of a fitted model as an ONNX graph, for other runtimes."""

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._optional import import_optional
from ..._version import __version__
from ...persistence.atomic import write_atomically
from ..fitted_model import parameters_of, snapshot_of
from .save_load import path_of

# Runtimes since 2022 support this opset; the operators used here have not changed since opset 13.
_OPSET, _IR_VERSION = 17, 8


def export_onnx(model: Any, path: str | PathLike[str]) -> None:
    """Write the ONNX file of a model; see `ModelFiles.to_onnx`."""
    model = snapshot_of(model)
    file = path_of(path, (".onnx",))
    onnx = import_optional("onnx", "path: ONNX files need")
    write_atomically(file, _model(onnx, model).SerializeToString())


def _model(onnx: Any, model: Any) -> Any:
    make, types = onnx.helper, onnx.TensorProto
    coef, intercept = parameters_of(model)
    labels, label_type = _labels(np.asarray(model.classes_), types)
    weights_type = types.FLOAT if coef.dtype == np.float32 else types.DOUBLE
    constants = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(coef.T), "coef"),
        onnx.numpy_helper.from_array(intercept, "intercept"),
        make.make_tensor("classes", label_type, [len(labels)], labels),
    ]
    scaled, divisions = "logits", []
    if model.temperature_ != 1:
        divisor = np.asarray(model.temperature_, coef.dtype)
        if not 0 < divisor < np.inf:
            raise ValueError(f"temperature_: expected a {coef.dtype}, got {model.temperature_:g}")
        constants.append(onnx.numpy_helper.from_array(divisor, "temperature"))
        scaled = "scaled"
        divisions = [make.make_node("Div", ["logits", "temperature"], [scaled])]
    nodes = [
        make.make_node("Cast", ["X"], ["x"], to=weights_type),
        make.make_node("MatMul", ["x", "coef"], ["products"]),
        make.make_node("Add", ["products", "intercept"], ["logits"]),
        *divisions,
        make.make_node("Softmax", [scaled], ["softmax"], axis=-1),
        make.make_node("Cast", ["softmax"], ["probabilities"], to=types.FLOAT),
        make.make_node("ArgMax", ["logits"], ["index"], axis=-1, keepdims=0),
        make.make_node("Gather", ["classes", "index"], ["label"]),
    ]
    n_classes, n_features = coef.shape
    inputs = [make.make_tensor_value_info("X", types.FLOAT, ["N", n_features])]
    outputs = [
        make.make_tensor_value_info("label", label_type, ["N"]),
        make.make_tensor_value_info("probabilities", types.FLOAT, ["N", n_classes]),
    ]
    graph = make.make_graph(nodes, "softmax_regression", inputs, outputs, constants)
    made = make.make_model(
        graph,
        opset_imports=[make.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="fastsoftmax",
        producer_version=__version__,
    )
    onnx.checker.check_model(made)
    return made


def _labels(classes: NDArray[Any], types: Any) -> tuple[list[Any], Any]:
    """Return the labels as ONNX stores them, and their ONNX type."""
    if classes.dtype.kind == "M":
        raise ValueError(
            f"classes_: expected integers or strings, the types of ONNX, got {classes.dtype}"
        )
    values = classes.tolist()
    try:
        if all(isinstance(value, str | bytes) for value in values):
            strings = [
                value.decode() if isinstance(value, bytes) else str(value) for value in values
            ]
            return [value.encode() for value in strings], types.STRING
        integers = [int(value) for value in values]
    except UnicodeError as error:
        raise ValueError(f"classes_: expected Unicode strings: {error}") from None
    if not all(-(1 << 63) <= value < 1 << 63 for value in integers):
        raise ValueError(f"classes_: expected labels within int64, got {values}")
    return integers, types.INT64
