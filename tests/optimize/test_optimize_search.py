"""A whole search on real data: it answers, it says why, it goes on after a kill, it ends when told to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Digits

from toolkit.artifact import load_artifact
from toolkit.errors import DataError, InputError
from toolkit.optimize import Found, check_fit, describe, optimize
from toolkit.optimize.budget import Budget
from toolkit.optimize.plan import Choices, Plan
from toolkit.optimize.trial import FAILED, MADE, REJECTED, read_trials
from toolkit.predictor import Predictor

pytest.importorskip("optuna", reason="the optimize extra is not installed")
SPACE: dict[str, Choices] = {"quantize": {}, "prune": {"keep": (0.25, 0.5)}}
BUDGET = Budget(max_drop=0.05, hours=0.015)


class Stop(BaseException):
    """The machine goes off."""


@pytest.fixture(scope="module")
def searched(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path, list[str]]:
    folder, said = tmp_path_factory.mktemp("search") / "found", []
    return optimize(digits.artifact, digits.data, folder, BUDGET, space=SPACE, announce=said.append), folder, said


def test_the_answers_are_artifacts_that_load_and_answer(
    digits: Digits, searched: tuple[Found, Path, list[str]]
) -> None:
    found, folder, _ = searched
    for answer in found.decision.answers:
        with Predictor.load(folder / answer.role) as predictor:
            rows = digits.data.split("test")
            labels = [prediction.label for prediction in predictor(rows.examples)]
        right = sum(label == digits.data.labels[row] for label, row in zip(labels, rows.labels.tolist(), strict=True))
        assert right / len(rows) == answer.report.to_json()["test"]["accuracy"]["value"]
        assert load_artifact(folder / answer.role).digest == answer.artifact.digest


def test_every_trial_is_recorded_and_every_candidate_has_a_reason(searched: tuple[Found, Path, list[str]]) -> None:
    found, folder, _ = searched
    assert [trial.to_json() for trial in found.trials] == [trial.to_json() for trial in read_trials(folder)]
    assert {trial.plan.family for trial in found.trials} == {"quantize", "prune"}
    assert {candidate.name for candidate in found.decision.candidates} == set(found.decision.reasons)
    assert all(found.decision.reasons.values())
    made = [trial for trial in found.trials if trial.state == MADE]
    assert all(trial.curve and trial.curve[-1].share == 1.0 for trial in made if trial.plan.trains)
    assert not [trial for trial in found.trials if trial.state == FAILED]


def test_the_best_is_no_slower_than_any_other_within_the_budget(searched: tuple[Found, Path, list[str]]) -> None:
    decision = searched[0].decision
    held = [candidate for candidate in decision.candidates if not candidate.misses(BUDGET)]
    assert held
    assert decision.answers[0].candidate.cost.mean_ms == min(candidate.cost.mean_ms for candidate in held)


def test_the_report_is_json_with_the_final_verdict(searched: tuple[Found, Path, list[str]]) -> None:
    document = json.loads(json.dumps(describe(searched[0], BUDGET, {"seed": 0}), allow_nan=False))
    best = document["answers"]["best"]
    assert best["report"]["split"] == "test"
    assert best["report"]["verdict"]["max_drop"] == BUDGET.max_drop
    assert best["faster_than_reference"]["median"] > 1.0
    assert best["smaller_than_reference"] > 1.0
    assert all(candidate["reason"] for candidate in document["candidates"])


def test_a_search_says_how_it_stands(searched: tuple[Found, Path, list[str]]) -> None:
    said = searched[2]
    assert "the model that came" in said[0]
    assert sum("best so far" in words for words in said) >= 3


def test_a_killed_search_goes_on_where_it_stood(digits: Digits, tmp_path: Path) -> None:
    def kill(words: str) -> None:
        if words.startswith("t02"):
            raise Stop

    with pytest.raises(Stop):
        optimize(digits.artifact, digits.data, tmp_path / "s", BUDGET, space=SPACE, announce=kill)
    before = read_trials(tmp_path / "s")
    assert len(before) == 2
    said: list[str] = []
    found = optimize(digits.artifact, digits.data, tmp_path / "s", BUDGET, space=SPACE, announce=said.append)
    assert list(found.trials[:2]) == before
    assert any("goes on after 2 trials" in words for words in said)
    plans = [(trial.plan, trial.effort) for trial in found.trials]
    assert len(plans) == len(set(plans))


def test_an_interrupted_search_answers_with_what_it_has(digits: Digits, tmp_path: Path) -> None:
    def interrupt(words: str) -> None:
        if words.startswith("t01"):
            raise KeyboardInterrupt

    found = optimize(digits.artifact, digits.data, tmp_path / "s", BUDGET, space=SPACE, announce=interrupt)
    assert found.interrupted
    assert [trial.plan for trial in found.trials] == [Plan.of("quantize")]
    assert (tmp_path / "s" / "best" / "model.onnx").is_file()


def test_an_impossible_budget_gives_the_best_attempt_and_by_how_much_it_misses(digits: Digits, tmp_path: Path) -> None:
    budget = replace(BUDGET, max_size_bytes=100)
    found = optimize(digits.artifact, digits.data, tmp_path / "s", budget, space=SPACE)
    best = found.decision.answers[0]
    assert best.misses
    assert "MB too large" in best.misses[0]
    trained = [trial for trial in found.trials if trial.plan.trains]
    assert trained
    assert all(trial.state == REJECTED for trial in trained)
    assert "too large" in trained[0].reason


def test_the_model_that_came_is_not_touched(digits: Digits, searched: tuple[Found, Path, list[str]]) -> None:
    assert load_artifact(digits.artifact.folder).digest == digits.artifact.digest
    digits.artifact.verify()
    assert searched[0].decision.reference.digest == digits.artifact.digest


def test_labels_that_differ_are_refused(digits: Digits) -> None:
    data = replace(digits.data, labels=tuple(reversed(digits.data.labels)))
    with pytest.raises(InputError, match="give the data that it was trained on"):
        check_fit(digits.artifact, data, BUDGET)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_missing_rows_are_refused(digits: Digits, split: str) -> None:
    splits = {name: rows for name, rows in digits.data.splits.items() if name != split}
    with pytest.raises(DataError, match=f"has no {split} rows"):
        check_fit(digits.artifact, replace(digits.data, splits=splits), BUDGET)


def test_too_few_rows_to_decide_are_refused(digits: Digits) -> None:
    few = {**digits.data.splits, "validation": digits.data.split("validation").take(range(40))}
    with pytest.raises(DataError, match=r"40 validation rows cannot tell a drop of 0\.01: one row is 0\.025"):
        check_fit(digits.artifact, replace(digits.data, splits=few), Budget(max_drop=0.01))
