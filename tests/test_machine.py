"""Threads come from the cgroup, not from the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit import machine


@pytest.mark.parametrize(("text", "expected"), [("150000 100000", 1.5), ("max 100000", None), ("400000 100000", 4.0)])
def test_cgroup_version_2_quota(tmp_path: Path, text: str, expected: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert machine._cgroup_quota(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", None), ("250000", 2.5)])
def test_cgroup_version_1_quota(tmp_path: Path, quota: str, expected: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert machine._cgroup_quota(tmp_path) == expected


def test_no_cgroup_is_no_limit(tmp_path: Path) -> None:
    assert machine._cgroup_quota(tmp_path) is None


def test_a_limit_of_half_a_processor_still_gives_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cgroup_quota", lambda root: 0.5)
    assert machine.threads_allowed() == 1


def test_this_machine_is_described() -> None:
    found = machine.describe_machine()
    assert found.threads_allowed >= 1
    assert found.memory_bytes > 2**28
    assert found.packages["numpy"]
    assert set(found.to_json()) == {
        "processor", "cores", "threads_allowed", "memory_bytes", "flags", "system", "python", "packages"
    }  # fmt: skip
