"""Several real artifacts against one: judged on the same rows, timed together, kept under their key."""

from __future__ import annotations

from pathlib import Path

import digits_models
import pytest

from toolkit.comparison import Compared, compare_artifacts, read_compared, write_compared
from toolkit.data import Data, Split
from toolkit.report import read_report


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("compared")
    artifacts = {
        "whole": digits_models.make_artifact(folder / "whole"),
        "hasty": digits_models.make_artifact(folder / "hasty", training_rows=60),
    }
    rows = digits_models.held_out()
    splits: dict[str, Split] = {"validation": rows.take(range(300)), "test": rows.take(range(300, 797))}
    data = Data("digits", "image", digits_models.LABELS, splits, "0" * 64, 0)
    return compare_artifacts(artifacts, data, reference="whole", max_drop=0.02, seconds=0.4, rounds=2)


def test_the_reference_loses_nothing_against_itself(compared: Compared) -> None:
    quality = compared.test["whole"].quality
    assert quality is not None
    assert quality["flips"]["count"] == 0
    assert quality["verdict"]["answer"] == "pass"


def test_a_model_of_few_rows_is_said_to_be_worse(compared: Compared) -> None:
    quality = compared.test["hasty"].quality
    assert quality is not None
    assert quality["verdict"]["answer"] == "worse"
    assert quality["verdict"]["failed"]


def test_each_split_has_its_own_rows(compared: Compared) -> None:
    assert compared.test["whole"].values["rows"] == 497
    assert compared.validation["whole"].values["rows"] == 300


def test_latency_memory_and_size_are_measured(compared: Compared) -> None:
    for report in compared.test.values():
        assert report.latency is not None
        assert report.footprint is not None
        assert report.latency["p50_ms"] > 0
        assert report.latency["success_rate"] == 1.0
        assert report.footprint["memory_bytes"] > 0
        assert report.size_bytes > 0


def test_reports_are_saved_beside_their_artifacts(compared: Compared, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = next(tmp_path_factory.getbasetemp().glob("compared*"))
    for name, report in compared.test.items():
        assert read_report(folder / name / "evidence" / "report.json").digest == report.digest


def test_a_kept_comparison_is_read_back_under_its_key_only(compared: Compared, tmp_path: Path) -> None:
    path = tmp_path / "compared.json"
    write_compared(path, "key", compared)
    found = read_compared(path, "key")
    assert found is not None
    assert {n: r.to_json() for n, r in found.test.items()} == {n: r.to_json() for n, r in compared.test.items()}
    assert read_compared(path, "another key") is None
    path.write_text("{")
    assert read_compared(path, "key") is None
