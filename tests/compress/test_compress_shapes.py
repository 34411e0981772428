"""The sizes that a cut is said to leave, against those that it leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compress_samples import Sample

from toolkit.compress.prune import cut
from toolkit.compress.shapes import shapes_after
from toolkit.errors import InputError, RecipeError
from toolkit.nets.cnn import Cnn, CnnSizes
from toolkit.nets.lstm import LstmSizes
from toolkit.nets.transformer import Transformer, TransformerSizes


@pytest.mark.parametrize(
    ("keep", "layers", "width"), [(1.0, None, None), (0.5, None, None), (0.4, 2, 48), (0.1, None, None)]
)
def test_a_transformer_is_within_a_block(
    keep: float, layers: int | None, width: int | None, transformer: Sample
) -> None:
    net = transformer.classifier.net
    assert isinstance(net, Transformer)
    made = cut(transformer.classifier, transformer.data, keep=keep, layers=layers, width=width).net
    assert isinstance(made, Transformer)
    said = shapes_after(net.sizes, keep=keep, layers=layers, width=width)
    assert len(said.heads) == len(made.sizes.heads)
    assert abs(sum(said.heads) - sum(made.sizes.heads)) <= 1
    assert abs(sum(said.feed_forward) - sum(made.sizes.feed_forward)) <= 32
    assert said.width == made.sizes.width
    Transformer(said)


@pytest.mark.parametrize("keep", [1.0, 0.5, 0.25])
def test_a_cnn_has_about_as_many_weights(keep: float, cnn: Sample) -> None:
    net = cnn.classifier.net
    assert isinstance(net, Cnn)
    made = cut(cnn.classifier, cnn.data, keep=keep).net
    assert isinstance(made, Cnn)
    said = shapes_after(net.sizes, keep=keep)
    weights = [sum(parameter.numel() for parameter in n.parameters()) for n in (Cnn(said), made)]
    assert weights[0] == pytest.approx(weights[1], rel=0.3)
    if keep == 1.0:
        assert said == net.sizes
    assert shapes_after(net.sizes, keep=keep, by="macs") == said, "an even share of either is the same"


def test_heads_and_neurons_are_spread_evenly() -> None:
    sizes = TransformerSizes(
        vocabulary=10, width=384, heads=(12,) * 6, head_width=32, feed_forward=(1536,) * 6, positions=8, labels=2
    )
    said = shapes_after(sizes, keep=0.5, layers=3, width=256)
    assert said == replace(sizes, width=256, heads=(6, 6, 6), feed_forward=(768, 768, 768))


def test_what_prune_refuses_is_refused() -> None:
    sizes = CnnSizes(channels=1, stages=(16,), inner=((16,),), labels=2)
    with pytest.raises(RecipeError, match=r"keep is 0\.0; allowed"):
        shapes_after(sizes, keep=0.0)
    with pytest.raises(RecipeError, match="width is 8; the stages of a cnn are cut by keep"):
        shapes_after(sizes, keep=0.5, width=8)
    with pytest.raises(RecipeError, match="by is 'time'; allowed: weights, macs"):
        shapes_after(sizes, keep=0.5, by="time")
    with pytest.raises(InputError, match="sizes are LstmSizes; allowed: TransformerSizes, CnnSizes"):
        shapes_after(LstmSizes(10, 8, 8, 2), keep=0.5)  # type: ignore[type-var]
