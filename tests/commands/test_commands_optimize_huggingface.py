"""`toolkit optimize hf:PATH`: somebody else's classifier, of whose training nothing is known, on a file of rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.data.archives import minilm_folder
from toolkit.data.loading import load_data
from toolkit.optimize import decision, weighing
from toolkit.optimize.effort import EFFORTS, Effort
from toolkit.optimize.plan import SPACES

pytest.importorskip("optuna", reason="the optimize extra is not installed")
pytest.importorskip("matplotlib", reason="the optimize extra is not installed")
NAMES = {0: "ABBR", 1: "DESC", 2: "ENTY", 3: "HUM", 4: "LOC", 5: "NUM"}
ROWS = {"train": 240, "validation": 100, "test": 100}


def save_classifier(folder: Path, *, seed: int) -> Path:
    """A small BERT of random weights, as transformers saves it."""
    import torch
    import transformers

    torch.manual_seed(seed)
    folder.mkdir()
    for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).write_bytes((minilm_folder() / name).read_bytes())
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 40}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config: Any = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=30522,
        max_position_embeddings=48, id2label=NAMES,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions of TREC in one file, with the split in a column."""
    data, path = load_data("trec"), tmp_path_factory.mktemp("rows") / "questions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        for name, count in ROWS.items():
            split = data.split(name).take(range(count))
            labels = [data.labels[label] for label in split.labels]
            writer.writerows([text, label, name] for text, label in zip(split.examples, labels, strict=True))
    return path


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for effort in ("short", "long"):
        monkeypatch.setitem(EFFORTS, effort, Effort(dict.fromkeys(EFFORTS[effort].epochs, 1), 0, 0))
    # two plans are soon all tried, and the search ends
    monkeypatch.setitem(SPACES, ("text", ""), {"quantize": {}, "mlp": {"width": (64,), "buckets": (8192,)}})
    monkeypatch.setattr(decision, "SECONDS", 0.3)
    monkeypatch.setattr(decision, "ROUNDS", 2)
    monkeypatch.setattr(weighing, "SECONDS", 0.1)
    monkeypatch.setattr(weighing, "P99_SAMPLES", 50)


def test_a_huggingface_folder_is_searched(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = save_classifier(tmp_path / "theirs", seed=0), tmp_path / "found"
    arguments = ["optimize", f"hf:{folder}", "--data", str(rows), "--max-drop", "0.3", "--hours", "0.02", "--threads",
                 "1", "-o", str(out), "--json"]  # fmt: skip
    code = run(arguments)
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert code in (0, 1), printed.err
    assert "warning: nothing is known of the rows that" in printed.err
    assert document["rows"] == ROWS
    assert {candidate["plan"].split()[0] for candidate in document["candidates"]} >= {"quantize", "mlp"}
    for role in ("best", "fastest", "smallest"):
        assert load_artifact(out / role).digest == document["answers"][role]["digest"]
    assert document["answers"]["smallest"]["smaller_than_reference"] > 1
    assert {path.name for path in tmp_path.iterdir()} == {"theirs", "found", "found-onnx"}


def test_an_export_of_other_weights_is_not_taken_for_it(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (save_classifier(tmp_path / f"theirs-{seed}", seed=seed) for seed in (1, 2))
    arguments = ["--data", str(rows), "--dry-run", "-o", str(tmp_path / "found")]
    assert run(["optimize", f"hf:{first}", *arguments]) == 0
    assert "mlp: width" in capsys.readouterr().err
    assert run(["optimize", f"hf:{second}", *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("toolkit:")]
    assert "was exported from other weights than" in line
