"""An artifact is whole or it is refused: every way to break a folder, and what does not change its digest."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits_models import ENCODER, make_artifact
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.artifact import load_artifact, write_artifact
from toolkit.errors import ArtifactError
from toolkit.golden import Golden
from toolkit.lineage import canonical_json, digest_of_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "digits").folder


def edit_core(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads((folder / "artifact.json").read_text())
    value.pop("digest")  # as artifacts from before it was written
    edit(value)
    (folder / "artifact.json").write_text(json.dumps(value))


def test_what_is_written_is_what_is_loaded(tmp_path: Path) -> None:
    written = make_artifact(tmp_path / "digits")
    loaded = load_artifact(tmp_path / "digits")
    loaded.verify()
    assert loaded == written
    assert set(loaded.files) == {"encoder/encoder.json", "encoder/settings.json", "golden.npz", "model.onnx"}
    assert loaded.size_bytes == sum((tmp_path / "digits" / path).stat().st_size for path in loaded.files)
    assert loaded.encoder().files() == ENCODER.files()


def test_the_digest_is_the_hash_of_the_core_in_canonical_json(folder: Path) -> None:
    value = json.loads((folder / "artifact.json").read_text())
    said = value.pop("digest")
    assert load_artifact(folder).digest == digest_of_bytes(canonical_json(value)) == said


def test_the_digest_does_not_depend_on_place_or_evidence(folder: Path, tmp_path: Path) -> None:
    digest = load_artifact(folder).digest
    assert make_artifact(tmp_path / "elsewhere").digest == digest
    (folder / "evidence").mkdir()
    (folder / "evidence/report.json").write_text("{}")
    assert load_artifact(folder).digest == digest
    edit_core(folder, lambda value: None)
    assert load_artifact(folder).digest == digest


def test_a_core_in_another_layout_or_with_another_digest_or_with_more_in_it_is_refused(folder: Path) -> None:
    whole = (folder / "artifact.json").read_text()
    value = json.loads(whole)
    turned = "0" if value["digest"][0] != "0" else "1"
    for text in (
        json.dumps(value),
        whole + " ",
        whole.replace(value["digest"], turned + value["digest"][1:]),
        whole.replace('"digest"', '"dijest"'),
        whole.replace('"name": "digits"', '"name": "digits", "name": "digits"', 1),
        json.dumps({key: content for key, content in value.items() if key != "digest"} | {"more": 1}),
    ):
        (folder / "artifact.json").write_text(text)
        with pytest.raises(ArtifactError, match="is not as it was written"):
            load_artifact(folder)


def test_a_core_beyond_any_size_is_not_parsed(folder: Path) -> None:
    with (folder / "artifact.json").open("ab") as file:
        file.write(b" " * (16 << 20))
    with pytest.raises(ArtifactError, match="no artifact of this toolkit has"):
        load_artifact(folder)


def test_a_file_that_has_a_second_name_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").hardlink_to(folder / "model.onnx")
    with pytest.raises(ArtifactError, match="is a link or no regular file"):
        load_artifact(folder)


def test_the_digest_changes_with_the_name_and_with_the_model(tmp_path: Path) -> None:
    digests = {
        make_artifact(tmp_path / "a").digest,
        make_artifact(tmp_path / "b", name="other").digest,
        make_artifact(tmp_path / "c", training_rows=500).digest,
    }
    assert len(digests) == 3


@pytest.mark.parametrize("path", ["model.onnx", "golden.npz", "encoder/settings.json", "encoder/encoder.json"])
def test_one_flipped_bit_anywhere_is_found(path: str, folder: Path) -> None:
    content = bytearray((folder / path).read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (folder / path).write_bytes(flipped)
        with pytest.raises(ArtifactError, match="sha256 differs"):
            load_artifact(folder).verify()


@pytest.mark.parametrize("path", ["model.onnx", "golden.npz", "encoder/settings.json"])
def test_a_truncated_file_is_found_without_reading_it(path: str, folder: Path) -> None:
    content = (folder / path).read_bytes()
    (folder / path).write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match=f"has {len(content) - 1} bytes; {len(content)} were written"):
        load_artifact(folder)


@pytest.mark.parametrize("path", ["model.onnx", "golden.npz", "encoder/encoder.json"])
def test_a_missing_file_is_named(path: str, folder: Path) -> None:
    (folder / path).unlink()
    with pytest.raises(ArtifactError, match=f"has lost {path}"):
        load_artifact(folder)


@pytest.mark.parametrize("path", ["stranger.bin", "encoder/merges.txt", "deep/er/model.onnx", ".hidden"])
def test_a_file_that_does_not_belong_is_refused(path: str, folder: Path) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text("hello")
    with pytest.raises(ArtifactError, match="does not belong to the artifact"):
        load_artifact(folder)


def test_a_link_in_place_of_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").rename(tmp_path / "model.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match="is a link"):
        load_artifact(folder)


@pytest.mark.parametrize("place", ["evidence", "encoder/more", "dangling"])
def test_a_link_anywhere_is_refused(place: str, folder: Path, tmp_path: Path) -> None:
    (folder / place).symlink_to(tmp_path / "nowhere" if place == "dangling" else tmp_path)
    with pytest.raises(ArtifactError, match="is a link"):
        load_artifact(folder)


@pytest.mark.parametrize(
    "path", ["../outside.bin", "/etc/hostname", "encoder/../../outside.bin", "evidence/x", "artifact.json"]
)
def test_a_core_that_names_a_file_outside_is_refused(path: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(b"x")
    edit_core(folder, lambda value: value["files"].update({path: {"sha256": digest_of_bytes(b"x"), "bytes": 1}}))
    with pytest.raises(ArtifactError, match="may not be part of an artifact"):
        load_artifact(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused(version: object, folder: Path) -> None:
    edit_core(folder, lambda value: value.update(schema_version=version))
    with pytest.raises(ArtifactError, match=f"schema_version {version}; this toolkit reads 1"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "pickle"),
        ("precision", "fp4"),
        ("files", None),
        ("files", {}),
        ("files", {"model.onnx": {"bytes": 3}}),
        ("files", {"model.onnx": {"bytes": "3", "sha256": "0"}}),
        ("files", {"model.onnx": {"bytes": 3, "sha256": ["0"]}}),
        ("files", {"": {"bytes": 0, "sha256": "0"}}),
        ("files", {"a\0b": {"bytes": 0, "sha256": "0"}}),
        ("spec", {"task": "text"}),
        ("spec", []),
        ("steps", [{"name": "train"}]),
        ("split", {"name": "trec"}),
        ("temperature", "hot"),
        ("temperature", 0),
        ("temperature", float("nan")),
        ("models", 3),
        ("models", []),
        ("models", ["stranger.onnx"]),
        ("models", "model.onnx"),
        ("net", float("inf")),
    ],
)
def test_a_core_of_another_form_is_refused(key: str, value: object, folder: Path) -> None:
    edit_core(folder, lambda core: core.update({key: value}))
    with pytest.raises(ArtifactError):
        load_artifact(folder)


def test_a_core_that_lacks_a_key_is_refused(folder: Path) -> None:
    keys = set(json.loads((folder / "artifact.json").read_text())) - {"digest"}
    whole = (folder / "artifact.json").read_text()
    for key in keys:
        (folder / "artifact.json").write_text(whole)
        edit_core(folder, lambda core, key=key: core.pop(key))
        with pytest.raises(ArtifactError):
            load_artifact(folder)


@given(content=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_in_place_of_the_core_are_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "artifact.json").write_bytes(content)
    with pytest.raises(ArtifactError):
        load_artifact(folder)


def test_folders_that_are_no_artifact_say_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist; give a folder made by toolkit train"):
        load_artifact(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=r"has no artifact\.json"):
        load_artifact(tmp_path)


def test_reading_a_file_of_no_artifact_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no file '\.\./outside'"):
        load_artifact(folder).read("../outside")


def test_golden_rows_survive_their_bytes() -> None:
    golden = Golden({"b": np.ones((2, 3), np.int64), "a": np.zeros((2,), np.float32)}, np.eye(2, dtype=np.float32))
    again = Golden.from_bytes(golden.to_bytes())
    assert {name: array.tolist() for name, array in again.arrays.items()} == {"a": [0, 0], "b": [[1] * 3] * 2}
    assert again.logits.tolist() == golden.logits.tolist()
    turned = Golden(dict(reversed(golden.arrays.items())), golden.logits)
    assert turned.to_bytes() == golden.to_bytes()


def test_golden_rows_are_never_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    npy = io.BytesIO()
    np.lib.format.write_array(npy, np.asarray([Evil()], dtype=object), allow_pickle=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("logits.npy", npy.getvalue())
    for content in (buffer.getvalue(), pickle.dumps(Evil()), npy.getvalue(), b""):
        with pytest.raises(ArtifactError, match=r"golden\.npz cannot be read"):
            Golden.from_bytes(content)
    assert not (tmp_path / "ran").exists()


def test_hashes_of_training_rows_are_read_from_the_evidence(folder: Path, tmp_path: Path) -> None:
    artifact = load_artifact(folder)
    assert artifact.training_rows() is None
    rows = np.asarray([1, 2**64 - 1], dtype=np.uint64)
    buffer = io.BytesIO()
    np.save(buffer, rows)
    models = {"model.onnx": artifact.read("model.onnx")}
    evidence = {"training_rows.npy": buffer.getvalue()}
    made = write_artifact(tmp_path / "with", artifact.core, ENCODER, models=models, evidence=evidence)
    found = load_artifact(tmp_path / "with").training_rows()
    assert found is not None
    assert found.tolist() == rows.tolist()
    (made.folder / "evidence/training_rows.npy").write_bytes(b"junk")
    with pytest.raises(ArtifactError, match=r"training_rows\.npy cannot be read"):
        made.training_rows()
