"""What is refused as a checkpoint, and what a finished run leaves beside one."""

from __future__ import annotations

import csv
import os
import pickle
from pathlib import Path

import pytest
import torch
from trec_cases import digest_of_weights, fit_rows

from toolkit.artifact import CORE
from toolkit.errors import InputError
from toolkit.train.checkpoint import CHECKPOINT, read_checkpoint
from toolkit.train.logbook import CSV, EVENTS


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = fit_rows(16, folder=tmp_path)
    steps: list[int] = []
    again = fit_rows(16, folder=tmp_path, progress=lambda stage, done, total, words="": steps.append(done))
    assert steps == []
    assert digest_of_weights(again.net) == digest_of_weights(first.net)
    assert again.log == first.log


def test_another_run_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    fit_rows(16, folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match="is of another run"):
        fit_rows(16, folder=tmp_path, settings={"seed": 1})
    with pytest.raises(InputError, match="is of another run"):
        fit_rows(32, folder=tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_how_often_checkpoints_are_written_does_not_make_another_run(tmp_path: Path) -> None:
    fit_rows(16, folder=tmp_path)
    assert fit_rows(16, folder=tmp_path, settings={"checkpoint_steps": 5}).epochs_run == 1


class _Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch " + os.environ["MARK"],)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    torch.save({"key": _Malicious()}, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="remove it to train from the beginning"):
        read_checkpoint(tmp_path, "key")
    (tmp_path / CHECKPOINT).write_bytes(pickle.dumps(_Malicious()))
    with pytest.raises(InputError, match="remove it to train from the beginning"):
        read_checkpoint(tmp_path, "key")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04half"])
def test_half_a_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(tmp_path, "key")


def test_no_checkpoint_inside_an_artifact(tmp_path: Path) -> None:
    (tmp_path / CORE).write_text("{}")
    with pytest.raises(InputError, match="is an artifact; checkpoints need a folder of their own"):
        fit_rows(16, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CORE]


def test_the_log_is_csv_and_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fitted = fit_rows(32, folder=tmp_path, settings={"epochs": 2})
    with (tmp_path / CSV).open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation_loss"]) for row in rows] == [row.validation_loss for row in fitted.log]
    events = EventAccumulator(str(tmp_path / EVENTS)).Reload()
    accuracies = [event.value for event in events.Scalars("epoch/validation_accuracy")]
    assert accuracies == pytest.approx([row.validation_accuracy for row in fitted.log])
    assert [event.step for event in events.Scalars("step/loss")] == [1, 2, 3, 4]
    assert fitted.log[0].loss == pytest.approx(sum(e.value for e in events.Scalars("step/loss")[:2]) / 2, rel=1e-5)
