"""Write the README's tables and the pictures from the committed results; `--check` fails when either is stale.

    python -m benchmarks.tables
    python -m benchmarks.tables --check

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; nothing in between is written by hand. Pictures are
SVG files beside the results, the same bytes from the same numbers. Where a result is not there, the block says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import bench_plot, bench_tables, gpu_table, peers_table, scale_plot, scale_table, serving_plot
from benchmarks.serving_tables import faults_table, image_words, serving_table
from toolkit.report import Report
from toolkit.table import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CASES = ("trec", "sst2", "mnist-5k", "movielens-100k")


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


def compression_table(*cases: Mapping[str, Any]) -> str:
    """The answers of `toolkit optimize` for each case, beside the model that came; then the bars, held or missed."""
    lines = [
        "| data | answer | test (95 %) | change (95 %) | p50 ms | mean ms | p99 ms | MB | p50 | mean | size |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    bars = ["| data | bar | wanted | reached | at most lost | lost | |", "|---|---|---:|---:|---:|---:|---|"]
    for case in cases:
        came = case["reference"]
        lines.append(
            f"| {case['case']} | as it came, eager PyTorch | {_test(came)} | | {_costs(came)} | 1x | 1x | 1x |"
        )
        for role, answer in case["answers"].items():
            lines.append(
                f"| | **{role}**: {answer['plan']} | {_test(answer)} | {_change(answer)} | {_costs(answer)} | "
                f"{answer['p50_faster']:.1f}x | {answer['mean_faster']:.1f}x | {answer['smaller']:.1f}x |"
            )
        if shown := case.get("shown"):
            faster = [f"{came[name] / shown[name]:.1f}x" for name in ("p50_ms", "mean_ms")]
            lines.append(
                f"| | {shown['at_least']:g}x smaller, at any cost: {shown['plan']} | {_test(shown)} | "
                f"{_change(shown)} | {_costs(shown)} | {' | '.join(faster)} | {shown['smaller']:.1f}x |"
            )
        bars += [
            f"| {case['case']} | {bar['words']} | {bar['least']:g}x | {bar['reached']:.1f}x | "
            f"{100 * bar['largest_drop']:g} pt | {100 * bar['drop']:.2f} pt | "
            f"{'held' if bar['held'] else '**missed**'} |"
            for bar in case["bars"]
        ]
    first = cases[0]
    words = (
        "One thread, one row at a time, encoder included, all models of a data set timed in interleaved rounds of one "
        f"run, on {first['machine']['processor']}, {first['date'][:10]}. Choices were made on validation rows; "
        "the verdicts are on test rows."
    )
    return "\n".join(lines) + "\n\n" + "\n".join(bars) + f"\n\n{words}"


def _test(numbers: Mapping[str, Any]) -> str:
    found = numbers["test"].get("auc") or numbers["test"]["accuracy"]
    return f"{100 * found['value']:.1f} ({100 * found['low']:.1f}–{100 * found['high']:.1f})"


def _change(numbers: Mapping[str, Any]) -> str:
    change = numbers["difference"]
    return f"{100 * change['value']:+.1f} ({100 * change['low']:+.1f} to {100 * change['high']:+.1f})"


def _costs(numbers: Mapping[str, Any]) -> str:
    times = [numbers[name] for name in ("p50_ms", "mean_ms", "p99_ms")]
    shown = ["–" if value is None else f"{value:.2f}" for value in times]
    return " | ".join([*shown, f"{numbers['size_bytes'] / 1e6:.1f}"])


def replay_table(results: Mapping[str, Any]) -> str:
    """The search against random choice at equal time."""
    lines = [
        "| | points that may be lost | minutes of training | search, ms | random, ms | random / search (95 %) "
        "| better, equal, worse |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in results["rows"]:
        ratio = row["random_over_search"]
        who = "the sampler alone" if row["bare"] else "the search"
        lines.append(
            f"| {who} | {100 * row['max_drop']:g} | {row['seconds'] / 60:.0f} | {row['search_ms']:.2f} | "
            f"{row['random_ms']:.2f} | {ratio['value']:.2f}x ({ratio['low']:.2f}–{ratio['high']:.2f}) | "
            f"{row['search_better']}, {row['equal']}, {row['random_better']} |"
        )
    return "\n".join(lines)


def _illustrated(write: Callable[..., str], **pictures: str) -> Callable[..., str]:
    """What `write` says, and below it pictures, by file name without its ending, with their titles."""

    def tables_and_pictures(*results: Any) -> str:
        links = [f"![{title}](benchmarks/results/{name.replace('_', '-')}.svg)" for name, title in pictures.items()]
        return "\n\n".join([write(*results), *links])

    return tables_and_pictures


# name of the block in the README -> result files and what writes it of them
TABLES: dict[str, tuple[tuple[str, ...], Callable[..., str]]] = {
    "demo": (("demo.json",), demo_table),
    "compression": (tuple(f"compression-{case}.json" for case in CASES), compression_table),
    "replay": (("replay.json",), replay_table),
    "floors": (("floors.json",), floors_table),
    "image": (("image.json",), image_words),
    "serving": (("serving.json",), serving_table),
    "faults": (("faults.json",), faults_table),
    "bench": (
        ("bench.json",),
        _illustrated(bench_tables.table, bench_ladder="The ladder", bench_goodput="Goodput against offered load"),
    ),
    "peers": (("peers.json",), peers_table.table),
    "gpu": ((), lambda: gpu_table.gpu_table(gpu_results())),
    "scale": (("scale.json",), _illustrated(scale_table.table, scale="Cost as the work grows")),
}
# picture -> result file and what draws it, as the text of an SVG file
PLOTS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "serving.svg": ("serving.json", serving_plot.draw),
    "bench-ladder.svg": ("bench.json", bench_plot.draw_ladder),
    "bench-goodput.svg": ("bench.json", bench_plot.draw_goodput),
    "scale.svg": ("scale.json", scale_plot.draw),
}


def gpu_results() -> list[Any]:
    """Every committed `gpu-*.json`: one a GPU, by name; there may be none."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("gpu-*.json"))]


def render(text: str) -> str:
    """`text` with every block made new from the committed results."""
    for name, (files, write) in TABLES.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"README.md has no block {start} … {end}")
        text = f"{before}{start}\n{_words(name, files, write)}\n{end}{after}"
    return text


def _words(name: str, files: Sequence[str], write: Callable[..., str]) -> str:
    if not all((RESULTS / file).is_file() for file in files):
        return f"Not measured yet: `make {name}` does it."
    return write(*(json.loads((RESULTS / file).read_text()) for file in files))


def measured_plots() -> list[str]:
    """The pictures whose results are there."""
    return [name for name, (file, _) in PLOTS.items() if (RESULTS / file).is_file()]


def draw(name: str) -> str:
    """A picture made new from the committed results."""
    file, write = PLOTS[name]
    return write(json.loads((RESULTS / file).read_text())).rstrip("\n") + "\n"


def main() -> int:
    """Write README and pictures, or with --check say whether they are what would be written."""
    made = {ROOT / "README.md": render((ROOT / "README.md").read_text())}
    made |= {RESULTS / name: draw(name) for name in measured_plots()}
    if "--check" not in sys.argv[1:]:
        for path, text in made.items():
            path.write_text(text)
        return 0
    stale = [path.relative_to(ROOT) for path, text in made.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        print(f"{path} is stale: it is not what benchmarks/results say; run make tables", file=sys.stderr)
    if not stale:
        print("README.md and the pictures are current")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
