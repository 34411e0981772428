"""The model card parses as the hub's own library reads it, and holds measured numbers only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import digits_models as models
import pytest
import yaml

from toolkit.artifact import Artifact
from toolkit.card import model_card
from toolkit.errors import InputError
from toolkit.judge.assessment import assess
from toolkit.judge.quality import judge
from toolkit.predictor import Predictor
from toolkit.report import Report

SPLIT = models.held_out(200)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Report]:
    artifact = models.make_artifact(tmp_path_factory.mktemp("card") / "digits", name='digits: "small"')
    with Predictor.load(artifact) as predictor:
        return artifact, Report.of(artifact, facts=predictor.runner.facts(), quality=assess(predictor, SPLIT))


def front_of(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_hubs_library_reads_its_results(made: tuple[Artifact, Report]) -> None:
    from huggingface_hub import ModelCard

    artifact, report = made
    card = ModelCard(model_card(artifact, report))
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["accuracy"].metric_value == report.values["accuracy"]["value"]
    assert results["accuracy"].dataset_split == "test"
    assert results["accuracy"].task_type == "image-classification"
    assert card.data.model_name == 'digits: "small"'
    assert card.data.library_name == "onnx"
    assert card.data.datasets == ["digits"]


def test_it_tells_lineage_intent_and_limits(made: tuple[Artifact, Report]) -> None:
    artifact, report = made
    card = model_card(artifact, report)
    assert artifact.digest in card
    assert '1. train: `{"rows": 1000}`' in card
    assert "`zero`, `one`" in card
    assert "Trained on the data set `digits` (seed 0)" in card
    assert report.date in card
    assert "always answers one of its labels" in card
    assert f"{100 * report.values['accuracy']['value']:.1f} (" in card


def test_what_was_not_measured_is_said_to_be_so(made: tuple[Artifact, Report]) -> None:
    artifact, report = made
    card = model_card(artifact, replace(report, quality=None))
    assert "accuracy was not measured" in card
    assert "model-index" not in front_of(card)


def test_int8_with_dynamic_scales_carries_its_warnings_and_its_verdict(tmp_path: Path) -> None:
    fp32, int8 = models.make_artifact(tmp_path / "fp32"), models.make_int8_artifact(tmp_path / "int8")
    with Predictor.load(fp32) as before, Predictor.load(int8) as after:
        quality = judge(before, after, SPLIT, max_drop=0.02)
        card = model_card(int8, Report.of(int8, facts=after.runner.facts(), quality=quality))
    assert "serve it one row at a time" in card
    assert f"Against the model it replaces: {quality.verdict.words}" in card
    assert front_of(card)["tags"] == ["serving-toolkit", "int8"]
    assert "datasets" not in front_of(card)  # it remembers no data


def test_a_report_of_another_artifact_is_refused(made: tuple[Artifact, Report]) -> None:
    artifact, report = made
    with pytest.raises(InputError, match="measure it again"):
        model_card(artifact, replace(report, digest="0" * 64))
