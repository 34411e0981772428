"""TensorRT, then CUDA, then the CPU only where that was allowed, and every reason is told."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime
import pytest
from digits_models import ENCODER, held_out, make_artifact

from toolkit.artifact import Artifact
from toolkit.errors import InputError, MissingExtra
from toolkit.predictor import Predictor
from toolkit.runners import PREFERENCES as KNOWN
from toolkit.runners import PROVIDERS, Runner, open_runner
from toolkit.runners.preference import PREFERENCES, open_preferred

ARRAYS = ENCODER.encode(held_out(3).examples)
NO_GPU = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_artifact(tmp_path_factory.mktemp("preference") / "digits")


def opening(artifact: Artifact, *here: str) -> Callable[[str], Runner]:
    """A machine on which only `here` can be had; what is had runs on the CPU."""

    def open_one(name: str) -> Runner:
        if name not in here:
            raise MissingExtra(f"{name} is not here") if name == "tensorrt" else InputError(f"no {name} here")
        return open_runner(artifact)

    return open_one


@pytest.mark.parametrize(
    ("provider", "here", "passed"),
    [
        ("gpu", ("tensorrt", "cuda", "cpu"), {}),
        ("gpu", ("cuda", "cpu"), {"tensorrt": "tensorrt is not here"}),
        ("gpu-or-cpu", ("cuda", "cpu"), {"tensorrt": "tensorrt is not here"}),
        ("gpu-or-cpu", ("cpu",), {"tensorrt": "tensorrt is not here", "cuda": "no cuda here"}),
    ],
)
def test_the_first_that_can_be_had_runs_and_the_others_have_their_reasons(
    artifact: Artifact, provider: str, here: tuple[str, ...], passed: dict[str, str]
) -> None:
    with open_preferred(artifact, opening(artifact, *here), provider=provider) as runner:
        assert runner.run(ARRAYS).shape == (3, 10)
        assert runner.facts().get("passed_over", {}) == passed


def test_the_cpu_is_never_taken_without_leave(artifact: Artifact) -> None:
    with pytest.raises(
        InputError, match=r"tensorrt: tensorrt is not here; cuda: no cuda here; gpu-or-cpu allows the CPU"
    ):
        open_preferred(artifact, opening(artifact, "cpu"), provider="gpu")


def test_with_nothing_at_all_every_reason_is_told(artifact: Artifact) -> None:
    with pytest.raises(InputError, match=r"tensorrt: .*; cuda: .*; cpu: no cpu here$"):
        open_preferred(artifact, opening(artifact), provider="gpu-or-cpu")


@pytest.mark.skipif(not NO_GPU, reason="this ONNX Runtime has CUDA")
def test_on_this_machine_only_leave_makes_it_the_cpu(artifact: Artifact) -> None:
    with pytest.raises(InputError, match=r"\(gpu\): tensorrt: .+; cuda: .*CUDAExecutionProvider"):
        open_runner(artifact, provider="gpu")
    with Predictor.load(artifact, provider="gpu-or-cpu") as predictor:
        facts = predictor.runner.facts()
    assert facts["provider"] == "CPUExecutionProvider"
    assert set(facts["passed_over"]) == {"tensorrt", "cuda"}


def test_orders_go_from_the_fastest_and_only_one_ends_on_the_cpu() -> None:
    assert tuple(PREFERENCES) == KNOWN
    assert PREFERENCES == {"gpu": ("tensorrt", "cuda"), "gpu-or-cpu": ("tensorrt", "cuda", "cpu")}
    assert set(PREFERENCES["gpu-or-cpu"]) == set(PROVIDERS) - {"tensorrt-rtx"}, "which nobody has seen run yet"
