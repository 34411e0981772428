"""Write the README's tables from the committed results; `--check` fails when they are stale.

    python -m benchmarks.tables
    python -m benchmarks.tables --check

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; nothing in between is written by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.report import Report
from toolkit.table import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def demo_table(results: Mapping[str, Any]) -> str:
    """One row a stage of `make demo`, and what the numbers were measured on."""
    reports = [Report.from_json(row) for row in results["rows"]]
    machine, first = results["machine"], results["rows"][0]
    rows = first["test"]["rows"]
    fastest, eager = results["packaged"]["name"], reports[0].row()
    packaged = next(report.row() for report in reports if report.name == fastest)
    if not eager.p50_ms or not packaged.p50_ms:
        raise SystemExit("demo.json has no p50; run make demo-results again")
    served = results["served"]
    words = (
        f"TREC questions, {rows:,} test rows; one thread, one row at a time, tokenizer included, on "
        f"{machine['processor']} ({machine['threads_allowed']} cores), {results['date'][:10]}. Packaged: "
        f"**{packaged.stage}**, {eager.size_bytes / packaged.size_bytes:.1f}x smaller and "
        f"{eager.p50_ms / packaged.p50_ms:.1f}x faster than eager PyTorch. Over HTTP {served['agreed']} of "
        f"{served['asked']} held-out questions got the answers of the process, {served['p50_ms']:.1f} ms each (p50)."
    )
    return f"{markdown_table(reports)}\n\n{words}"


def floors_table(results: Mapping[str, Any]) -> str:
    """One row a trained net of `make floors`."""
    lines = ["| data | net | metric | test (95 %) | floor | epochs | seconds |", "|---|---|---|---:|---:|---:|---:|"]
    for row in results["rows"]:
        value = row["value"]
        floor = "reported" if row["floor"] is None else f"{row['floor']:.3f}"
        interval = f"{value['value']:.3f} ({value['low']:.3f}–{value['high']:.3f})"
        verdict = "" if row["passed"] is not False else " **missed**"
        lines.append(
            f"| {row['data']} | {row['net']} | {row['metric']} | {interval}{verdict} | {floor} | {row['epochs']} | "
            f"{row['seconds']:.0f} |"
        )
    return "\n".join(lines)


# name of the block in the README -> result file and what writes it
TABLES: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "demo": ("demo.json", demo_table),
    "floors": ("floors.json", floors_table),
}


def render(text: str) -> str:
    """`text` with every block made new from the committed results."""
    for name, (file, write) in TABLES.items():
        results = json.loads((RESULTS / file).read_text())
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"README.md has no block {start} … {end}")
        text = f"{before}{start}\n{write(results)}\n{end}{after}"
    return text


def main() -> int:
    """Write the README, or with --check say whether it is what would be written."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    made = render(text)
    if "--check" in sys.argv[1:]:
        if made != text:
            print(
                "README.md is stale: its tables are not those of benchmarks/results; run make tables", file=sys.stderr
            )
            return 1
        print("README.md is current")
        return 0
    readme.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
