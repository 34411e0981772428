"""The README's tables of `make bench`: what each model is, then what it costs on every rung of the ladder.

A dash is what was not measured, or a percentile with too few samples beyond it; a run that is void says so in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.roles import CAME, SHOWN, SMALL, WORDS
from toolkit.table import DASH

RUNGS = ("runner", "predictor", "http")


def table(results: Mapping[str, Any]) -> str:
    """Both tables, the voids and what has to be read beside them, as Markdown."""
    cases: Mapping[str, Any] = results["cases"]
    parts = [_models(cases), _ladder(cases), _words(results)]
    voids = [f"- **void**, {name}: {reason}" for name, case in cases.items() for reason in case["bench"]["void"]]
    return "\n\n".join([*(["\n".join(voids)] if voids else []), *parts])


def _models(cases: Mapping[str, Any]) -> str:
    lines = [
        "| data | model | test (95 %) | change (95 %) | flips | calibration error | MB | memory MB | load ms | "
        "first answer ms | verdict |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for case, role, entry in _entries(cases):
        quality, foot = case["quality"][entry["name"]], entry.get("footprint", {})
        verdict = quality["verdict"]["words"]
        memory = foot.get("memory_bytes")
        lines.append(_line(
            _data(case, role), WORDS[role], _estimate(quality["test"][case["metric"]]),
            "" if role == CAME else _estimate(quality["difference"][case["metric"]], sign="+"),
            f"{100 * quality['flips']['share']:.1f} %",
            f"{100 * quality['test']['expected_calibration_error']:.1f} %", f"{entry['size_bytes'] / 1e6:,.1f}",
            _number(None if memory is None else memory / 1e6, 0), _number(foot.get("load_ms"), 0),
            _number(foot.get("first_answer_ms"), 1),
            f"**{verdict}**" if quality["verdict"]["failed"] else verdict,
        ))  # fmt: skip
    return "\n".join(lines)


def _ladder(cases: Mapping[str, Any]) -> str:
    entries = list(_entries(cases))
    joules = any("energy" in entry for _, _, entry in entries)
    priced = any("price" in entry for _, _, entry in entries)
    titles = [
        "data", "model", "runner p50 ms", "predictor p50, p99 ms", "HTTP p50, p99 ms", "peak/s",
        "p99 ms at 25, 50, 75, 90 % of peak", "LoadGen: single stream p90 ms", "server p99 ms", "offline/s",
        "least success", *(["J per 1,000"] if joules else []), *(["cost per million"] if priced else []),
    ]  # fmt: skip
    lines = [_line(*titles), _line("---", "---", *["---:"] * (len(titles) - 2)).replace(" ", "")]
    for case, role, entry in entries:
        rungs, steps, said = entry["rungs"], entry.get("open", []), entry.get("loadgen", {})
        peak = entry.get("peak")
        cells = [
            _data(case, role), WORDS[role], _time(rungs.get("runner", {}).get("p50_ms")),
            *(_pair(rungs.get(rung)) for rung in ("predictor", "http")),
            DASH if peak is None else _number(peak.get("rate"), 0) if peak.get("rate") else "**none**",
            ", ".join(_step(step) for step in steps) or DASH,
            _time(said.get("single_stream", {}).get("p90_ms")), _time(said.get("server", {}).get("p99_ms")),
            _number(said.get("offline", {}).get("rate"), 0), _success(entry),
        ]  # fmt: skip
        if joules:
            cells.append(_number(entry.get("energy", {}).get("joules_per_1000"), 1))
        if priced:
            cells.append(_number(entry.get("price", {}).get("per_million"), 3))
        lines.append(_line(*cells))
    return "\n".join(lines)


def _words(results: Mapping[str, Any]) -> str:
    plan, machine, cases = results["plan"], results["machine"], results["cases"]
    said = []
    for name, case in cases.items():
        bench, small = case["bench"], case["models"][SMALL]
        faster = [
            f"{rung} {_ratio(ratio)}" for rung in RUNGS for ratio in bench["ratios"]
            if (ratio["rung"], ratio["artifact"]) == (rung, small)
        ]  # fmt: skip
        floors = [f"{rung} {100 * (bench['noise_floor'][rung] - 1):.1f} %" for rung in RUNGS
                  if rung in bench["noise_floor"]]  # fmt: skip
        if faster:
            said.append(f"{name}: {', '.join(faster)}; noise {', '.join(floors)}")
    price = f" Cost is at {plan['price_per_hour']:g} an hour for the machine, asked without a pause at its peak under "
    price += "the objective, eager PyTorch in process." if plan["price_per_hour"] is not None else ""
    return (
        f"{plan['threads']} thread, rows one at a time, encoder included; the server on one core, the generator on "
        f"another; every answer checked; {plan['rounds']} interleaved rounds, {plan['seconds']:g} s a rung; on "
        f"{machine['processor']}, {results['date'][:10]}, seed {results['seed']}. Peak is the highest open load whose "
        f"p99 is within {plan['objective_ms']:g} ms with 99 % confidence and 99.9 % success; a step at which that was "
        f"not shown is marked *. Time of the small model, exported = 1 (95 %): {'; '.join(said) or 'not measured'}."
        + (price if plan["price_per_hour"] is not None else "")
        + " Least success is of all rungs, steps and scenarios; LoadGen's offline one offers all at once, and a server "
        + "with an objective refuses what it would answer too late."
        + f" Recommenders are judged by AUC. {results['seconds'] / 60:.0f} minutes."
    )


def _entries(cases: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, Mapping[str, Any]]]:
    """Case, role and entry of every model that was measured."""
    for case in cases.values():
        for role in SHOWN:
            for entry in case["bench"]["artifacts"]:
                if entry["name"] == case["models"].get(role):
                    yield case, role, entry


def _data(case: Mapping[str, Any], role: str) -> str:
    return f"{case['made']['data']}, {case['rows']:,} rows" if role == CAME else ""


def _step(step: Mapping[str, Any]) -> str:
    return _time(step["p99_ms"]) + ("" if step["holds"] else "*")


def _success(entry: Mapping[str, Any]) -> str:
    """The least of all rungs, steps and scenarios; never rounded up to 100."""
    measured = [*entry["rungs"].values(), *entry.get("open", []), *entry.get("loadgen", {}).values()]
    share = 100 * min(one["success_rate"] for one in measured)
    return "100 %" if share == 100 else f"**{min(share, 99.99):.2f} %**"


def _ratio(ratio: Mapping[str, Any]) -> str:
    words = f"{ratio['ratio']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})"
    return words if ratio["beyond_noise"] else f"{words}, within the noise"


def _estimate(found: Mapping[str, float], *, sign: str = "") -> str:
    value, low, high = (format(100 * found[key], f"{sign}.1f") for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})" if sign else f"{value} ({low}–{high})"


def _pair(rung: Mapping[str, Any] | None) -> str:
    return DASH if rung is None else f"{_time(rung['p50_ms'])}, {_time(rung['p99_ms'])}"


def _time(milliseconds: float | None) -> str:
    """Two digits behind the point, three below a tenth."""
    return _number(milliseconds, 3 if milliseconds is not None and milliseconds < 0.1 else 2)


def _number(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:,.{digits}f}"


def _line(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "/") for cell in cells) + " |"
