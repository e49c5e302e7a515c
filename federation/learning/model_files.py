"""A model as a file that other tools open: safetensors with a `config.json`, and ONNX for the linear one.

Both formats hold numbers only; nothing in them is run when they are read. Their packages are imported where
they are used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .archive import writing_whole
from .errors import ArchiveError, MissingExtra, ParamsError
from .params import Params, check_params, model_sha256

CONFIG_NAME = "config.json"
FINGERPRINT = "model_sha256"

# What ONNX runtimes of the last years understand; nothing newer is needed for a linear model.
ONNX_IR_VERSION = 8
ONNX_OPSET = 17


def save_safetensors(path: Path, params: Params, config: Mapping[str, Any]) -> None:
    """Write weights as safetensors, and what is to be known of them into `config.json` beside them.

    Args:
        path: Of the weights, like `model.safetensors`.
        params: The weights. Their fingerprint becomes part of both files.
        config: Anything that JSON can hold.

    Raises:
        ParamsError: They are not finite float32 numbers.
        MissingExtra: safetensors is not installed.
        OSError: A file could not be written; older ones of those names are untouched, or whole.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingExtra("safetensors", extra="export") from error
    check_params(params)
    told = {
        **config,
        "weights": {name: list(params[name].shape) for name in sorted(params)},
        FINGERPRINT: model_sha256(params),
    }
    in_order = {name: np.ascontiguousarray(params[name]) for name in sorted(params)}
    # One entry: safetensors writes several in another order each time, and so another file.
    content: bytes = save(in_order, metadata={FINGERPRINT: told[FINGERPRINT]})
    with writing_whole(path) as file:
        file.write(content)
    with writing_whole(path.with_name(CONFIG_NAME)) as file:
        file.write(json.dumps(told, indent=2, allow_nan=False).encode() + b"\n")


def load_safetensors(path: Path, like: Params | None = None) -> dict[str, NDArray[np.float32]]:
    """Read weights from a safetensors file, checked as by `check_params`.

    Raises:
        ArchiveError: The file is missing, damaged, or of another kind.
        ParamsError: What it holds are no weights, or not those of this model. The text names the file.
        MissingExtra: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtra("safetensors", extra="export") from error
    try:
        params: dict[str, NDArray[np.float32]] = load_file(path)
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: there is no such file") from error
    except (OSError, SafetensorError) as error:
        raise ArchiveError(f"{path}: it cannot be read as safetensors: {error}") from error
    try:
        check_params(params, like)
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from error
    return params


def save_onnx(path: Path, params: Params, class_names: Sequence[str] = ()) -> None:
    """Write the linear model as ONNX: softmax(X @ W + b).

    The graph takes `X` float32 (samples, features), any number of samples, and gives `label` int64
    (samples,) and `probabilities` float32 (samples, classes).

    Args:
        path: Where to.
        params: The `W` and `b` of a `SimpleClassifier`.
        class_names: Kept in the file as `class_names`, a JSON list, where there are any.

    Raises:
        ParamsError: These are the weights of another model, or not finite.
        MissingExtra: onnx is not installed.
        OSError: The file could not be written; an older one of that name is untouched.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise MissingExtra("onnx", extra="export") from error
    check_params(params)
    _check_linear(params)
    features, classes = params["W"].shape
    nodes = [
        helper.make_node("Gemm", ["X", "W", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["samples", features])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["samples"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["samples", classes]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(params[name]), name) for name in ("W", "b")],
    )
    model = helper.make_model(
        graph, ir_version=ONNX_IR_VERSION, opset_imports=[helper.make_opsetid("", ONNX_OPSET)]
    )
    told = {FINGERPRINT: model_sha256(params)}
    if class_names:
        told["class_names"] = json.dumps(list(class_names))
    helper.set_model_props(model, told)
    checker.check_model(model)
    with writing_whole(path) as file:
        file.write(model.SerializeToString())


def _check_linear(params: Params) -> None:
    shapes = {name: array.shape for name, array in params.items()}
    if shapes.keys() != {"W", "b"} or len(shapes["W"]) != 2 or shapes["b"] != shapes["W"][1:]:
        raise ParamsError(
            f"weights named {', '.join(sorted(shapes))} are not the W and b of a linear model; only that one "
            "is written as ONNX here. Export a network of torch with torch.onnx.export"
        )
