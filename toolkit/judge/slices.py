"""What compression cost each group of rows: the mean can hold while one group pays for all.

For every group both accuracies, the paired difference with its 95 % score interval and exact McNemar p;
for a recommender the difference of AUC too. Intervals are of one group each and are not corrected; p
values are adjusted by Holm over all groups looked at, and so is what the gate asks (`corrected`, an
interval at 1 - 0.05 / groups: all of them hold their difference at once 19 times in 20). A group of
fewer than 20 rows is shown, never tested, and does not weaken the test of the others.

Limits: groups chosen after looking at results make every p too small; rows of one user are treated as
independent in accuracy (AUC draws whole users). Sources: Tango 1998; Holm 1979; Dunn 1961.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.judge.grouping import group_rows
from toolkit.judge.ranking import compare_auc_at
from toolkit.judge.statistics import LEVEL, Estimate, holm, mcnemar_p, paired_interval, wilson_interval
from toolkit.spec import Array

MIN_ROWS = 20


@dataclass(frozen=True)
class SliceGroup:
    """Both models on the rows of one group; differences are candidate - reference, shares from -1 to 1.

    `corrected` is the interval of what is judged (AUC where there is one, else accuracy) at the level that
    lets all groups hold at once. It and `adjusted_p` are None for a group of too few rows.
    """

    name: str
    rows: int
    reference: Estimate
    candidate: Estimate
    gained: int
    lost: int
    difference: Estimate
    mcnemar_p: float
    adjusted_p: float | None = None
    auc_difference: Estimate | None = None
    corrected: Estimate | None = None

    @property
    def few(self) -> bool:
        """True when its rows are too few to say anything."""
        return self.rows < MIN_ROWS

    @property
    def judged(self) -> Estimate:
        """The difference that counts: of AUC for a recommender, else of accuracy."""
        return self.auc_difference or self.difference

    @property
    def lost_for_sure(self) -> bool:
        """True when it lost after the correction: adjusted p at most 0.05, or corrected AUC interval below 0."""
        if self.adjusted_p is None or self.corrected is None:
            return False
        if self.auc_difference is not None:
            return self.corrected.high < 0
        return self.difference.value < 0 and self.adjusted_p <= 1 - LEVEL

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        value: dict[str, Any] = {
            "group": self.name,
            "rows": self.rows,
            "too_few_rows": self.few,
            "reference_accuracy": self.reference.to_json(),
            "accuracy": self.candidate.to_json(),
            "gained": self.gained,
            "lost": self.lost,
            "difference": self.difference.to_json(),
            "mcnemar_p": self.mcnemar_p,
            "adjusted_p": self.adjusted_p,
            "corrected": self.corrected.to_json() if self.corrected else None,
        }
        if self.auc_difference is not None:
            value["auc_difference"] = self.auc_difference.to_json()
        return value


@dataclass(frozen=True)
class SliceColumn:
    """One column and its groups, in the order of their values."""

    name: str
    groups: tuple[SliceGroup, ...]

    @property
    def worst(self) -> SliceGroup | None:
        """The tested group with the lowest difference; None when every group has too few rows."""
        return min((g for g in self.groups if not g.few), key=lambda group: group.judged.value, default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the worst group by name, and whether it lost after the correction."""
        worst = self.worst
        return {
            "column": self.name,
            "worst": worst.name if worst else None,
            "worst_lost_for_sure": worst.lost_for_sure if worst else False,
            "groups": [group.to_json() for group in self.groups],
        }


def judge_slices(
    reference_logits: Array,
    candidate_logits: Array,
    labels: Array,
    slices: Mapping[str, Array],
    *,
    scores: tuple[Array, Array] | None = None,
    users: Array | None = None,
) -> tuple[SliceColumn, ...]:
    """Compare both models in every group of every column of `slices`, each (rows,).

    Logits are float (rows, classes), `labels` int (rows,). `scores` (rows,) of both models order a
    recommender's rows, `users` say whose they are. Raises `DataError` for a column of more than 100 groups.
    """
    right = reference_logits.argmax(axis=1) == labels, candidate_logits.argmax(axis=1) == labels
    members = {column: group_rows(column, values) for column, values in slices.items()}
    tested = sum(len(rows) >= MIN_ROWS for groups in members.values() for rows in groups.values())
    level = 1 - (1 - LEVEL) / max(1, tested)
    columns = {
        column: [
            _judge_group(name, rows, right, labels, level=level, scores=scores, users=users)
            for name, rows in groups.items()
        ]
        for column, groups in members.items()
    }
    adjusted = iter(holm([group.mcnemar_p for groups in columns.values() for group in groups if not group.few]))
    return tuple(
        SliceColumn(column, tuple(g if g.few else replace(g, adjusted_p=next(adjusted)) for g in groups))
        for column, groups in columns.items()
    )


def find_failing(columns: Sequence[SliceColumn], max_slice_drop: float) -> tuple[str, ...]:
    """The groups whose corrected interval lies wholly below `-max_slice_drop`, as `column = group`."""
    return tuple(
        f"{column.name} = {group.name}"
        for column in columns
        for group in column.groups
        if group.corrected is not None and group.corrected.high < -max_slice_drop
    )


def _judge_group(
    name: str,
    rows: Array,
    right: tuple[Array, Array],
    labels: Array,
    *,
    level: float,
    scores: tuple[Array, Array] | None,
    users: Array | None,
) -> SliceGroup:
    before, after = (answers[rows] for answers in right)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    group = SliceGroup(
        name=name,
        rows=len(rows),
        reference=wilson_interval(int(before.sum()), len(rows)),
        candidate=wilson_interval(int(after.sum()), len(rows)),
        gained=gained,
        lost=lost,
        difference=paired_interval(gained, lost, len(rows)),
        mcnemar_p=mcnemar_p(gained, lost),
    )
    if group.few:
        return group
    positive = labels[rows] == 1
    if scores is None or positive.all() or not positive.any():
        return replace(group, corrected=paired_interval(gained, lost, len(rows), level=level))
    before, after = (score[rows] for score in scores)
    owners = None if users is None else users[rows]
    plain, wide = compare_auc_at(before, after, positive, users=owners, levels=(LEVEL, level))
    return replace(group, auc_difference=plain, corrected=wide)
