"""Hidden states: each layer of a student is pulled to its teacher's layer at the same relative depth.

Where widths differ, a learned matrix stands between them. It starts as the one that fits best on a few rows, so
that a student that began as its narrowed teacher is not pulled away from it; it is trained along and dropped.

Source: Jiao et al. 2020, TinyBERT (arXiv:1909.10351).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from toolkit.nets.transformer import Transformer

RIDGE = 1e-3  # of the mean square of the student's states


class Matched(nn.Module):
    """A student with the matrices that carry its hidden states to the teacher's width; answers as the student."""

    def __init__(self, student: Transformer, teacher: Transformer) -> None:
        super().__init__()
        self.student = student
        narrow, wide = student.sizes.width, teacher.sizes.width
        count = 0 if narrow == wide else len(student.layers) + 1
        self.projections = nn.ModuleList([nn.Linear(narrow, wide, bias=False) for _ in range(count)])

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.student(*inputs)
        return logits

    def fit_projections(self, teacher: Transformer, inputs: tuple[Tensor, ...]) -> None:
        """Start each matrix as the ridge regression of the teacher's states on the student's, on these inputs."""
        if not len(self.projections):
            return
        with torch.no_grad():
            states, guides = self.student.eval().hidden(*inputs)[1], teacher.eval().hidden(*inputs)[1]
            kept = inputs[1] > 0
            depth, full = len(states) - 1, len(guides) - 1
            for index, (project, state) in enumerate(zip(self.projections, states, strict=True)):
                own, theirs = state[kept].double(), guides[round(index * full / depth)][kept].double()
                square = own.T @ own
                square.diagonal().add_(RIDGE * square.diagonal().mean())
                cast(nn.Linear, project).weight.copy_(torch.linalg.solve(square, own.T @ theirs).T)

    def states(self, *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The student's logits, and its hidden states (batch, length, teacher's width)."""
        logits, states = self.student.hidden(*inputs)
        if len(self.projections):
            states = [project(state) for project, state in zip(self.projections, states, strict=True)]
        return logits, states


def hidden_loss(states: Sequence[Tensor], guides: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
    """Mean squared distance of the student's states to the teacher's at the same relative depth, padding left out.

    `states` and `guides` are the embedding output and each layer's, (batch, length, width).
    """
    kept = attention_mask.unsqueeze(-1).float()
    depth, full = len(states) - 1, len(guides) - 1
    total = torch.zeros(())
    for index, state in enumerate(states):
        apart = (state.float() - guides[round(index * full / depth)].float()) ** 2
        total = total + (apart * kept).sum() / (kept.sum() * state.shape[-1])
    return total / len(states)
