"""The same artifact in another folder, sealed or plain: the digest and the signature stay. See `toolkit.sealing`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from toolkit.artifact import CORE, EVIDENCE, Artifact
from toolkit.errors import InputError
from toolkit.sealing import FORMAT, SEALED, artifact_key, seal

# evidence that a server reads, and that quotes no row
KEPT = ("signature.json", "cost.json")


def write_sealed(artifact: Artifact, folder: Path) -> None:
    """Seal `artifact` into `folder` (already staged) with the key of the environment.

    Raises `InputError` when it is sealed already, `ArtifactError` without a key or when it is not whole.
    """
    if artifact.sealed:
        raise InputError(f"{artifact.folder} is sealed already; toolkit decrypt it first to seal it with another key")
    key = artifact_key()
    contents = {
        path: content if Path(path).name == CORE else seal(content, artifact.files[path]["sha256"], key)
        for path, content in _plain(artifact).items()
    }
    _write(artifact, folder, {**contents, SEALED: json.dumps(FORMAT).encode()})


def write_plain(artifact: Artifact, folder: Path) -> None:
    """Write the plain form of a sealed `artifact` into `folder` (already staged).

    Raises `InputError` when it is not sealed, `ArtifactError` without its key or when it is not whole.
    """
    if not artifact.sealed:
        raise InputError(f"{artifact.folder} is not sealed; there is nothing to decrypt")
    _write(artifact, folder, _plain(artifact))


def _plain(artifact: Artifact) -> dict[str, bytes]:
    return {path: artifact.read(path) for path in artifact.files}


def _write(artifact: Artifact, folder: Path, contents: Mapping[str, bytes]) -> None:
    """Files, core as it is, and the evidence that goes along; whatever an interrupted run left is replaced."""
    kept = [f"{EVIDENCE}/{name}" for name in KEPT if (artifact.folder / EVIDENCE / name).is_file()]
    beside = {path: (artifact.folder / path).read_bytes() for path in (CORE, *kept)}
    for path, content in {**contents, **beside}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
