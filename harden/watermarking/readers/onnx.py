"""The initialisers of an ONNX file as tensors; needs the extra `pip install harden[onnx]`.

Weights that a DequantizeLinear node makes floats of are found under the name of what it puts out.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harden.errors import MissingExtra, WeightsError


def initialisers(path: Path) -> dict[str, Tensor]:
    """The floating initialisers by name, float32 or float64; no node is run. Raises WeightsError for damage."""
    onnx = _library(path)
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file") from error
    except Exception as error:  # protobuf's errors share no base that could be named here
        raise WeightsError(f"{path}: is no ONNX file", "or it was damaged: get a fresh copy") from error
    if outside := [one.name for one in graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL]:
        raise WeightsError(f"{path}: {outside[0]!r} lies in another file", "save the network with its data in one file")
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    return {**_plain(stored), **_dequantised(graph, stored)}


def _library(path: Path) -> Any:
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtra(f"{path}: reading ONNX needs the package onnx", "run: pip install 'harden[onnx]'")
    importlib.import_module("onnx.numpy_helper")
    return importlib.import_module("onnx")


def _plain(stored: dict[str, Any]) -> dict[str, Tensor]:
    floats = {name: array for name, array in stored.items() if array.dtype.kind == "f"}
    return {name: _floats(torch.from_numpy(array.copy())) for name, array in floats.items()}


def _floats(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _dequantised(graph: Any, stored: dict[str, Any]) -> dict[str, Tensor]:
    out = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and all(name in stored for name in node.input):
            codes, scale, *zero = (torch.from_numpy(stored[name].copy()).float() for name in node.input)
            axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
            shape = [-1 if dim == axis % max(codes.dim(), 1) else 1 for dim in range(codes.dim())]
            offset = zero[0].reshape(shape) if zero and zero[0].dim() else (zero[0] if zero else 0)
            out[node.output[0]] = (codes - offset) * (scale.reshape(shape) if scale.dim() else scale)
    return out
