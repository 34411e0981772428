"""Attention relations of nets of any width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from compress_samples import Sample, short_recipe
from torch import Tensor

from toolkit.compress.imitate import Objective, imitate
from toolkit.compress.relations import count_relation_heads, relation_loss, watch_attention
from toolkit.compress.teachers import teacher_answers
from toolkit.errors import InputError
from toolkit.nets import build_net
from toolkit.nets.transformer import Transformer

MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


def _numpy_loss(own: Tensor, theirs: Tensor, heads: int) -> float:
    """By the definition: row by row, head by head, without padding at all."""
    total = 0.0
    for part in range(3):
        apart = []
        for row, length in enumerate(MASK.sum(dim=1).tolist()):
            for head in range(heads):
                said, told = (_relation(t.chunk(3, dim=-1)[part][row, :length], heads, head) for t in (own, theirs))
                apart += (told * (np.log(told) - np.log(said))).sum(axis=1).tolist()
        total += sum(apart) / len(apart)
    return total


def _relation(vectors: Tensor, heads: int, head: int) -> np.ndarray:
    width = vectors.shape[1] // heads
    cut = vectors[:, head * width : (head + 1) * width].numpy().astype(np.float64)
    weights = np.exp(cut @ cut.T / np.sqrt(width))
    result: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return result


def test_the_loss_is_its_definition_for_nets_of_two_widths() -> None:
    torch.manual_seed(0)
    own, theirs = torch.randn(2, 5, 3 * 32), torch.randn(2, 5, 3 * 48)
    assert count_relation_heads(32, 48) == 4
    assert float(relation_loss(own, theirs, MASK)) == pytest.approx(_numpy_loss(own, theirs, 4), rel=1e-4)


def test_the_loss_is_zero_for_the_same_and_leaves_padding_out() -> None:
    torch.manual_seed(0)
    own = torch.randn(2, 5, 3 * 32)
    assert float(relation_loss(own, own.clone(), MASK)) == pytest.approx(0.0, abs=1e-6)
    moved = own.clone()
    moved[0, 3:] += 50.0
    assert float(relation_loss(moved, own, MASK)) == pytest.approx(0.0, abs=1e-6)
    moved[0, 0] += 1.0
    assert float(relation_loss(moved, own, MASK)) > 0.001


@pytest.mark.parametrize(
    ("widths", "heads"),
    [((384, 384), 48), ((128, 384), 16), ((160, 384), 16), ((32, 96), 4), ((7, 14), 1), ((13, 9), 1)],
)
def test_relation_heads_divide_both(widths: tuple[int, int], heads: int) -> None:
    assert count_relation_heads(*widths) == heads


def test_watching_changes_no_answer_and_leaves_no_hook(transformer: Sample) -> None:
    net = transformer.classifier.net
    assert isinstance(net, Transformer)
    arrays = transformer.classifier.encoder.encode(transformer.data.split("test").examples[:4])
    before = transformer.classifier.run(arrays)
    with watch_attention(net) as seen:
        assert np.array_equal(transformer.classifier.run(arrays), before)
    length = arrays["input_ids"].shape[1]
    assert seen.qkv.shape == (4, length, 3 * 4 * 16)
    assert not any(module._forward_hooks for module in net.modules())


def test_relations_pull_a_narrow_student_to_its_teacher(transformer: Sample) -> None:
    teacher = transformer.classifier
    assert isinstance(teacher.net, Transformer)
    train, held = transformer.data.split("train").take(range(256)), transformer.data.split("validation")
    answers = teacher_answers(teacher, train.examples)
    arrays = teacher.encoder.encode(held.examples)
    inputs = tuple(torch.from_numpy(arrays[i.name]) for i in teacher.encoder.inputs)
    apart = {}
    for relations in (False, True):
        torch.manual_seed(0)
        sizes = replace(teacher.net.sizes, width=32, heads=(2, 2), feed_forward=(64, 64))
        student = Transformer(sizes)
        names = set(student.state_dict())
        imitate(
            teacher, student, teacher.encoder, train, held, short_recipe("transformer", epochs=4, learning_rate=2e-3),
            answers=answers, objective=Objective(relations=relations),
        )  # fmt: skip
        assert set(student.state_dict()) == names
        assert not any(module._forward_hooks for module in student.modules())
        with watch_attention(student) as own, watch_attention(teacher.net) as theirs, torch.no_grad():
            student.eval()(*inputs), teacher.net(*inputs)
        apart[relations] = float(relation_loss(own.qkv, theirs.qkv, inputs[1]))
    assert apart[True] < 0.7 * apart[False]


def test_relations_of_another_net_are_refused_by_name(transformer: Sample) -> None:
    train, held = transformer.data.split("train").take(range(32)), transformer.data.split("validation")
    student = build_net("lstm", {"vocabulary": 2000, "width": 8, "hidden": 8, "labels": 6})
    with pytest.raises(InputError, match=r"attention relations go from a trained .* to lstm; leave relations out"):
        imitate(
            transformer.classifier, student, transformer.classifier.encoder, train, held, short_recipe("lstm"),
            answers=np.zeros((32, 6), dtype=np.float32), objective=Objective(relations=True),
        )  # fmt: skip
