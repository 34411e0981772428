"""Noised copies of training texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.compress.transfer import noised_copies, split_words
from toolkit.errors import InputError, RecipeError

TEXTS = [
    "Who wrote Hamlet ?",
    "What is the capital of France ?",
    "How many dogs pull a sled ?",
    "东京是哪个国家的首都？",
]


def test_copies_are_the_same_from_one_seed_and_others_from_another() -> None:
    first = noised_copies(TEXTS, copies=3, seed=0, mask="[MASK]")
    assert first == noised_copies(TEXTS, copies=3, seed=0, mask="[MASK]")
    assert first != noised_copies(TEXTS, copies=3, seed=1, mask="[MASK]")
    assert len(first) == 3 * len(TEXTS)


def test_more_copies_leave_the_first_ones_as_they_were() -> None:
    assert noised_copies(TEXTS, copies=4, seed=0)[: 2 * len(TEXTS)] == noised_copies(TEXTS, copies=2, seed=0)


def test_most_copies_differ_from_their_text_and_share_words_with_it() -> None:
    texts = [text for text in TEXTS if text.isascii()] * 20
    copies = noised_copies(texts, copies=1, seed=0)
    assert sum(copy != text for copy, text in zip(copies, texts, strict=True)) > len(texts) // 2
    assert sum(bool(set(copy.split()) & set(text.split())) for copy, text in zip(copies, texts, strict=True)) > 50


def test_mask_stands_where_a_word_was_and_is_absent_without_one() -> None:
    assert any("[MASK]" in copy for copy in noised_copies(TEXTS, copies=20, seed=0, mask="[MASK]"))
    assert not any("MASK" in copy for copy in noised_copies(TEXTS, copies=20, seed=0))


def test_splicing_brings_words_of_other_rows() -> None:
    own = set(TEXTS[0].split())
    copies = noised_copies(TEXTS[:2], copies=40, seed=0)[::2]
    assert any(set(copy.split()) - own for copy in copies)


def test_a_script_without_spaces_is_noised_sign_by_sign() -> None:
    assert [word for word, _ in split_words("东京在哪")] == list("东京在哪")
    assert [word for word, _ in split_words("ประเทศ")] == list("ประเทศ")
    copies = noised_copies(["东京是哪个国家的首都？"], copies=20, seed=0)
    assert all(" " not in copy for copy in copies)
    assert len(set(copies)) > 10


@given(st.text())
def test_words_and_spaces_together_are_the_text(text: str) -> None:
    assert "".join(word + space for word, space in split_words(text)) == text.strip()


@given(st.lists(st.text(min_size=1).filter(lambda text: bool(text.strip())), min_size=1, max_size=5))
def test_no_copy_is_empty(texts: list[str]) -> None:
    assert all(copy.strip() for copy in noised_copies(texts, copies=3, seed=0))


def test_what_is_no_text_is_refused_by_position() -> None:
    with pytest.raises(InputError, match=r"row 1 is dict; noised copies are made of text"):
        noised_copies(["a text", {"user": 1}], copies=1, seed=0)
    assert noised_copies([{"user": 1}], copies=0, seed=0) == []


def test_copies_below_zero_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"copies is -1; allowed: 0 or more"):
        noised_copies(TEXTS, copies=-1, seed=0)
