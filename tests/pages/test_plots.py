"""What holds for every figure: it stands inline in any page, in the dark too, whatever its names are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import pairwise

import matplotlib
import pytest
from plot_examples import FIGURES, HOSTILE, NAMES, SVG, description, points, read, texts, tips

from toolkit.errors import DataError, MissingExtra
from toolkit.pages import plots
from toolkit.pages.plot_style import INKS, PAPER, PLOT_CSS, SERIES

each_figure = pytest.mark.parametrize("name", FIGURES)


@each_figure
def test_a_figure_is_one_image_with_a_title_and_a_description_of_its_numbers(name: str) -> None:
    svg = FIGURES[name](NAMES)
    root = read(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    named = {element.get("id"): element.text for element in root if element.tag in (f"{SVG}title", f"{SVG}desc")}
    assert list(named) == root.get("aria-labelledby", "").split()
    assert all(named.values())
    assert re.search(r"\d", description(svg))


@each_figure
def test_a_figure_needs_nothing_from_outside_and_leaves_the_page_alone(name: str) -> None:
    svg = FIGURES[name](NAMES)
    assert set(re.findall(r"[a-z]+://[^\s\"']+", svg)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|style|image|foreignObject)\b", svg)
    assert not re.search(r"\bon\w+=", svg)


@each_figure
def test_every_colour_is_a_variable_of_the_style_sheet(name: str) -> None:
    svg = FIGURES[name](NAMES)
    used = set(re.findall(r"var\(--plot-(\w+), [^)]+\)", svg))
    assert used <= {ink.variable for ink in INKS}
    assert len(used) >= 4
    assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r"var\([^)]+\)", "", svg))


@each_figure
def test_the_same_numbers_give_the_same_text_and_ids_are_found_where_they_are_meant(name: str) -> None:
    svg = FIGURES[name](NAMES)
    assert svg == FIGURES[name](NAMES)
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(ids)
    other = FIGURES[name](("another", *NAMES[1:]))
    assert not set(ids) & set(re.findall(r'\bid="([^"]+)"', other))


@each_figure
def test_a_name_with_markup_and_odd_signs_is_only_a_name(name: str) -> None:
    svg = FIGURES[name]((HOSTILE, *NAMES[1:]))
    assert not list(read(svg).iter(f"{SVG}script"))
    everything = [*texts(svg), *tips(svg), "".join(read(svg).itertext())]
    assert any("alert('x')" in text for text in everything)
    assert not any(sign in text for text in everything for sign in "\x07\u202e")


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("flips",)])
def test_a_long_name_is_shortened_in_the_figure_and_whole_in_its_tooltip(name: str) -> None:
    long = "minilm-" + 30 * "very-" + "long"
    svg = FIGURES[name]((long, *NAMES[1:]))
    short = [text for text in texts(svg) if text.startswith("minilm") and "…" in text]
    assert short
    assert all(len(text) < 60 for text in short)
    assert long in tips(svg)


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("name", ["pareto", "latency", "ladder", "goodput", "deltas"])
def test_one_artifact_and_forty_are_all_in_the_figure(name: str, count: int) -> None:
    svg = FIGURES[name]([f"artifact {i}" for i in range(count)])
    written = set(texts(svg))
    if name in ("pareto", "goodput") and count > plots.NAMED:
        assert {str(i + 1) for i in range(count)} <= written
        assert "numbers: as in the table" in written
    else:
        assert {f"artifact {i}" for i in range(count)} <= written


@each_figure
def test_no_word_stands_outside_of_its_figure(name: str) -> None:
    root = read(FIGURES[name]([f"artifact {i}" for i in range(12)]))
    width, height = (float(end) for end in root.get("viewBox", "").split()[2:])
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x", "nan")) <= width, text.text
        assert 0 <= float(text.get("y", "nan")) <= height, text.text


def test_matplotlib_is_left_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    plots.pareto(points())
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"\[report\]"):
        plots.pareto(points())
    assert plots.lineage([plots.LineageStep("train")])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.pareto([]),
        lambda: plots.pareto([plots.ParetoPoint("unmeasured", None, p99_ms=1.0), plots.ParetoPoint("untimed", 0.9)]),
        lambda: plots.latency_distributions([]),
        lambda: plots.ladder([plots.LadderRow("a", (plots.RungTime("runner", None),))]),
        lambda: plots.goodput([plots.LoadSeries("a", ())], 50.0),
        lambda: plots.flips_by_confidence([plots.FlipBand(0.0, 1.0, 0, 0)]),
        lambda: plots.deltas([plots.Delta("a", None)]),
        lambda: plots.calibration([], [plots.CalibrationBin(0.0, 1.0, 0, None, None)]),
        lambda: plots.lineage([]),
    ],
)
def test_nothing_to_draw_is_said_and_not_drawn(draw: Callable[[], str]) -> None:
    with pytest.raises(DataError, match=r"measure|compare|lineage"):
        draw()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_when_the_value_is_made(bad: float) -> None:
    with pytest.raises(DataError, match="finite"):
        plots.ParetoPoint("a", bad)
    with pytest.raises(DataError, match="finite"):
        plots.RungTime("runner", 1.0, bad)
    with pytest.raises(DataError, match="finite"):
        plots.Delta("a", -bad)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: plots.ParetoPoint("a", 97.1), "share from 0 to 1"),
        (lambda: plots.ParetoPoint("a", 0.9, p99_ms=0.0), "above 0"),
        (lambda: plots.RungTime("runner", -1.0), "above 0"),
        (lambda: plots.LoadPoint(0.0, 1.0), "above 0"),
        (lambda: plots.LoadPoint(1.0, -1.0), "0 or more"),
        (lambda: plots.FlipBand(0.5, 0.7, 3, 4), "among the rows"),
        (lambda: plots.CalibrationBin(0.5, 0.7, 3, None, None), "exactly where it has rows"),
    ],
)
def test_numbers_out_of_their_range_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()


def test_a_file_of_its_own_has_its_colours_its_paper_and_a_size() -> None:
    svg = plots.standalone(plots.pareto(points()))
    root = read(svg)
    assert float(root.get("width", "0")) == 720
    style = root.findtext(f"{SVG}style") or ""
    assert "background: var(--plot-paper)" in style
    assert all(f"--plot-{ink.variable}: {ink.light};" in style for ink in INKS)
    with pytest.raises(ValueError, match="no figure"):
        plots.standalone("<svg/>")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("kind", ["light", "dark"])
def test_words_and_marks_stand_out_from_the_paper(kind: str) -> None:
    """The Web Content Accessibility Guidelines ask 4.5 for words and 3 for marks."""
    for ink in INKS:
        if ink.variable in ("paper", "grid"):
            continue
        least = 4.5 if ink.variable in ("ink", "muted") else 3.0
        assert contrast(getattr(ink, kind), getattr(PAPER, kind)) >= least, ink.variable


def test_series_differ_by_colour_and_marker_and_neighbours_by_line() -> None:
    assert len({one.colour for one in SERIES}) == len({one.marker for one in SERIES}) == len(SERIES) == plots.NAMED
    assert all(one.line != after.line for one, after in pairwise(SERIES))


def test_dark_is_for_screens_only_so_that_print_is_black_on_white() -> None:
    dark = PLOT_CSS.index("prefers-color-scheme: dark")
    assert PLOT_CSS.rindex("@media", 0, dark) == PLOT_CSS.index("@media screen and (prefers-color-scheme: dark)")
    assert PLOT_CSS.count("{") == PLOT_CSS.count("}")


def test_on_paper_a_figure_is_on_one_page_however_tall() -> None:
    printed = PLOT_CSS[PLOT_CSS.index("@media print") :]
    assert "break-inside: avoid" in printed
    assert "max-height: 92vh" in printed
