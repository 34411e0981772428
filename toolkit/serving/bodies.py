"""Bytes of a request to inputs: JSON, a multipart upload, or one picture as it is.

A body is bounded twice, by its Content-Length before a byte is read and by what really arrives, and
by the time it may take. Compressed bodies are refused: a few kilobytes unpack to gigabytes.
Source: RFC 9110 (content types, lengths), RFC 7578 (multipart/form-data).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson

from toolkit.errors import require
from toolkit.serving.problems import CLOSE, Problem, fault
from toolkit.serving.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

# they quote characters of a form and tags of a picture
for _name in ("python_multipart", "PIL"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

LEFT = "toolkit.left"  # the scope's extension that says, when it is called, whether the client is gone
WHOLE = "toolkit.whole"  # likewise, whether the body has come already
JSON, FORM = "application/json", "multipart/form-data"
PICTURES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff")


class ClientLeft(Exception):  # noqa: N818 - not an error: nobody is there to be told
    """The client closed the connection before its body was whole."""


@dataclass(frozen=True)
class Body:
    """The bytes and what their sender says they are."""

    content: bytes
    content_type: str = JSON

    @property
    def kind(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, settings: Settings, *, whole: bool = False
) -> Body:
    """Read a whole body; raises `Problem` 400, 408, 413 or 415, or `ClientLeft`.

    No timer is set for one that has come `whole` already.
    """
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise Problem(415, "encoded", "a compressed body is not taken; send it as it is", headers=[CLOSE])
    length = headers.get(b"content-length")
    if length is not None and (not _is_count(length) or int(length) > settings.max_body_bytes):
        raise _too_large(settings)
    try:
        async with contextlib.nullcontext() if whole else asyncio.timeout(settings.body_seconds):
            content = await _read(receive, settings)
    except TimeoutError:
        raise Problem(408, "slow_body", "the body did not arrive in time", headers=[CLOSE]) from None
    return Body(content, headers.get(b"content-type", JSON.encode()).decode("latin-1"))


def _is_count(text: bytes) -> bool:
    # Python refuses to read a number of more than 4,300 digits, by an error of its own
    return text.isdigit() and len(text) < 19


async def _read(receive: Receive, settings: Settings) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        piece = message.get("body", b"")
        size += len(piece)
        if size > settings.max_body_bytes:
            raise _too_large(settings)
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(settings: Settings) -> Problem:
    detail = f"the body is too large; at most {settings.max_body_bytes} bytes are taken"
    return Problem(413, "too_large", detail, headers=[CLOSE])


def parse_json(body: Body) -> dict[str, Any]:
    """A JSON object; raises `Problem` 400 or 415, 422 when it is JSON of another kind."""
    if body.kind != JSON:
        raise unsupported(JSON)
    try:
        value = orjson.loads(body.content)
    except orjson.JSONDecodeError:
        raise Problem(400, "not_json", "the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise fault("", "not_an_object", "an object is expected")
    # every member has its colon: no more colons than members, nothing said twice
    if body.content.count(b":") > _members(value):
        _refuse_duplicates(body.content)
    return value


def _members(value: dict[str, Any]) -> int:
    """How many members the objects in `value` have; it may count too few, which costs time only.

    Lists are looked into if an object comes first, so that long rows of numbers are not walked.
    """
    count = 0
    waiting = [value]
    while waiting:
        found = waiting.pop()
        count += len(found)
        for part in found.values():
            if type(part) is dict:
                waiting.append(part)
            elif type(part) is list and part and type(part[0]) is dict:
                waiting += [row for row in part if type(row) is dict]
    return count


def _refuse_duplicates(content: bytes) -> None:
    """Raise `Problem` 400 when an object names a member twice: readers differ in which one they take."""
    try:
        # numbers stay text: Python refuses to read one of more than 4,300 digits
        json.loads(content, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
    except RecursionError:
        raise Problem(400, "too_deep", "the JSON is nested too deeply") from None


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise Problem(400, "duplicate_key", "an object names a member twice; name each once")


def unsupported(*allowed: str) -> Problem:
    """415, naming what is taken."""
    kinds = ", ".join(allowed)
    return Problem(
        415, "media_type", f"this content type is not taken; send {kinds}", headers=[(b"accept", kinds.encode())]
    )


def parse_form(body: Body, *, max_parts: int) -> list[bytes]:
    """The files of a multipart upload in their order; raises `Problem` 400 or 422."""
    multipart = require("python_multipart.multipart", extra="serve")
    _, options = multipart.parse_options_header(body.content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise Problem(400, "no_boundary", "the content type names no boundary")
    form = _Form(max_parts)
    try:
        parser = multipart.MultipartParser(boundary, form.callbacks())
        parser.write(body.content)
        parser.finalize()
    except multipart.FormParserError:  # a boundary too long is one, and no MultipartParseError
        raise Problem(400, "not_multipart", "the body is not multipart/form-data") from None
    if not form.whole:
        raise Problem(400, "not_multipart", "the body ends before its last boundary")
    return [bytes(part) for part in form.parts]


class _Form:
    """Collects parts in memory; the body they come from is bounded already."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[bytearray] = []
        self.whole = False
        self._max = max_parts
        self._name, self._value = bytearray(), bytearray()
        self._is_file = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self.parts[-1].extend(data[start:end]),
            "on_part_end": self._end_part,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == self._max:
            raise fault("/inputs", "too_many_rows", f"at most {self._max} rows are taken at once")
        self.parts.append(bytearray())
        self._is_file = False

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition" and b"filename" in self._value.lower():
            self._is_file = True
        self._name, self._value = bytearray(), bytearray()

    def _end_part(self) -> None:
        if not self._is_file:
            raise fault(f"/inputs/{len(self.parts) - 1}", "not_a_file", "a file is expected in each part")

    def _end(self) -> None:
        self.whole = True
