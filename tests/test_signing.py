"""Signed with one key: served where that key is asked for, and nothing else is."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import model_signing.verifying
import pytest
from cascade_models import make_cascade
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from serving.small_models import image_artifact, text_artifact

from benchmarks.artifact_attacks import counted_sessions, write_core
from toolkit.artifact import Artifact, load_artifact
from toolkit.cli import run
from toolkit.copies import write_sealed
from toolkit.errors import ArtifactError, InputError
from toolkit.package import package
from toolkit.sealing import KEY_VARIABLE
from toolkit.serving.loading import load_served
from toolkit.signing import VARIABLE, check_signature, make_keys, sign


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    private = tmp_path_factory.mktemp("keys") / "release.pem"
    return private, make_keys(private)


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Artifact:
    artifact = text_artifact(tmp_path / "a")
    sign(artifact, keys[0])
    monkeypatch.setenv(VARIABLE, str(keys[1]))
    return artifact


def test_what_was_signed_is_served(signed: Artifact) -> None:
    served = load_served(signed.folder)
    assert served.artifact.digest == signed.digest
    served.predictor.close()


def test_a_folder_named_as_a_user_names_it_is_signed_without_its_evidence(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = text_artifact(tmp_path / "a").folder / "evidence"
    evidence.mkdir(exist_ok=True)
    (evidence / "report.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    sign(load_artifact("a"), keys[0])
    check_signature(load_artifact("a"), keys[1])
    (evidence / "report.json").write_text('{"measured": "later"}')
    check_signature(load_artifact("a"), keys[1])


def test_without_a_key_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    load_served(text_artifact(tmp_path / "a").folder).predictor.close()


def test_the_private_key_is_its_owners_alone_and_never_replaced(keys: tuple[Path, Path]) -> None:
    assert keys[0].stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="never replaced"):
        make_keys(keys[0])


def refused(folder: Path, words: str) -> None:
    with counted_sessions() as made, pytest.raises(ArtifactError, match=words):
        load_served(folder)
    assert made == []


def test_one_that_is_not_signed_is_refused_before_a_session(signed: Artifact, tmp_path: Path) -> None:
    refused(image_artifact(tmp_path / "b").folder, "is not signed; toolkit sign")


def test_another_key_is_refused(signed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(make_keys(tmp_path / "other.pem")))
    refused(signed.folder, "was not made with the private key")


def test_the_signature_of_another_artifact_is_refused(
    signed: Artifact, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    other = image_artifact(tmp_path / "b")
    sign(other, keys[0])
    shutil.copyfile(other.folder / "evidence/signature.json", signed.folder / "evidence/signature.json")
    refused(signed.folder, "is the signature of other files")


def test_a_change_by_one_who_knows_how_is_refused(signed: Artifact) -> None:
    """Every hash and the digest are made to agree: all that is against it is the signature."""
    write_core(signed.folder, lambda value: value["spec"]["labels"].reverse())
    check = load_artifact(signed.folder)
    assert check.digest != signed.digest
    refused(signed.folder, "is the signature of other files")
    content = bytearray((signed.folder / "encoder/settings.json").read_bytes())
    (signed.folder / "encoder/settings.json").write_bytes(content.replace(b"512", b"511"))
    write_core(signed.folder)
    refused(signed.folder, "is the signature of other files")


def test_the_same_core_in_another_layout_is_not_what_was_signed(signed: Artifact) -> None:
    value = json.loads((signed.folder / "artifact.json").read_text())
    del value["digest"]
    (signed.folder / "artifact.json").write_text(json.dumps(value))
    assert load_artifact(signed.folder).digest == signed.digest
    refused(signed.folder, "is the signature of other files")


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_a_flipped_bit_of_what_is_signed_or_of_the_signature_is_refused(place: int, signed: Artifact) -> None:
    path = signed.folder / "evidence/signature.json"
    bundle = json.loads(path.read_text())
    for holder, key in ((bundle["dsseEnvelope"], "payload"), (bundle["dsseEnvelope"]["signatures"][0], "sig")):
        whole = holder[key]
        content = bytearray(base64.b64decode(whole))
        content[place * len(content) // 100] ^= 1
        holder[key] = base64.b64encode(content).decode()
        path.write_text(json.dumps(bundle))
        refused(signed.folder, "was not made with the private key")
        holder[key] = whole


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b'{"dsseEnvelope": {"signatures": []}}', b"[" * 100_000, b"\xff\xfe"]
)
def test_any_other_content_is_no_signature(content: bytes, signed: Artifact) -> None:
    (signed.folder / "evidence/signature.json").write_bytes(content)
    refused(signed.folder, "was not made with the private key")


def test_a_statement_of_another_kind_is_refused(signed: Artifact, keys: tuple[Path, Path]) -> None:
    """The key may sign other things too; only a list of files counts, and only under its payload type."""
    from cryptography.hazmat.primitives import hashes

    key = serialization.load_pem_private_key(keys[0].read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    path = signed.folder / "evidence/signature.json"
    payload = json.dumps({"_type": "other", "predicateType": "other"}).encode()
    for kind in ("application/vnd.in-toto+json", "text/plain"):
        signed_bytes = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
        signature = base64.b64encode(key.sign(signed_bytes, ec.ECDSA(hashes.SHA256()))).decode()
        envelope = {
            "payloadType": kind,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"sig": signature}],
        }
        path.write_text(json.dumps({"dsseEnvelope": envelope}))
        refused(signed.folder, "other files" if kind.startswith("application") else "was not made with")


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_larger_curves_are_taken(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    key = ec.generate_private_key(curve)
    form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (tmp_path / "k.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "p.pem").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, spki))
    artifact = text_artifact(tmp_path / "a")
    sign(artifact, tmp_path / "k.pem")
    check_signature(artifact, tmp_path / "p.pem")


def test_keys_of_another_kind_are_refused(signed: Artifact, keys: tuple[Path, Path], tmp_path: Path) -> None:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "ed.pem").write_bytes(public.public_bytes(serialization.Encoding.PEM, spki))
    for path in (tmp_path / "ed.pem", keys[0], tmp_path / "none.pem"):
        with pytest.raises(InputError, match="public half"):
            check_signature(signed, path)
    with pytest.raises(InputError, match="cannot be used"):
        sign(signed, keys[1])


def test_model_signing_itself_says_the_same(signed: Artifact, keys: tuple[Path, Path]) -> None:
    path = signed.folder / "evidence/signature.json"
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=keys[1])
    config.verify(signed.folder, path)
    (signed.folder / "golden.npz").write_bytes(b"changed")
    with pytest.raises(ValueError, match="golden"):
        config.verify(signed.folder, path)


def test_members_of_a_cascade_are_signed_with_it(keys: tuple[Path, Path], tmp_path: Path) -> None:
    made = make_cascade(tmp_path / "c")
    sign(made, keys[0])
    check_signature(load_artifact(tmp_path / "c"), keys[1])
    payload = json.loads((tmp_path / "c/evidence/signature.json").read_text())["dsseEnvelope"]["payload"]
    names = {row["name"] for row in json.loads(base64.b64decode(payload))["predicate"]["resources"]}
    assert {"small/model.onnx", "large/model.onnx", "small/artifact.json", "artifact.json"} <= names


def test_the_signature_holds_for_the_sealed_copy_and_in_a_bento(
    signed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "11" * 32)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    (tmp_path / "s").mkdir()
    write_sealed(signed, tmp_path / "s")
    load_served(tmp_path / "s").predictor.close()
    load_served(package(load_artifact(tmp_path / "s")).path / "src/artifact").predictor.close()
    with pytest.raises(ArtifactError, match="sign it first"):
        sign(load_artifact(tmp_path / "s"), tmp_path / "k.pem")


def test_the_command_line_makes_keys_signs_and_checks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, key = text_artifact(tmp_path / "a").folder, tmp_path / "keys/release.pem"
    check = ["verify-signature", str(folder), "--key", str(tmp_path / "keys/release.public.pem"), "--json"]
    assert run(["sign", "--new-key", str(key)]) == 0
    assert run(check) == 1
    assert run(["sign", str(folder), "--key", str(key)]) == 0
    assert run(check) == 0
    assert '"signed": true' in capfd.readouterr().out
    assert run(["sign", str(folder)]) == 2
    assert run(["sign", "--key", str(key)]) == 2
    (folder / "golden.npz").write_bytes((folder / "golden.npz").read_bytes()[::-1])
    assert run(check) == 1
