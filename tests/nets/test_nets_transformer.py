"""The transformer against transformers' own, on the real MiniLM and on small checkpoints of each family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_classifiers import make_classifier

from toolkit.errors import ArtifactError
from toolkit.nets import build_net, describe_net
from toolkit.nets.transformer import Transformer, load_checkpoint

SMALL = {
    "vocab_size": 120,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 34,
}
SMALL_DISTIL = {
    "vocab_size": 120,
    "dim": 24,
    "n_layers": 2,
    "n_heads": 3,
    "hidden_dim": 40,
    "max_position_embeddings": 34,
}


def padded_batch(vocabulary: int, length: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (3, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, length // 2 :], mask[2, 1:] = 0, 0
    return ids, mask


def largest_difference(net: Transformer, reference: Any, ids: torch.Tensor, mask: torch.Tensor) -> float:
    """Over the hidden states of every layer, where there is no padding."""
    with torch.inference_mode():
        _, ours = net.eval().hidden(ids, mask)
        theirs = reference.eval()(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert len(ours) == len(theirs)
    seen = mask.bool()
    return max(float((a - b)[seen].abs().max()) for a, b in zip(ours, theirs, strict=True))


def test_minilm_answers_like_transformers() -> None:
    from transformers import BertModel

    from toolkit.data.archives import minilm_folder

    folder = minilm_folder()
    net = load_checkpoint(folder, labels=6, dropout=0.1)
    ids, mask = padded_batch(30_000)
    assert largest_difference(net, BertModel.from_pretrained(folder, attn_implementation="eager"), ids, mask) < 1e-5
    assert net.sizes.heads == (12,) * 6
    assert net.sizes.positions == 512


def small_model(family: str) -> Any:
    import transformers as t

    torch.manual_seed(1)
    if family == "distilbert":
        return t.DistilBertModel(t.DistilBertConfig(**SMALL_DISTIL))
    if family == "roberta":
        return t.RobertaModel(t.RobertaConfig(**SMALL, pad_token_id=1, hidden_act="gelu_new"))
    return t.BertForSequenceClassification(t.BertConfig(**SMALL, layer_norm_eps=1e-6, hidden_act="relu"))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_each_family_answers_like_transformers(family: str, tmp_path: Path) -> None:
    model = small_model(family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # also what is zero or one in a fresh model
    model.save_pretrained(tmp_path)
    net = load_checkpoint(tmp_path, labels=3, dropout=0.0)
    ids, mask = padded_batch(120)
    assert largest_difference(net, getattr(model, "bert", model), ids, mask) < 1e-5


def test_roberta_loses_the_positions_behind_its_padding(tmp_path: Path) -> None:
    small_model("roberta").save_pretrained(tmp_path)
    assert load_checkpoint(tmp_path, labels=2, dropout=0.0).sizes.positions == 32


def test_the_exported_form_of_attention_equals_the_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_classifier("transformer").net
    ids, mask = padded_batch(net.sizes.vocabulary)
    with torch.inference_mode():
        eager = net(ids, mask)
        monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
        exported = net(ids, mask)
    assert torch.allclose(eager, exported, atol=1e-5)


def test_a_narrow_table_is_lifted_to_the_width_and_its_sizes_rebuild_it() -> None:
    net = make_classifier("transformer", embedding=6).net
    assert (net.tokens.weight.shape[1], net.lift.weight.shape) == (6, (16, 6))
    whole = make_classifier("transformer").net
    state = {name: tensor for name, tensor in net.state_dict().items() if name != "lift.weight"}
    whole.load_state_dict({**state, "tokens.weight": net.token_vectors()})
    ids, mask = padded_batch(net.sizes.vocabulary)
    with torch.inference_mode():
        assert torch.allclose(net(ids, mask), whole(ids, mask), atol=1e-5)
    described = json.loads(json.dumps(describe_net(net)))
    again = build_net("transformer", described["sizes"])
    again.load_state_dict(net.state_dict())
    assert again.sizes == net.sizes


def test_sizes_written_before_tables_could_be_narrow_mean_a_whole_one() -> None:
    net = make_classifier("transformer").net
    sizes = {name: size for name, size in describe_net(net)["sizes"].items() if name != "embedding"}
    again = build_net("transformer", sizes)
    assert again.sizes == net.sizes
    assert set(again.state_dict()) == set(net.state_dict())
    assert not [name for name in net.state_dict() if name.startswith("lift")]
    assert net.token_vectors() is net.tokens.weight


@pytest.mark.parametrize("embedding", [None, 6])
def test_every_parameter_of_either_table_learns(embedding: int | None) -> None:
    net = make_classifier("transformer", embedding=embedding).net.train()
    ids, mask = padded_batch(net.sizes.vocabulary)
    torch.nn.functional.cross_entropy(net(ids, mask), torch.arange(3)).backward()
    assert [name for name, found in net.named_parameters() if found.grad is None or not found.grad.any()] == []


def test_half_precision_makes_no_nan_of_padding() -> None:
    net = make_classifier("transformer").net.bfloat16()
    ids, mask = padded_batch(net.sizes.vocabulary)
    with torch.inference_mode():
        bias = ((1.0 - mask[:, None, None].float()) * -10_000.0).half()
        assert torch.isfinite(bias).all()
        assert torch.isfinite(net(ids, mask)).all()


def test_cls_pooling_reads_the_first_token_only() -> None:
    net = make_classifier("transformer", pooling="cls").net
    ids, mask = padded_batch(net.sizes.vocabulary)
    with torch.inference_mode():
        logits, states = net.hidden(ids, mask)
        assert torch.allclose(logits, net.classifier(states[-1][:, 0]))
        assert not torch.allclose(logits, net.classifier(states[-1].mean(dim=1)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "t5"}, "holds a 't5' model; allowed: bert, roberta"),
        ({"position_embedding_type": "relative_key"}, "relative positions"),
        ({"is_decoder": True}, "is a decoder"),
        ({"num_hidden_layers": 3}, "has no 'encoder.layer.2"),
    ],
)
def test_what_is_not_taken_is_refused_by_name(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    small_model("bert").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ArtifactError, match=words):
        load_checkpoint(tmp_path, labels=2, dropout=0.1)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"config\.json cannot be read"):
        load_checkpoint(tmp_path, labels=2, dropout=0.1)
    small_model("bert").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        load_checkpoint(tmp_path, labels=2, dropout=0.1)


def test_a_fresh_head_differs_by_the_seed_and_the_encoder_does_not(tmp_path: Path) -> None:
    small_model("bert").save_pretrained(tmp_path)
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        nets.append(load_checkpoint(tmp_path, labels=2, dropout=0.1))
    first, second = (net.state_dict() for net in nets)
    assert [name for name in first if not np.array_equal(first[name], second[name])] == ["classifier.weight"]
