"""Outputs appear whole or not at all; the same work resumes, other work is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import InputError
from toolkit.staging import staged, write_atomically


class CrashError(Exception):
    """What stands in for a killed process here."""


def crash(folder: Path, key: str) -> None:
    with pytest.raises(CrashError), staged(folder, key=key) as partial:  # noqa: PT012  # the crash comes last
        (partial / "half").write_text("done so far")
        raise CrashError


def test_a_clean_exit_moves_everything_in_at_once(tmp_path: Path) -> None:
    with staged(tmp_path / "out", key="k") as partial:
        (partial / "file").write_text("content")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


def test_an_error_leaves_no_output_and_the_same_work_goes_on(tmp_path: Path) -> None:
    crash(tmp_path / "out", "k")
    assert not (tmp_path / "out").exists()
    with staged(tmp_path / "out", key="k") as partial:
        assert (partial / "half").read_text() == "done so far"
    assert (tmp_path / "out/half").exists()


def test_other_work_is_refused_and_the_unfinished_stays(tmp_path: Path) -> None:
    crash(tmp_path / "out", "k")
    with pytest.raises(InputError, match="unfinished work of another recipe"), staged(tmp_path / "out", key="other"):
        pass
    assert (tmp_path / "out.partial/half").exists()


def test_force_starts_other_work_from_nothing(tmp_path: Path) -> None:
    crash(tmp_path / "out", "k")
    with staged(tmp_path / "out", key="other", force=True) as partial:
        assert not (partial / "half").exists()
        (partial / "new").write_text("")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").write_text("mine")
    with pytest.raises(InputError, match="exists already; choose another -o, or add --force"):  # noqa: SIM117
        with staged(tmp_path / "out", key="k"):
            pass
    assert (tmp_path / "out/precious").read_text() == "mine"
    assert not (tmp_path / "out.partial").exists()


def test_force_replaces_only_when_the_new_is_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    with pytest.raises(CrashError), staged(tmp_path / "out", key="k", force=True):
        raise CrashError
    assert (tmp_path / "out/old").exists()
    with staged(tmp_path / "out", key="k", force=True) as partial:
        (partial / "new").write_text("new")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_below_folders_that_do_not_exist_yet(tmp_path: Path) -> None:
    with staged(tmp_path / "runs/deep/out", key="k") as partial:
        (partial / "file").write_text("")
    assert (tmp_path / "runs/deep/out/file").exists()


def test_a_file_is_replaced_in_one_move(tmp_path: Path) -> None:
    write_atomically(tmp_path / "deep/file", b"first")
    write_atomically(tmp_path / "deep/file", b"second")
    assert (tmp_path / "deep/file").read_bytes() == b"second"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]
