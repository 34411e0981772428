"""The peers of the benchmark: same weights by other names, honest processes, and words for those that cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.small_models import TEXTS, text_artifact
from small_classifiers import examples_of, make_classifier

from benchmarks.peers import checkpoint, rounds
from benchmarks.peers.checkpoint import write_huggingface
from benchmarks.peers.contestants import EAGER, OTHERS, Contestant, contestants
from benchmarks.peers.rounds import Length, compete
from benchmarks.peers.seats import Made, last_words, make, seated
from benchmarks.peers.servers import HERE, PeerUnavailableError
from benchmarks.peers_run import row
from benchmarks.peers_table import table
from toolkit.data import Split
from toolkit.errors import ArtifactError
from toolkit.predictor import Predictor

EQUAL = {"heads": (4, 4), "head_width": 4, "feed_forward": (32, 32)}
QUICK = Length(rounds=5, seconds=0.02, rows=None)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers") / "questions"
    return text_artifact(folder).folder


def ours(name: str, artifact: Path) -> Contestant:
    return Contestant(name, "toolkit export", artifact=artifact)


def questions() -> Split:
    return Split(examples=TEXTS, labels=np.array([0, 1, 2, 3]))


def test_a_trained_classifier_answers_the_same_as_a_hugging_face_folder(tmp_path: Path) -> None:
    difference = write_huggingface(make_classifier("transformer", **EQUAL), tmp_path / "hf", examples_of("transformer"))
    assert difference <= 1e-4
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    module, _, name = config["auto_map"]["AutoModelForSequenceClassification"].partition(".")
    assert f"class {name}(" in (tmp_path / "hf" / f"{module}.py").read_text()
    assert config["id2label"] == {"0": "one", "1": "two", "2": "three"}


def test_weights_that_answer_otherwise_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checkpoint._LAYER, "output.LayerNorm", "attention_norm")
    with pytest.raises(ArtifactError, match="the converted weights answer otherwise"):
        write_huggingface(make_classifier("transformer", **EQUAL), tmp_path, examples_of("transformer"))


@pytest.mark.parametrize(
    ("kind", "sizes", "words"),
    [("transformer", {}, r"heads \(4, 1, 2\)"), ("transformer", {**EQUAL, "pooling": "cls"}, "pools by cls"),
     ("mlp", {}, "mlp net; peers take a transformer")],
)  # fmt: skip
def test_a_net_that_berts_of_transformers_cannot_hold_is_refused(
    kind: str, sizes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=words):
        write_huggingface(make_classifier(kind, **sizes), tmp_path, examples_of(kind))


def test_every_environment_is_locked_and_every_script_is_there() -> None:
    for one in OTHERS:
        assert (HERE / one.file).is_file()
        lock = (HERE / one.environment / "requirements.txt").read_text().splitlines()
        pins = [line for line in lock if line and not line.startswith("#")]
        assert pins
        assert all("==" in line and ">" not in line and "@" not in line for line in pins), one.environment


def test_the_packaged_artifact_has_a_row_of_its_own_only_when_it_is_another() -> None:
    paths = {"onnx": Path("a"), "int8": Path("b")}
    assert len(contestants(**paths, packaged=Path("c"))) == len(contestants(**paths, packaged=Path("b"))) + 1
    names = [one.name for one in contestants(**paths, packaged=Path("c"))]
    assert len(set(names)) == len(names)
    assert names[0] == EAGER


def test_a_process_answers_as_the_predictor_and_times_rows(artifact: Path, tmp_path: Path) -> None:
    with Predictor.load(artifact) as predictor:
        expected = np.concatenate([predictor.logits([text]) for text in TEXTS])
    with seated(ours("toolkit", artifact), tmp_path, tmp_path, threads=1, cores=[], logs=tmp_path) as seat:
        seat.pause()
        seat.resume()
        answered = seat.ask({"answer": TEXTS}, timeout=30.0)
        timed = seat.ask({"texts": TEXTS, "seconds": 0.05}, timeout=30.0)
        assert seat.resident_mb() > 1
    np.testing.assert_allclose(answered["logits"], expected, rtol=1e-5)
    assert timed["wrong"] == timed["failed"] == 0
    assert len(timed["whole_ns"]) == len(timed["model_ns"]) > 0
    assert all(whole >= model > 0 for whole, model in zip(timed["whole_ns"], timed["model_ns"], strict=True))


def test_a_text_that_fails_is_counted_with_its_words_and_no_time(artifact: Path, tmp_path: Path) -> None:
    with seated(ours("toolkit", artifact), tmp_path, tmp_path, threads=1, cores=[], logs=tmp_path) as seat:
        timed = seat.ask({"texts": [""], "seconds": 0.05}, timeout=30.0)
    assert timed["failed"] == 10
    assert timed["whole_ns"] == []
    assert "empty" in timed["said"]


def test_a_process_that_cannot_start_has_its_words(tmp_path: Path) -> None:
    with (
        pytest.raises(PeerUnavailableError, match=r"toolkit ended with 1: .*nowhere"),
        seated(ours("toolkit", tmp_path / "nowhere"), tmp_path, tmp_path, threads=1, cores=[], logs=tmp_path),
    ):
        pass


def test_a_process_that_is_silent_is_given_up(artifact: Path, tmp_path: Path) -> None:
    with seated(ours("toolkit", artifact), tmp_path, tmp_path, threads=1, cores=[], logs=tmp_path) as seat:
        seat.pause()
        with pytest.raises(PeerUnavailableError, match="said nothing"):
            seat.ask({"answer": TEXTS}, timeout=0.1)


def test_a_tool_that_fails_has_its_last_words_and_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "run.py").write_text("raise ValueError('no such operator: Erf')")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr("benchmarks.peers.seats.HERE", tmp_path)
    monkeypatch.setattr("benchmarks.peers.seats.MODELS", tmp_path / "models")
    one = Contestant("A tool", "", "", "run.py", "int8", makes=True)  # in our environment
    with pytest.raises(PeerUnavailableError, match="A tool cannot be made: ValueError: no such operator: Erf"):
        make(one, tmp_path, exported=None, texts=tmp_path)
    assert not list((tmp_path / "models").glob("*/made.json"))


def test_last_words_are_the_error_and_not_what_its_caller_says_of_it() -> None:
    said = "Traceback\nValueError: bad\n\nsubprocess.CalledProcessError: Command returned non-zero exit status 1.\n"
    assert last_words(said) == "ValueError: bad"
    assert last_words("\n one\n two \n") == "two"
    assert last_words("") == "nothing"


def test_contestants_are_judged_against_the_reference_and_one_that_cannot_has_its_words(
    artifact: Path, tmp_path: Path
) -> None:
    other = text_artifact(tmp_path / "weak", name="weak", weight=0.5).folder
    everyone = [ours(EAGER, artifact), ours("same", artifact), ours("weak", other), ours("gone", tmp_path / "nowhere")]
    made = dict.fromkeys(everyone, tmp_path)
    found = compete(
        made, questions(), tmp_path, threads=1, cores=[], length=QUICK, logs=tmp_path, seed=0
    )  # fmt: skip
    assert "nowhere" in found["rows"]["gone"]["unavailable"]
    same, weak = found["rows"]["same"], found["rows"]["weak"]
    assert same["judged"]["largest_logit_difference"] == 0
    assert same["judged"]["flips"]["count"] == 0
    assert weak["judged"]["largest_logit_difference"] > 0
    assert weak["judged"]["rows"] == len(TEXTS)
    assert found["rows"][EAGER]["times"]["faster"]["ratio"] == 1
    assert found["noise_floor"] >= 1
    for name in (EAGER, "same", "weak"):
        times = found["rows"][name]["times"]
        assert times["success_rate"] == 1
        assert times["asked"] == times["right"] == times["samples"]
        assert len(times["rounds_p50_ms"]) == QUICK.rounds


def test_a_slow_contestant_is_judged_by_what_it_answered(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "CHUNK", 1)
    monkeypatch.setattr(rounds, "ANSWER_SECONDS", 0.0)
    made = dict.fromkeys([ours(EAGER, artifact)], tmp_path)
    found = compete(made, questions(), tmp_path, threads=1, cores=[], length=QUICK, logs=tmp_path, seed=0)
    assert found["rows"][EAGER]["judged"]["rows"] == 1


def test_without_the_reference_there_is_no_comparison(tmp_path: Path) -> None:
    made = dict.fromkeys([ours(EAGER, tmp_path / "nowhere")], tmp_path)
    with pytest.raises(PeerUnavailableError, match=EAGER):
        compete(made, questions(), tmp_path, threads=1, cores=[], length=QUICK, logs=tmp_path, seed=0)


def results(artifact: Path, folder: Path) -> dict[str, Any]:
    """As `peers_run` writes it, of two contestants and one that cannot; the servers' rows have the shape of serving."""
    everyone = [ours(EAGER, artifact), ours("gone", folder / "nowhere")]
    part = compete(
        dict.fromkeys(everyone, folder), questions(), folder, threads=1, cores=[], length=QUICK, logs=folder, seed=0
    )
    parts = {"1": part, "2": part}
    load = {"p50_ms": 1.0, "p99_ms": None, "rate": 900.0, "success_rate": 0.5}
    return {
        "rows": [
            row(everyone[0], Made(folder, 0.0), None, parts), row(everyone[1], Made(folder, 0.0), None, parts),
            row(replace(everyone[1], name="no model"), None, "pip | said no", parts),
        ],
        "served": {"servers": [
            {"name": "ours", "lone": load, "many": load, "memory": {"pss_mb": 90.0}},
            {"name": "theirs", "unavailable": "it does not start"},
        ]},
        "noise_floor": {"1": 1.02, "2": 1.1}, "machine": {"processor": "A processor"}, "date": "2026-11-27T00:00:00",
        "weights": {"largest_relative_logit_difference": 2e-7},
        "data": {"name": "trec", "split": "test", "rows": 500},
    }  # fmt: skip


def test_the_table_has_a_row_for_everyone_and_the_words_of_those_that_cannot(artifact: Path, tmp_path: Path) -> None:
    written = table(results(artifact, tmp_path))
    first, second, words = written.split("\n\n")
    for block in (first, second):
        widths = {line.count("|") for line in block.splitlines()}
        assert len(widths) == 1, block
    assert "| no model | pip / said no |" in first
    assert "nowhere" in first
    assert "| theirs | it does not start |" in second
    assert "50.0 %" in second  # the success rate of the worse load
    assert "2 % at 1 thread, 10 % at 2 threads" in words
    assert "| – |" in second
