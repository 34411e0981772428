"""The residual network from 8x8 to 224x224, and its sizes block by block."""

from __future__ import annotations

import pytest
import torch

from toolkit.nets.cnn import Cnn, CnnSizes


@pytest.mark.parametrize(("channels", "side", "stride"), [(1, 8, 1), (3, 32, 1), (3, 96, 2), (3, 224, 4)])
def test_pictures_of_any_side_are_answered(channels: int, side: int, stride: int) -> None:
    net = Cnn(CnnSizes(channels, (8, 8, 16), ((4,), (4,), (4,)), labels=5, stem_stride=stride)).eval()
    with torch.inference_mode():
        logits = net(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 5)
    assert not torch.allclose(logits[0], logits[1])


def test_inner_channels_are_what_the_sizes_say() -> None:
    net = Cnn(CnnSizes(1, (8, 16), ((3, 5), (7,)), labels=2))
    assert [block.first.out_channels for block in net.blocks] == [3, 5, 7]
    assert [block.second.out_channels for block in net.blocks] == [8, 8, 16]
    assert [block.first.stride[0] for block in net.blocks] == [1, 1, 2]


def test_a_block_of_one_shape_has_a_plain_shortcut() -> None:
    net = Cnn(CnnSizes(1, (8, 16), ((3, 5), (7,)), labels=2))
    assert [isinstance(block.shortcut, torch.nn.Identity) for block in net.blocks] == [True, True, False]
