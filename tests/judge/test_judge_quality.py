"""Two real models on real pictures: what the comparison says, and that it says it of the right rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import digits_models as models
import numpy as np
import pytest

from toolkit.data import Split
from toolkit.encoders.record import Field, RecordEncoder
from toolkit.errors import DataError, GateError, InputError, RecipeError
from toolkit.judge.assessment import assess, assess_logits, users_of
from toolkit.judge.quality import judge, judge_logits
from toolkit.judge.words import describe_quality
from toolkit.predictor import Predictor
from toolkit.spec import Array, Spec

SPLIT = models.held_out()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judged")


@pytest.fixture(scope="module")
def good(folder: Path) -> Iterator[Predictor]:
    with Predictor.load(models.make_artifact(folder / "good")) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def poor(folder: Path) -> Iterator[Predictor]:
    """The same model fitted on 60 rows."""
    with Predictor.load(models.make_artifact(folder / "poor", training_rows=60)) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def int8(folder: Path) -> Iterator[Predictor]:
    with Predictor.load(models.make_int8_artifact(folder / "int8")) as predictor:
        yield predictor


def recommender() -> tuple[Spec, Array, Array, Array]:
    """A spec, logits of a good and of a noisier model, labels and users of 2,000 ratings."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    score = labels + rng.normal(0, 1, 2000)
    logits = np.stack([-score, score], 1).astype(np.float32)
    encoder = RecordEncoder([Field("user", "category", "user", values=("1", "2"))])
    return Spec("recommend", encoder.inputs, ("dislike", "like")), logits, labels, rng.integers(0, 50, 2000)


def test_a_model_against_itself_passes_with_nothing_moved(good: Predictor) -> None:
    quality = judge(good, good, SPLIT, max_drop=0.01)
    assert (quality.gained, quality.lost, quality.flips.count, quality.mcnemar_p) == (0, 0, 0, 1.0)
    assert quality.verdict.answer == "pass"
    assert quality.difference.low < 0 < quality.difference.high
    assert quality.reference == quality.candidate
    assert 0.9 < quality.candidate.accuracy.value < 1


def test_a_worse_model_is_found_out_and_every_count_is_right(good: Predictor, poor: Predictor) -> None:
    quality = judge(good, poor, SPLIT, max_drop=0.01)
    before = np.array([p.label for p in good(SPLIT.examples)])
    after = np.array([p.label for p in poor(SPLIT.examples)])
    truth = np.array(models.LABELS)[SPLIT.labels]
    assert quality.lost == ((before == truth) & (after != truth)).sum()
    assert quality.gained == ((before != truth) & (after == truth)).sum()
    assert {flip.row for flip in quality.flips.rows} == set(np.flatnonzero(before != after).tolist())
    assert quality.difference.value == pytest.approx((after == truth).mean() - (before == truth).mean())
    assert quality.verdict.answer == "worse"
    assert quality.failed
    assert quality.mcnemar_p < 1e-6


def test_classes_come_worst_first_with_their_counts(good: Predictor, poor: Predictor) -> None:
    quality = judge(good, poor, SPLIT, max_drop=0.01)
    deltas = quality.class_deltas()
    assert sum(delta["rows"] for delta in deltas) == len(SPLIT)
    changes = [delta["recall_change"] for delta in deltas]
    assert changes == sorted(changes)
    worst = models.LABELS.index(deltas[0]["label"])
    mine = SPLIT.labels == worst
    answers = np.array([p.label for p in poor(SPLIT.examples)])
    assert deltas[0]["candidate_right"] == (answers[mine] == models.LABELS[worst]).sum()


def test_int8_with_dynamic_scales_is_judged_row_by_row(good: Predictor, int8: Predictor) -> None:
    assert int8.batch_size == 1
    quality = judge(good, int8, SPLIT, max_drop=0.02)
    alone = np.concatenate([int8.logits([example]) for example in SPLIT.examples])
    assert (
        quality.candidate
        == judge_logits(good.logits(SPLIT.examples), alone, SPLIT.labels, spec=good.spec, max_drop=0.02).candidate
    )
    assert quality.verdict.answer == "pass"


def test_too_few_rows_cannot_tell_and_say_how_many_would(good: Predictor, int8: Predictor) -> None:
    few = SPLIT.take(range(40))
    quality = judge(good, int8, few, max_drop=0.005)
    assert quality.verdict.answer == "cannot tell"
    assert not quality.failed
    assert quality.verdict.rows_needed is not None
    assert quality.verdict.rows_needed > 40
    assert judge(good, int8, few, max_drop=0.005, strict=True).failed


def test_labels_in_another_order_are_matched_by_name(good: Predictor, folder: Path) -> None:
    shuffled = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    with Predictor.load(models.make_artifact(folder / "shuffled", order=shuffled)) as other:
        quality = judge(good, other, SPLIT, max_drop=0.01)
    assert quality.flips.count == 0
    assert quality.candidate.accuracy == quality.reference.accuracy


def test_other_labels_are_refused_by_name(good: Predictor) -> None:
    odd = Predictor(good.encoder, good.runner, replace(good.spec, labels=(*models.LABELS[:9], "ten")))
    with pytest.raises(InputError, match="only one of them has: nine, ten"):
        judge(good, odd, SPLIT, max_drop=0.01)


def test_temperature_moves_calibration_and_never_an_answer(good: Predictor) -> None:
    hot = Predictor(good.encoder, good.runner, good.spec, temperature=10.0)
    quality = judge(good, hot, SPLIT, max_drop=0.01)
    assert quality.flips.count == 0
    assert quality.candidate.calibration_error > quality.reference.calibration_error + 0.1


def test_a_candidate_that_answers_nan_fails_the_gate(good: Predictor) -> None:
    logits = good.logits(SPLIT.examples)
    broken = logits.copy()
    broken[[3, 5], 2] = np.nan
    with pytest.raises(GateError, match="2 of 797 rows"):
        judge_logits(logits, broken, SPLIT.labels, spec=good.spec, max_drop=0.01)
    with pytest.raises(InputError, match="reference"):
        judge_logits(broken, logits, SPLIT.labels, spec=good.spec, max_drop=0.01)


def test_bad_rows_and_margins_are_refused(good: Predictor) -> None:
    logits = good.logits(SPLIT.examples)
    with pytest.raises(DataError, match="no rows"):
        judge(good, good, Split([], SPLIT.labels[:0]), max_drop=0.01)
    with pytest.raises(DataError, match="0 to 9"):
        assess_logits(logits[:2], np.array([0, 10]), spec=good.spec)
    with pytest.raises(InputError, match="shape"):
        judge_logits(logits, logits[:, :5], SPLIT.labels, spec=good.spec, max_drop=0.01)
    with pytest.raises(RecipeError, match="max_drop is 2"):
        judge(good, good, SPLIT, max_drop=2)


def test_json_has_the_keys_of_the_design_and_no_example(good: Predictor, poor: Predictor) -> None:
    value = judge(good, poor, SPLIT, max_drop=0.01).to_json()
    assert value["test"]["accuracy"]["low"] < value["test"]["accuracy"]["value"] < value["test"]["accuracy"]["high"]
    assert value["reference"]["accuracy"]["value"] > value["test"]["accuracy"]["value"]
    assert value["flips"]["share"] == value["flips"]["count"] / 797
    assert value["verdict"]["answer"] == "worse"
    assert value["test"]["expected_calibration_error"] != value["reference"]["expected_calibration_error"]
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    named = judge(good, poor, SPLIT, max_drop=0.01, split_name="validation").to_json()
    assert named["split"] == "validation"
    assert "test" not in named


def test_an_assessment_is_the_candidates_half(good: Predictor, poor: Predictor) -> None:
    assert assess(poor, SPLIT) == judge(good, poor, SPLIT, max_drop=0.01).candidate


def test_words_say_what_was_counted(good: Predictor, poor: Predictor) -> None:
    quality = judge(good, poor, SPLIT, max_drop=0.01)
    text = "\n".join(describe_quality(quality))
    assert f"({quality.gained} gained, {quality.lost} lost)" in text
    assert f"{quality.flips.right_to_wrong} right to wrong" in text
    assert text.splitlines()[-1] == "verdict      worse (failed); at most 1 pt may be lost"
    assert quality.class_deltas()[0]["label"] in text


def test_a_recommender_is_judged_by_auc() -> None:
    spec, logits, labels, users = recommender()
    # halfway between the thresholds nothing flips, and yet the order is lost
    flat = np.sign(logits) * np.float32(0.1)
    quality = judge_logits(logits, flat, labels, spec=spec, max_drop=0.01, users=users)
    assert quality.difference.value == 0
    assert quality.verdict.metric == "auc"
    assert quality.verdict.answer == "worse"
    assert quality.candidate.auc is not None
    assert quality.reference.auc is not None
    assert quality.auc_difference is not None
    assert quality.auc_difference.value == pytest.approx(quality.candidate.auc.value - quality.reference.auc.value)
    assert quality.candidate.ndcg_at_10 < quality.reference.ndcg_at_10
    assert 0 < quality.rank_overlap_at_10 < 1
    value = quality.to_json()
    assert value["test"]["auc"]["low"] < value["test"]["auc"]["value"]
    assert any(line.startswith("AUC") for line in describe_quality(quality))


def test_a_recommender_that_cannot_be_told_says_how_many_rows_would() -> None:
    spec, logits, labels, users = recommender()
    noisy = logits + np.random.default_rng(1).normal(0, 0.4, logits.shape)
    quality = judge_logits(logits, noisy, labels, spec=spec, max_drop=0.03, users=users)
    more = judge_logits(logits[:200], noisy[:200], labels[:200], spec=spec, max_drop=0.03, users=users[:200])
    assert more.verdict.answer == "cannot tell"
    assert more.verdict.rows_needed is not None
    assert more.verdict.rows_needed > 200
    assert quality.reference.rows == 2000


def test_a_recommender_needs_two_labels_and_both_kinds() -> None:
    spec, logits, labels, _ = recommender()
    wide = np.concatenate([logits, logits[:, :1]], 1)
    with pytest.raises(InputError, match="two labels"):
        judge_logits(wide, wide, labels, spec=replace(spec, labels=("a", "b", "c")), max_drop=0.01)
    with pytest.raises(DataError, match="rows of both kinds"):
        judge_logits(logits, logits, np.ones_like(labels), spec=spec, max_drop=0.01)


def test_users_come_from_the_slice_or_the_records() -> None:
    rows = [{"user": 7, "item": 1}, {"user": 8, "item": 2}]
    labels = np.array([0, 1])
    assert users_of(Split(rows, labels)).tolist() == ["7", "8"]
    assert users_of(Split(rows, labels, {"user": np.array(["a", "b"])})).tolist() == ["a", "b"]
    assert users_of(Split([{"item": 1}, {"item": 2}], labels)) is None
