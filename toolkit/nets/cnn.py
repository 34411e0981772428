"""A small residual network; every block's inner channels are a size, so a pruned one is an ordinary one.

`stages` are the channels between blocks, which the residual sums tie together; `inner` has, for each stage,
the channels inside each of its blocks, which can be cut one by one. Stages after the first halve height and
width. Pictures from 8x8 (stem stride 1) to 224x224 (stem stride 4) are pooled to one vector, so the same
weights take any size; batch norms are folded into the convolutions when the net is exported.

Source: He et al. 2015 (arXiv:1512.03385), basic blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.errors import RecipeError


@dataclass(frozen=True)
class CnnSizes:
    """`channels` of a picture (1 or 3); `stem_stride` 1, 2 or 4 by how large pictures are."""

    channels: int
    stages: tuple[int, ...]
    inner: tuple[tuple[int, ...], ...]
    labels: int
    stem_stride: int = 1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        widths = [*self.stages, *(inner for stage in self.inner for inner in stage)]
        if len(self.stages) != len(self.inner) or not self.stages or not all(self.inner) or min(widths) < 1:
            raise RecipeError(
                f"a cnn needs stages and inner of one length, a block or more in each, all 1 or more; "
                f"got stages {self.stages}, inner {self.inner}"
            )
        if self.channels not in (1, 3) or self.stem_stride not in (1, 2, 4):
            raise RecipeError(
                f"a cnn takes channels 1 or 3 and a stem_stride of 1, 2 or 4; got {self.channels}, {self.stem_stride}"
            )

    @property
    def stem_kernel(self) -> int:
        """Height and width of the stem's kernel: 3, or 7 where it strides by 4."""
        return max(3, 2 * self.stem_stride - 1)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shapes differ."""

    def __init__(self, before: int, inner: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, inner, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(inner)
        self.second = nn.Conv2d(inner, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            convolution = nn.Conv2d(before, after, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(after))

    def forward(self, pixels: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(pixels)))
        return torch.relu(self.second_norm(self.second(inner)) + self.shortcut(pixels))


class Cnn(nn.Module):
    """pixels, float32 (batch, channels, height, width), to logits float32 (batch, labels)."""

    kind = "cnn"

    def __init__(self, sizes: CnnSizes) -> None:
        super().__init__()
        self.sizes = sizes
        kernel = sizes.stem_kernel
        self.stem = nn.Conv2d(
            sizes.channels, sizes.stages[0], kernel, stride=sizes.stem_stride, padding=kernel // 2, bias=False
        )
        self.stem_norm = nn.BatchNorm2d(sizes.stages[0])
        blocks: list[Block] = []
        before = sizes.stages[0]
        for stage, (after, inners) in enumerate(zip(sizes.stages, sizes.inner, strict=True)):
            for position, inner in enumerate(inners):
                blocks.append(Block(before, inner, after, stride=2 if stage and not position else 1))
                before = after
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(sizes.dropout)
        self.classifier = nn.Linear(before, sizes.labels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        states = torch.relu(self.stem_norm(self.stem(pixels)))
        for block in self.blocks:
            states = block(states)
        pooled = functional.adaptive_avg_pool2d(states, 1).flatten(1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits
