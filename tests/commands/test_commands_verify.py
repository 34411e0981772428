"""`toolkit verify` by groups, by changed rows, and on data that cannot decide; `toolkit bench --why`."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from text_models import LABELS, WORDS, text_artifact

from toolkit.artifact import Artifact, load_artifact, write_artifact
from toolkit.cli import run
from toolkit.core import Core
from toolkit.encoders.record import Field, RecordEncoder
from toolkit.golden import Golden
from toolkit.lineage import Step
from toolkit.predictor import Predictor
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array, Spec

ROWS = 700


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models and a csv whose labels are the first one's answers, a tenth of them another's."""
    folder = tmp_path_factory.mktemp("judged")
    before, _ = text_artifact(folder / "before", noise=0.0), text_artifact(folder / "after", noise=0.8)
    rng = np.random.default_rng(0)
    texts = [f"{' '.join(rng.choice(WORDS, rng.integers(2, 12)))} {row} ?" for row in range(ROWS)]
    with Predictor.load(before) as predictor:
        answers = [answer.label for answer in predictor(texts)]
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "kind", "town", "age", "split"])
        for row, (text, answer) in enumerate(zip(texts, answers, strict=True)):
            kind = LABELS[row % 4] if row % 10 == 0 else answer
            # the first of each label trains, so that the rest may test
            town = ("Rome", "Oslo", "Bonn")[row % 3] if row % 50 else "Kyiv"
            writer.writerow([text, kind, town, 18 + row % 60, "train" if row < 80 else "test"])
    return folder


def say(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON document, and what was said to the user."""
    capfd.readouterr()
    code = run([*arguments, "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, json.loads(out) if out.strip() else {}, err


def verify(place: Path, capfd: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any], str]:
    return say(
        capfd, "verify", str(place / "before"), str(place / "after"), "--data", str(place / "rows.csv"), "--text",
        "question", "--label", "kind", *more,
    )  # fmt: skip


def test_groups_of_a_column_of_numbers_and_of_length(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, report, words = verify(
        place, capfd, "--slice", "town", "--slice", "age", "--slice", "@length", "--max-drop", "0.9"
    )
    assert code == 0, words
    found = {column["column"]: column for column in report["slices"]}
    assert list(found) == ["town", "age", "@length"]
    rows = report["test"]["rows"]
    assert all(sum(group["rows"] for group in column["groups"]) == rows for column in found.values())
    assert [group["group"] for group in found["town"]["groups"]] == ["Bonn", "Kyiv", "Oslo", "Rome"]
    assert len(found["age"]["groups"]) == len(found["@length"]["groups"]) == 4
    few = next(group for group in found["town"]["groups"] if group["group"] == "Kyiv")
    assert few["too_few_rows"]
    assert few["adjusted_p"] is None
    assert "too few to say" in words
    assert "uncorrected; Holm p is adjusted" in words
    assert words.count("worst ") == 3
    lost = sum(group["lost"] for group in found["town"]["groups"])
    assert lost == report["difference"]["lost"] > 0
    kept = json.loads((place / "after/evidence/report.json").read_text())
    assert kept["slices"] == report["slices"]


def test_what_tensorrt_would_say_is_a_line(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for more in ((), ("--tensorrt",)):
        code, report, words = verify(place, capfd, "--max-drop", "0.9", *more)
        assert code == 0, words
        assert "nothing found that TensorRT 11 refuses" in words
        assert report["tensorrt"]["failed"] is False
        assert not any(remark["refused"] for remark in report["tensorrt"]["remarks"])
        assert ("an input in 64 bits" in words) is bool(more), "the table is for those who ask"


def test_a_graph_for_a_cpu_fails_when_tensorrt_is_asked_for(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lower(place / "after", place / "dynamic", {"mode": "dynamic", "target": "cpu"})
    verify_it = ["verify", str(place / "before"), str(place / "dynamic"), "--data", str(place / "rows.csv"), "--text",
                 "question", "--label", "kind", "--max-drop", "0.9"]  # fmt: skip
    code, report, words = say(capfd, *verify_it)
    assert code == 0, words
    assert "TensorRT 11 would refuse this graph (operator 1, asymmetric 1, scale 1)" in words
    code, report, words = say(capfd, *verify_it, "--tensorrt")
    assert code == 1
    assert report["tensorrt"]["failed"] is True
    assert "TensorRT's parser has no DynamicQuantizeLinear" in words
    lower(place / "after", place / "said", {"mode": "static", "target": "tensorrt"})
    verify_it[2] = str(place / "said")
    code, report, words = say(capfd, *verify_it)
    assert code == 1, "what was made for TensorRT must be taken by it"
    assert "TensorRT's parser has no DynamicQuantizeLinear" in words


def lower(source: Path, folder: Path, settings: dict[str, Any]) -> None:
    """The model of `source` with its logits rounded to 8 bits at run time, under a step that says `settings`."""
    artifact = load_artifact(source)
    model = onnx.load_from_string(artifact.read("model.onnx"))
    model.graph.node[-1].output[0] = "exact"
    model.graph.node.extend([
        helper.make_node("DynamicQuantizeLinear", ["exact"], ["rounded", "scale", "zero"], name="round"),
        helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["logits"], name="back"),
    ])  # fmt: skip
    core = replace(artifact.core, steps=(*artifact.core.steps, Step("quantize", settings)), precision="int8")
    write_artifact(folder, core, artifact.encoder(), models={"model.onnx": model.SerializeToString()})


def test_the_gate_of_groups_fails_alone(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, words = verify(place, capfd, "--slice", "@length", "--max-drop", "0.9", "--max-slice-drop", "0.02")
    assert code == 1, words
    assert "@length = " in words
    assert "--max-slice-drop 0.02 after correction" in words
    code, report, words = verify(place, capfd, "--slice", "@length", "--max-drop", "0.9", "--max-slice-drop", "0.95")
    assert code == 0, words
    assert report["verdict"]["failing_slices"] == []
    code, _, words = verify(place, capfd, "--max-slice-drop", "0.1")
    assert code == 2
    assert "name a column with --slice" in words


def test_an_unknown_column_names_those_there_are(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, words = verify(place, capfd, "--slice", "country")
    assert code == 2
    assert len(words.strip().splitlines()) == 1
    assert "--slice 'country'" in words
    assert all(column in words for column in ("'town'", "'age'", "'question'"))


def test_changed_rows_are_listed_and_never_in_the_report(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "changed.jsonl"
    code, report, words = verify(place, capfd, "--exemplars", "3", "--exemplars-to", str(target), "--max-drop", "0.9")
    assert code == 0, words
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(lines) == report["flips"]["count"]
    wrong = [line for line in lines if not line["fixed"]]
    assert lines == [*wrong, *(line for line in lines if line["fixed"])]
    scores = [line["after_score"] for line in wrong]
    assert scores == sorted(scores, reverse=True)
    shown = [
        line for line in words.splitlines() if line.rstrip().endswith("?") and (" wrong " in line or " fixed " in line)
    ]
    assert len(shown) == 3 + min(3, len(lines) - len(wrong))
    assert str(wrong[0]["row"]) in shown[0]
    everything = json.dumps(report) + (place / "after/evidence/report.json").read_text()
    assert len(lines) > 20
    assert not any(line["example"] in everything for line in lines)
    code, _, words = verify(place, capfd, "--exemplars-to", str(target))
    assert code == 2
    assert "exists; give another name" in words


def test_exemplars_need_no_number(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, words = verify(place, capfd, "--exemplars", "--max-drop", "0.9")
    assert code == 0, words
    assert sum(" wrong  " in line for line in words.splitlines()) == 10


def test_data_of_other_labels_is_refused_in_a_line(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.csv").write_text(
        "text,label\n" + "".join(f"text number {row},{'good' if row % 2 else 'bad'}\n" for row in range(60))
    )
    code, _, words = say(
        capfd, "verify", str(place / "before"), str(place / "after"), "--data", str(tmp_path / "other.csv")
    )
    assert code == 2
    assert len(words.strip().splitlines()) == 1
    assert "'bad', which is none of this model's; allowed: ABBR, DESC, HUM, NUM" in words


def test_models_of_other_labels_are_refused_in_a_line(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(place / "after", tmp_path / "odd")
    core = json.loads((tmp_path / "odd/artifact.json").read_text())
    core["spec"]["labels"][0] = "ODD"
    del core["digest"]
    (tmp_path / "odd/artifact.json").write_text(json.dumps(core))
    code, _, words = say(
        capfd, "verify", str(place / "before"), str(tmp_path / "odd"), "--data", str(place / "rows.csv"), "--text",
        "question", "--label", "kind",
    )  # fmt: skip
    assert code == 2
    assert len(words.strip().splitlines()) == 1
    assert "do not have the same labels; only one of them has: ABBR, ODD" in words


def test_too_few_rows_cannot_tell_and_fail_only_when_strict(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.reader((place / "rows.csv").open(newline="")))
    with (tmp_path / "few.csv").open("w", newline="") as file:
        csv.writer(file).writerows([*rows[:81], *rows[82:90]])
    arguments = ["verify", str(place / "before"), str(place / "before"), "--data", str(tmp_path / "few.csv"), "--text",
                 "question", "--label", "kind", "--slice", "town"]  # fmt: skip
    code, report, words = say(capfd, *arguments)
    assert code == 0, words
    assert report["test"]["rows"] == 8
    assert "cannot tell" in words.splitlines()[-1]
    assert "rows would" in words.splitlines()[-1]
    assert "every group has fewer than 20 rows, too few to say" in words
    assert say(capfd, *arguments, "--strict")[0] == 1


def test_no_rows_of_a_split_is_a_line(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.reader((place / "rows.csv").open(newline="")))
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([*rows[:81], *([*row[:4], "validation"] for row in rows[82:90])])
    arguments = ["verify", str(place / "before"), str(place / "after"), "--data", str(tmp_path / "train.csv"), "--text",
                 "question", "--label", "kind"]  # fmt: skip
    code, _, words = say(capfd, *arguments)
    assert code == 2
    assert words.strip().splitlines() == ["toolkit: train.csv has no test split; it has: train, validation"]
    code, _, words = say(capfd, *arguments, "--split", "dev")
    assert code == 2
    assert "has no dev split; it has: train, validation" in words


def recommender(folder: Path, *, noise: float) -> Artifact:
    """Weights of users and items from a seed."""
    from onnx import TensorProto, helper, numpy_helper

    users, items = [f"u{n}" for n in range(40)], [f"i{n}" for n in range(30)]
    encoder = RecordEncoder([
        Field("user", "category", "user", tuple(users)), Field("item", "category", "item", tuple(items)),
        Field("age", "number", "user", mean=30.0, deviation=10.0), Field("sex", "category", "user", ("F", "M")),
    ])  # fmt: skip
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    weights: dict[str, Array] = {}
    for name, size in (("users", 41), ("items", 31)):
        score = rng.normal(size=size) + noise * other.normal(size=size)
        weights[name] = np.stack([-score, score], 1).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["users", "user"], ["a"]),
        helper.make_node("Gather", ["items", "item"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["logits"]),
    ]
    kinds = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}
    inputs = [helper.make_tensor_value_info(i.name, kinds[i.dtype], list(i.shape)) for i in encoder.inputs]
    graph = helper.make_graph(
        nodes, "films", inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    arrays = encoder.encode([{"user": "u1", "item": "i1", "age": 20, "sex": "F"}])
    with OnnxRunner(model) as runner:
        golden = Golden(arrays, runner.run(arrays))
    spec = Spec("recommend", encoder.inputs, ("dislike", "like"), encoder.limits)
    core = Core(folder.name, "onnx", spec, steps=(Step("export", {}),))
    return write_artifact(folder, core, encoder, models={"model.onnx": model}, golden=golden)


def test_a_recommender_by_a_field_of_its_records(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recommender(tmp_path / "before", noise=0.0)
    recommender(tmp_path / "after", noise=1.0)
    rng = np.random.default_rng(2)
    rows = [{"user": f"u{n % 40}", "item": f"i{n // 40}", "age": 20 + n % 40, "sex": "FM"[n % 2]} for n in range(1200)]
    with Predictor.load(tmp_path / "before") as predictor:
        liked = [answer.label for answer in predictor(rows)]
    lines = [
        f"{row['user']},{row['item']},{row['age']},{row['sex']},{answer if rng.random() < 0.8 else 'like'},"
        f"{'train' if number < 40 else 'test'}"
        for number, (row, answer) in enumerate(zip(rows, liked, strict=True))
    ]
    (tmp_path / "rows.csv").write_text("user,item,age,sex,label,split\n" + "\n".join(lines) + "\n")
    arguments = ["verify", str(tmp_path / "before"), str(tmp_path / "after"), "--data", str(tmp_path / "rows.csv"),
                 "--label", "label", "--max-drop", "0.9"]  # fmt: skip
    code, report, words = say(capfd, *arguments, "--slice", "sex", "--slice", "age")
    assert code == 0, words
    assert report["difference"]["auc_resampled"] == "users"
    assert report["difference"]["auc"]["low"] < report["difference"]["auc"]["value"] < 0
    assert "bootstrap over users" in words
    assert "rank overlap@10" in words
    assert "NDCG@10" in words
    assert [group["group"] for group in report["slices"][0]["groups"]] == ["F", "M"]
    assert len(report["slices"][1]["groups"]) == 4
    assert all("auc_difference" in group for column in report["slices"] for group in column["groups"])
    code, _, words = say(capfd, *arguments, "--slice", "town")
    assert code == 2
    assert "--slice 'town' is no column of these rows; there are: user, item, age, sex" in words


def test_bench_says_why(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, document, words = say(
        capfd, "bench", str(place / "before"), "--data", str(place / "rows.csv"), "--text", "question", "--label",
        "kind", "--seconds", "0.2", "--rounds", "1", "--why",
    )  # fmt: skip
    assert code == 0, words
    assert "time goes to: " in words
    assert "the encoder takes" in words
    (found,) = document["why"]
    kinds = [reason["kind"] for reason in found["models"][0]["reasons"]]
    assert kinds[:3] == ["time", "encoder", "memory"]
