"""One call of every figure, as a report would make it, and how a test reads an SVG."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from typing import Any

from toolkit.pages import plots

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('x')</script> & \"quotes\" \x07\u202e ]]> $x^2$ " + 20 * "long-"
NAMES = ("baseline", "baseline-onnx", "baseline-int8")


def points(names: Sequence[str] = NAMES) -> list[plots.ParetoPoint]:
    return [
        plots.ParetoPoint(name, 0.97 - 0.003 * i, 0.95 - 0.003 * i, 0.985, p99_ms=9.0 / (i + 1), p50_ms=6.0 / (i + 1),
                          size_bytes=90_000_000 // (i + 1), reference=i == 0)
        for i, name in enumerate(names)
    ]  # fmt: skip


def latencies(names: Sequence[str] = NAMES) -> list[tuple[str, list[float]]]:
    return [(name, [(1 + i) * math.exp(0.2 * math.sin(7 * k)) for k in range(1200)]) for i, name in enumerate(names)]


def rungs(names: Sequence[str] = NAMES) -> list[plots.LadderRow]:
    return [
        plots.LadderRow(name, (plots.RungTime("runner", 1.0 + i, 2.0 + i), plots.RungTime("http", 3.0 + i, None)))
        for i, name in enumerate(names)
    ]


def loads(names: Sequence[str] = NAMES) -> list[plots.LoadSeries]:
    return [
        plots.LoadSeries(
            name,
            (
                plots.LoadPoint(50.0 + i, 50.0, True),
                plots.LoadPoint(90.0 + i, 80.0),
                plots.LoadPoint(110.0, 9.0, False),
            ),
            peak=88.0,
        )
        for i, name in enumerate(names)
    ]


def bands() -> list[plots.FlipBand]:
    return [plots.FlipBand(0.0, 0.5, 14, 6), plots.FlipBand(0.5, 0.9, 0, 0), plots.FlipBand(0.9, 1.0, 291, 1)]


def changes(names: Sequence[str] = NAMES) -> list[plots.Delta]:
    return [plots.Delta(name, -0.02 + 0.01 * i, -0.05, 0.03, rows=100 + i) for i, name in enumerate(names)]


def bins() -> list[plots.CalibrationBin]:
    return [
        plots.CalibrationBin(0.0, 0.5, 0, None, None),
        plots.CalibrationBin(0.5, 0.8, 10, 0.7, 0.6),
        plots.CalibrationBin(0.8, 1.0, 90, 0.95, 0.9),
    ]


# every figure that is an SVG, drawn with the given names
FIGURES: dict[str, Callable[[Sequence[str]], str]] = {
    "pareto": lambda names: plots.pareto(points(names)),
    "latency": lambda names: plots.latency_distributions(latencies(names)),
    "ladder": lambda names: plots.ladder(rungs(names)),
    "goodput": lambda names: plots.goodput(loads(names), 50.0),
    "flips": lambda names: plots.flips_by_confidence(bands(), title=f"Changed answers of {names[0]}"),
    "deltas": lambda names: plots.deltas(changes(names)),
    "calibration": lambda names: plots.calibration(bins(), bins(), names=(names[0], names[-1])),
}


def read(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def texts(svg: str) -> list[str]:
    """All words that are drawn, in the order drawn."""
    return [element.text or "" for element in read(svg).iter(f"{SVG}text")]


def tips(svg: str) -> list[str]:
    """The whole names behind shortened ones."""
    return [title.text or "" for group in read(svg).iter(f"{SVG}g") for title in group.findall(f"{SVG}title")]


def description(svg: str) -> str:
    return read(svg).findtext(f"{SVG}desc") or ""


def marks(svg: str, colour: str) -> list[tuple[float, float]]:
    """Places of all markers with that ink (the name of its variable), in pixels from the top left."""
    found: list[tuple[float, float]] = []
    for use in read(svg).iter(f"{SVG}use"):
        style: Any = use.get("style") or ""
        if re.search(rf"stroke: var\(--plot-{colour}\b", style) and use.get("x") is not None:
            found.append((float(use.get("x", "")), float(use.get("y", ""))))
    return found
