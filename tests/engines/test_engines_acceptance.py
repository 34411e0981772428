"""An engine is accepted for what rounding explains and for nothing else; the runners are real ONNX sessions."""

from __future__ import annotations

import numpy as np
import pytest
from digits_models import ENCODER, held_out, make_artifact
from onnx import load_from_string, numpy_helper

from toolkit.artifact import Artifact
from toolkit.engines.acceptance import check_engine
from toolkit.errors import GateError
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_artifact(tmp_path_factory.mktemp("acceptance") / "digits")


@pytest.fixture(scope="module")
def batches() -> list[dict[str, Array]]:
    return [ENCODER.encode(held_out(rows).examples) for rows in (1, 7)]


def changed(artifact: Artifact, factor: float, *, column: int | None = None) -> OnnxRunner:
    """The model with its coefficients (of one label) multiplied."""
    model = load_from_string(artifact.read("model.onnx"))
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "coefficients"]
    values = numpy_helper.to_array(tensor).copy()
    values[:, slice(None) if column is None else column] *= factor
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return OnnxRunner(model.SerializeToString())


def test_the_same_model_is_accepted_and_its_difference_told(
    artifact: Artifact, batches: list[dict[str, Array]]
) -> None:
    with changed(artifact, 1.0) as one, changed(artifact, 1.0) as other:
        assert check_engine(one, other, batches, precision="fp32") == 0.0


def test_what_fp16_may_round_is_too_much_for_fp32(artifact: Artifact, batches: list[dict[str, Array]]) -> None:
    with changed(artifact, 1.0) as one, changed(artifact, 1.003) as other:
        assert 1e-4 < check_engine(one, other, batches, precision="fp16") < 2e-2
        with pytest.raises(GateError, match=r"differ by .* relative; 0\.0001 is allowed in fp32"):
            check_engine(one, other, batches, precision="fp32")


def test_a_label_that_no_rounding_explains_is_refused_in_any_precision(
    artifact: Artifact, batches: list[dict[str, Array]]
) -> None:
    with changed(artifact, 1.0) as one, changed(artifact, -1.0) as other:
        for precision in ("fp32", "fp16", "bf16", "int8", "fp8"):
            with pytest.raises(GateError, match=r"another label|differ by"):
                check_engine(one, other, batches, precision=precision)


def test_values_that_are_no_numbers_are_refused(artifact: Artifact, batches: list[dict[str, Array]]) -> None:
    with (
        changed(artifact, 1.0) as one,
        changed(artifact, float("nan")) as other,
        pytest.raises(GateError, match="not finite"),
    ):
        check_engine(one, other, batches, precision="int8")


def test_nothing_compared_is_nothing_accepted(artifact: Artifact) -> None:
    with changed(artifact, 1.0) as one, pytest.raises(GateError, match="no rows"):
        check_engine(one, one, [], precision="fp32")


def test_rows_near_a_tie_may_fall_either_way(artifact: Artifact) -> None:
    class Fixed:
        """Logits that are given: a tie cannot be had from a trained model."""

        def __init__(self, logits: Array) -> None:
            self.logits = logits

        def run(self, arrays: object) -> Array:
            return self.logits

    tie, other = np.array([[1.0, 1.001]], dtype=np.float32), np.array([[1.001, 1.0]], dtype=np.float32)
    assert check_engine(Fixed(tie), Fixed(other), [{}], precision="fp16") == pytest.approx(1e-3, rel=0.01)
