"""The tables and pictures of a benchmark: every model and every void stands in them, and they follow the numbers."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import digits_models
import pytest

from benchmarks import bench_plot, tables
from benchmarks.bench import FULL, MEASURED, judge_models, text_of
from benchmarks.bench_tables import table
from benchmarks.cases import CASES
from benchmarks.roles import CAME, EXPORTED, SMALL
from toolkit.data import Data
from toolkit.ladder import names_of, run_bench

PLAN = replace(FULL, seconds=0.4, rounds=2, ladder=False, scenarios=())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A result of real models, judged and timed here; the load is written by hand, as a served one would say it."""
    folder, case, test = tmp_path_factory.mktemp("tables"), CASES[1], digits_models.held_out(400)
    data = Data("digits", "image", digits_models.LABELS, {"test": test}, "0" * 64, 0)
    made = {
        EXPORTED: digits_models.make_artifact(folder / EXPORTED, name=EXPORTED),
        CAME: digits_models.make_artifact(folder / CAME, name=CAME),
        SMALL: digits_models.make_artifact(folder / SMALL, training_rows=60, name=SMALL),
    }
    chosen = [made[role] for role in MEASURED]
    bench = run_bench(chosen, test.examples, PLAN).file.to_json()
    names = names_of(chosen)
    served = bench["artifacts"][0]
    served["rungs"]["http"] = copy.deepcopy(served["rungs"]["predictor"])
    served["open"] = [
        {"share": share, "offered": 400 * share, "goodput": 390 * share, "holds": holds, "p50_ms": 1.0, "p99_ms": p99,
         "success_rate": 1.0}
        for share, p99, holds in ((0.25, 2.0, True), (0.9, 55.5, False))
    ]  # fmt: skip
    served["peak"] = {"rate": 400.0, "objective_ms": 50.0, "probes": []}
    served["loadgen"] = {"offline": {"rate": 512.0, "success_rate": 0.99999}}
    case_of = {
        "made": case.to_json(), "rows": len(test), "metric": "accuracy", "max_drop": case.max_drop, "seconds": 60.0,
        "models": dict(zip(MEASURED, names, strict=True)), "quality": judge_models(chosen, names, data, case),
        "bench": bench,
    }  # fmt: skip
    return {
        "date": "2026-11-28T00:00:00+00:00", "seed": 0, "machine": bench["machine"], "plan": asdict(PLAN),
        "seconds": 120.0, "cases": {"image": case_of},
    }  # fmt: skip


def row(text: str, words: str, number: int) -> list[str]:
    """The cells of the line of that model in the first or second table."""
    lines = [line for line in text.splitlines() if line.startswith("|") and words in line]
    return [cell.strip() for cell in lines[number].strip("|").split("|")]


def test_every_model_stands_in_both_tables_in_the_order_came_exported_small(measured: dict[str, Any]) -> None:
    text = table(measured)
    models = [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| ") and "MB" not in line]
    shown = [words for words in models if words != "model"]
    assert shown == ["as it came, eager PyTorch", "exported, fp32", "small, int8"] * 2


def test_what_was_not_measured_is_a_dash_and_the_worst_is_marked(measured: dict[str, Any]) -> None:
    text = table(measured)
    assert row(text, "small, int8", 1)[4:10] == ["–", "–", "–", "–", "–", "–"]
    served = row(text, "exported, fp32", 1)
    assert served[5:7] == ["400", "2.00, 55.50*"]
    assert "**99.99 %**" in served, "one wrong answer in a hundred thousand is not rounded away"
    worse = row(text, "small, int8", 0)
    assert worse[-1].startswith("**"), "a failed verdict stands in bold"
    assert worse[3].startswith("-")


def test_a_void_run_says_so_first(measured: dict[str, Any]) -> None:
    changed = copy.deepcopy(measured)
    changed["cases"]["image"]["bench"]["void"] = ["the server of small-int8 died"]
    assert table(changed).splitlines()[0] == "- **void**, image: the server of small-int8 died"
    assert "void" not in table(measured)


def test_a_peak_that_was_not_found_is_said(measured: dict[str, Any]) -> None:
    changed = copy.deepcopy(measured)
    changed["cases"]["image"]["bench"]["artifacts"][0]["peak"] = {"objective_ms": 50.0, "probes": []}
    assert row(table(changed), "exported, fp32", 1)[5] == "**none**"


def test_the_pictures_follow_the_numbers_and_nothing_else(measured: dict[str, Any]) -> None:
    changed = copy.deepcopy(measured)
    changed["cases"]["image"]["bench"]["artifacts"][0]["open"][1] |= {"goodput": 100.0, "p99_ms": 99.0}
    for draw in (bench_plot.draw_ladder, bench_plot.draw_goodput):
        assert draw(measured) == draw(copy.deepcopy(measured))
        assert draw(measured) != draw(changed)
        assert draw(measured).lstrip().startswith(("<svg", "<?xml"))


def test_the_file_is_the_same_json_with_lists_of_numbers_on_one_line(measured: dict[str, Any]) -> None:
    changed = copy.deepcopy(measured) | {"words": "a [ b\n] in a string"}
    text = text_of(changed)
    plain = json.dumps(changed, indent=1)
    assert json.loads(text) == json.loads(plain)
    assert len(text.splitlines()) < 0.8 * len(plain.splitlines())


def test_a_changed_result_makes_its_picture_stale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    committed = json.loads((tables.RESULTS / "serving.json").read_text())
    assert tables.draw("serving.svg") == (tables.RESULTS / "serving.svg").read_text()
    server = next(one for one in committed["cases"]["int8"]["servers"] if "ladder" in one)
    server["ladder"][0]["goodput"] += 25
    (tmp_path / "serving.json").write_text(json.dumps(committed))
    drawn = (tables.RESULTS / "serving.svg").read_text()
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.draw("serving.svg") != drawn


@pytest.mark.parametrize("name", tables.measured_plots())
def test_the_pictures_are_those_of_the_committed_results(name: str) -> None:
    assert tables.draw(name) == (tables.RESULTS / name).read_text(), "run make tables"
