"""What the figures are drawn from: frozen values that refuse what cannot be drawn, as soon as they are made.

Shares, accuracies and confidences are from 0 to 1, changes from -1 to 1, times in milliseconds, rates a
second. None is "not measured" and is left out of the picture; NaN and infinity raise `DataError`, because a
picture that leaves them out in silence looks like one of a complete measurement.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from toolkit.errors import DataError


class _Checked:
    """Refuses NaN and infinity in every field that holds a number."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if isinstance(value, float | int):
                require_finite(value, f"{type(self).__name__}.{field.name}")


def require_finite(value: float, what: str) -> None:
    """Raise `DataError` for a number that cannot be drawn."""
    if not math.isfinite(value):
        raise DataError(f"{what} is {value}; a figure takes finite numbers, and None for what was not measured")


def require_positive(values: Iterable[float | None], what: str) -> None:
    """Raise `DataError` for a number that has no place on a logarithmic axis, or is no number."""
    for value in values:
        if value is None:
            continue
        require_finite(value, what)
        if value <= 0:
            raise DataError(f"{what} is {value}; it must be above 0, or None where it was not measured")


def require_share(values: Iterable[float | None], what: str) -> None:
    """Raise `DataError` for a number that is no share of a whole: one in per cent, mostly."""
    for value in drawn(values):
        if not 0 <= value <= 1:
            raise DataError(f"{what} is {value}; it must be a share from 0 to 1 (0.971, not 97.1)")


@dataclass(frozen=True)
class ParetoPoint(_Checked):
    """One artifact: accuracy with its 95 % interval, latency in ms, size in bytes.

    Without an accuracy, or without both latencies, it is not drawn and the figure says how many are not.
    """

    name: str
    accuracy: float | None
    low: float | None = None
    high: float | None = None
    p99_ms: float | None = None
    p50_ms: float | None = None
    size_bytes: int | None = None
    reference: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive((self.p99_ms, self.p50_ms), f"the latency of {self.name!r}")
        require_share((self.accuracy, self.low, self.high), f"the accuracy of {self.name!r}")


@dataclass(frozen=True)
class RungTime(_Checked):
    """One rung of the ladder for one artifact, p50 and p99 in ms; p99 None where the samples were too few."""

    rung: str
    p50_ms: float | None
    p99_ms: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive((self.p50_ms, self.p99_ms), f"the latency of {self.rung!r}")


@dataclass(frozen=True)
class LadderRow:
    """One artifact and its rungs; rungs are drawn in the order in which they are first met."""

    name: str
    rungs: tuple[RungTime, ...]


@dataclass(frozen=True)
class LoadPoint(_Checked):
    """One open load: what was offered and what came back right within the objective, a second.

    `holds` says whether the objective held there (filled marker), None that nobody asked.
    """

    offered: float
    goodput: float
    holds: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive((self.offered,), "the offered load")
        if self.goodput < 0:
            raise DataError(f"the goodput is {self.goodput}; it must be 0 or more")


@dataclass(frozen=True)
class LoadSeries(_Checked):
    """One artifact or server under its loads; `peak` is the highest rate at which the objective held."""

    name: str
    points: tuple[LoadPoint, ...]
    peak: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive((self.peak,), f"the peak of {self.name!r}")


@dataclass(frozen=True)
class FlipBand(_Checked):
    """Rows on which the reference's confidence was above `above` and at most `up_to`, and how many changed."""

    above: float
    up_to: float
    rows: int
    flips: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share((self.above, self.up_to), "the end of a band of confidence")
        if not 0 <= self.flips <= self.rows:
            raise DataError(f"{self.flips} changed of {self.rows} rows; changed rows are among the rows of their band")


@dataclass(frozen=True)
class Delta(_Checked):
    """The change of one class or slice with its 95 % interval, candidate - reference.

    `few` marks a group of too few rows to be judged: drawn pale, never the worst.
    """

    name: str
    change: float | None
    low: float | None = None
    high: float | None = None
    rows: int | None = None
    few: bool = False


@dataclass(frozen=True)
class CalibrationBin(_Checked):
    """One bin of confidences: how many rows, their mean confidence, and the share of them that was right.

    Both means are None for a bin without rows.
    """

    low: float
    high: float
    rows: int
    confidence: float | None
    accuracy: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share((self.low, self.high, self.confidence, self.accuracy), "a bin of confidences")
        if (self.rows > 0) != (self.confidence is not None and self.accuracy is not None):
            raise DataError(f"a bin of {self.rows} rows needs a confidence and an accuracy exactly where it has rows")


@dataclass(frozen=True)
class LineageStep:
    """One step from training to this artifact: its name, its settings in words, and what was measured after it."""

    name: str
    details: tuple[str, ...] = ()
    result: str = ""


def drawn(values: Iterable[float | None]) -> list[float]:
    """The measured ones."""
    return [value for value in values if value is not None]
