"""What the contestants run, made once: environments from their locks, the converted checkpoint, each one's model."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.checkpoint import CODE, write_huggingface
from benchmarks.peers.contestants import EXPORTED, Contestant
from benchmarks.peers.seats import MODELS, Made, make
from benchmarks.peers.servers import HERE, PeerUnavailableError, python_of
from toolkit.artifact import load_artifact
from toolkit.classifier import load_classifier
from toolkit.data import Data

CALIBRATION_ROWS = 256  # as ours has, of the training split


def packaged_by(demo: Path) -> Path:
    """The artifact that the demo chose; the INT8 of the same weights where it has not come so far."""
    report = demo / "report.json"
    return demo / str(json.loads(report.read_text())["packaged"]["name"] if report.is_file() else "baseline-int8")


def converted(source: Path, data: Data) -> tuple[Path, float]:
    """The Hugging Face folder of the trained artifact, made unless it is there, and its largest logit difference."""
    artifact = load_artifact(source)
    key = hashlib.sha256(artifact.digest.encode() + CODE.read_bytes()).hexdigest()[:16]
    folder = MODELS / f"checkpoint-{key}"
    mark = folder / "converted.json"
    if not mark.is_file():
        difference = write_huggingface(load_classifier(artifact), folder, data.split("test").examples)
        mark.write_text(json.dumps({"largest_relative_logit_difference": difference}))
    return folder, float(json.loads(mark.read_text())["largest_relative_logit_difference"])


def install(name: str) -> dict[str, Any]:
    """An environment made from its lock, or its words; seconds are 0 when it was there."""
    started, lock = time.monotonic(), HERE / name / "requirements.txt"
    pins = [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    facts: dict[str, Any] = {"packages": len(pins), "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest()}
    try:
        python_of(name)
    except PeerUnavailableError as error:
        return facts | {"unavailable": str(error)}
    return facts | {"seconds": time.monotonic() - started}


def make_all(
    everyone: Sequence[Contestant], checkpoint: Path, data: Data, environments: Mapping[str, Any]
) -> tuple[dict[Contestant, Made], dict[str, str]]:
    """Each contestant's model, and the words of those that have none."""
    texts = checkpoint / "calibration.json"
    rows = data.split("train").examples[:CALIBRATION_ROWS]
    texts.write_text(json.dumps([str(text) for text in rows]))
    made, words = dict[Contestant, Made](), dict[str, str]()
    for one in everyone:
        exported = None
        try:
            if (refused := environments.get(one.environment, {}).get("unavailable")) is not None:
                raise PeerUnavailableError(refused)
            if one.takes != "checkpoint":
                if one.takes in words:
                    raise PeerUnavailableError(f"{one.name} has nothing to take: {words[one.takes]}")
                exported = next(found.folder for other, found in made.items() if other.name == EXPORTED) / "model.onnx"
            print(f"{datetime.now(UTC):%H:%M:%S} make {one.name}", file=sys.stderr, flush=True)
            made[one] = make(one, checkpoint.resolve(), exported=exported, texts=texts.resolve())
        except PeerUnavailableError as error:
            print(str(error), file=sys.stderr, flush=True)
            words[one.name] = str(error)
    return made, words
