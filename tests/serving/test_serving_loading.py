"""What is loaded to be served, and what is refused before it is."""

from __future__ import annotations

import gc
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.small_models import TEXTS, text_artifact

from toolkit.artifact import EVIDENCE, Artifact, write_artifact
from toolkit.core import Core
from toolkit.encoders.ngrams import NgramEncoder
from toolkit.errors import ArtifactError, InputError
from toolkit.measure.cost import COST, CostCurve, measure_cost
from toolkit.predictor import Predictor
from toolkit.serving.loading import FOLDER_VARIABLE, find_artifact, load_served, warm_up_arrays
from toolkit.serving.settings import Settings, settings_from


def test_the_folder_beside_the_service_comes_before_the_variable(
    artifacts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(ArtifactError, match="nothing to serve"):
        find_artifact(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(artifacts["text"].folder))
    assert find_artifact(tmp_path) == artifacts["text"].folder
    shutil.copytree(artifacts["image"].folder, tmp_path / "artifact")
    assert find_artifact(tmp_path) == tmp_path / "artifact"


def test_what_was_loaded_is_out_of_the_collectors_way(artifacts: dict[str, Artifact]) -> None:
    gc.unfreeze()
    served = load_served(artifacts["text"].folder, settings=Settings())
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
    served.predictor.close()


def test_an_artifact_of_another_task_or_format_is_refused(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="this service is for text"):
        load_served(artifacts["image"].folder, task="text")
    core = Core("trained", "safetensors", artifacts["text"].spec, models=("model.safetensors",))
    trained = write_artifact(tmp_path / "t", core, NgramEncoder(), models={"model.safetensors": b"weights"})
    with pytest.raises(ArtifactError, match="toolkit export"):
        load_served(trained.folder)


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    artifact = text_artifact(tmp_path / "a")
    content = bytearray((artifact.folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (artifact.folder / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="sha256 differs"):
        load_served(artifact.folder)


def test_a_model_whose_weights_are_no_numbers_is_refused(tmp_path: Path) -> None:
    artifact = text_artifact(tmp_path / "a", weight=np.nan)
    with pytest.raises(ArtifactError, match="self-test failed"):
        load_served(artifact.folder)


def test_every_varying_axis_is_warmed_at_three_sizes(artifacts: dict[str, Artifact]) -> None:
    shapes = [arrays["input_ids"].shape for arrays in warm_up_arrays(artifacts["text"].spec)]
    assert shapes == [(1, 1), (1, 128), (1, 256)]
    assert [a["pixels"].shape for a in warm_up_arrays(artifacts["image"].spec)] == [(1, 1, 8, 8)]


def test_settings_come_from_the_environment() -> None:
    found = settings_from({"TOOLKIT_THREADS": "3", "TOOLKIT_TIMEOUT_SECONDS": "0.5", "TOOLKIT_QUEUE": "0", "X": "y"})
    assert (found.threads, found.timeout_seconds, found.queue) == (3, 0.5, 0)
    assert found.max_rows == Settings().max_rows


@pytest.mark.parametrize(
    ("name", "value"),
    [("THREADS", "0"), ("THREADS", "two"), ("QUEUE", "-1"), ("TIMEOUT_SECONDS", "nan"), ("MAX_ROWS", "1.5")],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"TOOLKIT_{name} is"):
        settings_from({f"TOOLKIT_{name}": value})


def curve_of(artifact: Artifact, **changes: Any) -> CostCurve:
    with Predictor.load(artifact) as predictor:
        curve = measure_cost(predictor, digest=artifact.digest, threads=1, examples=TEXTS)
    return replace(curve, **changes)


def write_curve(artifact: Artifact, content: bytes) -> None:
    path = artifact.folder / EVIDENCE / COST
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def test_what_bench_measured_is_what_is_batched_by(tmp_path: Path) -> None:
    artifact = text_artifact(tmp_path / "a")
    curve = curve_of(artifact)
    write_curve(artifact, json.dumps(curve.to_json()).encode())
    batching = load_served(artifact.folder).batching
    assert (batching.curve, batching.source) == (curve, "toolkit bench")


@pytest.mark.parametrize("changes", [{"digest": "of another"}, {"threads": 2}, {"processor": "another"}])
def test_a_curve_of_something_else_is_measured_anew(tmp_path: Path, changes: dict[str, Any]) -> None:
    artifact = text_artifact(tmp_path / "a")
    write_curve(artifact, json.dumps(curve_of(artifact, **changes).to_json()).encode())
    batching = load_served(artifact.folder).batching
    assert batching.source == "when this server started"
    assert batching.curve.digest == artifact.digest


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"digest": 1}', b"[" * 100_000])
def test_a_curve_that_cannot_be_read_is_measured_anew(tmp_path: Path, content: bytes) -> None:
    artifact = text_artifact(tmp_path / "a")
    write_curve(artifact, content)
    assert load_served(artifact.folder).batching.source == "when this server started"


def test_where_the_cpu_was_only_allowed_the_answer_says_what_computed_it(artifacts: dict[str, Artifact]) -> None:
    served = load_served(artifacts["text"].folder, settings=Settings(provider="gpu-or-cpu"))
    try:
        answer = served.answer(TEXTS[:1])
        facts = served.predictor.runner.facts()
    finally:
        served.predictor.close()
    assert answer["model"]["provider"] == facts["provider"]
    plain = load_served(artifacts["text"].folder, settings=Settings())
    try:
        assert "provider" not in plain.answer(TEXTS[:1])["model"]
    finally:
        plain.predictor.close()


def test_an_unknown_provider_is_refused_by_its_variable() -> None:
    known = "cpu, cuda, tensorrt, tensorrt-rtx, gpu, gpu-or-cpu"
    with pytest.raises(InputError, match=f"TOOLKIT_PROVIDER is 'npu'; allowed: {known}"):
        settings_from({"TOOLKIT_PROVIDER": "npu"})
    assert settings_from({"TOOLKIT_PROVIDER": "gpu"}).provider == "gpu"
