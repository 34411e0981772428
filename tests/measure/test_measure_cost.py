"""What runs cost, and whether neighbours move an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving.small_models import TEXTS, image_artifact, recommender_artifact, text_artifact

from toolkit.artifact import Artifact
from toolkit.errors import ArtifactError
from toolkit.measure.cost import ROWS, CostCurve, Neighbours, compare_neighbours, measure_cost
from toolkit.predictor import Predictor
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Arrays

CURVE = CostCurve(
    "d", (10, 100), (1, 2, 4), ((1.0, 1.5, 2.5), (8.0, 14.0)), Neighbours(4, 0, 1e-6), 1, "p", "2026-11-24"
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return text_artifact(tmp_path_factory.mktemp("cost") / "text")


@pytest.fixture
def predictor(text: Artifact) -> Iterator[Predictor]:
    with Predictor.load(text) as predictor:
        yield predictor


@pytest.mark.parametrize(
    ("rows", "size", "milliseconds"),
    [(1, 5, 1.0), (2, 10, 1.5), (3, 10, 2.0), (8, 10, 5.0), (1, 11, 8.0), (2, 1000, 14.0), (4, 50, 28.0)],
)
def test_between_and_beyond_what_was_measured(rows: int, size: int, milliseconds: float) -> None:
    assert CURVE.cost(rows, size) == pytest.approx(milliseconds)


def test_the_largest_batch_is_what_was_measured_at_that_size() -> None:
    assert (CURVE.largest(10), CURVE.largest(11)) == (4, 2)


@given(st.integers(1, 200), st.integers(0, 500))
def test_every_cost_is_positive(rows: int, size: int) -> None:
    assert CURVE.cost(rows, size) > 0


def test_it_is_read_as_it_was_written() -> None:
    assert CostCurve.from_json(json.loads(json.dumps(CURVE.to_json()))) == CURVE


@pytest.mark.parametrize(
    "broken",
    [
        {"sizes": []},
        {"rows": [2, 4]},
        {"milliseconds": [[1.0], []]},
        {"milliseconds": [[1.0, -1.0], [1.0]]},
        {"milliseconds": [[float("nan")], [1.0]]},
        {"sizes": [100, 10]},
        {"threads": "many"},
        {"neighbours": {"rows": 1}},
    ],
)
def test_another_form_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"cost\.json"):
        CostCurve.from_json({**CURVE.to_json(), **broken})


def test_real_examples_give_the_sizes_and_the_neighbours(text: Artifact, predictor: Predictor) -> None:
    curve = measure_cost(predictor, digest=text.digest, threads=1, examples=TEXTS)
    assert set(curve.sizes) <= {len(example) for example in TEXTS}
    assert curve.rows == ROWS
    assert all(cell > 0 for line in curve.milliseconds for cell in line)
    assert curve.neighbours is not None
    assert (curve.neighbours.rows, curve.neighbours.harmless) == (len(TEXTS), True)
    assert curve.digest == text.digest
    assert curve.processor


@pytest.mark.parametrize("make", [text_artifact, image_artifact, recommender_artifact])
def test_every_task_is_measured_without_data(make: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Predictor.load(make(tmp_path_factory.mktemp("cost") / "artifact")) as predictor:
        curve = measure_cost(predictor, digest="d", threads=1, largest=4)
    assert curve.rows == (1, 2, 4)
    assert curve.neighbours is None


def test_neighbours_that_move_an_answer_are_seen(predictor: Predictor) -> None:
    real = predictor.runner

    class Leaning:
        """A runner whose rows lean on their batch, as activation scales of the whole batch do."""

        def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
            logits = real.run(arrays)
            moved: Array = logits + np.float32(len(logits) > 1) * np.arange(logits.shape[1], dtype=np.float32)
            return moved

        def close(self) -> None:
            real.close()

    predictor.runner = Leaning()  # type: ignore[assignment]  # not every member of the protocol
    found = compare_neighbours(predictor, TEXTS)
    assert not found.harmless
    assert found.score_difference > 0.01


def test_only_rounding_is_harmless() -> None:
    harmless = Neighbours(10, 0, 1e-4)
    assert harmless.harmless
    assert not replace(harmless, labels_moved=1).harmless
    assert not replace(harmless, score_difference=0.002).harmless
