"""What a new student takes from its teacher, and that it begins nearer to it for that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from compress_samples import Sample
from torch import nn
from torch.nn import functional

from toolkit.classifier import Classifier
from toolkit.compress.inherit import count_tokens, inherit
from toolkit.compress.narrow import principal_components
from toolkit.compress.teachers import digest_of_weights
from toolkit.nets import build_net
from toolkit.nets.transformer import Transformer
from toolkit.spec import Array


def _student(teacher: Classifier, seed: int = 0, **changed: object) -> Transformer:
    assert isinstance(teacher.net, Transformer)
    torch.manual_seed(seed)
    return Transformer(replace(teacher.net.sizes, **changed)).eval()  # type: ignore[arg-type]


def _divergence(teacher: Classifier, student: nn.Module, arrays: dict[str, Array]) -> float:
    told, said = (torch.from_numpy(replace(teacher, net=net).run(arrays)) for net in (teacher.net, student))
    softened = said.log_softmax(1), told.log_softmax(1)
    return float(functional.kl_div(*softened, log_target=True, reduction="batchmean"))


def test_components_give_back_a_table_that_has_no_more(transformer: Sample) -> None:
    """Of a table of rank 5 around its mean, 5 components lose nothing but the mean."""
    chance = torch.Generator().manual_seed(0)
    table = torch.randn(300, 5, generator=chance) @ torch.randn(5, 12, generator=chance)
    basis, share = principal_components(table, torch.rand(300, generator=chance) + 0.1, 5)
    assert share == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(basis.T @ basis, torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(table @ basis @ basis.T, table, atol=1e-4, rtol=1e-4)
    whole, all_of_it = principal_components(table, torch.ones(300), 12)
    assert torch.equal(whole, torch.eye(12))
    assert all_of_it == 1.0


def test_components_follow_the_tokens_that_are_used() -> None:
    chance = torch.Generator().manual_seed(0)
    table = torch.randn(200, 10, generator=chance)
    table[100:, :5] *= 0.01  # the second half lies in the other five columns
    table[:100, 5:] *= 0.01
    weights = torch.cat([torch.full((100,), 1e-6), torch.ones(100)])
    basis, _ = principal_components(table, weights, 5)
    assert float((basis[5:] ** 2).sum()) > 0.99 * 5


def test_equal_sizes_are_the_same_net(transformer: Sample) -> None:
    teacher = transformer.classifier
    student = _student(teacher, dropout=0.4)
    record = inherit(student, teacher, transformer.data.split("train").examples, [0, 1, 2])
    assert record == {"all": "copied"}
    assert digest_of_weights(student) == digest_of_weights(teacher.net)


def test_full_width_and_fewer_heads_are_taken_exactly(transformer: Sample) -> None:
    teacher, texts = transformer.classifier, transformer.data.split("train").examples
    before = digest_of_weights(teacher.net)
    student = _student(teacher, heads=(2, 4, 4))
    record = inherit(student, teacher, texts, [0, 1, 2])
    assert record["stream"] == "copied"
    assert record["layers"] == [0, 1, 2]
    theirs, own = teacher.net.state_dict(), student.state_dict()
    changed = {name for name in own if not torch.equal(own[name], theirs[name][: len(own[name])])}
    assert changed <= {f"layers.0.attention.{part}" for part in ("qkv.weight", "qkv.bias", "output.weight")}
    # each row that stays is a row of the teacher's
    rows = {tuple(row) for row in theirs["layers.0.attention.qkv.weight"].tolist()}
    assert all(tuple(row) in rows for row in own["layers.0.attention.qkv.weight"].tolist())
    assert digest_of_weights(teacher.net) == before


def test_the_neurons_with_the_largest_weights_stay(transformer: Sample) -> None:
    teacher = transformer.classifier
    student = _student(teacher, feed_forward=(32, 128, 128))
    inherit(student, teacher, transformer.data.split("train").examples, [0, 1, 2])
    assert isinstance(teacher.net, Transformer)
    whole = teacher.net.layers[0]
    weights = whole.expand.weight.norm(dim=1) * whole.contract.weight.norm(dim=0)  # type: ignore[union-attr]
    kept = weights.topk(32).indices.sort().values
    assert torch.equal(student.layers[0].expand.weight, whole.expand.weight[kept])  # type: ignore[union-attr]


def test_a_narrowed_net_begins_nearer_to_its_teacher_than_a_new_one(transformer: Sample) -> None:
    teacher, data = transformer.classifier, transformer.data
    arrays = teacher.encoder.encode(data.split("validation").examples)
    nothing = _divergence(teacher, _student(teacher, width=48), arrays)
    student = _student(teacher, width=48)
    record = inherit(student, teacher, data.split("train").examples, [0, 1, 2])
    assert record["stream"] == "48 principal components of 64"
    assert 0.9 < record["variance_kept"] <= 1.0
    assert _divergence(teacher, student, arrays) < 0.5 * nothing
    shallow = _student(teacher, width=32, heads=(2, 2), feed_forward=(64, 64))
    record = inherit(shallow, teacher, data.split("train").examples, [0, 2])
    assert record["layers"] == [0, 2]
    assert np.isfinite(replace(teacher, net=shallow).run(arrays)).all()
    again = _student(teacher, seed=1, width=32, heads=(2, 2), feed_forward=(64, 64))
    inherit(again, teacher, data.split("train").examples, [0, 2])
    assert digest_of_weights(again) == digest_of_weights(shallow), "nothing of a random start is left"


@pytest.mark.parametrize("kind", ["lstm", "textcnn"])
def test_token_vectors_keep_who_is_like_whom(kind: str, transformer: Sample) -> None:
    teacher, texts = transformer.classifier, transformer.data.split("train").examples
    table = teacher.net.get_parameter("tokens.weight").detach()
    sizes = {"lstm": {"hidden": 8}, "textcnn": {"filters": (8,), "kernels": (3,)}}[kind]
    student = build_net(kind, {"vocabulary": len(table), "width": 48, "labels": 6, **sizes})
    head = student.get_parameter("classifier.weight").detach().clone()
    record = inherit(student, teacher, texts, [])
    assert record["tokens"] == "48 principal components of 64"
    own = student.get_parameter("tokens.weight").detach()
    used = count_tokens(teacher.encoder, texts, len(table)).topk(200).indices
    alike = [functional.normalize(t[used] - t[used].mean(dim=0)) for t in (own, table)]
    ours, theirs = (vectors @ vectors.T for vectors in alike)
    assert float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]) > 0.9
    assert float(own.std()) == pytest.approx(0.1, rel=0.01)
    assert torch.equal(student.get_parameter("classifier.weight"), head)


def test_what_cannot_be_taken_is_said_and_left_alone(transformer: Sample, cnn: Sample) -> None:
    teacher, texts = transformer.classifier, transformer.data.split("train").examples
    rows = teacher.net.get_parameter("tokens.weight").shape[0]
    wider = build_net("lstm", {"vocabulary": rows, "width": 65, "hidden": 8, "labels": 6})
    before = digest_of_weights(wider)
    assert f"a table of {rows}x65 is no smaller one of {rows}x64" in inherit(wider, teacher, texts, [])["nothing"]
    assert digest_of_weights(wider) == before
    assert "a cnn has no token vectors" in inherit(wider, cnn.classifier, texts, [])["nothing"]
    other = _student(teacher, head_width=8)
    record = inherit(other, teacher, texts, [0, 1, 2])
    assert record["layers"].startswith("new: activation, pooling or width of a head")
    assert record["tokens"] == "copied"
    assert torch.equal(other.tokens.weight, teacher.net.get_parameter("tokens.weight"))
    deeper = _student(teacher, heads=(1,) * 4, feed_forward=(8,) * 4)
    assert inherit(deeper, teacher, texts, [])["layers"] == "new: 4 layers are more than 3"


def test_counts_are_of_tokens_and_leave_none_at_zero(transformer: Sample) -> None:
    encoder = transformer.classifier.encoder
    counts = count_tokens(encoder, ["Who ? Who ?"], 2000)
    assert float(counts.min()) > 0
    assert int(counts.argmax()) in encoder.encode(["Who ?"])["input_ids"][0].tolist()
