"""Pruning transformers and cnns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compress_samples import Sample, short_recipe

from toolkit.classifier import copy_net, load_classifier
from toolkit.compress.importance import SOFTENING, measure_importance
from toolkit.compress.prune import cut, prune
from toolkit.compress.rounds import schedule_target, share_epochs
from toolkit.compress.teachers import as_predictor
from toolkit.compress.units import Target
from toolkit.data import Data
from toolkit.errors import DataError, InputError, RecipeError
from toolkit.export.onnx import export
from toolkit.nets.cnn import Cnn
from toolkit.nets.transformer import Layer, Transformer
from toolkit.progress import Progress, silent
from toolkit.train import Trained
from toolkit.train.saving import save_trained


def _state(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def _prunable(net: Transformer) -> int:
    sizes = net.sizes
    return sum(4 * sizes.width * sizes.head_width * h for h in sizes.heads) + sum(
        2 * sizes.width * f for f in sizes.feed_forward
    )


def _agreement(first: Sample, net: torch.nn.Module) -> float:
    examples = first.data.split("test").examples
    told = as_predictor(first.classifier, threads=1).logits(examples).argmax(1)
    said = as_predictor(replace(first.classifier, net=net), threads=1).logits(examples).argmax(1)
    return float((told == said).mean())


def test_a_transformer_gets_smaller_by_the_right_amount_and_the_input_stays(transformer: Sample) -> None:
    net = transformer.classifier.net
    assert isinstance(net, Transformer)
    before = _state(net)
    small = prune(
        transformer.classifier, transformer.data, keep=0.5, recover=0, recipe=short_recipe("transformer")
    ).classifier.net
    assert isinstance(small, Transformer)
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in before.items())
    share = _prunable(small) / _prunable(net)
    assert 0.4 < share <= 0.5
    assert sum(small.sizes.heads) == 6
    assert sum(small.sizes.feed_forward) == 192
    assert min(small.sizes.heads) >= 1
    assert all(neurons % 32 == 0 and neurons >= 32 for neurons in small.sizes.feed_forward)
    assert small.layers[0].attention.qkv.weight.shape[0] == 3 * 16 * small.sizes.heads[0]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["transformer", "cnn"])
def test_keeping_everything_is_exactly_a_no_op(name: str, request: pytest.FixtureRequest) -> None:
    sample: Sample = request.getfixturevalue(name)
    made = prune(sample.classifier, sample.data, keep=1.0, recover=3, recipe=short_recipe(name))
    arrays = sample.classifier.encoder.encode(sample.data.split("test").examples[:8])
    assert np.array_equal(made.classifier.run(arrays), sample.classifier.run(arrays))
    assert made.classifier.steps[-1].settings["recover"] == 0


def test_a_net_without_its_idle_parts_answers_the_same(transformer: Sample) -> None:
    """Heads and neurons whose output is wired to nothing are what goes, and nothing changes."""
    idle = copy_net(transformer.classifier.net)
    assert isinstance(idle, Transformer)
    with torch.no_grad():
        for layer in (layer for layer in idle.layers if isinstance(layer, Layer)):
            layer.attention.output.weight[:, 16:48] = 0.0  # heads 1 and 2 of 4
            layer.contract.weight[:, 32:96] = 0.0
    classifier = replace(transformer.classifier, net=idle)
    small = prune(classifier, transformer.data, keep=0.5, recover=0, recipe=short_recipe("transformer")).classifier
    assert isinstance(small.net, Transformer)
    assert small.net.sizes.heads == (2, 2, 2)
    assert small.net.sizes.feed_forward == (64, 64, 64)
    arrays = classifier.encoder.encode(transformer.data.split("test").examples[:8])
    assert small.run(arrays) == pytest.approx(classifier.run(arrays), abs=1e-5)


def test_the_layer_that_does_nothing_is_the_one_left_out(transformer: Sample) -> None:
    idle = copy_net(transformer.classifier.net)
    assert isinstance(idle, Transformer)
    layer = idle.layers[1]
    assert isinstance(layer, Layer)
    with torch.no_grad():  # what comes in is normed already: nothing added, norm again, no change
        for product in (layer.attention.output, layer.contract):
            product.weight.zero_()
            product.bias.zero_()
        for norm in (layer.attention_norm, layer.feed_forward_norm):
            norm.load_state_dict(idle.layers[0].feed_forward_norm.state_dict())  # type: ignore[union-attr]
    small = prune(
        replace(transformer.classifier, net=idle),
        transformer.data,
        keep=1.0,
        layers=2,
        recover=0,
        recipe=short_recipe("transformer"),
    )
    net = small.classifier.net
    assert isinstance(net, Transformer)
    assert len(net.layers) == 2
    assert torch.equal(net.layers[1].expand.weight, idle.layers[2].expand.weight)  # type: ignore[union-attr]
    assert small.classifier.steps[-1].settings["layers"] == 2


def test_importance_is_the_change_of_the_softened_loss_to_first_order(transformer: Sample) -> None:
    """Against finite differences: one channel a little smaller, one row at a time."""
    classifier, rows = transformer.classifier, transformer.data.split("train").take(range(6))
    net = copy_net(classifier.net)
    assert isinstance(net, Transformer)
    layer = net.layers[1]
    assert isinstance(layer, Layer)
    scores = measure_importance(net, classifier.encoder, rows, [layer.contract, layer.attention.output])
    assert [len(score) for score in scores] == [128, 64]

    def losses() -> torch.Tensor:
        found = []
        for row in range(len(rows)):
            arrays = classifier.encoder.encode([rows.examples[row]])
            inputs = [torch.from_numpy(arrays[i.name]) for i in classifier.encoder.inputs]
            label = torch.tensor([int(rows.labels[row])])
            found.append(torch.nn.functional.cross_entropy(net(*inputs).double() / SOFTENING, label))
        return torch.stack(found).detach()

    whole, step = losses(), 0.05
    for product, score in ((layer.contract, scores[0]), (layer.attention.output, scores[1])):
        channel = int(score.argmax())
        kept = product.weight.detach().clone()
        with torch.no_grad():
            product.weight[:, channel] *= 1.0 - step
        change = ((losses() - whole) / step).abs().mean()
        with torch.no_grad():
            product.weight.copy_(kept)
        assert float(change) == pytest.approx(float(score[channel]), rel=0.1)


def test_recovery_brings_answers_back(transformer: Sample) -> None:
    examples = transformer.data.split("test").examples
    told = as_predictor(transformer.classifier, threads=1).logits(examples)

    def apart(recover: int) -> float:
        recipe = short_recipe("transformer", learning_rate=5e-4)
        made = prune(transformer.classifier, transformer.data, keep=0.3, layers=1, recover=recover, recipe=recipe)
        assert made.fitted.epochs_run == recover
        return float(np.square(as_predictor(made.classifier, threads=1).logits(examples) - told).mean())

    assert apart(2) < 0.5 * apart(0)


def test_the_step_is_recorded_and_the_net_reloads_and_exports(transformer: Sample, tmp_path: Path) -> None:
    made = prune(transformer.classifier, transformer.data, keep=0.4, recover=1, recipe=short_recipe("transformer"))
    step = made.classifier.steps[-1]
    assert [step.name for step in made.classifier.steps] == ["train", "prune"]
    assert step.settings["keep"] == 0.4
    assert step.settings["recover"] == 1
    assert step.settings["recipe"]["epochs"] == 1
    assert step.settings["parameters"] == made.classifier.parameters < step.settings["parameters_before"]
    examples = transformer.data.split("test").examples
    expected = as_predictor(made.classifier, threads=1).logits(examples)
    (tmp_path / "saved").mkdir()
    loaded = load_classifier(save_trained(made.classifier, transformer.data, tmp_path / "saved"))
    assert as_predictor(loaded, threads=1).logits(examples) == pytest.approx(expected, abs=1e-5)
    (tmp_path / "onnx").mkdir()
    artifact, parity = export(loaded, tmp_path / "onnx", examples=examples[:20])
    assert parity.max_relative_difference < 1e-4
    assert artifact.size_bytes < transformer.artifact.size_bytes
    assert artifact.training_rows() is not None


def test_a_cnn_loses_channels_in_eights(cnn: Sample, tmp_path: Path) -> None:
    net = cnn.classifier.net
    assert isinstance(net, Cnn)
    before = _state(net)
    made = prune(cnn.classifier, cnn.data, keep=0.5, recover=1, recipe=short_recipe("cnn"))
    small = made.classifier.net
    assert isinstance(small, Cnn)
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in before.items())
    weights = [sum(m.weight.numel() for m in n.modules() if isinstance(m, torch.nn.Conv2d)) for n in (small, net)]
    assert 0.35 < weights[0] / weights[1] < 0.6
    assert all(channels % 8 == 0 for channels in small.sizes.stages)
    assert sum(small.sizes.stages) < sum(net.sizes.stages)
    inner = [channels for stage in small.sizes.inner for channels in stage]
    assert all(channels % 8 == 0 for channels in inner)
    assert sum(inner) < sum(channels for stage in net.sizes.inner for channels in stage)
    assert _agreement(cnn, small) > 0.8
    (tmp_path / "onnx").mkdir()
    artifact, _ = export(made.classifier, tmp_path / "onnx", examples=cnn.data.split("test").examples[:20])
    assert artifact.size_bytes < cnn.artifact.size_bytes


def test_idle_channels_of_a_cnn_go_first(cnn: Sample) -> None:
    idle = copy_net(cnn.classifier.net)
    assert isinstance(idle, Cnn)
    with torch.no_grad():
        norms = [idle.stem_norm]
        for block in idle.blocks:
            block.second.weight[:, ::2] = 0.0  # type: ignore[union-attr, index]
            norms += [block.second_norm, *(m for m in block.shortcut.modules() if isinstance(m, torch.nn.BatchNorm2d))]
        for norm in norms:  # of the stages every other channel is zero wherever something is added to it
            norm.weight[1::2] = 0.0
            norm.bias[1::2] = 0.0
    classifier = replace(cnn.classifier, net=idle)
    small = prune(classifier, cnn.data, keep=0.25, recover=0, recipe=short_recipe("cnn")).classifier
    assert isinstance(small.net, Cnn)
    assert small.net.sizes.stages == tuple(channels // 2 for channels in idle.sizes.stages)
    assert small.net.sizes.inner == tuple(tuple(n // 2 for n in stage) for stage in idle.sizes.inner)
    arrays = classifier.encoder.encode(cnn.data.split("test").examples[:8])
    assert small.run(arrays) == pytest.approx(classifier.run(arrays), abs=1e-4)


def test_what_cannot_be_cut_is_refused_by_name(lstm: Sample, cnn: Sample) -> None:
    with pytest.raises(InputError, match="a net of kind lstm cannot be pruned; allowed: transformer, cnn"):
        prune(lstm.classifier, lstm.data, keep=0.5)
    with pytest.raises(RecipeError, match="layers is 1; a cnn keeps its 3 blocks"):
        prune(cnn.classifier, cnn.data, keep=0.5, layers=1)


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, float("nan")])
def test_keep_out_of_its_range_is_refused(transformer: Sample, keep: float) -> None:
    with pytest.raises(RecipeError, match=rf"keep is {keep}; allowed: above 0, to 1.0"):
        prune(transformer.classifier, transformer.data, keep=keep)


def test_layers_and_recover_out_of_their_range_are_refused(transformer: Sample) -> None:
    with pytest.raises(RecipeError, match="layers is 4; this net has 3, allowed: 1 to 3"):
        prune(transformer.classifier, transformer.data, keep=0.5, layers=4)
    with pytest.raises(RecipeError, match="recover is -1; allowed: 0 or more"):
        prune(transformer.classifier, transformer.data, keep=0.5, recover=-1)


def test_widths_and_rounds_out_of_their_range_are_refused(transformer: Sample, cnn: Sample) -> None:
    with pytest.raises(RecipeError, match="width is 44; allowed: a multiple of 8 up to 64, the width it has"):
        prune(transformer.classifier, transformer.data, keep=0.5, width=44)
    with pytest.raises(RecipeError, match="width is 72; allowed"):
        prune(transformer.classifier, transformer.data, keep=0.5, width=72)
    with pytest.raises(RecipeError, match="width is 8; the stages of a cnn are cut by keep"):
        prune(cnn.classifier, cnn.data, keep=0.5, width=8)
    with pytest.raises(RecipeError, match="rounds is 0; allowed: 1 or more"):
        prune(transformer.classifier, transformer.data, keep=0.5, rounds=0)
    with pytest.raises(RecipeError, match="recover is 2 and rounds 3; give an epoch a round or more, or 0"):
        prune(transformer.classifier, transformer.data, keep=0.5, rounds=3)


def test_a_gradual_cut_ends_where_one_cut_does_and_goes_on_after_a_crash(transformer: Sample, tmp_path: Path) -> None:
    def kill_in_the_last_round(stage: str, done: int, total: int, words: str = "") -> None:
        if stage == "train" and (tmp_path / "killed/round-2").is_dir() and done == total:
            raise InterruptedError("killed")

    def gradual(folder: Path, progress: Progress = silent) -> Trained:
        recipe = short_recipe("transformer", learning_rate=5e-4)
        return prune(
            transformer.classifier, transformer.data, keep=0.5, layers=2, width=48, rounds=2, recover=2,
            recipe=recipe, folder=folder, progress=progress,
        )  # fmt: skip

    with pytest.raises(InterruptedError, match="killed"):
        gradual(tmp_path / "killed", kill_in_the_last_round)
    resumed, whole = gradual(tmp_path / "killed"), gradual(tmp_path / "whole")
    net = whole.classifier.net
    assert isinstance(net, Transformer)
    assert (sum(net.sizes.heads), sum(net.sizes.feed_forward), net.sizes.width) == (4, 128, 48)
    assert whole.fitted.epochs_run == 2
    assert whole.classifier.steps[-1].settings["rounds"] == 2
    assert all(torch.equal(tensor, resumed.classifier.net.state_dict()[name]) for name, tensor in _state(net).items())


def test_the_schedule_is_cubic_and_the_last_round_gets_most_epochs(transformer: Sample) -> None:
    sizes = transformer.classifier.net.sizes
    target = Target(0.2, layers=1, width=16)
    steps = [schedule_target(target, sizes, at, 4) for at in (1, 2, 3, 4)]
    gone = [1.0 - (1.0 - at / 4) ** 3 for at in (1, 2, 3, 4)]
    assert [step.keep for step in steps] == pytest.approx([1.0 - 0.8 * share for share in gone])
    assert [step.layers for step in steps] == [2, 2, 2, 1]
    assert [step.width for step in steps] == [40, 24, 24, 16]
    assert steps[-1] == target
    assert [share_epochs(10, 3), share_epochs(3, 3), share_epochs(5, 1), share_epochs(0, 2)] == [
        [2, 2, 6], [1, 1, 1], [5], [0, 0],
    ]  # fmt: skip


def test_cut_alone_is_prune_without_recovery(transformer: Sample) -> None:
    made = prune(transformer.classifier, transformer.data, keep=0.5, recover=0, recipe=short_recipe("transformer"))
    alone = cut(transformer.classifier, transformer.data, keep=0.5)
    assert all(
        torch.equal(tensor, alone.net.state_dict()[name]) for name, tensor in _state(made.classifier.net).items()
    )
    assert alone.steps == made.classifier.steps


def test_another_split_of_its_data_is_refused(transformer: Sample) -> None:
    splits = dict(transformer.data.splits)
    splits["train"], splits["test"] = splits["test"], splits["train"]
    other: Data = replace(transformer.data, splits=splits)
    with pytest.raises(DataError, match="use its split"):
        prune(transformer.classifier, other, keep=0.5)
