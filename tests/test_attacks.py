"""Every attack on an artifact is refused before a session exists, and every control shows that it was one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from serving.small_models import image_artifact, text_artifact

from benchmarks.artifact_attacks import FLIPS, attacks, counted_sessions, run_attacks
from toolkit.serving.loading import load_served

AFTER_OPENING = "weights that are no numbers"  # seen by the self-test only, which needs the session


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = text_artifact(tmp_path_factory.mktemp("attacked") / "a").folder
    return {row["fault"]: row for row in run_attacks(folder)}


def test_every_case_of_every_fault_is_refused(rows: dict[str, dict[str, Any]]) -> None:
    assert {fault: row["cases"] - row["refused"] for fault, row in rows.items()} == dict.fromkeys(rows, 0)


def test_a_thousand_bits_are_flipped_and_no_session_is_made(rows: dict[str, dict[str, Any]]) -> None:
    flips = rows["bit flips"]
    assert (flips["cases"], flips["refused"], flips["sessions"]) == (FLIPS, 1000, 0)
    assert flips["control_accepted"] > 150, "one who does not hash takes nearly every flip of the model"


def test_no_session_is_made_before_an_attack_is_seen(rows: dict[str, dict[str, Any]]) -> None:
    made = {fault for fault, row in rows.items() if row["sessions"]}
    assert made == {AFTER_OPENING}


def test_every_attack_works_where_nobody_looks(rows: dict[str, dict[str, Any]]) -> None:
    for fault, row in rows.items():
        if fault not in ("bit flips", "truncation"):
            assert row["control_accepted"] == row["cases"], fault
    assert rows["truncation"]["control_accepted"] >= 1


def test_the_table_holds_what_is_known_to_be_tried(tmp_path: Path) -> None:
    faults = {attack.fault for attack in attacks(image_artifact(tmp_path / "a").folder)}
    assert {"truncation", "swapped files", "extra file", "symbolic link", "hard link", "path outside", "deep JSON",
            "external data", "160 GB by a shape", "endless Loop", "pickle in golden rows", "bomb in golden rows",
            "operators of other domains", "rows of 160 GB", AFTER_OPENING} <= faults  # fmt: skip


def test_sessions_are_counted(tmp_path: Path) -> None:
    artifact = image_artifact(tmp_path / "a")
    with counted_sessions() as made:
        load_served(artifact.folder).predictor.close()
        onnxruntime.InferenceSession(artifact.read("model.onnx"), providers=["CPUExecutionProvider"])
    assert len(made) == 2
