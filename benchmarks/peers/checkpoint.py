"""Our trained text classifier as the folder that the peers' tools take: Hugging Face's config, weights, tokenizer.

The same weights by other names; the head is remote code (`mean_pooled_bert`). Whoever converts checks: the logits
of transformers in this process and of our own runner must agree within 1e-4 on the rows given.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from toolkit.classifier import Classifier
from toolkit.encoders.text import TokenEncoder
from toolkit.errors import ArtifactError, require
from toolkit.nets.transformer import Transformer
from toolkit.predictor import relative_difference
from toolkit.runners.torch import TorchRunner

TOLERANCE = 1e-4
CODE = Path(__file__).with_name("mean_pooled_bert.py")
CLASS = "MeanPooledBertForSequenceClassification"
# name of a layer's part in transformers' BERT -> ours; the three of attention are rows of one product
_LAYER = {
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "expand",
    "output.dense": "contract",
    "output.LayerNorm": "feed_forward_norm",
}


def write_huggingface(classifier: Classifier, folder: Path, examples: Sequence[str]) -> float:
    """Write the folder; return the largest relative difference of a logit on `examples`.

    Raises `ArtifactError` for a net that transformers' BERT cannot hold, and when the answers differ.
    """
    net, encoder = classifier.net, classifier.encoder
    if not isinstance(net, Transformer) or not isinstance(encoder, TokenEncoder):
        raise ArtifactError(
            f"{classifier.name} is a {getattr(net, 'kind', 'foreign')} net; peers take a transformer on tokens"
        )
    sizes = net.sizes
    equal = len(set(sizes.heads)) == len(set(sizes.feed_forward)) == 1
    if not equal or sizes.heads[0] * sizes.head_width != sizes.width or sizes.pooling != "mean" or net.lift is not None:
        raise ArtifactError(
            f"{classifier.name} has layers of heads {sizes.heads} and feed_forward {sizes.feed_forward}, pools by "
            f"{sizes.pooling} and has a table {sizes.embedding or sizes.width} wide; peers take one size for all, "
            f"heads together and table as wide as the net ({sizes.width}), and the mean: give a model as trained"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_config(net, classifier.spec.labels, encoder), indent=1))
    save_file(_weights(net), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.json").write_bytes(encoder.files()["tokenizer.json"])
    (folder / "settings.json").write_bytes(encoder.files()["settings.json"])
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": encoder.max_length,
                 "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                 "mask_token": "[MASK]"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=1))
    shutil.copyfile(CODE, folder / CODE.name)
    return _check(classifier, folder, examples)


def _config(net: Transformer, labels: Sequence[str], encoder: TokenEncoder) -> Mapping[str, Any]:
    sizes = net.sizes
    return {
        "architectures": [CLASS],
        "auto_map": {"AutoModelForSequenceClassification": f"{CODE.stem}.{CLASS}"},
        "model_type": "bert", "torch_dtype": "float32",
        "vocab_size": sizes.vocabulary, "hidden_size": sizes.width, "num_hidden_layers": len(sizes.heads),
        "num_attention_heads": sizes.heads[0], "intermediate_size": sizes.feed_forward[0],
        "max_position_embeddings": sizes.positions, "type_vocab_size": 2, "hidden_act": sizes.activation,
        "layer_norm_eps": sizes.norm_eps, "pad_token_id": encoder.pad_id,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }  # fmt: skip


def _weights(net: Transformer) -> dict[str, Tensor]:
    ours = net.state_dict()
    width = net.sizes.width
    theirs = {
        "bert.embeddings.word_embeddings.weight": ours["tokens.weight"],
        "bert.embeddings.position_embeddings.weight": ours["positions.weight"],
        "bert.embeddings.token_type_embeddings.weight": torch.zeros(2, width),
        "bert.embeddings.LayerNorm.weight": ours["norm.weight"],
        "bert.embeddings.LayerNorm.bias": ours["norm.bias"],
        "classifier.weight": ours["classifier.weight"],
        "classifier.bias": ours["classifier.bias"],
    }
    for index in range(len(net.sizes.heads)):
        for kind in ("weight", "bias"):
            parts = ours[f"layers.{index}.attention.qkv.{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                theirs[f"bert.encoder.layer.{index}.attention.self.{name}.{kind}"] = part
            for name, own in _LAYER.items():
                theirs[f"bert.encoder.layer.{index}.{name}.{kind}"] = ours[f"layers.{index}.{own}.{kind}"]
    return {name: tensor.detach().clone().contiguous() for name, tensor in theirs.items()}


def _check(classifier: Classifier, folder: Path, examples: Sequence[str]) -> float:
    require("transformers", extra="train")
    from benchmarks.peers.mean_pooled_bert import MeanPooledBertForSequenceClassification as Model

    model = Model.from_pretrained(folder, local_files_only=True).eval()
    largest = 0.0
    with TorchRunner(classifier) as runner, torch.inference_mode():
        for example in examples:
            arrays = classifier.encoder.encode([example])
            found = model(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})
            largest = max(largest, relative_difference(runner.run(arrays), found.logits.numpy()))
    if not largest <= TOLERANCE:
        raise ArtifactError(f"the converted weights answer otherwise: logits differ by {largest:.1e}, over {TOLERANCE}")
    return largest
