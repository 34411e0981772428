"""A vocabulary is cut: what is made of kept pieces is read as before, and nothing is lost that can be spelled."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from toolkit.data.loading import load_data
from toolkit.encoders import encoder_files, load_encoder
from toolkit.encoders.text import TokenEncoder, train_tokenizer
from toolkit.encoders.vocabulary import count_pieces, keep_pieces
from toolkit.errors import InputError

SEEN, UNSEEN = 200, 300


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return list(load_data("trec").split("train").examples[: SEEN + UNSEEN])


def _wordpiece(texts: list[str]) -> bytes:
    return train_tokenizer(texts, vocabulary_size=900)


def _byte_level(texts: list[str]) -> bytes:
    """As GPT-2 and RoBERTa have it, with the older of the two forms of merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    document = json.loads(tokenizer.to_str())
    document["model"]["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in
                                   document["model"]["merges"]]  # fmt: skip
    return json.dumps(document).encode()


def _word_ends(texts: list[str]) -> bytes:
    """BPE with a mark at the end of a word, as CLIP has it, and an unknown piece that is not first."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<pad>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return bytes(tokenizer.to_str().encode())


def _unigram(texts: list[str]) -> bytes:
    """As XLM-R has it: <unk> inside the vocabulary, a template around the row, one added token behind it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=700, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.Sequence(
        [processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])]
    )
    return bytes(tokenizer.to_str().encode())


KINDS: dict[str, Callable[[list[str]], bytes]] = {
    "WordPiece": _wordpiece,
    "byte-level BPE": _byte_level,
    "BPE with word ends": _word_ends,
    "Unigram": _unigram,
}


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest, texts: list[str]) -> TokenEncoder:
    return TokenEncoder(KINDS[request.param](texts), max_length=64)


def _rows(encoder: TokenEncoder, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in encoder.tokenizer.encode_batch_fast(texts)]


def test_rows_of_kept_pieces_are_read_as_before(encoder: TokenEncoder, texts: list[str]) -> None:
    wanted = count_pieces(encoder, texts[:SEEN])
    small, old = keep_pieces(encoder, wanted)
    kept = set(old)
    assert len(old) == small.vocabulary_size < encoder.vocabulary_size
    assert kept >= set(wanted)
    assert old == sorted(kept)
    before, after = _rows(encoder, texts), _rows(small, texts)
    unchanged = [set(row) <= kept for row in before]
    assert all(unchanged[:SEEN])
    assert 0 < sum(unchanged[SEEN:]) < UNSEEN
    for row, new, same in zip(before, after, unchanged, strict=True):
        assert ([old[piece] for piece in new] == row) is same


def test_any_choice_of_pieces_leaves_rows_of_kept_ones_alone(encoder: TokenEncoder, texts: list[str]) -> None:
    generator = np.random.default_rng(0)
    before = _rows(encoder, texts)
    compared = 0
    for share in (0.2, 0.5, 0.8, 0.95):
        chosen = np.flatnonzero(generator.random(encoder.vocabulary_size) < share)
        small, old = keep_pieces(encoder, set(chosen.tolist()))
        for row, new in zip(before, _rows(small, texts), strict=True):
            if set(row) <= set(old):
                assert [old[piece] for piece in new] == row
                compared += 1
    assert compared > 20


def test_what_lost_a_piece_is_spelled_and_not_unknown(encoder: TokenEncoder, texts: list[str]) -> None:
    small, _ = keep_pieces(encoder, [])
    unknown = {small.tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")}
    once = {encoder.tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")}
    rows = [(row, new) for row, new in zip(_rows(encoder, texts), _rows(small, texts), strict=True) if row != new]
    assert rows
    assert all(len(new) >= len(row) for row, new in rows if len(new) < small.max_length)
    # a sign that words only begin with, or only hold inside, is no piece in the other place: it is the exception
    gone = sum(bool(unknown & set(new)) and not once & set(row) for row, new in rows)
    assert gone <= 0.02 * len(rows)


@settings(max_examples=60, deadline=None)
@given(text=st.text(string.ascii_letters + " ", min_size=1, max_size=60))
def test_any_letters_are_spelled_where_they_were_known(encoder: TokenEncoder, text: str) -> None:
    """With single signs only: no new unknown, and the pieces put together are the text."""
    small, _ = keep_pieces(encoder, [])
    unknown = {"[UNK]", "<unk>"}
    before, after = (one.tokenizer.encode(text, add_special_tokens=False).tokens for one in (encoder, small))
    assert sum(piece in unknown for piece in after) <= sum(piece in unknown for piece in before)
    if not unknown & set(before):
        bare = [piece.removeprefix("##").removesuffix("</w>").strip("Ġ▁") for piece in after]
        assert all(len(piece) <= 1 for piece in bare)
        assert "".join(bare).lower() == text.replace(" ", "").lower()


def test_keeping_all_keeps_every_id(encoder: TokenEncoder, texts: list[str]) -> None:
    small, old = keep_pieces(encoder, range(encoder.vocabulary_size))
    assert old == list(range(encoder.vocabulary_size))
    assert _rows(small, texts) == _rows(encoder, texts)
    assert small.tokenizer.get_vocab() == encoder.tokenizer.get_vocab()


def test_special_tokens_stay_and_go_where_they_went(encoder: TokenEncoder, texts: list[str]) -> None:
    special = {token.content for token in encoder.tokenizer.get_added_tokens_decoder().values()}
    small, old = keep_pieces(encoder, [])
    names = small.tokenizer.get_vocab()
    assert special <= set(names)
    assert sorted(names.values()) == list(range(len(names)))
    assert {name: old[number] for name, number in names.items()}.items() <= encoder.tokenizer.get_vocab().items()
    assert old[small.pad_id] == encoder.pad_id
    first, last = _rows(encoder, texts)[0][0], _rows(encoder, texts)[0][-1]
    if encoder.tokenizer.num_special_tokens_to_add(False):
        row = _rows(small, texts)[0]
        assert (old[row[0]], old[row[-1]]) == (first, last)


def test_the_small_encoder_is_one_that_is_saved_and_cut_again(encoder: TokenEncoder, texts: list[str]) -> None:
    small, _ = keep_pieces(encoder, count_pieces(encoder, texts[:SEEN]))
    again = load_encoder(encoder_files(small))
    assert all(np.array_equal(a, b) for a, b in zip(again.encode(texts).values(), small.encode(texts).values(),
                                                    strict=True))  # fmt: skip
    smaller, old = keep_pieces(small, count_pieces(small, texts[:20]))
    assert smaller.vocabulary_size == len(old) < small.vocabulary_size
    assert [[old[piece] for piece in row] for row in _rows(smaller, texts[:20])] == _rows(small, texts[:20])


def test_the_encoder_that_came_is_untouched(encoder: TokenEncoder) -> None:
    content = encoder.files()
    keep_pieces(encoder, [])
    assert encoder.files() == content


def test_a_checkpoints_tokenizer_is_cut_to_its_own_padding_and_template(texts: list[str]) -> None:
    from toolkit.data.archives import minilm_folder

    encoder = TokenEncoder((minilm_folder() / "tokenizer.json").read_bytes(), max_length=48)
    small, old = keep_pieces(encoder, count_pieces(encoder, texts[:SEEN]))
    assert len(old) < 4000
    assert [[old[piece] for piece in row] for row in _rows(small, texts[:SEEN])] == _rows(encoder, texts[:SEEN])
    document = json.loads(small.files()["tokenizer.json"])
    assert document["padding"]["pad_id"] == small.tokenizer.token_to_id("[PAD]")
    assert document["post_processor"]["special_tokens"]["[SEP]"]["ids"] == [small.tokenizer.token_to_id("[SEP]")]
    assert _rows(small, ["zyxwvutsrqponmlkjihgfedcba"])[0].count(small.tokenizer.token_to_id("[UNK]")) == 0


def test_counts_are_of_what_the_encoder_reads(texts: list[str]) -> None:
    encoder = TokenEncoder(train_tokenizer(texts[:50], vocabulary_size=300), max_length=4)
    counts = count_pieces(encoder, ["why why why why why why", "why"])
    names = {encoder.tokenizer.id_to_token(piece): count for piece, count in counts.items()}
    assert names == {"[CLS]": 2, "wh": 2, "##y": 2, "[SEP]": 2}


def _unigram_of(vocabulary: list[tuple[str, float]]) -> TokenEncoder:
    return TokenEncoder(Tokenizer(models.Unigram(vocabulary, unk_id=0)).to_str().encode())


def test_a_unigram_keeps_the_score_of_the_unknown() -> None:
    """Without "zzzz" the unknown would be scored by -15, and X unknown + abc would beat Xa + bc."""
    vocabulary = [("<unk>", 0.0), ("Xa", -15.0), ("zzzz", -20.0), ("bc", -15.0), ("abc", -1.0)]
    encoder = _unigram_of(vocabulary)
    assert [vocabulary[piece][0] for piece in _rows(encoder, ["Xabc"])[0]] == ["Xa", "bc"]
    without = _unigram_of([entry for entry in vocabulary if entry[0] != "zzzz"])
    assert len(_rows(without, ["Xabc"])[0]) == 2
    assert _rows(without, ["Xabc"])[0][0] == 0
    small, old = keep_pieces(encoder, {1, 3, 4})
    assert [old[piece] for piece in _rows(small, ["Xabc"])[0]] == _rows(encoder, ["Xabc"])[0]


def test_a_bpe_keeps_every_way_to_a_piece() -> None:
    """abc is a + bc in this word and ab + c in that one: both ways stay, and what neither needs goes."""
    vocabulary = {piece: number for number, piece in enumerate(["a", "b", "c", "x", "bc", "xa", "ab", "abc", "xab"])}
    merges = [("b", "c"), ("a", "bc"), ("a", "b"), ("ab", "c"), ("x", "a"), ("xa", "b")]
    encoder = TokenEncoder(Tokenizer(models.BPE(vocabulary, merges)).to_str().encode())
    small, old = keep_pieces(encoder, [vocabulary["abc"]])
    document = json.loads(small.files()["tokenizer.json"])
    assert [old[number] for number in document["model"]["vocab"].values()] == [0, 1, 2, 3, 4, 6, 7]
    assert [tuple(merge) for merge in document["model"]["merges"]] == merges[:4]
    assert [old[piece] for piece in _rows(small, ["xabc"])[0]] == _rows(encoder, ["xabc"])[0]


@pytest.mark.parametrize("kind", ["byte-level BPE", "BPE with word ends"])
def test_a_merge_stays_where_its_parts_and_its_result_do(kind: str, texts: list[str]) -> None:
    encoder = TokenEncoder(KINDS[kind](texts))
    small, _ = keep_pieces(encoder, count_pieces(encoder, texts[:50]))
    before, after = (json.loads(one.files()["tokenizer.json"])["model"] for one in (encoder, small))

    def possible(merge: str | list[str]) -> bool:
        first, second = merge.split(" ") if isinstance(merge, str) else merge
        return {first, second, first + second} <= set(after["vocab"])

    assert after["merges"] == [merge for merge in before["merges"] if possible(merge)]
    assert 0 < len(after["merges"]) < len(before["merges"])


def test_a_bpe_of_inner_marks_names_its_results_without_them() -> None:
    vocabulary = {piece: number for number, piece in enumerate(["a", "##b", "##c", "ab", "abc", "##bc"])}
    merges = [("a", "##b"), ("ab", "##c"), ("##b", "##c")]
    model = models.BPE(vocabulary, merges, continuing_subword_prefix="##")
    encoder = TokenEncoder(Tokenizer(model).to_str().encode())
    small, old = keep_pieces(encoder, [vocabulary["abc"]])
    assert old == [0, 1, 2, 3, 4]
    assert [old[piece] for piece in _rows(small, ["abc"])[0]] == _rows(encoder, ["abc"])[0] == [4]


def test_a_word_that_greed_could_not_cut_may_become_known() -> None:
    """The limit of a WordPiece in which a sign is no piece by itself: "ab" was a way that led nowhere."""
    model = models.WordPiece({"[UNK]": 0, "a": 1, "ab": 2, "##bX": 3}, unk_token="[UNK]")
    encoder = TokenEncoder(Tokenizer(model).to_str().encode())
    small, old = keep_pieces(encoder, [3])
    assert _rows(encoder, ["abX"]) == [[0]]
    assert [old[piece] for piece in _rows(small, ["abX"])[0]] == [1, 3]


@pytest.mark.parametrize("change", [{}, {"type": None}])
def test_a_file_that_names_no_type_is_told_by_its_fields(texts: list[str], change: dict[str, Any]) -> None:
    document = json.loads(train_tokenizer(texts[:50], vocabulary_size=300))
    del document["model"]["type"]
    document["model"] |= change
    encoder = TokenEncoder(json.dumps(document).encode())
    _, old = keep_pieces(encoder, [])
    assert 5 < len(old) < 300


def test_a_word_level_tokenizer_is_refused_by_name() -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "why": 1}, unk_token="[UNK]"))
    with pytest.raises(InputError, match="of type WordLevel cannot be trimmed; allowed: WordPiece, Unigram, BPE"):
        keep_pieces(TokenEncoder(tokenizer.to_str().encode()), [1])
