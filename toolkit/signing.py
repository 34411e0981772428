"""Who made an artifact: a signature with a private key, checked with the public one before a model is read.

What is signed is a list of every file of the artifact with its sha256, `artifact.json` among them and with it the
digest; the members of a cascade are files like any other. It lies in `evidence/signature.json`, outside the digest, as
a bundle of the OpenSSF's model-signing with a key (ECDSA over P-256, P-384 or P-521), offline, with no transparency
log; `model_signing verify key DIR --signature DIR/evidence/signature.json --public_key PEM --ignore_paths DIR/evidence`
says the same of it.

Signing is model-signing's. Checking is here, with cryptography alone: importing model-signing takes 0.4 s and 638
modules, an HTTP client and a Sigstore among them, that a serving image need not carry. It is one DSSE envelope: ECDSA
over the payload type and the payload, and only then a parse of the payload. The sha256 are of plain files, so that the
signature of an artifact holds for its sealed copy (`toolkit encrypt`). Cost: 1 ms.
Limits: keys without a password; evidence is not signed; a signature does not say when, and cannot be taken back.

Source: Dead Simple Signing Envelope 1.0, in-toto Statement 1, model-signing 1.1.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.artifact import CORE, EVIDENCE, Artifact
from toolkit.errors import ArtifactError, InputError, require
from toolkit.staging import write_atomically

VARIABLE = "TOOLKIT_VERIFY_KEY"
SIGNATURE = "signature.json"
MAX_SIGNATURE_BYTES = 4 << 20
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
CURVES = "an elliptic-curve key in PEM, P-256, P-384 or P-521, without a password"


def make_keys(private: Path) -> Path:
    """Write a new P-256 key to `private`, for its owner only, and its public key beside it; returns the path of that.

    Raises `InputError` when either exists already.
    """
    serialization = require("cryptography.hazmat.primitives.serialization", extra="serve")
    ec = require("cryptography.hazmat.primitives.asymmetric.ec", extra="serve")
    public = private.with_name(f"{private.stem}.public.pem")
    for path in (private, public):
        if path.exists():
            raise InputError(f"{path} exists already; a key is never replaced, choose another name")
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, *form))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, spki))
    return public


def sign(artifact: Artifact, private: Path) -> Path:
    """Hash and sign `artifact`, and return the path of its signature, which replaces one that was there.

    Raises `InputError` for another kind of key, `ArtifactError` when the artifact is sealed or not whole.
    """
    if artifact.sealed:
        raise ArtifactError(f"{artifact.folder} is sealed; sign it first and seal it then, its signature stays")
    signing = require("model_signing.signing", extra="sign")
    hashing = require("model_signing.hashing", extra="sign")
    artifact.verify()
    # model-signing takes a relative path that it shall ignore for one inside the folder
    folder = artifact.folder.resolve()
    path = folder / EVIDENCE / SIGNATURE
    ignored = hashing.Config().set_ignored_paths(paths=[folder / EVIDENCE], ignore_git_paths=False)
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private).set_hashing_config(ignored)
    except (OSError, ValueError, TypeError):
        raise InputError(f"{private} cannot be used; give {CURVES}") from None
    with tempfile.TemporaryDirectory(prefix="toolkit-sign-") as temporary:
        made = Path(temporary) / SIGNATURE
        config.sign(folder, made)
        write_atomically(path, made.read_bytes())
    return path


def require_signature(artifact: Artifact, environment: Mapping[str, str] = os.environ) -> None:
    """Raise as `check_signature` does where TOOLKIT_VERIFY_KEY names a public key; else ask nothing."""
    if public := environment.get(VARIABLE):
        check_signature(artifact, Path(public))


def check_signature(artifact: Artifact, public: Path) -> None:
    """Raise `ArtifactError` unless the owner of `public` signed exactly the files of `artifact`.

    Reads the signature and the core that is loaded; files are held to the signed hashes when they are read. Raises
    `InputError` for a key that cannot be used.
    """
    path = artifact.folder / EVIDENCE / SIGNATURE
    if not path.is_file():
        raise ArtifactError(f"{artifact.folder} is not signed; toolkit sign does that")
    with path.open("rb") as file:
        content = file.read(MAX_SIGNATURE_BYTES + 1)
    payload = _verified_payload(content[:MAX_SIGNATURE_BYTES], _public_key(public))
    if payload is None:
        raise ArtifactError(f"{path} was not made with the private key of {public}")
    files = {name: str(entry["sha256"]) for name, entry in artifact.files.items()}
    if _signed_files(payload) != {**files, CORE: artifact.core_sha256}:
        raise ArtifactError(f"{path} is the signature of other files than those of this artifact")


def _public_key(public: Path) -> Any:
    serialization = require("cryptography.hazmat.primitives.serialization", extra="serve")
    try:
        key = serialization.load_pem_public_key(public.read_bytes())
    except (OSError, ValueError):
        raise InputError(f"{public} cannot be used; give the public half of {CURVES}") from None
    if getattr(getattr(key, "curve", None), "name", None) not in HASHES:
        raise InputError(f"{public} is a key of another kind; give the public half of {CURVES}")
    return key


def _verified_payload(bundle: bytes, key: Any) -> bytes | None:
    """The payload of a bundle whose one signature is of `key`; None for anything else. Checked before it is parsed."""
    hashes = require("cryptography.hazmat.primitives.hashes", extra="serve")
    ec = require("cryptography.hazmat.primitives.asymmetric.ec", extra="serve")
    invalid = require("cryptography.exceptions", extra="serve").InvalidSignature
    try:
        envelope = json.loads(bundle)["dsseEnvelope"]
        (entry,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(entry["sig"], validate=True)
        said = envelope["payloadType"] == PAYLOAD_TYPE
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    signed = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload
    try:
        key.verify(signature, signed, ec.ECDSA(getattr(hashes, HASHES[key.curve.name])()))
    except invalid:
        return None
    return payload if said else None


def _signed_files(payload: bytes) -> dict[str, str] | None:
    """Path -> sha256 of a signed statement; None when it is a statement about something else."""
    try:
        statement = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (STATEMENT, PREDICATE):
            return None
        resources = statement["predicate"]["resources"]
        files = {row["name"]: row["digest"] for row in resources if row["algorithm"] == "sha256"}
        return files if len(files) == len(resources) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
