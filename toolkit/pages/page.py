"""The whole report as values: a title, the verdict, and the sections in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import toolkit
from toolkit.errors import InputError
from toolkit.pages.answers import show_calibration, show_flips, show_rows
from toolkit.pages.content import Section
from toolkit.pages.cost import show_cost
from toolkit.pages.gather import Gathered
from toolkit.pages.groups import show_classes, show_slices
from toolkit.pages.headline import Headline, headline
from toolkit.pages.loads import show_goodput, show_scenarios
from toolkit.pages.overview import show_lineage, show_pareto, summarize
from toolkit.pages.setting import show_setting
from toolkit.pages.timing import show_distributions, show_ladder

# in the order in which people ask
SECTIONS = (
    summarize,
    show_pareto,
    show_lineage,
    show_distributions,
    show_ladder,
    show_goodput,
    show_scenarios,
    show_cost,
    show_flips,
    show_classes,
    show_slices,
    show_calibration,
    show_rows,
)


@dataclass(frozen=True)
class Page:
    """Made once, printed as HTML or as Markdown. `made` says when and by which toolkit."""

    title: str
    headline: Headline
    sections: tuple[Section, ...]
    made: str


def compose(gathered: Gathered, command: Sequence[str]) -> Page:
    """The report on what was gathered; `command` is how it was asked for.

    Raises `InputError` for evidence that lacks what this toolkit writes: it was edited, or written by another one.
    """
    names = [subject.name for subject in gathered.subjects]
    try:
        return Page(
            title=names[0] if len(names) == 1 else f"{len(names)} artifacts side by side",
            headline=headline(gathered),
            sections=(*(show(gathered) for show in SECTIONS), show_setting(gathered, command)),
            made=f"{datetime.now(UTC).isoformat(timespec='seconds')} by toolkit {toolkit.__version__}",
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"the evidence of {', '.join(names[:3])} has another form than this toolkit writes: {error!r}; run toolkit "
            "verify and toolkit bench again"
        ) from error
