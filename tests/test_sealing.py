"""Encrypted at rest: opened with the key and nothing else, the same artifact by digest, plain on no disk."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path

import pytest
from cascade_models import make_cascade
from serving.small_models import TEXTS, text_artifact

from toolkit.artifact import Artifact, load_artifact
from toolkit.cli import run
from toolkit.copies import write_plain, write_sealed
from toolkit.errors import ArtifactError, InputError
from toolkit.package import package
from toolkit.predictor import Predictor
from toolkit.sealing import KEY_FILE_VARIABLE, KEY_VARIABLE, artifact_key, seal, unseal
from toolkit.serving.loading import load_served

KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_FILE_VARIABLE, raising=False)
    monkeypatch.setenv(KEY_VARIABLE, KEY.hex())


@pytest.fixture
def plain(tmp_path: Path) -> Artifact:
    return text_artifact(tmp_path / "plain")


@pytest.fixture
def sealed(plain: Artifact, tmp_path: Path) -> Artifact:
    (tmp_path / "sealed").mkdir()
    write_sealed(plain, tmp_path / "sealed")
    return load_artifact(tmp_path / "sealed")


def test_a_sealed_artifact_answers_like_the_plain_one_by_the_same_digest(plain: Artifact, sealed: Artifact) -> None:
    assert sealed.sealed
    assert sealed.digest == plain.digest
    with Predictor.load(plain) as before, Predictor.load(sealed) as after:
        assert before(TEXTS) == after(TEXTS)
    served = load_served(sealed.folder)
    assert served.answer(TEXTS)["model"]["digest"] == plain.digest
    served.predictor.close()


def test_nothing_of_the_files_is_on_the_disk(plain: Artifact, sealed: Artifact) -> None:
    for path in plain.files:
        content, stored = plain.read(path), (sealed.folder / path).read_bytes()
        assert len(stored) == len(content) + 28
        assert content[:12] not in stored
        assert sealed.read(path) == content
        assert sealed.stored(path) == stored


def test_the_same_file_is_sealed_with_a_nonce_of_its_own_each_time() -> None:
    first, second = (seal(b"x" * 40, "0" * 64, KEY) for _ in range(2))
    assert first[:12] != second[:12]
    assert unseal(first, "0" * 64, KEY) == unseal(second, "0" * 64, KEY) == b"x" * 40


@pytest.mark.parametrize("value", [None, "00" * 31, "zz" * 32, "", base64.b64encode(bytes(31)).decode(), "\u00e9" * 64])
def test_no_key_or_one_of_another_form_is_refused_without_repeating_it(
    value: str | None, sealed: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    if value is not None:
        monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(ArtifactError, match=KEY_VARIABLE) as caught:
        load_served(sealed.folder)
    assert not value or value not in str(caught.value)


def test_another_key_is_refused(sealed: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, bytes(32).hex())
    with pytest.raises(ArtifactError, match="another than it was sealed with"):
        load_served(sealed.folder)


def test_the_key_comes_in_hex_in_base64_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(base64.b64encode(KEY).decode() + "\n")
    for environment in (
        {KEY_VARIABLE: KEY.hex()},
        {KEY_VARIABLE: base64.b64encode(KEY).decode()},
        {KEY_FILE_VARIABLE: str(tmp_path / "key")},
    ):
        assert artifact_key(environment) == KEY
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact_key({KEY_FILE_VARIABLE: str(tmp_path / "none")})


@pytest.mark.parametrize("path", ["model.onnx", "golden.npz", "encoder/settings.json"])
@pytest.mark.parametrize("place", [0, 12, -1])
def test_one_flipped_bit_is_found(path: str, place: int, sealed: Artifact) -> None:
    content = bytearray((sealed.folder / path).read_bytes())
    content[place] ^= 1
    (sealed.folder / path).write_bytes(content)
    with pytest.raises(ArtifactError, match="the file was changed"):
        load_served(sealed.folder)


def test_a_truncated_file_and_a_lost_or_changed_marker_are_found(sealed: Artifact) -> None:
    for path, content, words in (
        ("model.onnx", (sealed.folder / "model.onnx").read_bytes()[:-1], "were written"),
        ("sealed.json", b'{"cipher": "none"}', "opens nothing else"),
    ):
        whole = (sealed.folder / path).read_bytes()
        (sealed.folder / path).write_bytes(content)
        with pytest.raises(ArtifactError, match=words):
            load_artifact(sealed.folder)
        (sealed.folder / path).write_bytes(whole)
    (sealed.folder / "sealed.json").unlink()
    with pytest.raises(ArtifactError, match="were written"):
        load_artifact(sealed.folder)


def test_a_file_sealed_for_another_place_is_refused(sealed: Artifact) -> None:
    entry = sealed.files["encoder/settings.json"]
    foreign = os.urandom(int(entry["bytes"]))
    (sealed.folder / "encoder/settings.json").write_bytes(seal(foreign, "1" * 64, KEY))
    with pytest.raises(ArtifactError, match="the file was changed"):
        sealed.read("encoder/settings.json")
    (sealed.folder / "encoder/settings.json").write_bytes(seal(foreign, entry["sha256"], KEY))
    with pytest.raises(ArtifactError, match="sha256 differs"):
        sealed.read("encoder/settings.json")


def test_a_cascade_is_sealed_whole(tmp_path: Path) -> None:
    made = make_cascade(tmp_path / "c")
    (tmp_path / "s").mkdir()
    write_sealed(made, tmp_path / "s")
    sealed = load_artifact(tmp_path / "s")
    sealed.verify()
    assert all(member.sealed for member in sealed.members.values())
    assert sealed.digest == made.digest
    Predictor.load(sealed).close()


def test_there_and_back_by_the_command_line(plain: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (plain.folder / "evidence").mkdir()
    (plain.folder / "evidence/report.json").write_text('{"row": "Who wrote Hamlet ?"}')
    (plain.folder / "evidence/cost.json").write_text("{}")
    assert run(["encrypt", str(plain.folder), "-o", str(tmp_path / "s"), "--json"]) == 0
    assert sorted(path.name for path in (tmp_path / "s/evidence").iterdir()) == ["cost.json"]
    assert run(["decrypt", str(tmp_path / "s"), "-o", str(tmp_path / "p")]) == 0
    for path in (*plain.files, "artifact.json"):
        assert (tmp_path / "p" / path).read_bytes() == (plain.folder / path).read_bytes()
    assert run(["decrypt", str(tmp_path / "p"), "-o", str(tmp_path / "q")]) == 2
    assert "is not sealed" in capfd.readouterr().err
    with pytest.raises(InputError, match="sealed already"):
        write_sealed(load_artifact(tmp_path / "s"), tmp_path / "again")


def test_decrypting_gives_back_every_byte(plain: Artifact, sealed: Artifact, tmp_path: Path) -> None:
    write_plain(sealed, tmp_path / "again")
    again = load_artifact(tmp_path / "again")
    assert {path: again.read(path) for path in again.files} == {path: plain.read(path) for path in plain.files}


def test_a_bento_of_it_stays_sealed(sealed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    inside = package(sealed).path / "src/artifact"
    assert (inside / "model.onnx").read_bytes() == (sealed.folder / "model.onnx").read_bytes()
    shutil.rmtree(sealed.folder)
    served = load_served(inside)
    assert served.artifact.sealed
    served.predictor.close()
