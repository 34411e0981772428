"""What an ONNX file may hold: everything this toolkit makes, and nothing that hides in bytes."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from compress.small_graphs import declare, norm_then_products, token_convolution, two_layers
from digits_models import make_int8_artifact, make_model
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from serving.small_models import image_artifact, recommender_artifact, text_artifact

from toolkit.errors import ArtifactError
from toolkit.graph_policy import BITS, MAX_ELEMENTS, OPERATORS, OWN_OPERATORS, check_graph


@cache
def model() -> bytes:
    """A few operators, weights as raw bytes and as numbers, a Constant, attributes of several kinds."""
    parsed = onnx.load_from_string(token_convolution())
    parsed.graph.initializer.append(helper.make_tensor("typed", TensorProto.INT64, [2], [3, -1]))
    parsed.graph.initializer.append(helper.make_tensor("floats", TensorProto.FLOAT, [2], [3.0, -1.0]))
    parsed.graph.node.append(helper.make_node("Constant", [], ["c0"], value=numpy_helper.from_array(np.ones(2))))
    for tensor in parsed.graph.initializer:  # small, so that a random byte often hits what is not a weight
        if tensor.raw_data:
            tensor.CopyFrom(numpy_helper.from_array(np.ones((1, 2), np.float32), tensor.name))
    content: bytes = parsed.SerializeToString()
    return content


def changed(edit: Any, base: bytes | None = None) -> bytes:
    parsed = onnx.load_from_string(base or two_layers())
    edit(parsed)
    content: bytes = parsed.SerializeToString()
    return content


def add(*nodes: Any, **constants: Any) -> bytes:
    def edit(parsed: Any) -> None:
        tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        parsed.graph.initializer.extend(tensors)
        parsed.graph.node.extend(nodes)

    return changed(edit)


def test_models_of_the_tests_are_taken(tmp_path: Path) -> None:
    made = [make(tmp_path / make.__name__) for make in (text_artifact, image_artifact, recommender_artifact)]
    for artifact in [*made, make_int8_artifact(tmp_path / "int8")]:
        check_graph(artifact.read("model.onnx"))
    for content in (norm_then_products(), two_layers(), token_convolution(), make_model(200, list(range(10))), model()):
        check_graph(content)


def test_what_the_quantizer_of_onnx_runtime_writes_is_taken(tmp_path: Path) -> None:
    (tmp_path / "fp32.onnx").write_bytes(norm_then_products())
    quantize_dynamic(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    check_graph((tmp_path / "int8.onnx").read_bytes())


def test_every_operator_listed_is_one_of_onnx() -> None:
    known = {schema.name.encode() for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert known >= OPERATORS
    assert not OPERATORS & {b"If", b"Loop", b"Scan", b"SequenceMap", b"RandomNormal", b"ImageDecoder"}
    assert OPERATORS.isdisjoint({name for name in known if name.startswith((b"Sequence", b"Optional", b"String"))})
    assert len(OWN_OPERATORS) < 20


def test_every_data_type_has_the_bits_that_onnx_gives_it() -> None:
    for kind, bits in BITS.items():
        tensor = helper.make_tensor("t", kind, [64], np.zeros(64, np.float32))
        raw = numpy_helper.to_array(tensor)
        packed = tensor.raw_data or numpy_helper.from_array(raw).raw_data
        assert len(packed) * 8 == 64 * bits, kind


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (add(helper.make_node("RandomNormal", [], ["r"], shape=[2])), "ai.onnx:RandomNormal is not allowed"),
        (add(helper.make_node("Relu", ["x"], ["r"], domain="mine")), "mine:Relu is not allowed"),
        (add(helper.make_node("Trilu", ["x"], ["r"], domain="com.microsoft")), "com.microsoft:Trilu is not allowed"),
        (add(helper.make_node("Relu", ["later"], ["r"])), "reads later, which nothing before it makes"),
        (add(helper.make_node("Relu", ["x"], ["x"])), "x is made twice"),
        (add(helper.make_node("ConstantOfShape", ["n"], ["r"]), n=np.array([2**26 + 1])), "asks for 67,108,865"),
        (add(helper.make_node("Expand", ["x", "n"], ["r"]), n=np.array([2**14, 2**14])), "asks for 268,435,456"),
        (add(helper.make_node("Tile", ["x", "n"], ["r"]), n=np.array([2**40, 1])), "Tile asks for"),
        (add(helper.make_node("Pad", ["x", "n"], ["r"]), n=np.array([0, 0, 2**30, 0])), "Pad asks for"),
        (
            add(helper.make_node("Range", ["a", "b", "c"], ["r"]), a=0.0, b=1.0, c=1e-9),
            "size of Range is reckoned",
        ),
        (
            add(
                helper.make_node("Range", ["a", "b", "c"], ["r"]), a=np.float32(0), b=np.float32(1), c=np.float32(1e-9)
            ),
            "counts in fractions",
        ),
        (
            add(helper.make_node("Resize", ["x", "", "n"], ["r"]), n=np.array([1e5, 1e5], np.float32)),
            "Resize asks for",
        ),
        (
            add(
                helper.make_node("Add", ["n", "n"], ["m"]),
                helper.make_node("Expand", ["x", "m"], ["r"]),
                n=np.array([9]),
            ),
            "reckoned from constants",
        ),
        (
            add(
                helper.make_node("Constant", [], ["n"], value_ints=[2**40]),
                helper.make_node("Expand", ["x", "n"], ["r"]),
            ),
            "reckoned from constants",
        ),
        (add(helper.make_node("MaxPool", ["x"], ["r"], kernel_shape=[2**31])), "an attribute of MaxPool is beyond"),
        (changed(lambda m: m.graph.initializer[0].dims.insert(0, 2)), "its shape is 16384 elements"),
        (changed(lambda m: m.graph.initializer[0].dims.insert(0, -1)), "which no tensor of a model has"),
        (changed(lambda m: m.graph.initializer[0].dims.extend([1] * 9)), "which no tensor of a model has"),
        (changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])), "is made twice"),
        (
            changed(lambda m: m.graph.initializer.append(TensorProto(name="t", data_type=1, dims=[1000, 1000]))),
            "fewer elements than its shape",
        ),
        (
            changed(lambda m: m.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"x"]))),
            "'field 6', which is not allowed",
        ),
        (changed(lambda m: setattr(m.graph.initializer[0], "data_location", 1)), "lies in another file"),
        (
            changed(lambda m: m.graph.initializer[0].external_data.add(key="location", value="x")),
            "tensor holds 'field 13'",
        ),
        (changed(lambda m: m.functions.add(name="f")), "model holds 'field 25'"),
        (changed(lambda m: m.training_info.add()), "model holds 'field 20'"),
        (changed(lambda m: m.graph.sparse_initializer.add()), "graph holds 'field 15'"),
        (changed(lambda m: m.graph.input[0].type.sequence_type.elem_type.tensor_type.SetInParent()), "'field 4'"),
        (changed(lambda m: m.graph.ClearField("node")), "has 0 nodes"),
        (changed(lambda m: m.ClearField("graph")), "there is no graph"),
        (two_layers() + two_layers(), "'ir_version' twice"),
        (two_layers()[:-1], "more bytes than there are"),
        (b"\x08", "middle of a number"),
        (b"\x08" + b"\xff" * 10, "longer than 64 bits"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x00\x00", "number that no field has"),
        (b"", "there is no graph"),
    ],
)
def test_what_is_not_listed_is_refused_by_its_name(content: bytes, words: str) -> None:
    with pytest.raises(ArtifactError, match=words.replace("(", r"\(")):
        check_graph(content)


def test_a_decoy_does_not_hide_the_value_of_a_constant() -> None:
    node = helper.make_node("Constant", [], ["n"], value_ints=[2**40])
    node.attribute.append(helper.make_attribute("decoy", numpy_helper.from_array(np.array([1]))))
    with pytest.raises(ArtifactError, match="reckoned from constants"):
        check_graph(add(node, helper.make_node("Expand", ["x", "n"], ["r"])))


def test_sub_graphs_are_refused_in_any_operator() -> None:
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "b", [], [declare("y", [1])])
    node = helper.make_node("Relu", ["x"], ["r"])
    node.attribute.append(helper.make_attribute("hidden", body))
    with pytest.raises(ArtifactError, match="attribute holds 'field 6'"):
        check_graph(add(node))


def test_too_many_fields_are_refused_in_moments() -> None:
    with pytest.raises(ArtifactError, match="more fields"):
        check_graph(b"\x72\x00" * (1 << 21))


def test_sizes_that_inputs_decide_and_constants_within_bounds_are_taken() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Mul", ["s", "two"], ["m"]),
        helper.make_node("ConstantOfShape", ["m"], ["r"]),
        helper.make_node("ConstantOfShape", ["most"], ["q"]),
    ]
    check_graph(add(*nodes, two=np.array([2]), most=np.array([MAX_ELEMENTS])))


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_any_change_of_any_bytes_is_refused_or_holds_what_is_allowed_for_onnx_too(data: st.DataObject) -> None:
    """Whatever passes is parsed by onnx as well, and holds nothing there that the walk did not see."""
    content = bytearray(model())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(("flip", "set", "cut", "repeat", "insert")))
        if kind == "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            content[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[place : place + data.draw(st.integers(1, 40))]
        elif kind == "repeat":
            content[place:place] = content[place : place + data.draw(st.integers(1, 200))]
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        if not content:
            break
    check_like_onnx(bytes(content))


def test_every_single_bit_of_a_small_model_is_refused_or_holds_what_is_allowed_for_onnx_too() -> None:
    whole = model()
    taken = 0
    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        taken += check_like_onnx(bytes(content))
    assert 0.1 < taken / (8 * len(whole)) < 0.95, "weights and names are free; lengths, fields and operators are not"


@given(content=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_at_all_are_refused_or_are_a_model(content: bytes) -> None:
    check_like_onnx(content)


def check_like_onnx(content: bytes) -> bool:
    """Whether the policy takes it; what it takes holds nothing for onnx that the policy does not allow."""
    try:
        check_graph(content)
    except ArtifactError:
        return False
    try:
        parsed = onnx.load_model_from_string(content)
    except DecodeError:
        return True  # names that are no UTF-8: the parser of the session says so too
    allowed = {"": OPERATORS, "ai.onnx": OPERATORS, "com.microsoft": OWN_OPERATORS}
    assert all(node.op_type.encode() in allowed[node.domain] for node in parsed.graph.node)
    assert not parsed.functions
    assert not parsed.training_info
    assert not parsed.graph.sparse_initializer
    tensors = [*parsed.graph.initializer, *(a.t for n in parsed.graph.node for a in n.attribute if a.HasField("t"))]
    for tensor in tensors:
        assert not tensor.external_data
        assert tensor.data_location == TensorProto.DEFAULT
        assert int(np.prod(tensor.dims, dtype=object)) <= 8 * len(content)
    for node in parsed.graph.node:
        assert not any(a.HasField("g") or a.graphs or a.HasField("sparse_tensor") for a in node.attribute)
    assert unknown_fields(parsed) == 0
    return True


def unknown_fields(parsed: Any) -> int:
    """Bytes that the parser kept and does not know, anywhere in the message."""
    again = type(parsed)()
    again.CopyFrom(parsed)
    again.DiscardUnknownFields()
    return len(parsed.SerializeToString()) - len(again.SerializeToString())


def test_the_walk_counts_what_onnx_counts() -> None:
    """The harness of the property: a model that onnx reads otherwise than the walk would be seen."""
    hidden = changed(lambda m: m.graph.node.append(helper.make_node("Loop", ["x"], ["r"])))
    assert ("", "Loop") in [(node.domain, node.op_type) for node in onnx.load_from_string(hidden).graph.node]
    stranger = two_layers() + b"\xf2\x3f\x01\x00"
    assert unknown_fields(onnx.load(io.BytesIO(stranger))) == 4
    with pytest.raises(ArtifactError, match="field 1022"):
        check_graph(stranger)
