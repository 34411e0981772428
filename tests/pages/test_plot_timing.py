"""Latencies, the ladder and goodput: the numbers are where the axis says, and a slow tail is not lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plot_examples import SVG, marks, read, texts

from toolkit.errors import DataError
from toolkit.measure.samples import percentile_ms
from toolkit.pages import plots
from toolkit.pages.plot_histogram import histogram_of, span


@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=300))
def test_every_sample_is_counted_once(samples: list[float]) -> None:
    found = histogram_of("a", samples)
    assert found.rows == len(samples)
    assert (np.diff(found.edges) > 0).all()
    assert found.density().max() == 1
    assert found.marks["max_ms"] == max(samples)
    low, high = span([found])
    assert low <= min(samples) <= max(samples) <= high


def test_percentiles_are_those_of_the_tables_and_absent_with_too_few_samples() -> None:
    samples = [1 + i / 1000 for i in range(1000)]
    marks_of = histogram_of("a", samples).marks
    for mark in ("p50_ms", "p99_ms"):
        assert marks_of[mark] == percentile_ms([round(sample * 1e6) for sample in samples], mark)
    assert "p99_ms" not in histogram_of("a", samples[:999]).marks
    assert set(histogram_of("a", samples[:5]).marks) == {"max_ms"}


def test_a_rung_and_its_histogram_are_drawn_alike_but_for_the_marks() -> None:
    rung = {
        "p50_ms": 1.5, "p99_ms": None, "max_ms": 7.0, "right": 10,
        "histogram": {"edges_ms": [0.1, 1, 2, 4, 8, 1000], "counts": [0, 6, 3, 1, 0]},
    }  # fmt: skip
    whole, bare = histogram_of("a", rung), histogram_of("a", rung["histogram"])
    assert whole.marks == {"p50_ms": 1.5, "max_ms": 7.0}
    assert not bare.marks
    assert (whole.counts == bare.counts).all()
    # bins without an answer take no room
    assert span([whole]) == (1, 8)
    assert "p99" not in texts(plots.latency_distributions([("a", rung["histogram"])]))
    assert "1.5" in texts(plots.latency_distributions([("a", rung)]))


def test_density_is_by_the_width_of_a_bin_on_the_logarithmic_axis() -> None:
    found = histogram_of("a", {"edges_ms": [1, 10, 1000], "counts": [4, 4]})
    assert found.density().tolist() == pytest.approx([1, 0.5])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "no latencies"),
        ([1.0, 0.0], "above 0"),
        ([1.0, float("nan")], "finite"),
        ({}, "edges_ms"),
        ({"edges_ms": [1, 2], "counts": [1, 2]}, "one more"),
        ({"edges_ms": [1, 3, 2], "counts": [1, 2]}, "rise"),
        ({"edges_ms": [0, 1, 2], "counts": [1, 2]}, "above 0"),
        ({"edges_ms": [1, 2, 3], "counts": [1, -2]}, "0 or more"),
        ({"edges_ms": [1, 2, 3], "counts": [0, 0]}, "no latencies"),
        ({"edges_ms": "often", "counts": [0, 0]}, "edges_ms"),
    ],
)
def test_latencies_of_another_form_are_refused_in_one_line(value: object, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        plots.latency_distributions([("a", value)])  # type: ignore[list-item]
    assert "\n" not in str(error.value)


def test_an_answer_far_out_has_a_dot_of_its_own() -> None:
    base = {"edges_ms": [1, 2, 4, 8, 16, 32], "counts": [900, 90, 0, 0, 10]}
    rung = {"p50_ms": 1.4, "p99_ms": 4.0, "max_ms": 30.0, "histogram": base}
    calm = {**rung, "max_ms": 4.0, "histogram": {**base, "counts": [900, 90, 10, 0, 0]}}
    stalled = marks(plots.latency_distributions([("a", rung)]), "red")
    assert len(stalled) == len(marks(plots.latency_distributions([("a", calm)]), "red")) + 1


def test_equal_ratios_are_equal_distances_on_the_ladder() -> None:
    rows = [plots.LadderRow("a", (plots.RungTime("runner", 1.0, 10.0),)),
            plots.LadderRow("b", (plots.RungTime("runner", 10.0, 100.0),))]  # fmt: skip
    places = [x for x, y in marks(plots.ladder(rows), "blue") if y > 30]
    assert len(places) == 4
    assert places[1] == pytest.approx(places[2])
    assert places[1] - places[0] == pytest.approx(places[3] - places[2], abs=0.02)


def test_a_rung_that_was_not_measured_says_so_and_keeps_its_line() -> None:
    rows = [
        plots.LadderRow("a", (plots.RungTime("runner", 1.0, 2.0), plots.RungTime("http", 3.0))),
        plots.LadderRow("b", (plots.RungTime("runner", 1.5, 2.5),)),
    ]
    written = texts(plots.ladder(rows))
    assert "not measured" in written
    assert "3 (p99: few)" in written
    assert "1 – 2" in written


def loads(*points: plots.LoadPoint) -> list[plots.LoadSeries]:
    return [plots.LoadSeries("a", points)]


def test_a_load_whose_objective_holds_is_filled_and_one_that_fails_is_hollow() -> None:
    held = plots.goodput(loads(plots.LoadPoint(10, 10, True), plots.LoadPoint(20, 12, True)), 50)
    failed = plots.goodput(loads(plots.LoadPoint(10, 10, True), plots.LoadPoint(20, 12, False)), 50)

    def hollow(svg: str) -> int:
        styles = [use.get("style") or "" for use in read(svg).iter(f"{SVG}use")]
        return sum("fill: var(--plot-paper" in style and "stroke: var(--plot-blue" in style for style in styles)

    assert hollow(held) == 0
    assert hollow(failed) == 1
    assert "it does not" in texts(failed)
    assert "it does not" not in texts(held)


def test_what_is_answered_in_full_stands_on_the_line_of_no_loss() -> None:
    svg = plots.goodput(loads(plots.LoadPoint(10, 10, True), plots.LoadPoint(40, 40, True)), 50)
    (x1, y1), (x2, y2) = marks(svg, "blue")[:2]
    height = float(read(svg).get("viewBox", "").split()[3])
    left, bottom = 52.0, height - 44
    assert (x2 - left) / (x1 - left) == pytest.approx(4, abs=0.01)
    assert (bottom - y2) / (bottom - y1) == pytest.approx(4, abs=0.01)
    assert svg.count("stroke-dasharray: 1.5") == 2  # the line itself and its mark in the key


def test_a_goodput_of_nothing_is_drawn_at_zero_on_logarithmic_axes_too() -> None:
    svg = plots.goodput(loads(plots.LoadPoint(10, 10), plots.LoadPoint(900, 800), plots.LoadPoint(1000, 0, False)), 50)
    assert any("logarithmic" in text for text in texts(svg))
    assert "0" in texts(svg)
    lowest = max(y for _, y in marks(svg, "blue"))
    axis = next(float(text.get("y", "")) for text in read(svg).iter(f"{SVG}text") if text.text == "0")
    assert lowest == pytest.approx(axis, abs=6)


def test_a_server_that_answers_nothing_in_time_at_any_load_is_drawn() -> None:
    assert "a" in texts(plots.goodput(loads(plots.LoadPoint(10, 0, False), plots.LoadPoint(1000, 0, False)), 50))
