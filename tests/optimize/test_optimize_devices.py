"""Where a search runs its candidates: refused before an hour of work where the device is not here."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from digits_models import held_out, make_artifact

from toolkit.cli import run
from toolkit.errors import InputError, RecipeError
from toolkit.optimize.devices import GPU_FORMS, check_device, open_on, provider_for
from toolkit.runners.fresh_engine import can_build

NO_GPU = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


def test_the_cpu_is_always_here_and_an_unknown_device_is_named() -> None:
    check_device("cpu")
    with pytest.raises(RecipeError, match="device is 'tpu'; allowed: cpu, cuda"):
        check_device("tpu")


@pytest.mark.skipif(not NO_GPU, reason="this ONNX Runtime has CUDA")
def test_without_a_gpu_cuda_is_refused_in_one_line_before_anything_is_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"no NVIDIA driver answers|extra \[gpu\]"):
        check_device("cuda")
    trained = str(tmp_path / "mlp")
    assert run(["train", "text", "--data", "sms-spam", "--net", "mlp", "--epochs", "1", "-o", trained]) == 0
    capfd.readouterr()
    out = tmp_path / "found"
    assert run(["optimize", trained, "--data", "sms-spam", "--device", "cuda", "-o", str(out)]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "NVIDIA driver" in line or "[gpu]" in line
    assert not out.exists()
    assert not out.with_name("found.partial").exists()


def test_on_the_cpu_it_is_the_predictor_that_always_was(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "digits")
    with open_on(artifact, "cpu") as predictor:
        assert predictor.runner.facts()["provider"] == "CPUExecutionProvider"
        assert predictor.logits(held_out(4).examples).shape == (4, 10)


def test_a_gpu_without_tensorrt_runs_by_cuda_and_forms_are_those_that_build_writes(tmp_path: Path) -> None:
    from toolkit.compress.gpu_precision import PRECISIONS

    artifact = make_artifact(tmp_path / "digits")
    if not can_build(artifact):
        assert provider_for(artifact) == "cuda"
    assert set(GPU_FORMS) <= set(PRECISIONS)
