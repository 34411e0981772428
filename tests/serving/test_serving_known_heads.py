"""What was refused once is known by its bytes, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolkit.serving.known_heads import LONGEST_HEAD, MOST_HEADS, KnownHeads

HEAD = b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"


def test_the_same_head_is_known_whatever_its_body_says() -> None:
    heads = KnownHeads()
    assert heads.recall(HEAD + b"12345") is None
    heads.learn(HEAD + b"12345", 5, "classify")
    assert heads.recall(HEAD + b"54321") == "classify"
    assert heads.recall(HEAD + b"\r\n\r\n1") == "classify"


@given(piece=st.one_of(st.binary(max_size=80), st.binary(max_size=20).map(lambda tail: HEAD + tail)))
def test_nothing_but_that_head_with_a_body_of_that_length_is_known(piece: bytes) -> None:
    heads = KnownHeads()
    heads.learn(HEAD + b"12345", 5, "classify")
    assert (heads.recall(piece) is not None) == (piece.startswith(HEAD) and len(piece) == len(HEAD) + 5)


def test_a_piece_that_is_not_just_one_request_teaches_nothing() -> None:
    heads = KnownHeads()
    lone_feeds = HEAD.replace(b"\r\n\r\n", b"\n\n")
    for piece in (HEAD + b"1234", HEAD + b"12345" + HEAD + b"12345", lone_feeds + b"12345"):
        heads.learn(piece, 5, "classify")
        assert heads.recall(piece) is None
    long = b"POST /v1/classify HTTP/1.1\r\nx: " + b"a" * LONGEST_HEAD + b"\r\n\r\n"
    heads.learn(long, 0, "classify")
    assert heads.recall(long) is None


def test_they_do_not_grow_without_end() -> None:
    heads = KnownHeads()
    pieces = [b"POST /v1/classify?top=%d HTTP/1.1\r\n\r\n" % number for number in range(MOST_HEADS + 1)]
    for piece in pieces:
        heads.learn(piece, 0, "classify")
    assert sum(heads.recall(piece) is not None for piece in pieces) == 1
