"""Somebody else's classifier folders: exported as transformers answers, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from toolkit.artifact import load_artifact
from toolkit.data.archives import minilm_folder
from toolkit.encoders.image import ImageEncoder
from toolkit.errors import ArtifactError
from toolkit.export.huggingface import export_huggingface
from toolkit.export.preprocessing import TEXTS, image_encoder, sample_rows, token_encoder
from toolkit.predictor import Predictor

NAMES = {0: "no", 1: "yes", 2: "maybe"}
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 30522,
    "id2label": NAMES,
}
TOKENIZER = ("tokenizer.json", "vocab.txt", "special_tokens_map.json")


def make_folder(folder: Path, kind: str) -> Path:
    """A random small classifier, saved as transformers saves it."""
    import transformers as t

    torch.manual_seed(0)
    folder.mkdir()
    if kind == "vit":
        model: Any = t.ViTForImageClassification(t.ViTConfig(**SMALL, image_size=16, patch_size=8))
        t.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    else:
        for name in TOKENIZER:
            (folder / name).write_bytes((minilm_folder() / name).read_bytes())
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 40}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        if kind == "bert":
            model = t.BertForSequenceClassification(t.BertConfig(**SMALL, max_position_embeddings=48))
        elif kind == "roberta":
            sizes = {**SMALL, "pad_token_id": 0, "max_position_embeddings": 34, "type_vocab_size": 1}
            model = t.RobertaForSequenceClassification(t.RobertaConfig(**sizes))
        else:
            model = t.DistilBertForSequenceClassification(
                t.DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=24, id2label=NAMES)
            )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    model.save_pretrained(folder)
    return folder


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_text_classifiers_answer_like_transformers(kind: str, tmp_path: Path) -> None:
    import transformers as t

    folder = make_folder(tmp_path / kind, kind)
    artifact, parity = export_huggingface(folder, tmp_path / "out")
    longest = {"bert": 40, "distilbert": 40, "roberta": 33}[kind]
    assert artifact.spec.limits == {"length": (1, longest)}
    assert parity.passed(1e-5)
    assert parity.shapes[-1] == (32, longest)
    assert [i.name for i in onnx.load_from_string(artifact.read("model.onnx")).graph.input] == [
        "input_ids",
        "attention_mask",
    ]
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    model = t.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    long = "a very long text " * 30
    with Predictor.load(tmp_path / "out") as predictor, torch.inference_mode():
        for text in (*TEXTS, long):
            given = tokenizer(text, return_tensors="pt", truncation=True, max_length=longest)
            if kind == "distilbert":
                del given["token_type_ids"]  # BERT's tokenizer makes them, DistilBERT does not take them
            expected = model(**given).logits.numpy()
            assert np.allclose(predictor.logits([text]), expected, atol=1e-5)
        assert predictor(["Who?"])[0].label in NAMES.values()


def test_image_classifiers_answer_like_transformers(tmp_path: Path) -> None:
    import transformers as t

    folder = make_folder(tmp_path / "vit", "vit")
    artifact, parity = export_huggingface(folder, tmp_path / "out", name="eyes")
    assert (artifact.name, artifact.spec.task, artifact.spec.labels) == ("eyes", "image", ("no", "yes", "maybe"))
    assert parity.passed()
    processor = t.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    model = t.AutoModelForImageClassification.from_pretrained(folder).eval()
    pictures = sample_rows("image")
    with Predictor.load(tmp_path / "out") as predictor, torch.inference_mode():
        expected = model(**processor(images=pictures, return_tensors="pt")).logits.numpy()
        assert np.allclose(predictor.logits(pictures), expected, atol=1e-4)


def test_lineage_names_the_architecture_and_the_weights(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", "bert")
    export_huggingface(folder, tmp_path / "out", examples=["one text", "and another one"])
    core = load_artifact(tmp_path / "out").core
    settings = core.steps[0].settings
    assert core.name == "mine"
    assert settings["architecture"] == "BertForSequenceClassification"
    assert list(settings["weights"]) == ["model.safetensors"]
    assert (core.net, core.parent, core.split) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["BertForMaskedLM"]}, r"is a BertForMaskedLM; allowed: \*ForSequenceClassification"),
        ({"architectures": None}, "is a no architecture"),
        ({"problem_type": "regression"}, "made for regression"),
        ({"problem_type": "multi_label_classification"}, "made for multi_label_classification"),
    ],
)
def test_other_models_are_refused_by_name(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "bert", "bert")
    change(folder / "config.json", **changes)
    with pytest.raises(ArtifactError, match=words):
        export_huggingface(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_config_or_with_pickled_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no readable config\.json"):
        export_huggingface(tmp_path, tmp_path / "out")
    folder = make_folder(tmp_path / "bert", "bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="pickled weights are not taken"):
        export_huggingface(folder, tmp_path / "out")


def test_tokenizers_that_serving_could_not_imitate_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "bert", "bert")
    change(folder / "tokenizer_config.json", padding_side="left")
    with pytest.raises(ArtifactError, match="pads its texts on the left"):
        token_encoder(folder)
    for name in TOKENIZER:
        (folder / name).unlink()
    with pytest.raises(ArtifactError, match="no tokenizer that can be read"):
        token_encoder(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resample": 3}, "resample 3"),
        ({"do_center_crop": True}, "do_center_crop True"),
        ({"size": {"shortest_edge": 16}}, "shortest_edge"),
        ({"do_normalize": False}, "do_normalize False"),
        ({"rescale_factor": 1.0}, r"rescale_factor 1\.0"),
    ],
)
def test_preprocessors_that_are_not_plain_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "vit", "vit")
    assert isinstance(image_encoder(folder), ImageEncoder)
    change(folder / "preprocessor_config.json", **changes)
    with pytest.raises(ArtifactError, match=words):
        image_encoder(folder)


def test_a_preprocessor_that_does_more_than_it_says_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "vit", "vit")
    # CLIP's crops where the file says nothing about it
    silent = {"image_processor_type": "CLIPImageProcessor", "crop_size": {"height": 8, "width": 8}}
    change(folder / "preprocessor_config.json", **silent)
    with pytest.raises(ArtifactError, match="otherwise than its preprocessor_config"):
        image_encoder(folder)
