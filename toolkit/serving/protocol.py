"""The Open Inference Protocol: typed tensors in, logits and probabilities out.

Shapes are explicit and mean what they say: nothing is reshaped, cast or cut to fit. Source: the Open
Inference Protocol, version 2, HTTP/REST (github.com/kserve/open-inference-protocol). Tensors travel
as JSON; the binary extension is not spoken.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolkit import __version__
from toolkit.errors import InputError
from toolkit.runners.cancel import Cancel
from toolkit.serving.problems import fault
from toolkit.serving.served import Served
from toolkit.spec import Array, Input

DATATYPES = {"int64": "INT64", "float32": "FP32", "uint8": "UINT8"}
_NUMBERS: dict[str, set[type]] = {"INT64": {int}, "FP32": {int, float}, "UINT8": {int}}
OUTPUTS = ("logits", "probabilities")


def server_metadata() -> dict[str, Any]:
    """The answer to GET /v2."""
    return {"name": "serving-toolkit", "version": __version__, "extensions": []}


def model_metadata(served: Served) -> dict[str, Any]:
    """The answer to GET /v2/models/NAME; -1 stands for a size that varies."""
    shape = [-1, len(served.spec.labels)]
    return {
        "name": served.artifact.name,
        "versions": [served.version],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {
                "name": declared.name,
                "datatype": DATATYPES[declared.dtype],
                "shape": [-1 if isinstance(axis, str) else axis for axis in declared.shape],
            }
            for declared in served.spec.inputs
        ],
        "outputs": [{"name": name, "datatype": "FP32", "shape": shape} for name in OUTPUTS],
    }


def rows_of(request: dict[str, Any]) -> int:
    """How many rows a request says it has, before anything of it is believed; at least 1."""
    tensors = request.get("inputs")
    first = tensors[0] if isinstance(tensors, list) and tensors else None
    shape = first.get("shape") if isinstance(first, dict) else None
    rows = shape[0] if isinstance(shape, list) and shape else 1
    return rows if type(rows) is int and rows > 0 else 1


def infer(served: Served, request: dict[str, Any], cancel: Cancel | None = None) -> dict[str, Any]:
    """The answer to POST .../infer; raises `Problem` 422 with the pointer of what does not fit."""
    wanted = _outputs(request.get("outputs"))
    arrays = _inputs(served, request.get("inputs"))
    try:
        rows = served.spec.check(arrays)
        served.check_rows(rows, "/inputs")
        logits = served.run(arrays, cancel)
    except InputError as error:
        raise fault("/inputs", "wrong_shape", str(error)) from None
    except Exception as error:
        # an index beyond the vocabulary is found by the runtime only; its words would quote the index
        if type(error).__name__ != "InvalidArgument":
            raise
        raise fault("/inputs", "out_of_range", "the model cannot take these values") from None
    found = {"logits": logits, "probabilities": served.probabilities(logits)}
    answer: dict[str, Any] = {"model_name": served.artifact.name, "model_version": served.version}
    if isinstance(request.get("id"), str):
        answer["id"] = request["id"]
    answer["outputs"] = [
        {"name": name, "datatype": "FP32", "shape": list(found[name].shape), "data": _flat(found[name])}
        for name in wanted
    ]
    return answer


def _flat(array: Array) -> list[float]:
    values: list[float] = array.astype(np.float32).ravel().tolist()
    return values


def _outputs(value: Any) -> tuple[str, ...]:
    if value is None:
        return OUTPUTS
    if not isinstance(value, list) or not value:
        raise fault("/outputs", "not_a_list", "a list of outputs is expected")
    names: list[str] = []
    for position, entry in enumerate(value):
        name = entry.get("name") if isinstance(entry, dict) else None
        if name not in OUTPUTS or name in names:
            given = ", ".join(OUTPUTS)
            raise fault(f"/outputs/{position}/name", "unknown_output", f"this model gives {given}, each once")
        names.append(name)
    return tuple(names)


def _inputs(served: Served, value: Any) -> dict[str, Array]:
    if not isinstance(value, list):
        raise fault("/inputs", "not_a_list", "a list of tensors is expected")
    declared = {entry.name: entry for entry in served.spec.inputs}
    arrays: dict[str, Array] = {}
    for position, tensor in enumerate(value):
        pointer = f"/inputs/{position}"
        if not isinstance(tensor, dict):
            raise fault(pointer, "not_an_object", "a tensor with name, shape, datatype and data is expected")
        name = tensor.get("name")
        if not isinstance(name, str) or name not in declared or name in arrays:
            raise fault(f"{pointer}/name", "unknown_input", f"this model takes {', '.join(declared)}, each once")
        arrays[name] = _tensor(declared[name], tensor, pointer)
    if missing := [name for name in declared if name not in arrays]:
        raise fault("/inputs", "missing_input", f"these inputs are missing: {', '.join(missing)}")
    return arrays


def _tensor(declared: Input, tensor: dict[str, Any], pointer: str) -> Array:
    datatype = DATATYPES[declared.dtype]
    if tensor.get("datatype") != datatype:
        raise fault(f"{pointer}/datatype", "wrong_datatype", f"{declared.name} takes {datatype}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 1 << 31 for size in shape):
        raise fault(f"{pointer}/shape", "wrong_shape", "a list of positive sizes is expected")
    fixed = [axis if isinstance(axis, int) else None for axis in declared.shape]
    if len(shape) != len(fixed) or any(want not in (None, size) for want, size in zip(fixed, shape, strict=False)):
        allowed = [axis if isinstance(axis, int) else -1 for axis in declared.shape]
        raise fault(f"{pointer}/shape", "wrong_shape", f"{declared.name} takes the shape {allowed}")
    flat = _flatten(tensor.get("data"), shape)
    if flat is None:
        raise fault(f"{pointer}/data", "wrong_size", "the data do not fill the shape, flat or nested as it says")
    if not set(map(type, flat)) <= _NUMBERS[datatype]:
        raise fault(f"{pointer}/data", "wrong_type", f"{datatype} numbers are expected")
    if declared.dtype != "float32":
        bounds = np.iinfo(declared.dtype)
        if min(flat) < bounds.min or max(flat) > bounds.max:
            raise fault(f"{pointer}/data", "out_of_range", f"a number does not fit {datatype}")
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is refused as such
        array = np.array(flat, dtype=declared.dtype).reshape(shape)
    if not np.isfinite(array).all():
        raise fault(f"{pointer}/data", "non_finite", "finite numbers are expected")
    return array


def _flatten(data: Any, shape: list[int]) -> list[Any] | None:
    """The values in row order, None unless they are flat or nested exactly as `shape` says."""
    if not isinstance(data, list):
        return None
    if len(data) == math.prod(shape) and not isinstance(data[0], list):
        return data
    level: list[Any] = [data]
    for size in shape:
        if any(not isinstance(row, list) or len(row) != size for row in level):
            return None
        level = [value for row in level for value in row]
    return level
