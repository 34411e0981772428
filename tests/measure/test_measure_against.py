"""The gate on runs that were really measured, again and again, and on every way that two files fail to compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import GateError, InputError, RecipeError
from toolkit.measure.against import TOLERANCE, compare_bench, require_comparable
from toolkit.measure.against_rows import Comparison, Row, Verdict
from toolkit.measure.bench_file import BenchFile

RECORDED = json.loads(Path(__file__).with_name("bench_repeats.json").read_text())
STEADY = (1.0, 1.004, 0.996, 1.002, 0.998)
SETTINGS = {"data": "trec", "threads": 1, "pinned": {"server": 0, "generator": 1}}


def rung(rounds: Sequence[float | None] = STEADY, *, asked: int = 2000, right: int | None = None) -> dict[str, Any]:
    return {"asked": asked, "right": asked if right is None else right, "rounds_p50_ms": list(rounds)}


def bench(artifacts: Mapping[str, Mapping[str, Any]], *, floor: float | None = 1.01, **changed: Any) -> BenchFile:
    """A file of artifacts by name, each with its rungs."""
    entries = [{"name": name, "digest": "0" * 64, "rungs": dict(rungs)} for name, rungs in artifacts.items()]
    rungs = {name for entry in entries for name in entry["rungs"]}
    floors = {} if floor is None else dict.fromkeys(rungs, floor)
    conditions = {"load_average": 0.1, "steal_share": 0.0}
    made = BenchFile.of(entries, settings=SETTINGS, conditions=conditions, noise_floor=floors)
    return replace(made, machine={**made.machine, "cores": 2}, **changed)


def times(factor: float, rounds: Sequence[float] = STEADY) -> list[float]:
    return [factor * time for time in rounds]


def only(comparison: Comparison) -> Row:
    (row,) = comparison.rows
    return row


def against(new: Mapping[str, Any], old: Mapping[str, Any] | None = None, **options: Any) -> Comparison:
    return compare_bench(bench({"best": {"runner": old or rung()}}), bench({"best": {"runner": new}}), **options)


# on real runs


def recorded(what: str, *, slowed: bool) -> list[BenchFile]:
    """Runs of the same build, or of one that takes 20 % longer, in the order measured (see record_repeats.py)."""
    return [
        BenchFile(
            artifacts=({"name": what, "digest": "0" * 64, "rungs": run["rungs"]},),
            machine=RECORDED["machine"], settings=SETTINGS, conditions=run["conditions"],
            date=RECORDED["date"], noise_floor=run["noise_floor"],
        )
        for run in RECORDED[what] if run["slowed"] == slowed
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["server", "model"])
def test_the_same_build_measured_twice_alarms_in_none_of_twenty(what: str) -> None:
    same = recorded(what, slowed=False)
    pairs = list(zip(same[::2], same[1::2], strict=True))
    assert len(pairs) == 20
    alarms = [found.words for old, new in pairs if not (found := compare_bench(old, new)).passed]
    assert alarms == []


@pytest.mark.parametrize("what", ["server", "model"])
def test_the_same_build_seldom_alarms_however_the_runs_are_paired(what: str) -> None:
    same = recorded(what, slowed=False)
    near = [pair for first in range(len(same)) for pair in permutations(same[first : first + 3], 2)]
    alarms = sum(not compare_bench(*pair).passed for pair in near)
    assert len(near) > 200
    assert alarms <= len(near) / 50


def test_a_build_that_takes_a_fifth_longer_alarms_wherever_the_noise_is_below_the_tolerance() -> None:
    quiet = [
        [run for run in recorded("server", slowed=slowed) if run.noise_floor["http"] < 1 + TOLERANCE]
        for slowed in (False, True)
    ]
    pairs = list(product(*quiet))
    assert len(pairs) >= 100
    for old, new in pairs:
        found = compare_bench(old, new)
        assert not found.passed
        assert only(found).verdict is Verdict.SLOWER


def test_where_the_noise_is_larger_than_the_fifth_it_is_not_called_the_same_speed() -> None:
    """The model was timed at a load of ten: the gate may not see the fifth, and never sees its opposite."""
    for old, new in zip(recorded("model", slowed=False), recorded("model", slowed=True), strict=False):
        for row in compare_bench(old, new).rows:
            assert row.verdict is not Verdict.FASTER
            assert row.floor is not None
            assert row.interval is not None
            if row.verdict is Verdict.SAME:  # "no difference that can be told": noise of a fifth and more hid it
                assert max(row.floor, row.interval.high / row.interval.low) > 1.2


# on made ones


def test_a_slower_build_fails_and_says_by_how_much() -> None:
    found = against(rung(times(1.2)))
    row = only(found)
    assert not found.passed
    assert (row.verdict, row.failed) == (Verdict.SLOWER, True)
    assert row.interval is not None
    assert row.interval.ratio == pytest.approx(1.2)
    assert row.floor == pytest.approx(1.01**2)
    assert found.words == "failed: 1 of 1 rows: best, runner: 1.20 times the old time, at least 1.19"


def test_slower_within_the_tolerance_is_said_and_passes() -> None:
    found = against(rung(times(1.04)))
    assert (only(found).verdict, found.passed) == (Verdict.SLOWER, True)
    assert only(found).why == "not surely more than the tolerance of 5%"
    assert not against(rung(times(1.04)), tolerance=0.01).passed
    assert against(rung(times(1.2)), tolerance=0.25).passed


def test_a_wide_noise_floor_hides_what_it_must() -> None:
    old, new = bench({"best": {"runner": rung()}}, floor=1.1), bench({"best": {"runner": rung(times(1.15))}}, floor=1.1)
    assert only(compare_bench(old, new)).verdict is Verdict.SAME  # 1.15 is within 1.1 times 1.1
    quiet = replace(old, noise_floor={"runner": 1.0}), replace(new, noise_floor={"runner": 1.0})
    assert only(compare_bench(*quiet)).verdict is Verdict.SLOWER


def test_faster_and_the_same_pass() -> None:
    assert only(against(rung(times(0.8)))).verdict is Verdict.FASTER
    assert only(against(rung(times(1.005)))).verdict is Verdict.SAME
    assert against(rung(times(0.8))).passed
    assert against(rung()).words == "passed: 1 no difference that can be told"


def test_a_pass_says_what_it_could_not_have_seen() -> None:
    noisy = rung([1.0, 1.5, 0.8, 1.2, 1.0])
    found = compare_bench(
        bench({"best": {"runner": rung(), "http": noisy}}, floor=1.4),
        bench({"best": {"runner": rung(), "http": noisy}}, floor=1.4),
    )
    assert found.passed
    high = max(row.interval.high for row in found.rows if row.interval)
    assert 1.2 < high < 1.9
    assert found.words == (
        f"passed: 2 no difference that can be told; up to {high:.2f} times the old time is not excluded (best, http): "
        "the noise is too wide"
    )


@settings(max_examples=40)
@given(st.floats(0.2, 5), st.floats(1, 1.3), st.floats(0, 0.5))
def test_what_fails_is_beyond_both_floor_and_tolerance(factor: float, floor: float, tolerance: float) -> None:
    old = bench({"best": {"runner": rung()}}, floor=floor)
    new = bench({"best": {"runner": rung(times(factor))}}, floor=floor)
    row = only(compare_bench(old, new, tolerance=tolerance))
    assert row.interval is not None
    assert row.interval.low <= factor <= row.interval.high
    bound = max(floor**2, 1 + tolerance)
    assert row.failed == (row.interval.low > bound)
    back = only(compare_bench(new, old, tolerance=tolerance))
    # five rounds: the ends are rounds themselves, so turned over it is the same interval
    assert (back.verdict is Verdict.FASTER) == (row.verdict is Verdict.SLOWER)


def test_fewer_right_answers_fail_however_fast() -> None:
    found = against(rung(times(0.5), right=1900))
    assert (only(found).verdict, found.passed) == (Verdict.WRONG, False)
    assert found.words == (
        "failed: 1 of 1 rows: best, runner: fewer right answers (100.00% right before and 95.00% now)"
    )
    assert only(against(rung([None] * 5, right=0))).verdict is Verdict.WRONG
    assert against(rung(right=1999)).passed  # one in two thousand may be chance
    assert against(rung(right=1000), rung(right=1000)).passed  # as wrong as it was is no news


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (rung(STEADY[:4]), "4 rounds in this run, 5 are needed"),
        (rung([], asked=0), "0 rounds in this run, 5 are needed"),
        (rung(asked=99), "99 right answers in 5 rounds of this run, 20 a round are needed"),
        (rung([1.0, None, 1.0, 1.0, 1.0]), "a round without a right answer in this run"),
        ({"asked": 100, "right": 100}, "0 rounds in this run, 5 are needed"),
    ],
)
def test_too_little_decides_nothing_and_does_not_pass(new: Mapping[str, Any], why: str) -> None:
    found = against(new)
    assert (only(found).verdict, only(found).why) == (Verdict.TOO_FEW, why)
    assert not found.passed
    assert found.words == f"failed: none of 1 rows could be decided: {why}"
    back = against(rung(), new)
    assert only(back).why == why.replace("this run", "the old run")


def test_without_a_noise_floor_nothing_is_claimed() -> None:
    old, new = bench({"best": {"runner": rung()}}), bench({"best": {"runner": rung(times(2))}}, floor=None)
    assert only(compare_bench(old, new)).why == "no noise floor in this run"


def test_a_row_that_is_undecided_does_not_hide_one_that_is_not() -> None:
    old = bench({"best": {"runner": rung(), "http": rung(STEADY[:2])}, "gone": {"runner": rung()}})
    new = bench({"best": {"runner": rung(), "predictor": rung(), "http": rung()}})
    found = compare_bench(old, new)
    assert [(row.artifact, row.rung, row.verdict, row.why) for row in found.rows] == [
        ("best", "runner", Verdict.SAME, ""),
        ("best", "predictor", Verdict.NOT_IN_BOTH, "only in this run"),
        ("best", "http", Verdict.TOO_FEW, "2 rounds in the old run, 5 are needed"),
        ("gone", "runner", Verdict.NOT_IN_BOTH, "only in the old run"),
    ]
    assert found.passed
    slower = bench({"best": {"runner": rung(times(1.5)), "predictor": rung(), "http": rung()}})
    assert not compare_bench(old, slower).passed


def test_cells_and_json_are_whole_and_plain() -> None:
    found = compare_bench(
        bench({"a": {"runner": rung()}}), bench({"a": {"runner": rung(times(1.2))}, "b": {"http": rung()}})
    )
    assert found.rows[0].cells == (
        "a", "runner", "1.000", "1.200", "1.200 (1.193–1.207)", "1.020", "slower beyond the noise (failed)",
    )  # fmt: skip
    assert found.rows[1].cells == ("b", "http", "–", "–", "–", "–", "not in both: only in this run")
    assert {len(row.cells) for row in found.rows} == {len(found.headings)}
    value = found.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["passed"] is False
    assert value["rows"][1] == {
        "artifact": "b", "rung": "http", "verdict": "not in both", "failed": False, "why": "only in this run",
    }  # fmt: skip
    assert None not in value["rows"][0].values()


# what cannot be compared


def test_a_void_run_decides_nothing() -> None:
    whole = bench({"best": {"runner": rung()}})
    void = replace(whole, void=("the server died",))
    with pytest.raises(InputError, match=r"the old run is void \(the server died\).*measure it again"):
        compare_bench(void, whole)
    with pytest.raises(GateError, match="this run is void"):
        compare_bench(whole, void)


def test_mixed_machines_are_refused_unless_asked_and_then_noted() -> None:
    here = bench({"best": {"runner": rung()}})
    there = replace(here, machine={**here.machine, "processor": "Abacus 2"})
    with pytest.raises(InputError, match="--across-machines"):
        compare_bench(there, here)
    assert any("Abacus 2" in note for note in compare_bench(there, here, across=True).notes)


def test_other_work_is_no_other_build() -> None:
    here = bench({"best": {"runner": rung()}})
    for key, value in (("threads", 2), ("data", "reviews.csv")):
        other = replace(here, settings={**SETTINGS, key: value})
        for across in (False, True):
            with pytest.raises(InputError, match=f"{key} {value} and this run with"):
                compare_bench(other, here, across=across)
    unpinned = replace(here, settings={**SETTINGS, "pinned": {"server": None, "generator": None}})
    with pytest.raises(InputError, match="measured with pinned"):
        compare_bench(unpinned, here)
    assert any(note.startswith("pinned") for note in compare_bench(unpinned, here, across=True).notes)


def test_it_can_be_known_before_anything_is_measured() -> None:
    old = bench({"best": {"runner": rung()}})
    assert require_comparable(old, bench({})) == ()
    with pytest.raises(InputError, match="threads"):
        require_comparable(old, replace(bench({}), settings={**SETTINGS, "threads": 2}))


def test_nothing_in_common_is_refused_with_the_names() -> None:
    old, new = bench({"best": {"runner": rung()}}), bench({"best-2": {"runner": rung()}})
    with pytest.raises(InputError, match=r"best \(runner\) and this run best-2 \(runner\): nothing in common"):
        compare_bench(old, new)
    with pytest.raises(InputError, match="no artifact"):
        compare_bench(old, bench({}))


def test_two_artifacts_of_one_name_are_refused() -> None:
    new = bench({"best": {"runner": rung()}})
    twice = replace(new, artifacts=new.artifacts * 2)
    with pytest.raises(InputError, match="this run has several artifacts named best"):
        compare_bench(new, twice)


@pytest.mark.parametrize("tolerance", [-0.01, float("nan"), float("inf")])
def test_a_tolerance_is_a_share(tolerance: float) -> None:
    with pytest.raises(RecipeError, match=r"0\.05 for 5 %"):
        against(rung(), tolerance=tolerance)


def test_a_busy_machine_is_noted() -> None:
    quiet = bench({"best": {"runner": rung()}})
    busy = replace(quiet, conditions={"load_average": 3.2, "steal_share": 0.05})
    assert compare_bench(quiet, busy).notes == (
        "this run was measured at a load of 3.2 on 2 processors",
        "the hypervisor took 5.0% of the time of this run",
    )
    assert compare_bench(quiet, quiet).notes == ()
    assert compare_bench(quiet, replace(quiet, conditions={})).notes == ()
