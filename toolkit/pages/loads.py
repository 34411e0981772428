"""What a server gives when asked by many: goodput under open arrivals, and MLPerf's scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from toolkit.pages import plots
from toolkit.pages.content import Missing, Part, Section, columns, figure, percent, short, table_of
from toolkit.pages.gather import Gathered, Subject
from toolkit.pages.timing import names_of, unmeasured, unserved

HOLDS = {True: "held", False: "missed", None: "too few to tell"}


def show_goodput(gathered: Gathered) -> Section:
    """Right answers within the objective against what was offered, with the peak."""
    title, anchor = "Goodput against offered load", "goodput"
    loaded = [s for s in gathered.subjects if s.entry.get("open")]
    left = [s for s in gathered.subjects if not s.entry.get("open")]
    missing = list(unserved(gathered, left, "no open load was offered"))
    missing += [Missing(words) for s in gathered.subjects if (words := _no_peak(s))]
    if not loaded:
        return Section(anchor, title, missing=tuple(missing))
    heads = columns(
        "artifact", "share of peak", "offered a second", "goodput a second", "success", "p50 ms", "p90 ms", "p99 ms",
        "objective", words=("objective",), code=("artifact",),
    )  # fmt: skip
    rows = [_row(subject, step) for subject in loaded for step in subject.entry["open"]]
    table = table_of("Open arrivals (Poisson); latency counts from the scheduled time", heads, rows)
    series: dict[float, list[plots.LoadSeries]] = {}
    for subject in loaded:
        bound, points = _objective(subject), _points(subject)
        if bound and points:
            peak = subject.entry.get("peak", {}).get("rate")
            series.setdefault(bound, []).append(plots.LoadSeries(subject.name, points, peak))
    figures = [
        Part(f"Objective: p99 within {figure(bound)} ms", figure=partial(plots.goodput, found, bound))
        for bound, found in series.items()
    ]
    return Section(anchor, title, (*figures, Part(tables=(table,))), tuple(missing))


def _no_peak(subject: Subject) -> str:
    """Why a peak that was looked for was not found; empty where there is one, or nobody looked."""
    peak = subject.entry.get("peak", {})
    if not peak or peak.get("rate"):
        return ""
    bound = figure(peak.get("objective_ms"))
    return f"{short(subject.name)} has no peak with p99 within {bound} ms: {peak.get('limit', 'no rate held')}."


def _row(subject: Subject, step: Mapping[str, Any]) -> tuple[str, ...]:
    void = step.get("valid") is False or not subject.counts
    times = [figure(step.get(key)) for key in ("p50_ms", "p90_ms", "p99_ms")]
    rates = figure(step.get("offered")), figure(_goodput(step)), percent(step.get("success_rate"))
    said = "void" if void else HOLDS[step.get("holds")]
    return (subject.name, percent(step.get("share"), 0), *rates, *times, said)


def _points(subject: Subject) -> tuple[plots.LoadPoint, ...]:
    """What can be drawn of a run that counts: steps whose own schedule held."""
    return tuple(
        plots.LoadPoint(step["offered"], good, step.get("holds"))
        for step in subject.entry["open"]
        if subject.counts and step.get("valid") is not False and (good := _goodput(step)) is not None
    )


def _goodput(step: Mapping[str, Any]) -> float | None:
    found: float | None = step.get("goodput", step.get("rate"))
    return found


def _objective(subject: Subject) -> float | None:
    """The bound on p99 in ms that its loads were held against."""
    steps = [step.get("objective_ms") for step in subject.entry["open"]]
    settings = subject.bench.settings if subject.bench else {}
    found: float | None = next(filter(None, steps), None) or settings.get("objective_ms")
    return found


def show_scenarios(gathered: Gathered) -> Section:
    """What MLPerf's generator measured, where it was asked."""
    title, anchor = "MLPerf's scenarios", "scenarios"
    found = [(s, scenario, at) for s in gathered.subjects for scenario, at in s.entry.get("loadgen", {}).items()]
    if not found:
        words = "no scenario of MLPerf was run"
        return Section(
            anchor, title, missing=(unmeasured(gathered, names_of(gathered), words, "--scenario", "single_stream"),)
        )
    keys = list(
        dict.fromkeys(key for _, _, at in found for key, value in at.items() if _is_plain(value) and key != "scenario")
    )
    rows = [
        (s.name, scenario.replace("_", " "), *(_cell(key, at.get(key)) for key in keys)) for s, scenario, at in found
    ]
    heads = columns("artifact", "scenario", *map(_heading, keys), words=("scenario",), code=("artifact",))
    return Section(anchor, title, (Part(tables=(table_of("By MLPerf's LoadGen", heads, rows),)),))


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _cell(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if key == "success_rate":
        return percent(value)
    return f"{value:,}" if isinstance(value, int) else figure(value)


def _heading(key: str) -> str:
    return key.replace("p99_9", "p99.9").replace("_ms", " ms").replace("_", " ")
