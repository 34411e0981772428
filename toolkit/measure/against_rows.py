"""What a comparison of two bench files comes to: a row for each artifact and rung, and whether it passes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from toolkit.measure.bootstrap import Interval

DASH = "–"


class Verdict(StrEnum):
    """What can be said of a row, in the words that are printed."""

    WRONG = "fewer right answers"
    SLOWER = "slower beyond the noise"
    FASTER = "faster"
    SAME = "no difference that can be told"
    TOO_FEW = "too few samples"
    NOT_IN_BOTH = "not in both"


UNDECIDED = (Verdict.TOO_FEW, Verdict.NOT_IN_BOTH)


@dataclass(frozen=True)
class Row:
    """One artifact on one rung. Times are medians of the rounds' medians; `interval` is of new over old.

    `floor` is the noise that the ratio has to leave, 1 or more. What could not be had is None. `why`
    says what a verdict alone does not: what is missing, or that a slower row is within the tolerance.
    """

    artifact: str
    rung: str
    verdict: Verdict
    failed: bool = False
    old_ms: float | None = None
    new_ms: float | None = None
    interval: Interval | None = None
    floor: float | None = None
    why: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """Text for each of `Comparison.headings`."""
        found, floor = self.interval, self.floor
        return (
            self.artifact,
            self.rung,
            DASH if self.old_ms is None else f"{self.old_ms:,.3f}",
            DASH if self.new_ms is None else f"{self.new_ms:,.3f}",
            DASH if found is None else f"{found.ratio:.3f} ({found.low:.3f}–{found.high:.3f})",
            DASH if floor is None else f"{floor:.3f}",
            f"{self.verdict}{' (failed)' if self.failed else ''}{f': {self.why}' if self.why else ''}",
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is not known is absent."""
        known = {"old_p50_ms": self.old_ms, "new_p50_ms": self.new_ms, "noise_floor": self.floor}
        return {
            "artifact": self.artifact,
            "rung": self.rung,
            **{key: value for key, value in known.items() if value is not None},
            **(self.interval.to_json() if self.interval else {}),
            "verdict": str(self.verdict),
            "failed": self.failed,
            **({"why": self.why} if self.why else {}),
        }


@dataclass(frozen=True)
class Comparison:
    """The rows of two runs, and in `notes` what differed between them that may explain a ratio."""

    rows: tuple[Row, ...]
    tolerance: float
    notes: tuple[str, ...] = ()

    headings = ("artifact", "rung", "old p50 ms", "new p50 ms", "new/old (99 %)", "noise", "verdict")

    @property
    def failed(self) -> tuple[Row, ...]:
        """The rows that fail, as they stand."""
        return tuple(row for row in self.rows if row.failed)

    @property
    def passed(self) -> bool:
        """True when no row fails and at least one could be decided: a gate that saw nothing does not open."""
        return not self.failed and any(row.verdict not in UNDECIDED for row in self.rows)

    @property
    def words(self) -> str:
        """The verdict in a sentence."""
        if self.failed:
            named = "; ".join(f"{row.artifact}, {row.rung}: {_said(row)}" for row in self.failed)
            return f"failed: {len(self.failed)} of {len(self.rows)} rows: {named}"
        if not self.passed:
            return f"failed: none of {len(self.rows)} rows could be decided: {self.rows[0].why}"
        counts = Counter(row.verdict for row in self.rows)
        return f"passed: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}{self._not_excluded()}"

    def _not_excluded(self) -> str:
        """A noisy machine passes what it could not have seen; how much that is belongs to the verdict."""
        ends = [(row.interval.high, row) for row in self.rows if row.verdict is Verdict.SAME and row.interval]
        high, row = max(ends, key=lambda end: end[0], default=(1.0, None))
        if row is None or high <= 1 + self.tolerance:
            return ""
        return (
            f"; up to {high:.2f} times the old time is not excluded ({row.artifact}, {row.rung}): the noise is too wide"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            "words": self.words,
            "tolerance": self.tolerance,
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.rows],
        }


def _said(row: Row) -> str:
    if row.verdict is Verdict.SLOWER and row.interval:
        return f"{row.interval.ratio:.2f} times the old time, at least {row.interval.low:.2f}"
    return f"{row.verdict} ({row.why})"
