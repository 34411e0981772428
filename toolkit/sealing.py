"""An artifact encrypted at rest: a copied disk or registry gives away no weights.

AES-256-GCM, a fresh random nonce for each file, the key from the environment and never on a disk of ours::

    TOOLKIT_ARTIFACT_KEY=...         32 bytes in base64 or hex
    TOOLKIT_ARTIFACT_KEY_FILE=PATH   a file that holds the same (a mounted secret)

A sealed folder has the same `artifact.json`, so the same digest, the same version and the same signature, and
`sealed.json`, which says how it is sealed. Every other file is nonce, ciphertext and tag; the tag also covers the
sha256 of the plain file, which the core gives for its path, so that files cannot change places. Whoever reads through
`Artifact.read` gets plain bytes in memory; serving writes none of them to a disk.

What stays readable: `artifact.json` with name, labels, steps, sizes and the sha256 of each plain file (who has a file
can tell that it is this one), the signature and the cost curve. Other evidence (reports, training rows) may quote rows
and is left out. Cost: 28 bytes a file, some 0.1 s for 90 MB. Limits: files below 2 GiB; one key for
everything, no rotation but `toolkit decrypt` and `toolkit encrypt`; memory of the process holds plain weights.

Source: NIST SP 800-38D (GCM).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.errors import ArtifactError, InputError, require

KEY_VARIABLE, KEY_FILE_VARIABLE = "TOOLKIT_ARTIFACT_KEY", "TOOLKIT_ARTIFACT_KEY_FILE"
SEALED = "sealed.json"
FORMAT = {"cipher": "AES-256-GCM", "version": 1}
KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16
OVERHEAD = NONCE_BYTES + TAG_BYTES
MAX_PLAIN_BYTES = (1 << 31) - 1 - OVERHEAD


def artifact_key(environment: Mapping[str, str] = os.environ) -> bytes:
    """The key, 32 bytes; raises `ArtifactError` when neither variable gives one. Never repeats what it was given."""
    text, path = environment.get(KEY_VARIABLE), environment.get(KEY_FILE_VARIABLE)
    if text is None and path is not None:
        try:
            text = Path(path).read_text()
        except (OSError, ValueError):
            raise ArtifactError(f"the file that {KEY_FILE_VARIABLE} names cannot be read") from None
    if text is None:
        raise ArtifactError(f"it is sealed and there is no key; give it by {KEY_VARIABLE}, 32 bytes in base64")
    for decode in (binascii.unhexlify, _base64):
        try:
            key = decode(text.strip())
        except ValueError:
            continue
        if len(key) == KEY_BYTES:
            return key
    raise ArtifactError(f"{KEY_VARIABLE} is not {KEY_BYTES} bytes in base64 or hex; openssl rand -base64 32 makes such")


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def seal(content: bytes, sha256: str, key: bytes) -> bytes:
    """Nonce, ciphertext and tag of a file whose plain bytes have that `sha256`."""
    if len(content) > MAX_PLAIN_BYTES:
        raise InputError(f"a file has {len(content):,} bytes; at most {MAX_PLAIN_BYTES:,} can be sealed")
    nonce = os.urandom(NONCE_BYTES)
    sealed: bytes = _cipher(key).encrypt(nonce, content, sha256.encode())
    return nonce + sealed


def unseal(content: bytes, sha256: str, key: bytes) -> bytes:
    """The plain bytes; raises `ArtifactError` for another key, another file or a changed byte."""
    invalid = require("cryptography.exceptions", extra="serve").InvalidTag
    try:
        plain: bytes = _cipher(key).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], sha256.encode())
    except (invalid, ValueError):
        raise ArtifactError("the key is another than it was sealed with, or the file was changed") from None
    return plain


def _cipher(key: bytes) -> Any:
    return require("cryptography.hazmat.primitives.ciphers.aead", extra="serve").AESGCM(key)


def is_sealed(folder: Path) -> bool:
    """Whether the files of an artifact are sealed; raises `ArtifactError` when they are in a way unknown here."""
    path = folder / SEALED
    if not path.is_file():
        return False
    try:
        found = json.loads(path.read_bytes()[:4096])
    except (ValueError, RecursionError):
        found = None
    if found != FORMAT:
        raise ArtifactError(f"{path} is not {json.dumps(FORMAT)}; this toolkit opens nothing else")
    return True
