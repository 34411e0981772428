"""Text to hashed n-grams: words and pieces of words, no vocabulary, any script.

Each lower-cased word gives itself, its pairs with the next word, and its character 3- to 5-grams
between boundary marks; a script without spaces gives character n-grams alone, which is what works
there. Each n-gram is hashed by CRC-32 into one of `buckets` ids; 0 stays the padding.
Source: Weinberger et al. 2009, feature hashing (arXiv:0902.2206); Joulin et al. 2016 (arXiv:1607.01759).
"""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.encoders.text import check_texts, pad_ids
from toolkit.spec import Array, Input

_WORD = re.compile(r"\w+|[^\w\s]")


class NgramEncoder:
    """`input_ids` and `attention_mask`, int64 of shape (batch, n-grams), at most `max_length` of them."""

    kind = "ngrams"

    def __init__(self, *, buckets: int = 50_000, max_length: int = 1024) -> None:
        self.buckets = buckets
        self.max_length = max_length

    @property
    def vocabulary_size(self) -> int:
        """Number of ids: the buckets and the padding."""
        return self.buckets + 1

    @property
    def inputs(self) -> tuple[Input, ...]:
        shape = ("batch", "length")
        return (Input("input_ids", "int64", shape), Input("attention_mask", "int64", shape))

    @property
    def limits(self) -> dict[str, tuple[int, int]]:
        return {"length": (1, self.max_length)}

    def size(self, example: Any) -> int:
        return len(example) if isinstance(example, str) else 0

    def encode(self, examples: Sequence[Any]) -> dict[str, Array]:
        check_texts(examples)
        return pad_ids([self._ids(example) for example in examples], 0)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = []
        for ngram in _ngrams(text):
            ids.append(zlib.crc32(ngram.encode("utf-8", "surrogatepass")) % self.buckets + 1)
            if len(ids) == self.max_length:
                break
        return ids

    def files(self) -> dict[str, bytes]:
        settings = {"buckets": self.buckets, "max_length": self.max_length}
        return {"settings.json": json.dumps(settings, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> NgramEncoder:
        settings = json.loads(files["settings.json"])
        return cls(buckets=int(settings["buckets"]), max_length=int(settings["max_length"]))


def _ngrams(text: str) -> Iterator[str]:
    """Words first, so that cutting a long text at `max_length` loses pieces before words."""
    words = _WORD.findall(text.lower())
    yield from words
    yield from (f"{first} {second}" for first, second in itertools.pairwise(words))
    for word in words:
        marked = f"<{word}>"
        for width in (3, 4, 5):
            for start in range(len(marked) - width + 1):
                yield marked[start : start + width]
