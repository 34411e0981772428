"""The pictures of `make bench`, by the figures of the report: the ladder, and goodput against offered load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.bench_tables import RUNGS
from benchmarks.roles import SHOWN, WORDS
from toolkit.pages import plots


def draw_ladder(results: Mapping[str, Any]) -> str:
    """p50 to p99 of every model on every rung, as the text of an SVG file."""
    rows = []
    for name, entry in _named(results):
        rungs = [(rung, entry["rungs"][rung]) for rung in RUNGS if rung in entry["rungs"]]
        times = [plots.RungTime(rung, found["p50_ms"], found["p99_ms"]) for rung, found in rungs]
        times += [plots.RungTime(f"open, {step['share']:.0%} of peak", step["p50_ms"], step["p99_ms"])
                  for step in entry.get("open", [])]  # fmt: skip
        rows.append(plots.LadderRow(name, tuple(times)))
    return plots.standalone(plots.ladder(rows, title="Every model on every rung"))


def draw_goodput(results: Mapping[str, Any]) -> str:
    """Goodput of every model that was served, as the text of an SVG file."""
    series = []
    for name, entry in _named(results):
        points = [plots.LoadPoint(step["offered"], step["goodput"], step["holds"]) for step in entry.get("open", [])]
        if points:
            series.append(plots.LoadSeries(name, tuple(points), entry["peak"].get("rate")))
    objective = results["plan"]["objective_ms"]
    title = f"Right answers within {objective:g} ms against what was offered"
    return plots.standalone(plots.goodput(series, objective, title=title))


def _named(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, case in results["cases"].items():
        found = {entry["name"]: entry for entry in case["bench"]["artifacts"]}
        for role in SHOWN:
            yield f"{name}: {WORDS[role].split(',')[0]}", found[case["models"][role]]
