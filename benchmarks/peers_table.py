"""The README's tables of `make peers`: the same weights in other runtimes, then the same model in other servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(results: Mapping[str, Any]) -> str:
    """One row a contestant, one row a server; those that could not do the job with their words."""
    return "\n\n".join([_contestants(results), _servers(results["served"]), _words(results)])


def _contestants(results: Mapping[str, Any]) -> str:
    lines = [
        "| | how | test accuracy (95 %) | changed answers | MB | p50 ms | p99 ms | rows/s | faster than eager (95 %) "
        "| 2 threads, p50 ms | success |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    whole = max((row["rows"] for row in results["rows"] if "rows" in row), default=0)
    for row in results["rows"]:
        if "unavailable" in row:
            lines.append(f"| {row['name']} | {_plain(row['unavailable'])} |" + " |" * 9)
            continue
        first, second = row["threads"]["1"], row["threads"].get("2", {})
        accuracy, faster = row["accuracy"], first["faster"]
        how = "; ".join([f"`{row['words']}`" if row["words"].startswith(COMMANDS) else row["words"],
                         *([row["note"]] if row.get("note") else []),
                         *([f"the first {row['rows']} rows" ] if row["rows"] < whole else [])])  # fmt: skip
        cells = [
            row["name"], _plain(how),
            f"{100 * accuracy['value']:.1f} ({100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f})",
            str(row["flips"]["count"]), f"{row['size_bytes'] / 1e6:.1f}", _number(first["p50_ms"], 2),
            _number(first["p99_ms"], 2), _number(first["rate"], 0),
            f"{faster['ratio']:.2f}x ({faster['low']:.2f}–{faster['high']:.2f})",
            _plain(second["unavailable"]) if "unavailable" in second else _number(second.get("p50_ms"), 2),
            _share(first["success_rate"]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


COMMANDS = ("optimum-cli", "olive", "toolkit ")  # words that begin so are a command


def _servers(served: Mapping[str, Any]) -> str:
    lines = [
        "| our INT8, served by | p50 ms, 1 conn. | p99 ms | requests/s, 16 conn. | p99 ms | success | MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in served["servers"]:
        if "unavailable" in row:
            lines.append(f"| {row['name']} | {_plain(row['unavailable'])} |" + " |" * 5)
            continue
        lone, many = row["lone"], row["many"]
        cells = [
            row["name"], _number(lone["p50_ms"], 2), _number(lone["p99_ms"], 2), _number(many["rate"], 0),
            _number(many["p99_ms"], 1), _share(min(lone["success_rate"], many["success_rate"])),
            _number(row["memory"]["pss_mb"], 0),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _words(results: Mapping[str, Any]) -> str:
    data, weights = results["data"], results["weights"]
    floors = ", ".join(
        f"{100 * (floor - 1):.0f} % at {threads} thread{'s' if threads != '1' else ''}"
        for threads, floor in results["noise_floor"].items()
    )
    versions = {name: version for row in results["rows"] for name, version in row.get("versions", {}).items()}
    named = ", ".join(f"{name} {version.split('-')[0]}" for name, version in versions.items() if name != "runtime")
    return (
        f"{data['rows']:,} {data['name'].upper()} {data['split']} rows, one row a call, tokenizer included, one thread "
        f"where nothing else is said, all in interleaved rounds of one run, on {results['machine']['processor']}, "
        f"{results['date'][:10]}. The same trained weights for all but the demo's packaged model: converted, logits "
        f"within {weights['largest_relative_logit_difference']:.0e}. Changed answers: against eager PyTorch. Eager "
        f"PyTorch against itself: {floors}; no smaller difference is one. MB: the model's file. toolkit serve has an "
        "objective of 100 ms here: what it would answer later it refuses at once, which its success counts against it; "
        f"the others answer everything, however late. {named}."
    )


def _plain(words: str) -> str:
    """Words as one cell holds them."""
    return " ".join(words.split())[:200].replace("|", "/")


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
