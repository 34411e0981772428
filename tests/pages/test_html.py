"""One file that needs nothing: well formed, escaped, complete, and the same in a browser in any light."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from reported import HOSTILE
from serving.browser import CHROMIUM, Tab, browser

from toolkit.pages.content import columns, table_of
from toolkit.pages.gather import Gathered
from toolkit.pages.html import FOLDED_CELL, TEMPLATE, is_folded, render_html
from toolkit.pages.page import compose

Take = Callable[..., Gathered]
ASKED = ["toolkit", "report", "runs/a", "-o", "report.html"]
VOID = {"meta", "br", "hr", "img", "input", "link"}
SIGNS = "✗✓?"
# how many folded tables cannot be seen
HIDDEN = (
    "[...document.querySelectorAll('details table')].filter(table => !table.checkVisibility("
    "{contentVisibilityAuto: true}) || table.getBoundingClientRect().height === 0).length"
)


class Reader(HTMLParser):
    """Tags with their attributes, whether they are balanced, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def texts(take: Take, bare: Gathered, many: Gathered) -> dict[str, str]:
    """The pages of several reports."""
    gathered = {"whole": take("baseline", "same", "broken"), "hostile": take("baseline", HOSTILE), "one": take("same"),
                "bare": bare, "many": many}  # fmt: skip
    return {name: render_html(compose(found, ASKED)) for name, found in gathered.items()}


@pytest.mark.parametrize("name", ["whole", "hostile", "one", "bare", "many"])
def test_it_is_well_formed_and_fetches_nothing(texts: dict[str, str], name: str) -> None:
    page = Reader(texts[name])
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "img", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {"src", "srcset", "action", "onclick", "onload", "xlink:href"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
        assert all(part.startswith("#") for part in re.findall(r"url\(([^)]*)\)", attributes.get("style") or ""))
    assert "@import" not in texts[name]
    assert "url(" not in re.findall(r"<style>(.*?)</style>", texts[name], re.S)[0]
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = [str(link["href"])[1:] for link in page.every("a")]
    assert links
    assert set(links) <= set(ids)
    for use in page.every("use"):
        assert str(use["href"])[1:] in ids


def test_names_are_text_and_never_markup(texts: dict[str, str]) -> None:
    assert "<script" not in texts["hostile"]
    assert "<b>" not in texts["hostile"].replace("<b>✗", "").replace("<b>train", "").replace("<b>export", "").replace(
        "<b>quantize", ""
    )
    assert '<script>alert(1)</script> & "q" | `code` @all <b>' in "".join(Reader(texts["hostile"]).texts)


def test_a_policy_forbids_whatever_might_slip_through(texts: dict[str, str]) -> None:
    (policy,) = [m["content"] for m in Reader(texts["whole"]).every("meta") if m.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy


def test_figures_and_tables_can_be_read_by_ear(texts: dict[str, str]) -> None:
    page = Reader(texts["whole"])
    figures = page.every("svg")
    assert len(figures) == 14
    assert all(figure.get("role") == "img" and figure.get("aria-labelledby") for figure in figures)
    assert len(page.every("caption")) == len(page.every("table"))
    assert all(head.get("scope") == "col" for head in page.every("th"))
    verdict = "".join(Reader(re.findall(r'<div class="verdict failed".*?</div>', texts["whole"], re.S)[0]).texts)
    assert verdict.strip().startswith("✗ failed")


def test_a_failed_row_has_a_sign_and_a_word_beside_its_colour(texts: dict[str, str]) -> None:
    marked = re.findall(r'<span class="(failed|passed|unsure)">(.)\s(.*?)</span>', texts["whole"])
    assert ("failed", "✗", "worse (failed)") in marked
    assert ("passed", "✓", "pass") in marked
    assert all(sign in SIGNS and words.strip() for _, sign, words in marked)


def test_long_tables_are_folded_but_never_the_summary(texts: dict[str, str]) -> None:
    summary, rest = texts["many"].split('id="pareto"')
    assert "<details>" not in summary
    assert summary.count("<tr>") == 41
    assert rest.count("<details>") > 3


def test_a_wall_of_settings_is_folded_however_few_its_rows() -> None:
    heads = columns("artifact", "settings", words=("artifact", "settings"))
    short, wall = (table_of("Steps", heads, [("one", "x" * length)]) for length in (FOLDED_CELL, FOLDED_CELL + 1))
    assert (is_folded(short, "lineage"), is_folded(wall, "lineage"), is_folded(wall, "summary")) == (False, True, False)


def test_forty_make_a_file_that_can_be_mailed(texts: dict[str, str]) -> None:
    assert len(texts["many"].encode()) < 3_000_000
    assert len(texts["whole"].encode()) < 600_000


def test_without_the_extra_it_is_named() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from toolkit.errors import MissingExtra\n"
        "from toolkit.pages.html import render_html\n"
        "try: render_html(None)\n"
        "except MissingExtra as error: print(error)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)
    assert "serving-toolkit[report]" in done.stdout, done.stderr


def test_the_template_lies_in_the_package() -> None:
    assert TEMPLATE.is_file()
    assert TEMPLATE.parent.name == "pages"


def luminance(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium; apt-get install chromium")
@pytest.mark.parametrize("name", ["whole", "hostile", "bare", "many"])
def test_a_browser_shows_it_in_light_dark_and_print(texts: dict[str, str], tmp_path: Path, name: str) -> None:
    (tmp_path / "report.html").write_text(texts[name])
    assert shutil.which("chromium")
    seen = asyncio.run(look(tmp_path))
    assert seen["complaints"] == []
    assert [url for url in seen["requests"] if not url.startswith("file:")] == []
    assert seen["widths"] == {390: 390, 1200: 1200}  # wide tables scroll in their place, the page never does
    assert luminance(seen["paper"]["light"]) > 0.95
    assert luminance(seen["paper"]["dark"]) < 0.2
    assert luminance(seen["paper"]["print"]) > 0.95  # also for a reader who prefers the dark
    assert luminance(seen["ink"]["dark"]) > 0.8
    assert luminance(seen["ink"]["print"]) < 0.2
    assert (seen["folded"] > 0) == ("<details>" in texts[name])
    assert seen["hidden"] == 0, "a folded table is open in print"


async def look(folder: Path) -> dict[str, Any]:
    url = (folder / "report.html").as_uri()
    seen: dict[str, Any] = {"widths": {}, "paper": {}, "ink": {}, "requests": [], "complaints": []}
    async with browser(folder) as tab:
        for scheme, width in (("light", 390), ("dark", 1200)):
            await tab.open(url, width=width, dark=scheme == "dark")
            seen["complaints"] += tab.complaints()
            seen["requests"] += [
                e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"
            ]
            seen["widths"][width] = await tab.value("document.documentElement.scrollWidth")
            await read_colours(tab, scheme, seen)
        seen["folded"] = await tab.value(HIDDEN)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        await tab.call("Emulation.setEmulatedMedia", media="print", features=dark)
        await read_colours(tab, "print", seen)
        seen["hidden"] = await tab.value(HIDDEN)
    return seen


async def read_colours(tab: Tab, name: str, seen: dict[str, Any]) -> None:
    for what, rule in (("paper", "backgroundColor"), ("ink", "color")):
        seen[what][name] = await tab.value(f"getComputedStyle(document.documentElement).{rule}")
