"""The shapes a graph is tried at, made of real rows."""

from __future__ import annotations

import numpy as np
import pytest
from small_classifiers import PICTURES, RECORDS, TEXTS, make_classifier

from toolkit.errors import InputError
from toolkit.export.shapes import encode_some, fit_arrays, shape_batches, traced_arrays


def test_texts_are_tried_at_every_batch_and_length() -> None:
    classifier = make_classifier("transformer")
    sample = encode_some(classifier.encoder, TEXTS)
    median = int(np.median(sample["attention_mask"].sum(axis=1)))
    shapes = [batch["input_ids"].shape for batch in shape_batches(classifier.spec, sample)]
    assert shapes == [(rows, length) for length in (1, median, 24) for rows in (1, 2, 7, 32)]


@pytest.mark.parametrize(("kind", "examples"), [("cnn", PICTURES), ("recommender", RECORDS)])
def test_fixed_inputs_are_tried_at_every_batch(kind: str, examples: list[object]) -> None:
    classifier = make_classifier(kind)
    batches = list(shape_batches(classifier.spec, encode_some(classifier.encoder, examples)))
    assert [classifier.spec.check(batch) for batch in batches] == [1, 2, 7, 32]


def test_rows_of_a_batch_keep_lengths_of_their_own() -> None:
    classifier = make_classifier("transformer")
    sample = encode_some(classifier.encoder, TEXTS)
    own = sample["attention_mask"].sum(axis=1).tolist()
    fitted = fit_arrays(sample, batch=7, length=24)
    assert fitted["attention_mask"].sum(axis=1).tolist() == [24, *own[1:]]
    assert (np.diff(fitted["attention_mask"], axis=1) <= 0).all()  # padding is on the right
    for row in range(1, 7):
        assert fitted["input_ids"][row, : own[row]].tolist() == sample["input_ids"][row, : own[row]].tolist()


def test_padding_is_filled_with_the_tokenizers_own_padding() -> None:
    classifier = make_classifier("transformer")
    sample = {name: array.copy() for name, array in encode_some(classifier.encoder, TEXTS).items()}
    sample["input_ids"][sample["attention_mask"] == 0] = 77
    fitted = fit_arrays(sample, batch=7, length=24)
    assert set(fitted["input_ids"][fitted["attention_mask"] == 0].tolist()) == {77}


@pytest.mark.parametrize("examples", [TEXTS[:1], TEXTS])
def test_no_size_of_the_traced_batch_is_one_or_like_another(examples: list[str]) -> None:
    classifier = make_classifier("transformer")
    traced = traced_arrays(classifier.spec, encode_some(classifier.encoder, examples))
    assert traced["input_ids"].shape == (3, 8)
    classifier.spec.check(traced)


def test_no_examples_are_refused() -> None:
    with pytest.raises(InputError, match="a few real examples"):
        encode_some(make_classifier("mlp").encoder, [])
