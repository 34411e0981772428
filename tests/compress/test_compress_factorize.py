"""A token table of few columns: what it keeps, what it refuses, and that everything behind it goes on working."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compress_samples import Sample, short_recipe

from toolkit.classifier import Classifier, load_classifier
from toolkit.compress.factorize import factorize
from toolkit.compress.inherit import count_tokens, inherit
from toolkit.compress.prune import cut, prune
from toolkit.compress.quantize import quantize
from toolkit.compress.quantize_aware import quantize_aware
from toolkit.compress.scheme import Scheme
from toolkit.compress.sensitivity import quantize_mixed
from toolkit.compress.shapes import shapes_after
from toolkit.compress.student import choose_student
from toolkit.compress.tables import find_tables
from toolkit.compress.teachers import digest_of_weights
from toolkit.compress.trim_vocabulary import trim_vocabulary
from toolkit.errors import RecipeError
from toolkit.export.onnx import export
from toolkit.nets import build_net
from toolkit.nets.transformer import Transformer
from toolkit.predictor import Predictor
from toolkit.spec import Array
from toolkit.train.saving import save_trained

COLUMNS = 24


@pytest.fixture(scope="module")
def small(transformer: Sample) -> Classifier:
    """The sample's transformer, its table of 64 columns factorized to 24."""
    return cut(transformer.classifier, transformer.data, keep=1.0, embedding=COLUMNS)


def _net(classifier: Classifier) -> Transformer:
    assert isinstance(classifier.net, Transformer)
    return classifier.net


def _counts(sample: Sample) -> torch.Tensor:
    texts = sample.data.split("train").examples
    return count_tokens(sample.classifier.encoder, texts, _net(sample.classifier).sizes.vocabulary)


def _logits(classifier: Classifier, sample: Sample) -> Array:
    return classifier.run(classifier.encoder.encode(sample.data.split("test").examples[:100]))


def test_nearly_all_columns_answer_nearly_alike_and_fewer_less_so(transformer: Sample) -> None:
    classifier, counts = transformer.classifier, _counts(transformer)
    before, told = digest_of_weights(classifier.net), _logits(classifier, transformer)
    apart, shares = [], []
    for columns in (8, 24, 63):
        net, share = factorize(_net(classifier), counts, columns)
        assert net.sizes == replace(_net(classifier).sizes, embedding=columns)
        assert net.tokens.weight.shape == (net.sizes.vocabulary, columns)
        apart.append(float(np.abs(_logits(replace(classifier, net=net), transformer) - told).max()))
        shares.append(share)
    assert shares == sorted(shares)
    assert apart == sorted(apart, reverse=True)
    assert shares[-1] > 0.99
    assert apart[-1] < 0.05 * np.abs(told).max()
    assert digest_of_weights(classifier.net) == before


def test_a_table_of_few_components_and_a_mean_loses_nothing(transformer: Sample) -> None:
    """The mean lies outside the components: without its part in the positions the vectors would be others."""
    chance = torch.Generator().manual_seed(0)
    net = Transformer(_net(transformer.classifier).sizes).eval()
    rows = net.sizes.vocabulary
    with torch.no_grad():
        vectors = torch.randn(rows, 5, generator=chance) @ torch.randn(5, 64, generator=chance)
        net.tokens.weight.copy_(vectors + 3 * torch.randn(64, generator=chance))
    made, share = factorize(net, torch.rand(rows, generator=chance) + 0.1, 5)
    assert share == pytest.approx(1.0, abs=1e-6)
    sums = [n.token_vectors()[:50, None] + n.positions.weight[None] for n in (net, made)]
    torch.testing.assert_close(sums[1], sums[0], atol=1e-4, rtol=1e-4)
    ids = torch.randint(0, rows, (4, 9), generator=chance)
    with torch.no_grad():
        torch.testing.assert_close(made(ids, torch.ones_like(ids)), net(ids, torch.ones_like(ids)), atol=1e-4, rtol=0)
    assert float(made.tokens.weight.mean(dim=0).abs().max()) < 0.5, "the mean is in the positions"


def test_no_column_is_much_larger_than_another(transformer: Sample) -> None:
    """Turned among themselves: one scale a row serves all of its values."""
    net, _ = factorize(_net(transformer.classifier), _counts(transformer), COLUMNS)
    spread = net.tokens.weight.std(dim=0)
    assert float(spread.max() / spread.min()) < 3.0
    assert net.lift is not None
    torch.testing.assert_close(net.lift.weight.T @ net.lift.weight, torch.eye(COLUMNS), atol=1e-5, rtol=0)


def test_a_factorized_table_is_factorized_further_and_not_back(transformer: Sample, small: Classifier) -> None:
    counts, net = _counts(transformer), _net(small)
    further, share = factorize(net, counts, 8)
    assert further.sizes.embedding == 8
    assert 0 < share < 1
    again, whole = factorize(net, counts, COLUMNS)
    assert whole == pytest.approx(1.0, abs=1e-4)
    assert _logits(replace(small, net=again), transformer) == pytest.approx(_logits(small, transformer), abs=1e-3)
    with pytest.raises(RecipeError, match="embedding is 25; the token table has 24 columns, allowed: 1 to 24"):
        factorize(net, counts, 25)
    with pytest.raises(RecipeError, match="embedding is 64; allowed: 1 to 63, less than the net's width, or None"):
        factorize(_net(transformer.classifier), counts, 64)


def test_the_cut_is_recorded_reloads_and_gets_smaller_by_the_table(
    transformer: Sample, small: Classifier, tmp_path: Path
) -> None:
    whole, rows = transformer.classifier, _net(transformer.classifier).sizes.vocabulary
    settings = small.steps[-1].settings
    assert (settings["keep"], settings["embedding"], settings["sizes"]["embedding"]) == (1.0, COLUMNS, COLUMNS)
    assert 0.5 < settings["variance_kept"] < 1.0
    assert small.parameters == whole.parameters - rows * (64 - COLUMNS) + 64 * COLUMNS
    assert cut(whole, transformer.data, keep=1.0).steps[-1].settings["embedding"] is None
    loaded = load_classifier(save_trained(small, transformer.data, tmp_path))
    assert loaded.net.sizes == small.net.sizes
    assert np.array_equal(_logits(loaded, transformer), _logits(small, transformer))


def test_asked_for_what_it_has_it_stays_as_it_is(transformer: Sample, small: Classifier) -> None:
    again = cut(small, transformer.data, keep=1.0, embedding=COLUMNS)
    assert digest_of_weights(again.net) == digest_of_weights(small.net)
    assert again.steps[-1].settings["variance_kept"] is None


def test_recovery_follows_where_nothing_but_the_table_was_cut(transformer: Sample) -> None:
    told = _logits(transformer.classifier, transformer)

    def apart(recover: int) -> float:
        recipe = short_recipe("transformer", learning_rate=1e-3)
        made = prune(transformer.classifier, transformer.data, keep=1.0, embedding=1, recover=recover, recipe=recipe)
        assert made.fitted.epochs_run == recover
        assert made.classifier.steps[-1].settings["recover"] == recover
        return float(np.square(_logits(made.classifier, transformer) - told).mean())

    assert apart(2) < 0.75 * apart(0)


def test_the_width_goes_first_and_rounds_factorize_in_the_first(transformer: Sample, tmp_path: Path) -> None:
    words: list[tuple[str, str]] = []
    recipe = short_recipe("transformer")
    made = prune(
        transformer.classifier, transformer.data, keep=0.5, layers=2, width=40, embedding=16, rounds=2, recover=2,
        recipe=recipe, progress=lambda stage, done, total, said="": words.append((stage, said)),
    ).classifier  # fmt: skip
    sizes = _net(made).sizes
    assert (sizes.width, sizes.embedding, len(sizes.heads)) == (40, 16, 2)
    stages = [stage for stage, _ in words]
    assert stages.count("factorize") == 1
    assert stages.index("factorize") < stages.index("train")
    assert made.steps[-1].settings["variance_kept"] > 0.5
    _, parity = export(made, tmp_path, examples=transformer.data.split("test").examples[:20])
    assert parity.passed()


def test_a_factorized_net_is_cut_further(transformer: Sample, small: Classifier) -> None:
    narrow = _net(cut(small, transformer.data, keep=0.5, width=40))
    assert (narrow.sizes.width, narrow.sizes.embedding) == (40, COLUMNS)
    assert narrow.lift is not None
    assert torch.equal(narrow.tokens.weight, _net(small).tokens.weight)
    lifted = {tuple(row.tolist()) for row in _net(small).lift.weight}  # type: ignore[union-attr]
    assert {tuple(row.tolist()) for row in narrow.lift.weight} < lifted
    with pytest.raises(RecipeError, match="width is 24; the token table of this net has 24 columns, allowed: more"):
        cut(small, transformer.data, keep=1.0, width=24)
    with pytest.raises(RecipeError, match="embedding is 32; allowed: 1 to 24, columns that its token table has, of 64"):
        cut(small, transformer.data, keep=1.0, embedding=32)


@pytest.mark.parametrize("embedding", [0, -1, 40, 64])
def test_columns_out_of_their_range_are_refused(transformer: Sample, embedding: int) -> None:
    with pytest.raises(RecipeError, match=rf"embedding is {embedding}; allowed: 1 to 39, less than the width of 40"):
        cut(transformer.classifier, transformer.data, keep=1.0, width=40, embedding=embedding)


def test_a_cnn_has_no_table(cnn: Sample) -> None:
    with pytest.raises(RecipeError, match="embedding is 8; a cnn has no token table, leave embedding out"):
        prune(cnn.classifier, cnn.data, keep=0.5, embedding=8)


def test_its_shape_is_foreseen(transformer: Sample, small: Classifier) -> None:
    sizes = _net(transformer.classifier).sizes
    assert shapes_after(sizes, keep=1.0, embedding=COLUMNS) == _net(small).sizes
    assert shapes_after(_net(small).sizes, keep=1.0, width=40).embedding == COLUMNS
    with pytest.raises(RecipeError, match="embedding is 64; allowed: 1 to 63"):
        shapes_after(sizes, keep=1.0, embedding=64)


@pytest.mark.parametrize("mode", ["dynamic", "static", "weights"])
def test_it_exports_and_table_and_product_are_int8(
    transformer: Sample, small: Classifier, mode: str, tmp_path: Path
) -> None:
    for name in ("fp32", "int8"):
        (tmp_path / name).mkdir()
    artifact, parity = export(small, tmp_path / "fp32", examples=transformer.data.split("test").examples[:20])
    assert parity.max_relative_difference < 1e-4
    assert artifact.size_bytes < transformer.artifact.size_bytes
    calibration = transformer.data.split("train") if mode == "static" else None
    scheme = Scheme(mode=mode, rows=64)
    int8 = quantize(artifact, tmp_path / "int8", scheme, calibration=calibration)
    model = onnx.load_from_string(int8.read("model.onnx"))
    stored = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    shapes = {tuple(t.dims) for t in model.graph.initializer if t.data_type in stored}
    assert (_net(small).sizes.vocabulary, COLUMNS) in shapes
    # the product has 24 x 64 weights: too few to be worth it, but where size is all that is asked
    assert ((COLUMNS, 64) in shapes) == (mode == "weights")
    assert not find_tables(model)
    examples = transformer.data.split("test").examples
    with Predictor.load(artifact) as exact, Predictor.load(int8) as rounded:
        assert float((exact.logits(examples).argmax(1) == rounded.logits(examples).argmax(1)).mean()) > 0.9


def test_a_large_product_is_int8_too(transformer: Sample, tmp_path: Path) -> None:
    """From 4,096 weights on, like any other; with its sensitivity, and trained to stand it."""
    wide = replace(_net(transformer.classifier).sizes, width=128, embedding=40)
    torch.manual_seed(0)
    classifier = replace(transformer.classifier, net=Transformer(wide).eval(), temperature=1.0)
    for name in ("fp32", "int8", "mixed", "aware"):
        (tmp_path / name).mkdir()
    validation, train = transformer.data.split("validation"), transformer.data.split("train")
    artifact, _ = export(classifier, tmp_path / "fp32", examples=validation.examples[:20])
    scheme = Scheme(mode="static", rows=64)
    int8 = quantize(artifact, tmp_path / "int8", scheme, calibration=train)
    made = {tuple(t.dims) for t in _constants(int8.read("model.onnx")) if t.data_type == onnx.TensorProto.INT8}
    assert (40, 128) in made
    mixed = quantize_mixed(artifact, tmp_path / "mixed", scheme, calibration=train, validation=validation, max_drop=0.5)
    ranked = mixed.core.steps[-1].settings["mixed"]["sensitivity"]
    assert any("lift" in found["node"] for found in ranked)
    aware = quantize_aware(
        classifier, transformer.data, tmp_path / "aware", epochs=0, rows=32, recipe=short_recipe("transformer")
    )
    assert aware.artifact.core.steps[-2].settings["int8"] == {"MatMul": 13, "embedding table": 1}


def _constants(model: bytes) -> list[Any]:
    return list(onnx.load_from_string(model).graph.initializer)


def test_trimming_keeps_the_columns(transformer: Sample, small: Classifier) -> None:
    trimmed = trim_vocabulary(small, transformer.data)
    assert trimmed.pieces < trimmed.pieces_before
    assert _net(trimmed.classifier).sizes == replace(_net(small).sizes, vocabulary=trimmed.pieces)
    train = transformer.data.split("train").examples[:64]
    before, after = (c.run(c.encoder.encode(train)) for c in (small, trimmed.classifier))
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("kind", "sizes", "said"),
    [
        ("lstm", {"width": 48, "hidden": 8}, "48 principal components of 64"),
        ("textcnn", {"width": 64, "filters": (8,), "kernels": (3,)}, "copied"),
    ],
)
def test_other_students_take_the_lifted_vectors(
    kind: str, sizes: Mapping[str, Any], said: str, transformer: Sample, small: Classifier
) -> None:
    student = build_net(kind, {"vocabulary": _net(small).sizes.vocabulary, "labels": 6, **sizes})
    record = inherit(student, small, transformer.data.split("train").examples, [])
    assert record["tokens"] == said
    if said == "copied":
        own, theirs = student.get_parameter("tokens.weight").detach(), _net(small).token_vectors().detach()
        torch.testing.assert_close(own / own.std(), theirs / theirs.std(), atol=1e-4, rtol=1e-4)


def test_a_student_of_its_layers_keeps_the_table_as_long_as_it_is_wider(transformer: Sample, small: Classifier) -> None:
    def student(**sizes: Any) -> tuple[Transformer, Mapping[str, Any]]:
        made = choose_student(small, transformer.data, net="transformer", layers=2, sizes=sizes)
        assert isinstance(made.net, Transformer)
        assert made.inherited is not None
        return made.net, made.inherited

    copied, _ = student()
    assert copied.sizes.embedding == COLUMNS
    fewer, record = student(feed_forward=64)
    assert record["stream"] == "copied"
    assert torch.equal(fewer.token_vectors(), _net(small).token_vectors())
    narrow, record = student(width=40)
    assert (narrow.sizes.embedding, record["stream"]) == (COLUMNS, "40 principal components of 64")
    assert torch.equal(narrow.tokens.weight, _net(small).tokens.weight)
    plain, record = student(width=16)
    assert (plain.sizes.embedding, plain.lift, record["stream"]) == (None, None, "16 principal components of 64")
    other, record = student(head_width=8)
    assert record["tokens"] == f"{COLUMNS} principal components of 64"
    assert record["variance_kept"] == pytest.approx(1.0, abs=1e-3)
    centred = [vectors - vectors.mean(dim=0) for vectors in (other.token_vectors(), _net(small).token_vectors())]
    assert float((centred[0] - centred[1]).norm() / centred[1].norm()) < 0.1


def test_a_whole_table_teaches_no_factorized_one_by_its_layers(transformer: Sample, small: Classifier) -> None:
    """The components of states and of a table are two bases: such a student takes its token vectors only."""
    student = Transformer(_net(small).sizes)
    record = inherit(student, transformer.classifier, transformer.data.split("train").examples, [0, 1, 2])
    assert record["layers"] == f"new: a token table of {COLUMNS} columns is another than the teacher's"
    assert record["tokens"] == f"{COLUMNS} principal components of 64"
