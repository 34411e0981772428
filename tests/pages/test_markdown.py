"""Markdown that a pull request renders as it was meant, whatever a model or a label is called."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported import HOSTILE

from toolkit.pages.gather import Gathered
from toolkit.pages.markdown import LONGEST, code, escape, render_markdown
from toolkit.pages.page import compose

Take = Callable[..., Gathered]
ASKED = ["toolkit", "report", "runs/a", "--markdown", "comment.md"]


def lines_of(gathered: Gathered) -> list[str]:
    return render_markdown(compose(gathered, ASKED)).splitlines()


def test_the_verdict_comes_first_and_every_table_is_whole(take: Take) -> None:
    lines = lines_of(take("baseline", "same", "broken"))
    assert lines[0] == "## 3 artifacts side by side"
    assert lines[2].startswith("❌ **1 of 2 judged artifacts failed: broken")
    width = None
    for line in lines:
        if not line.startswith("|"):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert width in (None, cells), line
        width = cells
    assert sum(line.startswith("|---") for line in lines) > 8
    assert "<svg" not in "".join(lines)
    titles = [place for place, line in enumerate(lines) if line.startswith("**`")]
    assert titles
    assert not any(lines[place + 2].startswith("**`") for place in titles), "a heading without anything under it"
    assert lines.count("</details>") == sum(line.startswith("<details>") for line in lines) > 5


def test_all_that_is_shown_open_is_what_a_reviewer_asks_first(take: Take) -> None:
    lines = lines_of(take("baseline", "same"))
    assert [line for line in lines if line.startswith("### ")] == [
        "### Summary", "### The ladder", "### Changed answers by confidence"
    ]  # fmt: skip


def test_names_are_no_markup_and_call_nobody(take: Take) -> None:
    text = render_markdown(compose(take("baseline", HOSTILE), ASKED))
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"(?<!\\)<script", outside)
    assert not re.search(r"(?<!\\)@all", outside)
    assert "@length" not in outside.replace("\\@length", "")
    assert not re.search(r"(?<!\\)<b", outside)


@pytest.mark.parametrize(
    ("text", "span"),
    [("a|b", "`a|b`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("a\nb", "`a b`"), ("", "")],
)
def test_a_code_span_holds_anything(text: str, span: str) -> None:
    assert code(text) == span


def test_a_bar_does_not_end_a_cell() -> None:
    assert code("a|b", in_table=True) == "`a\\|b`"
    assert escape("a|b <i> *c* & @d") == "a\\|b \\<i\\> \\*c\\* &amp; \\@d"


@given(st.text())
def test_escaped_words_are_one_line_without_open_markup(text: str) -> None:
    found = escape(text)
    assert "\n" not in found
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>`*_|@\[\]]", found)
    span = code(text)
    assert "\n" not in span
    inside = re.findall("`+", " ".join(text.split()))
    fence = len(span) - len(span.lstrip("`"))
    assert fence not in [len(run) for run in inside]


def test_forty_fit_into_a_comment_and_what_is_left_out_is_named(many: Gathered) -> None:
    text = render_markdown(compose(many, ASKED))
    assert len(text) <= LONGEST + 1000
    assert text.count("candidate-39") > 0
    left = next(line for line in text.splitlines() if line.startswith("Too long for a comment"))
    assert "Change by class" in left
    assert "### Summary" in text


def test_what_is_missing_has_its_command(bare: Gathered) -> None:
    text = "\n".join(lines_of(bare))
    assert "*No rung was measured.* `toolkit bench " in text
    assert "```sh\ntoolkit bench " in text
