"""The Open Inference Protocol: metadata, typed tensors, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from serving.conftest import Client
from serving.small_models import TEXTS

from toolkit.artifact import Artifact
from toolkit.predictor import Predictor

Open = Callable[..., Client]


def pixels(shape: list[int], data: Any, **other: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": shape, "data": data, **other}]}


def test_metadata(open_app: Open, artifacts: dict[str, Artifact]) -> None:
    ask = open_app("image")
    version = artifacts["image"].digest[:12]
    assert ask.get("/v2").json()["extensions"] == []
    for path in ("/v2/models/shapes", f"/v2/models/shapes/versions/{version}"):
        model = ask.get(path).json()
        assert model["versions"] == [version]
        assert model["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
        assert model["outputs"][0] == {"name": "logits", "datatype": "FP32", "shape": [-1, 3]}
        assert ask.get(f"{path}/ready").json() == {"name": "shapes", "ready": True}


def test_typed_tensors_get_the_logits_of_the_runner(open_app: Open, artifacts: dict[str, Artifact]) -> None:
    with Predictor.load(artifacts["text"]) as predictor:
        arrays = predictor.encoder.encode(TEXTS)
        expected = predictor.runner.run(arrays)
        probabilities = predictor.probabilities(TEXTS)
    inputs = [
        {"name": name, "datatype": "INT64", "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in arrays.items()
    ]
    answer = open_app().post("/v2/models/questions/infer", json={"id": "7", "inputs": inputs}).json()
    assert answer["id"] == "7"
    assert answer["model_version"] == artifacts["text"].digest[:12]
    logits, scores = answer["outputs"]
    assert (logits["name"], logits["shape"]) == ("logits", [4, 4])
    assert np.array_equal(np.array(logits["data"], dtype=np.float32).reshape(4, 4), expected)
    np.testing.assert_allclose(np.array(scores["data"]).reshape(4, 4), probabilities, rtol=1e-5)


def test_nested_data_and_chosen_outputs(open_app: Open) -> None:
    ask = open_app("image")
    flat = np.linspace(-1, 1, 128, dtype=np.float32)
    first = ask.post("/v2/models/shapes/infer", json=pixels([2, 1, 8, 8], flat.tolist())).json()
    nested = pixels([2, 1, 8, 8], flat.reshape(2, 1, 8, 8).tolist()) | {"outputs": [{"name": "logits"}]}
    second = ask.post("/v2/models/shapes/infer", json=nested).json()
    assert second["outputs"] == first["outputs"][:1]


ROW = [0.0] * 64
WRONG = [
    (pixels([1, 1, 4, 16], ROW), "/inputs/0/shape", "wrong_shape"),
    (pixels([64], ROW), "/inputs/0/shape", "wrong_shape"),
    (pixels([1, 1, 8, -8], ROW), "/inputs/0/shape", "wrong_shape"),
    (pixels([1, 1, 8, True], ROW), "/inputs/0/shape", "wrong_shape"),
    (pixels([0, 1, 8, 8], []), "/inputs/0/shape", "wrong_shape"),
    (pixels([2, 1, 8, 8], ROW), "/inputs/0/data", "wrong_size"),
    (pixels([1, 1, 8, 8], [[ROW]]), "/inputs/0/data", "wrong_size"),
    (pixels([1, 1, 8, 8], "x"), "/inputs/0/data", "wrong_size"),
    (pixels([1, 1, 8, 8], ["1", *ROW[1:]]), "/inputs/0/data", "wrong_type"),
    (pixels([1, 1, 8, 8], [True, *ROW[1:]]), "/inputs/0/data", "wrong_type"),
    (pixels([1, 1, 8, 8], [1e300, *ROW[1:]]), "/inputs/0/data", "non_finite"),
    (pixels([1, 1, 8, 8], ROW, datatype="FP64"), "/inputs/0/datatype", "wrong_datatype"),
    (pixels([1, 1, 8, 8], ROW, name="canary"), "/inputs/0/name", "unknown_input"),
    (pixels([9, 1, 8, 8], ROW * 9), "/inputs", "too_many_rows"),
    ({"inputs": []}, "/inputs", "missing_input"),
    ({"inputs": [5]}, "/inputs/0", "not_an_object"),
    ({}, "/inputs", "not_a_list"),
    (pixels([1, 1, 8, 8], ROW) | {"outputs": [{"name": "canary"}]}, "/outputs/0/name", "unknown_output"),
]


@pytest.mark.parametrize(("request_", "pointer", "code"), WRONG)
def test_what_does_not_fit_is_refused_with_its_pointer(
    open_app: Open, request_: dict[str, Any], pointer: str, code: str
) -> None:
    response = open_app("image", max_rows=8).post("/v2/models/shapes/infer", json=request_)
    assert response.status_code == 422, response.text
    document = response.json()
    assert (document["errors"][0]["pointer"], document["code"]) == (pointer, code)
    assert "canary" not in response.text


def ids(values: list[int], mask: list[int] | None = None) -> dict[str, Any]:
    both = {"input_ids": values, "attention_mask": mask or [1] * len(values)}
    return {
        "inputs": [{"name": n, "datatype": "INT64", "shape": [1, len(v)], "data": v} for n, v in both.items()]
    }  # fmt: skip


def test_sizes_that_disagree_or_pass_their_limit_are_refused(open_app: Open) -> None:
    ask = open_app()
    assert ask.post("/v2/models/questions/infer", json=ids([1, 2])).status_code == 200
    for body in (ids([1, 2], [1]), ids([1] * 257)):
        response = ask.post("/v2/models/questions/infer", json=body)
        assert (response.status_code, response.json()["code"]) == (422, "wrong_shape")


def test_an_index_beyond_the_vocabulary_is_refused_and_not_quoted(
    open_app: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    ask = open_app()
    for value in (987654321, 2**63):
        response = ask.post("/v2/models/questions/infer", json=ids([value]))
        assert (response.status_code, response.json()["code"]) == (422, "out_of_range")
        assert str(value) not in response.text
    written = "".join(capfd.readouterr())
    assert "987654321" not in written
