"""Groups and changed rows as tables of text, for `toolkit verify`."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.judge.exemplars import Exemplar
from toolkit.judge.slices import MIN_ROWS, SliceColumn, SliceGroup
from toolkit.judge.statistics import Estimate
from toolkit.judge.words import p_value, points

SLICE_TITLES = ("group", "rows", "accuracy % before", "after", "difference pt (95 %)", "p", "Holm p", "")
AUC_TITLE = "AUC difference (95 %)"
SLICE_RIGHT = frozenset((*SLICE_TITLES[1:7], AUC_TITLE))


def slice_titles(column: SliceColumn) -> tuple[str, ...]:
    """Headings of `slice_rows`; the first is the column's name, AUC only where a group has one."""
    auc = (AUC_TITLE,) if _has_auc(column) else ()
    return (column.name, *SLICE_TITLES[1:5], *auc, *SLICE_TITLES[5:])


def slice_rows(column: SliceColumn) -> list[tuple[str, ...]]:
    """One row of text a group, as `slice_titles` names them; marked where there are too few rows to say."""
    return [_slice_row(group, auc=_has_auc(column)) for group in column.groups]


def describe_worst(column: SliceColumn) -> str:
    """The worst group of a column in one line, and what the correction leaves of it."""
    worst = column.worst
    if worst is None:
        return f"worst        {column.name}: every group has fewer than {MIN_ROWS} rows, too few to say"
    found = _auc(worst.auc_difference) + " AUC" if worst.auc_difference else points(worst.difference)
    if worst.judged.value >= 0:
        return f"worst        {column.name}: no group lost; least {worst.name}, {found}"
    sure = "a loss also after correction" if worst.lost_for_sure else "no sure loss after correction for all groups"
    p = f" (Holm p {p_value(worst.adjusted_p)})" if worst.adjusted_p is not None and not worst.auc_difference else ""
    return f"worst        {column.name} = {worst.name}: {found}; {sure}{p}"


EXEMPLAR_TITLES = ("row", "right is", "before", "after", "", "example")


def exemplar_rows(exemplars: Sequence[Exemplar]) -> list[tuple[str, ...]]:
    """One row of text a changed answer, as `EXEMPLAR_TITLES` names them."""
    return [
        (
            str(found.row),
            found.label,
            f"{found.before} {found.before_score:.2f}",
            f"{found.after} {found.after_score:.2f}",
            "fixed" if found.fixed else "wrong",
            found.shown,
        )
        for found in exemplars
    ]


def _slice_row(group: SliceGroup, *, auc: bool) -> tuple[str, ...]:
    adjusted = "" if group.adjusted_p is None else p_value(group.adjusted_p)
    mark = f"under {MIN_ROWS} rows: too few to say" if group.few else "lost" if group.lost_for_sure else ""
    order = (_auc(group.auc_difference) if group.auc_difference else "",) if auc else ()
    return (
        group.name,
        f"{group.rows:,}",
        f"{100 * group.reference.value:.1f}",
        f"{100 * group.candidate.value:.1f}",
        points(group.difference).replace(" pt", ""),
        *order,
        p_value(group.mcnemar_p),
        adjusted,
        mark,
    )


def _has_auc(column: SliceColumn) -> bool:
    return any(group.auc_difference for group in column.groups)


def _auc(estimate: Estimate) -> str:
    return f"{estimate.value:+.4f} ({estimate.low:+.4f} to {estimate.high:+.4f})"
