"""One run over several processes: each takes its share of every batch, gradients are added up.

Started by `torchrun`, joined through accelerate (gloo on a CPU); started plainly, there is one process
and accelerate is not even imported. Rows of a batch go round the processes, each scales its loss by its
share of the batch's weight, and the *sum* of the gradients is that of one process on the whole batch:
an uneven last batch and class weights come out exact, which a mean of means is not.
The gradients are added in one call after the backward pass, so any loss works (hidden states too);
overlapping the two is what this leaves on the table. Batch norm sees its own share of a batch only.
"""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch
from torch import Tensor, nn


class World:
    """The processes of a run; `rank` is this one's number."""

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.rank = 0 if accelerator is None else int(accelerator.process_index)
        self.size = 1 if accelerator is None else int(accelerator.num_processes)

    def add_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes."""
        if self.size == 1:
            return
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        total = self._accelerator.reduce(torch.cat([part.reshape(-1) for part in parts]), reduction="sum")
        for parameter, part in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def add(self, *values: float) -> list[float]:
        """Each value summed over the processes, in float64."""
        if self.size == 1:
            return list(values)
        total: Tensor = self._accelerator.reduce(torch.tensor(values, dtype=torch.float64), reduction="sum")
        return [float(value) for value in total]

    def share_weights(self, net: nn.Module) -> None:
        """Give every process the weights and buffers of the first."""
        if self.size > 1:
            from accelerate.utils import broadcast

            for tensor in (*net.parameters(), *net.buffers()):
                tensor.data.copy_(broadcast(tensor.data, from_process=0))

    def average_buffers(self, net: nn.Module) -> None:
        """Make running statistics the same everywhere, before anybody judges the net by them."""
        if self.size > 1:
            for buffer in net.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self._accelerator.reduce(buffer, reduction="mean"))

    def gather(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """Every process's value, in order of rank."""
        if self.size == 1:
            return [value]
        from accelerate.utils import gather_object

        return list(gather_object([value]))


def join_world() -> World:
    """The processes that torchrun started this one with, or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    from accelerate import Accelerator

    if not torch.distributed.is_initialized():
        atexit.register(_leave)
    return World(Accelerator(cpu=True))


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
