"""An ONNX graph as a lint reads it: its constants, who makes a value and who uses it, and what was remarked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.spec import Array


@dataclass(frozen=True)
class Remark:
    """One finding: `where` names a node, an input or a weight; `refused` is False for what is taken and costs."""

    rule: str
    where: str
    words: str
    refused: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Graph:
    """Read once from an ONNX model; changes nothing in it."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self.model, self.nodes = model, list(model.graph.node)
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        written = [node for node in self.nodes if node.op_type == "Constant"]
        self._tensors |= {n.output[0]: given.t for n in written for given in n.attribute if given.name == "value"}
        self._to_array = numpy_helper.to_array
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._users: defaultdict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in set(node.input):
                self._users[name].append(node)

    @property
    def tensors(self) -> dict[str, Any]:
        """Weights and other constants by name, as ONNX tensors."""
        return self._tensors

    def constant(self, name: str) -> Array | None:
        """The numbers of a constant; None for a value that is computed, or for no name."""
        tensor = self._tensors.get(name)
        return None if tensor is None else self._to_array(tensor)

    def maker(self, name: str) -> Any | None:
        """The node that makes a value; None for inputs and weights."""
        return self._makers.get(name)

    def users(self, name: str) -> list[Any]:
        """The nodes that read a value."""
        return self._users[name]


def attribute(node: Any, name: str, default: Any) -> Any:
    """An attribute's value: an integer, a float, a string, or a list of them; `default` where it is absent."""
    from onnx import helper

    return next((helper.get_attribute_value(given) for given in node.attribute if given.name == name), default)


def input_of(node: Any, place: int) -> str:
    """Name of the input at a place; empty where it was left out."""
    return node.input[place] if place < len(node.input) else ""


def name_of(node: Any) -> str:
    """What to call a node: its name, or what it makes."""
    return node.name or f"{node.op_type} making {node.output[0]}"
