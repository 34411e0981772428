"""A report holds what was measured, reads back as it was written, and never mixes two artifacts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import digits_models as models
import pytest

from toolkit.errors import ArtifactError, InputError
from toolkit.judge.assessment import assess
from toolkit.judge.quality import judge
from toolkit.measure.footprint import Footprint
from toolkit.measure.latency import measure_latency
from toolkit.predictor import Predictor
from toolkit.report import Report, describe_runtime, read_report, update_report, write_report

SPLIT = models.held_out(200)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A real INT8 model judged against its fp32 parent and timed."""
    folder = tmp_path_factory.mktemp("reported")
    fp32, int8 = models.make_artifact(folder / "fp32"), models.make_int8_artifact(folder / "int8")
    with Predictor.load(fp32) as before, Predictor.load(int8) as after:
        return Report.of(
            int8,
            facts=after.runner.facts(),
            quality=judge(before, after, SPLIT, max_drop=0.02),
            latency=measure_latency(after, SPLIT.examples, seconds=0.1, warmup=0),
            footprint=Footprint(200.0, 10.0, 1.0, 10_000_000, 60_000_000, 61_000_000),
            seed=7,
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A baseline, assessed and compared with nothing."""
    artifact = models.make_artifact(tmp_path_factory.mktemp("alone") / "fp32")
    with Predictor.load(artifact) as predictor:
        return Report.of(artifact, facts=predictor.runner.facts(), quality=assess(predictor, SPLIT), name="baseline")


def test_the_keys_are_those_of_the_design(whole: Report) -> None:
    value = whole.to_json()
    accuracy = value["test"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert value["flips"]["share"] == value["flips"]["count"] / 200
    assert value["latency"]["p50_ms"] > 0
    assert value["size_bytes"] == whole.size_bytes > 1000
    assert value["footprint"]["memory_bytes"] == 50_000_000
    assert value["steps"][-1] == {"name": "quantize", "settings": {"mode": "dynamic"}}
    assert value["machine"]["packages"]["onnxruntime"]
    assert (value["seed"], value["schema_version"]) == (7, 1)
    assert "parity" not in value  # not measured: absent, never zero


def test_it_reads_back_as_it_was_written(whole: Report, alone: Report, tmp_path: Path) -> None:
    for report in (whole, alone, replace(alone, quality=None)):
        write_report(tmp_path / "deep" / "report.json", report)
        back = read_report(tmp_path / "deep" / "report.json")
        assert back == report
        assert back.to_json() == report.to_json()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.json"]


def test_no_example_stands_in_a_report(whole: Report) -> None:
    flips = whole.to_json()["flips"]
    assert "rows" not in flips
    assert "pixels" not in json.dumps(whole.to_json())


def test_a_row_says_what_was_measured_and_none_for_what_was_not(whole: Report, alone: Report) -> None:
    row = whole.row()
    assert row.accuracy == whole.to_json()["test"]["accuracy"]["value"]
    assert row.verdict == whole.to_json()["verdict"]["words"]
    assert row.p50_ms == whole.to_json()["latency"]["p50_ms"]
    assert row.runtime.startswith("ONNX Runtime")
    assert row.runtime.endswith("int8")
    bare = alone.row()
    assert (bare.stage, bare.flips, bare.verdict, bare.p50_ms, bare.failed) == ("baseline", None, None, None, False)
    assert bare.accuracy is not None
    assert replace(alone, quality=None).row().accuracy is None


def test_parts_measured_at_different_times_come_together(whole: Report, alone: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    judged = replace(whole, latency=None, footprint=None)
    timed = replace(whole, quality=None)
    assert update_report(path, judged) == judged
    merged = update_report(path, timed)
    assert (merged.quality, merged.latency) == (whole.quality, whole.latency)
    assert read_report(path) == merged
    newer = replace(judged, quality=alone.quality)
    assert update_report(path, newer).quality == alone.quality  # what was measured again replaces


def test_numbers_of_another_artifact_or_machine_are_not_kept(whole: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, whole)
    other = replace(whole, digest="f" * 64, quality=None, latency=None, footprint=None)
    assert update_report(path, other) == other
    write_report(path, whole)
    elsewhere = replace(whole, machine={**whole.machine, "processor": "another"}, latency=None)
    assert update_report(path, elsewhere).latency is None
    path.write_text("not json")
    assert update_report(path, whole) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 0}, "schema_version 0; this toolkit reads 1"),
        ({"size_bytes": "many"}, "cannot be read"),
        ({"steps": [1]}, "lineage"),
        ({"test": {}}, "cannot be read"),
        ({"runtime": 3}, "cannot be read"),
    ],
)
def test_another_form_is_refused_with_its_path(whole: Report, tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**whole.to_json(), **change}))
    with pytest.raises(ArtifactError, match=message) as caught:
        read_report(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_report(tmp_path / "none.json")
    for content in ("[]", "3", "{}", "{", '"a"'):
        (tmp_path / "odd.json").write_text(content)
        with pytest.raises(ArtifactError, match=r"odd\.json"):
            read_report(tmp_path / "odd.json")


def test_a_runtime_in_a_few_words() -> None:
    assert (
        describe_runtime({"runtime": "ONNX Runtime 1.32.0", "precision": "int8", "threads": 1})
        == "ONNX Runtime 1.32.0 int8"
    )
    assert describe_runtime({}) == ""
