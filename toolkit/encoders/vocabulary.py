"""A tokenizer with fewer pieces, made from the JSON of its own `tokenizer.json`.

Kept pieces get new ids without gaps, in their old order, and everything that names an id follows. A text of kept
pieces only is read as before; what has lost a piece is spelled in smaller ones, so single signs always stay.

| model     | what a kept piece cannot do without                                                        |
|-----------|--------------------------------------------------------------------------------------------|
| WordPiece | nothing: a word is cut greedily into the longest pieces there are                           |
| Unigram   | nothing, but the piece of the lowest score: what is unknown is scored by it                 |
| BPE       | the pieces it can be merged from, and theirs; a merge goes when a part or its result is gone |

Limit: a word becomes unknown where one of its signs is no piece by itself; the count of those is for the caller.
In such a WordPiece, which neither ours nor BERT's is, an unknown word can become known, too.
Source: the format of the `tokenizers` library (version 1.0); Schuster and Nakajima 2012 for WordPiece; Kudo 2018
(arXiv:1804.10959) for Unigram; Sennrich et al. 2016 (arXiv:1508.07909) for BPE.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from toolkit.encoders.text import TokenEncoder
from toolkit.errors import InputError

MODELS = ("WordPiece", "Unigram", "BPE")
SPACE = "▁"  # how SentencePiece writes a space before a word


def count_pieces(encoder: TokenEncoder, texts: Iterable[str]) -> Counter[int]:
    """How often each id comes in `texts`, each cut at the encoder's `max_length`."""
    return Counter(piece for row in encoder.tokenizer.encode_batch_fast(list(texts)) for piece in row.ids)


def keep_pieces(encoder: TokenEncoder, wanted: Collection[int]) -> tuple[TokenEncoder, list[int]]:
    """`encoder` with the pieces `wanted` and what they cannot do without, and the old id of each new id.

    Added tokens, the unknown one and single signs stay in any case. Raises `InputError` for a kind of tokenizer
    that cannot be cut.
    """
    document = json.loads(encoder.files()["tokenizer.json"])
    model = document["model"]
    kind = _kind_of(model)
    pieces = _pieces(model, kind)
    ids = {piece: number for number, piece in pieces.items()}
    added = {int(token["id"]) for token in document.get("added_tokens") or ()}
    kept = {number for number in wanted if number in pieces} | added | _singles(model, kind, pieces)
    if model.get("unk_token") in ids:
        kept.add(ids[model["unk_token"]])
    if kind == "Unigram":
        kept |= _scored(model)
    if kind == "BPE":
        kept = _with_parts(kept, ids, model)
    old = sorted(kept)
    new = {number: place for place, number in enumerate(old)}
    _renumber_model(model, kind, new)
    for token in document.get("added_tokens") or ():
        token["id"] = new[int(token["id"])]
    _renumber_processor(document.get("post_processor"), new)
    if document.get("padding"):
        document["padding"]["pad_id"] = new.get(int(document["padding"]["pad_id"]), 0)
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return TokenEncoder(content, max_length=encoder.max_length), old


def _kind_of(model: Mapping[str, Any]) -> str:
    """The type that the file names; files of before 2020 name none and are told by their fields."""
    telling = {"max_input_chars_per_word": "WordPiece", "unk_id": "Unigram", "merges": "BPE"}
    kind = model.get("type") or next((name for field, name in telling.items() if field in model), "without a name")
    if kind not in MODELS:
        raise InputError(f"a tokenizer of type {kind} cannot be trimmed; allowed: {', '.join(MODELS)}")
    return str(kind)


def _pieces(model: Mapping[str, Any], kind: str) -> dict[int, str]:
    """Every id of the model, and its piece."""
    if kind == "Unigram":
        return {number: piece for number, (piece, _) in enumerate(model["vocab"])}
    return {int(number): piece for piece, number in model["vocab"].items()}


def _singles(model: Mapping[str, Any], kind: str, pieces: Mapping[int, str]) -> set[int]:
    """Ids of one sign, with whatever marks its place in a word, and of one byte (`<0x0A>`)."""
    before = model.get("continuing_subword_prefix") or ("##" if kind == "WordPiece" else "")
    after = model.get("end_of_word_suffix") or ""

    def is_single(piece: str) -> bool:
        if kind != "WordPiece" and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return True
        bare = (piece.removeprefix(before) or piece).removesuffix(after) or piece
        return len(bare if kind == "WordPiece" else bare.removeprefix(SPACE)) <= 1

    return {number for number, piece in pieces.items() if is_single(piece)}


def _scored(model: Mapping[str, Any]) -> set[int]:
    """The unknown piece of a Unigram and the one of the lowest score, from which the unknown takes its own."""
    unknown = {int(model["unk_id"])} if model.get("unk_id") is not None else set()
    scores = [score for _, score in model["vocab"]]
    return unknown | {scores.index(min(scores))}


def _with_parts(kept: Collection[int], ids: Mapping[str, int], model: Mapping[str, Any]) -> set[int]:
    """`kept` and every piece that one of them can be merged from, by any of its merges."""
    parts: dict[int, set[int]] = {}
    for first, second, result in _merges(model):
        parts.setdefault(ids[result], set()).update((ids[first], ids[second]))
    found, waiting = set(kept), list(kept)
    while waiting:
        new = parts.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """First part, second part and result of every merge; older files write the two parts in one string."""
    prefix = len(model.get("continuing_subword_prefix") or "")
    pairs: list[Sequence[str]] = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    return [(first, second, first + second[prefix:]) for first, second in pairs]


def _renumber_model(model: dict[str, Any], kind: str, new: Mapping[int, int]) -> None:
    if kind == "Unigram":
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in new]
        if model.get("unk_id") is not None:
            model["unk_id"] = new[int(model["unk_id"])]
        return
    if kind == "BPE":
        names = {piece for piece, number in model["vocab"].items() if int(number) in new}
        stays = [names.issuperset(merge) for merge in _merges(model)]
        model["merges"] = [merge for merge, stay in zip(model["merges"], stays, strict=True) if stay]
    model["vocab"] = {piece: new[int(number)] for piece, number in model["vocab"].items() if int(number) in new}


def _renumber_processor(processor: Any, new: Mapping[int, int]) -> None:
    """Ids in what adds [CLS] and [SEP]: a template, the two fixed forms, or a sequence of them."""
    if not isinstance(processor, dict):
        return
    for part in processor.get("processors") or ():
        _renumber_processor(part, new)
    for name in ("sep", "cls"):
        if name in processor:
            token, number = processor[name]
            processor[name] = [token, new[int(number)]]
    special = processor.get("special_tokens")
    for token in special.values() if isinstance(special, dict) else ():
        token["ids"] = [new[int(number)] for number in token["ids"]]
