"""A cnn cut by its multiply-accumulates: what they are, what is left of them, and what may not go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compress_samples import Sample, short_recipe

from toolkit.compress.cut_cnn import count_macs, prices
from toolkit.compress.latency_table import LatencyTable
from toolkit.compress.prune import cut, prune
from toolkit.errors import RecipeError
from toolkit.export.onnx import export
from toolkit.nets.cnn import Cnn, CnnSizes

TABLE = LatencyTable(
    processor="any", precision="fp32", length=10, width=64, head_width=16,
    heads=(1, 4), heads_us=(10.0, 40.0), neurons=(32, 128), neurons_us=(10.0, 50.0),
)  # fmt: skip
SIZES = CnnSizes(channels=3, stages=(16, 24, 40), inner=((8, 16), (32,), (24, 48)), labels=5)


def _macs(net: Cnn, side: int) -> int:
    """Multiply-accumulates of all convolutions for one picture, from the maps that they write."""
    found = 0

    def count(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal found
        assert isinstance(module, torch.nn.Conv2d)
        found += module.weight.numel() * output.shape[2] * output.shape[3]

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.inference_mode():
        net.eval()(torch.zeros(1, net.sizes.channels, side, side))
    for hook in hooks:
        hook.remove()
    return found


def _sizes(net: torch.nn.Module) -> CnnSizes:
    assert isinstance(net, Cnn)
    return net.sizes


@pytest.mark.parametrize(("stride", "side"), [(1, 28), (2, 32), (4, 64)])
def test_macs_are_those_of_the_maps_that_are_written(stride: int, side: int) -> None:
    sizes = replace(SIZES, stem_stride=stride)
    positions = (side // stride) ** 2
    assert count_macs(sizes) * positions == _macs(Cnn(sizes), side)


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("by", ["weights", "macs"])
def test_a_price_is_what_is_saved_when_a_channel_goes(by: str, stride: int) -> None:
    sizes = replace(SIZES, stem_stride=stride)
    inner, stages = prices(sizes, by=by)

    def cost(of: CnnSizes) -> float:
        if by == "macs":
            return count_macs(of)
        return float(sum(m.weight.numel() for m in Cnn(of).modules() if isinstance(m, torch.nn.Conv2d)))

    for place, price in enumerate(stages):
        fewer = tuple(channels - (at == place) for at, channels in enumerate(sizes.stages))
        assert cost(sizes) - cost(replace(sizes, stages=fewer)) == pytest.approx(price)
    flat = [n for stage in sizes.inner for n in stage]
    for place, price in enumerate(inner):
        counts = iter([channels - (at == place) for at, channels in enumerate(flat)])
        less = replace(sizes, inner=tuple(tuple(next(counts) for _ in stage) for stage in sizes.inner))
        assert cost(sizes) - cost(less) == pytest.approx(price)


@pytest.mark.parametrize("keep", [0.1, 0.25, 0.5, 0.75])
def test_what_is_left_is_within_keep_and_near_it(keep: float, cnn: Sample) -> None:
    before, after = cnn.classifier.net, cut(cnn.classifier, cnn.data, keep=keep, by="macs").net
    assert isinstance(before, Cnn)
    assert isinstance(after, Cnn)
    share = _macs(after, 8) / _macs(before, 8)
    assert keep - 0.05 < share <= keep
    assert all(channels % 8 == 0 for channels in after.sizes.stages)


def test_the_first_stage_goes_where_by_weights_the_last_does(cnn: Sample) -> None:
    by_weights, by_macs = (_sizes(cut(cnn.classifier, cnn.data, keep=0.5, by=by).net) for by in ("weights", "macs"))
    assert by_macs.stages[0] < by_weights.stages[0]
    assert sum(by_macs.inner[0]) < sum(by_weights.inner[0])
    assert by_macs.stages[-1] > by_weights.stages[-1]
    assert count_macs(by_macs) < 0.8 * count_macs(by_weights)


def test_keeping_everything_changes_nothing(cnn: Sample) -> None:
    made = prune(cnn.classifier, cnn.data, keep=1.0, by="macs", recover=2, recipe=short_recipe("cnn"))
    arrays = cnn.classifier.encoder.encode(cnn.data.split("test").examples[:8])
    assert np.array_equal(made.classifier.run(arrays), cnn.classifier.run(arrays))
    assert _sizes(made.classifier.net) == _sizes(cnn.classifier.net)


def test_a_gradual_cut_ends_within_keep_and_is_recorded_and_exports(cnn: Sample, tmp_path: Path) -> None:
    recipe = short_recipe("cnn", epochs=1)
    made = prune(cnn.classifier, cnn.data, keep=0.4, by="macs", rounds=2, recover=2, recipe=recipe).classifier
    assert 0.35 < count_macs(_sizes(made.net)) / count_macs(_sizes(cnn.classifier.net)) <= 0.4
    settings = made.steps[-1].settings
    assert (settings["by"], settings["keep"], settings["table"]) == ("macs", 0.4, None)
    (tmp_path / "onnx").mkdir()
    artifact, parity = export(made, tmp_path / "onnx", examples=cnn.data.split("test").examples[:20])
    assert parity.max_relative_difference < 1e-4
    assert artifact.size_bytes < cnn.artifact.size_bytes


def test_what_is_no_share_of_macs_is_refused_by_name(cnn: Sample, transformer: Sample) -> None:
    with pytest.raises(RecipeError, match="by is 'flops'; allowed: weights, macs, or a latency table"):
        prune(cnn.classifier, cnn.data, keep=0.5, by="flops")
    with pytest.raises(RecipeError, match="by is macs; those of a transformer go with its weights"):
        prune(transformer.classifier, transformer.data, keep=0.5, by="macs")
    with pytest.raises(RecipeError, match="by is macs and a latency table was given; a cut goes by one of them"):
        cut(cnn.classifier, cnn.data, keep=0.5, by="macs", table=TABLE)
    with pytest.raises(RecipeError, match="a cnn is cut by weights or macs, leave it out"):
        cut(cnn.classifier, cnn.data, keep=0.5, table=TABLE)
