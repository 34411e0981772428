"""Training only the used rows of a table gives what training the whole table gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from trec_cases import fit_rows, make_recipe, minilm, trec_rows

import toolkit.train.embeddings as embeddings_module
from toolkit.train.batches import encode_rows
from toolkit.train.embeddings import UsedRows, used_rows_only
from toolkit.train.fit import fit


def test_the_result_is_that_of_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    net, encoder = minilm(1)
    before = copy.deepcopy(net.state_dict())
    train, validation = trec_rows()
    # unclipped: the norm of a gradient sums its zeros in another order, which moves the last bit
    recipe = make_recipe(clip=0.0, weight_decay=0.1)
    fit(net, encoder, train.take(range(48)), validation.take(range(16)), recipe)
    monkeypatch.setattr(embeddings_module, "SMALLEST", 1 << 40)
    whole, _ = minilm(1)
    fit(whole, encoder, train.take(range(48)), validation.take(range(16)), recipe)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[name]), name
    moved = (net.state_dict()["tokens.weight"] != before["tokens.weight"]).any(dim=1).sum()
    assert 100 < moved < 1000


def test_the_table_is_swapped_inside_and_back_afterwards_even_on_an_error() -> None:
    net, encoder = minilm(1)
    table = net.get_submodule("tokens")
    rows = encode_rows(encoder, trec_rows()[0])
    batch = rows.batch(rows.labels[:0].astype(int).tolist() or torch.arange(4).numpy())
    expected = net.eval()(*batch)

    def fail() -> None:
        with used_rows_only(net, rows) as swapped:
            assert swapped == 1
            inside = net.get_submodule("tokens")
            assert isinstance(inside, UsedRows)
            assert inside.num_embeddings < 1500
            assert torch.equal(net(*batch), expected)
            with pytest.raises(IndexError):
                inside(torch.tensor([[30_000]]))
            with torch.no_grad():
                inside.weight += 1.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert net.get_submodule("tokens") is table
    assert isinstance(table, nn.Embedding)
    assert table.num_embeddings == 30_522
    used = torch.unique(batch[0])
    assert torch.equal(table.weight[used], minilm(1)[0].get_parameter("tokens.weight")[used] + 1.0)


def test_a_frozen_table_is_left_alone() -> None:
    net, encoder = minilm(1)
    net.get_parameter("tokens.weight").requires_grad_(False)
    with used_rows_only(net, encode_rows(encoder, trec_rows()[0])) as swapped:
        assert swapped == 0


def test_the_checkpoint_of_the_caller_is_untouched_by_a_copy() -> None:
    pristine = minilm(1)[0].state_dict()["tokens.weight"].clone()
    fit_rows(16)
    assert torch.equal(minilm(1)[0].state_dict()["tokens.weight"], pristine)
