"""`make gpu` on a machine without a GPU, its bars, and the states that README gives to what was written for one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from digits_models import held_out, make_artifact

from benchmarks.gpu import AGAIN, BATCHES, OWN, bars, measure_opened, show
from benchmarks.gpu_contestants import Opened, RunnerContestant
from benchmarks.gpu_table import MEASURED, UNMEASURED, WRITTEN, gpu_table, states
from toolkit.runners.cuda import CudaRunner

ROOT = Path(__file__).parents[1]
HAS_GPU = shutil.which("nvidia-smi") is not None


@pytest.mark.skipif(HAS_GPU, reason="nvidia-smi is here")
@pytest.mark.parametrize("command", [["bash", "benchmarks/gpu.sh"], [sys.executable, "-m", "benchmarks.gpu"]])
def test_without_a_gpu_it_says_so_leaves_3_and_writes_nothing(command: list[str]) -> None:
    before = sorted((ROOT / "benchmarks" / "results").iterdir())
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert done.returncode == 3, done.stderr
    assert "make gpu: no NVIDIA" in done.stderr
    assert "passed" not in done.stdout
    assert sorted((ROOT / "benchmarks" / "results").iterdir()) == before


def timed(**milliseconds: float) -> dict[str, Any]:
    """Medians of three rounds for each contestant, the same at every shape."""
    names = {"eager": "eager fp16", "cuda": "ONNX Runtime CUDA fp16", "half": "TensorRT fp16", "int8": "TensorRT int8"}
    whole = {names[name]: [value, value * 1.1, value * 0.9] for name, value in milliseconds.items()}
    one = {"whole_ms": whole, "resident_ms": whole, "event_ms": {name: [] for name in whole}}
    return {str(shape): one for shape in (*BATCHES, OWN)}


def by_name(found: list[dict[str, Any]]) -> dict[str, tuple[float, bool]]:
    return {bar["what"]: (round(bar["value"], 3), bar["held"]) for bar in found}


def test_bars_tell_gain_eight_bits_and_how_near_to_the_products() -> None:
    found = by_name(bars(timed(eager=3.0, cuda=1.2, half=0.5, int8=0.4), products_ms=0.3))
    assert found["TensorRT int8 over eager fp16 at batch 1"] == (7.5, True)
    assert found["TensorRT int8 over fp16 at 64"] == (0.8, True)
    assert found["TensorRT int8 over its products at batch 256"] == (1.333, True)


def test_bars_are_missed_by_what_is_slower() -> None:
    found = by_name(bars(timed(eager=3.0, half=1.5, int8=1.6), products_ms=0.3))
    assert found["TensorRT fp16 over eager fp16 at batch 1"] == (2.0, False)
    assert found["TensorRT int8 over fp16 at 1"] == (1.067, False)
    assert found["TensorRT fp16 over its products at batch 256"] == (5.0, False)


def test_without_tensorrt_onnx_runtime_is_held_against_the_same_bars() -> None:
    found = by_name(bars(timed(eager=3.0, cuda=0.9), products_ms=0.7))
    assert found["ONNX Runtime CUDA fp16 over eager fp16 at batch 1"] == (3.333, True)
    assert not any("over fp16" in name for name in found)


def test_what_is_opened_is_judged_timed_and_shown_at_every_shape(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The path of a GPU on ONNX Runtime's CPU provider: the harness is what is shown, its times are nobody's."""
    artifact = make_artifact(tmp_path / "digits")
    names = ("eager fp32", "eager fp16", "ONNX Runtime CUDA fp16")
    with ExitStack() as stack:
        runners = [stack.enter_context(CudaRunner(artifact.read("model.onnx"), device="cpu")) for _ in names]
        opened = Opened(
            {name: RunnerContestant(runner) for name, runner in zip(names, runners, strict=True)},
            {"TensorRT fp16": "no TensorRT here"},
        )
        case = measure_opened(
            opened, artifact, held_out(100), products_ms=0.01, max_drop=0.01, rounds=2, repeats=3
        )  # fmt: skip
    assert list(case["timed"]) == [*map(str, BATCHES), OWN]
    for shape, found in case["timed"].items():
        assert {name: len(rounds) for name, rounds in found["whole_ms"].items()} == dict.fromkeys((*names, AGAIN), 2)
        assert all(value > 0 for rounds in found["whole_ms"].values() for value in rounds)
        assert found["noise"]["ratio"] > 0
        assert len(found["resident_ms"][names[0]]) == (0 if shape == OWN else 2)
    assert all(quality["flips"]["share"] == 0 for quality in case["quality"].values())
    measured = result(cases={"image": json.loads(json.dumps(case))})
    measured["gpu"]["driver"] = "580.1"
    show(measured)
    said = capfd.readouterr().err
    assert "eager fp16" in said
    assert "no TensorRT here" in said
    assert "| eager fp16 | " in gpu_table([measured])
    assert "| TensorRT fp16 | | no TensorRT here |" in gpu_table([measured])


def result(**changed: Any) -> dict[str, Any]:
    case = {"contestants": ["eager fp16", "ONNX Runtime CUDA fp16"], "absent": {"TensorRT fp16": "no TensorRT"},
            "facts": {}, "quality": {}, "timed": {}, "bars": [], "products_ms": 1.0, "rows": 10}  # fmt: skip
    return {
        "gpu": {"name": "NVIDIA L4"},
        "date": "2026-12-01T00:00:00+00:00",
        "quick": False,
        "cases": {"text": case},
        **changed,
    }


def test_each_row_has_one_of_three_states_and_only_a_result_makes_it_measured() -> None:
    nothing = states([])
    assert {state for _, state, _ in nothing} <= {UNMEASURED, WRITTEN}
    assert MEASURED not in {state for _, state, _ in nothing}
    measured = {what: (state, words) for what, state, words in states([result()])}
    assert measured["ONNX Runtime CUDA, graphs and bound buffers"] == (MEASURED, "NVIDIA L4, 2026-12-01")
    assert measured["TensorRT, fp16"][0] == WRITTEN
    assert "no TensorRT" in measured["TensorRT, fp16"][1]


def test_the_committed_results_are_what_the_table_tells() -> None:
    results = [json.loads(path.read_text()) for path in sorted((ROOT / "benchmarks" / "results").glob("gpu-*.json"))]
    table = gpu_table(results)
    if not results:
        assert "No GPU figure has been measured yet" in table
    else:
        assert all(one["gpu"]["name"] in table and one["date"][:10] in table for one in results)
