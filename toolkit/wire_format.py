"""Protocol Buffers messages read as fields, by nothing but the bytes: what a file holds, known before a parser has it.

An ONNX file is a Protocol Buffers message, and its parser trusts it: it takes memory for what a length or a dimension
claims. Serving has no onnx package either. Here a message is walked against a table of the fields that it may hold,
each with its wire type; anything else is refused, so that nothing is in the file which the walk did not see. A field
that may stand once and stands twice is refused too: parsers merge the two, or take the last.
Cost: linear in the number of fields; large byte strings are not copied. Limits: no groups, no extensions.

Source: Protocol Buffers, "Encoding" (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
MAX_FIELDS = 1 << 18  # of one file; MiniLM in INT8 holds some 7,000


class WireError(ValueError):
    """Bytes that are no message, or one that holds what its table does not allow."""


@dataclass(frozen=True)
class Field:
    """A field of a message: its name, the wire types that it comes in, and whether it may repeat."""

    name: str
    wires: tuple[int, ...] = (BYTES,)
    many: bool = False


Table = Mapping[int, Field]


@dataclass
class Budget:
    """How many fields a walk may still see: one budget a file, whatever its messages hold."""

    left: int = field(default=MAX_FIELDS)

    def spend(self) -> None:
        """Count one field; raises `WireError` when there were too many."""
        self.left -= 1
        if self.left < 0:
            raise WireError("there are more fields in it than a model has")


@dataclass(frozen=True)
class Message:
    """Fields of a message by name: integers for varints, views of the bytes for everything else, in their order."""

    fields: Mapping[str, Sequence[int | memoryview]]

    def has(self, name: str) -> bool:
        return name in self.fields

    def views(self, name: str) -> list[memoryview]:
        """Every byte string of a field."""
        return [value for value in self.fields.get(name, ()) if isinstance(value, memoryview)]

    def text(self, name: str) -> bytes:
        """A field that holds a name; empty where it is absent."""
        return b"".join(bytes(value) for value in self.views(name))

    def integers(self, name: str, budget: Budget) -> list[int]:
        """A repeated int64, whether packed or not."""
        found: list[int] = []
        for value in self.fields.get(name, ()):
            found += [value] if isinstance(value, int) else packed(value, budget)
        return [signed(value) for value in found]


def read_message(content: memoryview, table: Table, budget: Budget, what: str) -> Message:
    """The fields of a message named `what`; raises `WireError` for anything that `table` does not hold."""
    found: dict[str, list[int | memoryview]] = {}
    for number, wire, value in _walk(content, budget):
        known = table.get(number)
        if known is None or wire not in known.wires:
            raise WireError(f"its {what} holds {known.name if known else f'field {number}'!r}, which is not allowed")
        values = found.setdefault(known.name, [])
        if values and not known.many:
            raise WireError(f"its {what} holds {known.name!r} twice")
        values.append(value)
    return Message(found)


def _walk(content: memoryview, budget: Budget) -> Iterator[tuple[int, int, int | memoryview]]:
    """Number, wire type and value of every field."""
    place, end = 0, len(content)
    while place < end:
        budget.spend()
        tag, place = read_varint(content, place)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError("a field has a number that no field has")
        if wire == VARINT:
            value, place = read_varint(content, place)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, place = read_varint(content, place)
        elif wire in _WIDTHS:
            length = _WIDTHS[wire]
        else:
            raise WireError(f"a field has the wire type {wire}, which no field has")
        if length > end - place:
            raise WireError("a field claims more bytes than there are")
        yield number, wire, content[place : place + length]
        place += length


def packed(content: memoryview, budget: Budget) -> list[int]:
    """Varints one after the other."""
    found, place = [], 0
    while place < len(content):
        budget.spend()
        value, place = read_varint(content, place)
        found.append(value)
    return found


def read_varint(content: memoryview, place: int) -> tuple[int, int]:
    """An unsigned integer of at most 64 bits at `place`, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            raise WireError("it ends in the middle of a number")
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, place
    raise WireError("a number is longer than 64 bits")


def signed(value: int) -> int:
    """What an unsigned varint is as int64."""
    return value - (1 << 64) if value >= 1 << 63 else value
