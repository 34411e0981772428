"""A row of the fault table: what is done, the bar, and a control that the same check must miss.

A harness that has never failed proves nothing. So every row acts twice, on our server and on a control: plain BentoML,
or a server sabotaged in just this respect. Both are judged by the same function; a row whose control holds is "not
built", whatever ours did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.faults.stand import Stand

Counts = dict[str, Any]
HELD, MISSED, NOT_HERE, NOT_BUILT, BROKEN = "held", "missed", "not here", "not built", "broken"


class NotHereError(Exception):
    """What this row needs is not on this machine, or not in this server; the message says what."""


@dataclass(frozen=True)
class Subject:
    """What is started: `ours`, `plain` BentoML, or `sabotaged` with switches; `settings` are environment variables."""

    kind: str
    switches: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """As a table names it."""
        return {"ours": "toolkit serve", "plain": "plain BentoML"}.get(
            self.kind, f"sabotaged: {', '.join(self.switches)}"
        )


PLAIN = Subject("plain")


def sabotaged(*switches: str) -> Subject:
    """The small server with these faults."""
    return Subject("sabotaged", switches)


@dataclass(frozen=True)
class Row:
    """`act` does it to a subject and counts; `judge` names what of the bar was missed, nothing when it held.

    `settings` go to ours and to the control alike. `quick` rows run in `--quick` too.
    """

    name: str
    does: str
    bar: str
    act: Callable[[Stand, Subject], Counts]
    judge: Callable[[Counts], list[str]]
    control: Subject
    settings: Mapping[str, str] = field(default_factory=dict)
    control_misses: str = ""  # how one of the control's misses must begin, where any miss would not do
    quick: bool = True


@dataclass(frozen=True)
class Outcome:
    """One JSON line: what was counted on ours and on the control, what each missed, and the verdict."""

    row: Row
    verdict: str
    seconds: float
    ours: Counts
    missed: list[str]
    control: Counts
    control_missed: list[str]
    words: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "row": self.row.name,
            "does": self.row.does,
            "bar": self.row.bar,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 1),
            "ours": self.ours,
            "missed": self.missed,
            "control": {"server": self.row.control.words, "missed": self.control_missed, "counts": self.control},
            "words": self.words,
        }


def run_row(row: Row, stand: Stand) -> Outcome:
    """Act on ours and on the control and judge both; an error of the harness makes a broken row that says so."""
    started = time.monotonic()
    ours: Counts = {}
    control: Counts = {}
    missed: list[str] = []
    control_missed: list[str] = []
    verdict, words = HELD, ""
    try:
        control = row.act(stand, Subject(row.control.kind, row.control.switches, row.settings))
        control_missed = row.judge(control)
        ours = row.act(stand, Subject("ours", settings=row.settings))
        missed = row.judge(ours)
        verdict = NOT_BUILT if not _caught(row, control_missed) else MISSED if missed else HELD
    except NotHereError as error:
        verdict, words = NOT_HERE, str(error)
    except Exception as error:  # the table must be whole; the row says what broke
        lines = str(error).splitlines() or [""]
        verdict, words = (
            BROKEN,
            f"{type(error).__name__}: {lines[0]} {lines[-1] if len(lines) > 1 else ''}".strip()[:300],
        )
    return Outcome(row, verdict, time.monotonic() - started, ours, missed, control, control_missed, words)


def _caught(row: Row, control_missed: list[str]) -> bool:
    return any(words.startswith(row.control_misses) for words in control_missed)


def misses(*bars: tuple[bool, str]) -> list[str]:
    """The words of those bars that do not hold."""
    return [words for held, words in bars if not held]
