"""The folder that is shipped: a model file, its encoder, its contract, and proof that it is whole.

::

    artifact.json     the core: what it is, what was done to it, sha256 of every file below
    model.onnx        or model.safetensors for a trained Classifier
    encoder/          what turns a request into arrays
    golden.npz        a few encoded rows with their logits: the self-test at every load
    evidence/         reports, cards, hashes of training rows: added later, outside the digest
    small/ large/     the members of a cascade, each a whole artifact, in place of model.onnx and encoder/
    sealed.json       only where the files above are encrypted; see `toolkit.sealing`

The digest of an artifact is the sha256 of its core in canonical JSON. The core ends up in the file with that digest
beside it and in one layout only, so that no bit of it can change unseen; artifacts from before that lack the digest,
and load. Whoever can write the file can write another digest: against that there is a signature (`toolkit.signing`).
Bytes are hashed before they
are parsed, and what is parsed is the very bytes that were hashed: no file is read twice.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.core import SCHEMA_VERSION, Core, core_from_json
from toolkit.encoders import Encoder, encoder_files, load_encoder
from toolkit.encoders.cascade import CascadeEncoder
from toolkit.errors import ArtifactError, InputError
from toolkit.golden import Golden
from toolkit.lineage import canonical_json, digest_of_bytes
from toolkit.routing import join_specs
from toolkit.sealing import OVERHEAD, SEALED, artifact_key, is_sealed, unseal
from toolkit.spec import Array, Spec

CORE, GOLDEN, EVIDENCE = "artifact.json", "golden.npz", "evidence"
TRAINING_ROWS = "training_rows.npy"
MAX_FILE_BYTES = 8 << 30
MAX_CORE_BYTES = 16 << 20  # a label for every word of a language, and more
MAX_ROW_VALUES = 1 << 26  # of one input: a picture of 4,000 x 4,000 in three colours, and more
DIGEST = "digest"


@dataclass(frozen=True)
class Artifact:
    """A folder and its contract; see the module. Make one with `load_artifact` or `write_artifact`.

    `members` are the artifacts inside a cascade, by name; empty for anything else.
    """

    folder: Path
    core: Core
    digest: str
    files: Mapping[str, Mapping[str, Any]] = field(repr=False)
    members: Mapping[str, Artifact] = field(default_factory=dict, repr=False)
    sealed: bool = False
    core_sha256: str = field(default="", repr=False)  # of the very bytes that the core was parsed from

    @property
    def spec(self) -> Spec:
        """Inputs, labels and task."""
        return self.core.spec

    @property
    def name(self) -> str:
        """What the user called it."""
        return self.core.name

    @property
    def size_bytes(self) -> int:
        """Bytes of everything inside the digest: what a container would carry."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    @property
    def depends_on_batch(self) -> bool:
        """True when a row's neighbours move its answer: INT8 with activation scales taken at run time."""
        if self.members:
            return any(member.depends_on_batch for member in self.members.values())
        return any(s.name == "quantize" and s.settings.get("mode") == "dynamic" for s in self.core.steps)

    def read(self, path: str) -> bytes:
        """The plain bytes of a file of the core, hashed first; raises `ArtifactError` when they differ."""
        return self._plain(path, self._stored(path))

    def stored(self, path: str) -> bytes:
        """The bytes of a file as they lie on the disk, sealed where the artifact is, verified as `read` does."""
        content = self._stored(path)
        self._plain(path, content)
        return content

    def _stored(self, path: str) -> bytes:
        entry = self.files.get(path)
        if entry is None:
            raise ArtifactError(f"{self.folder} has no file {path!r}")
        with (self.folder / path).open("rb") as file:
            return file.read(int(entry["bytes"]) + OVERHEAD + 1)  # no more of a file that has grown since

    def _plain(self, path: str, content: bytes) -> bytes:
        entry = self.files[path]
        if self.sealed and Path(path).name != CORE:
            try:
                content = unseal(content, entry["sha256"], artifact_key())
            except ArtifactError as error:
                raise ArtifactError(f"{self.folder / path} cannot be opened: {error}") from None
        if len(content) != entry["bytes"] or digest_of_bytes(content) != entry["sha256"]:
            raise ArtifactError(f"{self.folder / path} is not the file that was written: its sha256 differs")
        return content

    def encoder(self) -> Encoder:
        """The encoder, from verified bytes; for a cascade those of its members side by side."""
        if self.members:
            return CascadeEncoder({name: member.encoder() for name, member in self.members.items()})
        names = [path for path in self.files if path.startswith("encoder/")]
        return load_encoder({path.removeprefix("encoder/"): self.read(path) for path in names})

    def golden(self) -> Golden:
        """The self-test, from verified bytes; raises `ArtifactError` unless its rows are this model's."""
        golden = Golden.from_bytes(self.read(GOLDEN))
        try:
            rows = self.spec.check(golden.arrays)
        except InputError as error:
            raise ArtifactError(f"{GOLDEN} of {self.folder} is of another model: {error}") from None
        if golden.logits.shape != (rows, len(self.spec.labels)) or golden.logits.dtype.kind != "f" or not rows:
            raise ArtifactError(f"{GOLDEN} of {self.folder} has no logits for each of its rows; make it again")
        return golden

    def training_rows(self) -> Array | None:
        """Sorted uint64 hashes of the rows it was trained on, where the evidence is still beside it."""
        path = self.folder / EVIDENCE / TRAINING_ROWS
        if not path.is_file():
            return None
        try:
            rows: Array = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        except (ValueError, EOFError, OSError, MemoryError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}; remove it or fetch it again") from None
        return rows

    def verify(self) -> None:
        """Hash every file of the core; raises `ArtifactError` for the first that differs."""
        for path in self.files:
            self.read(path)


def load_artifact(folder: Path | str) -> Artifact:
    """Read a folder's contract; file contents are hashed when they are read, or by `verify`.

    Raises `ArtifactError` when the folder is missing, `artifact.json` cannot be read, a file is
    missing or of another size, or something is there that does not belong (links, strangers). The
    members of a cascade are read too, and must be the artifacts that its core names.
    """
    folder = Path(folder)
    if not (folder / CORE).is_file():
        what = "does not exist" if not folder.exists() else f"has no {CORE}"
        raise ArtifactError(f"{folder} {what}; give a folder made by toolkit train, export or quantize")
    with (folder / CORE).open("rb") as file:
        content = file.read(MAX_CORE_BYTES + 1)
    artifact = _load_one(folder, content, sealed=is_sealed(folder))
    if artifact.core.router is None:
        return artifact
    return replace(artifact, members=_load_members(artifact))


def _load_one(folder: Path, content: bytes, *, sealed: bool) -> Artifact:
    """The artifact whose core is `content`, without its members."""
    core_path = folder / CORE
    if len(content) > MAX_CORE_BYTES:
        raise ArtifactError(f"{core_path} has more than {MAX_CORE_BYTES:,} bytes; no artifact of this toolkit has")
    try:
        value = json.loads(content)
        version = value["schema_version"]
        if version != SCHEMA_VERSION:
            raise ArtifactError(f"{core_path} has schema_version {version}; this toolkit reads {SCHEMA_VERSION}")
        said = value.pop(DIGEST, None)
        core, files = core_from_json(value), _files_from_json(value["files"])
        digest = digest_of_bytes(canonical_json(value))
        unknown = set(value) - set(core.to_json()) - {"files"}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ArtifactError(f"{core_path} cannot be read: {error!r}") from None
    if unknown or (said is not None and (said != digest or core_bytes(value) != content)):
        raise ArtifactError(f"{core_path} is not as it was written: its digest differs; fetch it again")
    if not core.models or not set(core.models) <= set(files):
        raise ArtifactError(f"{core_path} names models {list(core.models)}; they must be among its files")
    _check_sizes(core_path, core.spec)
    _check_files(folder, files, sealed=sealed)
    return Artifact(folder, core, digest, files, sealed=sealed, core_sha256=digest_of_bytes(content))


def _check_sizes(core_path: Path, spec: Spec) -> None:
    """A row is warmed up at its largest size, so that must be one that a row can have."""
    for declared in spec.inputs:
        axes = [axis if isinstance(axis, int) else spec.limits.get(axis, (1, 1))[1] for axis in declared.shape]
        if math.prod(max(axis, 1) for axis in axes) > MAX_ROW_VALUES:
            raise ArtifactError(f"{core_path} gives {declared.name!r} more than {MAX_ROW_VALUES:,} values a row")


def core_bytes(value: Mapping[str, Any]) -> bytes:
    """`artifact.json` of a core with its files: the digest added, in the one layout that is written."""
    whole = {**value, DIGEST: digest_of_bytes(canonical_json(value))}
    return (json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write_artifact(
    folder: Path,
    core: Core,
    encoder: Encoder,
    *,
    models: Mapping[str, bytes],
    golden: Golden | None = None,
    evidence: Mapping[str, bytes] | None = None,
) -> Artifact:
    """Write a whole artifact into `folder` (usually a staged one) and return it as loaded."""
    contents = {**models, **{f"encoder/{name}": content for name, content in encoder_files(encoder).items()}}
    return _write(folder, core, contents, golden, evidence)


def write_cascade(
    folder: Path,
    core: Core,
    members: Mapping[str, Artifact],
    *,
    golden: Golden | None = None,
    evidence: Mapping[str, bytes] | None = None,
) -> Artifact:
    """Write a cascade into `folder` with a copy of each member, without its evidence, and return it as loaded."""
    contents = {f"{name}/{path}": member.read(path) for name, member in members.items() for path in member.files}
    contents |= {f"{name}/{CORE}": (member.folder / CORE).read_bytes() for name, member in members.items()}
    inside = {name: replace(member, folder=folder / name) for name, member in members.items()}
    return replace(_write(folder, core, contents, golden, evidence), members=inside)


def _write(
    folder: Path,
    core: Core,
    contents: dict[str, bytes],
    golden: Golden | None,
    evidence: Mapping[str, bytes] | None,
) -> Artifact:
    """Write the files, then the core that holds their hashes."""
    if golden is not None:
        contents[GOLDEN] = golden.to_bytes()
    files = {path: {"sha256": digest_of_bytes(c), "bytes": len(c)} for path, c in sorted(contents.items())}
    extra = {f"{EVIDENCE}/{name}": content for name, content in (evidence or {}).items()}
    for path, content in {**contents, **extra}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    value = {**core.to_json(), "files": files}
    content = core_bytes(value)
    (folder / CORE).write_bytes(content)
    digest = digest_of_bytes(canonical_json(value))
    return Artifact(folder, core, digest, files, core_sha256=digest_of_bytes(content))


def _load_members(artifact: Artifact) -> dict[str, Artifact]:
    """Small and large; raises `ArtifactError` unless they and their files are those that the core names."""
    core, members = artifact.core, {}
    files = {path: dict(entry) for path, entry in artifact.files.items() if path == GOLDEN}
    for name, digest in core.members.items():
        member = _load_one(artifact.folder / name, artifact.read(f"{name}/{CORE}"), sealed=artifact.sealed)
        if member.digest != digest or member.core.format != "onnx":
            raise ArtifactError(f"{member.folder} is not the ONNX artifact {str(digest)[:12]} that the cascade names")
        members[name] = member
        files[f"{name}/{CORE}"] = dict(artifact.files[f"{name}/{CORE}"])
        files |= {f"{name}/{path}": dict(entry) for path, entry in member.files.items()}
    if files != artifact.files or core.spec != join_specs({name: member.spec for name, member in members.items()}):
        raise ArtifactError(f"{artifact.folder / CORE} and its members do not agree on files or inputs; make it again")
    if len({(member.spec.task, member.spec.labels) for member in members.values()}) != 1:
        raise ArtifactError(f"the members of {artifact.folder} answer with different labels; make it again")
    if core.models != models_of(members):
        raise ArtifactError(f"{artifact.folder / CORE} names models {list(core.models)}; its members have others")
    return members


def models_of(members: Mapping[str, Artifact]) -> tuple[str, ...]:
    """Every model file of a cascade, by its path in the cascade's folder."""
    return tuple(f"{name}/{path}" for name, member in members.items() for path in member.core.models)


def _files_from_json(value: Any) -> dict[str, dict[str, Any]]:
    """Path -> sha256 and bytes; raises what `load_artifact` catches when they have another form."""
    files = {str(path): {"sha256": entry["sha256"], "bytes": entry["bytes"]} for path, entry in dict(value).items()}
    for path, entry in files.items():
        if type(entry["sha256"]) is not str or type(entry["bytes"]) is not int or not path or "\0" in path:
            raise ValueError(f"the entry of file {path!r} has another form")
    return files


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]], *, sealed: bool) -> None:
    """Only expected regular files of one name each, of the size that was written; evidence/ may hold more."""
    for path, entry in files.items():
        parts = Path(path).parts
        if Path(path).is_absolute() or ".." in parts or path in (CORE, SEALED) or parts[0] == EVIDENCE:
            raise ArtifactError(f"{folder / CORE} names the file {path!r}, which may not be part of an artifact")
        target = folder / path
        if not target.is_file():
            raise ArtifactError(f"{folder} has lost {path}; make it again or fetch it whole")
        size = int(entry["bytes"]) + (OVERHEAD if sealed and parts[-1] != CORE else 0)
        if size > MAX_FILE_BYTES or target.stat().st_size != size:
            raise ArtifactError(f"{target} has {target.stat().st_size} bytes; {size} were written")
    for found in sorted(folder.rglob("*")):
        relative = found.relative_to(folder).as_posix()
        if found.is_symlink():
            raise ArtifactError(f"{found} is a link; an artifact holds regular files only")
        if found.is_dir():
            continue
        if not found.is_file() or found.stat().st_nlink != 1:
            raise ArtifactError(f"{found} is a link or no regular file; copy the artifact, file by file")
        expected = relative in files or relative in ((CORE, SEALED) if sealed else (CORE,))
        if not expected and not relative.startswith(f"{EVIDENCE}/"):
            raise ArtifactError(f"{found} does not belong to the artifact; remove it")
