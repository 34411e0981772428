"""Convolutions over tokens: padding, short texts, and what a window sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_classifiers import TEXTS, make_classifier

from toolkit.export.onnx import export
from toolkit.nets.textcnn import Textcnn, TextcnnSizes
from toolkit.predictor import Predictor


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 8])
def test_a_kernel_of_any_width_answers_alone_as_in_a_batch(kernel: int) -> None:
    torch.manual_seed(0)
    net = Textcnn(TextcnnSizes(vocabulary=20, width=4, filters=(7,), kernels=(kernel,), labels=3)).eval()
    ids, mask = torch.randint(1, 20, (4, 9)), torch.ones(4, 9, dtype=torch.int64)
    for row, length in enumerate((1, 2, 5, 9)):
        mask[row, length:] = 0
    with torch.inference_mode():
        together = net(ids, mask)
        for row, length in enumerate((1, 2, 5, 9)):
            alone = net(ids[row : row + 1, :length], mask[row : row + 1, :length])
            torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-6)


def test_a_window_sees_the_order_of_two_words_and_a_width_of_one_does_not() -> None:
    torch.manual_seed(0)
    ids, mask = torch.tensor([[3, 5, 7], [7, 5, 3]]), torch.ones(2, 3, dtype=torch.int64)
    for kernels, same in (((1,), True), ((2,), False)):
        net = Textcnn(TextcnnSizes(vocabulary=20, width=4, filters=(8,), kernels=kernels, labels=3)).eval()
        with torch.inference_mode():
            forth, back = net(ids, mask)
        assert torch.allclose(forth, back, atol=1e-6) == same


def test_every_filter_is_the_maximum_over_true_windows() -> None:
    torch.manual_seed(0)
    net = Textcnn(TextcnnSizes(vocabulary=20, width=4, filters=(6,), kernels=(2,), labels=6)).eval()
    with torch.no_grad():
        net.classifier.weight.copy_(torch.eye(6))
        net.classifier.bias.zero_()
        ids = torch.tensor([[4, 9, 11, 2]])
        found = net(ids, torch.tensor([[1, 1, 1, 0]]))
        table, kernel, bias = net.tokens.weight, net.convolutions[0].weight, net.convolutions[0].bias
        pairs = [torch.stack([first, second], dim=1) for first, second in (
            (torch.zeros(4), table[4]), (table[4], table[9]), (table[9], table[11]),
        )]  # fmt: skip
        wanted = torch.stack([(kernel * pair).sum(dim=(1, 2)) + bias for pair in pairs]).amax(dim=0).relu()
    torch.testing.assert_close(found[0], wanted)


def test_it_leaves_for_any_length_down_to_one_token(tmp_path: Path) -> None:
    classifier = make_classifier("textcnn", kernels=(3, 6, 8))
    artifact, parity = export(classifier, tmp_path, examples=TEXTS)
    assert parity.max_relative_difference < 1e-4
    with Predictor.load(artifact) as predictor:
        for text in ("a", "Why ?", TEXTS[1]):
            wanted = classifier.run(classifier.encoder.encode([text]))
            assert predictor.logits([text]) == pytest.approx(wanted, abs=1e-5)
        ids = np.asarray([[3]], dtype=np.int64)
        single = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        assert predictor.runner.run(single) == pytest.approx(classifier.run(single), abs=1e-5)
