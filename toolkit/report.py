"""What was measured of one artifact, in one file: the truth from which tables and cards are made.

::

    report["test"]["accuracy"]["value"]   share right on the split that "split" names, with "low", "high"
    report["flips"]["share"]              answers that differ from the reference's
    report["latency"]["p50_ms"]           one row in process; null where there were too few samples
    report["size_bytes"]                  everything inside the artifact's digest

Keys carry their unit. A part that was not measured is absent, never zero. Every report names the
digest it speaks of. Raw examples never stand in one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import toolkit
from toolkit.artifact import Artifact
from toolkit.core import CASCADE
from toolkit.errors import ArtifactError, InputError
from toolkit.lineage import SplitRecord, Step, split_from_json, steps_from_json
from toolkit.machine import describe_machine
from toolkit.staging import write_atomically

SCHEMA_VERSION = 1
REPORT = "report.json"
# parts measured by somebody else, each in the form of its own to_json; quality is spread over several keys
PARTS = ("parity", "latency", "footprint")
QUALITY_KEYS = ("reference", "difference", "classes", "flips", "verdict", "slices")


class Measured(Protocol):
    """Quality, Assessment, Parity, Latency or Footprint: whatever was measured says it in JSON."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        ...


@dataclass(frozen=True)
class Row:
    """One row of a table; None is "not measured". Shares from 0 to 1, times in milliseconds."""

    stage: str
    runtime: str
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    auc: float | None
    flips: int | None
    flips_share: float | None
    size_bytes: int
    p50_ms: float | None
    mean_ms: float | None
    p99_ms: float | None
    verdict: str | None
    failed: bool


@dataclass(frozen=True)
class Report:
    """See the module. Make one with `Report.of`, read one with `read_report`."""

    name: str
    digest: str
    steps: tuple[Step, ...]
    runtime: Mapping[str, Any]
    size_bytes: int
    quality: Mapping[str, Any] | None = None
    parity: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None
    footprint: Mapping[str, Any] | None = None
    data: SplitRecord | None = None
    seed: int = 0
    machine: Mapping[str, Any] = field(default_factory=dict, repr=False)
    toolkit_version: str = toolkit.__version__
    date: str = ""

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        *,
        facts: Mapping[str, Any],
        name: str | None = None,
        seed: int = 0,
        quality: Measured | None = None,
        parity: Measured | None = None,
        latency: Measured | None = None,
        footprint: Measured | None = None,
    ) -> Report:
        """A report of `artifact` on this machine, now, with the parts that were measured.

        `facts` is the runner's word on what really ran, `name` what the stage is called in a table,
        `quality` a Quality or, for a model that is compared with nothing, an Assessment.
        """
        return cls(
            name=name or artifact.name,
            digest=artifact.digest,
            steps=artifact.core.steps,
            runtime=dict(facts),
            size_bytes=artifact.size_bytes,
            quality=quality.to_json() if quality else None,
            parity=parity.to_json() if parity else None,
            latency=latency.to_json() if latency else None,
            footprint=footprint.to_json() if footprint else None,
            data=artifact.core.split,
            seed=seed,
            machine=describe_machine().to_json(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def values(self) -> Mapping[str, Any]:
        """What the model did on the split it was judged on; empty when it was not judged."""
        return self.quality[self.quality["split"]] if self.quality else {}

    @property
    def is_cascade(self) -> bool:
        """True for two models of which one answers: its times are of two kinds, so their mean is shown too."""
        return any(step.name == CASCADE for step in self.steps)

    def row(self) -> Row:
        """What a table shows of this report."""
        quality, latency = self.quality or {}, self.latency or {}
        accuracy, flips, verdict = self.values.get("accuracy", {}), quality.get("flips", {}), quality.get("verdict", {})
        return Row(
            stage=self.name,
            runtime=describe_runtime(latency.get("runtime", self.runtime)),
            accuracy=accuracy.get("value"),
            accuracy_low=accuracy.get("low"),
            accuracy_high=accuracy.get("high"),
            auc=self.values.get("auc", {}).get("value"),
            flips=flips.get("count"),
            flips_share=flips.get("share"),
            size_bytes=self.size_bytes,
            p50_ms=latency.get("p50_ms"),
            mean_ms=latency.get("mean_ms"),
            p99_ms=latency.get("p99_ms"),
            verdict=verdict.get("words"),
            failed=bool(verdict.get("failed", False)),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values with the keys that the module names."""
        value: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "digest": self.digest,
            "steps": [step.to_json() for step in self.steps],
            "runtime": dict(self.runtime),
            "size_bytes": self.size_bytes,
            "data": self.data.to_json() if self.data else None,
            "seed": self.seed,
            "machine": dict(self.machine),
            "toolkit_version": self.toolkit_version,
            "date": self.date,
            **(self.quality or {}),
        }
        return value | {part: dict(found) for part in PARTS if (found := getattr(self, part)) is not None}

    @classmethod
    def from_json(cls, value: Any) -> Report:
        """The inverse of `to_json`; raises `ArtifactError` for another form or another schema version."""
        try:
            version = value["schema_version"]
            if version != SCHEMA_VERSION:
                raise ArtifactError(
                    f"the report has schema_version {version}; this toolkit reads {SCHEMA_VERSION}; measure again"
                )
            split = value.get("split")
            quality = None
            if split is not None:
                quality = {key: value[key] for key in ("split", split, *QUALITY_KEYS) if key in value}
                float(quality[split]["accuracy"]["value"])
            return cls(
                name=str(value["name"]),
                digest=str(value["digest"]),
                steps=steps_from_json(value["steps"]),
                runtime=dict(value["runtime"]),
                size_bytes=int(value["size_bytes"]),
                quality=quality,
                data=split_from_json(value["data"]),
                seed=int(value["seed"]),
                machine=dict(value["machine"]),
                toolkit_version=str(value["toolkit_version"]),
                date=str(value["date"]),
                **{part: dict(value[part]) for part in PARTS if part in value},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"the report cannot be read: {error!r}; measure again") from None


def describe_runtime(facts: Mapping[str, Any]) -> str:
    """What ran, in a few words: `ONNX Runtime 1.32.0 int8`."""
    return " ".join(str(facts[key]) for key in ("runtime", "precision") if facts.get(key))


def write_report(path: Path | str, report: Report) -> None:
    """Write one report, whole or not at all."""
    text = json.dumps(report.to_json(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomically(Path(path), text.encode() + b"\n")


def read_report(path: Path | str) -> Report:
    """Read one report; raises `InputError` where there is none, `ArtifactError` where it cannot be read."""
    path = Path(path)
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); give a report.json made by verify or bench"
        ) from None
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON: {error}; measure again") from None
    try:
        return Report.from_json(value)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None


def update_report(path: Path | str, report: Report) -> Report:
    """Write `report` with the parts that it lacks taken from the one at `path`, and return what was written.

    Only from a report of the same artifact on a processor and packages like these: numbers of two
    machines do not belong in one file. Anything else there is replaced.
    """
    path = Path(path)
    try:
        before: Report | None = read_report(path) if path.exists() else None
    except InputError:
        before = None
    if before and before.digest == report.digest and _kind(before.machine) == _kind(report.machine):
        missing = [part for part in ("quality", *PARTS) if getattr(report, part) is None]
        report = replace(report, **{part: getattr(before, part) for part in missing})
    write_report(path, report)
    return report


def _kind(machine: Mapping[str, Any]) -> list[Any]:
    """What makes two measurements comparable; how many processors a process was granted may differ."""
    return [machine.get(key) for key in ("processor", "flags", "packages")]
