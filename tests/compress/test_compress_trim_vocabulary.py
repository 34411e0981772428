"""A vocabulary trimmed: the same answers where pieces stayed, a smaller table, and the loss measured on unseen rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compress_samples import Sample
from small_classifiers import make_classifier

from toolkit.classifier import Classifier, load_classifier, save_classifier
from toolkit.compress.teachers import digest_of_weights
from toolkit.compress.trim_vocabulary import trim_vocabulary
from toolkit.data import Data, Split, hash_rows
from toolkit.encoders.text import TokenEncoder, train_tokenizer
from toolkit.errors import DataError, InputError, RecipeError
from toolkit.export.onnx import export
from toolkit.nets import build_net
from toolkit.predictor import Predictor
from toolkit.spec import Spec

NETS = {
    "transformer": {"width": 16, "heads": (2,), "head_width": 8, "feed_forward": (32,), "positions": 48},
    "lstm": {"width": 16, "hidden": 8},
    "textcnn": {"width": 16, "filters": (8, 8), "kernels": (2, 3)},
}


@pytest.fixture(scope="module")
def tokenizer(trec: Data) -> bytes:
    """Of more rows than are counted: the words of others are what trimming leaves out."""
    texts = [*trec.split("train").examples, *trec.split("validation").examples, *trec.split("test").examples]
    return train_tokenizer(texts, vocabulary_size=2500)


@pytest.fixture(scope="module", params=NETS)
def classifier(request: pytest.FixtureRequest, trec: Data, tokenizer: bytes) -> Classifier:
    """Random weights show a changed answer as well as trained ones."""
    torch.manual_seed(0)
    encoder = TokenEncoder(tokenizer, max_length=48)
    sizes = {"vocabulary": encoder.vocabulary_size, "labels": len(trec.labels), **NETS[request.param]}
    net = build_net(request.param, sizes).eval()
    spec = Spec("text", encoder.inputs, trec.labels, encoder.limits)
    rows = np.unique(hash_rows([*trec.split("train").examples, *trec.split("validation").examples]))
    return Classifier(request.param, net, spec, encoder, split=trec.record(), temperature=1.5, training_rows=rows)


def _ids(classifier: Classifier, examples: Sequence[str]) -> list[list[int]]:
    encoder = classifier.encoder
    assert isinstance(encoder, TokenEncoder)
    return [row.ids for row in encoder.tokenizer.encode_batch_fast(list(examples))]


def _run(classifier: Classifier, examples: Sequence[str]) -> np.ndarray:
    return classifier.run(classifier.encoder.encode(examples))


def test_rows_of_kept_pieces_are_answered_bit_for_bit(classifier: Classifier, trec: Data) -> None:
    trimmed = trim_vocabulary(classifier, trec)
    train = trec.split("train").examples[:64]
    assert np.array_equal(_run(trimmed.classifier, train), _run(classifier, train))
    assert trimmed.pieces < trimmed.pieces_before == classifier.net.sizes.vocabulary
    sizes = trimmed.classifier.net.sizes
    assert sizes == replace(classifier.net.sizes, vocabulary=trimmed.pieces)
    fewer = (trimmed.pieces_before - trimmed.pieces) * sizes.width
    assert trimmed.classifier.parameters == classifier.parameters - fewer
    vocabulary_size = trimmed.classifier.encoder.vocabulary_size
    assert vocabulary_size == trimmed.pieces


def test_a_floor_drops_what_is_rarer_and_the_step_says_what_it_cost(classifier: Classifier, trec: Data) -> None:
    floors = {floor: trim_vocabulary(classifier, trec, floor=floor) for floor in (1, 2, 4)}
    pieces = [found.pieces for found in floors.values()]
    missing = [found.coverage.pieces_missing for found in floors.values()]
    assert pieces == sorted(pieces, reverse=True)
    assert missing == sorted(missing)
    found = floors[4]
    step = found.classifier.steps[-1]
    assert step.name == "trim_vocabulary"
    settings = step.settings
    assert (settings["floor"], settings["pieces_before"], settings["pieces"]) == (4, found.pieces_before, found.pieces)
    assert settings["validation"]["rows"] == len(trec.split("validation"))
    assert settings["validation"]["pieces_missing"] == found.coverage.pieces_missing > 0.02


def test_the_first_pieces_stay_too_and_spell_less(classifier: Classifier, trec: Data) -> None:
    found = {common: trim_vocabulary(classifier, trec, floor=4, common=common) for common in (0, 1200, 9999)}
    pieces = [trimmed.pieces for trimmed in found.values()]
    missing = [trimmed.coverage.pieces_missing for trimmed in found.values()]
    assert pieces == sorted(pieces)
    assert missing == sorted(missing, reverse=True)
    assert found[9999].pieces == found[9999].pieces_before
    assert missing[-1] == 0.0
    assert found[1200].classifier.steps[-1].settings["common"] == 1200
    encoder, before = found[1200].classifier.encoder, classifier.encoder
    assert isinstance(encoder, TokenEncoder)
    assert isinstance(before, TokenEncoder)
    first = [before.tokenizer.id_to_token(number) for number in range(1200)]
    assert all(encoder.tokenizer.token_to_id(piece) is not None for piece in first)


def test_coverage_is_what_validation_rows_say(classifier: Classifier, trec: Data) -> None:
    found = trim_vocabulary(classifier, trec, floor=2)
    validation = trec.split("validation")
    before, after = _ids(classifier, validation.examples), _ids(found.classifier, validation.examples)
    names = found.classifier.encoder.tokenizer.get_vocab()  # type: ignore[attr-defined]
    names_before = {number: name for name, number in classifier.encoder.tokenizer.get_vocab().items()}  # type: ignore[attr-defined]
    read = [[names_before[piece] for piece in row[1:-1]] for row in before]
    lost = [[name not in names for name in row] for row in read]
    coverage = found.coverage
    assert coverage.pieces_missing == pytest.approx(sum(map(sum, lost)) / sum(map(len, lost)))
    assert coverage.rows_changed == pytest.approx(np.mean([any(row) for row in lost]))
    assert coverage.length == pytest.approx(sum(len(row) - 2 for row in after) / sum(len(row) - 2 for row in before))
    assert coverage.length > 1
    assert 0 <= coverage.pieces_unknown <= 0.1 * coverage.pieces_missing
    for share, one in ((coverage.accuracy_before, classifier), (coverage.accuracy_after, found.classifier)):
        assert share == pytest.approx(float((_run(one, validation.examples).argmax(1) == validation.labels).mean()))


def test_unlabeled_texts_are_counted_and_those_that_judge_are_not(classifier: Classifier, trec: Data) -> None:
    plain = trim_vocabulary(classifier, trec)
    judges = [*trec.split("validation").examples, *(text.upper() for text in trec.split("test").examples[:50])]
    leaking = trim_vocabulary(classifier, trec, texts=judges)
    assert leaking.pieces == plain.pieces
    assert leaking.coverage == plain.coverage
    assert leaking.classifier.steps[-1].settings["unlabeled_dropped"] == len(judges)
    words = [f"{text} indeed" for text in trec.split("test").examples[:50]]
    more = trim_vocabulary(classifier, trec, texts=words)
    assert more.pieces > plain.pieces
    assert more.classifier.steps[-1].settings["unlabeled"] == len(words)
    assert np.array_equal(_run(more.classifier, words), _run(classifier, words))
    assert more.classifier.training_rows is not None
    assert np.isin(hash_rows(words), more.classifier.training_rows).all()


def test_the_test_split_changes_nothing(classifier: Classifier, trec: Data) -> None:
    """Other answers, other rows, or none at all: the same vocabulary."""
    bare = replace(classifier, split=None)
    labels = np.zeros(2, dtype=np.int64)
    without = {name: split for name, split in trec.splits.items() if name != "test"}
    found = {
        digest_of_weights(trim_vocabulary(bare, replace(trec, splits=splits)).classifier.net)
        for splits in (trec.splits, without, {**without, "test": Split(["quixotic ?", "zebras"], labels)})
    }
    assert len(found) == 1


def test_the_input_is_untouched_and_the_rest_travels(classifier: Classifier, trec: Data) -> None:
    weights, content = digest_of_weights(classifier.net), classifier.encoder.files()
    made = trim_vocabulary(classifier, trec).classifier
    assert (digest_of_weights(classifier.net), classifier.encoder.files()) == (weights, content)
    made.net.tokens.weight.data.zero_()
    assert digest_of_weights(classifier.net) == weights
    assert (made.temperature, made.split, made.spec) == (1.5, classifier.split, classifier.spec)


def test_counting_every_text_is_a_no_op(classifier: Classifier, trec: Data) -> None:
    pieces = classifier.encoder.tokenizer.get_vocab()  # type: ignore[attr-defined]
    whole = [name for name in pieces if not name.startswith("##")]
    first = trim_vocabulary(classifier, trec, texts=whole)
    again = trim_vocabulary(first.classifier, trec, texts=whole)
    assert again.pieces == again.pieces_before == first.pieces
    assert digest_of_weights(again.classifier.net) == digest_of_weights(first.classifier.net)
    assert again.coverage.rows_changed == again.coverage.pieces_missing == 0
    assert again.coverage.accuracy_after == again.coverage.accuracy_before


def test_every_kind_still_exports_with_parity(classifier: Classifier, trec: Data, tmp_path: Path) -> None:
    """Cut to ids up to the last of the smaller table: none reaches past it."""
    trimmed = trim_vocabulary(classifier, trec, floor=2)
    artifact, parity = export(trimmed.classifier, tmp_path)
    assert parity.passed()
    examples = trec.split("test").examples[:20]
    with Predictor.load(artifact, threads=1) as predictor:
        assert predictor.logits(examples) == pytest.approx(_run(trimmed.classifier, examples), abs=1e-4)


def test_it_is_saved_exported_and_answers_alike(lstm: Sample, tmp_path: Path) -> None:
    """A trained net: its sample is of the new ids, so an export needs no examples and parity holds."""
    trimmed = trim_vocabulary(lstm.classifier, lstm.data, floor=2)
    examples = lstm.data.split("validation").examples
    save_classifier(trimmed.classifier, tmp_path / "trimmed", golden_examples=examples[:4])
    loaded = load_classifier(tmp_path / "trimmed")
    assert loaded.net.sizes.vocabulary == trimmed.pieces
    (tmp_path / "onnx").mkdir()
    artifact, parity = export(trimmed.classifier, tmp_path / "onnx")
    assert parity.passed()
    before = lstm.artifact.files["model.onnx"]["bytes"]
    fewer = 4 * (trimmed.pieces_before - trimmed.pieces) * 64
    assert before - artifact.files["model.onnx"]["bytes"] == pytest.approx(fewer, abs=2000)
    assert artifact.files["encoder/tokenizer.json"]["bytes"] < len(lstm.classifier.encoder.files()["tokenizer.json"])
    with Predictor.load(artifact) as predictor:
        accuracy = float((predictor.logits(examples).argmax(1) == lstm.data.split("validation").labels).mean())
    assert accuracy == pytest.approx(trimmed.coverage.accuracy_after)
    assert trimmed.coverage.accuracy_after > trimmed.coverage.accuracy_before - 0.1


@pytest.mark.parametrize("kind", ["mlp", "cnn", "recommender"])
def test_a_net_without_pieces_is_refused_by_name(kind: str, trec: Data) -> None:
    with pytest.raises(InputError, match=f"a net of kind {kind} over .* has no vocabulary of pieces to trim; allowed"):
        trim_vocabulary(make_classifier(kind), trec)


def test_bad_values_get_one_line(classifier: Classifier, trec: Data) -> None:
    with pytest.raises(RecipeError, match="floor is 0; allowed: 1 or more"):
        trim_vocabulary(classifier, trec, floor=0)
    with pytest.raises(RecipeError, match="common is -1; allowed: 0 or more"):
        trim_vocabulary(classifier, trec, common=-1)
    with pytest.raises(InputError, match="input 1 is empty; this model takes text"):
        trim_vocabulary(classifier, trec, texts=["why ?", " "])
    other = replace(trec, splits={**trec.splits, "train": trec.split("train").take(range(300))})
    with pytest.raises(DataError, match="the teacher learned from the split"):
        trim_vocabulary(classifier, other)
    with pytest.raises(DataError, match="has no validation split"):
        trim_vocabulary(replace(classifier, split=None), replace(trec, splits={"train": trec.split("train")}))
