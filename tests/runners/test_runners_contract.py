"""What every runner promises, asked of each with the same classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_classifiers import TEXTS, make_classifier

from toolkit.artifact import Artifact
from toolkit.classifier import save_classifier
from toolkit.compress.cascade import cascade
from toolkit.data import Split
from toolkit.errors import ArtifactError, InputError
from toolkit.export.onnx import export
from toolkit.routing import MEMBERS, join_arrays
from toolkit.runners import FORMATS, Runner, open_runner
from toolkit.runners.cuda import CudaRunner
from toolkit.runners.fresh_engine import build_engine_of, can_build
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array

CLASSIFIER = make_classifier("transformer")
ARRAYS = CLASSIFIER.encoder.encode(TEXTS)
EXPECTED = CLASSIFIER.run(ARRAYS)
# "bound" is the path of a GPU, buffers bound once, on ONNX Runtime's CPU provider
CASES = ("onnx-cpu", "onnx-bound", "onnx-cuda", "onnx-tensorrt", "safetensors-cpu", "safetensors-cuda", "cascade-cpu")

Opener = Callable[..., Runner]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("runners")
    exported, _ = export(CLASSIFIER, folder / "onnx", examples=TEXTS)
    # one that knows no training rows takes any to choose a threshold on
    member, _ = export(replace(CLASSIFIER, split=None, training_rows=None), folder / "member", examples=TEXTS)
    rows = Split(TEXTS, EXPECTED.argmax(axis=1))
    return {
        "onnx": exported,
        "safetensors": save_classifier(CLASSIFIER, folder / "trained"),
        "cascade": cascade(member, member, folder / "cascade", validation=rows, share=0.5),
    }


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def arrays(case: str) -> dict[str, Array]:
    """The rows, as this case takes them."""
    return join_arrays(dict.fromkeys(MEMBERS, ARRAYS)) if case.startswith("cascade") else ARRAYS


@pytest.fixture
def expected(case: str) -> Array:
    """The logits; those of a cascade are over the temperature of its members."""
    return EXPECTED / np.float32(CLASSIFIER.temperature) if case.startswith("cascade") else EXPECTED


@pytest.fixture
def opened(case: str, artifacts: dict[str, Artifact]) -> Opener:
    """Opens the runner of this case; its keyword arguments are `open_runner`'s."""
    format_, provider = case.split("-")
    available = onnxruntime.get_available_providers()
    if case == "onnx-cuda" and "CUDAExecutionProvider" not in available:
        pytest.skip(f"this ONNX Runtime has no CUDAExecutionProvider; it has {', '.join(available)}")
    if case == "safetensors-cuda" and not torch.cuda.is_available():
        pytest.skip("this PyTorch sees no GPU")
    if case == "onnx-tensorrt":
        if not can_build(artifacts["onnx"]):
            pytest.skip("no TensorRT with a driver that takes it on this machine")
        with open_runner(artifacts["onnx"]) as beside:
            fresh = build_engine_of(artifacts["onnx"], beside)
        fresh.keep()
        fresh.runner.close()
    if provider == "bound":

        def bound(**keywords: Any) -> Runner:
            return CudaRunner(artifacts["onnx"].read("model.onnx"), device="cpu", **keywords)

        return bound

    def opener(**keywords: object) -> Runner:
        return open_runner(artifacts[format_], **{"provider": provider, **keywords})

    return opener


def row(arrays: dict[str, Array], index: int) -> dict[str, Array]:
    return {name: array[index : index + 1] for name, array in arrays.items()}


def test_logits_are_the_classifiers_float32_one_row_an_example(
    opened: Opener, arrays: dict[str, Array], expected: Array
) -> None:
    with opened() as runner:
        logits = runner.run(arrays)
    assert logits.dtype == np.float32
    assert logits.shape == (len(TEXTS), 3)
    assert np.allclose(logits, expected, atol=1e-4)


def test_the_same_arrays_give_the_same_bytes(opened: Opener, arrays: dict[str, Array]) -> None:
    with opened() as runner:
        assert np.array_equal(runner.run(arrays), runner.run(arrays))


def test_the_order_of_the_inputs_does_not_count(opened: Opener, arrays: dict[str, Array]) -> None:
    turned = dict(reversed(arrays.items()))
    assert list(turned) != list(arrays)
    with opened() as runner:
        assert np.array_equal(runner.run(turned), runner.run(arrays))


def test_a_batch_of_one_is_the_row_of_a_batch(opened: Opener, arrays: dict[str, Array]) -> None:
    with opened() as runner:
        together = runner.run(arrays)
        alone = np.concatenate([runner.run(row(arrays, index)) for index in range(len(TEXTS))])
    assert np.allclose(together, alone, atol=1e-5)


def test_arrays_are_left_as_they_were(opened: Opener, arrays: dict[str, Array]) -> None:
    before = {name: array.copy() for name, array in arrays.items()}
    with opened() as runner:
        runner.run(arrays)
    assert all(np.array_equal(arrays[name], array) for name, array in before.items())


def test_arrays_that_are_views_are_taken(opened: Opener, arrays: dict[str, Array], expected: Array) -> None:
    views = {name: np.asfortranarray(array)[::2] for name, array in arrays.items()}
    with opened() as runner:
        assert np.allclose(runner.run(views), expected[::2], atol=1e-4)


def test_a_closed_runner_refuses(opened: Opener, arrays: dict[str, Array]) -> None:
    runner = opened()
    runner.close()
    runner.close()  # twice does no harm
    with pytest.raises(InputError, match="this runner is closed"):
        runner.run(arrays)


def test_the_context_closes(opened: Opener, arrays: dict[str, Array]) -> None:
    with opened() as runner:
        runner.run(row(arrays, 0))
    with pytest.raises(InputError, match="this runner is closed"):
        runner.run(row(arrays, 0))


def test_facts_name_what_runs(opened: Opener, case: str, arrays: dict[str, Array]) -> None:
    with opened(threads=2) as runner:
        runner.run(row(arrays, 0))
        facts = runner.facts()
    parts = facts["members"].values() if case.startswith("cascade") else [facts]
    known = {"runtime", "provider", "threads", "precision"}
    on_gpu = (
        {"device", "cuda_graphs", "nodes", "on_cpu", "gpu"} if case.startswith("onnx") and case != "onnx-cpu" else set()
    )
    assert all(known <= set(part) <= known | on_gpu for part in parts)
    extra = {"router", "members"} if case.startswith("cascade") else set()
    assert known | extra <= set(facts) <= known | extra | on_gpu
    assert facts["threads"] == (1 if case == "onnx-tensorrt" else 2)
    assert facts["precision"] == ("fp32+fp32" if extra else "fp32")
    assert any(char.isdigit() for char in facts["runtime"])
    assert facts["provider"]


@pytest.mark.parametrize("format_", FORMATS)
def test_an_unknown_provider_is_refused(format_: str, artifacts: dict[str, Artifact]) -> None:
    with pytest.raises(InputError, match=r"'npu'.*allowed: cpu"):
        open_runner(artifacts[format_], provider="npu")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_provider_that_is_not_here_is_refused_and_never_replaced(
    format_: str, artifacts: dict[str, Artifact]
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and format_ != "safetensors":
        pytest.skip("this ONNX Runtime has CUDAExecutionProvider")
    with pytest.raises(InputError, match=r"cuda|CUDAExecutionProvider"):
        open_runner(artifacts[format_], provider="cuda")


def test_bytes_that_are_no_model_are_an_artifact_error() -> None:
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load the model"):
        OnnxRunner(b"not a model")


def test_precision_in_the_facts_is_the_artifacts(artifacts: dict[str, Artifact]) -> None:
    exported = artifacts["onnx"]
    half = replace(exported, core=replace(exported.core, precision="int8"))
    with open_runner(half) as runner:
        assert runner.facts()["precision"] == "int8"


def test_a_model_changed_on_disk_is_not_opened(tmp_path: Path) -> None:
    exported, _ = export(CLASSIFIER, tmp_path, examples=TEXTS)
    content = bytearray((tmp_path / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="sha256 differs"):
        open_runner(exported)
