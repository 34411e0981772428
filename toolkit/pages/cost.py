"""What it takes to run a model: size, memory, time to load, joules, money, each where it was measured."""

from __future__ import annotations

from toolkit.pages.commands_to_run import bench_command
from toolkit.pages.content import DASH, Missing, Part, Section, columns, figure, table_of
from toolkit.pages.gather import Gathered, Subject
from toolkit.pages.timing import names_of, unmeasured

MEMORY, LOADING, JOULES, MONEY = 2, 4, 7, 8  # places in a row


def show_cost(gathered: Gathered) -> Section:
    """One row an artifact; a sentence for what nobody measured, and for what a cost assumes."""
    rows = [_row(subject) for subject in gathered.subjects]
    heads = columns(
        "artifact", "size MB", "memory MB", "peak memory MB", "cold load ms", "load ms", "first answer ms",
        "J per 1,000", "cost of a million", code=("artifact",),
    )  # fmt: skip
    missing = []
    if all(row[MEMORY] == row[LOADING] == DASH for row in rows):
        missing.append(unmeasured(gathered, names_of(gathered), "memory and load time were not measured"))
    if all(row[JOULES] == DASH for row in rows):
        missing.append(Missing("Joules: no energy counter was read (RAPL or NVML, where a machine has one)."))
    if all(row[MONEY] == DASH for row in rows):
        missing.append(
            Missing(
                "Cost: no hourly price was stated.", bench_command(gathered.subjects, "--ladder", "--price", "PER_HOUR")
            )
        )
    words = tuple(
        f"The cost of {s.name} assumes {assumes}."
        for s in gathered.subjects
        if (assumes := s.entry.get("price", {}).get("assumes"))
    )
    table = table_of("Memory is what a fresh process adds to a bare Python, with the model answering", heads, rows)
    return Section("cost", "What it takes to run", (Part(words=words, tables=(table,)),), tuple(missing))


def _row(subject: Subject) -> tuple[str, ...]:
    entry, report = subject.entry, subject.report
    foot = entry.get("footprint") or (report.footprint if report else None) or {}
    memory = [figure(foot[key] / 1e6) if foot.get(key) else DASH for key in ("memory_bytes", "peak_bytes")]
    times = [figure(foot.get(key)) for key in ("cold_load_ms", "load_ms", "first_answer_ms")]
    joules = figure(entry.get("energy", {}).get("joules_per_1000"))
    money = figure(entry.get("price", {}).get("per_million"))
    return (subject.name, figure(subject.artifact.size_bytes / 1e6), *memory, *times, joules, money)
