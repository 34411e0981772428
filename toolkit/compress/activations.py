"""What flows through an ONNX graph: the values of inner tensors on real rows, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array


def watch_tensors(
    model: Any, names: Sequence[str], batches: Sequence[Mapping[str, Array]]
) -> Iterator[dict[str, Array]]:
    """The float32 tensors `names` of an ONNX `model` for each of `batches`; `model` stays as it is."""
    import onnx

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    with OnnxRunner(watched.SerializeToString()) as runner:
        inputs = [declared.name for declared in runner.session.get_inputs()]
        for batch in batches:
            values = runner.session.run(list(names), {name: batch[name] for name in inputs})
            yield dict(zip(names, values, strict=True))


def channel_maxima(model: Any, names: Sequence[str], batches: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """For each tensor of `names` the largest absolute value of every last-axis channel, float32 (channels,)."""
    found: dict[str, Array] = {}
    for values in watch_tensors(model, names, batches):
        for name, array in values.items():
            largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
            found[name] = np.maximum(found[name], largest) if name in found else largest
    return found
