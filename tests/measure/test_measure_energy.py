"""Joules from a folder laid out as the kernel lays out /sys/class/powercap, and from NVML's functions."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.errors import DataError
from toolkit.measure.energy import Energy, Meter
from toolkit.measure.energy_counters import visible_gpus

FULL = 262_143_328_850  # microjoules, as a Xeon of the Skylake family says


class Powercap:
    """Zones as folders under devices/virtual/powercap, and the links to them that class/powercap holds."""

    def __init__(self, root: Path) -> None:
        self._devices, self.links = root / "devices/virtual/powercap", root / "class/powercap"
        self.links.mkdir(parents=True)
        for control in ("intel-rapl", "intel-rapl-mmio"):
            (self._devices / control).mkdir(parents=True)
            (self._devices / control / "enabled").write_text("1\n")
            (self.links / control).symlink_to(self._devices / control)

    def add(self, zone: str, name: str, microjoules: int, full: int = FULL) -> None:
        control, *numbers = zone.split(":")
        parts = [":".join([control, *numbers[: i + 1]]) for i in range(len(numbers))]
        folder = self._devices / control / Path(*parts)
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{full}\n")
        (folder / "enabled").write_text("0\n")
        (self.links / zone).symlink_to(folder)
        self.set(zone, microjoules)

    def set(self, zone: str, microjoules: int) -> None:
        (self.links / zone / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    """Two packages with their memory, the cores of one, the platform, and the first package once more."""
    made = Powercap(tmp_path)
    made.add("intel-rapl:0", "package-0", 1_000_000)
    made.add("intel-rapl:0:0", "core", 500_000)
    made.add("intel-rapl:0:1", "dram", 200_000)
    made.add("intel-rapl:1", "package-1", FULL - 1_000_000)
    made.add("intel-rapl:1:0", "dram", 0)
    made.add("intel-rapl:10", "psys", 9_000_000)
    made.add("intel-rapl-mmio:0", "package-0", 1_000_000)
    return made


def test_packages_and_their_memory_are_added_and_nothing_twice(powercap: Powercap) -> None:
    meter = Meter.open(powercap.links)
    assert meter.names == ("package-0", "package-0 dram", "package-1", "package-1 dram")
    meter.start()
    for zone, microjoules in [
        ("intel-rapl:0", 4_000_000), ("intel-rapl:0:0", 2_000_000), ("intel-rapl:0:1", 700_000),
        ("intel-rapl:10", 90_000_000), ("intel-rapl-mmio:0", 4_000_000),
    ]:  # fmt: skip
        powercap.set(zone, microjoules)
    energy = meter.stop()
    assert energy is not None
    assert energy.joules_by == pytest.approx(
        {"package-0": 3.0, "package-0 dram": 0.5, "package-1": 0.0, "package-1 dram": 0.0}
    )
    assert energy.joules == pytest.approx(3.5)
    assert energy.seconds > 0
    assert meter.why_not == ""


def test_a_counter_that_was_full_goes_on_from_zero(powercap: Powercap) -> None:
    meter = Meter.open(powercap.links)
    meter.start()
    powercap.set("intel-rapl:1", 2_000_000)  # 1 J to the end, 2 J after it
    energy = meter.stop()
    assert energy is not None
    assert energy.joules_by["package-1"] == pytest.approx(3.0)


def test_readings_in_between_keep_count_of_every_turn(powercap: Powercap) -> None:
    powercap.add("intel-rapl:2", "package-2", 0, full=10_000_000)
    meter = Meter.open(powercap.links)
    meter.start()
    for microjoules in (6_000_000, 2_000_000, 8_000_000, 4_000_000):  # twice around in steps of 6 J
        powercap.set("intel-rapl:2", microjoules)
        meter.read()
    energy = meter.stop()
    assert energy is not None
    assert energy.joules_by["package-2"] == pytest.approx(24.0)


def test_a_second_start_begins_anew(powercap: Powercap) -> None:
    meter = Meter.open(powercap.links)
    meter.start()
    powercap.set("intel-rapl:0", 5_000_000)
    meter.start()
    powercap.set("intel-rapl:0", 6_000_000)
    energy = meter.stop()
    assert energy is not None
    assert energy.joules == pytest.approx(1.0)
    assert meter.stop() is None  # it was stopped


def test_zones_stand_in_the_order_of_their_numbers(powercap: Powercap) -> None:
    powercap.add("intel-rapl:11", "package-11", 0)
    powercap.add("intel-rapl:2", "package-2", 0)
    assert [name for name in Meter.open(powercap.links).names if "dram" not in name] == [
        "package-0", "package-1", "package-2", "package-11",
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["", "busy\n"])
def test_half_a_measurement_is_none(powercap: Powercap, content: str) -> None:
    meter = Meter.open(powercap.links)
    meter.start()
    (powercap.links / "intel-rapl:1/energy_uj").write_text(content)
    assert meter.stop() is None
    assert meter.why_not.startswith("package-1 could not be read throughout")
    powercap.set("intel-rapl:1", 1)
    meter.start()
    assert meter.stop() is not None  # what failed once may be whole the next time


def test_no_counter_is_none_and_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        meter = Meter.open(folder)
        assert meter.names == ()
        meter.start()
        meter.read()
        assert meter.stop() is None
        assert "no energy counter" in meter.why_not


def test_what_only_root_may_read_is_said() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        powercap = Powercap(Path(place))
        powercap.add("intel-rapl:0", "package-0", 1)
        (powercap.links / "intel-rapl:0/energy_uj").chmod(0)
        try:
            if user == 0:  # root reads everything: be nobody for a moment
                os.seteuid(65534)
            meter = Meter.open(powercap.links)
        finally:
            os.seteuid(user)
    assert meter.names == ()
    assert meter.why_not == "RAPL counts package-0 and only root may read it"
    meter.start()
    assert meter.stop() is None


class Nvml:
    """NVML as its Python module shows it: handles, millijoules, an error for what it does not count."""

    def __init__(self, millijoules: dict[int | str, int]) -> None:
        self.millijoules = millijoules

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(key=index)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> SimpleNamespace:
        return SimpleNamespace(key=uuid)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: SimpleNamespace) -> int:
        if handle.key not in self.millijoules:
            raise RuntimeError("Not Supported")
        return self.millijoules[handle.key]


def test_the_functions_of_nvml_are_those_of_the_package() -> None:
    module = pytest.importorskip("pynvml")
    for name in vars(Nvml):
        if name.startswith("nvml"):
            assert callable(getattr(module, name))


def test_gpus_are_counted_in_millijoules(tmp_path: Path) -> None:
    nvml = Nvml({1: 5_000, "GPU-8f6a": 0})
    meter = Meter.open(tmp_path, gpus=[1, "GPU-8f6a"], nvml=nvml)
    meter.start()
    nvml.millijoules |= {1: 7_500, "GPU-8f6a": 250}
    energy = meter.stop()
    assert energy is not None
    assert energy.joules_by == {"gpu 1": 2.5, "gpu GPU-8f6a": 0.25}
    meter.start()
    nvml.millijoules[1] = 10  # the driver was loaded again
    assert meter.stop() is None
    assert "gpu 1 could not be read throughout: it went back" in meter.why_not


def test_a_gpu_that_does_not_count_is_said_and_the_processor_still_counted(powercap: Powercap) -> None:
    meter = Meter.open(powercap.links, gpus=[0], nvml=Nvml({}))
    assert len(meter.names) == 4
    assert meter.why_not == "NVML, gpu 0: Not Supported"


def test_the_real_nvml_of_this_machine_counts_or_says_why_not(tmp_path: Path) -> None:
    meter = Meter.open(tmp_path, gpus=[0])
    meter.start()
    energy = meter.stop()
    assert (energy is None) == bool(meter.why_not)
    assert energy is None or energy.joules >= 0


@pytest.mark.parametrize(
    ("words", "gpus"),
    [(None, (0,)), ("", ()), ("-1", ()), ("2,3", (2,)), (" 1 ", (1,)), ("GPU-8f6a,1", ("GPU-8f6a",))],
)
def test_the_first_visible_gpu(words: str | None, gpus: tuple[int | str, ...]) -> None:
    assert visible_gpus({} if words is None else {"CUDA_VISIBLE_DEVICES": words}) == gpus


def test_joules_of_answers() -> None:
    energy = Energy({"package-0": 30.0, "package-0 dram": 10.0}, 4.0)
    assert energy.per_thousand(500) == 80.0
    value = energy.to_json(500)
    assert value == {
        "joules": 40.0, "seconds": 4.0, "watts": 10.0, "joules_by": {"package-0": 30.0, "package-0 dram": 10.0},
        "answers": 500, "joules_per_1000": 80.0,
    }  # fmt: skip
    assert json.loads(json.dumps(value)) == value
    assert "joules_per_1000" not in energy.to_json()
    with pytest.raises(DataError, match="0 answers have no energy"):
        energy.per_thousand(0)
