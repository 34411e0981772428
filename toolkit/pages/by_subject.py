"""A section with a part for each artifact that was compared, and a sentence for those that were not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from toolkit.pages.commands_to_run import verify_command
from toolkit.pages.content import Missing, Part, Section, join_names
from toolkit.pages.gather import Gathered, Subject
from toolkit.pages.plot_style import NAMED


def part_each(
    gathered: Gathered,
    anchor: str,
    title: str,
    make: Callable[[Gathered, Subject], Part | None],
    lacking: str,
) -> Section:
    """A part for each artifact that was compared, and a sentence for those that were not."""
    made = [(subject, make(gathered, subject)) for subject in gathered.subjects]
    references = {found.name for s in gathered.subjects if (found := gathered.reference_of(s))}
    left = [s for s, part in made if part is None and s.name not in references]
    parts = tuple(part for _, part in made if part is not None)
    if not parts and not left:
        left = list(gathered.subjects)
    missing: tuple[Missing, ...] = ()
    if left:
        everybody = len(left) == len(gathered.subjects)
        words = (
            f"{lacking[0].upper()}{lacking[1:]}."
            if everybody
            else f"Of {join_names([s.name for s in left])} {lacking}."
        )
        missing = (Missing(words, verify_command(gathered, left[0])),)
    return few_figures(Section(anchor, title, parts, missing), len(gathered.subjects))


def few_figures(section: Section, subjects: int) -> Section:
    """The section without its figures where there are too many artifacts for anybody to look at each: tables only."""
    if subjects <= NAMED or not any(part.figure for part in section.parts):
        return section
    words = Missing(f"Figures of each artifact are drawn for up to {NAMED}; give fewer to see them.")
    parts = tuple(replace(part, figure=None) for part in section.parts)
    return replace(section, parts=parts, missing=(*section.missing, words))
