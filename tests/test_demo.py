"""What the demo decides: the smallest that passes on test rows and is not ruled out by validation rows.

The reports are of real models on real rows; `make demo` itself is the test of the whole line.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import digits_models
import pytest

from toolkit.comparison import Compared
from toolkit.demo import FALLBACK, SETTINGS, choose
from toolkit.judge.quality import judge
from toolkit.predictor import Predictor
from toolkit.report import Report


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """ "good" is the reference itself, "bad" a model of 60 rows; both judged on the same rows."""
    folder, made = tmp_path_factory.mktemp("reports"), {}
    whole = digits_models.make_artifact(folder / "whole")
    for name, rows in (("good", digits_models.TRAIN_ROWS), ("bad", 60)):
        artifact = digits_models.make_artifact(folder / name, training_rows=rows)
        with Predictor.load(whole) as reference, Predictor.load(artifact) as candidate:
            quality = judge(reference, candidate, digits_models.held_out(), max_drop=SETTINGS["max_drop"])
            made[name] = Report.of(artifact, facts=candidate.runner.facts(), quality=quality)
    return made


def compared(reports: dict[str, Report], **stages: tuple[str, str, int]) -> Compared:
    """Stages by name: which report they have on validation, which on test, and their size."""
    test: dict[str, Any] = {FALLBACK: replace(reports["good"], size_bytes=1000)}
    validation = {FALLBACK: reports["good"]}
    for name, (chosen_by, judged_as, size) in stages.items():
        validation[name.replace("_", "-")] = reports[chosen_by]
        test[name.replace("_", "-")] = replace(reports[judged_as], size_bytes=size)
    return Compared(test, validation)


def test_the_smallest_that_passes_is_packaged(reports: dict[str, Report]) -> None:
    found = compared(reports, baseline_int8=("good", "good", 300), pruned_int8=("good", "good", 200))
    assert choose(found)[0] == "pruned-int8"


def test_a_smaller_one_that_is_worse_on_validation_is_not(reports: dict[str, Report]) -> None:
    found = compared(reports, baseline_int8=("good", "good", 300), pruned_int8=("bad", "good", 200))
    assert choose(found)[0] == "baseline-int8"


def test_one_that_fails_on_test_rows_is_passed_over(reports: dict[str, Report]) -> None:
    found = compared(reports, pruned_int8=("good", "bad", 200), baseline_int8=("good", "good", 300))
    assert choose(found)[0] == "baseline-int8"


def test_nothing_that_passes_gives_fp32_and_says_so(reports: dict[str, Report]) -> None:
    name, reason = choose(compared(reports, pruned_int8=("bad", "bad", 200)))
    assert name == FALLBACK
    assert "fp32" in reason
