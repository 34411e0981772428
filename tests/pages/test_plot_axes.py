"""Ticks, numbers, names and labels: what every figure stands on."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from xml.sax.saxutils import escape

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolkit.pages.plot_axes import log_ticks, nice_step, number
from toolkit.pages.plot_legend import Key, lay_out
from toolkit.pages.plot_text import clean, place_labels, shorten, spread, text_width

positive = st.floats(1e-3, 1e6)


@given(positive, st.floats(1.1, 1e6), st.integers(5, 9))
def test_ticks_rise_within_the_axis_and_are_few_and_at_least_two(low: float, ratio: float, most: int) -> None:
    ticks = log_ticks(low, low * ratio, most)
    assert all(low * (1 - 1e-9) <= tick <= low * ratio * (1 + 1e-9) for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= most + 1


def test_ticks_are_round_numbers() -> None:
    assert log_ticks(0.9, 110, 7) == [1, 2, 5, 10, 20, 50, 100]
    assert log_ticks(0.9, 1.1e6, 7) == [1, 10, 100, 1000, 10_000, 100_000, 1_000_000]
    assert [round(tick, 9) for tick in log_ticks(12.4, 14.1, 7)] == [12.5, 13, 13.5, 14]


@given(positive)
def test_a_step_is_one_two_or_five_and_no_smaller(about: float) -> None:
    step = nice_step(about)
    assert about * (1 - 1e-6) <= step <= 2.5 * about * (1 + 1e-6)
    assert f"{step:.6e}"[0] in "125"


@given(st.floats(-1e7, 1e7).filter(lambda value: value == 0 or abs(value) > 1e-6))
def test_a_number_keeps_three_digits_and_no_exponent(value: float) -> None:
    text = number(value)
    assert "e" not in text
    assert abs(float(text.replace(",", "").replace("−", "-")) - value) <= 0.00501 * abs(value)


def test_numbers_read_as_people_write_them() -> None:
    written = [number(value) for value in (0, 0.148, 34.62, 5932.4, -2.5, 1.0)]
    assert written == ["0", "0.148", "34.6", "5,932", "−2.5", "1"]


@given(st.text())
def test_a_cleaned_name_is_one_line_that_xml_can_hold(text: str) -> None:
    name = clean(text)
    assert name
    assert "\n" not in name
    # XML reads the same sign back: none is lost, none ends the document
    assert ET.fromstring(f"<t>{escape(name)}</t>").text == name


@given(st.text(min_size=1), st.floats(20, 300))
def test_a_shortened_name_fits_and_keeps_both_ends(text: str, width: float) -> None:
    short = shorten(text, width, 11)
    whole = clean(text)
    assert text_width(short, 11) <= width
    if short != whole:
        assert "…" in short
        head, _, tail = short.rpartition("…")
        assert whole.startswith(head)
        assert whole.endswith(tail)


@given(st.lists(st.floats(0, 300), max_size=40), st.floats(1, 30))
def test_labels_in_a_margin_are_apart_in_order_and_inside(places: list[float], gap: float) -> None:
    moved = spread(places, gap, 0, 300)
    assert len(moved) == len(places)
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in moved)
    kept = min(gap, 300 / max(1, len(places) - 1))
    ordered = [moved[i] for i in np.argsort(places, kind="stable")]
    assert all(after - before >= kept - 1e-6 for before, after in pairwise(ordered))


@given(st.lists(st.integers(0, 9), unique=True, max_size=10))
def test_labels_that_are_apart_already_stay(tens: list[int]) -> None:
    places = [30.0 * ten for ten in tens]
    assert np.allclose(spread(places, 20, 0, 300), places)


def test_labels_of_points_in_one_place_do_not_lie_on_each_other() -> None:
    anchors, sizes = np.full((6, 2), 150.0), np.tile([60.0, 13.0], (6, 1))
    marker = np.array([[144.0, 144.0, 156.0, 156.0]])
    centres = place_labels(anchors, sizes, marker, (0, 0, 300, 300), clear=np.full(6, 6.0))
    boxes = [*marker.tolist(), *np.hstack([centres - sizes / 2, centres + sizes / 2]).tolist()]
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)


@given(st.lists(st.tuples(st.text(max_size=80), st.booleans()), max_size=12))
def test_the_key_wraps_within_the_figure_and_loses_nothing(given_keys: list[tuple[str, bool]]) -> None:
    keys = [Key(words, marker="o" if marked else "") for words, marked in given_keys]
    lines = lay_out(keys, 52.0)
    assert [key for line in lines for _, key in line] == keys
    for line in lines:
        xs = [x for x, _ in line]
        assert xs == sorted(xs)
        assert xs[0] == 52.0
        assert all(x + key.room < 716 for x, key in line)
