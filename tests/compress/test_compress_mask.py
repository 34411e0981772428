"""Masks: which weights become zero, that they stay zero, and that it buys nothing on this runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compress_samples import Sample, short_recipe
from torch import nn

from toolkit.card import model_card
from toolkit.compress.mask import WARNING, choose_masks, mask
from toolkit.errors import InputError, RecipeError
from toolkit.export.onnx import export
from toolkit.nets import build_net
from toolkit.report import Report
from toolkit.train.saving import save_trained


def _zeros(net: nn.Module, name: str) -> float:
    return float((net.get_parameter(name) == 0).float().mean())


def test_the_smallest_weights_are_zero_and_the_input_stays(transformer: Sample) -> None:
    net = transformer.classifier.net
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    made = mask(transformer.classifier, transformer.data, keep=0.25, recover=0, recipe=short_recipe("transformer"))
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in before.items())
    small = made.classifier.net
    weight, old = small.get_parameter("layers.0.expand.weight"), net.get_parameter("layers.0.expand.weight")
    assert _zeros(small, "layers.0.expand.weight") == 0.75
    assert old[weight == 0].abs().max() <= old[weight != 0].abs().min()
    assert torch.equal(weight[weight != 0], old[weight != 0])
    assert torch.equal(small.get_parameter("tokens.weight"), net.get_parameter("tokens.weight"))
    assert torch.equal(small.get_parameter("layers.0.expand.bias"), net.get_parameter("layers.0.expand.bias"))


@pytest.mark.parametrize(
    ("name", "weight"), [("transformer", "layers.1.contract.weight"), ("lstm", "lstm.weight_hh_l0")]
)
def test_what_is_masked_stays_zero_while_the_rest_recovers(
    name: str, weight: str, request: pytest.FixtureRequest
) -> None:
    sample: Sample = request.getfixturevalue(name)
    made = mask(sample.classifier, sample.data, pattern="2:4", recover=1, recipe=short_recipe(name, weight_decay=1.0))
    masked, old = made.classifier.net.get_parameter(weight), sample.classifier.net.get_parameter(weight)
    assert made.fitted.epochs_run == 1
    assert bool(((masked.view(-1, 4) != 0).sum(dim=1) == 2).all())
    assert not torch.equal(masked[masked != 0], old[masked != 0])
    assert not masked._backward_hooks
    assert made.classifier.steps[-1].settings["zero_share"] == pytest.approx(0.5)


def test_two_of_four_goes_along_the_input_channels_of_a_convolution(cnn: Sample) -> None:
    masks = choose_masks(cnn.classifier.net, "2:4", 0.5)
    assert "stem.weight" not in masks  # one input channel
    kept = masks["blocks.0.first.weight"]
    assert kept.shape == cnn.classifier.net.get_parameter("blocks.0.first.weight").shape
    assert bool((kept.unflatten(1, (-1, 4)).sum(dim=2) == 2).all())


def test_keeping_everything_is_exactly_a_no_op(transformer: Sample) -> None:
    made = mask(transformer.classifier, transformer.data, keep=1.0, recover=3, recipe=short_recipe("transformer"))
    arrays = transformer.classifier.encoder.encode(transformer.data.split("test").examples[:8])
    assert np.array_equal(made.classifier.run(arrays), transformer.classifier.run(arrays))
    assert made.classifier.steps[-1].settings["recover"] == 0


def test_a_mask_buys_no_byte_and_says_so(transformer: Sample, tmp_path: Path) -> None:
    made = mask(transformer.classifier, transformer.data, pattern="2:4", recover=0, recipe=short_recipe("transformer"))
    assert made.warnings[0] == WARNING
    step = made.classifier.steps[-1]
    assert step.name == "mask"
    assert WARNING in step.settings["warnings"]
    (tmp_path / "onnx").mkdir()
    examples = transformer.data.split("validation").examples
    artifact, parity = export(made.classifier, tmp_path / "onnx", examples=examples)
    assert parity.passed()
    sizes = [len(a.read(a.core.models[0])) for a in (artifact, transformer.artifact)]
    assert sizes[0] == sizes[1]
    (tmp_path / "saved").mkdir()
    saved = save_trained(made.classifier, transformer.data, tmp_path / "saved")
    assert "save no size and no time" in model_card(saved, Report.of(saved, facts={}))


def test_values_out_of_their_range_are_refused(transformer: Sample, cnn: Sample) -> None:
    with pytest.raises(RecipeError, match="pattern is '1:4'; allowed: magnitude, 2:4"):
        mask(transformer.classifier, transformer.data, pattern="1:4")
    with pytest.raises(RecipeError, match=r"keep is 0\.3; the pattern 2:4 keeps 0\.5"):
        mask(transformer.classifier, transformer.data, pattern="2:4", keep=0.3)
    with pytest.raises(RecipeError, match=r"keep is 0\.0; allowed"):
        mask(transformer.classifier, transformer.data, keep=0.0)
    with pytest.raises(RecipeError, match="recover is -1"):
        mask(transformer.classifier, transformer.data, recover=-1)


def test_a_net_that_the_pattern_does_not_fit_is_refused(cnn: Sample) -> None:
    sizes = {"channels": 1, "stages": (6,), "inner": ((6,),), "labels": 10}
    narrow = replace(cnn.classifier, net=build_net("cnn", sizes))
    with pytest.raises(InputError, match="this cnn has no weight that the pattern 2:4 fits"):
        mask(narrow, cnn.data, pattern="2:4", recover=0)
