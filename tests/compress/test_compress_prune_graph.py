"""Cutting a network that is none of ours: norms, a shortcut and a concatenation, with a head that must stay."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from toolkit.compress.prune_graph import prune_graph
from toolkit.errors import InputError, RecipeError


class Foreign(nn.Module):
    """(batch, 1, 8, 8) to (batch, 10): a residual sum, then two branches put beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.inner = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
        )
        self.left = nn.Conv2d(32, 32, 1)
        self.right = nn.Conv2d(32, 16, 3, padding=1)
        self.head = nn.Linear(48, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        stem = self.stem(pixels)
        summed = torch.relu(stem + self.inner(stem))
        beside = torch.cat([torch.relu(self.left(summed)), torch.relu(self.right(summed))], dim=1)
        logits: Tensor = self.head(beside.mean(dim=(2, 3)))
        return logits


Batch = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    digits = load_digits()
    pixels = torch.from_numpy((digits.images[:, None] / 16.0).astype(np.float32))
    labels = torch.from_numpy(digits.target.astype(np.int64))
    return [(pixels[start : start + 64], labels[start : start + 64]) for start in range(0, 1024, 64)]


@pytest.fixture(scope="module")
def trained(batches: list[Batch]) -> Foreign:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Foreign()
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(4):
            for pixels, labels in batches:
                optimizer.zero_grad()
                functional.cross_entropy(net(pixels), labels).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return net.eval()


def _accuracy(net: nn.Module, batches: list[Batch]) -> float:
    with torch.inference_mode():
        return float(np.mean([(net(pixels).argmax(1) == labels).float().mean() for pixels, labels in batches]))


def _convolutions(net: nn.Module) -> list[int]:
    return [module.out_channels for module in net.modules() if isinstance(module, nn.Conv2d)]


def test_a_foreign_net_is_cut_in_eights_and_the_input_stays(trained: Foreign, batches: list[Batch]) -> None:
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    small = prune_graph(trained, batches[0][0][:1], batches[:4], keep=0.5)
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in small.parameters())
    channels = _convolutions(small)
    assert all(count % 8 == 0 for count in channels)
    assert 0.35 < sum(channels) / sum(_convolutions(trained)) < 0.65
    assert channels[0] == channels[2]  # tied by the residual sum
    assert isinstance(small, Foreign)
    assert (small.head.in_features, small.head.out_features) == (channels[3] + channels[4], 10)
    assert small(batches[0][0]).shape == (64, 10)


def test_what_is_cut_recovers_by_ordinary_training_and_exports(trained: Foreign, batches: list[Batch]) -> None:
    small = prune_graph(trained, batches[0][0][:1], batches[:4], keep=0.75).train()
    optimizer = torch.optim.Adam(small.parameters(), lr=1e-3)
    for _ in range(3):
        for pixels, labels in batches:
            optimizer.zero_grad()
            functional.cross_entropy(small(pixels), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    small.eval()
    assert _accuracy(trained, batches) > 0.9
    assert _accuracy(small, batches) > 0.85
    buffer: Any = io.BytesIO()
    axes = {"pixels": {0: "batch"}}
    torch.onnx.export(small, (batches[0][0][:2],), buffer, input_names=["pixels"], dynamic_axes=axes, dynamo=False)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    pixels = batches[1][0]
    with torch.inference_mode():
        assert session.run(None, {"pixels": pixels.numpy()})[0] == pytest.approx(small(pixels).numpy(), abs=1e-4)


def test_idle_channels_go_first_and_the_answers_stay(trained: Foreign, batches: list[Batch]) -> None:
    idle = Foreign()
    idle.load_state_dict(trained.state_dict())
    idle.eval()
    with torch.no_grad():
        idle.inner[3].weight[:, 8:16] = 0.0  # nothing reads these channels of the first convolution
        idle.inner[1].weight[8:16] = 0.0
        idle.inner[1].bias[8:16] = 0.0
        idle.inner[0].weight[8:16] = 0.0
    others = ("stem.0", "inner.3", "left", "right")
    small = prune_graph(idle, batches[0][0][:1], batches[:2], keep=0.75, ignore=others)
    assert _convolutions(small) == [32, 24, 32, 32, 16]
    assert small(batches[0][0]).detach().numpy() == pytest.approx(idle(batches[0][0]).detach().numpy(), abs=1e-5)


def test_keeping_everything_is_a_copy(trained: Foreign, batches: list[Batch]) -> None:
    same = prune_graph(trained, batches[0][0][:1], batches[:1], keep=1.0)
    assert same is not trained
    assert torch.equal(same(batches[0][0]), trained(batches[0][0]))


def test_what_it_cannot_do_is_refused(trained: Foreign, batches: list[Batch]) -> None:
    example = batches[0][0][:1]
    with pytest.raises(RecipeError, match=r"keep is 1\.5; allowed: above 0, to 1\.0"):
        prune_graph(trained, example, batches, keep=1.5)
    with pytest.raises(RecipeError, match="ignore names 'nowhere'"):
        prune_graph(trained, example, batches[:1], keep=0.5, ignore=("nowhere",))
    with pytest.raises(InputError, match="no row to measure importance on"):
        prune_graph(trained, example, [], keep=0.5)
    with pytest.raises(InputError, match="ReLU has no convolution"):
        prune_graph(nn.ReLU(), example, [], keep=0.5)
