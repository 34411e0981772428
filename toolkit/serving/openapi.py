"""What this model's server answers, as OpenAPI 3.1 made from the artifact: the document at /openapi.json.

It is made from the contract that checks the requests, so that it says this model's labels, fields,
shapes and limits, and a client, a form or a generator of test cases needs nothing else. Every error
is one schema, a problem document. Costs nothing on the hot path: made once, when a model is opened.

Limits: that `data` fills `shape`, and that bytes are a picture, no schema can say. Known values of a
category are examples, at most `MAX_EXAMPLES` of them, since others are taken as never seen.
Source: OpenAPI 3.1.0 (spec.openapis.org), JSON Schema 2020-12, RFC 9457, RFC 6750.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from toolkit import __version__
from toolkit.encoders.record import MAX_DEVIATIONS, Field
from toolkit.serving.bodies import FORM, JSON, PICTURES
from toolkit.serving.problems import MAX_FAULTS
from toolkit.serving.protocol import DATATYPES, OUTPUTS
from toolkit.serving.served import Served

Schema = dict[str, Any]

MAX_EXAMPLES = 200
PROBLEM = "application/problem+json"
# str.strip takes these for blanks too, and \s of ECMA-262 does not
SOMETHING = r"[^\s\u001c-\u001f\u0085]"
WORDS = {
    400: "The body is not JSON in UTF-8, or not multipart.",
    401: "No key, or a wrong one.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The content type is not taken, or the body is compressed.",
    422: "The request says something that this model cannot take; `errors` points at it.",
    429: "Too many requests; try again after Retry-After.",
    500: "A fault of the server.",
    503: "No model is ready, or every slot is taken; try again after Retry-After.",
    504: "The answer was not ready in time.",
}
ASKED = (400, 408, 413, 415, 422, 429, 500, 503, 504)
TOLD = (500, 503)
HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def document(served: Served, *, secured: bool = False) -> Schema:
    """The OpenAPI document; `secured` says that keys are asked for."""
    recommend = served.spec.task == "recommend"
    word = "recommend" if recommend else "classify"
    paths: Schema = {
        f"/v1/{word}": {"post": _friendly(served, word)},
        "/v1/model": {"get": _told("model", "Lineage, digests, settings and evidence of the model.", _ref("Model"))},
        "/v2": {"get": _told("server", "The server and the protocol it speaks.", _ref("Server"))},
    }
    for path, kind in (("/healthz", "live"), ("/livez", "live"), ("/v2/health/live", "live"),
                       ("/readyz", "ready"), ("/v2/health/ready", "ready")):  # fmt: skip
        name = f"health_{path.strip('/').replace('/', '_')}"
        told = _told(name, f"Is the server {kind}?", _object({kind: {"const": True}}), () if kind == "live" else (503,))
        paths[path] = {"get": told | ({"security": []} if secured else {})}
    model = f"/v2/models/{quote(served.artifact.name, safe='')}"
    for path, suffix in ((model, ""), (f"{model}/versions/{served.version}", "_version")):
        paths[path] = {"get": _told(f"metadata{suffix}", "Typed inputs and outputs of the model.", _ref("Metadata"))}
        ready = _object({"name": {"const": served.artifact.name}, "ready": {"const": True}})
        paths[f"{path}/ready"] = {"get": _told(f"model_ready{suffix}", "Is the model ready?", ready, (503,))}
        paths[f"{path}/infer"] = {"post": _infer(f"infer{suffix}")}
    if secured:
        for operation in (entry for path in paths.values() for entry in path.values()):
            if "security" not in operation:
                operation["responses"]["401"] = {"$ref": "#/components/responses/Problem401"}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": served.artifact.name,
            "version": served.version,
            "description": f"A {served.spec.task} classifier, served by serving-toolkit {__version__}.",
        },
        "servers": [{"url": "/"}],
        **({"security": [{"key": []}]} if secured else {}),
        "paths": paths,
        "components": {
            "schemas": _schemas(served),
            "responses": {f"Problem{status}": _problem(status) for status in WORDS if secured or status != 401},
            **({"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if secured else {}),
        },
    }


def _friendly(served: Served, word: str) -> Schema:
    rows = served.settings.max_rows
    ranked = served.spec.task == "recommend"
    body = _object({"inputs": {"type": "array", "minItems": 1, "maxItems": rows, "items": _ref("Input")}})
    content: Schema = {JSON: {"schema": body}}
    if served.spec.task == "image":
        file = {"type": "string", "format": "binary"}
        files = {"type": "array", "minItems": 1, "maxItems": rows, "items": file}
        content[FORM] = {"schema": _object({"picture": files})}
        content |= {kind: {"schema": file} for kind in PICTURES}
    highest = rows if ranked else len(served.spec.labels)
    told = "Only the best k records, ranked." if ranked else "Beside each answer, the k most probable labels."
    return {
        "operationId": word,
        "summary": "The score of each record." if ranked else "The label of each input, and its score.",
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": told,
                "schema": {"type": "integer", "minimum": 1, "maximum": highest},
            }
        ],
        "requestBody": {"required": True, "content": content},
        "responses": _responses(_ref("Answer"), ASKED),
    }


def _infer(name: str) -> Schema:
    return {
        "operationId": name,
        "summary": "Typed tensors in, logits and probabilities out (Open Inference Protocol).",
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref("Tensors")}}},
        "responses": _responses(_ref("Inference"), ASKED),
    }


def _told(name: str, summary: str, schema: Schema, statuses: Iterable[int] = TOLD) -> Schema:
    return {"operationId": name, "summary": summary, "responses": _responses(schema, statuses)}


def _responses(schema: Schema, statuses: Iterable[int]) -> Schema:
    found = {"200": {"description": "The answer.", "content": {JSON: {"schema": schema}}}}
    return found | {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}


def _problem(status: int) -> Schema:
    schema = {"allOf": [_ref("Problem"), {"properties": {"status": {"const": status}}}]}
    response: Schema = {"description": WORDS[status], "content": {PROBLEM: {"schema": schema}}}
    if status in HEADERS:
        response["headers"] = {HEADERS[status]: {"required": True, "schema": {"type": "string"}}}
    return response


def _schemas(served: Served) -> Schema:
    text: Schema = {"type": "string"}
    words: Schema = {"type": "string", "minLength": 1}
    score: Schema = {"type": "number", "minimum": 0, "maximum": 1}
    digest: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    label: Schema = {"type": "string", "enum": list(served.spec.labels)}
    identity = {
        "name": {"const": served.artifact.name},
        "version": {"const": served.version},
        "digest": {"const": served.artifact.digest},
    }
    scored = _object({"label": label, "score": score})
    top = {"type": "array", "minItems": 1, "maxItems": len(served.spec.labels), "items": scored}
    prediction = _object({"label": label, "score": score, "top": top}, optional=("top",))
    if served.spec.task == "recommend":
        index = {"type": "integer", "minimum": 0, "maximum": served.settings.max_rows - 1}
        prediction = _object({"index": index, "score": score})
    rows = {"type": "array", "minItems": 1, "maxItems": served.settings.max_rows, "items": prediction}
    fault = _object({"pointer": {"type": "string", "pattern": "^(/.*)?$"}, "code": words, "detail": words})
    problem = {
        "type": text,
        "title": words,
        "status": {"type": "integer", "enum": [*WORDS, 404, 405]},
        "detail": words,
        "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
        "error": words,
        "errors": {"type": "array", "minItems": 1, "maxItems": MAX_FAULTS, "items": fault},
    }
    labels = {"type": "array", "items": label}
    lineage = _object({"steps": {"type": "array"}, "parent": {}, "split": {}})
    model = {
        **identity,
        "task": {"const": served.spec.task},
        "labels": labels,
        "files": {"type": "object", "additionalProperties": digest},
        "lineage": lineage,
        "settings": {"type": "object"},
        "runtime": {"type": "object"},
        "evidence": {"type": ["object", "null"]},
    }
    shape = {"type": "array", "items": {"type": "integer"}}
    listed = {"type": "array", "items": _object({"name": words, "datatype": words, "shape": shape})}
    output = {"name": {"enum": list(OUTPUTS)}, "datatype": {"const": "FP32"}, "shape": shape,
              "data": {"type": "array", "items": {"type": "number"}}}  # fmt: skip
    outputs = {"type": "array", "minItems": 1, "maxItems": len(OUTPUTS), "items": _object(output)}
    return {
        "Input": _input(served),
        "Answer": _object({"model": _object(identity | _device(served, words)), "predictions": rows}),
        "Problem": _object(problem, optional=("errors",)),
        # more may be said of a model in time, so other members are allowed
        "Model": _object(model) | {"additionalProperties": True},
        "Server": _object({"name": text, "version": text, "extensions": {"type": "array", "items": text}}),
        "Metadata": _object(
            {"name": identity["name"], "versions": {"type": "array", "items": identity["version"]},
             "platform": text, "inputs": listed, "outputs": listed}
        ),
        "Tensors": _tensors(served),
        "Data": {"type": "array", "items": {"type": ["number", "array"]}},
        "Inference": _object(
            {"model_name": identity["name"], "model_version": identity["version"], "id": text, "outputs": outputs},
            optional=("id",),
        ),
    }  # fmt: skip


def _device(served: Served, words: Schema) -> dict[str, Schema]:
    """An answer says what computed it where that is not simply the CPU."""
    return {} if served.settings.provider == "cpu" else {"provider": words}


def _input(served: Served) -> Schema:
    """What one element of `inputs` is."""
    if served.spec.task == "text":
        return {"type": "string", "pattern": SOMETHING}
    if served.spec.task == "image":
        return {"type": "string", "format": "byte", "contentEncoding": "base64", "description": "A picture in base64."}
    # both members of a cascade take the same records
    fields: tuple[Field, ...] = getattr(served.predictor.parts[0].encoder, "fields", ())
    members = {field.name: _member(field) for field in fields}
    return _object(members, optional=tuple(members))


def _member(field: Field) -> Schema:
    if field.role == "number":
        far = 0.99 * MAX_DEVIATIONS * field.deviation
        bounds = {"minimum": field.mean - far, "maximum": field.mean + far}
        return {"type": ["number", "null"], **bounds, "description": f"Of the {field.side}; missing is {field.mean:g}."}
    # what describes a person is nobody else's: an identifier of a user stands in no document
    known = {"examples": list(field.values[:MAX_EXAMPLES])} if field.values and field.side != "user" else {}
    value: Schema = {"type": ["string", "integer"], **known}
    if field.role == "set":
        return {"type": ["array", "null"], "items": value, "description": f"Of the {field.side}; several values."}
    return value | {"type": ["string", "integer", "null"], "description": f"Of the {field.side}; one value."}


def _tensors(served: Served) -> Schema:
    entries = []
    for declared in served.spec.inputs:
        axes = []
        for axis in declared.shape:
            low, high = served.spec.limits.get(str(axis), (1, served.settings.max_rows))
            axes.append({"const": axis} if isinstance(axis, int) else _size(low, high))
        shape = {"type": "array", "minItems": len(axes), "maxItems": len(axes), "prefixItems": axes}
        entries.append(
            _object({"name": {"const": declared.name}, "datatype": {"const": DATATYPES[declared.dtype]},
                     "shape": shape, "data": _ref("Data")}) | {"additionalProperties": True}
        )  # fmt: skip
    count = len(entries)
    inputs = {"type": "array", "minItems": count, "maxItems": count, "items": {"anyOf": entries}}
    named = _object({"name": {"enum": list(OUTPUTS)}}) | {"additionalProperties": True}
    outputs = {"type": ["array", "null"], "minItems": 1, "maxItems": len(OUTPUTS), "items": named}
    tensors = _object({"id": {}, "inputs": inputs, "outputs": outputs}, optional=("id", "outputs"))
    return tensors | {"additionalProperties": True}


def _size(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": max(low, 1), "maximum": high}


def _object(properties: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
