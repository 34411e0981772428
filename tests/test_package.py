"""An artifact to a bento: what is in it, what is not, and that it is whole."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving.small_models import recommender_artifact, text_artifact

from toolkit.artifact import Artifact, load_artifact
from toolkit.errors import ArtifactError, InputError
from toolkit.package import Packaged, bento_name, package, pinned_requirements, services_folder


class Verdict:
    """The one method of a report that packaging calls."""

    def to_json(self) -> dict[str, Any]:
        return {"verdict": "pass"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = os.environ.get("BENTOML_HOME")
    folder = tmp_path_factory.mktemp("home")
    os.environ["BENTOML_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["BENTOML_HOME"]
    else:
        os.environ["BENTOML_HOME"] = before


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    made = text_artifact(tmp_path_factory.mktemp("a") / "x", name="My Questions")
    (made.folder / "evidence").mkdir()
    (made.folder / "evidence/training_rows.npy").write_bytes(b"hashes of rows")
    (made.folder / "evidence/card.md").write_text("# card\n")
    return load_artifact(made.folder)


@pytest.fixture(scope="module")
def packaged(home: Path, artifact: Artifact) -> Packaged:
    return package(artifact, report=Verdict())  # type: ignore[arg-type]


def test_the_bento_holds_the_artifact_its_evidence_and_no_training_rows(
    packaged: Packaged, artifact: Artifact, home: Path
) -> None:
    assert packaged.path.is_relative_to(home)
    assert packaged.tag == f"my-questions:{packaged.path.name}"
    inside = load_artifact(packaged.path / "src/artifact")
    inside.verify()
    assert inside.digest == artifact.digest
    evidence = {path.name for path in (inside.folder / "evidence").iterdir()}
    assert evidence == {"card.md", "report.json"}
    assert json.loads((inside.folder / "evidence/report.json").read_text()) == {"verdict": "pass"}


def test_its_labels_name_digest_and_task(packaged: Packaged, artifact: Artifact) -> None:
    text = (packaged.path / "bento.yaml").read_text()
    assert f"digest: {artifact.digest}" in text
    assert "task: text" in text


def test_its_requirements_are_pinned_and_hold_nothing_of_training(packaged: Packaged) -> None:
    lines = (packaged.path / "env/python/requirements.txt").read_text().split()
    assert all("==" in line for line in lines), lines
    names = {line.partition("==")[0] for line in lines}
    assert {"bentoml", "onnxruntime", "numpy", "uvloop", "httptools", "orjson", "tokenizers", "uvicorn"} <= names
    assert not names & {"torch", "transformers", "onnx", "optimum", "scipy", "scikit-learn", "pandas", "pillow"}
    assert "pillow" in {line.partition("==")[0] for line in pinned_requirements(["pillow"])}


def test_the_same_again_is_the_same_bento_and_half_of_one_is_made_whole(
    packaged: Packaged, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = packaged.path / "bento.yaml"
    before = marker.stat().st_mtime_ns
    assert package(artifact, report=Verdict()) == packaged  # type: ignore[arg-type]
    assert marker.stat().st_mtime_ns == before
    (packaged.path / "src/artifact/model.onnx").unlink()
    assert package(artifact, report=Verdict()) == packaged  # type: ignore[arg-type]
    load_artifact(packaged.path / "src/artifact").verify()


def test_another_report_is_another_version_and_latest_is_the_last_one_packaged(
    packaged: Packaged, artifact: Artifact, home: Path
) -> None:
    other = package(artifact)
    assert other.tag != packaged.tag
    assert (home / "bentos/my-questions/latest").read_text() == other.path.name
    assert package(artifact, report=Verdict()) == packaged  # type: ignore[arg-type]
    assert (home / "bentos/my-questions/latest").read_text() == packaged.path.name


def test_a_failed_build_leaves_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recommender_artifact(tmp_path / "r")
    services = tmp_path / "services"
    shutil.copytree(services_folder(), services)
    (services / "recommender/service.py").write_text("raise ValueError('broken service')\n")
    monkeypatch.setattr("toolkit.package.services_folder", lambda: services)
    with pytest.raises(ArtifactError, match=r"bentoml build failed: .*broken service"):
        package(made, name="broken")
    assert not list((home / "bentos").glob("broken/*"))


def test_a_changed_artifact_or_a_wrong_name_is_refused(home: Path, tmp_path: Path) -> None:
    made = text_artifact(tmp_path / "t")
    with pytest.raises(InputError, match="no name for a bento"):
        package(made, name="Not A Name")
    (made.folder / "model.onnx").write_bytes(b"\0" * made.files["model.onnx"]["bytes"])
    with pytest.raises(ArtifactError, match="sha256 differs"):
        package(made)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("TREC best (int8)", "trec-best-int8"), ("问题", "classifier"), ("a" * 80, "a" * 63), ("-x.", "x")],
)
def test_any_name_becomes_one_that_bentoml_takes(name: str, expected: str) -> None:
    assert bento_name(name) == expected


def test_every_task_has_its_service_of_about_fifty_lines() -> None:
    files = sorted(services_folder().glob("*/service.py"))
    assert [file.parent.name for file in files] == ["image_classifier", "recommender", "text_classifier"]
    assert all(len(file.read_text().splitlines()) <= 60 for file in files)
    assert sys.version_info >= (3, 11)
