"""One run of the loop, from where it stands to its end: steps, epochs, checkpoints, early stopping."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from toolkit.errors import RecipeError
from toolkit.progress import Progress
from toolkit.spec import Array
from toolkit.train.batches import Rows, epoch_batches
from toolkit.train.checkpoint import Position, Stored, read_checkpoint, write_checkpoint
from toolkit.train.evaluation import evaluate
from toolkit.train.logbook import Logbook
from toolkit.train.losses import CrossEntropy, Loss, make_cross_entropy
from toolkit.train.optimizer import clip_gradients, make_optimizer, set_learning_rate
from toolkit.train.overfitting import Epoch
from toolkit.train.parallel import World
from toolkit.train.randomness import random_states, restore_states
from toolkit.train.recipes import Recipe
from toolkit.train.schedule import learning_rate_at


class Run:
    """Trains `net` on `rows`, judged on `held`; `position` says how far it is. Made and used by `fit`."""

    def __init__(
        self,
        net: nn.Module,
        rows: Rows,
        held: Rows,
        recipe: Recipe,
        *,
        loss: Loss | None,
        world: World,
        folder: Path | None,
        key: str,
        started: float,
    ) -> None:
        self.net, self.rows, self.held, self.recipe = net, rows, held, recipe
        self.world, self.folder, self.key = world, folder, key
        self.criterion = make_cross_entropy(recipe, rows.labels, _count_classes(net, rows))
        self.judge = CrossEntropy(None if self.criterion.weights is None else self.criterion.weights.numpy())
        self.loss, self.weighs_rows = (self.criterion, self.criterion.mass) if loss is None else (loss, _count)
        self.optimizer = make_optimizer(net, recipe)
        self.parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        # as many rows seen as rows not seen, so that the two scores of the overfitting watch are alike
        chosen = np.random.default_rng((recipe.seed, 2**31)).permutation(len(rows))[: len(held)]
        self.sample: Array = np.sort(chosen)
        self.position = Position()
        self._clock, self._saved = started, started
        self.logbook = Logbook(None, 0)

    def train(self, progress: Progress) -> None:
        """Go on to the end and leave the best weights in the net."""
        self._resume()
        self.logbook = Logbook(self.folder if self.world.rank == 0 else None, self.position.step)
        try:
            while not self._finished():
                self._epoch(progress)
        finally:
            self.logbook.close()
        self.net.load_state_dict(self.position.best)

    def _finished(self) -> bool:
        position, patience = self.position, self.recipe.patience
        stale = position.epoch - position.best_epoch
        return position.epoch >= self.recipe.epochs or (position.best_epoch > 0 and 0 < patience <= stale)

    def _epoch(self, progress: Progress) -> None:
        position, recipe = self.position, self.recipe
        batches = epoch_batches(
            self.rows.lengths,
            batch_size=recipe.batch_size,
            bucket=recipe.bucket,
            seed=recipe.seed,
            epoch=position.epoch,
        )
        total = len(batches) * recipe.epochs
        self.net.train()
        while position.batch < len(batches):
            value = self._step(batches[position.batch], total)
            position.batch += 1
            position.step += 1
            accuracy = f", validation {position.log[-1].validation_accuracy:.1%}" if position.log else ""
            words = f"epoch {position.epoch + 1} of {recipe.epochs}, loss {value:.3f}{accuracy}"
            progress("train", position.step, total, words)
            if position.batch < len(batches) and self._checkpoint_due():
                self._save()
        self._judge(len(batches))
        if self.folder is not None:
            self._save()

    def _step(self, batch: Array, total: int) -> float:
        """One step on the rows `batch`, of which this process takes every `size`-th; returns the whole batch's loss."""
        world, position = self.world, self.position
        mine = batch[world.rank :: world.size]
        share = 1.0
        if world.size > 1:
            # a batch of fewer rows than processes: the others take part with a row that weighs nothing
            weight = self.weighs_rows(torch.from_numpy(self.rows.labels[mine])) if len(mine) else 0.0
            share = weight / self.weighs_rows(torch.from_numpy(self.rows.labels[batch]))
            mine = mine if len(mine) else batch[:1]
        labels = torch.from_numpy(self.rows.labels[mine])
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            loss = self.loss(self.net, self.rows.batch(mine), labels, torch.from_numpy(mine))
        (loss if world.size == 1 else loss * share).backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        world.add_gradients(self.parameters)
        (value,) = world.add(float(loss.detach()) * share)
        norm = clip_gradients(self.parameters, self.recipe.clip)
        if not np.isfinite(value) or not np.isfinite(norm):
            raise RecipeError(
                f"the loss is {value} and its gradient's norm {norm} at step {position.step + 1}; use a lower "
                f"learning_rate than {self.recipe.learning_rate} or precision fp32"
            )
        rate = learning_rate_at(position.step, total, self.recipe)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        position.loss_sum += value
        position.norm_sum += norm
        self.logbook.step(position.step + 1, loss=value, learning_rate=rate, gradient_norm=norm)
        return value

    def _judge(self, batches: int) -> None:
        """Score the epoch, keep the weights when they are the best so far, and move on to the next epoch."""
        position, recipe = self.position, self.recipe
        self.world.average_buffers(self.net)
        bf16 = recipe.precision == "bf16"
        seen = evaluate(self.net, self.rows, self.judge, self.world, only=self.sample, bf16=bf16)
        unseen = evaluate(self.net, self.held, self.judge, self.world, bf16=bf16)
        self._tick()
        row = Epoch(
            epoch=position.epoch + 1,
            step=position.step,
            learning_rate=learning_rate_at(position.step - 1, batches * recipe.epochs, recipe),
            loss=position.loss_sum / batches,
            gradient_norm=position.norm_sum / batches,
            train_loss=seen.loss,
            train_accuracy=seen.accuracy,
            validation_loss=unseen.loss,
            validation_accuracy=unseen.accuracy,
            seconds=position.seconds,
        )
        if not position.log or _rank(row, recipe) > _rank(position.log[position.best_epoch - 1], recipe):
            position.best_epoch = row.epoch
            position.best = {name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()}
        position.log.append(row)
        position.epoch, position.batch = position.epoch + 1, 0
        position.loss_sum = position.norm_sum = 0.0
        self.logbook.epoch(position.log)

    def _checkpoint_due(self) -> bool:
        if self.folder is None:
            return False
        steps, seconds = self.recipe.checkpoint_steps, self.recipe.checkpoint_seconds
        due = steps > 0 and self.position.step % steps == 0
        if seconds > 0:
            late = time.perf_counter() - self._saved >= seconds
            due |= self.world.add(float(late))[0] > 0  # clocks differ: all save when one wants to
        return due

    def _save(self) -> None:
        states = self.world.gather(random_states())
        self._tick()
        if self.world.rank == 0 and self.folder is not None:
            stored = Stored(self.position, dict(self.net.state_dict()), self.optimizer.state_dict(), states)
            write_checkpoint(self.folder, self.key, stored)
        self._saved = time.perf_counter()

    def _resume(self) -> None:
        stored = None if self.folder is None else read_checkpoint(self.folder, self.key)
        if stored is None:
            return
        self.position = stored.position
        self.net.load_state_dict(stored.weights)
        self.optimizer.load_state_dict(stored.optimizer)
        restore_states(stored.random_states[self.world.rank])

    def _tick(self) -> None:
        now = time.perf_counter()
        self.position.seconds += now - self._clock
        self._clock = now


def _rank(row: Epoch, recipe: Recipe) -> tuple[float, ...]:
    """Larger is better; equal accuracies are told apart by the loss."""
    return (-row.validation_loss,) if recipe.watch == "loss" else (row.validation_accuracy, -row.validation_loss)


def _count(labels: torch.Tensor) -> float:
    return float(len(labels))


def _count_classes(net: nn.Module, rows: Rows) -> int:
    """The number of logits, asked of the net itself."""
    net.eval()
    with torch.inference_mode():
        return int(net(*rows.batch(np.arange(1))).shape[1])
