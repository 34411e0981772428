"""Heads of requests that a full server has refused: the same bytes again are refused without reading them again.

Clients repeat themselves: but for the body, one sends the same bytes time after time, and most of a refusal's cost is
to parse them. What is remembered was parsed once and found to be a plain request whose body is small and whose
connection goes on; only a piece that is one such request, whole and nothing else, is recognized.
"""

from __future__ import annotations

MOST_HEADS = 512
LONGEST_HEAD = 1024  # bytes; half a megabyte in all
END = b"\r\n\r\n"


class KnownHeads:
    """Head bytes to the length of the body and the route's label."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, piece: bytes) -> str | None:
        """The route of `piece`, when it is one whole request with a head that is known; else None."""
        end = piece.find(END) + len(END)
        known = self._known.get(piece[:end])
        if known is not None and len(piece) == end + known[0]:
            return known[1]
        return None

    def learn(self, piece: bytes, length: int, route: str) -> None:
        """Keep the head of `piece`, whose request was parsed, has a body of `length` bytes, and was refused."""
        end = piece.find(END) + len(END)
        # as the parser found the body's length, this also says that the head ends where it seems to
        if end > LONGEST_HEAD or len(piece) != end + length:
            return
        if len(self._known) >= MOST_HEADS:
            self._known.clear()
        self._known[piece[:end]] = (length, route)
