"""What decays and what does not, and clipping against torch's own."""

from __future__ import annotations

import torch
from torch import nn
from trec_cases import minilm

from toolkit.train.optimizer import clip_gradients, make_optimizer
from toolkit.train.recipes import Recipe


def test_biases_norms_and_embeddings_do_not_decay_and_every_weight_is_trained_once() -> None:
    net, _ = minilm(1)
    optimizer = make_optimizer(net, Recipe(weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))
    for name, parameter in net.named_parameters():
        exempt = name.endswith("bias") or "norm" in name or name.startswith(("tokens", "positions"))
        assert decay[id(parameter)] == (0.0 if exempt else 0.1), name


def test_frozen_weights_are_left_out() -> None:
    net, _ = minilm(1)
    net.get_parameter("tokens.weight").requires_grad_(False)
    optimizer = make_optimizer(net, Recipe())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters())) - 1


def test_clipping_is_torchs_own_and_reports_the_norm_before() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.zeros(shape)) for shape in ((4, 3), (5,), (2, 2))]
    theirs = [nn.Parameter(torch.zeros_like(parameter)) for parameter in ours]
    for mine, other in zip(ours, theirs, strict=True):
        mine.grad = torch.randn_like(mine)
        other.grad = mine.grad.clone()
    norm = clip_gradients(ours, 0.5)
    assert norm == float(nn.utils.clip_grad_norm_(theirs, 0.5)) > 0.5
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_small_gradients_are_not_blown_up() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([0.03, 0.04])
    assert abs(clip_gradients([parameter], 1.0) - 0.05) < 1e-6
    assert parameter.grad.tolist() == torch.tensor([0.03, 0.04]).tolist()
