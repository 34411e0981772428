"""What needs no TensorRT of the build: how memory is tried, and in which words a refusal comes."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import pytest
from digits_models import make_artifact

from toolkit.engines.build import (
    LEAST_WORKSPACE,
    build_engine,
    ran_out_of_memory,
    say_errors,
    say_refused,
    tensorrt_version,
    workspaces,
)
from toolkit.engines.flags import Flags
from toolkit.engines.order import Order
from toolkit.errors import ArtifactError, InputError, MissingExtra

HAS_TENSORRT = importlib.util.find_spec("tensorrt") is not None


@pytest.mark.parametrize("most", [0, 1 << 20, LEAST_WORKSPACE, LEAST_WORKSPACE + 1, 3 << 30, 80 << 30])
def test_each_workspace_is_half_of_the_last_and_the_least_is_tried(most: int) -> None:
    sizes = list(workspaces(most))
    assert sizes[0] == max(most, LEAST_WORKSPACE)
    assert sizes[-1] == LEAST_WORKSPACE
    assert all(later == max(earlier // 2, LEAST_WORKSPACE) for earlier, later in itertools.pairwise(sizes))
    assert len(sizes) <= 12


@pytest.mark.parametrize(
    ("line", "memory"),
    [
        ("[resizingAllocator.cpp::allocate::74] Error Code 1: Cuda Runtime (out of memory)", True),
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.)", True),
        ("Tactic Device request: 8200MB Available: 7900MB. Skipping tactic due to insufficient memory", True),
        ("Error Code 10: Could not find any implementation for node {ForeignNode[...]}", False),
    ],
)
def test_only_errors_of_memory_are_a_reason_to_try_with_less(line: str, memory: bool) -> None:
    assert ran_out_of_memory([line]) is memory
    assert ran_out_of_memory(["something else", line]) is memory
    assert not ran_out_of_memory([])


def test_a_refused_operator_is_named_with_its_place_and_the_way_around() -> None:
    words = say_refused([("NonZero", "/layers/0/NonZero", "No importer\n  registered"), ("Loop", "b", "c")])
    assert words == (
        "TensorRT cannot take NonZero '/layers/0/NonZero': No importer registered; and 1 more; "
        "ONNX Runtime runs it: toolkit serve --provider cuda"
    )
    assert "no reason" in say_refused([])
    assert "the graph" in say_refused([("", "", "opset 99")])


def test_errors_are_one_line_and_counted() -> None:
    assert say_errors(["one\n two", "three"]) == "one two (and 1 more)"
    assert say_errors([]) == "it gave no reason"


@pytest.mark.skipif(HAS_TENSORRT, reason="TensorRT is installed here")
def test_without_tensorrt_the_extra_is_named(tmp_path: Path) -> None:
    order = Order.of(make_artifact(tmp_path / "digits"))
    for ask in (tensorrt_version, lambda: build_engine(order.model, order.profiles, Flags(), workspace_bytes=1)):
        with pytest.raises(MissingExtra, match=r"\[tensorrt\]"):
            ask()


def test_an_artifact_that_was_not_built_asks_for_the_shapes_of_its_spec(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "digits")
    order = Order.of(artifact)
    assert order.model == artifact.read("model.onnx")
    assert order.flags == Flags()
    assert [profile.ranges["pixels"].most for profile in order.profiles] == [(1, 1, 8, 8), (256, 1, 8, 8)]


def test_what_is_no_single_onnx_model_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    artifact = make_artifact(tmp_path / "digits")
    with pytest.raises(InputError, match="no single ONNX model"):
        Order.of(replace(artifact, core=replace(artifact.core, format="safetensors")))


@pytest.mark.parametrize("settings", [{}, {"profiles": 3, "flags": {}}, {"profiles": [], "flags": {"speed": 1}}])
def test_a_step_that_cannot_be_read_is_an_artifact_error(tmp_path: Path, settings: dict[str, object]) -> None:
    from dataclasses import replace

    from toolkit.lineage import Step

    artifact = make_artifact(tmp_path / "digits")
    changed = replace(artifact, core=replace(artifact.core, steps=(*artifact.core.steps, Step("build", settings))))
    with pytest.raises(ArtifactError, match="cannot be read"):
        Order.of(changed)
