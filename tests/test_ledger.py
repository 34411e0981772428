"""A benchmark that broke goes on where it was; another key, a torn line and a refused result start that part anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ledger import Ledger


class Measuring:
    """Counts how often it was asked; each time it finds one more."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, int]:
        self.times += 1
        return {"found": self.times}


def test_what_was_measured_is_taken_by_the_next_run(tmp_path: Path) -> None:
    measure = Measuring()
    first = Ledger(tmp_path / "a" / "ledger.jsonl", "key")
    assert first.take("text", measure) == first.take("text", measure) == {"found": 1}
    again = Ledger(tmp_path / "a" / "ledger.jsonl", "key")
    assert (again.resumed, again.take("text", measure), measure.times) == (1, {"found": 1}, 1)
    assert again.take("image", measure) == {"found": 2}


def test_another_key_starts_anew(tmp_path: Path) -> None:
    measure = Measuring()
    Ledger(tmp_path / "ledger.jsonl", "key").take("text", measure)
    other = Ledger(tmp_path / "ledger.jsonl", "another")
    assert (other.resumed, other.take("text", measure)) == (0, {"found": 2})
    assert Ledger(tmp_path / "ledger.jsonl", "key").resumed == 0, "what another run left is gone"


def test_a_line_torn_by_a_kill_loses_only_itself(tmp_path: Path) -> None:
    measure, path = Measuring(), tmp_path / "ledger.jsonl"
    whole = Ledger(path, "key")
    whole.take("text", measure), whole.take("image", measure)
    path.write_text(path.read_text()[:-9])
    again = Ledger(path, "key")
    assert (again.resumed, again.take("text", measure), again.take("image", measure)) == (1, {"found": 1}, {"found": 3})
    assert Ledger(path, "key").resumed == 2


def test_what_is_refused_is_returned_and_measured_again_next_time(tmp_path: Path) -> None:
    measure, path = Measuring(), tmp_path / "ledger.jsonl"
    assert Ledger(path, "key").take("text", measure, keep=lambda found: found["found"] > 1) == {"found": 1}
    assert Ledger(path, "key").take("text", measure, keep=lambda found: found["found"] > 1) == {"found": 2}
    assert Ledger(path, "key").resumed == 1


def test_a_measurement_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("the server died")

    with pytest.raises(RuntimeError, match="died"):
        Ledger(tmp_path / "ledger.jsonl", "key").take("text", fail)
    assert Ledger(tmp_path / "ledger.jsonl", "key").resumed == 0
