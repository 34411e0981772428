"""Finished stages are kept, changed ones are made again, damaged ones too, and a crash leaves nothing half-made."""

from __future__ import annotations

from pathlib import Path

import digits_models
import pytest

from toolkit.stages import Stages


class Making:
    """Writes a real artifact, and counts how often it was asked to."""

    def __init__(self, training_rows: int = digits_models.TRAIN_ROWS) -> None:
        self.training_rows, self.times = training_rows, 0

    def __call__(self, partial: Path) -> None:
        self.times += 1
        digits_models.make_artifact(partial, training_rows=self.training_rows)


def test_a_finished_stage_is_kept(tmp_path: Path) -> None:
    make = Making()
    first = Stages(tmp_path).keep("digits", {"rows": 1}, make)
    again = Stages(tmp_path).keep("digits", {"rows": 1}, make)
    assert make.times == 1
    assert again.digest == first.digest


def test_another_setting_makes_it_again(tmp_path: Path) -> None:
    first = Stages(tmp_path).keep("digits", {"rows": 1}, Making())
    make = Making(training_rows=60)
    again = Stages(tmp_path).keep("digits", {"rows": 2}, make)
    assert make.times == 1
    assert again.digest != first.digest


def test_a_damaged_stage_is_made_again(tmp_path: Path) -> None:
    make = Making()
    first = Stages(tmp_path).keep("digits", {}, make)
    (first.folder / "model.onnx").unlink()
    again = Stages(tmp_path).keep("digits", {}, make)
    assert make.times == 2
    again.verify()


def test_a_stage_that_fails_leaves_no_folder_and_can_be_repeated(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        (partial / "half").write_text("half of it")
        raise RuntimeError("out of power")

    with pytest.raises(RuntimeError, match="out of power"):
        Stages(tmp_path).keep("digits", {}, fail)
    assert not (tmp_path / "digits").exists()
    assert (tmp_path / "digits.partial" / "half").exists(), "work done stays for the next run"
    (tmp_path / "digits.partial" / "half").unlink()
    Stages(tmp_path).keep("digits", {}, Making()).verify()


def test_progress_says_what_was_kept_and_seconds_what_it_took(tmp_path: Path) -> None:
    Stages(tmp_path).keep("digits", {}, Making())
    heard: list[tuple[object, ...]] = []
    stages = Stages(tmp_path, lambda *event: heard.append(event))
    stages.keep("digits", {}, Making())
    assert heard == [("digits", 1, 1, "kept from an earlier run")]
    assert stages.seconds == {"digits": 0.0}
