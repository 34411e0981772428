"""On what it was measured and how to measure it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.pages.commands_to_run import bench_command, verify_command
from toolkit.pages.content import DASH, Part, Section, columns, table_of
from toolkit.pages.gather import Gathered, Subject
from toolkit.pages.machines import mark_machines


def show_setting(gathered: Gathered, command: Sequence[str]) -> Section:
    """Machines, versions, seeds, dates and digests, and the commands; `command` is the one that made the report."""
    measured = [(s, *found) for s in gathered.subjects for found in _measurements(s)]
    # in the order in which gather gave its letters
    letters, _ = mark_machines([[machine] for _, _, machine, _, _ in measured], across=True)
    machines = dict.fromkeys(
        (letter, *_machine_row(machine, version))
        for letter, (_, _, machine, version, _) in zip(letters, measured, strict=True)
    )
    tables = []
    if measured:
        heads = columns(
            "machine", "processor", "threads", "instruction sets", "system", "packages", "toolkit",
            words=("machine", "processor", "instruction sets", "system", "packages", "toolkit"),
        )  # fmt: skip
        tables.append(table_of("Machine and versions", heads, list(machines)))
        heads = columns(
            "artifact", "measured by", "machine", "date", "seed", "load, steal",
            words=("measured by", "machine", "date", "load, steal"), code=("artifact",),
        )  # fmt: skip
        rows = [(s.name, what, letter, *rest) for letter, (s, what, _, _, rest) in zip(letters, measured, strict=True)]
        tables.append(table_of("When each was measured", heads, rows))
    heads = columns("artifact", "digest", "folder", "data", words=("data",), code=("artifact", "digest", "folder"))
    rows = [(s.name, s.artifact.digest, str(s.folder), _data(s)) for s in gathered.subjects]
    tables.append(table_of("Which artifacts these numbers are of", heads, rows))
    words = () if measured else ("Nothing was measured, so no machine is named.",)
    parts = Part(words=words, tables=tuple(tables)), Part("Commands", commands=tuple(to_repeat(gathered, command)))
    return Section("environment", "Environment, and how to repeat this", parts)


def to_repeat(gathered: Gathered, command: Sequence[str]) -> list[str]:
    """verify for what was compared, bench for all together, and the report; DATA stands where no lineage knows it."""
    lines = [verify_command(gathered, subject) for subject in gathered.subjects if subject.verdict]
    flags = ["--ladder"] if any(s.rung("http") or s.entry.get("open") for s in gathered.subjects) else []
    return [*lines, bench_command(gathered.subjects, *flags), shlex.join(command)]


def _measurements(subject: Subject) -> Iterator[tuple[str, Mapping[str, Any], str, tuple[str, ...]]]:
    """What measured it, on which machine, by which toolkit; then date, seed and conditions as text."""
    if report := subject.report:
        parts = [name for name in ("quality", "parity", "latency", "footprint") if getattr(report, name) is not None]
        what = f"report.json ({', '.join(parts) or 'nothing'})"
        yield what, report.machine, report.toolkit_version, (report.date or DASH, str(report.seed), DASH)
    if bench := subject.bench:
        seen = _conditions(bench.conditions)
        yield "bench", bench.machine, bench.toolkit, (bench.date or DASH, str(bench.seed), seen)


def _machine_row(machine: Mapping[str, Any], version: str) -> tuple[str, ...]:
    packages = ", ".join(f"{name} {found}" for name, found in sorted(machine.get("packages", {}).items()))
    return (
        str(machine.get("processor") or DASH),
        f"{machine.get('threads_allowed', DASH)} of {machine.get('cores', DASH)}",
        " ".join(machine.get("flags", [])) or DASH,
        f"{machine.get('system') or DASH}, Python {machine.get('python') or DASH}",
        packages or DASH,
        version,
    )


def _conditions(seen: Mapping[str, Any]) -> str:
    load, steal = seen.get("load_average"), seen.get("steal_share")
    said = [
        f"load {load:.2f}" if isinstance(load, int | float) else "",
        f"steal {steal:.1%}" if isinstance(steal, int | float) else "",
    ]
    return ", ".join(filter(None, said)) or DASH


def _data(subject: Subject) -> str:
    split = subject.artifact.core.split
    return f"{split.name}, seed {split.seed}" if split else DASH
