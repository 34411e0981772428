"""All artifacts side by side: one table, accuracy against latency, and how each was made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from toolkit.lineage import Step
from toolkit.pages import plots
from toolkit.pages.commands_to_run import bench_command, verify_command
from toolkit.pages.content import (
    DASH,
    Missing,
    Part,
    Section,
    columns,
    figure,
    join_names,
    percent,
    percent_interval,
    points,
    table_of,
)
from toolkit.pages.gather import Gathered, Subject
from toolkit.pages.headline import tone_of
from toolkit.report import describe_runtime

SHOWN_SETTINGS, SHOWN_SIGNS = 4, 40


def summarize(gathered: Gathered) -> Section:
    """Every artifact in the order given; none is left out, whatever it lost."""
    heads = columns(
        "#", "artifact", "verdict", "accuracy (95 %)", "AUC", "difference pt (95 %)", "flips", "p50 ms", "p99 ms",
        "peak a second", "success", "size MB", "calibration error", "machine", "runtime",
        words=("verdict", "machine", "runtime"), code=("artifact",),
    )  # fmt: skip
    source = timed_by(gathered.subjects)
    rows = [(str(number), *_row(subject, source)) for number, subject in enumerate(gathered.subjects, 1)]
    words = {"predictor": "bench, predictor in process", "report": "one row at a time in process, from report.json"}
    caption = f"Times: {words[source]}. A dash is not measured."
    if gathered.void:
        caption += " The run of bench is void: its times decide nothing."
    tones = [tone_of(subject) for subject in gathered.subjects]
    table = table_of(caption, heads, rows, tones, says="verdict")
    return Section("summary", "Summary", (Part(tables=(table,)),))


def timed_by(subjects: Sequence[Subject]) -> str:
    """Where p50 and p99 of all come from, so that one column never mixes two kinds: "predictor" or "report"."""
    benched = sum(bool(subject.rung("predictor")) for subject in subjects)
    reported = sum(bool(subject.report and subject.report.latency) for subject in subjects)
    return "predictor" if benched and benched >= reported else "report"


def times_of(subject: Subject, source: str) -> tuple[float | None, float | None]:
    """p50 and p99 in ms; None where they were not measured or the samples were too few."""
    if source == "predictor":
        found = subject.rung("predictor")
    else:
        found = (subject.report.latency if subject.report else None) or {}
    return found.get("p50_ms"), found.get("p99_ms")


def _row(subject: Subject, source: str) -> tuple[str, ...]:
    report, values, flips = subject.report, subject.values, subject.quality.get("flips")
    p50, p99 = times_of(subject, source)
    facts = subject.entry.get("runtime") or (report.runtime if report else {})
    auc = values.get("auc", {}).get("value")
    success = [rung["success_rate"] for rung in subject.entry.get("rungs", {}).values() if "success_rate" in rung]
    peak = subject.entry.get("peak", {}).get("rate")
    verdict = subject.verdict
    words = str(verdict.get("words", DASH)) + (" (failed)" if verdict.get("failed") else "")
    return (
        subject.name, words, percent_interval(values.get("accuracy")), DASH if auc is None else f"{auc:.4f}",
        points(subject.quality.get("difference", {}).get("accuracy")),
        f"{flips['count']:,} ({percent(flips['share'])})" if flips else DASH,
        figure(p50) + _void(subject, p50), figure(p99) + _void(subject, p99),
        figure(peak) + _void(subject, peak), percent(min(success)) if success else DASH,
        figure(subject.artifact.size_bytes / 1e6),
        DASH if not values else f"{values['expected_calibration_error']:.4f}",
        subject.machine, describe_runtime(facts) or DASH,
    )  # fmt: skip


def _void(subject: Subject, value: float | None) -> str:
    return "" if subject.counts or value is None else " void"


def show_pareto(gathered: Gathered) -> Section:
    """Accuracy against latency; times of a void run or of several machines are not drawn as one picture."""
    title = "Accuracy against latency"
    source = timed_by(gathered.subjects)
    references = {found.name for s in gathered.subjects if (found := gathered.reference_of(s))}
    drawn, missing = [], []
    for subject in gathered.subjects:
        accuracy, (p50, p99) = subject.values.get("accuracy", {}), times_of(subject, source)
        if source == "predictor" and not subject.counts:
            p50 = p99 = None
        drawn.append(plots.ParetoPoint(
            subject.name, accuracy.get("value"), accuracy.get("low"), accuracy.get("high"), p99, p50,
            subject.artifact.size_bytes, subject.name in references,
        ))  # fmt: skip
    if gathered.void and source == "predictor":
        missing.append(Missing("Times of a void run are not drawn.", bench_command(gathered.subjects)))
    if unjudged := [s for s in gathered.subjects if not s.values]:
        missing.append(Missing(f"{_who(unjudged)} not judged.", verify_command(gathered, unjudged[0])))
    if untimed := [s for s in gathered.subjects if times_of(s, source) == (None, None)]:
        missing.append(Missing(f"{_who(untimed)} not timed.", bench_command(gathered.subjects)))
    whole = any(p.accuracy is not None and (p.p99_ms or p.p50_ms) for p in drawn)
    words = []
    if gathered.differences:
        words.append("These points were measured on different machines; their horizontal places are no comparison.")
    if any(p.p99_ms is None and p.p50_ms for p in drawn):
        words.append("p50 is drawn: of some artifact there are under 1,000 samples, too few for p99.")
    part = Part(words=tuple(words), figure=partial(plots.pareto, drawn))
    return Section("pareto", title, (part,) if whole else (), tuple(missing))


def _who(subjects: Sequence[Subject]) -> str:
    return f"{join_names([s.name for s in subjects], 3)} {'was' if len(subjects) == 1 else 'were'}"


def show_lineage(gathered: Gathered) -> Section:
    """The steps of each artifact; where another artifact here is what a step made, its accuracy stands there."""
    results = {
        _key(s.artifact.core.steps): percent(s.values["accuracy"]["value"]) for s in gathered.subjects if s.values
    }
    heads = columns(
        "artifact", "digest", "steps", "settings", words=("steps",), code=("artifact", "digest", "settings")
    )
    rows, parts = [], []
    for subject in gathered.subjects:
        steps = subject.artifact.core.steps
        settings = "; ".join(f"{step.name} {json.dumps(dict(step.settings), ensure_ascii=False)}" for step in steps)
        members = "".join(f" + {role} {member.digest[:12]}" for role, member in subject.artifact.members.items())
        line = " → ".join(step.name for step in steps) or "no step recorded"
        rows.append((subject.name, subject.artifact.digest[:12] + members, line, settings or DASH))
        if steps and len(gathered.subjects) <= plots.NAMED:
            line_of_steps = [
                plots.LineageStep(step.name, _details(step), results.get(_key(steps[: i + 1]), ""))
                for i, step in enumerate(steps)
            ]
            parts.append(
                Part(subject.name, figure=partial(plots.lineage, line_of_steps, title=f"Steps of {subject.name}"))
            )
    table = table_of("Steps with every setting they ran with", heads, rows)
    return Section("lineage", "How each was made", (*parts, Part(tables=(table,))))


def _key(steps: Sequence[Step]) -> str:
    return json.dumps([step.to_json() for step in steps], sort_keys=True)


def _details(step: Step) -> tuple[str, ...]:
    """The first settings in words, the short ones; the table has all of them."""
    shown = [
        f"{name.replace('_', ' ')} {value}" for name, value in step.settings.items()
        if isinstance(value, str | int | float) and len(str(value)) <= SHOWN_SIGNS
    ]  # fmt: skip
    more = len(step.settings) - len(shown[:SHOWN_SETTINGS])
    return (*shown[:SHOWN_SETTINGS], *([f"and {more} more"] if more and shown else []))
