"""Every switch of the recipe moves what it says it moves, on real MiniLM layers: a no-op fails here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trec_cases import digest_of_weights, fit_rows, make_recipe, minilm, trec_rows

from toolkit.data import Split
from toolkit.machine import describe_machine
from toolkit.spec import Array, softmax
from toolkit.train.batches import encode_rows
from toolkit.train.checkpoint import CHECKPOINT
from toolkit.train.fit import fit
from toolkit.train.losses import CrossEntropy
from toolkit.train.recipes import BF16_FLAGS, Recipe

ROWS = 64


def test_every_switch_has_a_test() -> None:
    names = " ".join(name for name in globals() if name.startswith("test_"))
    assert [field.name for field in fields(Recipe) if f"test_{field.name}" not in names] == []


def _watch(
    look: Callable[[int, nn.Module], Any], rows: int = ROWS, folder: Path | None = None, **settings: Any
) -> list[Any]:
    """What `look(step, net)` saw after each step of a run."""
    net, encoder = minilm(1)
    train, validation = trec_rows()
    seen: list[Any] = []

    def listen(stage: str, done: int, total: int, words: str = "") -> None:
        seen.append(look(done, net))

    recipe = make_recipe(**settings)
    fit(net, encoder, train.take(range(rows)), validation.take(range(16)), recipe, folder=folder, progress=listen)
    return seen


def _bias(step: int, net: nn.Module) -> Array:
    return net.get_parameter("classifier.bias").detach().numpy().copy()


def _first_loss(train: Split, **settings: Any) -> float:
    """The loss of one batch of all rows, at the weights the run starts from."""
    net, encoder = minilm(1)
    recipe = make_recipe(**{"batch_size": len(train), **settings})
    return fit(net, encoder, train, trec_rows()[1].take(range(16)), recipe).log[0].loss


def _first_logits(train: Split) -> Array:
    net, encoder = minilm(1)
    rows = encode_rows(encoder, train)
    with torch.inference_mode():
        return np.asarray(net.eval()(*rows.batch(np.arange(len(train)))).double().numpy())


def test_epochs_are_as_many_as_asked() -> None:
    assert [fit_rows(16, settings={"epochs": epochs}).epochs_run for epochs in (1, 2)] == [1, 2]


def test_batch_size_makes_the_steps() -> None:
    assert len(_watch(_bias, batch_size=16)) == 4
    assert len(_watch(_bias, batch_size=48)) == 2


def test_learning_rate_is_how_far_the_first_step_goes() -> None:
    # Adam's first step is the learning rate itself, whatever the gradient
    start = _bias(0, minilm(1)[0])
    for rate in (1e-3, 1e-2):
        first = _watch(_bias, learning_rate=rate, warmup=0.0, decay="none")[0]
        assert np.abs(first - start) == pytest.approx(rate, rel=1e-2)


def test_warmup_starts_at_a_part_of_the_learning_rate() -> None:
    start = _bias(0, minilm(1)[0])
    first = _watch(_bias, learning_rate=1e-2, warmup=1.0, decay="none")[0]
    assert np.abs(first - start) == pytest.approx(1e-2 / 4, rel=1e-2)


def test_decay_brings_the_last_step_down() -> None:
    moved = {}
    for decay in ("none", "linear", "cosine"):
        seen = _watch(_bias, decay=decay, warmup=0.0)
        moved[decay] = float(np.linalg.norm(seen[-1] - seen[-2]))
    # of 4 steps the last has a quarter of the rate (linear) and 1 - cos(pi/4) of half of it (cosine)
    assert moved["linear"] < 0.6 * moved["none"]
    assert moved["cosine"] < 0.8 * moved["linear"]


def test_weight_decay_shrinks_matrices() -> None:
    def norm(step: int, net: nn.Module) -> float:
        return float(net.get_parameter("layers.0.expand.weight").norm())

    assert _watch(norm, weight_decay=10.0)[-1] < 0.99 * _watch(norm, weight_decay=0.0)[-1]


def test_clip_bounds_the_gradient() -> None:
    def norm(step: int, net: nn.Module) -> float:
        return float(nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None]))

    assert max(_watch(norm, clip=0.05)) == pytest.approx(0.05, rel=1e-3)
    assert max(_watch(norm, clip=0.0)) > 0.5


def test_patience_stops_a_run_that_no_longer_improves() -> None:
    # a learning rate far too high: the first epochs are as good as it gets
    wild = {"epochs": 9, "learning_rate": 0.3, "decay": "none"}
    stopped = fit_rows(16, settings={**wild, "patience": 2})
    assert stopped.epochs_run == stopped.best_epoch + 2 < 9
    assert fit_rows(16, settings={**wild, "epochs": 5, "patience": 0}).epochs_run == 5


def test_watch_chooses_the_epoch_that_is_kept() -> None:
    kept = {}
    for watch in ("accuracy", "loss"):
        fitted = fit_rows(96, settings={"epochs": 4, "learning_rate": 2e-3, "watch": watch})
        key = {
            "accuracy": lambda row: (row.validation_accuracy, -row.validation_loss),
            "loss": lambda row: -row.validation_loss,
        }[watch]
        assert fitted.best_epoch == max(fitted.log, key=key).epoch
        kept[watch] = fitted.best_epoch
    assert kept["accuracy"] != kept["loss"]  # the run is one in which the two disagree


def test_class_weights_weigh_each_class_the_same() -> None:
    train = trec_rows()[0].take(range(ROWS))
    probabilities = softmax(_first_logits(train))
    losses = -np.log(probabilities[np.arange(ROWS), train.labels])
    present = np.unique(train.labels)
    balanced = np.mean([losses[train.labels == label].mean() for label in present])
    assert _first_loss(train, class_weights=True) == pytest.approx(balanced, rel=1e-5)
    assert _first_loss(train, class_weights=False) == pytest.approx(losses.mean(), rel=1e-5)
    assert abs(balanced - losses.mean()) > 1e-3


def test_label_smoothing_gives_the_other_classes_a_share() -> None:
    train = trec_rows()[0].take(range(ROWS))
    logs = np.log(softmax(_first_logits(train)))
    hard, all_classes = -logs[np.arange(ROWS), train.labels].mean(), -logs.mean()
    assert _first_loss(train, label_smoothing=0.4) == pytest.approx(0.6 * hard + 0.4 * all_classes, rel=1e-5)
    assert abs(hard - all_classes) > 1e-3


def test_dropout_drops_and_is_saved_with_the_sizes() -> None:
    train = trec_rows()[0].take(range(ROWS))
    without = [_first_loss(train, dropout=0.0, seed=seed) for seed in (0, 1)]
    dropping = [_first_loss(train, dropout=0.5, seed=seed) for seed in (0, 1)]
    assert without[0] == pytest.approx(without[1], rel=1e-6)
    assert abs(dropping[0] - dropping[1]) > 1e-3
    net: Any = fit_rows(16, settings={"dropout": 0.25}).net
    assert net.sizes.dropout == 0.25 == net.layers[0].attention.dropout == net.layers[0].dropout.p


def test_bucket_puts_like_lengths_together() -> None:
    padded = {}
    for bucket in (1, 50):
        cells: list[int] = []

        def count(
            net: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, rows: Tensor, to: list[int] = cells
        ) -> Tensor:
            to.append(inputs[0].numel())
            return CrossEntropy()(net, inputs, labels, rows)

        fit_rows(192, settings={"bucket": bucket}, loss=count)
        padded[bucket] = sum(cells)
    assert padded[50] < 0.75 * padded[1]


def test_precision_is_that_of_the_matrix_products() -> None:
    for precision, expected in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        kinds: list[torch.dtype] = []

        def look(net: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, rows: Tensor, to: Any = kinds) -> Tensor:
            logits = net(*inputs)
            to.append(logits.dtype)
            return CrossEntropy().of_logits(logits, labels)

        fit_rows(16, settings={"precision": precision}, loss=look)
        assert set(kinds) == {expected}
    able = bool(set(BF16_FLAGS) & set(describe_machine().flags))
    assert make_recipe(precision="auto").resolve().precision == ("bf16" if able else "fp32")


def test_threads_are_used_in_the_run_and_given_back() -> None:
    before = torch.get_num_threads()
    for threads in (1, 2):
        seen = _watch(lambda step, net: torch.get_num_threads(), rows=16, threads=threads)
        assert set(seen) == {threads}
    assert torch.get_num_threads() == before
    assert make_recipe(threads=0).resolve().threads >= 1


def test_seed_decides_the_order_of_rows() -> None:
    first, again, other = (digest_of_weights(fit_rows(ROWS, settings={"seed": seed}).net) for seed in (1, 1, 2))
    assert first == again != other


def _stored_step(folder: Path) -> Callable[[int, nn.Module], int]:
    """The step of the checkpoint that lies in `folder` after each step; 0 for none."""

    def look(step: int, net: nn.Module) -> int:
        path = folder / CHECKPOINT
        return int(torch.load(path, weights_only=True)["position"]["step"]) if path.exists() else 0

    return look


def test_checkpoint_steps_writes_every_so_many(tmp_path: Path) -> None:
    assert _watch(_stored_step(tmp_path), folder=tmp_path, checkpoint_steps=2) == [0, 0, 2, 2]


def test_checkpoint_seconds_writes_by_the_clock(tmp_path: Path) -> None:
    often, never = tmp_path / "often", tmp_path / "never"
    assert _watch(_stored_step(often), folder=often, checkpoint_seconds=1e-6) == [0, 1, 2, 3]
    assert _watch(_stored_step(never), folder=never, checkpoint_seconds=3600.0) == [0, 0, 0, 0]
