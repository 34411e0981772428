"""Pass, worse, or cannot tell: what an interval says about a margin that was fixed beforehand.

With d = candidate - reference and margin m (both shares, 0.01 is one point): pass when the lower end
of d's 95 % interval is at least -m, worse when its upper end is below -m, else it cannot be told from
these rows. An equal model passes a one-point margin on 1,000 rows only one time in four, so failing
on "cannot tell" is a choice (`strict`), while a measured d below -m always fails.

Groups of rows have a margin of their own, off by default: a group fails the whole when its interval,
widened for the number of groups, lies wholly below it. Small groups measure wild differences, so a point
estimate never fails one.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import Any

from toolkit.errors import RecipeError
from toolkit.judge.statistics import Estimate

PASS, WORSE, CANNOT_TELL = "pass", "worse", "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """What was decided; `rows_needed` is how many rows would decide, where that can be said.

    `failing_slices` are the groups that lost more than `max_slice_drop`, where that was asked.
    """

    answer: str
    failed: bool
    metric: str
    max_drop: float
    strict: bool
    rows_needed: int | None = None
    max_slice_drop: float | None = None
    failing_slices: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The verdict as it is printed."""
        if self.answer != CANNOT_TELL:
            return self.answer
        if self.rows_needed is None:
            return "cannot tell, no number of rows would"
        return f"cannot tell, {self.rows_needed:,} rows would"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        value = {
            "answer": self.answer,
            "words": self.words,
            "failed": self.failed,
            "metric": self.metric,
            "max_drop": self.max_drop,
            "strict": self.strict,
            "rows_needed": self.rows_needed,
        }
        if self.max_slice_drop is not None:
            value |= {"max_slice_drop": self.max_slice_drop, "failing_slices": list(self.failing_slices)}
        return value


def check_margin(max_drop: float) -> None:
    """Raise `RecipeError` unless `max_drop` is a share: 0.01 is one point."""
    if not 0 <= max_drop < 1:
        raise RecipeError(f"max_drop is {max_drop}; give a share from 0 to below 1 (0.01 is one point)")


def check_slice_margin(max_slice_drop: float, slices: Sized | None) -> None:
    """Raise `RecipeError` for a margin that is no share, or one without a column to look at."""
    if not 0 <= max_slice_drop < 1:
        raise RecipeError(f"max_slice_drop is {max_slice_drop}; give a share from 0 to below 1 (0.05 is five points)")
    if not slices:
        raise RecipeError("max_slice_drop is set and there is no slice to look at; name a column with --slice")


def with_slices(verdict: Verdict, failing: tuple[str, ...], max_slice_drop: float) -> Verdict:
    """`verdict` with the groups that lost more than `max_slice_drop`; any of them fails it."""
    failed = verdict.failed or bool(failing)
    return replace(verdict, failed=failed, max_slice_drop=max_slice_drop, failing_slices=failing)


def answer(difference: Estimate, max_drop: float) -> str:
    """The one of the three words that the interval allows."""
    if difference.low >= -max_drop:
        return PASS
    return WORSE if difference.high < -max_drop else CANNOT_TELL


def decide(
    difference: Estimate, *, metric: str, max_drop: float, strict: bool = False, rows_needed: int | None = None
) -> Verdict:
    """The verdict on `difference` (candidate - reference, a share)."""
    check_margin(max_drop)
    word = answer(difference, max_drop)
    failed = word == WORSE or difference.value < -max_drop or (strict and word == CANNOT_TELL)
    return Verdict(word, failed, metric, max_drop, strict, rows_needed if word == CANNOT_TELL else None)
