"""Tables and cards made of reports: aligned, complete, honest about what is missing."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from toolkit.lineage import Step
from toolkit.report import Report
from toolkit.table import DASH, card, columns_of, markdown_table, plain_table, print_reports

RUNTIME = {"runtime": "ONNX Runtime 1.32.0", "precision": "fp32", "threads": 1}


def quality(
    value: float,
    low: float,
    high: float,
    *,
    flips: int | None = None,
    verdict: str | None = None,
    failed: bool = False,
    auc: float | None = None,
) -> dict[str, Any]:
    values: dict[str, Any] = {"rows": 500, "accuracy": {"value": value, "low": low, "high": high}}
    if auc is not None:
        values["auc"] = {"value": auc, "low": auc - 0.01, "high": auc + 0.01}
    found: dict[str, Any] = {"split": "test", "test": values}
    if flips is not None:
        found["flips"] = {"count": flips, "share": flips / 500}
    if verdict is not None:
        found["verdict"] = {"words": verdict, "failed": failed}
        found["difference"] = {"accuracy": {"value": -0.012, "low": -0.03, "high": 0.004}}
    return found


def report(name: str, size: int, *, found: dict[str, Any] | None = None, p50: float | None = None,
           p99: float | None = None) -> Report:  # fmt: skip
    latency = {"p50_ms": p50, "p99_ms": p99} if p50 is not None else None
    return Report(name, "d" * 64, (), RUNTIME, size, quality=found, latency=latency)


BASE = report("torch", 90_712_000, found=quality(0.926, 0.9, 0.946), p50=21.5, p99=30.25)
PRUNED = report(
    "pruned", 45_000_000, found=quality(0.914, 0.886, 0.936, flips=31, verdict="worse", failed=True), p50=9.87, p99=12.0
)
UNSURE = report(
    "蒸馏", 9_000_000,
    found=quality(0.92, 0.89, 0.94, flips=12, verdict="cannot tell, 2,300 rows would", failed=True), p50=0.71,
)  # fmt: skip
INT8 = report("int8", 12_345_678, found=quality(0.924, 0.9, 0.943, flips=4, verdict="pass"), p50=3.2, p99=4.0)
ALL = [BASE, PRUNED, UNSURE, INT8]


def test_every_report_has_its_row_in_the_order_given() -> None:
    lines = plain_table(ALL).splitlines()
    assert len(lines) == 5
    assert [line.split()[0] for line in lines[1:]] == ["torch", "pruned", "蒸馏", "int8"]
    assert "worse" in lines[2]
    assert "cannot tell, 2,300 rows would (failed)" in lines[3]
    assert lines[4].endswith("pass")


def test_what_was_not_measured_is_a_dash() -> None:
    cells = {column.heading: column.cells for column in columns_of([report("bare", 1_000_000), UNSURE])}
    assert cells["accuracy % (95 %)"][0] == DASH
    assert cells["flips"][0] == cells["verdict"][0] == cells["p50 ms"][0] == DASH
    assert cells["p99 ms"] == (DASH, DASH)
    assert "AUC" not in cells


def test_numbers_carry_units_in_the_heading_and_line_up() -> None:
    cells = {column.heading: column.cells for column in columns_of(ALL)}
    assert cells["accuracy % (95 %)"][0] == "92.6 (90.0–94.6)"
    assert cells["flips"] == (DASH, "31 (6.2 %)", "12 (2.4 %)", "4 (0.8 %)")
    assert cells["size MB"] == ("90.7", "45.0", "9.0", "12.3")
    assert cells["p50 ms"] == ("21.50", "9.87", "0.71", "3.20")
    lines = plain_table(ALL).splitlines()
    end = cell_len(lines[0][: lines[0].index("p50 ms")]) + len("p50 ms")
    for line, value in zip(lines[1:], cells["p50 ms"], strict=True):
        assert cell_len(line[: line.index(f" {value} ")]) + 1 + len(value) == end


def test_auc_has_a_column_where_a_report_has_one() -> None:
    cells = {
        column.heading: column.cells
        for column in columns_of([BASE, report("rec", 1, found=quality(0.7, 0.6, 0.8, auc=0.71234))])
    }
    assert cells["AUC"] == (DASH, "0.7123")


def test_markdown_renders_and_escapes() -> None:
    text = markdown_table([report("a|b", 1_000_000), INT8])
    lines = text.splitlines()
    assert lines[0].startswith("| stage | runtime | accuracy % (95 %) | flips | size MB |")
    assert lines[1] == "|---|---|---:|---:|---:|---:|---:|---|"
    assert lines[2].startswith("| a\\|b |")
    assert lines[3].endswith("| 3.2 | 4.0 | pass |")
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_colour_only_on_a_terminal_and_every_number_in_both(terminal: bool) -> None:
    file = io.StringIO()
    print_reports(
        ALL, Console(file=file, force_terminal=terminal, width=200, color_system="standard" if terminal else None)
    )
    text = file.getvalue()
    assert ("\x1b[" in text) is terminal
    for words in ("92.6 (90.0–94.6)", "31 (6.2 %)", "worse", "蒸馏", "cannot tell, 2,300 rows would (failed)"):
        assert words in text


def test_a_log_never_wraps_or_interprets_markup() -> None:
    file = io.StringIO()
    named = report("[red]x[/red]", 1_000_000, found=quality(0.9, 0.8, 0.95))
    print_reports([named, *ALL], Console(file=file, width=40))
    lines = file.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("[red]x[/red]")


def test_a_terminal_shows_a_strange_name_as_it_is() -> None:
    file = io.StringIO()
    print_reports([report("[bold]x", 1_000_000)], Console(file=file, force_terminal=True, width=120))
    assert "[bold]x" in file.getvalue()


def test_a_card_of_before_and_after() -> None:
    lines = card(BASE, INT8, saved="runs/trec/int8").splitlines()
    assert lines[0].split() == ["torch", "int8"]
    assert lines[1].startswith("accuracy  92.6 % ± 2.6  92.4 % ± 2.4")
    assert lines[1].endswith("-1.2 pt (-3.0 to +0.4)")
    assert "4 (0.8 %)" in lines[2]
    assert lines[3].split() == ["size", "90.71", "MB", "12.35", "MB", "7.3x"]
    assert lines[4].split() == ["p50", "21.50", "ms", "3.20", "ms", "6.7x"]
    assert lines[5].split() == ["p99", "30.25", "ms", "4.00", "ms", "7.6x"]
    assert lines[-2:] == ["verdict   pass", "saved in  runs/trec/int8"]


def test_a_card_without_a_before() -> None:
    text = card(None, report("new", 12_000_000, found=quality(0.9, 0.87, 0.92)))
    assert "x" not in text.replace("new", "")
    assert "90.0 % ± 3.0" in text
    assert "12.00 MB" in text
    assert "saved" not in text
    assert "verdict" not in text


def test_a_cascade_brings_the_mean_into_table_and_card() -> None:
    """A single model's mean says little that p50 does not; the time of a cascade is one of two."""
    latency = {"p50_ms": 0.5, "mean_ms": 0.875, "p99_ms": 4.0}
    steps = (Step("cascade", {"share": 0.1}),)
    both = Report("both", "d" * 64, steps, RUNTIME, 2_000_000, quality=quality(0.92, 0.9, 0.94), latency=latency)
    cells = {column.heading: column.cells for column in columns_of([INT8, both])}
    assert cells["mean ms"] == (DASH, "0.88")
    assert "mean ms" not in {column.heading for column in columns_of(ALL)}
    headings = [column.heading for column in columns_of([both])]
    assert headings[-4:] == ["p50 ms", "mean ms", "p99 ms", "verdict"]
    lines = card(INT8, both).splitlines()
    assert [line.split()[0] for line in lines[4:7]] == ["p50", "mean", "p99"]
    assert lines[5].split() == ["mean", DASH, "0.88", "ms"]
    assert not any(line.startswith("mean") for line in card(BASE, INT8).splitlines())
