"""How long answers take: distributions, and every rung of the ladder with the noise of the run beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from toolkit.pages import plots
from toolkit.pages.commands_to_run import bench_command
from toolkit.pages.content import (
    DASH,
    Missing,
    Part,
    Section,
    Table,
    columns,
    figure,
    join_names,
    percent,
    short,
    table_of,
)
from toolkit.pages.gather import Gathered, Subject
from toolkit.pages.ratios import RUNG_WORDS, all_ratios

RUNGS = ("predictor", "runner", "http")  # in which a distribution is looked for


def show_distributions(gathered: Gathered) -> Section:
    """The shape of single rows' times, in process where it was measured; one rung for all."""
    rung = next((rung for rung in RUNGS if any(_is_drawable(s, rung) for s in gathered.subjects)), RUNGS[0])
    drawn = [(s.name, s.rung(rung)) for s in gathered.subjects if _is_drawable(s, rung)]
    left = [s.name for s in gathered.subjects if not _is_drawable(s, rung)]
    lacking = "times of a void run are not drawn" if gathered.void else "no distribution was measured"
    missing = (unmeasured(gathered, left, lacking),) if left else ()
    words = f"One row at a time, {rung_words(rung)}."
    parts = (Part(words=(words,), figure=partial(plots.latency_distributions, drawn)),) if drawn else ()
    return Section("latency", "How long answers take", parts, missing)


def show_ladder(gathered: Gathered) -> Section:
    """Each rung of each artifact with its success rate, the noise floor, and the ratios that were measured."""
    known = dict.fromkeys([*RUNG_WORDS, *(rung for s in gathered.subjects for rung in s.entry.get("rungs", {}))])
    found = [(s, [(rung, s.rung(rung)) for rung in known if s.rung(rung)]) for s in gathered.subjects]
    rows = [_row(subject, rung, at) for subject, rungs in found for rung, at in rungs]
    if not rows:
        missing = unmeasured(gathered, names_of(gathered), "no rung was measured", "--ladder")
        return Section("ladder", "The ladder", missing=(missing,))
    heads = columns(
        "artifact", "machine", "rung", "asked", "right", "success", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms",
        "p50 first third", "p50 last third", words=("machine", "rung"), code=("artifact",),
    )  # fmt: skip
    tables = [table_of("Every rung; a percentile with fewer than ten samples beyond it is a dash", heads, rows)]
    if ratios := _ratios(gathered):
        tables.append(ratios)
    left = [subject for subject, _ in found if not subject.rung("http")]
    missing_here = unserved(gathered, left, "no rung over HTTP was measured")
    drawn = [
        plots.LadderRow(
            s.name, tuple(plots.RungTime(rung_words(rung), at.get("p50_ms"), at.get("p99_ms")) for rung, at in rungs)
        )
        for s, rungs in found
        if rungs and s.counts
    ]
    can_draw = any(time.p50_ms for row in drawn for time in row.rungs)
    part = Part(figure=partial(plots.ladder, drawn) if can_draw else None, tables=tuple(tables))
    return Section("ladder", "The ladder", (part,), missing_here)


def _row(subject: Subject, rung: str, at: Mapping[str, Any]) -> tuple[str, ...]:
    times = [figure(at.get(key)) for key in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")]
    thirds = [figure(at.get(part, {}).get("p50_ms")) for part in ("first_third", "last_third")]
    words = rung_words(rung) + ("" if subject.counts else ", void")
    counts = f"{at['asked']:,}", f"{at['right']:,}", percent(at.get("success_rate"))
    return (subject.name, subject.machine, words, *counts, *times, *thirds)


def _ratios(gathered: Gathered) -> Table | None:
    """Ratios with the noise floor of their run beside them: below it nothing is claimed."""
    rows = []
    for ratio, subject, other in all_ratios(gathered):
        floor = subject.bench.noise_floor.get(ratio["rung"]) if subject.bench else None
        said = "beyond the noise" if ratio.get("beyond_noise") else "cannot be told apart"
        rows.append((
            subject.name, other, rung_words(ratio["rung"]), figure(ratio["ratio"]),
            f"{figure(ratio['low'])} to {figure(ratio['high'])}", DASH if floor is None else figure(floor, 4),
            said if subject.counts else "void",
        ))  # fmt: skip
    heads = columns(
        "artifact", "against", "rung", "times as long", "95 %", "noise floor", "says",
        words=("rung", "says"), code=("artifact", "against"),
    )  # fmt: skip
    return table_of("Times of one run, round against round (above 1: it takes longer)", heads, rows) if rows else None


def _is_drawable(subject: Subject, rung: str) -> bool:
    """True where a run that counts has a histogram with something in it."""
    return subject.counts and any(subject.rung(rung).get("histogram", {}).get("counts", []))


def unmeasured(gathered: Gathered, names: list[str], words: str, *more: str) -> Missing:
    """What is missing of whom, and the command that measures all of them together."""
    if len(names) == len(gathered.subjects):
        sentence = f"{words[0].upper()}{words[1:]}."
    else:
        sentence = f"Of {join_names(names, 3)} {words}."
    return Missing(sentence, bench_command(gathered.subjects, *more))


def unserved(gathered: Gathered, left: Sequence[Subject], words: str) -> tuple[Missing, ...]:
    """What is missing of those that no server was asked for: a command for whom it would help, a reason for others."""
    never = [subject for subject in left if subject.entry.get("not_served")]
    could = [subject.name for subject in left if subject not in never]
    told = [Missing(f"{short(one.name)} was not asked over HTTP: {one.entry['not_served']}.") for one in never]
    return (*((unmeasured(gathered, could, words, "--ladder"),) if could else ()), *told)


def names_of(gathered: Gathered) -> list[str]:
    """All of them."""
    return [subject.name for subject in gathered.subjects]


def rung_words(rung: str) -> str:
    """A rung as a reader knows it."""
    return RUNG_WORDS.get(rung, rung)
