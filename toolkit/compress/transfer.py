"""A transfer set: noised copies of training texts, for a teacher to answer and a student to imitate.

A few thousand rows tell a student little of what its teacher knows; the same rows with words masked,
replaced and spliced into one another tell it more, and cost no labelling (TREC: a BiLSTM went from 83.6
to 87.7 with six copies). The copies need not be sensible: the teacher says what it makes of them.

A word is a run of letters, a sign of its own, or one character of a script that is written without
spaces, so that Chinese or Thai is noised as English is. Copies are of text only: a picture or a record has
no words, and is refused.

Source: Tang et al. 2019 (arXiv:1903.12136); masking and n-gram sampling as there, splicing instead of
its part-of-speech replacement, which needs a tagger of one language.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from toolkit.errors import InputError, RecipeError

MASK_SHARE, REPLACE_SHARE = 0.1, 0.15
SPLICE_SHARE, PIECE_SHARE = 0.25, 0.15
# Thai, Lao, Khmer, Myanmar; kana; Han: a sign each. Then runs of letters with their marks. Then one of the rest.
_UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_PART = re.compile(rf"({_WORD.pattern})(\s*)")


def noised_copies(examples: Sequence[Any], *, copies: int, seed: int, mask: str | None = None) -> list[str]:
    """`copies` noised texts of each example, copy by copy in the order of the examples.

    `mask` is what stands for a masked word (the teacher's own mask token); None drops the word. A text
    depends on seed, copy and row alone. Raises `RecipeError` for copies below 0, `InputError` for
    examples that are no text.
    """
    if copies < 0:
        raise RecipeError(f"copies is {copies}; allowed: 0 or more noised copies of each training text")
    for position, example in enumerate(examples if copies else ()):
        if not isinstance(example, str):
            raise InputError(f"row {position} is {type(example).__name__}; noised copies are made of text: copies=0")
    parts = [split_words(text) for text in examples] if copies else []
    words = [word for row in parts for word, _ in row]
    result = []
    for copy in range(copies):
        for row in range(len(parts)):
            chance = random.Random(f"{seed}/{copy}/{row}")
            result.append(_noised(parts, row, words, chance, mask) or examples[row])
    return result


def split_words(text: str) -> list[tuple[str, str]]:
    """Each word of `text` with the white space behind it; joined they are the text again, stripped."""
    return [(found[1], found[2]) for found in _PART.finditer(text.strip())]


def _noised(
    parts: list[list[tuple[str, str]]], row: int, words: list[str], chance: random.Random, mask: str | None
) -> str:
    """One copy: perhaps spliced or cut to a piece, then each word masked, replaced or left."""
    own = parts[row]
    kind = chance.random()
    if kind < SPLICE_SHARE:
        other = parts[chance.randrange(len(parts))]
        head, tail = own[: chance.randint(0, len(own))], other[chance.randint(0, len(other)) :]
        if len(head) == len(own) and any(space for _, space in own):
            head = [*head[:-1], (head[-1][0], " ")]  # the last word has no space behind it to keep
        own = head + tail
    elif kind < SPLICE_SHARE + PIECE_SHARE and len(own) > 2:
        length = chance.randint(2, len(own))
        start = chance.randint(0, len(own) - length)
        own = own[start : start + length]
    noised: list[tuple[str, str]] = []
    for word, space in own:
        fate = chance.random()
        if fate < MASK_SHARE:
            if mask is not None:
                noised.append((mask, space))
        elif fate < MASK_SHARE + REPLACE_SHARE:
            noised.append((chance.choice(words), space))
        else:
            noised.append((word, space))
    return "".join(chain.from_iterable(noised)).strip()
