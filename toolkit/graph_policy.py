"""What an ONNX file may hold, checked on its bytes before an ONNX Runtime session exists.

ONNX Runtime runs whatever a file says: an endless Loop, a 185-byte file that asks for 160 GB, weights fetched from
another file. A classifier needs none of that, so what is allowed is listed: operators that compute arrays from arrays,
those of the runtime's own that `toolkit.compress` and ONNX Runtime's optimizer write, one graph without sub-graphs or
functions, its weights in the file and as large as their shape says, sizes that a constant dictates within bounds.
Cost: 10 to 30 ms for MiniLM (23 MB in INT8, 90 MB in fp32), by the number of nodes; weights are not even read.
Limits: sizes are bounded where one constant dictates them, and refused where several constants are reckoned into one.
What a graph multiplies up from the shapes of its inputs shows when it runs: a container's memory limit is the wall.

Source: onnx.proto of ONNX 1.22, and "Security considerations" of ONNX Runtime's documentation.
"""

from __future__ import annotations

import math
import struct

from toolkit.errors import ArtifactError
from toolkit.onnx_messages import (
    ANNOTATION,
    ATTRIBUTE,
    DIMENSION,
    ENTRY,
    GRAPH,
    MODEL,
    NODE,
    OPSET,
    SHAPE,
    TENSOR,
    TENSOR_TYPE,
    TYPE,
    VALUE,
)
from toolkit.wire_format import Budget, Message, Table, WireError, read_message

MAX_MODEL_BYTES = (1 << 31) - 1  # what a Protocol Buffers message can hold
MAX_NODES = 20_000
MAX_AXES = 8
MAX_ELEMENTS = 1 << 26  # that a constant may ask for by itself: 256 MB of float32
MAX_ATTRIBUTE = 1 << 24
OWN_DOMAIN = b"com.microsoft"

# operators of ai.onnx: arrays from arrays. Not among them: If, Loop, Scan, SequenceMap (sub-graphs), sequences,
# optionals, strings, random numbers (an answer must repeat), decoders of pictures, gradients
OPERATORS = frozenset(
    b"Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitShift "
    b"Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh "
    b"CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike "
    b"Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater "
    b"GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN "
    b"LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger "
    b"Max MaxPool Mean Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul "
    b"QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax "
    b"ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round RotaryEmbedding "
    b"ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign "
    b"SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze "
    b"Where Xor".split()
)
OWN_OPERATORS = frozenset(
    b"Attention BiasGelu DynamicQuantizeLSTM DynamicQuantizeMatMul FastGelu FusedMatMul GatherBlockQuantized Gelu "
    b"MatMulIntegerToFloat MatMulNBits MultiHeadAttention QAttention SkipLayerNormalization".split()
)
# operators whose output is as large as a value says -> the inputs that say it
GROWING = {
    b"ConstantOfShape": (0,), b"Expand": (1,), b"Tile": (1,), b"Range": (0, 1, 2), b"Pad": (1,), b"Resize": (2, 3),
    b"OneHot": (1,),
}  # fmt: skip
REACHING = (b"Slice",)  # their attributes say "to the end" by the largest integer there is

# TensorProto.DataType -> bits of an element; no strings, no complex numbers
BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 17: 8, 18: 8,
        19: 8, 20: 8, 21: 4, 22: 4}  # fmt: skip
FLOAT, INT64 = 1, 7
ATTRIBUTE_TYPES = (1, 2, 3, 4, 6, 7, 8)  # float, int, string, tensor, and lists of the first three
TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
Numbers = tuple[float, ...] | None


def check_graph(content: bytes) -> None:
    """Raise `ArtifactError` unless `content` is an ONNX model that holds nothing but what is listed in this module."""
    if len(content) > MAX_MODEL_BYTES:
        raise ArtifactError(f"the ONNX model has {len(content):,} bytes; at most {MAX_MODEL_BYTES:,} are taken")
    try:
        _Check(Budget()).model(memoryview(content))
    except WireError as error:
        raise ArtifactError(f"the ONNX model is refused: {error}; see toolkit/graph_policy.py") from None


class _Check:
    """One walk over one file: the values known so far, with their numbers where they could be sizes, and which of them
    no input of the graph has a part in."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._known: dict[bytes, Numbers] = {}
        self._constant: set[bytes] = set()

    def _read(self, content: memoryview, table: Table, what: str) -> Message:
        message = read_message(content, table, self._budget, what)
        for view in message.views("metadata_props"):
            read_message(view, ENTRY, self._budget, "metadata")
        return message

    def model(self, content: memoryview) -> None:
        model = self._read(content, MODEL, "model")
        for view in model.views("opset_import"):
            self._read(view, OPSET, "operator set")
        graphs = model.views("graph")
        if not graphs:
            raise WireError("there is no graph in it")
        self._graph(self._read(graphs[0], GRAPH, "graph"))

    def _graph(self, graph: Message) -> None:
        for kind in ("input", "output", "value_info"):
            for view in graph.views(kind):
                name = self._value(view)
                if kind == "input":
                    self._known[name] = None
        for view in graph.views("quantization_annotation"):
            for entry in self._read(view, ANNOTATION, "annotation").views("quant_parameter_tensor_names"):
                self._read(entry, ENTRY, "annotation")
        for view in graph.views("initializer"):
            name, numbers = self._tensor(view)
            if name in self._constant:
                raise WireError(f"{_word(name)} is made twice")
            self._known[name] = numbers
            self._constant.add(name)
        nodes = graph.views("node")
        if not 0 < len(nodes) <= MAX_NODES:
            raise WireError(f"it has {len(nodes)} nodes; 1 to {MAX_NODES} are allowed")
        for view in nodes:
            self._node(self._read(view, NODE, "node"))

    def _node(self, node: Message) -> None:
        kind, domain = node.text("op_type"), node.text("domain")
        allowed = {b"": OPERATORS, b"ai.onnx": OPERATORS, OWN_DOMAIN: OWN_OPERATORS}.get(domain, frozenset())
        if kind not in allowed:
            raise WireError(f"the operator {_word(domain)}:{_word(kind)} is not allowed")
        inputs = [bytes(view) for view in node.views("input")]
        outputs = [bytes(view) for view in node.views("output")]
        for name in inputs:
            if name and name not in self._known:
                raise WireError(f"{_word(kind)} reads {_word(name)}, which nothing before it makes")
        value = self._attributes(node, kind)
        self._check_growth(kind, inputs)
        # a constant subexpression is folded when a session opens, so it is as dangerous then as a run is later
        constant = all(name in self._constant for name in inputs if name)
        for name in filter(None, outputs):
            if name in self._known:
                raise WireError(f"{_word(name)} is made twice")
            self._known[name] = value
            if constant:
                self._constant.add(name)

    def _check_growth(self, kind: bytes, inputs: list[bytes]) -> None:
        for place in GROWING.get(kind, ()):
            name = inputs[place] if place < len(inputs) else b""
            if name not in self._constant:
                continue
            numbers = self._known[name]
            if numbers is None:
                raise WireError(f"the size of {_word(kind)} is reckoned from constants; write it as one")
            if kind == b"Range" and any(isinstance(number, float) for number in numbers):
                raise WireError("Range counts in fractions; their number is not known")
            elements = 1
            for number in numbers:
                elements *= math.ceil(max(abs(number), 1))
            if elements > MAX_ELEMENTS:
                raise WireError(f"{_word(kind)} asks for {elements:,} elements; at most {MAX_ELEMENTS:,} are allowed")

    def _attributes(self, node: Message, kind: bytes) -> Numbers:
        """Check every attribute; the numbers of a Constant that has a tensor and nothing else, None for the rest."""
        value: Numbers = None
        views = node.views("attribute")
        for view in views:
            attribute = self._read(view, ATTRIBUTE, "attribute")
            if any(number not in ATTRIBUTE_TYPES for number in attribute.integers("type", self._budget)):
                raise WireError(f"an attribute of {_word(kind)} has a type which is not allowed")
            numbers = attribute.integers("i", self._budget) + attribute.integers("ints", self._budget)
            if kind not in REACHING and kind != b"Constant" and any(abs(number) > MAX_ATTRIBUTE for number in numbers):
                raise WireError(f"an attribute of {_word(kind)} is beyond {MAX_ATTRIBUTE:,}")
            for tensor in attribute.views("t"):
                found = self._tensor(tensor)[1]
                if kind == b"Constant" and attribute.text("name") == b"value" and len(views) == 1:
                    value = found
        return value

    def _tensor(self, content: memoryview) -> tuple[bytes, Numbers]:
        """Name of a tensor, and its numbers where it is a few of int64 or float32; it holds what its shape says."""
        tensor = self._read(content, TENSOR, "tensor")
        name = tensor.text("name")
        (kind,) = tensor.integers("data_type", self._budget) or (0,)
        if kind not in BITS:
            raise WireError(f"the tensor {_word(name)} has the data type {kind}, which is not allowed")
        if any(tensor.integers("data_location", self._budget)):
            raise WireError(f"the tensor {_word(name)} lies in another file")
        elements = self._elements(tensor.integers("dims", self._budget), name)
        raw = tensor.views("raw_data")
        if raw:
            if len(raw[0]) != (elements * BITS[kind] + 7) // 8:
                raise WireError(f"the tensor {_word(name)} has {len(raw[0])} bytes; its shape is {elements} elements")
        elif elements > 8 * sum(len(view) for field in TYPED for view in tensor.views(field)) + sum(
            isinstance(value, int) for field in TYPED for value in tensor.fields.get(field, ())
        ):
            raise WireError(f"the tensor {_word(name)} has fewer elements than its shape, which is {elements}")
        return name, self._numbers(tensor, kind) if elements <= MAX_AXES * 2 else None

    def _numbers(self, tensor: Message, kind: int) -> Numbers:
        raw = tensor.views("raw_data")
        if kind == INT64:
            return (
                struct.unpack(f"<{len(raw[0]) // 8}q", raw[0])
                if raw
                else tuple(tensor.integers("int64_data", self._budget))
            )
        if kind == FLOAT and raw:
            floats = struct.unpack(f"<{len(raw[0]) // 4}f", raw[0])
            return floats if all(map(math.isfinite, floats)) else None
        return None

    def _elements(self, dims: list[int], name: bytes) -> int:
        """Elements of a tensor of these dimensions."""
        if len(dims) > MAX_AXES or any(not 0 <= size <= MAX_MODEL_BYTES for size in dims):
            raise WireError(f"{_word(name)} has the shape {dims[:MAX_AXES]}, which no tensor of a model has")
        elements = 1
        for size in dims:
            elements *= size
        if elements > MAX_MODEL_BYTES * 2:  # of four bits each
            raise WireError(f"{_word(name)} has {elements:,} elements, more than a file can hold")
        return elements

    def _value(self, content: memoryview) -> bytes:
        """Name of an input, an output or a value between; its type is a tensor of moderate size."""
        value = self._read(content, VALUE, "value")
        name = value.text("name")
        for view in value.views("type"):
            for tensor in self._read(view, TYPE, "type").views("tensor_type"):
                for shape in self._read(tensor, TENSOR_TYPE, "tensor type").views("shape"):
                    axes = [
                        self._read(axis, DIMENSION, "axis") for axis in self._read(shape, SHAPE, "shape").views("dim")
                    ]
                    self._elements([size for axis in axes for size in axis.integers("dim_value", self._budget)], name)
        return name


def _word(name: bytes) -> str:
    """A name of the file, short and printable, for an error."""
    return ascii(name[:48].decode("utf-8", "replace"))[1:-1] or "ai.onnx"
