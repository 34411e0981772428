"""Whether this build is slower than that one, beyond what the machine makes out of nothing: a gate for CI.

Two bench files, an old and a new one, artifact by artifact (by name; the digest may differ) and rung
by rung. A ratio is new over old: above 1 the new build is slower. Rounds of two runs are no pairs, so
each run is resampled by itself, at 99 %: a gate that cries every week is switched off.

A row fails when its whole interval lies above the noise floor *and* above 1 + tolerance, or when the
new build gives fewer right answers: a wrong one is not a fast one. The floor is both runs' own
multiplied, since either may be off by as much. A row that cannot be decided is shown, says what it
lacks, and does not fail; where no row can be decided the gate does not pass.

Limits: what was so during all of one run and none of the other, a neighbour or a lower clock, looks
like another build. `tolerance` is for that; `Comparison.notes` names load and stolen time where seen.
Noise hides: a build 20 % slower is found wherever the noise of both runs is below 5 %, and hardly ever
where it is 30 % (tests/measure/test_measure_against.py, on runs recorded at a load of ten).
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from toolkit.errors import GateError, InputError, RecipeError
from toolkit.judge.statistics import wilson_interval
from toolkit.measure.against_rows import Comparison, Row, Verdict
from toolkit.measure.bench_file import BenchFile, require_one_machine
from toolkit.measure.bootstrap import MIN_ROUNDS, unpaired_ratio
from toolkit.measure.idle import MOST_LOAD, MOST_STEAL

TOLERANCE = 0.05
LEVEL = 0.99
OLD, NEW = "the old run", "this run"
SAMPLES_A_ROUND = 20  # as many as a median needs anywhere in this toolkit
# settings that make it another measurement, and whether --across-machines lets it pass
_SETTINGS = {"data": False, "threads": False, "pinned": True}
_Rung = Mapping[str, Any]


def compare_bench(old: BenchFile, new: BenchFile, *, tolerance: float = TOLERANCE, across: bool = False) -> Comparison:
    """Every artifact and rung of either file, in the new file's order, then what only the old one has.

    Raises as `require_comparable`; `GateError` when the new run is void; `InputError` when the files
    share no artifact and rung, `RecipeError` for a `tolerance` below 0.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise RecipeError(f"a tolerance of {tolerance} cannot be; give a share, 0.05 for 5 %")
    notes = require_comparable(old, new, across=across)
    if new.void:
        raise GateError(f"{NEW} is void ({'; '.join(new.void)}), so it is not compared; measure it again")
    rows = tuple(_rows(old, new, tolerance))
    if all(row.verdict is Verdict.NOT_IN_BOTH for row in rows):
        raise InputError(
            f"{OLD} has {_names(old)} and {NEW} {_names(new)}: nothing in common to compare; "
            "measure the same artifacts, by the same names, with the same --ladder"
        )
    return Comparison(rows, tolerance, (*notes, *_busy(OLD, old), *_busy(NEW, new)))


def require_comparable(old: BenchFile, new: BenchFile, *, across: bool = False) -> tuple[str, ...]:
    """How machine and settings differ, a phrase each, where that is allowed; else raises `InputError`.

    `new` may be without artifacts yet: call it before minutes are spent on measuring. An old run that
    is void, other data and other threads are refused whatever `across` says.
    """
    if old.void:
        raise InputError(f"{OLD} is void ({'; '.join(old.void)}) and decides nothing; measure it again")
    notes = list(require_one_machine([old, new], across=across))
    for key, allowed in _SETTINGS.items():
        before, after = old.settings.get(key), new.settings.get(key)
        if before == after:
            continue
        if not (allowed and across):
            raise InputError(
                f"{OLD} was measured with {key} {before} and {NEW} with {after}: that is other work, not "
                f"another build; measure both alike"
            )
        notes.append(f"{key} {before} and {after}")
    return tuple(notes)


def _rows(old: BenchFile, new: BenchFile, tolerance: float) -> Iterator[Row]:
    before, after = _rungs(old, OLD), _rungs(new, NEW)
    for key in (*after, *(key for key in before if key not in after)):
        if key in before and key in after:
            floors = old.noise_floor.get(key[1]), new.noise_floor.get(key[1])
            yield _row(key, (before[key], after[key]), floors, tolerance=tolerance, seed=new.seed)
        else:
            yield Row(*key, Verdict.NOT_IN_BOTH, why=f"only in {OLD if key in before else NEW}")


def _row(
    key: tuple[str, str], rungs: tuple[_Rung, _Rung], floors: tuple[float | None, float | None], *,
    tolerance: float, seed: int,
) -> Row:  # fmt: skip
    """Right answers first, then whether there is enough to go by, then the times."""
    before, after = rungs
    row = Row(*key, Verdict.SAME, old_ms=_median(before), new_ms=_median(after))
    if words := _fewer_right(before, after):
        return replace(row, verdict=Verdict.WRONG, failed=True, why=words)
    if words := _lacks(before, floors[0], OLD) or _lacks(after, floors[1], NEW):
        return replace(row, verdict=Verdict.TOO_FEW, why=words)
    found = unpaired_ratio(after["rounds_p50_ms"], before["rounds_p50_ms"], seed=seed, level=LEVEL)
    floor = math.prod(max(floor or 1.0, 1.0) for floor in floors)
    row = replace(row, interval=found, floor=floor)
    if 1 / found.high > floor:
        return replace(row, verdict=Verdict.FASTER)
    if found.low <= floor:
        return row
    failed = found.low > 1 + tolerance
    why = "" if failed else f"not surely more than the tolerance of {tolerance:.0%}"
    return replace(row, verdict=Verdict.SLOWER, failed=failed, why=why)


def _fewer_right(before: _Rung, after: _Rung) -> str:
    """Words when the new share of right answers is lower and both intervals lie apart; empty otherwise."""
    if not before["asked"] or not after["asked"]:
        return ""
    old, new = (wilson_interval(rung["right"], rung["asked"]) for rung in (before, after))
    return f"{old.value:.2%} right before and {new.value:.2%} now" if new.high < old.low else ""


def _lacks(rung: _Rung, floor: float | None, which: str) -> str:
    """What `which` run has too little of to be compared; empty when nothing."""
    medians = rung.get("rounds_p50_ms", [])
    if len(medians) < MIN_ROUNDS:
        return f"{len(medians)} rounds in {which}, {MIN_ROUNDS} are needed"
    if rung["right"] < len(medians) * SAMPLES_A_ROUND:
        return (
            f"{rung['right']} right answers in {len(medians)} rounds of {which}, {SAMPLES_A_ROUND} a round are needed"
        )
    if None in medians:
        return f"a round without a right answer in {which}"
    return "" if floor is not None else f"no noise floor in {which}"


def _median(rung: _Rung) -> float | None:
    medians = [median for median in rung.get("rounds_p50_ms", []) if median is not None]
    return statistics.median(medians) if medians else None


def _rungs(bench: BenchFile, which: str) -> dict[tuple[str, str], _Rung]:
    """By artifact and rung. Raises `InputError` where two artifacts share a name: which is meant?"""
    names = Counter(str(entry["name"]) for entry in bench.artifacts)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(f"{which} has several artifacts named {', '.join(twice)}; give each a name of its own")
    return {(entry["name"], rung): found for entry in bench.artifacts for rung, found in entry.get("rungs", {}).items()}


def _names(bench: BenchFile) -> str:
    named = (f"{entry['name']} ({', '.join(entry.get('rungs', {})) or 'no rung'})" for entry in bench.artifacts)
    return ", ".join(named) or "no artifact"


def _busy(which: str, bench: BenchFile) -> list[str]:
    """What the conditions of a run say against it."""
    load, steal = bench.conditions.get("load_average"), bench.conditions.get("steal_share")
    processors, notes = bench.machine.get("cores") or 1, []
    if load is not None and load > MOST_LOAD * processors:
        notes.append(f"{which} was measured at a load of {load:.1f} on {processors} processors")
    if steal is not None and steal > MOST_STEAL:
        notes.append(f"the hypervisor took {steal:.1%} of the time of {which}")
    return notes
