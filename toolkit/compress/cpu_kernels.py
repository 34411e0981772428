"""A quantized graph rewritten in the kernels that ONNX Runtime's CPU provider runs fastest, rounded in fewer places.

Q/DQ pairs are a description that the runtime fuses when it opens, and some of it it does not fuse well. Here:
a float operator beside a product reads the float value and not the one rounded for the product (faster, and the
residual stream keeps its 32 bits: half of MiniLM, pruned, went from 94.2 to 94.6 % of TREC's validation rows); a
product takes its bias in; the dozen operators of attention become one. At 13 tokens and 6 layers that took the run
from 1.54 to 1.28 ms, in interleaved runs on one thread, and 1.14 with the runtime's slow skip layer norm left out
(`toolkit.runners.onnx`).
Limit: only what matches is rewritten: attention as `toolkit.nets.transformer` leaves the exporter; any other graph
loses nothing. The result is for the CPU provider and no other runtime.

Source: ONNX Runtime's contributed operators MatMulIntegerToFloat and MultiHeadAttention.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

DOMAIN = "com.microsoft"
# from (batch, length, heads, width of a head) to what the two products of attention read and write
QUERY, KEY = (0, 2, 1, 3), (0, 2, 3, 1)


def use_cpu_kernels(model: Any, quantized: Collection[str] | None = None) -> dict[str, int]:
    """Rewrite an ONNX `model` in place; returns how many products and attentions became one kernel.

    `quantized` are the names of the nodes that values were rounded for; None: no other reads a rounded value.
    """
    graph = model.graph
    if quantized is not None:
        _read_float(graph, quantized)
    fused = {"product": _fuse_products(graph), "attention": _fuse_attention(graph)}
    _drop_unused(graph)
    if any(fused.values()):
        name_domain(model)
    return fused


def name_domain(model: Any) -> None:
    """Say in `model` that operators of the runtime's own are used."""
    if not any(opset.domain == DOMAIN for opset in model.opset_import):
        opset = model.opset_import.add()
        opset.domain, opset.version = DOMAIN, 1


@dataclass(frozen=True)
class _Links:
    """Who makes and who reads each value of a graph, and the constants among them."""

    makers: Mapping[str, Any]
    readers: Mapping[str, list[Any]]
    constants: Mapping[str, Any]

    @classmethod
    def of(cls, graph: Any) -> _Links:
        readers: dict[str, list[Any]] = {output.name: [output] for output in graph.output}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        constants = {tensor.name: tensor for tensor in graph.initializer}
        constants |= {
            n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")
        }
        return cls({name: node for node in graph.node for name in node.output}, readers, constants)

    def before(self, node: Any, position: int, *kinds: str) -> Any:
        """What makes this input of `node`, when it is of one of `kinds`; else None, and of None too."""
        found = None if node is None else self.makers.get(node.input[position])
        return found if found is not None and found.op_type in kinds else None

    def after(self, node: Any, *kinds: str) -> Any:
        """The only reader of the output of `node`, when it is of one of `kinds`; else None, and of None too."""
        found = [] if node is None else self.readers.get(node.output[0], [])
        return found[0] if len(found) == 1 and getattr(found[0], "op_type", "") in kinds else None

    def array(self, name: str) -> Any:
        """The constant of this name as an array, or None."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None


def _read_float(graph: Any, quantized: Collection[str]) -> None:
    """Readers other than `quantized` get the value before it was rounded, where a float operator made it."""
    links = _Links.of(graph)
    for node in graph.node:
        if node.name in quantized or node.op_type == "QuantizeLinear":
            continue
        for position in range(len(node.input)):
            there = links.before(links.before(node, position, "DequantizeLinear"), 0, "QuantizeLinear")
            if there is None:
                continue
            source = links.makers.get(there.input[0])
            # behind a convolution the rounded value is the product's own: two readers would keep it from being fused
            if source is None or source.name not in quantized:
                node.input[position] = there.input[0]


def _fuse_products(graph: Any) -> int:
    """MatMul of two dequantized values, and the sum with its bias, as MatMulIntegerToFloat."""
    links = _Links.of(graph)
    count = 0
    for node in [node for node in graph.node if node.op_type == "MatMul"]:
        left, right = (links.before(node, position, "DequantizeLinear") for position in (0, 1))
        if right is None or links.before(left, 0, "QuantizeLinear") is None:
            continue
        weights, zeros = links.array(right.input[0]), [links.array(name) for name in right.input[2:]]
        if weights is None or weights.ndim != 2 or any(zero is None or zero.any() for zero in zeros):
            continue
        node.op_type, node.domain = "MatMulIntegerToFloat", DOMAIN
        parts = [left.input[0], right.input[0], left.input[1], right.input[1], left.input[2]]
        add = links.after(node, "Add")
        bias = next((name for name in add.input if name != node.output[0]), "") if add is not None else ""
        if bias in links.constants and list(links.constants[bias].dims) == [weights.shape[1]]:
            parts += ["", bias]
            node.output[0] = add.output[0]
            graph.node.remove(add)
        del node.input[:]
        node.input.extend(parts)
        count += 1
    return count


def _fuse_attention(graph: Any) -> int:
    """Softmax between two products, with all that reshapes for it, as MultiHeadAttention."""
    from onnx import TensorProto, helper

    links = _Links.of(graph)
    found = [
        parts
        for node in graph.node
        if node.op_type == "Softmax" and (parts := _attention_around(node, links)) is not None
    ]
    for mask in sorted({parts.mask for parts in found}):
        # the kernel takes int32
        cast = helper.make_node("Cast", [mask], [f"{mask}.int32"], name=f"{mask}/int32", to=TensorProto.INT32)
        graph.node.insert(0, cast)
    for parts in found:
        kernel = helper.make_node(
            "MultiHeadAttention", [*parts.values, "", f"{parts.mask}.int32"], [parts.last.output[0]],
            name=f"{parts.softmax}/fused", domain=DOMAIN, num_heads=parts.heads, scale=parts.scale,
            mask_filter_value=parts.masked,
        )  # fmt: skip
        place = list(graph.node).index(parts.last)
        graph.node.remove(parts.last)
        graph.node.insert(place, kernel)
    return len(found)


@dataclass(frozen=True)
class _Attention:
    """What a fused attention needs of the operators that it replaces; `last` is the one whose output it makes."""

    softmax: str
    values: tuple[str, str, str]
    mask: str
    masked: float
    heads: int
    scale: float
    last: Any


def _attention_around(softmax: Any, links: _Links) -> _Attention | None:
    add = links.before(softmax, 0, "Add")
    scaled = links.before(add, 0, "Div", "Mul")
    first = links.before(scaled, 0, "MatMul")
    second = links.after(softmax, "MatMul")
    turned = links.after(second, "Transpose")
    last = links.after(turned, "Reshape")
    if first is None or last is None or _perm(turned) != QUERY:
        return None
    factor, mask = links.array(scaled.input[1]), _mask_of(add, links)
    query, key, value = (
        _heads_of(node, position, perm, links)
        for node, position, perm in ((first, 0, QUERY), (first, 1, KEY), (second, 1, QUERY))
    )
    if factor is None or factor.size != 1 or mask is None or query is None or key is None or value is None:
        return None
    if not query[1] == key[1] == value[1]:
        return None
    number = float(factor.item())
    scale = 1.0 / number if scaled.op_type == "Div" else number
    return _Attention(softmax.name, (query[0], key[0], value[0]), *mask, query[1], scale, last)


def _heads_of(node: Any, position: int, perm: tuple[int, ...], links: _Links) -> tuple[str, int] | None:
    """What is split into heads and turned by `perm` into this input of `node`, and into how many heads."""
    turned = links.before(node, position, "Transpose")
    shaped = links.before(turned, 0, "Reshape")
    shape = links.before(shaped, 1, "Concat")
    if shape is None or _perm(turned) != perm or len(shape.input) != 4:
        return None
    heads = links.array(shape.input[2])
    return None if heads is None or heads.size != 1 else (shaped.input[0], int(heads.item()))


def _mask_of(add: Any, links: _Links) -> tuple[str, float] | None:
    """The graph's mask (batch, length), 1 where a token is, and the n of `(1 - mask) * n` that `add` adds, or None."""
    times = links.before(add, 1, "Mul")
    minus = links.before(times, 0, "Sub")
    inner = links.before(links.before(links.before(minus, 1, "Cast"), 0, "Unsqueeze"), 0, "Unsqueeze")
    if inner is None or inner.input[0] in links.makers:
        return None
    masked, one = links.array(times.input[1]), links.array(minus.input[0])
    if masked is None or one is None or masked.size != 1 or one.size != 1 or one.item() != 1:
        return None
    return inner.input[0], float(masked.item())


def _perm(node: Any) -> tuple[int, ...]:
    return tuple(next((list(a.ints) for a in node.attribute if a.name == "perm"), ()))


def _drop_unused(graph: Any) -> None:
    """Take out what nobody reads any more."""
    outputs = {output.name for output in graph.output}
    while True:
        read = {name for node in graph.node for name in node.input} | outputs
        unused = [node for node in graph.node if not read & set(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
