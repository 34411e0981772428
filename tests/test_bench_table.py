"""A bench file in a terminal: every row is there, bad ones are marked, nothing is rounded into looking good."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.bench_table import ladder_table, notes_of, process_table
from toolkit.measure.bench_file import BenchFile
from toolkit.measure.rung import rung_json
from toolkit.measure.turns import Stretch
from toolkit.table import DASH


def rung(milliseconds: float, *, wrong: int = 0, rows: int = 200) -> dict[str, Any]:
    right = np.arange(rows) >= wrong
    turns = [Stretch(np.full(rows, int(milliseconds * 1e6)), right, wrong)] * 5
    return rung_json(turns)


def step(share: float, *, holds: bool | None = True) -> dict[str, Any]:
    return {"share": share, "offered": 100 * share, "asked": 1000, "success_rate": 1.0, "rate": 100 * share,
            "p50_ms": 2.0, "p90_ms": 3.0, "p99_ms": 9.0, "p99_9_ms": None, "mean_ms": 2.5, "max_ms": 11.0,
            "holds": holds, "valid": True}  # fmt: skip


def entry(name: str, **parts: Any) -> dict[str, Any]:
    return {"name": name, "digest": "d", "size_bytes": 1_500_000, "rungs": {"predictor": rung(2.0)}, **parts}


def bench(*artifacts: dict[str, Any], **parts: Any) -> BenchFile:
    return BenchFile.of(artifacts, settings={}, conditions={}, **parts)


def test_every_rung_has_its_row_in_the_order_of_the_ladder() -> None:
    peak = {"objective_ms": 20.0, "rate": 100.0, "limit": "the objective", "probes": []}
    loadgen = {"offline": {"asked": 500, "success_rate": 1.0, "rate": 444.0}}
    rungs = {"http": rung(3.0), "runner": rung(1.0), "predictor": rung(2.0)}
    steps = [step(0.25), step(0.9, holds=False)]
    table = ladder_table(bench(entry("a", rungs=rungs, open=steps, peak=peak, loadgen=loadgen), entry("b")))
    assert [row[:2] for row in table.rows] == [
        ("a", "runner"), ("a", "predictor"), ("a", "http"), ("a", "LoadGen offline"), ("a", "open 25% of peak"),
        ("a", "open 90% of peak"), ("a", "peak, p99 ≤ 20 ms"), ("b", "predictor"),
    ]  # fmt: skip
    assert all(len(row) == len(table.titles) for row in table.rows)
    assert table.bad == {5}, "what does not hold"
    cells = dict(zip(table.titles, table.rows[5], strict=True))
    assert (cells["p99 ms"], cells["p99.9 ms"], cells["right/s"], cells["holds"]) == ("9.00", DASH, "90.0", "no")
    assert "first = 1 (95 %)" not in table.titles, "nothing was compared"
    assert "asked" in table.right
    assert "artifact" not in table.right


def test_one_wrong_answer_in_a_million_shows() -> None:
    found = rung(1.0)
    found["success_rate"] = 1 - 1e-9
    table = ladder_table(bench(entry("a", rungs={"runner": found, "predictor": rung(1.0, wrong=3)})))
    share = table.titles.index("right %")
    assert [row[share] for row in table.rows] == ["99.9999", "98.5"]
    assert table.bad == {0, 1}


def test_a_ratio_within_the_noise_says_so() -> None:
    ratio = {"rung": "predictor", "artifact": "b", "against": "a", "ratio": 0.98, "low": 0.95, "high": 1.01}
    file = bench(
        entry("a"), entry("b"), entry("c"),
        ratios=[{**ratio, "beyond_noise": False}, {**ratio, "artifact": "c", "ratio": 0.5, "beyond_noise": True}],
        noise_floor={"predictor": 1.034},
    )  # fmt: skip
    table = ladder_table(file)
    column = table.titles.index("first = 1 (95 %)")
    assert [row[column] for row in table.rows] == ["", "0.980 (0.950–1.010) =", "0.500 (0.950–1.010)"]
    assert notes_of(file)[-1] == "noise, from a against itself: predictor 3.4 %; no less is a difference"


def test_what_is_wrong_stands_first_in_the_notes() -> None:
    drifting = rung(2.0)
    drifting["last_third"] = {"p50_ms": 3.0}
    peak = {"objective_ms": 20.0, "limit": "the objective", "probes": []}
    file = bench(
        entry("a", rungs={"predictor": drifting}, peak=peak, not_served="safetensors is not served"),
        void=["the server of a died"],
    )
    notes = notes_of(file)
    assert notes[0] == "VOID, decides nothing: the server of a died"
    assert notes[1] == "a, predictor: not steady, the last third took 1.50 times the first"
    assert notes[2] == "a: peak with p99 within 20 ms is none; limit: the objective"
    assert notes[3] == "a: safetensors is not served"
    assert ladder_table(file).bad == {1}, "no peak is bad"


def test_nothing_right_and_nothing_measured_are_dashes() -> None:
    found = rung(1.0, wrong=200)
    table = ladder_table(bench(entry("a", rungs={"runner": found})))
    cells = dict(zip(table.titles, table.rows[0], strict=True))
    assert (cells["p50 ms"], cells["mean ms"], cells["right/s"], cells["right %"]) == (DASH, DASH, DASH, "0")
    taken = process_table(bench(entry("a"), entry("b", footprint={"memory_bytes": 50e6, "load_ms": 12.5})))
    assert taken.titles == ("artifact", "size MB", "memory MB", "cold load ms", "load ms", "first answer ms")
    assert taken.rows == (("a", "1.50", DASH, DASH, DASH, DASH), ("b", "1.50", "50.0", DASH, "12.50", DASH))
    priced = process_table(bench(entry("a", price={"per_million": 0.1234}, energy={"joules_per_1000": 5432.1})))
    assert priced.rows[0][-2:] == ("5,432", "0.123")
