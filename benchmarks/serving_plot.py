"""Goodput against offered load as a picture, one line a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.serving_bars import typical
from toolkit.errors import DataError, require

# Okabe and Ito's colours, told apart by the colour-blind and, with the markers, in print
STYLES = (("#000000", "s"), ("#D55E00", "o"), ("#0072B2", "^"), ("#009E73", "v"), ("#E69F00", "D"), ("#CC79A7", "P"))


def draw(results: Mapping[str, Any]) -> str:
    """The committed picture, as the text of an SVG file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "serving.svg"
        plot(path, results["cases"]["int8"], objective_ms=results["objective_ms"])
        return path.read_text()


def plot(path: Path, case: Mapping[str, Any], *, objective_ms: float) -> None:
    """Write the picture to `path` (png or svg by its ending) for every server with a ladder."""
    require("matplotlib", extra="optimize")
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    matplotlib.rcParams["svg.hashsalt"] = "serving"  # the same picture from the same numbers
    figure = Figure(figsize=(9, 5.5), dpi=130, layout="constrained")
    axes = figure.subplots()
    measured = [row for row in case["servers"] if "ladder" in row]
    if not measured:
        raise DataError("no server was measured alone, so there is no goodput to draw")
    for row, (colour, marker) in zip(measured, STYLES, strict=False):
        points = sorted((step["offered"], step["goodput"]) for step in steps(row))
        axes.plot(
            [offered for offered, _ in points], [goodput for _, goodput in points], color=colour, marker=marker,
            markersize=6, linewidth=1.6, label=row["name"],
        )  # fmt: skip
    offered = [step["offered"] for row in measured for step in steps(row)]
    top = axes.get_ylim()[1]
    line = np.geomspace(min(offered), top, 100)
    axes.plot(line, line, color="#999999", linestyle=":", linewidth=1, label="all that is offered")
    axes.set_xscale("log")
    axes.set_xlim(0.9 * min(offered), 1.1 * max(offered))
    axes.set_ylim(0, top)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("offered, requests a second (Poisson arrivals)")
    axes.set_ylabel(f"right answers within {objective_ms:g} ms, a second")
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, framealpha=0.9)
    axes.set_title(f"{case['artifact']['name']}, one core, one thread", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def steps(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every open load of a server but the long one, whose length is another; of repeated floods the typical one."""
    return [*row["ladder"], *(typical(floods, "goodput") for floods in zip(*row["overloads"], strict=True))]
