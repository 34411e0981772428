"""Caches as the system tells them, and a copy that is really made."""

from __future__ import annotations

from pathlib import Path

from toolkit.measure.memory import measure_bandwidth, read_caches


def test_caches_that_hold_data_are_read_by_level(tmp_path: Path) -> None:
    rows = {"index0": ("1", "Data", "32K"), "index1": ("1", "Instruction", "64K"), "index2": ("2", "Unified", "2M")}
    for name, cells in rows.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, word in zip(("level", "type", "size"), cells, strict=True):
            (folder / file).write_text(word + "\n")
    (tmp_path / "index3").mkdir()  # a level that says nothing
    assert read_caches(tmp_path) == {1: 32 << 10, 2: 2 << 20}
    assert read_caches(tmp_path / "nowhere") == {}


def test_a_copy_is_faster_than_a_disk_and_slower_than_light() -> None:
    assert 1e8 < measure_bandwidth(1 << 20) < 1e13
    assert measure_bandwidth(0) > 0
