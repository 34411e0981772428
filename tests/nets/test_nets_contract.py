"""What every net of ours promises: sizes that rebuild it, padding that does not count, a row that stands alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_classifiers import KINDS, examples_of, make_classifier

from toolkit.classifier import copy_net
from toolkit.errors import ArtifactError, RecipeError
from toolkit.nets import build_net, describe_net

TEXT_KINDS = ("mlp", "lstm", "textcnn", "transformer")


@pytest.mark.parametrize("kind", KINDS)
def test_json_of_the_sizes_rebuilds_the_net(kind: str) -> None:
    classifier = make_classifier(kind)
    described = json.loads(json.dumps(describe_net(classifier.net)))
    again = build_net(described["kind"], described["sizes"])
    assert again.sizes == classifier.net.sizes
    again.load_state_dict(classifier.net.state_dict())
    arrays = classifier.encoder.encode(examples_of(kind))
    tensors = [torch.from_numpy(arrays[i.name]) for i in classifier.spec.inputs]
    with torch.inference_mode():
        assert np.array_equal(again.eval()(*tensors).numpy(), classifier.run(arrays))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_float32_one_row_an_example(kind: str) -> None:
    classifier = make_classifier(kind)
    logits = classifier.run(classifier.encoder.encode(examples_of(kind)))
    assert logits.dtype == np.float32
    assert logits.shape == (len(examples_of(kind)), len(classifier.spec.labels))
    assert logits.std() > 0.01  # examples differ, so must their logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_answers_as_in_its_batch(kind: str) -> None:
    classifier = make_classifier(kind)
    examples = examples_of(kind)
    together = classifier.run(classifier.encoder.encode(examples))
    alone = np.concatenate([classifier.run(classifier.encoder.encode([example])) for example in examples])
    assert np.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_what_stands_in_the_padding_changes_nothing(kind: str) -> None:
    classifier = make_classifier(kind)
    arrays = classifier.encoder.encode(examples_of(kind))
    hidden = arrays["attention_mask"] == 0
    assert hidden.any()
    garbage = {**arrays, "input_ids": np.where(hidden, 7, arrays["input_ids"])}
    assert np.allclose(classifier.run(garbage), classifier.run(arrays), atol=1e-6)


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_a_single_token_is_answered(kind: str) -> None:
    ids = np.asarray([[3], [5]], dtype=np.int64)
    logits = make_classifier(kind).run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert np.isfinite(logits).all()
    assert not np.array_equal(logits[0], logits[1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str) -> None:
    classifier = make_classifier(kind)
    arrays = classifier.encoder.encode(examples_of(kind))
    net = classifier.net.train()
    logits = net(*(torch.from_numpy(arrays[i.name]) for i in classifier.spec.inputs))
    labels = torch.arange(len(logits)) % logits.shape[1]
    torch.nn.functional.cross_entropy(logits, labels).backward()
    idle = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert idle == []


@pytest.mark.parametrize("kind", KINDS)
def test_training_drops_and_evaluation_does_not(kind: str) -> None:
    classifier = make_classifier(kind, dropout=0.5)
    arrays = classifier.encoder.encode(examples_of(kind))
    tensors = [torch.from_numpy(arrays[i.name]) for i in classifier.spec.inputs]
    net = classifier.net.train()
    assert not torch.equal(net(*tensors), net(*tensors))
    assert np.array_equal(classifier.run(arrays), classifier.run(arrays))


def test_a_copy_shares_no_memory() -> None:
    net = make_classifier("transformer").net
    copied = copy_net(net)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_unknown_kind_and_unknown_size_are_refused() -> None:
    with pytest.raises(RecipeError, match="unknown net 'gru'; allowed: mlp, lstm"):
        build_net("gru", {})
    with pytest.raises(RecipeError, match="sizes of mlp cannot be used"):
        build_net("mlp", {"vocabulary": 9, "width": 4, "hidden": (), "labels": 2, "heads": 3})


def test_a_net_of_somebody_else_has_no_description() -> None:
    with pytest.raises(ArtifactError, match="Linear is no net of ours"):
        describe_net(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("kind", "changed", "words"),
    [
        ("mlp", {"width": 0}, "1 or more"),
        ("lstm", {"layers": 0}, "1 or more"),
        ("textcnn", {"kernels": (2, 3)}, "one length"),
        ("textcnn", {"filters": (4, 0, 4)}, "1 or more"),
        ("transformer", {"heads": (4, 0, 2)}, "1 or more"),
        ("transformer", {"heads": (4, 2)}, "one length"),
        ("transformer", {"activation": "swish"}, "allowed: gelu"),
        ("transformer", {"embedding": 16}, "embedding is 16; allowed: 1 to 15, less than the net's width, or None"),
        ("transformer", {"embedding": 0}, "embedding is 0; allowed: 1 to 15"),
        ("cnn", {"inner": ((6,), ())}, "a block or more"),
        ("cnn", {"channels": 2}, "channels 1 or 3"),
        ("cnn", {"stem_stride": 3}, "stem_stride of 1, 2 or 4"),
        ("recommender", {"fields": (("picture", 3),)}, "allowed: category, number, set"),
        ("recommender", {"unseen": 1.0}, "0 <= unseen < 1"),
    ],
)
def test_sizes_out_of_range_say_what_is_allowed(kind: str, changed: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_classifier(kind, **changed)
