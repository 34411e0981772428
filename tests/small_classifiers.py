"""Real small classifiers of every kind, untrained: what leaves through the door must not depend on training.

Random weights are as good as trained ones for shapes, padding and exactness, and take no time to make.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from toolkit.classifier import Classifier
from toolkit.encoders import Encoder
from toolkit.encoders.image import ImageEncoder
from toolkit.encoders.ngrams import NgramEncoder
from toolkit.encoders.record import learn_fields
from toolkit.encoders.text import TokenEncoder, train_tokenizer
from toolkit.lineage import SplitRecord, Step
from toolkit.nets import build_net
from toolkit.nets.recommender import field_sizes
from toolkit.spec import Spec

TEXTS = [
    "Who wrote Hamlet ?",
    "What is the capital of the country with the longest coast line in the world ?",
    "How far is the moon from here ?",
    "谁写了哈姆雷特?",
    "Why ?",
    "Where was the first book about the history of the printing press printed ?",
    "When did the war end ?",
]
RECORDS = [
    {"user": str(i % 3), "item": f"i{i % 5}", "age": 20.0 + 3 * i, "genres": ["drama", "comedy", "war"][: i % 4]}
    for i in range(12)
]
PICTURES = [np.random.default_rng(i).integers(0, 256, (12, 12), dtype=np.uint8) for i in range(6)]
KINDS = ("mlp", "lstm", "textcnn", "transformer", "cnn", "recommender")


def make_classifier(kind: str, **changed: Any) -> Classifier:
    """A small classifier of `kind` with weights from seed 0; `changed` replaces some of its sizes."""
    torch.manual_seed(0)
    encoder, sizes = _encoder_and_sizes(kind)
    net = build_net(kind, {**sizes, **changed})
    with torch.no_grad():
        for parameter in net.parameters():  # fresh nets answer near zero, where a difference would not show
            parameter.mul_(1.0 if kind == "cnn" else 2.0).add_(torch.randn_like(parameter) * 0.05)
    task = {"cnn": "image", "recommender": "recommend"}.get(kind, "text")
    labels = ("dislike", "like") if kind == "recommender" else ("one", "two", "three")
    return Classifier(
        name=kind,
        net=net.eval(),
        spec=Spec(task, encoder.inputs, labels, encoder.limits),
        encoder=encoder,
        steps=(Step("train", {"net": kind}),),
        split=SplitRecord("small", "0" * 64, 0, {"train": "1" * 64}),
        temperature=1.5,
        training_rows=np.arange(5, dtype=np.uint64),
    )


def examples_of(kind: str) -> list[Any]:
    """Raw examples that a classifier of `kind` takes."""
    return {"cnn": PICTURES, "recommender": RECORDS}.get(kind, TEXTS)


def net_of(kind: str, **changed: Any) -> nn.Module:
    """The net alone."""
    return make_classifier(kind, **changed).net


def _encoder_and_sizes(kind: str) -> tuple[Encoder, dict[str, Any]]:
    if kind == "cnn":
        encoder: Encoder = ImageEncoder(channels=1, height=12, width=12, mean=[0.5], deviation=[0.25])
        return encoder, {"channels": 1, "stages": (8, 12), "inner": ((6,), (10, 5)), "labels": 3}
    if kind == "recommender":
        roles = {
            "user": ("category", "user"),
            "item": ("category", "item"),
            "age": ("number", "user"),
            "genres": ("set", "item"),
        }
        records = learn_fields(RECORDS, roles)
        return records, {"fields": field_sizes(records.fields), "width": 4, "hidden": (8,), "labels": 2}
    if kind == "mlp":
        ngrams = NgramEncoder(buckets=300, max_length=64)
        return ngrams, {"vocabulary": ngrams.vocabulary_size, "width": 8, "hidden": (16,), "labels": 3}
    tokens = TokenEncoder(train_tokenizer(TEXTS, vocabulary_size=200), max_length=24)
    if kind == "lstm":
        return tokens, {"vocabulary": tokens.vocabulary_size, "width": 8, "hidden": 6, "labels": 3}
    if kind == "textcnn":
        sizes = {"width": 8, "filters": (6, 5, 4), "kernels": (1, 4, 5), "labels": 3}
        return tokens, {"vocabulary": tokens.vocabulary_size, **sizes}
    return tokens, {
        "vocabulary": tokens.vocabulary_size,
        "width": 16,
        "heads": (4, 1, 2),
        "head_width": 4,
        "feed_forward": (32, 7, 20),
        "positions": 24,
        "labels": 3,
    }
