"""What became of one plan: what its shape costs, how its score grew, what was made of it, and why it ended.

A trial is one line of `trials.jsonl`, written when it ends; a killed search reads them back and goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import ArtifactError
from toolkit.optimize.plan import Plan

TRIALS = "trials.jsonl"
# how a trial ended: its shape alone spoke against it, it fell behind, it could not be made, it was made
REJECTED, STOPPED, FAILED, MADE = "rejected", "stopped", "failed", "made"
STATES = (REJECTED, STOPPED, FAILED, MADE)


@dataclass(frozen=True)
class Cost:
    """One row in process on this machine, encoder included, and bytes of the whole artifact."""

    p50_ms: float
    mean_ms: float
    p99_ms: float | None
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Point:
    """Where training stood after an epoch: share of the planned epochs, validation score, seconds so far."""

    share: float
    score: float
    seconds: float


@dataclass(frozen=True)
class Made:
    """An artifact of a trial, in `folder` under the search's own; `score` on validation rows, as it is served.

    `error` is the standard error of its difference from the model that came, on the same rows.
    """

    form: str
    folder: str
    digest: str
    score: float
    cost: Cost
    error: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "cost": self.cost.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Made:
        """The inverse of `to_json`."""
        return cls(**{**value, "cost": Cost(**value["cost"])})


@dataclass(frozen=True)
class Trial:
    """See the module. `shape` is the cost of an untrained net of this shape, `seconds` all that the trial took."""

    number: int
    plan: Plan
    state: str
    reason: str
    effort: str = "short"
    shape: Cost | None = None
    curve: tuple[Point, ...] = ()
    made: tuple[Made, ...] = ()
    seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The best of what it made, or what its training had reached."""
        found = [made.score for made in self.made] or [point.score for point in self.curve]
        return max(found, default=None)

    @property
    def name(self) -> str:
        """`t07`."""
        return f"t{self.number:02d}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "number": self.number,
            "plan": self.plan.to_json(),
            "state": self.state,
            "reason": self.reason,
            "effort": self.effort,
            "shape": self.shape.to_json() if self.shape else None,
            "curve": [[point.share, point.score, round(point.seconds, 2)] for point in self.curve],
            "made": [made.to_json() for made in self.made],
            "seconds": round(self.seconds, 2),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trial:
        """The inverse of `to_json`; raises `KeyError`, `TypeError` or `ValueError` for another form."""
        if value["state"] not in STATES:
            raise ValueError(f"state {value['state']!r}")
        return cls(
            number=int(value["number"]),
            plan=Plan.from_json(value["plan"]),
            state=value["state"],
            reason=str(value["reason"]),
            effort=str(value["effort"]),
            shape=Cost(**value["shape"]) if value["shape"] else None,
            curve=tuple(Point(*map(float, row)) for row in value["curve"]),
            made=tuple(Made.from_json(made) for made in value["made"]),
            seconds=float(value["seconds"]),
            settings=dict(value["settings"]),
        )


def append_trial(folder: Path, trial: Trial) -> None:
    """Add a trial as one line, flushed to the disk before anything builds on it."""
    with (folder / TRIALS).open("ab") as file:
        file.write(json.dumps(trial.to_json(), sort_keys=True, ensure_ascii=False).encode() + b"\n")
        file.flush()


def read_trials(folder: Path) -> list[Trial]:
    """The trials that ended, in order. A last line that a kill cut short is taken off the file.

    Raises `ArtifactError` for a line in the middle that cannot be read.
    """
    path = folder / TRIALS
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    trials = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            trials.append(Trial.from_json(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"line {number} of {path} cannot be read ({error!r}); remove the folder to search anew"
            ) from None
    return trials
