"""Text becomes the same ids alone, in a batch, and after a trip through files; in any script."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.data.archives import minilm_folder
from toolkit.encoders import encoder_files, load_encoder
from toolkit.encoders.text import TokenEncoder, pad_ids, train_tokenizer
from toolkit.errors import ArtifactError, InputError

TEXTS = ["你好世界 谁写了红楼梦？", "من كتب هذا الكتاب؟", "Who wrote 🎉 Hamlet ?", "plain words, plain words here"]
VISIBLE = st.text(min_size=1, max_size=80).filter(str.strip)


@pytest.fixture(scope="module")
def minilm() -> TokenEncoder:
    return TokenEncoder((minilm_folder() / "tokenizer.json").read_bytes(), max_length=64)


@pytest.fixture(scope="module")
def trained() -> TokenEncoder:
    return TokenEncoder(train_tokenizer(TEXTS, vocabulary_size=200), max_length=64)


def test_known_ids_of_bert(minilm: TokenEncoder) -> None:
    assert minilm.encode(["Who wrote Hamlet?"])["input_ids"].tolist() == [[101, 2040, 2626, 8429, 1029, 102]]


def test_padding_of_the_checkpoint_does_not_leak(minilm: TokenEncoder) -> None:
    settings_of_file = json.loads((minilm_folder() / "tokenizer.json").read_text())
    assert settings_of_file["padding"]["strategy"] == {"Fixed": 128}
    assert minilm.encode(["hi"])["input_ids"].shape == (1, 3)


def test_short_rows_are_padded_and_masked(minilm: TokenEncoder) -> None:
    arrays = minilm.encode(["one", "one two three"])
    assert arrays["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert arrays["input_ids"][0, 3:].tolist() == [minilm.pad_id] * 2
    assert {array.dtype for array in arrays.values()} == {np.dtype("int64")}


def test_long_text_is_cut_at_the_limit(minilm: TokenEncoder) -> None:
    arrays = minilm.encode(["word " * 500])
    assert arrays["input_ids"].shape == (1, 64)
    assert arrays["input_ids"][0, -1] == 102
    assert minilm.limits == {"length": (1, 64)}


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(VISIBLE, min_size=1, max_size=4))
def test_any_text_is_the_same_alone_as_in_a_batch(
    minilm: TokenEncoder, trained: TokenEncoder, texts: list[str]
) -> None:
    for encoder in (minilm, trained):
        batch = encoder.encode(texts)
        for row, text in enumerate(texts):
            alone = encoder.encode([text])["input_ids"][0]
            used = int(batch["attention_mask"][row].sum())
            assert np.array_equal(batch["input_ids"][row, :used], alone)
            assert (batch["input_ids"][row, used:] == encoder.pad_id).all()


@pytest.mark.parametrize("empty", ["", "   ", "\n\t", "\u3000"])
def test_empty_text_is_refused_by_position(minilm: TokenEncoder, empty: str) -> None:
    with pytest.raises(InputError, match="input 1 is empty"):
        minilm.encode(["fine", empty])


def test_what_is_no_text_is_refused(minilm: TokenEncoder) -> None:
    with pytest.raises(InputError, match="input 0 is int; this model takes text"):
        minilm.encode([7])
    with pytest.raises(InputError, match="input 0 is not valid Unicode"):
        minilm.encode(["half a pair \ud83d"])


def test_control_characters_alone_still_give_a_row(minilm: TokenEncoder) -> None:
    assert minilm.encode(["\x00\u200b"])["attention_mask"].sum() >= 1


def test_a_row_of_no_tokens_attends_to_one() -> None:
    arrays = pad_ids([[], [5, 6]], 0)
    assert arrays["input_ids"].tolist() == [[0, 0], [5, 6]]
    assert arrays["attention_mask"].tolist() == [[1, 0], [1, 1]]


def test_files_give_the_same_encoder(trained: TokenEncoder) -> None:
    again = load_encoder(encoder_files(trained))
    assert again.inputs == trained.inputs
    assert again.limits == trained.limits
    assert again.files() == trained.files()
    assert np.array_equal(again.encode(TEXTS)["input_ids"], trained.encode(TEXTS)["input_ids"])


def test_a_broken_tokenizer_is_an_artifact_error() -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer\.json cannot be read"):
        TokenEncoder(b"{}").encode(["text"])
    with pytest.raises(ArtifactError, match="encoder of this artifact cannot be read"):
        load_encoder({"encoder.json": b'{"kind": "tokens"}'})


def test_training_knows_every_sign_it_saw(trained: TokenEncoder) -> None:
    unknown = trained.tokenizer.token_to_id("[UNK]")
    assert unknown not in trained.encode(TEXTS)["input_ids"]
    assert trained.tokenizer.encode("你好世界").tokens == ["[CLS]", "你", "好", "世", "界", "[SEP]"]
    assert unknown in trained.encode(["ζ"])["input_ids"]


def test_training_gives_the_same_bytes_in_another_process() -> None:
    program = (
        "import hashlib, sys, json; from toolkit.encoders.text import train_tokenizer;"
        "print(hashlib.sha256(train_tokenizer(json.loads(sys.argv[1]), vocabulary_size=120)).hexdigest())"
    )
    texts = [
        f"{first}{second} {second}{first}ing" for first in ("ab", "cd", "ef", "gh") for second in ("xy", "zw", "uv")
    ]
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, json.dumps(texts)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(digests) == 1
