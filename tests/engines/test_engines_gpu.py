"""What a machine says of its GPU, and in which words it says that there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from engines.keys import GPU

from toolkit.engines.gpu import check_driver, describe_gpu, read_clocks
from toolkit.errors import InputError

pynvml = pytest.importorskip("pynvml")


def has_gpu() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return bool(pynvml.nvmlDeviceGetCount())


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_driver_it_says_so_and_what_to_do() -> None:
    for ask in (describe_gpu, read_clocks):
        with pytest.raises(InputError, match=r"no NVIDIA driver answers here \(.+\); run this where nvidia-smi works"):
            ask()


def test_a_driver_too_old_is_named_with_what_is_needed() -> None:
    with pytest.raises(
        InputError, match=r"driver 550\.1 of NVIDIA H100.* takes CUDA 12\.4 at most; TensorRT 11 needs 13\.0"
    ):
        check_driver(replace(GPU, driver="550.1", cuda=(12, 4)))
    check_driver(GPU)
    check_driver(replace(GPU, cuda=(13, 1)))


@pytest.mark.skipif(not has_gpu(), reason="no NVIDIA GPU on this machine")
def test_a_gpu_is_described_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = describe_gpu()
    assert found.name
    assert found.memory_bytes > 1 << 30
    assert found.cuda >= (11, 0)
    assert read_clocks().sm_mhz > 0


@pytest.mark.skipif(not has_gpu(), reason="no NVIDIA GPU on this machine")
def test_only_visible_gpus_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES"):
        describe_gpu()
