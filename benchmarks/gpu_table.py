"""README's table of what is for a GPU: each row in one of three states, and the figures where there are any.

*measured*: a committed `gpu-*.json` has its figures. *runs, unmeasured*: it ran on a GPU and has none.
*written and tested without a GPU*: nothing of it has run on one.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

MEASURED, UNMEASURED, WRITTEN = "measured", "runs, unmeasured", "written and tested without a GPU"
# what, and the contestant of `make gpu` that shows it; None for what that does not run
ROWS: tuple[tuple[str, str | None], ...] = (
    ("ONNX Runtime CUDA, graphs and bound buffers", "ONNX Runtime CUDA fp16"),
    ("TensorRT, fp16", "TensorRT fp16"),
    ("TensorRT, int8", "TensorRT int8"),
    ("TensorRT, fp8", "TensorRT fp8"),
    ("TensorRT, 2:4 sparse weights", "TensorRT fp16, 2:4"),
    ("TensorRT-RTX plugin of ONNX Runtime", "TensorRT-RTX fp16"),
    ("`toolkit build`: precision in the graph, shapes, engine cache", None),
    ("`toolkit serve --provider gpu`: fallback, building beside, switching", None),
    ("`toolkit optimize --device cuda`", None),
    ("`Dockerfile`, target gpu", None),
)
SHOWN = ("1", "8", "64", "256", "own lengths")


def states(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """What, its state, and where it was measured or why not."""
    rows = []
    for what, contestant in ROWS:
        seen = [one for one in results if any(contestant in case["contestants"] for case in one["cases"].values())]
        if contestant is not None and seen:
            rows.append((what, MEASURED, "; ".join(f"{one['gpu']['name']}, {one['date'][:10]}" for one in seen)))
            continue
        refused = {
            f"{one['gpu']['name']}: {case['absent'][contestant]}"
            for one in results for case in one["cases"].values() if contestant in case["absent"]
        }  # fmt: skip
        rows.append((what, WRITTEN, "; ".join(sorted(refused))))
    return rows


def gpu_table(results: Sequence[Mapping[str, Any]]) -> str:
    """The states, then a table of milliseconds a GPU and case."""
    lines = ["| for a GPU | state | where |", "|---|---|---|"]
    lines += [f"| {what} | {state} | {words} |" for what, state, words in states(results)]
    if not results:
        return "\n".join([*lines, "", "No GPU figure has been measured yet: `make gpu` on a machine that has one."])
    for one in results:
        for name, case in one["cases"].items():
            lines += ["", *_figures(one, name, case)]
    return "\n".join(lines)


def _figures(one: Mapping[str, Any], name: str, case: Mapping[str, Any]) -> list[str]:
    shapes = [shape for shape in SHOWN if shape in case["timed"]]
    lines = [
        f"{name} on {one['gpu']['name']}, driver {one['gpu']['driver']}, {one['date'][:10]}: milliseconds from numpy "
        "to numpy by rows in a run, median of rounds",
        "",
        f"| | test % | {' | '.join(shapes)} |",
        f"|---|---:|{'---:|' * len(shapes)}",
    ]
    for contestant in case["contestants"]:
        times = [f"{statistics.median(case['timed'][shape]['whole_ms'][contestant]):.3f}" for shape in shapes]
        score = 100 * case["quality"][contestant]["test"]["accuracy"]["value"]
        lines.append(f"| {contestant} | {score:.1f} | {' | '.join(times)} |")
    lines += [f"| {contestant} | | {words} |" for contestant, words in case["absent"].items()]
    bars = [
        f"{bar['what']}: {bar['value']:.2f} ({'held' if bar['held'] else 'missed'}, limit {bar['limit']:g})"
        for bar in case["bars"]
    ]
    return [*lines, "", "; ".join(bars) + "."] if bars else lines
