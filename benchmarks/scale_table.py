"""The README's table of how costs grow, from `benchmarks/results/scale.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

GROWS = {"length": "tokens in a row", "batch": "rows in a batch", "connections": "clients at once",
         "calibration": "rows to calibrate"}  # fmt: skip
COSTS = {"cost": "time over answers", "wait": "wait for an answer"}
HEAD = (
    "what grows", "of what", "threads", "sizes", "ms", "slope (95 %)", "at the large end", "operations at best, ms",
    "weights from memory, ms", "times the limit", "success",
)  # fmt: skip


def table(results: Mapping[str, Any]) -> str:
    """One row a series, then what the machine allows and what the numbers were measured on."""
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(results)]
    return "\n".join(lines) + f"\n\n{_words(results)}"


def _rows(results: Mapping[str, Any]) -> Iterator[list[str]]:
    for axis, grows in GROWS.items():
        if axis not in results["axes"]:
            yield [grows, "**not measured: the run is void**", *[""] * (len(HEAD) - 2)]
            continue
        for series in results["axes"][axis]["series"]:
            points: Sequence[Mapping[str, Any]] = series["points"]
            last = points[-1]
            shown = [points[place] for place in sorted({0, len(points) // 2, len(points) - 1})]
            shares = [point["ms"] / point["limit_ms"] for point in points if "limit_ms" in point]
            worst = min(point["success_rate"] for point in points)
            yield [
                grows,
                _what(series, axis),
                str(series["threads"]),
                ", ".join(f"{point['size']:,}" for point in shown),
                ", ".join(_ms(point["ms"]) for point in shown),
                _slope(series["slope"]) + (f", off by {series['off']:.1f}x" if series["off"] >= 1.1 else ""),
                f"{_slope(series['large_end'])} from {series['large_end']['from']:,}" if "large_end" in series else "–",
                _ms(last.get("operations_ms")),
                _ms(last.get("memory_ms")),
                f"{shares[0]:.1f}, {shares[-1]:.1f}" if shares else "–",
                f"{100 * worst:.1f} %" if worst == 1 else f"**{100 * worst:.1f} %**",
            ]


def _what(series: Mapping[str, Any], axis: str) -> str:
    name = f"{series['model'] if series['trained'] else 'stand-in'}, {series['precision']}"
    return f"{name}: {COSTS[series['what']]}" if axis == "connections" else name


def _words(results: Mapping[str, Any]) -> str:
    limits, machine, axes = results["limits"], results["machine"], results["axes"]
    rates = [
        f"on {count} {'thread' if count == '1' else 'threads'} {one['memory_gb_s']:.1f} GB/s from memory, "
        f"{one['int8_gop_s']:,.0f} GOP/s in int8 and {one['fp32_gop_s']:,.0f} in fp32"
        for count, one in limits["threads"].items()
    ]
    cache = limits["last_cache_bytes"]
    noise = [f"{GROWS[name]} {axis['noise']:.2f}x" for name, axis in axes.items() if "noise" in axis]
    kept = (
        f" Weights of less than the last cache ({cache / 2**20:.0f} MiB) stay in it and memory does not bound them: "
        "the limit takes the rate at which a block of their size is read."
        if cache
        else ""
    )
    trained = [model for model in results["models"] if model["trained"]]
    ends = (
        f" The trained model ends at {max(model['positions'] for model in trained)} tokens; longer rows are of a "
        "stand-in with MiniLM's sizes and random weights."
        if trained
        else " No trained model was there: all of it is of a stand-in with MiniLM's sizes and random weights."
    )
    void = f"**The run is void: {'; '.join(results['void'])}.** " if results["void"] else ""
    quick = "**A quick run: its numbers decide nothing.** " if results["quick"] else ""
    batch = f" Batches are of rows of {axes['batch']['tokens']} tokens." if "batch" in axes else ""
    beaten = [
        point for axis in axes.values() for one in axis["series"] for point in one["points"]
        if point["ms"] < point.get("limit_ms", 0.0)
    ]  # fmt: skip
    wrong = f" {len(beaten)} times lie under the limit, which was taken in a worse moment." if beaten else ""
    noisy = f" The first model against itself, at worst: {', '.join(noise)}." if noise else ""
    return (
        f"{void}{quick}At best this machine does {'; '.join(rates)}; the limit is the longer of the products at these "
        "rates and of reading the weights once, and the last column but one how many times that was needed, "
        f"at the least and the most work.{kept}{wrong}{ends}{batch}{noisy} Steps of calibration are "
        f"whole, graph work included. Every answer checked; {machine['processor']}, {results['date'][:10]}."
    )


def _slope(found: Mapping[str, float]) -> str:
    if "low" not in found:
        return f"{found['value']:.2f}"
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
