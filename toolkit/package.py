"""An artifact to a bento: the service of its task, the artifact, the serving side of this toolkit.

A bento must run where this repository is not, so the modules that serving imports travel in it as
source, and its requirements are the exact versions it was packaged beside: no torch among them. Its
version is a digest of what is in it; packaging the same thing twice gives the same bento.

BentoML builds it, in a process of its own: it imports the service, changes folder and path, and keeps
all that in globals. Limit: the pins are of this platform and Python, and hold no hashes.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import toolkit
from toolkit.artifact import CORE, EVIDENCE, TRAINING_ROWS, Artifact
from toolkit.errors import ArtifactError, InputError, require
from toolkit.lineage import canonical_json, digest_of, digest_of_file
from toolkit.sealing import SEALED
from toolkit.serving.loading import check_servable
from toolkit.staging import write_atomically

if TYPE_CHECKING:
    from toolkit.report import Report


@dataclass(frozen=True)
class Packaged:
    """A bento in the store: `name:version`, and its folder."""

    tag: str
    path: Path


@dataclass(frozen=True)
class Service:
    """Where the service of a task is, and what it needs beyond what all of them do."""

    folder: str
    name: str
    packages: tuple[str, ...] = ()


SERVICES = {
    "text": Service("text_classifier", "TextClassifier"),
    "image": Service("image_classifier", "ImageClassifier", ("pillow", "python-multipart")),
    "recommend": Service("recommender", "Recommender"),
}
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
PACKAGES = ("bentoml", "cryptography", "httptools", "numpy", "orjson", "tokenizers", "uvicorn", "uvloop")
# what toolkit.serving imports, directly or not; a test imports a bento's copy alone
MODULES = ("__init__.py", "py.typed", "errors.py", "spec.py", "lineage.py", "routing.py", "core.py", "golden.py",
           "sealing.py", "wire_format.py", "onnx_messages.py", "graph_policy.py", "signing.py", "progress.py",
           "artifact.py", "predictor.py", "cascade.py", "machine.py", "encoders", "engines", "runners/__init__.py",
           "runners/cancel.py", "runners/onnx.py", "runners/cascade.py", "runners/cuda.py", "runners/tensorrt.py",
           "runners/tensorrt_rtx.py", "runners/fresh_engine.py", "runners/preference.py", "runners/switching.py",
           "measure/__init__.py", "measure/cost.py", "staging.py", "judge/__init__.py", "judge/statistics.py",
           "serving")  # fmt: skip
LEFT_OUT = ("serving/serve.py", "serving/key_file.py")  # for whoever starts a server; a bento is started
REPORT = "report.json"
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def package(
    artifact: Artifact, *, name: str | None = None, report: Report | None = None, base_image: str | None = None
) -> Packaged:
    """Build a bento of an ONNX artifact in BENTOML_HOME; `report` becomes its evidence.

    `base_image` is what `bentoml containerize` builds on, BentoML's own choice if None.

    Raises `InputError` for a name BentoML does not take, `ArtifactError` when the artifact is not
    whole, not ONNX, or BentoML cannot build it. A bento that exists is whole, or is made again.
    """
    check_servable(artifact)
    chosen = bento_name(artifact.name) if name is None else name
    if not _NAME.fullmatch(chosen):
        raise InputError(f"{chosen!r} is no name for a bento; use a-z, 0-9, '.', '_' and '-', at most 63")
    service = SERVICES[artifact.spec.task]
    with tempfile.TemporaryDirectory(prefix="toolkit-package-") as temporary:
        context = Path(temporary)
        _gather(context, artifact, service, report)
        options: dict[str, Any] = {
            "service": f"service:{service.name}",
            "name": chosen,
            "labels": {"task": artifact.spec.task, "artifact": artifact.name, "digest": artifact.digest},
            "include": ["*"],
            "python": {"packages": pinned_requirements(service.packages), "lock_packages": False},
        }
        if base_image is not None:
            options["docker"] = {"base_image": base_image}
        (context / "bentofile.yaml").write_text(json.dumps(options, indent=2, sort_keys=True))
        digests = {file.relative_to(context).as_posix(): digest_of_file(file) for file in _files_of(context)}
        version = digest_of(digests)[:12]
        path = bento_store() / chosen / version
        if not _is_whole(path, digests):
            shutil.rmtree(path, ignore_errors=True)
            _build(context, version, path)
    write_atomically(path.parent / "latest", version.encode())
    return Packaged(f"{chosen}:{version}", path)


def bento_name(name: str) -> str:
    """The nearest name that BentoML takes: lower case, other signs turned into hyphens."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:63].strip("-._") or "classifier"


def bento_store() -> Path:
    """The folder of bentos: BENTOML_HOME/bentos, or ~/bentoml/bentos."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml") / "bentos"


def services_folder() -> Path:
    """The folder of services: bentos/ of the repository, or toolkit/_bentos in a wheel."""
    inside = Path(toolkit.__file__).parent
    folder = inside / "_bentos"
    return folder if folder.is_dir() else inside.parent / "bentos"


def pinned_requirements(extra: Iterable[str] = ()) -> list[str]:
    """`name==version` of every package that serving needs here, and of everything they need.

    Raises `MissingExtra` when one of the direct ones is not installed.
    """
    requirement = require("packaging.requirements", extra="serve").Requirement
    waiting: list[tuple[str, tuple[str, ...]]] = [(name, ()) for name in (_runtime(), *PACKAGES, *extra)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    pins: dict[str, str] = {}
    while waiting:
        entry = waiting.pop()
        if entry in seen:
            continue
        seen.add(entry)
        name, extras = entry
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            require(name.replace("-", "_"), extra="serve")
            raise
        # a local version (+cpu) is known to no index
        pins[_normal(name)] = distribution.version.partition("+")[0]
        for line in distribution.requires or ():
            needed: Any = requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in ("", *extras)):
                waiting.append((_normal(needed.name), tuple(sorted(needed.extras))))
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _runtime() -> str:
    for name in RUNTIMES:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    require("onnxruntime", extra="cpu")
    raise ArtifactError("ONNX Runtime is here without its metadata; install onnxruntime with pip")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _gather(context: Path, artifact: Artifact, service: Service, report: Report | None) -> None:
    """Everything of the bento, in one folder: verified bytes of the artifact, sources, service."""
    contents = {path: artifact.stored(path) for path in artifact.files}  # what is sealed stays so
    for path in (CORE, SEALED) if artifact.sealed else (CORE,):
        contents[path] = (artifact.folder / path).read_bytes()
    for file in _files_of(artifact.folder / EVIDENCE):
        if file.name != TRAINING_ROWS:
            contents[file.relative_to(artifact.folder).as_posix()] = file.read_bytes()
    if report is not None:
        contents[f"{EVIDENCE}/{REPORT}"] = canonical_json(report.to_json())
    for path, content in contents.items():
        target = context / "artifact" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    source = Path(toolkit.__file__).parent
    for part in MODULES:
        for file in _files_of(source / part):
            if file.relative_to(source).as_posix() in LEFT_OUT:
                continue
            target = context / "toolkit" / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    shutil.copyfile(services_folder() / service.folder / "service.py", context / "service.py")
    # toolkit.serving.contained serves a mounted artifact of any task by one of these
    for task, known in SERVICES.items():
        target = context / "services" / task / "service.py"
        target.parent.mkdir(parents=True)
        shutil.copyfile(services_folder() / known.folder / "service.py", target)


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _is_whole(path: Path, digests: dict[str, str]) -> bool:
    """True when the store has this bento with every file as it was gathered."""
    files = {name: digest for name, digest in digests.items() if name != "bentofile.yaml"}
    source = path / "src"
    return (path / "bento.yaml").is_file() and all(
        (source / name).is_file() and digest_of_file(source / name) == digest for name, digest in files.items()
    )


def _build(context: Path, version: str, path: Path) -> None:
    require("bentoml", extra="serve")
    command = [sys.executable, "-m", "bentoml", "build", ".", "--version", version, "--output", "tag"]
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True"}
    try:
        done = subprocess.run(command, cwd=context, env=environment, capture_output=True, text=True, check=False)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    if done.returncode or not (path / "bento.yaml").is_file():
        shutil.rmtree(path, ignore_errors=True)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ArtifactError(f"bentoml build failed: {lines[-1].strip() if lines else 'no output'}")
