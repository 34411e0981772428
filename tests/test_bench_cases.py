"""The models of a benchmark: made by real steps from a real file, kept while nothing that decides them changes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import text_models

from benchmarks.bench import FULL, MEASURED, judge_models, key_of
from benchmarks.cases import CASES, QUICK_CASES, Case, data_of, make_models
from benchmarks.roles import CAME, EXPORTED, SMALL
from toolkit.artifact import Artifact
from toolkit.data import Data

TEXT = Case(
    "text", "rows.csv", "text", "mlp", 0.02, epochs=1, distill={"sizes": {"width": 16}, "epochs": 1}, mode="weights"
)


class Heard:
    """A progress that remembers which stages trained."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def __call__(self, stage: str, done: int, total: int, words: str = "") -> None:
        self.stages.append(stage)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def case(folder: Path) -> Case:
    words = text_models.WORDS
    rows = [f"{words[i % 12]} {words[i % 7]} number {i},{text_models.LABELS[i % 12 // 3]}" for i in range(240)]
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return replace(TEXT, data=str(folder / "rows.csv"))


@pytest.fixture(scope="module")
def data(case: Case) -> Data:
    return data_of(case, 0)


@pytest.fixture(scope="module")
def made(case: Case, data: Data, folder: Path) -> dict[str, Artifact]:
    return make_models(case, data, folder)


def test_a_case_has_the_model_that_came_its_export_and_a_small_one(made: dict[str, Artifact]) -> None:
    assert {role: model.core.format for role, model in made.items()} == {
        CAME: "safetensors", EXPORTED: "onnx", SMALL: "onnx",
    }  # fmt: skip
    assert made[SMALL].size_bytes < made[EXPORTED].size_bytes / 2
    assert [step.name for step in made[SMALL].core.steps] == ["train", "distill", "export", "quantize"]


def test_finished_models_are_kept_and_another_setting_makes_only_its_own_again(
    case: Case, data: Data, folder: Path, made: dict[str, Artifact], tmp_path: Path
) -> None:
    heard = Heard()
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    again = make_models(case, data, tmp_path, progress=heard)
    assert {role: model.digest for role, model in again.items()} == {role: model.digest for role, model in made.items()}
    assert "train" not in heard.stages
    other = make_models(replace(case, mode="dynamic"), data, tmp_path, progress=heard)
    assert "train" not in heard.stages
    assert other[SMALL].digest != made[SMALL].digest
    assert other[EXPORTED].digest == made[EXPORTED].digest


def test_models_are_judged_against_the_one_that_came(case: Case, data: Data, made: dict[str, Artifact]) -> None:
    found = judge_models([made[role] for role in MEASURED], list(MEASURED), data, case)
    assert list(found) == list(MEASURED)
    assert found[CAME]["flips"]["count"] == found[EXPORTED]["flips"]["count"] == 0
    assert found[CAME]["difference"]["accuracy"]["value"] == 0
    assert {one["test"]["rows"] for one in found.values()} == {len(data.split("test"))}


def test_what_was_measured_holds_for_these_models_and_this_plan_only(case: Case, made: dict[str, Artifact]) -> None:
    key = key_of([case], {"text": made}, FULL)
    assert key == key_of([case], {"text": dict(made)}, FULL)
    assert key != key_of([case], {"text": {**made, SMALL: made[EXPORTED]}}, FULL)
    assert key != key_of([case], {"text": made}, replace(FULL, objective_ms=10.0))


def test_the_cases_are_of_every_task_and_so_are_the_quick_ones() -> None:
    assert [case.task for case in CASES] == [case.task for case in QUICK_CASES] == ["text", "image", "recommend"]
    assert [case.name for case in CASES] == [case.name for case in QUICK_CASES]
    assert all(case.to_json()["data"] == case.data for case in (*CASES, *QUICK_CASES))
