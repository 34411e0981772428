"""What lies beside an artifact is read with it, and nothing that speaks of another artifact or machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import reported
from reported import bench, keep, make_models, make_rows

from toolkit.artifact import Artifact, load_artifact
from toolkit.errors import ArtifactError, InputError
from toolkit.measure.bench_file import write_bench
from toolkit.pages.gather import gather


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A baseline and one model that was judged against it."""
    folder = tmp_path_factory.mktemp("gathered")
    models = make_models(folder, {"baseline": 0.0, "small": 0.15})
    rows = make_rows(folder, models["baseline"])
    reported.verify(models["baseline"], models["small"], rows)
    return models


@pytest.fixture
def pair(made: dict[str, Artifact], tmp_path: Path) -> tuple[Artifact, Artifact]:
    """Copies that a test may write into."""
    for name, artifact in made.items():
        shutil.copytree(artifact.folder, tmp_path / name)
    return load_artifact(tmp_path / "baseline"), load_artifact(tmp_path / "small")


def test_evidence_is_found_and_the_reference_known(pair: tuple[Artifact, Artifact]) -> None:
    keep(bench(pair, (3, 1)), pair)
    gathered = gather([one.folder for one in pair])
    before, after = gathered.subjects
    assert [subject.name for subject in gathered.subjects] == ["baseline", "small"]
    assert gathered.reference_of(after) is before
    assert gathered.reference_of(before) is None
    assert after.flips is not None
    assert len(after.flips.rows) == after.quality["flips"]["count"] > 0
    assert (before.report, before.quality) == (None, {})
    # verify judged it too, on the same rows
    assert before.values == after.quality["reference"]
    assert before.split == after.split == "test"
    assert before.rung("http")["p50_ms"] > before.rung("runner")["p50_ms"] > 0
    assert (gathered.void, gathered.differences, gathered.notes, len(gathered.files)) == ((), (), (), 1)


def test_a_lone_artifact_without_evidence_is_no_error(made: dict[str, Artifact], tmp_path: Path) -> None:
    shutil.copytree(made["baseline"].folder, tmp_path / "bare")
    (subject,) = gather([tmp_path / "bare"]).subjects
    assert (subject.report, subject.entry, subject.flips, subject.values) == (None, {}, None, {})


def test_names_that_are_alike_become_folders(made: dict[str, Artifact], tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(made["baseline"].folder, tmp_path / name)
    found = gather([tmp_path / "one", tmp_path / "two"]).subjects
    assert [subject.name for subject in found] == [str(tmp_path / "one"), str(tmp_path / "two")]


def test_a_folder_given_twice_or_that_is_none_is_refused(pair: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    folder = pair[0].folder
    with pytest.raises(InputError, match="given twice"):
        gather([folder, folder.parent / "small" / ".." / "baseline"])
    with pytest.raises(ArtifactError, match="does not exist"):
        gather([tmp_path / "none"])


@pytest.mark.parametrize("name", ["report.json", "flips.json", "bench.json"])
def test_evidence_of_another_artifact_is_refused(pair: tuple[Artifact, Artifact], name: str) -> None:
    keep(bench(pair, (3, 1)), pair)
    path = pair[1].folder / "evidence" / name
    path.write_text(path.read_text().replace(pair[1].digest, "f" * 64))
    with pytest.raises(ArtifactError, match=r"speaks of ffffffffffff and the artifact is") as caught:
        gather([pair[1].folder])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["report.json", "flips.json", "bench.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 99}', '{"kind": "bench", "schema_version": 0}'])
def test_evidence_that_cannot_be_read_is_a_line(pair: tuple[Artifact, Artifact], name: str, content: str) -> None:
    (pair[1].folder / "evidence" / name).write_text(content)
    with pytest.raises(InputError) as caught:
        gather([pair[1].folder])
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_changed_rows_of_another_judgement_are_left_out(pair: tuple[Artifact, Artifact]) -> None:
    path = pair[1].folder / "evidence" / "flips.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "split": "validation"}))
    assert gather([pair[1].folder]).subjects[0].flips is None


def test_a_named_file_goes_before_what_lies_there(pair: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    keep(bench(pair, (3, 1)), pair)
    write_bench(tmp_path / "new.json", bench(pair[1:], (7,)))
    gathered = gather([one.folder for one in pair], bench=tmp_path / "new.json")
    before, after = gathered.subjects
    assert before.entry == {}
    assert after.rung("predictor")["p50_ms"] == pytest.approx(7, rel=0.1)
    assert gathered.notes == (f"{tmp_path / 'new.json'} has not measured baseline.",)
    write_bench(tmp_path / "other.json", bench(pair[:1], (7,)))
    with pytest.raises(InputError, match=r"has measured none of these artifacts \(it has baseline\)"):
        gather([pair[1].folder], bench=tmp_path / "other.json")


def test_mixed_machines_are_refused_unless_asked_for_and_then_marked(pair: tuple[Artifact, Artifact]) -> None:
    here = bench(pair[:1], (3,))
    keep(here, pair[:1])
    keep(bench(pair[1:], (1,), machine={**here.machine, "processor": "Other 9000"}), pair[1:])
    folders = [one.folder for one in pair]
    with pytest.raises(InputError, match=r"processor .* and Other 9000.*--across-machines") as caught:
        gather(folders)
    assert "\n" not in str(caught.value)
    gathered = gather(folders, across=True)
    assert [subject.machine for subject in gathered.subjects] == ["A", "A+B"]  # judged here, timed there
    assert any("Other 9000" in words for words in gathered.differences)


def test_separate_runs_are_said_to_be_so_and_a_void_one_counts_nothing(pair: tuple[Artifact, Artifact]) -> None:
    keep(bench(pair[:1], (3,)), pair[:1])
    keep(bench(pair[1:], (1,), void=("the server of small died",), date="2026-01-02T03:04:05+00:00"), pair[1:])
    gathered = gather([one.folder for one in pair])
    assert "2 separate runs" in gathered.notes[0]
    assert gathered.void == ("the server of small died",)
    assert [subject.counts for subject in gathered.subjects] == [True, False]
