"""README's tables of serving: the servers beside one another with the bars, the faults, the container image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.serving_bars import typical

UNSETTLED = " Unsettled: the interval of the median over the rounds (in brackets) lies on both sides of the bar."


def serving_table(results: Mapping[str, Any]) -> str:
    """One row a server around the same predictor, then the bars, held or missed."""
    case, student = results["cases"]["int8"], results["cases"]["student"]
    small = {row["name"]: row for row in student["servers"]}
    lines = [
        "| server | p50 ms | p99 ms | requests/s, 16 conn. | small student/s | p99 at half of peak, first and last "
        "third | peak goodput/s | goodput at 2x, 5x, 10x of our peak | success | MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in case["servers"]:
        if words := row.get("unavailable"):
            lines.append(f"| {row['name']} | {' '.join(words.split())[:160].replace('|', '/')} |" + " |" * 8)
            continue
        memory, floods = row["memory"], list(zip(*row.get("overloads", []), strict=True))
        steady = typical(row["steadies"], "p99_ms") if "steadies" in row else None
        thirds = [steady[third]["p99_ms"] for third in ("first_third", "last_third")] if steady else []
        cells = [
            row["name"], _number(row["lone"]["p50_ms"], 2), _number(row["lone"]["p99_ms"], 2),
            _number(row["many"]["rate"], 0), _number(small[row["name"]].get("many", {}).get("rate"), 0),
            ", ".join(_number(value, 1) for value in thirds) or "–", _number(row.get("peak_goodput"), 0),
            ", ".join(_number(typical(same, "goodput")["goodput"], 0) for same in floods) or "–",
            f"{100 * min(row['lone']['success_rate'], row['many']['success_rate']):.1f} %",
            _number(memory["pss_mb"], 0),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    bars = ["| bar | wanted | reached | |", "|---|---:|---:|---|"]
    bars += [
        f"| {bar['words']} | {bar['wanted']} | {bar['reached']} | "
        f"{bar['verdict'] if bar['verdict'] == 'held' else '**' + bar['verdict'] + '**'} |"
        for bar in results["bars"]
    ]
    unsettled = any(bar["verdict"] == "unsettled" for bar in results["bars"])
    noise, null, plan = case["noise"], results["null_server"], results["plan"]
    words = (
        f"INT8 MiniLM on TREC questions ({case['in_process']['predictor']['p50_ms']:.2f} ms in process), the student "
        f"{student['in_process']['predictor']['p50_ms']:.2f} ms; server on one core, generator on another, every "
        f"answer checked, on {results['machine']['processor']}, {results['date'][:10]}. Goodput: right answers within "
        f"{results['objective_ms']:g} ms of when they were due. Half of peak: {plan['steady']:g} s, for the "
        f"others {plan['steady_others']:g}; of ours the table has the median of {plan['repeats']} long loads "
        f"and floods, the bars take all. The bare application against itself: p50 "
        f"{noise['p50_ms']['low']:+.2f} to {noise['p50_ms']['high']:+.2f} ms, rate {noise['rate']['low']:.2f} to "
        f"{noise['rate']['high']:.2f}; without a model {_number(null['lone']['p50_ms'], 2)} ms and "
        f"{null['many']['rate']:,.0f}/s, which is what HTTP and the generator cost. MB: proportional set size."
        f"{UNSETTLED if unsettled else ''}"
    )
    return "\n".join(lines) + "\n\n" + "\n".join(bars) + f"\n\n{words}"


def faults_table(results: Mapping[str, Any]) -> str:
    """One row a fault: what was done, the bar, what fell short, and how the control failed the same check."""
    lines = [
        "| fault | the bar | | what fell short | control | how it failed the same check |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        control = row["control"]
        cells = [
            row["does"], row["bar"], row["verdict"] if row["verdict"] == "held" else f"**{row['verdict']}**",
            "; ".join(row["missed"]) or row["words"], control["server"], (control["missed"] or ["–"])[0],
        ]  # fmt: skip
        lines.append("| " + " | ".join(" ".join(str(cell).split()).replace("|", "/") for cell in cells) + " |")
    held = sum(row["verdict"] == "held" for row in results["rows"])
    not_run = f"; not run for lack of time: {', '.join(results['not_run'])}" if results["not_run"] else ""
    later = [f"{row['row']} {row['measured'][:10]}" for row in results["rows"] if "measured" in row]
    words = (
        f"{held} of {len(results['rows'])} held{not_run}. {results['artifact']['name']}, server on one core, load on "
        f"another, {results['machine']['processor']}, {results['date'][:10]}, {results['seconds'] / 60:.0f} minutes."
        + (f" Measured by themselves afterwards: {', '.join(later)}." if later else "")
    )
    return "\n".join(lines) + f"\n\n{words}"


def image_words(results: Mapping[str, Any]) -> str:
    """The image's size and what was asked of it, beside BentoML's own."""
    inside, other = results["built_in"], results["bentoml"]
    base, _, packages, bento = (layer["compressed_bytes"] / 1e6 for layer in results["layers"])
    asked, writable = inside["questions"], ", ".join(inside["writable_mounts"])
    return (
        f"{results['compressed_mb']:.0f} MB compressed: {base:.0f} of Debian and Python, {packages:.0f} of packages, "
        f"{bento:.0f} of bento ({results['artifact']['name']}); `bentoml containerize` over the same base makes "
        f"{other['compressed_mb']:.0f}, which answers {other['questions']} of {asked} alike. "
        f"Ready in {inside['seconds_to_ready']:.1f} s, {asked} of {asked} questions "
        f"answered as in process, {inside['resident_bytes'] / 1e6:.0f} MB resident, user {inside['uid']}, no "
        f"capabilities, only {writable} writable, no torch; its process killed, it ends in "
        f"{inside['seconds_from_kill_to_end']:.2f} s. Built with {results['engine']}, {results['date'][:10]}."
    )


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
