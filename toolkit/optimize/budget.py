"""What a user may lose and must keep: a drop of accuracy, a p99, a size, hours of search.

The drop is against the model as it came, on validation rows. A search tries many, and the best of many on a few
hundred rows is partly luck: chosen by the plain drop, answers that lost 0.4 of a point on 539 validation rows of TREC
lost 1.7 to 2.3 on its test rows. So `caution` standard errors of the paired difference are added to a drop before it
is held against the budget (1 by default, 0 for the plain drop). The p99 is the predictor's on this machine: one
thread, one row, encoder included.

Source: Breiman et al. 1984, the one-standard-error rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from toolkit.errors import RecipeError

# what the best answer is best at, once it holds the budget -> the quantity that is made small
OBJECTIVES = {"speed": "mean_ms", "size": "size_bytes"}
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]+)\s*")


@dataclass(frozen=True)
class Budget:
    """Limits of a search; raises `RecipeError` for one that nothing can hold or that says nothing."""

    max_drop: float = 0.01
    max_p99_ms: float | None = None
    max_size_bytes: int | None = None
    hours: float = 1.0
    objective: str = "speed"
    caution: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_drop < 1.0:
            raise RecipeError(f"max_drop is {self.max_drop}; give a share from 0 to below 1 (0.01 is one point)")
        for name, value in (("max_p99", self.max_p99_ms), ("max_size", self.max_size_bytes), ("hours", self.hours)):
            if value is not None and not 0 < value < float("inf"):
                raise RecipeError(f"{name} is {value}; it must be above 0")
        if not 0.0 <= self.caution <= 10.0:
            raise RecipeError(f"caution is {self.caution}; allowed: 0 to 10 standard errors")
        if self.objective not in OBJECTIVES:
            raise RecipeError(f"objective is {self.objective!r}; allowed: {', '.join(OBJECTIVES)}")

    def misses(
        self, *, drop: float | None, p99_ms: float | None, size_bytes: float, error: float = 0.0
    ) -> tuple[str, ...]:
        """By how much each limit is missed, in words; empty when the budget is held. None is not known yet.

        `error` is the standard error of the drop.
        """
        found = []
        # a drop of exactly the limit is a ratio of row counts, which floats hit from either side
        if drop is not None and drop + self.caution * error > self.max_drop + 1e-9:
            beyond = 100 * (drop + self.caution * error - self.max_drop)
            sure = f" and may lose {100 * self.caution * error:.1f} more" if self.caution * error else ""
            found.append(f"loses {100 * drop:.1f} points{sure}, {beyond:.1f} too many")
        if self.max_p99_ms is not None and p99_ms is not None and p99_ms > self.max_p99_ms:
            found.append(f"p99 {p99_ms:.2f} ms, {p99_ms - self.max_p99_ms:.2f} ms too slow")
        if self.max_size_bytes is not None and size_bytes > self.max_size_bytes:
            found.append(f"{size_bytes / 1e6:.1f} MB, {(size_bytes - self.max_size_bytes) / 1e6:.1f} MB too large")
        return tuple(found)

    def excess(self, *, drop: float, p99_ms: float | None, size_bytes: float, error: float = 0.0) -> float:
        """How far outside the budget, as the sum of relative excesses; 0.0 inside. A point of drop counts as 1."""
        total = max(0.0, drop + self.caution * error - self.max_drop - 1e-9) * 100
        if self.max_p99_ms is not None and p99_ms is not None:
            total += max(0.0, p99_ms / self.max_p99_ms - 1)
        if self.max_size_bytes is not None:
            total += max(0.0, size_bytes / self.max_size_bytes - 1)
        return total

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


def parse_milliseconds(text: str) -> float:
    """`5ms`, `0.8 ms`, `900us`, `1s` in milliseconds; raises `RecipeError` for anything else."""
    return _parse(text, _MILLISECONDS, "a time like 5ms, 900us or 1s")


def parse_bytes(text: str) -> int:
    """`20MB`, `512kB`, `8MiB` in bytes; raises `RecipeError` for anything else."""
    return int(_parse(text, _BYTES, "a size like 20MB, 512kB or 8MiB"))


def _parse(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2] not in units:
        raise RecipeError(f"{text!r} is not {wanted}")
    return float(found[1]) * units[found[2]]
