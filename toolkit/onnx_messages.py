"""The messages of an ONNX file that `toolkit.graph_policy` lets in: which fields each may hold, and of which wire type.

A field that is not here is refused: sub-graphs, functions, training, sparse and external tensors, strings as weights,
types other than tensors. Limit: a field that a later ONNX adds is refused until it stands here.

Source: onnx.proto of ONNX 1.22.
"""

from __future__ import annotations

from toolkit.wire_format import BYTES, FIXED32, FIXED64, VARINT, Field, Table

_NUMBER, _NUMBERS, _MANY = (VARINT,), (VARINT, BYTES), (BYTES,)
_METADATA = Field("metadata_props", _MANY, many=True)
# absent from MODEL: training_info, functions, configuration; from GRAPH: sparse_initializer; from NODE: overload,
# device_configurations; from ATTRIBUTE: sub-graphs, sparse tensors, types, tensor lists, references; from TENSOR:
# segment, string_data, external_data; from TYPE: everything but tensors
MODEL: Table = {
    1: Field("ir_version", _NUMBER), 2: Field("producer_name"), 3: Field("producer_version"), 4: Field("domain"),
    5: Field("model_version", _NUMBER), 6: Field("doc_string"), 7: Field("graph"), 8: Field("opset_import", many=True),
    14: _METADATA,
}  # fmt: skip
GRAPH: Table = {
    1: Field("node", many=True), 2: Field("name"), 5: Field("initializer", many=True), 10: Field("doc_string"),
    11: Field("input", many=True), 12: Field("output", many=True), 13: Field("value_info", many=True),
    14: Field("quantization_annotation", many=True), 16: _METADATA,
}  # fmt: skip
NODE: Table = {
    1: Field("input", many=True), 2: Field("output", many=True), 3: Field("name"), 4: Field("op_type"),
    5: Field("attribute", many=True), 6: Field("doc_string"), 7: Field("domain"), 9: _METADATA,
}  # fmt: skip
ATTRIBUTE: Table = {
    1: Field("name"), 2: Field("f", (FIXED32,)), 3: Field("i", _NUMBER), 4: Field("s"), 5: Field("t"),
    7: Field("floats", (FIXED32, BYTES), many=True), 8: Field("ints", _NUMBERS, many=True),
    9: Field("strings", many=True), 13: Field("doc_string"), 20: Field("type", _NUMBER),
}  # fmt: skip
TENSOR: Table = {
    1: Field("dims", _NUMBERS, many=True), 2: Field("data_type", _NUMBER),
    4: Field("float_data", (FIXED32, BYTES), many=True), 5: Field("int32_data", _NUMBERS, many=True),
    7: Field("int64_data", _NUMBERS, many=True), 8: Field("name"), 9: Field("raw_data"),
    10: Field("double_data", (FIXED64, BYTES), many=True), 11: Field("uint64_data", _NUMBERS, many=True),
    12: Field("doc_string"), 14: Field("data_location", _NUMBER), 16: _METADATA,
}  # fmt: skip
ENTRY: Table = {1: Field("key"), 2: Field("value")}
OPSET: Table = {1: Field("domain"), 2: Field("version", _NUMBER)}
ANNOTATION: Table = {1: Field("tensor_name"), 2: Field("quant_parameter_tensor_names", many=True)}
VALUE: Table = {1: Field("name"), 2: Field("type"), 3: Field("doc_string"), 4: _METADATA}
TYPE: Table = {1: Field("tensor_type"), 6: Field("denotation")}
TENSOR_TYPE: Table = {1: Field("elem_type", _NUMBER), 2: Field("shape")}
SHAPE: Table = {1: Field("dim", many=True)}
DIMENSION: Table = {1: Field("dim_value", _NUMBER), 2: Field("dim_param"), 3: Field("denotation")}
