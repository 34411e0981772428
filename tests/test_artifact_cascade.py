"""A cascade is whole or it is refused: hostile cores, strangers among the members, changed bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cascade_models import make_cascade
from digits_models import make_artifact

from toolkit.artifact import Artifact, load_artifact
from toolkit.errors import ArtifactError
from toolkit.lineage import canonical_json, digest_of_bytes
from toolkit.predictor import Predictor


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_cascade(tmp_path_factory.mktemp("whole") / "c")


@pytest.fixture
def folder(made: Artifact, tmp_path: Path) -> Path:
    shutil.copytree(made.folder, tmp_path / "c")
    return tmp_path / "c"


def edit_core(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    value.pop("digest", None)  # as artifacts from before it was written
    edit(value)
    path.write_text(json.dumps(value))


def list_again(folder: Path, path: str) -> None:
    """Let the cascade's core agree with the bytes at `path`, and name the member by its present digest."""
    content = (folder / path).read_bytes()
    member = path.partition("/")[0]
    core = json.loads((folder / member / "artifact.json").read_text())
    core.pop("digest", None)
    digest = digest_of_bytes(canonical_json(core))

    def edit(value: dict[str, Any]) -> None:
        value["files"][path] = {"sha256": digest_of_bytes(content), "bytes": len(content)}
        value["members"][member] = digest

    edit_core(folder / "artifact.json", edit)


def test_what_is_written_is_what_is_loaded(made: Artifact) -> None:
    loaded = load_artifact(made.folder)
    loaded.verify()
    assert loaded == made
    assert set(loaded.members) == {"small", "large"}
    assert loaded.core.models == ("small/model.onnx", "large/model.onnx")
    assert loaded.size_bytes == sum((made.folder / path).stat().st_size for path in loaded.files)
    assert loaded.size_bytes > sum(member.size_bytes for member in loaded.members.values())
    assert not loaded.depends_on_batch


def test_members_are_the_artifacts_they_came_from(made: Artifact) -> None:
    for name, member in made.members.items():
        source = load_artifact(made.folder.parent / f"c-{name}")
        assert member.digest == source.digest == made.core.members[name]
        assert load_artifact(made.folder / name) == member


def test_the_digest_does_not_depend_on_place(made: Artifact, tmp_path: Path) -> None:
    assert make_cascade(tmp_path / "c").digest == made.digest


def test_a_core_that_lacks_a_key_is_refused(folder: Path) -> None:
    whole = (folder / "artifact.json").read_text()
    for key in set(json.loads(whole)) - {"digest"}:
        (folder / "artifact.json").write_text(whole)
        edit_core(folder / "artifact.json", lambda value, key=key: value.pop(key))
        with pytest.raises(ArtifactError):
            load_artifact(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("router", None),
        ("router", []),
        ("router", {}),
        ("router", {"threshold": float("nan")}),
        ("router", {"threshold": float("inf")}),
        ("router", {"threshold": -0.5}),
        ("router", {"threshold": "0.5"}),
        ("router", {"threshold": True}),
        ("router", {"threshold": 10**400}),
        ("router", {"threshold": None}),
        ("router", {"share": 1.5}),
        ("router", {"accuracy": -1}),
        ("router", {"measure": "entropy"}),
        ("router", {"within_budget": "yes"}),
        ("members", None),
        ("members", 3),
        ("members", {}),
        ("members", {"small": "0" * 64}),
        ("members", {"small": "0" * 64, "large": "0" * 64}),
        ("members", {"small": ["0"], "large": {}}),
        ("members", {"../small": "0" * 64, "large": "0" * 64}),
        ("temperature", 2.0),
        ("format", "onnx"),
        ("format", "safetensors"),
        ("models", ["small/model.onnx"]),
        ("models", ["small/model.onnx", "small/model.onnx"]),
        ("models", ["../c-small/model.onnx", "large/model.onnx"]),
    ],
)
def test_a_core_of_another_form_is_refused(key: str, value: Any, folder: Path) -> None:
    def edit(core: dict[str, Any]) -> None:
        # a router is changed in one place, so that it is refused for that place
        core[key] = {**core["router"], **value} if key == "router" and value else value

    edit_core(folder / "artifact.json", edit)
    with pytest.raises(ArtifactError):
        load_artifact(folder)


def test_a_third_member_is_refused(folder: Path) -> None:
    edit_core(folder / "artifact.json", lambda core: core["members"].update(medium="0" * 64))
    with pytest.raises(ArtifactError, match="small and large"):
        load_artifact(folder)


def test_a_single_model_takes_no_router(made: Artifact, tmp_path: Path) -> None:
    single = make_artifact(tmp_path / "single")
    edit_core(single.folder / "artifact.json", lambda core: core.update(router=made.core.to_json()["router"]))
    with pytest.raises(ArtifactError, match="takes no router"):
        load_artifact(single.folder)


@pytest.mark.parametrize("path", ["../c-small/model.onnx", "/etc/hostname", "small/../../x", "evidence/x"])
def test_a_file_outside_is_refused(path: str, folder: Path) -> None:
    edit_core(folder / "artifact.json", lambda core: core["files"].update({path: {"sha256": "0", "bytes": 1}}))
    with pytest.raises(ArtifactError, match="may not be part of an artifact"):
        load_artifact(folder)


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/hostname", "evidence/x", "artifact.json"])
def test_a_member_that_names_a_file_outside_is_refused(path: str, folder: Path) -> None:
    edit_core(folder / "small/artifact.json", lambda core: core["files"].update({path: {"sha256": "0", "bytes": 1}}))
    list_again(folder, "small/artifact.json")
    with pytest.raises(ArtifactError, match="may not be part of an artifact"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda core: core.update(format="safetensors"), "is not the ONNX artifact"),
        (lambda core: core.update(temperature=0), "cannot be read"),
        (lambda core: core["spec"].update(labels=list(reversed(core["spec"]["labels"]))), "do not agree on files"),
        (lambda core: core["spec"].update(task="text"), "do not agree on files"),
        (lambda core: core["files"].pop("golden.npz"), "does not belong"),
    ],
)
def test_a_changed_member_is_refused_even_where_the_cascade_agrees(
    edit: Callable[[dict[str, Any]], Any], words: str, folder: Path
) -> None:
    edit_core(folder / "small/artifact.json", edit)
    list_again(folder, "small/artifact.json")
    with pytest.raises(ArtifactError, match=words):
        load_artifact(folder)


def test_members_of_different_labels_are_refused(folder: Path) -> None:
    edit_core(folder / "large/artifact.json", lambda core: core["spec"]["labels"].reverse())
    list_again(folder, "large/artifact.json")
    with pytest.raises(ArtifactError, match="different labels"):
        load_artifact(folder)


def test_a_member_that_is_not_the_one_named_is_refused(folder: Path) -> None:
    edit_core(folder / "small/artifact.json", lambda core: core.update(name="another"))
    with pytest.raises(ArtifactError, match=r"small/artifact\.json"):
        load_artifact(folder)
    content = (folder / "small/artifact.json").read_bytes()
    entry = {"sha256": digest_of_bytes(content), "bytes": len(content)}
    edit_core(folder / "artifact.json", lambda core: core["files"].update({"small/artifact.json": entry}))
    with pytest.raises(ArtifactError, match="is not the ONNX artifact"):
        load_artifact(folder)


def test_a_cascade_inside_a_cascade_is_refused(folder: Path, made: Artifact) -> None:
    shutil.rmtree(folder / "small")
    shutil.copytree(made.folder, folder / "small", ignore=shutil.ignore_patterns("evidence"))

    def edit(core: dict[str, Any]) -> None:
        files = {path: entry for path, entry in core["files"].items() if not path.startswith("small/")}
        core["files"] = files | {f"small/{path}": dict(entry) for path, entry in made.files.items()}
        core["models"] = ["small/small/model.onnx", "large/model.onnx"]

    edit_core(folder / "artifact.json", edit)
    list_again(folder, "small/artifact.json")
    with pytest.raises(ArtifactError, match="is not the ONNX artifact"):
        load_artifact(folder)


@pytest.mark.parametrize("path", ["stranger", "small/stranger", "small/evidence/report.json", "medium/model.onnx"])
def test_a_stranger_is_refused(path: str, folder: Path) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text("x")
    with pytest.raises(ArtifactError, match="does not belong"):
        load_artifact(folder)


def test_a_listed_stranger_is_refused_too(folder: Path) -> None:
    (folder / "small/more").write_text("x")
    entry = {"sha256": digest_of_bytes(b"x"), "bytes": 1}
    edit_core(folder / "artifact.json", lambda core: core["files"].update({"small/more": entry}))
    with pytest.raises(ArtifactError, match="does not belong"):
        load_artifact(folder)
    (folder / "small/more").unlink()
    (folder / "more").write_text("x")

    def edit(core: dict[str, Any]) -> None:
        core["files"].pop("small/more")
        core["files"]["more"] = entry

    edit_core(folder / "artifact.json", edit)
    with pytest.raises(ArtifactError, match="do not agree on files"):
        load_artifact(folder)


@pytest.mark.parametrize(
    "path", ["golden.npz", "small/model.onnx", "large/model.onnx", "large/golden.npz", "small/encoder/settings.json"]
)
def test_one_flipped_bit_anywhere_is_never_opened(path: str, folder: Path) -> None:
    content = bytearray((folder / path).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / path).write_bytes(content)
    with pytest.raises(ArtifactError, match="sha256 differs"):
        load_artifact(folder).verify()
    with pytest.raises(ArtifactError, match="sha256 differs"):
        Predictor.load(folder)


def test_a_members_core_in_another_layout_is_refused(folder: Path) -> None:
    path = folder / "small/artifact.json"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(ArtifactError, match="sha256 differs"):
        load_artifact(folder)


def test_a_link_in_place_of_a_member_is_refused(folder: Path, made: Artifact) -> None:
    shutil.rmtree(folder / "large")
    (folder / "large").symlink_to(made.folder / "large")
    with pytest.raises(ArtifactError, match="is a link"):
        load_artifact(folder)
