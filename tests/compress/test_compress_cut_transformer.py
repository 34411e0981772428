"""Cutting the hidden width of a transformer, and choosing by a table of measured times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compress_samples import Sample

from toolkit.classifier import copy_net
from toolkit.compress.importance import SOFTENING, measure_importance
from toolkit.compress.latency_table import LatencyTable
from toolkit.compress.prune import cut
from toolkit.compress.units import Unit, choose_units, merge_ranked
from toolkit.errors import RecipeError
from toolkit.export.onnx import export
from toolkit.nets.transformer import Transformer

TABLE = LatencyTable(
    processor="any", precision="fp32", length=10, width=64, head_width=16,
    heads=(1, 4), heads_us=(10.0, 40.0), neurons=(32, 64, 96, 128), neurons_us=(10.0, 30.0, 30.0, 50.0),
)  # fmt: skip


def test_a_narrower_net_is_the_old_one_without_these_channels_and_exports(transformer: Sample, tmp_path: Path) -> None:
    net = transformer.classifier.net
    small = cut(transformer.classifier, transformer.data, keep=1.0, width=40)
    narrow = small.net
    assert isinstance(narrow, Transformer)
    assert isinstance(net, Transformer)
    assert narrow.sizes == replace(net.sizes, width=40)
    assert narrow.tokens.weight.shape == (net.sizes.vocabulary, 40)
    assert small.steps[-1].settings["width"] == 40
    columns = [int((net.tokens.weight == column[:, None]).all(dim=0).nonzero()) for column in narrow.tokens.weight.T]
    assert columns == sorted(columns)
    assert torch.equal(narrow.layers[1].expand.weight, net.layers[1].expand.weight[:, columns])  # type: ignore[union-attr, index]
    assert torch.equal(narrow.layers[2].contract.weight, net.layers[2].contract.weight[columns])  # type: ignore[union-attr, index]
    assert torch.equal(narrow.classifier.weight, net.classifier.weight[:, columns])
    (tmp_path / "onnx").mkdir()
    artifact, parity = export(small, tmp_path / "onnx", examples=transformer.data.split("test").examples[:20])
    assert parity.passed()
    assert artifact.size_bytes < transformer.artifact.size_bytes


def test_hidden_channels_that_nothing_reads_go_first(transformer: Sample) -> None:
    idle = copy_net(transformer.classifier.net)
    assert isinstance(idle, Transformer)
    norms = [idle.norm, *(n for layer in idle.layers for n in (layer.attention_norm, layer.feed_forward_norm))]
    with torch.no_grad():
        for norm in norms:
            norm.weight[::2] = 0.0  # type: ignore[union-attr, operator, index]
            norm.bias[::2] = 0.0  # type: ignore[union-attr, operator, index]
    narrow = cut(replace(transformer.classifier, net=idle), transformer.data, keep=1.0, width=32).net
    assert torch.equal(narrow.get_parameter("tokens.weight"), idle.tokens.weight[:, 1::2])


def test_importance_of_the_width_is_the_change_of_the_loss_to_first_order(transformer: Sample) -> None:
    """Against finite differences: one hidden channel a little smaller behind every norm at once."""
    classifier, rows = transformer.classifier, transformer.data.split("train").take(range(6))
    net = copy_net(classifier.net)
    assert isinstance(net, Transformer)
    norms = (net.norm, *(n for layer in net.layers for n in (layer.attention_norm, layer.feed_forward_norm)))
    (score,) = measure_importance(net, classifier.encoder, rows, [norms])  # type: ignore[list-item]
    assert len(score) == 64
    channel, step = int(score.argmax()), 0.02

    def losses() -> torch.Tensor:
        found = []
        for row in range(len(rows)):
            arrays = classifier.encoder.encode([rows.examples[row]])
            inputs = [torch.from_numpy(arrays[i.name]) for i in classifier.encoder.inputs]
            label = torch.tensor([int(rows.labels[row])])
            found.append(torch.nn.functional.cross_entropy(net(*inputs).double() / SOFTENING, label))
        return torch.stack(found).detach()

    whole = losses()
    with torch.no_grad():
        for norm in norms:
            norm.weight[channel] *= 1.0 - step  # type: ignore[union-attr, operator, index]
            norm.bias[channel] *= 1.0 - step  # type: ignore[union-attr, operator, index]
    assert float(((losses() - whole) / step).abs().mean()) == pytest.approx(float(score[channel]), rel=0.1)


def test_a_table_is_a_budget_of_time(transformer: Sample) -> None:
    small = cut(transformer.classifier, transformer.data, keep=0.5, table=TABLE)
    net = small.net
    assert isinstance(net, Transformer)
    attention = sum(TABLE.attention_us(heads) for heads in net.sizes.heads)
    feed_forward = sum(TABLE.feed_forward_us(neurons) for neurons in net.sizes.feed_forward)
    assert 65.0 <= attention <= 75.0  # of 30 that must be spent and 90 that could be saved
    assert 70.0 <= feed_forward <= 90.0
    # 64 neurons take as long as 96, so nobody stops there
    assert 64 not in net.sizes.feed_forward
    settings = small.steps[-1].settings
    assert settings["by"] == "latency"
    assert settings["table"]["precision"] == "fp32"


def test_a_table_of_another_net_is_refused(transformer: Sample) -> None:
    with pytest.raises(RecipeError, match=r"the latency table is of width 64, .* measure a table for it"):
        cut(transformer.classifier, transformer.data, keep=0.5, width=32, table=TABLE)
    with pytest.raises(RecipeError, match="this net needs 64, 16, 4, 128"):
        cut(transformer.classifier, transformer.data, keep=0.5, table=replace(TABLE, heads=(1, 2)))


def test_units_that_cost_nothing_more_are_bought_together() -> None:
    ranked = [Unit("neurons", 0, (n,), importance, price) for n, importance, price in
              ((0, 5.0, 1.0), (1, 4.0, 20.0), (2, 3.0, 0.0), (3, 1.0, 10.0), (4, 0.5, 10.0))]  # fmt: skip
    assert [unit.channels for unit in merge_ranked(ranked)] == [(0,), (1, 2), (3,), (4,)]
    assert [unit.channels for unit in merge_ranked(ranked[:1])] == [(0,)]


def test_the_first_of_every_place_stays_and_the_budget_holds() -> None:
    units = [Unit("heads", place, (head,), 10.0 * place - head, 2.0) for place in range(3) for head in range(4)]
    chosen = choose_units(units, 12.0)
    assert {unit.place for unit in chosen if unit.channels == (0,)} == {0, 1, 2}
    assert sum(unit.price for unit in chosen) == 12.0
    assert [unit.place for unit in chosen[3:]] == [2, 2, 2]
