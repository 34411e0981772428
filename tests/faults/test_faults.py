"""The fault table: its verdicts, its measuring, and the rows that take seconds, over real servers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from serving.small_models import text_artifact

from benchmarks.faults import neighbours, soak, wire
from benchmarks.faults.__main__ import check_same, keep, main
from benchmarks.faults.row import (
    BROKEN,
    HELD,
    MISSED,
    NOT_BUILT,
    NOT_HERE,
    PLAIN,
    Counts,
    NotHereError,
    Outcome,
    Row,
    Subject,
    misses,
    run_row,
    sabotaged,
)  # fmt: skip
from benchmarks.faults.rows import ROWS
from benchmarks.faults.sabotage import SWITCHES
from benchmarks.faults.stand import Stand, is_ready
from benchmarks.faults.traffic import recovery_seconds, right_of
from benchmarks.faults.victims import Family, watching_memory, watching_runs
from toolkit.errors import InputError
from toolkit.machine import describe_machine
from toolkit.measure.load_samples import Samples

LIMITS = {"TOOLKIT_HEADER_SECONDS": f"{wire.QUICK_LIMIT}", "TOOLKIT_BODY_SECONDS": f"{wire.QUICK_LIMIT}"}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One server of ours and one plain BentoML for all the rows."""
    place = tmp_path_factory.mktemp("faults")
    text_artifact(place / "artifact")
    stand = Stand(place / "artifact", place / "stand", quick=True)
    with contextlib.ExitStack() as stack:
        for subject in (Subject("ours", settings=LIMITS), PLAIN):
            stand.kept.append(stack.enter_context(stand.serve(subject)))
        yield stand


BESIDE_PLAIN = [*neighbours.ROWS, *(row for row in wire.ROWS if row.control == PLAIN)]


@pytest.mark.parametrize("row", BESIDE_PLAIN, ids=lambda row: row.name)
def test_ours_holds_where_plain_bentoml_does_not(stand: Stand, row: Row) -> None:
    outcome = run_row(row, stand)
    assert outcome.verdict == HELD, (outcome.missed, outcome.words, outcome.control_missed)
    assert outcome.control_missed
    ours = next(running for running in stand.kept if running.subject.kind == "ours")
    assert right_of(ours.port, stand.requests(ours)[0], 5) == 5


def test_a_row_starts_servers_of_its_own_and_leaves_none(stand: Stand) -> None:
    seen: list[psutil.Process] = []
    with stand.serve(sabotaged("leaks")) as running:
        seen += running.family.all()
        assert right_of(running.port, stand.requests(running)[0], 3) == 3
        home = running.home
        assert home.is_dir()
    assert seen
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in seen)
    assert not home.exists()
    assert is_ready(running.port) == 0


def verdict(ours: list[str], control: list[str], error: Exception | None = None) -> tuple[str, str]:
    """Of a row whose check misses just that."""

    def act(stand: Stand, subject: Subject) -> Counts:
        if error is not None:
            raise error
        return {"missed": ours if subject.kind == "ours" else control}

    row = Row("a row", "", "", act, lambda counts: list(counts["missed"]), PLAIN)
    outcome = run_row(row, None)  # type: ignore[arg-type]  # this row starts no server
    assert outcome.to_json()["control"]["missed"] == ([] if error else control)
    return outcome.verdict, outcome.words


def test_a_row_counts_only_if_its_control_fails() -> None:
    assert verdict([], ["late"]) == (HELD, "")
    assert verdict(["late"], ["late"]) == (MISSED, "")
    assert verdict([], []) == (NOT_BUILT, "")
    assert verdict(["late"], []) == (NOT_BUILT, "")
    assert verdict([], [], NotHereError("no tmpfs")) == (NOT_HERE, "no tmpfs")
    assert verdict([], [], ValueError("a\nb")) == (BROKEN, "ValueError: a b")


def test_a_soak_that_does_not_catch_the_leak_is_not_built() -> None:
    row = next(row for row in ROWS if row.name == "soak")
    row = replace(row, act=lambda stand, subject: {"kind": subject.kind}, judge=lambda counts: ["p99 rose"])
    assert run_row(row, None).verdict == NOT_BUILT  # type: ignore[arg-type]  # this row starts no server
    row = replace(row, judge=lambda counts: ["memory grew by 9 MB"] if counts["kind"] != "ours" else [])
    assert run_row(row, None).verdict == HELD  # type: ignore[arg-type]


def test_misses_names_what_does_not_hold() -> None:
    assert misses((True, "a"), (False, "b"), (False, "c")) == ["b", "c"]


def test_help_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(row.name in shown for row in ROWS)


def test_rows_have_names_of_their_own_and_controls_that_exist() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {switch for row in ROWS for switch in row.control.switches} <= set(SWITCHES)
    assert all(row.control.kind == "plain" or row.control.switches for row in ROWS)


def samples(right: list[bool], *, every: float = 0.1, ms: float = 1.0) -> Samples:
    """One request every tenth of a second."""
    at = np.arange(len(right)) * every
    none, ok = np.zeros(len(right), dtype=bool), np.array(right)
    return Samples(
        scheduled=at, noticed=at, started=at, finished=at + ms / 1e3, status=np.where(ok, 200, 503), right=ok,
        retry_after=none, request=np.zeros(len(right), dtype=int), errors={}, start=0.0, seconds=len(right) * every,
    )  # fmt: skip


def test_recovery_is_the_first_moment_that_stays_normal() -> None:
    assert recovery_seconds(samples([True] * 50), 1.0, limit_ms=100) == 0.0
    assert recovery_seconds(samples([True] * 10 + [False] * 13 + [True] * 27), 1.0, limit_ms=100) == 1.5
    assert recovery_seconds(samples([True] * 10 + [False] * 40), 1.0, limit_ms=100) is None
    assert recovery_seconds(samples([True] * 50, ms=200), 1.0, limit_ms=100) is None


def test_a_soak_must_stay_flat() -> None:
    flat = {"rss_mb": 1.0, "threads": 0.0, "descriptors": 0.0}
    counts = {"p99_rise": 1.1, "growth": flat, "allowed_growth_mb": 8.0, "asked": 10, "right": 10}
    assert soak.judge_soak(counts) == []
    assert soak.judge_soak({**counts, "growth": {**flat, "rss_mb": 9.0}}) == ["memory grew by 9.0 MB"]
    assert soak.judge_soak({**counts, "growth": {**flat, "threads": 3.0}}) == ["threads grew by 3.0"]
    assert soak.judge_soak({**counts, "p99_rise": 1.3}) == ["p99 of the last third 1.3 times the first"]
    assert soak.judge_soak({**counts, "right": 9}) == ["1 of 10 requests failed"]


PROGRAM = """
import hashlib, sys, threading
content, over = b"0" * (1 << 25), threading.Event()
done = threading.Barrier(int(sys.argv[1]) + 1)
def work():
    for _ in range(24):
        hashlib.sha256(content)
    done.wait()
    over.wait()
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    threading.Thread(target=work, daemon=True).start()
done.wait()
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_runs_at_once_are_seen_from_outside(threads: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with watching_runs(process.pid) as runs:
                process.stdin.write(b"\n")
                process.stdin.flush()
                assert process.stdout.readline() == b"done\n"
        finally:
            process.kill()
    assert runs == {"most_at_once": threads, "threads_that_ran": threads}


def test_memory_is_watched_while_it_is_used() -> None:
    program = "import time; print(flush=True); input(); held = b'1' * (1 << 26); time.sleep(0.3); print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"\n"
            with watching_memory(Family(process.pid)) as memory:
                process.stdin.write(b"\n")
                process.stdin.flush()
                assert process.stdout.readline() == b"\n"
        finally:
            process.kill()
    assert 60 <= memory["growth_mb"] <= 80


def test_a_row_that_was_measured_again_takes_its_place_and_says_when(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    machine = describe_machine()
    rows = [{"row": row.name, "verdict": MISSED, "missed": ["it fell short"]} for row in ROWS[:3]]
    before = {"artifact": {"digest": "d"}, "machine": machine.to_json(), "rows": rows, "seconds": 9.0}
    path.write_text(json.dumps(before))
    again = Outcome(ROWS[1], HELD, 1.0, {"killed": 1}, [], {}, ["as it must"])
    check_same(path, "d")
    keep([again], path)
    after = json.loads(path.read_text())
    assert [row["row"] for row in after["rows"]] == [row.name for row in ROWS[:3]]
    assert [row["verdict"] for row in after["rows"]] == [MISSED, HELD, MISSED]
    assert ["measured" in row for row in after["rows"]] == [False, True, False]
    assert {key: after[key] for key in ("artifact", "machine", "seconds")} == {
        key: before[key] for key in ("artifact", "machine", "seconds")
    }
    with pytest.raises(InputError, match="another model or processor"):
        check_same(path, "another")
    with pytest.raises(SystemExit):
        main(["--keep"])
