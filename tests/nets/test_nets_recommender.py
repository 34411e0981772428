"""The recommender: its products against the plain double sum, its sets, its "never seen"."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_classifiers import RECORDS, make_classifier

from toolkit.encoders.record import learn_fields
from toolkit.nets.recommender import IDENTIFIER, Recommender, RecommenderSizes, field_sizes

FIELDS = (("category", 5), ("number", 1), ("set", 4))


def arrays(rows: int = 3) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(3)
    return torch.randint(1, 5, (rows,)), torch.randn(rows), (torch.rand(rows, 4) > 0.5).float()


def test_products_are_the_sum_over_all_pairs() -> None:
    torch.manual_seed(0)
    net = Recommender(RecommenderSizes(FIELDS, width=6, hidden=(), labels=2)).eval()
    with torch.no_grad():
        net.classifier.weight.zero_()  # leaves first order, zero when fresh, and the products
        net.classifier.bias.zero_()
        vectors = [part(array) for part, array in zip(net.vectors, arrays(), strict=True)]
        pairs = vectors[0] * vectors[1] + vectors[0] * vectors[2] + vectors[1] * vectors[2]
        assert torch.allclose(net(*arrays()), net.products(pairs), atol=1e-6)
        assert float(net.products(pairs).detach().abs().max()) > 0


def test_a_set_is_the_mean_of_its_members_and_an_empty_one_nothing() -> None:
    net = Recommender(RecommenderSizes(FIELDS, width=6, hidden=(), labels=2)).eval()
    hot = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    with torch.no_grad():
        vectors = net.vectors[2](hot)
        assert torch.allclose(vectors[0], (net.vectors[2].table[0] + net.vectors[2].table[2]) / 2)
        assert not vectors[1].any()


@pytest.mark.parametrize(
    ("size", "unseen", "learned"), [(IDENTIFIER, 0.5, True), (IDENTIFIER, 0.0, False), (IDENTIFIER - 1, 0.5, False)]
)
def test_an_identifier_never_seen_is_learned_from_forgotten_ones(size: int, unseen: float, learned: bool) -> None:
    torch.manual_seed(0)
    sizes = RecommenderSizes((("category", size), *FIELDS[1:]), width=6, hidden=(4,), labels=2, unseen=unseen)
    net = Recommender(sizes).train()
    net(*arrays(rows=50))[:, 1].sum().backward()
    assert bool(net.vectors[0].table.grad[0].any()) is learned
    assert not net.first_order[0].table.grad[0].any()  # how good a known one is, is learned from known ones


def test_the_first_order_weight_of_an_identifier_counts_tenfold() -> None:
    for size, gain in ((IDENTIFIER, 10.0), (IDENTIFIER - 1, 1.0)):
        torch.manual_seed(0)
        net = Recommender(RecommenderSizes((("category", size), *FIELDS[1:]), width=6, hidden=(4,), labels=2)).eval()
        with torch.no_grad():
            before = net(*arrays())
            net.first_order[0].table += 1.0
            assert torch.allclose(net(*arrays()), before + gain, atol=1e-5)


def test_a_missing_category_says_nothing_before_training() -> None:
    net = Recommender(RecommenderSizes(FIELDS, width=6, hidden=(4,), labels=2))
    assert not net.vectors[0].table[0].any()
    assert net.vectors[0].table[1].any()


def test_a_new_user_without_side_features_is_answered() -> None:
    classifier = make_classifier("recommender")
    known, new = classifier.encoder.encode(RECORDS[:1]), classifier.encoder.encode([{"item": "i0"}])
    assert np.isfinite(classifier.run(new)).all()
    assert not np.allclose(classifier.run(known), classifier.run(new))


def test_field_sizes_count_one_id_for_never_seen() -> None:
    encoder = learn_fields(RECORDS, {"user": ("category", ""), "age": ("number", ""), "genres": ("set", "")})
    assert field_sizes(encoder.fields) == (("category", 4), ("number", 1), ("set", 3))
