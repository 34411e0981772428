"""Accuracy against latency, changed answers, groups, calibration and the lineage."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plot_examples import HOSTILE, description, marks, points, texts

from toolkit.judge.statistics import CALIBRATION_BINS, calibration_error
from toolkit.pages import plots
from toolkit.pages.plot_calibration import mean_gap
from toolkit.pages.plot_pareto import find_front
from toolkit.pages.plot_quality import MOST

places = st.lists(st.tuples(st.integers(1, 6).map(float), st.integers(0, 6).map(float)), min_size=1, max_size=12)


@given(places)
def test_the_front_is_what_nothing_beats(found: list[tuple[float, float]]) -> None:
    def beaten(one: tuple[float, float]) -> bool:
        return any(o != one and o[0] <= one[0] and o[1] >= one[1] for o in found)

    front = find_front(found)
    assert sorted(front) == [i for i, one in enumerate(found) if not beaten(one)]
    assert [found[i][0] for i in front] == sorted(found[i][0] for i in front)


def test_p50_takes_the_place_of_p99_for_all_when_one_lacks_it() -> None:
    one, other = plots.ParetoPoint("a", 0.9, p99_ms=2.0, p50_ms=1.0), plots.ParetoPoint("b", 0.8, p50_ms=0.5)
    assert "p99 latency" in " ".join(texts(plots.pareto([one])))
    svg = plots.pareto([one, other])
    assert "p50 latency" in " ".join(texts(svg))
    assert "90.0 % at 1 ms" in description(svg)


def test_artifacts_that_cannot_be_drawn_are_counted_and_numbers_stay_those_of_the_table() -> None:
    many = [plots.ParetoPoint("unjudged", None, p99_ms=1.0), *points([f"artifact {i}" for i in range(9)])]
    written = texts(plots.pareto(many))
    assert "1 without accuracy or latency not drawn" in written
    assert {str(i) for i in range(2, 11)} <= set(written[-9:])


def test_one_reference_has_a_line_and_two_have_none() -> None:
    def dotted(svg: str) -> int:
        return svg.count("stroke-dasharray: 1.5")

    one = plots.pareto(points())
    two = plots.pareto([*points(), plots.ParetoPoint("other", 0.9, p99_ms=1.0, reference=True)])
    assert dotted(one) > dotted(two)
    assert "the references" in texts(two)


def test_flips_say_how_many_of_how_many() -> None:
    written = texts(plots.flips_by_confidence([plots.FlipBand(0, 0.5, 14, 6), plots.FlipBand(0.5, 1, 1291, 0)]))
    assert {"up to 50 %", "6 of 14", "50–100 %", "0 of 1,291"} <= set(written)


def test_the_worst_group_is_marked_and_one_of_too_few_rows_never_is() -> None:
    rows = [plots.Delta("few", -0.5, rows=2, few=True), plots.Delta("bad", -0.02, rows=90), plots.Delta("good", 0.01)]
    svg = plots.deltas(rows)
    assert "The worst is bad: −2.00." in description(svg)
    assert "too few rows to be judged" in texts(svg)
    assert "The worst" not in description(plots.deltas([plots.Delta("good", 0.01), plots.Delta("same", 0.0)]))


def test_a_group_without_a_number_says_so() -> None:
    assert "not measured" in texts(plots.deltas([plots.Delta("a", 0.01), plots.Delta("b", None, rows=0)]))


def test_groups_beyond_what_can_be_read_leave_out_those_that_lost_least() -> None:
    rows = [plots.Delta(f"class {i}", 0.001 * (i % 100) - 0.05) for i in range(100)]
    written = texts(plots.deltas(rows[::-1]))
    assert f"the {MOST} that lost most; {100 - MOST} more in the table" in written
    drawn = [text for text in written if text.startswith("class")]
    assert drawn == [f"class {i}" for i in reversed(range(MOST))]


def test_groups_left_of_zero_are_left_of_the_line() -> None:
    svg = plots.deltas([plots.Delta("a", -0.02), plots.Delta("b", 0.0), plots.Delta("c", 0.02)])
    below_the_key = 30
    (a,) = (x for x, y in marks(svg, "red") if y > below_the_key)
    b, c = (x for x, y in marks(svg, "blue") if y > below_the_key)
    assert a < b < c
    assert b - a == pytest.approx(c - b, abs=0.02)


@given(st.integers(0, 2**32 - 1), st.integers(20, 400))
def test_the_error_in_the_figure_is_the_one_in_the_tables(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = random.integers(0, 4, rows)
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.minimum((sure * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    bins = []
    for i in range(CALIBRATION_BINS):
        inside = place == i
        means = (float(sure[inside].mean()), float(right[inside].mean())) if inside.any() else (None, None)
        bins.append(plots.CalibrationBin(i / CALIBRATION_BINS, (i + 1) / CALIBRATION_BINS, int(inside.sum()), *means))
    assert mean_gap(bins) == pytest.approx(calibration_error(probabilities, labels))


def test_calibration_may_be_known_of_one_only() -> None:
    bins = [plots.CalibrationBin(0.5, 1.0, 40, 0.9, 0.8)]
    both = texts(plots.calibration(bins, bins, names=("raw", "cooled")))
    assert both.count("calibration error 10 %") == 2
    assert {"raw", "cooled"} <= set(both)
    alone = texts(plots.calibration(bins, [], names=("raw", "cooled")))
    assert "raw" in alone
    assert "cooled" not in alone


def test_a_bin_of_few_rows_is_hollow_and_the_key_says_so() -> None:
    few = [plots.CalibrationBin(0.5, 1.0, 5, 0.9, 0.8)]
    many = [plots.CalibrationBin(0.5, 1.0, 500, 0.9, 0.8)]
    assert "hollow: under 20 rows" in texts(plots.calibration(few, many))
    assert "hollow: under 20 rows" not in texts(plots.calibration(many, many))


def test_the_lineage_is_a_list_of_steps_in_order_and_no_name_is_markup() -> None:
    steps = [plots.LineageStep("train", ("3 epochs", "seed 0"), "97.2 %"), plots.LineageStep(HOSTILE, (HOSTILE,))]
    html = plots.lineage(steps, title=HOSTILE)
    root = ET.fromstring(html)
    assert root.tag == "ol"
    assert [item.findtext("b", "")[:7] for item in root] == ["train", "<script"]
    assert [span.text for span in root[0].findall("span")] == ["97.2 %", "3 epochs", "seed 0"]
    assert {element.tag for element in root.iter()} == {"ol", "li", "b", "span"}
    assert "\x07" not in html
