"""What a client gets instead of an answer: a problem document that says where and why, never what.

Source: RFC 9457 (problem details), RFC 6901 (JSON pointers). A member `error` is added because the
Open Inference Protocol asks for it, and `code` because a program should not have to read prose.
No value of a request appears in any of it: errors end up in logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from toolkit.errors import ToolkitError

Headers = Sequence[tuple[bytes, bytes]]
CLOSE = (b"connection", b"close")
MAX_FAULTS = 16


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a body: where (a JSON pointer), of what kind, in words."""

    pointer: str
    code: str
    detail: str


class Problem(ToolkitError):  # noqa: N818 - the word of the RFC
    """Raised anywhere below the application; answered as `application/problem+json`."""

    def __init__(
        self, status: int, code: str, detail: str, *, faults: Sequence[Fault] = (), headers: Headers = ()
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail = status, code, detail
        self.faults, self.headers = tuple(faults[:MAX_FAULTS]), tuple(headers)

    def to_json(self) -> dict[str, Any]:
        """The document."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "error": self.detail,
        }
        if self.faults:
            document["errors"] = [asdict(fault) for fault in self.faults]
        return document


def invalid(faults: Sequence[Fault]) -> Problem:
    """422: the body is JSON and says something this model cannot take."""
    first = faults[0]
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return Problem(422, first.code, f"{first.pointer or 'the body'}: {first.detail}{more}", faults=faults)


def fault(pointer: str, code: str, detail: str) -> Problem:
    """422 for one fault."""
    return invalid([Fault(pointer, code, detail)])


def not_ready() -> Problem:
    """503: no model yet, or no longer."""
    return Problem(503, "not_ready", "no model is ready to answer; try again soon", headers=[(b"retry-after", b"1")])


def overloaded() -> Problem:
    """503: every slot is taken and the queue is full."""
    return Problem(503, "overloaded", "the queue is full; try again soon", headers=[(b"retry-after", b"1")])


def too_late() -> Problem:
    """504: the answer was not ready in time."""
    return Problem(504, "deadline", "the answer was not ready in time")


def internal() -> Problem:
    """500: a fault of ours; the log says where."""
    return Problem(500, "internal", "the server failed to answer; its log says where")
