"""BERT-family checkpoint folders, as Hugging Face writes them, in this toolkit's names and shapes.

Reads `config.json` and `model.safetensors`; never a pickle. Taken: bert (MiniLM and most sentence
encoders are that), roberta and xlm-roberta (their positions start behind the padding's number, so that
many rows of the table are cut off), distilbert. Anything else is refused by name, and so is a relative
position embedding: `hf:PATH` exports such a model as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from toolkit.errors import ArtifactError

_BERT_CONFIG = {
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "width": "hidden_size",
    "feed_forward": "intermediate_size",
    "activation": "hidden_act",
}
_DISTILBERT_CONFIG = {
    "layers": "n_layers",
    "heads": "n_heads",
    "width": "dim",
    "feed_forward": "hidden_dim",
    "activation": "activation",
}
# our name of a layer's part -> theirs; "qkv" is three of theirs, one upon the other
_BERT_LAYER = {
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.output": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "expand": ("intermediate.dense",),
    "contract": ("output.dense",),
    "feed_forward_norm": ("output.LayerNorm",),
}
_DISTILBERT_LAYER = {
    "attention.qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "attention.output": ("attention.out_lin",),
    "attention_norm": ("sa_layer_norm",),
    "expand": ("ffn.lin1",),
    "contract": ("ffn.lin2",),
    "feed_forward_norm": ("output_layer_norm",),
}


@dataclass(frozen=True)
class _Family:
    """How one model type names its sizes and weights."""

    config: Mapping[str, str]
    layer: Mapping[str, tuple[str, ...]]
    layers_at: str
    positions_after_padding: bool = False


_ROBERTA = _Family(_BERT_CONFIG, _BERT_LAYER, "encoder.layer", positions_after_padding=True)
FAMILIES = {
    "bert": _Family(_BERT_CONFIG, _BERT_LAYER, "encoder.layer"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": _Family(_DISTILBERT_CONFIG, _DISTILBERT_LAYER, "transformer.layer"),
}


@dataclass(frozen=True)
class Checkpoint:
    """`sizes` are `TransformerSizes` but for labels and dropout; `tensors` the weights by our names."""

    sizes: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder; raises `ArtifactError` that says what is missing or not taken."""
    config = _read_config(folder)
    model_type = config.get("model_type")
    family = FAMILIES.get(str(model_type))
    if family is None:
        raise ArtifactError(
            f"{folder} holds a {model_type!r} model; allowed: {', '.join(FAMILIES)}; any other classifier "
            "can be exported as it is with toolkit export hf:PATH"
        )
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
        raise ArtifactError(f"{folder} has relative positions or is a decoder; allowed: encoders, absolute positions")
    weights = _read_weights(folder)
    offset = int(config.get("pad_token_id", 1)) + 1 if family.positions_after_padding else 0
    try:
        get = {ours: config[theirs] for ours, theirs in family.config.items()}
        tensors = _embeddings(weights, offset)
        for index in range(int(get["layers"])):
            for ours, theirs in family.layer.items():
                for kind in ("weight", "bias"):
                    parts = [weights[f"{family.layers_at}.{index}.{name}.{kind}"] for name in theirs]
                    tensors[f"layers.{index}.{ours}.{kind}"] = torch.cat(parts)
    except KeyError as error:
        raise ArtifactError(f"{folder} has no {error}; give a whole {model_type} checkpoint") from None
    layers, heads = int(get["layers"]), int(get["heads"])
    sizes = {
        "vocabulary": tensors["tokens.weight"].shape[0],
        "width": int(get["width"]),
        "heads": (heads,) * layers,
        "head_width": int(get["width"]) // heads,
        "feed_forward": (int(get["feed_forward"]),) * layers,
        "positions": tensors["positions.weight"].shape[0],
        "activation": str(get["activation"]),
        "norm_eps": float(config.get("layer_norm_eps", 1e-12)),
    }
    return Checkpoint(sizes, tensors)


def _embeddings(weights: Mapping[str, Tensor], offset: int) -> dict[str, Tensor]:
    """Token and position tables and their norm; the type embedding of segment 0 goes into the positions."""
    positions = weights["embeddings.position_embeddings.weight"][offset:]
    types = weights.get("embeddings.token_type_embeddings.weight")
    return {
        "tokens.weight": weights["embeddings.word_embeddings.weight"],
        "positions.weight": positions if types is None else positions + types[0],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "config.json").read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON object"
        raise ArtifactError(
            f"{folder / 'config.json'} cannot be read ({reason}); give a folder with config.json, "
            "model.safetensors and tokenizer.json"
        ) from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Float32 weights without the `bert.`, `roberta.`, `distilbert.` or `model.` that a task head puts before them."""
    path = folder / "model.safetensors"
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); pickled weights are not taken") from None
    found = next((name for name in stored if name.endswith("embeddings.word_embeddings.weight")), "")
    prefix = found.removesuffix("embeddings.word_embeddings.weight")
    return {name.removeprefix(prefix): tensor.float() for name, tensor in stored.items()}
