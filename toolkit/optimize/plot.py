"""The Pareto set as a picture: validation score against latency, area by size, the answer marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit.errors import require
from toolkit.optimize.budget import Budget
from toolkit.optimize.candidates import Candidate

# Okabe and Ito's colours, told apart by the colour-blind and, with the markers, in print
GREY, BLUE, ORANGE, GREEN, RED = "#999999", "#0072B2", "#E69F00", "#009E73", "#D55E00"


def plot_pareto(
    path: Path, candidates: Sequence[Candidate], *, pareto: Sequence[Candidate], best: Candidate, reference: float,
    budget: Budget, metric: str,
) -> None:  # fmt: skip
    """Write the picture to `path` (png or svg by its ending)."""
    require("matplotlib", extra="optimize")
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 5.5), dpi=130, layout="constrained")
    axes = figure.subplots()
    kept = {candidate.name for candidate in pareto}
    groups = {
        "dropped": ([c for c in candidates if c.name not in kept], GREY, "o", 0.45),
        "Pareto set, one model": ([c for c in pareto if not c.members], BLUE, "o", 0.9),
        "Pareto set, cascade": ([c for c in pareto if c.members], ORANGE, "D", 0.9),
    }
    for label, (found, colour, marker, alpha) in groups.items():
        if found:
            axes.scatter(
                [c.cost.mean_ms for c in found], [100 * c.score for c in found],
                s=[40 + 8 * c.cost.size_bytes / 1e6 for c in found], c=colour, marker=marker, alpha=alpha, label=label,
                edgecolors="white", linewidths=0.6,
            )  # fmt: skip
    axes.scatter([best.cost.mean_ms], [100 * best.score], s=320, facecolors="none", edgecolors=RED, linewidths=2)
    axes.annotate(
        f"best: {best.name}", (best.cost.mean_ms, 100 * best.score), xytext=(10, -16), textcoords="offset points",
        color=RED, fontsize=9,
    )  # fmt: skip
    axes.axhline(100 * reference, color=GREEN, linewidth=1.2, label="the model that came")
    axes.axhline(100 * (reference - budget.max_drop), color=GREEN, linewidth=1.2, linestyle="--", label="budget")
    axes.set_xscale("log")
    for place in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        place(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.set_xlabel("mean latency of a row, ms (one thread, encoder included)")
    axes.set_ylabel(f"validation {metric}, %")
    low = min(100 * (reference - budget.max_drop), *(100 * c.score for c in pareto))
    high = max(100 * reference, *(100 * c.score for c in pareto))
    axes.set_ylim(low - 0.15 * (high - low) - 0.5, high + 0.1 * (high - low) + 0.5)
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="lower right", framealpha=0.9, markerscale=0.6)
    axes.set_title(f"{len(candidates)} candidates; area grows with size", fontsize=10)
    figure.savefig(path)
