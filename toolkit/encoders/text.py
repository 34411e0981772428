"""Text to token ids, by any tokenizer that the `tokenizers` library can read.

Padding and truncation are set here and nowhere else: checkpoints come with settings of their own
(MiniLM's file pads everything to 128), and those must not leak into serving.

`train_tokenizer` makes a WordPiece vocabulary from the data itself, for scripts that a pretrained
vocabulary does not know. Source: Schuster and Nakajima 2012; Wu et al. 2016 (arXiv:1609.08144).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from toolkit.errors import ArtifactError, InputError
from toolkit.spec import Array, Input

PAD, UNKNOWN, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"


class TokenEncoder:
    """`input_ids` and `attention_mask`, int64 of shape (batch, length), length at most `max_length`."""

    kind = "tokens"

    def __init__(self, tokenizer_json: bytes, *, max_length: int = 128) -> None:
        self._json = tokenizer_json
        self.max_length = max_length

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, parsed when first needed, cut at `max_length` and padded by nobody else."""
        try:
            tokenizer = Tokenizer.from_buffer(self._json)
        except Exception as error:  # the library raises bare Exception
            raise ArtifactError(f"tokenizer.json cannot be read: {error}") from None
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_length)
        return tokenizer

    @cached_property
    def pad_id(self) -> int:
        """The id that fills short rows; attention_mask is 0 there, so its value changes no answer."""
        for token in (PAD, "<pad>"):
            found = self.tokenizer.token_to_id(token)
            if found is not None:
                return int(found)
        return 0

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added tokens included."""
        return int(self.tokenizer.get_vocab_size())

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
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(examples))]
        return pad_ids(rows, self.pad_id)

    def files(self) -> dict[str, bytes]:
        settings = json.dumps({"max_length": self.max_length}, sort_keys=True).encode()
        return {"tokenizer.json": self._json, "settings.json": settings}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> TokenEncoder:
        settings = json.loads(files["settings.json"])
        return cls(files["tokenizer.json"], max_length=int(settings["max_length"]))


def check_texts(examples: Sequence[Any]) -> None:
    """Raise `InputError` for the first example that is not a text with something in it."""
    for position, example in enumerate(examples):
        if not isinstance(example, str):
            raise InputError(f"input {position} is {type(example).__name__}; this model takes text")
        if not example.strip():
            raise InputError(f"input {position} is empty; this model takes text with at least one character")
        try:
            example.encode()
        except UnicodeEncodeError:  # half of a surrogate pair: JSON can carry it, no file or tokenizer can
            raise InputError(f"input {position} is not valid Unicode; this model takes text") from None


def pad_ids(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, Array]:
    """Rows of ids as one right-padded array and its mask, int64 of shape (batch, longest row)."""
    longest = max((len(row) for row in rows), default=0) or 1
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = row
        mask[position, : max(len(row), 1)] = 1  # a row of no tokens still attends to one
    return {"input_ids": ids, "attention_mask": mask}


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int = 8000) -> bytes:
    """Train WordPiece on `texts` and return its `tokenizer.json`; any script, one Han sign a word.

    The same texts give the same bytes: the library numbers inner pieces in the order of a randomly
    seeded map and breaks ties by those numbers, so they are given to it in code point order.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    texts = list(texts)
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    inner = sorted({"##" + sign for word in words for sign in word[1:]})
    trained = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    trained.normalizer, trained.pre_tokenizer = normalizer, splitter
    special = [PAD, UNKNOWN, CLS, SEP, MASK]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=[*special, *inner], show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    # a second tokenizer of the same vocabulary, in which inner pieces are ordinary and not special
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        special_tokens=[(CLS, tokenizer.token_to_id(CLS)), (SEP, tokenizer.token_to_id(SEP))],
    )
    return bytes(tokenizer.to_str().encode())
