"""Which measurements are of one machine: a letter for each machine, and how the others differ from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.measure.bench_file import BenchFile, require_one_machine


def mark_machines(
    machines: Sequence[Sequence[Mapping[str, Any]]], *, across: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """For each subject the letters of its machines (`A`, `A+B`; empty with one machine), and the differences.

    Raises `InputError`, which names them, for machines that differ, unless `across`.
    """
    kinds: list[BenchFile] = []
    marks = []
    for mine in machines:
        letters = []
        for machine in mine:
            here = BenchFile((), machine, {}, {}, "")
            place = next(
                (i for i, kind in enumerate(kinds) if not require_one_machine([kind, here], across=True)), None
            )
            if place is None:
                place = len(kinds)
                kinds.append(here)
            letters.append(_letter(place))
        marks.append("+".join(dict.fromkeys(letters)))
    differences = require_one_machine(kinds, across=across) if kinds else ()
    return (tuple(marks) if differences else ("",) * len(marks)), differences


def _letter(place: int) -> str:
    """A, B, ..., Z, A2, B2, ..."""
    turn, letter = divmod(place, 26)
    return chr(ord("A") + letter) + (str(turn + 1) if turn else "")
