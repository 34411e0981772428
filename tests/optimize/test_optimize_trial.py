"""Trials are lines of a file that survives a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from search_samples import cost, trial

from toolkit.errors import ArtifactError
from toolkit.optimize.plan import Plan
from toolkit.optimize.trial import FAILED, REJECTED, TRIALS, Trial, append_trial, read_trials

TRIED = [
    trial(0, Plan.of("quantize"), 0.95, 3.0),
    Trial(1, Plan.of("prune", keep=0.5), REJECTED, "not trained: 9.0 MB, 1.0 MB too large", shape=cost(2.0)),
    Trial(2, Plan.of("mlp"), FAILED, "the loss is nan"),
]


def write(folder: Path) -> Path:
    for one in TRIED:
        append_trial(folder, one)
    return folder / TRIALS


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path)
    assert read_trials(tmp_path) == TRIED


def test_a_folder_without_trials_has_none(tmp_path: Path) -> None:
    assert read_trials(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_line_cut_short_by_a_kill_is_taken_off_and_the_rest_goes_on(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_trials(tmp_path) == TRIED[: len(read_trials(tmp_path))]
    assert len(read_trials(tmp_path)) == 2
    append_trial(tmp_path, TRIED[2])
    assert read_trials(tmp_path) == TRIED


@pytest.mark.parametrize("line", [b"{}", b"no json", b'{"number": 0, "state": "dreamt"}', b"\xff\xfe"])
def test_damage_in_the_middle_is_one_clear_line(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path)
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(line + b"\n" + rest)
    with pytest.raises(ArtifactError, match=r"line 1 of .*trials\.jsonl cannot be read") as error:
        read_trials(tmp_path)
    assert "\n" not in str(error.value)
    assert first
