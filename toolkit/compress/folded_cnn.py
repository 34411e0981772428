"""A cnn as its INT8 graph will be: batch norms inside the convolutions, and a place to round every tensor between.

What is trained must be what runs. The exporter folds each batch norm into its convolution, so weights are rounded
after the fold; and a kernel in 8 bits reads and writes 8 bits, so the result of each convolution and of each residual
sum is rounded once, at its maker, for all who read it. Places end in `_unsigned` where a relu has just cut off what
is negative, and in `_signed` elsewhere.
Limit: batch norms are frozen at what training left in them.

Source: Jacob et al. 2017 (arXiv:1712.05877), section 3; Krishnamoorthi 2018 (arXiv:1806.08342) for frozen norms.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from toolkit.nets.cnn import Block, Cnn


class Rounded(nn.Module):
    """A place between operators: gives what it takes, until a fake quantizer is put here."""

    def forward(self, states: Tensor) -> Tensor:
        return states


class FoldedBlock(nn.Module):
    """A `Block` with a place for each of its tensors; takes and gives rounded states."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.first, self.first_unsigned = _fold(block.first, block.first_norm), Rounded()
        self.second, self.second_signed = _fold(block.second, block.second_norm), Rounded()
        self.shortcut: nn.Module = nn.Identity()
        self.shortcut_signed: nn.Module = nn.Identity()  # what comes in is rounded already
        if isinstance(block.shortcut, nn.Sequential):
            self.shortcut, self.shortcut_signed = _fold(*block.shortcut), Rounded()
        self.sum_unsigned = Rounded()

    def forward(self, states: Tensor) -> Tensor:
        inner = self.first_unsigned(torch.relu(self.first(states)))
        beside = self.shortcut_signed(self.shortcut(states))
        rounded: Tensor = self.sum_unsigned(torch.relu(self.second_signed(self.second(inner)) + beside))
        return rounded


class FoldedCnn(nn.Module):
    """Answers as `net` does as long as its places round nothing; shares no memory with it."""

    def __init__(self, net: Cnn) -> None:
        super().__init__()
        net = net.eval()
        self.pixels_signed = Rounded()
        self.stem, self.stem_unsigned = _fold(net.stem, net.stem_norm), Rounded()
        self.blocks = nn.ModuleList([FoldedBlock(cast(Block, block)) for block in net.blocks])
        self.dropout = nn.Dropout(net.dropout.p)
        self.classifier = nn.Linear(net.classifier.in_features, net.classifier.out_features)
        self.classifier.load_state_dict(net.classifier.state_dict())

    def forward(self, pixels: Tensor) -> Tensor:
        states = self.stem_unsigned(torch.relu(self.stem(self.pixels_signed(pixels))))
        for block in self.blocks:
            states = block(states)
        pooled = functional.adaptive_avg_pool2d(states, 1).flatten(1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def _fold(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm)
