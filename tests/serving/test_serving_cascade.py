"""A cascade served: from a real bento over HTTP, and through every protocol of the application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from serving.conftest import Client
from serving.small_models import TEXT_LABELS, TEXTS, text_artifact

from toolkit.artifact import Artifact
from toolkit.cascade import Cascade
from toolkit.compress.cascade import cascade
from toolkit.data import Split
from toolkit.encoders.text import TokenEncoder, train_tokenizer
from toolkit.package import package
from toolkit.predictor import Predictor
from toolkit.routing import margins
from toolkit.serving.app import App
from toolkit.serving.loading import load_served
from toolkit.serving.serve import start_server
from toolkit.serving.settings import Settings

ASKED = [*TEXTS, "Who was the first ?", "How far is the sun ?", "Why ?", "Where is the longest river of all ?"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Hashed n-grams before a tokenizer: members with encoders of their own; half of the rows are deferred."""
    root = tmp_path_factory.mktemp("cascade")
    small = text_artifact(root / "small", name="fast", weight=3.0)
    tokens = TokenEncoder(train_tokenizer(ASKED, vocabulary_size=150), max_length=24)
    large = text_artifact(root / "large", name="careful", weight=3.0, encoder=tokens)
    rows = Split(ASKED, np.arange(len(ASKED)) % len(TEXT_LABELS))
    return cascade(small, large, root / "both", validation=rows, share=0.5, name="questions")


@pytest.fixture
def ask(both: Artifact) -> Iterator[Client]:
    app = App()
    app.open(load_served(both.folder, task="text", settings=Settings(max_rows=16)))
    yield Client(app)
    app.close()


def test_a_bento_of_a_cascade_answers_like_the_process(
    both: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    packaged = package(both)
    assert (packaged.path / "src/artifact/large/model.onnx").is_file()
    with Predictor.load(both) as predictor:
        assert isinstance(predictor, Cascade)
        unsure = margins(predictor.small.probabilities(ASKED)) < predictor.router.threshold
        assert 0 < unsure.sum() < len(ASKED), "both members answer"
        expected = [{"label": answer.label, "score": answer.score} for answer in predictor(ASKED)]
        alone = [{"label": answer.label, "score": answer.score} for [answer] in (predictor([text]) for text in ASKED)]
    with start_server(packaged.tag) as url:
        together = httpx.post(f"{url}/v1/classify", json={"inputs": ASKED}).json()
        assert together["model"]["digest"] == both.digest
        assert together["predictions"] == expected
        for text, wanted in zip(ASKED, alone, strict=True):
            assert httpx.post(f"{url}/v1/classify", json={"inputs": [text]}).json()["predictions"] == [wanted]
        model = httpx.get(f"{url}/v1/model").json()
    assert model["format"] == "cascade"
    assert model["members"]["large"]["digest"] == both.members["large"].digest


def test_the_model_says_who_routes_and_what_both_members_are(ask: Client, both: Artifact) -> None:
    model = ask.get("/v1/model").json()
    assert model["router"] == both.core.to_json()["router"]
    assert model["lineage"]["steps"][0]["name"] == "cascade"
    assert model["labels"] == list(TEXT_LABELS)
    assert {name: member["name"] for name, member in model["members"].items()} == {"small": "fast", "large": "careful"}
    for name, member in model["members"].items():
        assert member["lineage"]["steps"] == [step.to_json() for step in both.members[name].core.steps]
        assert member["size_bytes"] == both.members[name].size_bytes
    assert model["size_bytes"] == both.size_bytes
    assert model["runtime"]["members"]["large"]["provider"] == "CPUExecutionProvider"


def test_a_single_model_says_nothing_of_members(both: Artifact) -> None:
    app = App()
    app.open(load_served(both.members["small"].folder, settings=Settings()))
    assert not {"router", "members"} & set(Client(app).get("/v1/model").json())
    app.close()


def test_typed_tensors_of_both_encoders_are_routed(ask: Client, both: Artifact) -> None:
    with Predictor.load(both) as predictor:
        arrays = predictor.encoder.encode(ASKED)
        expected = predictor.logits(ASKED)
    declared = ask.get("/v2/models/questions").json()["inputs"]
    assert [entry["name"] for entry in declared] == list(arrays)
    inputs = [
        {"name": name, "datatype": "INT64", "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in arrays.items()
    ]
    logits, _ = ask.post("/v2/models/questions/infer", json={"inputs": inputs}).json()["outputs"]
    np.testing.assert_allclose(np.array(logits["data"]).reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    refused = ask.post("/v2/models/questions/infer", json={"inputs": inputs[:2]})
    assert refused.status_code == 422
    assert "large.input_ids" in refused.text


def test_each_bad_row_is_named(ask: Client) -> None:
    problem = ask.post("/v1/classify", json={"inputs": ["Why ?", " ", 7]})
    assert problem.status_code == 422
    assert [fault["pointer"] for fault in problem.json()["errors"]] == ["/inputs/1", "/inputs/2"]
    assert ask.post("/v1/classify", json={"inputs": ["Why ?"]}).status_code == 200
