"""Reasons found in real graphs that were built to have them, and not found where there are none."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import digits_models as models
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, load_model_from_string, numpy_helper

from toolkit.artifact import Artifact, load_artifact, write_artifact
from toolkit.core import Core
from toolkit.errors import ArtifactError, DataError, InputError
from toolkit.golden import Golden
from toolkit.lineage import Step
from toolkit.measure.graphs import count_touched, find_islands, find_weights, parse_model
from toolkit.measure.profile import profile_model
from toolkit.measure.reasons import Reason, explain_cost
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array, Spec

EXAMPLES = models.held_out(20).examples


def layers(*widths: int, seed: int = 0, zeros: float = 0.0) -> dict[str, Array]:
    """Weights of a chain of layers 64 -> widths -> 10; a share of each is exactly zero."""
    rng = np.random.default_rng(seed)
    sizes = (64, *widths, 10)
    found = {}
    for number, shape in enumerate(pairwise(sizes)):
        weight = rng.normal(size=shape).astype(np.float32)
        found[f"weight{number}"] = np.where(rng.random(shape) < zeros, np.float32(0), weight)
    return found


def chain(weights: dict[str, Array]) -> ModelProto:
    """Flatten, then MatMul and Relu for each weight, without a Relu at the end."""
    nodes = [helper.make_node("Flatten", ["pixels"], ["x0"], name="flatten")]
    for number in range(len(weights)):
        last = number == len(weights) - 1
        product = "logits" if last else f"product{number}"
        nodes.append(helper.make_node("MatMul", [f"x{number}", f"weight{number}"], [product], name=f"layer{number}"))
        if not last:
            nodes.append(helper.make_node("Relu", [product], [f"x{number + 1}"], name=f"relu{number}"))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def artifact_of(folder: Path, model: bytes, *, golden: bool = True) -> Artifact:
    core = Core("chain", "onnx", Spec("image", models.ENCODER.inputs, models.LABELS), steps=(Step("export", {}),))
    arrays = models.ENCODER.encode(EXAMPLES[:4])
    with OnnxRunner(model) as runner:
        rows = Golden(arrays, runner.run(arrays))
    return write_artifact(folder, core, models.ENCODER, models={"model.onnx": model}, golden=rows if golden else None)


def quantized(folder: Path, model: ModelProto) -> bytes:
    """Static INT8 in Q/DQ form by ONNX Runtime's own quantizer."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter(EXAMPLES[:4])

        def get_next(self) -> dict[str, Array] | None:
            row = next(self._rows, None)
            return None if row is None else dict(models.ENCODER.encode([row]))

    folder.mkdir(parents=True, exist_ok=True)
    source, target = folder / "float.onnx", folder / "int8.onnx"
    source.write_bytes(model.SerializeToString())
    quantize_static(
        source, target, Rows(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"],
    )  # fmt: skip
    return target.read_bytes()


def by_kind(reasons: tuple[Reason, ...]) -> dict[str, Reason]:
    return {reason.kind: reason for reason in reasons}


def test_shares_of_the_profile_are_a_whole_and_the_largest_weight_leads() -> None:
    model = chain(layers(1024, 16)).SerializeToString()
    rows = [models.ENCODER.encode([example]) for example in EXAMPLES[:3]]
    profile = profile_model(model, rows)
    assert sum(node.share for node in profile.nodes) == pytest.approx(1.0)
    assert sum(profile.by_op().values()) == pytest.approx(1.0)
    assert {"MatMul", "Relu"} <= set(profile.by_op()) | {"Gemm", "FusedMatMul"}
    assert profile.nodes[0].name == "layer0", "64x1024 against 1024x16 and 16x10"
    assert profile.model_ms > 0
    assert len(load_model_from_string(profile.optimized).graph.node) >= 5
    with pytest.raises(DataError, match="no row"):
        profile_model(model, [])
    with pytest.raises(ArtifactError, match="cannot load"):
        profile_model(b"not a model", rows)


def test_a_float_model_says_that_nothing_is_quantized(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path / "float", chain(layers(256, 16)).SerializeToString())
    found = by_kind(explain_cost(artifact, examples=EXAMPLES))
    assert found["time"].words.startswith("time goes to: ")
    assert found["time"].figures["MatMul.share"] > 0.3
    assert found["float"].words.startswith("nothing is quantized: 3 MatMul")
    assert found["float"].figures["share"] == pytest.approx(found["time"].figures["MatMul.share"], abs=1e-9)
    assert 0 < found["encoder"].figures["share"] < 1
    assert {"islands", "widths", "mask", "before"} & set(found) == set()
    assert all(json.loads(json.dumps(reason.to_json())) == reason.to_json() for reason in found.values())


def test_golden_rows_serve_where_there_are_no_examples(tmp_path: Path) -> None:
    model = chain(layers(32)).SerializeToString()
    found = by_kind(explain_cost(artifact_of(tmp_path / "golden", model)))
    assert "time" in found
    assert "encoder" not in found
    with pytest.raises(DataError, match="no golden rows"):
        explain_cost(artifact_of(tmp_path / "without", model, golden=False))


def test_int8_with_float_between_is_counted_as_islands(tmp_path: Path) -> None:
    model = chain(layers(128, 128, 32))
    artifact = artifact_of(tmp_path / "int8", quantized(tmp_path / "work", model))
    found = by_kind(explain_cost(artifact))
    assert found["islands"].figures["conversions"] > 0
    assert 0 < found["islands"].figures["share"] < 1
    stored = parse_model(artifact.read("model.onnx"))
    islands = find_islands(stored)
    # as stored, each Relu stands between a dequantization and the next quantization
    assert len(islands) >= 3
    assert sum("Relu" in island.inside for island in islands) >= 3


def test_a_kernel_between_is_no_island() -> None:
    """DequantizeLinear, a float product, QuantizeLinear: work in float, not a detour."""
    for op, expected in (("Relu", 1), ("MatMul", 0)):
        inputs = ["float", "weight"] if op == "MatMul" else ["float"]
        graph = helper.make_graph(
            [
                helper.make_node("DequantizeLinear", ["in", "scale", "zero"], ["float"], name="leave"),
                helper.make_node(op, inputs, ["done"], name="inside"),
                helper.make_node("QuantizeLinear", ["done", "scale", "zero"], ["out"], name="back"),
            ],
            "detour",
            [helper.make_tensor_value_info("in", TensorProto.UINT8, [1, 8])],
            [helper.make_tensor_value_info("out", TensorProto.UINT8, [1, 8])],
            [
                numpy_helper.from_array(np.ones((8, 8), np.float32), "weight"),
                numpy_helper.from_array(np.float32(0.1), "scale"),
                numpy_helper.from_array(np.uint8(3), "zero"),
            ],
        )
        assert len(find_islands(graph)) == expected


def test_an_operator_left_in_float_is_named_with_its_share(tmp_path: Path) -> None:
    """Of three products the largest is kept out of the quantizer."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = tmp_path / "float.onnx", tmp_path / "partly.onnx"
    source.write_bytes(chain(layers(1024, 256)).SerializeToString())
    quantize_dynamic(source, target, weight_type=QuantType.QInt8, nodes_to_exclude=["layer1"])
    reason = by_kind(explain_cost(artifact_of(tmp_path / "partly", target.read_bytes())))["float"]
    assert reason.words.startswith("left in float: 1 MatMul")
    assert reason.figures["share"] > 0.2


def test_widths_off_the_multiple_are_counted_but_not_the_answers(tmp_path: Path) -> None:
    odd = by_kind(explain_cost(artifact_of(tmp_path / "odd", chain(layers(100, 64)).SerializeToString())))
    assert odd["widths"].figures == {"weights": 3, "odd": 2}
    assert "layer0 64x100" in odd["widths"].words
    even = by_kind(explain_cost(artifact_of(tmp_path / "even", chain(layers(104, 64)).SerializeToString())))
    assert "widths" not in even


def test_a_mask_is_found_in_float_and_in_int8(tmp_path: Path) -> None:
    masked = chain(layers(64, 64, zeros=0.5))
    found = by_kind(explain_cost(artifact_of(tmp_path / "masked", masked.SerializeToString()), profile=False))
    assert found["mask"].figures["share"] == pytest.approx(0.5, abs=0.05)
    assert "a mask alone buys nothing" in found["mask"].words
    int8 = artifact_of(tmp_path / "masked-int8", quantized(tmp_path / "work", masked))
    assert by_kind(explain_cost(int8, profile=False))["mask"].figures["share"] == pytest.approx(0.5, abs=0.1)
    dense = artifact_of(tmp_path / "dense", quantized(tmp_path / "work2", chain(layers(64, 64))))
    assert "mask" not in by_kind(explain_cost(dense, profile=False))


def test_without_a_profile_nothing_is_timed(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path / "read", chain(layers(100)).SerializeToString(), golden=False)
    found = by_kind(explain_cost(artifact, profile=False))
    assert set(found) == {"float", "widths"}
    assert "share" not in found["float"].figures


def test_touched_bytes_leave_out_tables_that_are_looked_up() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weight"], ["logits"], name="product"),
        ],
        "lookup",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(np.zeros((1000, 8), np.float32), "table"),
            numpy_helper.from_array(np.zeros((8, 4), np.float32), "weight"),
        ],
    )
    assert count_touched(graph) == 8 * 4 * 4
    assert [(weight.node, weight.shape) for weight in find_weights(graph)] == [("product", (8, 4))]


def test_weights_beyond_the_cache_are_said_with_their_least_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_of(tmp_path / "large", chain(layers(1024)).SerializeToString())
    held = (64 + 10) * 1024 * 4
    for cache, words in (({2: 1 << 12}, "the L2 cache holds"), ({2: 1 << 24}, "they fit the L2"), ({}, "unknown")):
        monkeypatch.setattr("toolkit.measure.reasons.read_caches", lambda cache=cache: cache)
        reason = by_kind(explain_cost(artifact))["memory"]
        assert words in reason.words
        assert reason.figures["touched_bytes"] == held
        assert reason.figures["least_ms"] == pytest.approx(1e3 * held / reason.figures["bytes_per_second"])


def test_before_and_after_say_what_shrank(tmp_path: Path) -> None:
    large = artifact_of(tmp_path / "large", chain(layers(2048, 512)).SerializeToString())
    small = artifact_of(tmp_path / "small", chain(layers(32, 16)).SerializeToString())
    figures = by_kind(explain_cost(small, before=large))["before"].figures
    assert figures["before_ms"] > figures["after_ms"]
    assert figures["before_kernels_ms"] > figures["after_kernels_ms"]
    assert figures["before_kernels_ms"] <= figures["before_ms"]


def test_what_is_no_single_onnx_model_is_refused(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path / "chain", chain(layers(16)).SerializeToString())
    trained = replace(artifact, core=replace(artifact.core, format="safetensors"))
    with pytest.raises(InputError, match="reasons are for one ONNX model"):
        explain_cost(trained)


def test_the_artifact_and_the_folder_are_left_as_they_were(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path / "chain", chain(layers(16)).SerializeToString())
    before = sorted(path.name for path in tmp_path.rglob("*"))
    explain_cost(artifact, examples=EXAMPLES)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert load_artifact(tmp_path / "chain").digest == artifact.digest
