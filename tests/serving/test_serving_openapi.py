"""The OpenAPI document: valid, exactly the paths that are answered, and kept to by the answers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from serving.conftest import Client
from serving.small_models import TEXTS, picture

from toolkit.serving.openapi import MAX_EXAMPLES, document
from toolkit.serving.routes import routes_of

Open = Callable[..., Client]
TASKS = ("text", "image", "recommend")
CODED = base64.b64encode(picture(1)).decode()
GOOD: dict[str, list[Any]] = {"text": TEXTS, "image": [CODED], "recommend": [{"user": "1", "age": 20}, {}]}


def contract(ask: Client) -> dict[str, Any]:
    response = ask.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    found: dict[str, Any] = response.json()
    return found


def fits(found: dict[str, Any], path: str, method: str, status: int, answer: Any) -> None:
    """Raise unless `answer` is what the document says of that status."""
    entry = found["paths"][path][method]["responses"][str(status)]
    if "$ref" in entry:
        entry = found["components"]["responses"][entry["$ref"].rpartition("/")[2]]
    (content,) = entry["content"].values()
    jsonschema_rs.validate({**content["schema"], "components": found["components"]}, answer)


def word(task: str) -> str:
    return "/v1/recommend" if task == "recommend" else "/v1/classify"


@pytest.mark.parametrize("task", TASKS)
def test_the_document_is_valid_openapi(open_app: Open, task: str) -> None:
    ask = open_app(task)
    found = contract(ask)
    assert found["openapi"] == "3.1.0"
    assert ask.app.served is not None
    for each in (found, document(ask.app.served, secured=True)):
        schemathesis.openapi.from_dict(each).validate()
        for schema in each["components"]["schemas"].values():
            jsonschema_rs.meta.validate(schema)
    broken = {**found, "paths": {"/v1/model": {"get": {"responses": 5}}}}
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict(broken).validate()


@pytest.mark.parametrize("task", TASKS)
def test_it_names_every_path_that_is_answered_and_no_other(open_app: Open, task: str) -> None:
    ask = open_app(task)
    served = ask.app.served
    assert served is not None
    table = {path: route for path, route in routes_of(served).items() if path not in ("/", "/openapi.json")}
    paths = contract(ask)["paths"]
    assert set(paths) == set(table)
    for path, entry in paths.items():
        assert set(entry) == {"post" if table[path].post else "get"}


@pytest.mark.parametrize("task", TASKS)
def test_answers_fit_it(open_app: Open, task: str) -> None:
    ask = open_app(task)
    found = contract(ask)
    for path, entry in found["paths"].items():
        if "get" in entry:
            fits(found, path, "get", 200, ask.get(path).json())
    for query in ("", "?top=2"):
        answer = ask.post(f"{word(task)}{query}", json={"inputs": GOOD[task]}).json()
        fits(found, word(task), "post", 200, answer)
        answer["predictions"][0]["score"] = 1.5
        with pytest.raises(jsonschema_rs.ValidationError):
            fits(found, word(task), "post", 200, answer)
    refused = ask.post(word(task), json={"inputs": [5]})
    fits(found, word(task), "post", refused.status_code, refused.json())
    with pytest.raises(jsonschema_rs.ValidationError):
        fits(found, word(task), "post", 400, refused.json())


def test_typed_answers_fit_it(open_app: Open) -> None:
    ask = open_app("image")
    found = contract(ask)
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}
    path = "/v2/models/shapes/infer"
    request = {"id": "a", "inputs": [tensor]}
    fits(found, path, "post", 200, ask.post(path, json=request).json())
    schema = {"$ref": "#/components/schemas/Tensors", "components": found["components"]}
    jsonschema_rs.validate(schema, request)
    wrong = {"inputs": [tensor | {"shape": [2, 32]}]}
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, wrong)
    fits(found, path, "post", 422, ask.post(path, json=wrong).json())


def test_it_says_this_models_labels_limits_and_fields(open_app: Open) -> None:
    text = contract(open_app("text", max_rows=7))
    body = text["paths"]["/v1/classify"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["inputs"]["maxItems"] == 7
    (top,) = text["paths"]["/v1/classify"]["post"]["parameters"]
    assert top["schema"]["maximum"] == 4
    answer = text["components"]["schemas"]["Answer"]["properties"]
    label = answer["predictions"]["items"]["properties"]["label"]
    assert label["enum"] == ["ABBR", "DESC", "HUM", "NUM"]
    image = contract(open_app("image"))["paths"]["/v1/classify"]["post"]["requestBody"]["content"]
    assert {"application/json", "multipart/form-data", "image/png", "image/jpeg"} <= set(image)
    fields = contract(open_app("recommend"))["components"]["schemas"]["Input"]["properties"]
    assert fields["item"]["examples"] == ["10", "20", "30"]
    assert fields["age"]["type"] == ["number", "null"]
    assert 0 < len(fields["item"]["examples"]) <= MAX_EXAMPLES
    assert "examples" not in fields["user"]  # who was trained on is nobody's business


def test_keys_are_in_it_where_they_are_asked_for(open_app: Open) -> None:
    served = open_app().app.served
    assert served is not None
    closed, opened = document(served, secured=True), document(served)
    assert closed["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    assert closed["security"] == [{"key": []}]
    assert closed["paths"]["/livez"]["get"]["security"] == []
    assert "401" in closed["paths"]["/v1/classify"]["post"]["responses"]
    assert "401" not in closed["paths"]["/livez"]["get"]["responses"]
    assert "securitySchemes" not in opened["components"]
    assert "401" not in opened["paths"]["/v1/classify"]["post"]["responses"]
