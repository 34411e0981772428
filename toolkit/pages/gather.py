"""What a report speaks of: artifacts, each with the evidence that lies beside it, or in a bench file that was named.

Evidence of another digest is refused, never shown beside a model that it does not speak of. What is not there
is None: the page says so and names the command. Numbers of two machines are refused unless they are asked
for, and are then marked.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.artifact import EVIDENCE, Artifact, load_artifact
from toolkit.errors import ArtifactError, InputError
from toolkit.judge.flips_file import FLIPS, FlipsFile, read_flips
from toolkit.measure.bench_file import BENCH, BenchFile, read_bench
from toolkit.pages.machines import mark_machines
from toolkit.report import REPORT, Report, read_report


@dataclass(frozen=True)
class Subject:
    """One artifact and what was measured of it. `machine` is a letter, empty where all is of one machine.

    `entry` is its part of `bench`; `examples` are changed rows in one line each, by row number. `seen` is what
    another's verify found of it, as its reference: (split, values).
    """

    name: str
    folder: Path
    artifact: Artifact = field(repr=False)
    report: Report | None = field(default=None, repr=False)
    bench: BenchFile | None = field(default=None, repr=False)
    entry: Mapping[str, Any] = field(default_factory=dict, repr=False)
    flips: FlipsFile | None = field(default=None, repr=False)
    examples: Mapping[int, str] = field(default_factory=dict, repr=False)
    machine: str = ""
    seen: tuple[str, Mapping[str, Any]] = field(default=("", {}), repr=False)

    @property
    def quality(self) -> Mapping[str, Any]:
        """What `verify` found, or an assessment alone; empty when it was not judged."""
        return (self.report.quality if self.report else None) or {}

    @property
    def values(self) -> Mapping[str, Any]:
        """What it did on the split it was judged on, alone or as another's reference; empty when it was not judged."""
        return (self.report.values if self.report else {}) or self.seen[1]

    @property
    def split(self) -> str:
        """The split that `values` are of."""
        return str(self.quality.get("split", self.seen[0]))

    @property
    def verdict(self) -> Mapping[str, Any]:
        """The verdict of `verify`; empty when it was compared with nothing."""
        found: Mapping[str, Any] = self.quality.get("verdict", {})
        return found

    @property
    def counts(self) -> bool:
        """False when its bench run is void: its times decide nothing."""
        return self.bench is None or self.bench.counts

    def rung(self, name: str) -> Mapping[str, Any]:
        """One rung of the ladder; empty when it was not measured."""
        found: Mapping[str, Any] = self.entry.get("rungs", {}).get(name, {})
        return found


@dataclass(frozen=True)
class Gathered:
    """Everything a report is made of. `differences` says how machines differ, `notes` what a reader must know."""

    subjects: tuple[Subject, ...]
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[BenchFile, ...]:
        """The runs of `bench` that the numbers come from, parts of one run once."""
        runs = {(s.bench.date, str(s.bench.machine)): s.bench for s in self.subjects if s.bench}
        return tuple(runs.values())

    @property
    def void(self) -> tuple[str, ...]:
        """Why runs decide nothing; empty when all of them count."""
        return tuple(dict.fromkeys(reason for file in self.files for reason in file.void))

    def named(self, name: str) -> Subject | None:
        """The subject that a bench file calls `name`; None where it is not in this report."""
        return next((s for s in self.subjects if s.entry.get("name") == name), None)

    def reference_of(self, subject: Subject) -> Subject | None:
        """The artifact that `verify` compared it with, where it is in this report too."""
        if subject.flips is None:
            return None
        return next((s for s in self.subjects if s.artifact.digest == subject.flips.reference_digest), None)


def gather(folders: Sequence[Path], *, bench: Path | None = None, across: bool = False) -> Gathered:
    """Read the evidence of every folder; `bench` is a file to take times from instead of each folder's own.

    Raises `ArtifactError` or `InputError` for a folder that is no artifact or is given twice, for evidence that
    cannot be read or speaks of another digest, and, unless `across`, for numbers of different machines.
    """
    places = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100  (a link stays the name it has)
    if twice := [str(folder) for folder, place in zip(folders, places, strict=True) if places.count(place) > 1]:
        raise InputError(f"{twice[0]} is given twice; give each artifact once")
    named = read_bench(bench) if bench else None
    subjects = [_read_subject(Path(folder), named) for folder in folders]
    if named and not any(subject.entry for subject in subjects):
        found = ", ".join(str(entry["name"]) for entry in named.artifacts) or "nothing"
        raise InputError(f"{bench} has measured none of these artifacts (it has {found}); bench them, or name others")
    names = _names(subjects)
    subjects = [replace(subject, name=name) for subject, name in zip(subjects, names, strict=True)]
    subjects = [replace(s, seen=_seen_as_reference(s, subjects)) for s in subjects]
    letters, differences = mark_machines([_machines_of(subject) for subject in subjects], across=across)
    subjects = [replace(s, machine=letter) for s, letter in zip(subjects, letters, strict=True)]
    gathered = Gathered(tuple(subjects), differences)
    return replace(gathered, notes=tuple(_notes(gathered, bench)))


def _read_subject(folder: Path, named: BenchFile | None) -> Subject:
    artifact = load_artifact(folder)
    evidence = folder / EVIDENCE
    report = read_report(evidence / REPORT) if (evidence / REPORT).exists() else None
    if report and report.digest != artifact.digest:
        _refuse(evidence / REPORT, report.digest, artifact, "verify and toolkit bench")
    flips = read_flips(evidence / FLIPS) if (evidence / FLIPS).exists() else None
    if flips and flips.digest != artifact.digest:
        _refuse(evidence / FLIPS, flips.digest, artifact, "verify")
    bench = named
    if bench is None and (evidence / BENCH).exists():
        bench = read_bench(evidence / BENCH)
        if not any(entry["digest"] == artifact.digest for entry in bench.artifacts):
            other = next((str(entry["digest"]) for entry in bench.artifacts), "nothing")
            _refuse(evidence / BENCH, other, artifact, "bench")
    entry = next((e for e in bench.artifacts if e["digest"] == artifact.digest), {}) if bench else {}
    if flips and not (report and _same_judgement(report, flips)):
        flips = None  # the report was made anew since, perhaps on other rows
    return Subject(artifact.name, folder, artifact, report, bench if entry else None, entry, flips)


def _seen_as_reference(subject: Subject, others: Sequence[Subject]) -> tuple[str, Mapping[str, Any]]:
    """A reference is judged on the same rows as its candidate, whose report keeps what it did."""
    for other in others:
        if other.flips and other.flips.reference_digest == subject.artifact.digest and "reference" in other.quality:
            return other.split, other.quality["reference"]
    return "", {}


def _same_judgement(report: Report, flips: FlipsFile) -> bool:
    quality = report.quality or {}
    return quality.get("split") == flips.split and quality.get("flips", {}).get("count") == len(flips.rows)


def _refuse(path: Path, said: str, artifact: Artifact, command: str) -> None:
    raise ArtifactError(
        f"{path} speaks of {said[:12]} and the artifact is {artifact.digest[:12]}; remove it, or run toolkit {command} "
        "again"
    )


def _names(subjects: Sequence[Subject]) -> list[str]:
    """Artifact names where they tell the artifacts apart, else folders."""
    known = Counter(subject.name for subject in subjects)
    return [s.name if known[s.name] == 1 and s.name.strip() else str(s.folder) for s in subjects]


def _machines_of(subject: Subject) -> list[Mapping[str, Any]]:
    """Where it was judged and where it was timed."""
    found = [subject.report.machine if subject.report else {}, subject.bench.machine if subject.bench else {}]
    return [machine for machine in found if machine]


def _notes(gathered: Gathered, bench: Path | None) -> list[str]:
    notes = []
    if len(gathered.files) > 1:
        notes.append(
            f"The times come from {len(gathered.files)} separate runs of bench; what changed between them is in the "
            "differences. Bench the artifacts together to compare them."
        )
    if bench and (left := [s.name for s in gathered.subjects if not s.entry]):
        notes.append(f"{bench} has not measured {', '.join(left[:5])}{' and more' if len(left) > 5 else ''}.")
    return notes
