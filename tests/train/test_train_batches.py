"""Each row once an epoch, like lengths together, and a batch that says what its encoder would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from trec_cases import minilm, trec_rows

import toolkit.train.batches as batches_module
from toolkit.data import Split
from toolkit.encoders.image import ImageEncoder
from toolkit.train.batches import encode_rows, epoch_batches

LENGTHS = np.random.default_rng(0).integers(1, 60, size=101)


def _deal(**changes: Any) -> list[np.ndarray]:
    settings = {"batch_size": 8, "bucket": 4, "seed": 0, "epoch": 0, **changes}
    return epoch_batches(LENGTHS, **settings)


@pytest.mark.parametrize("bucket", [1, 4, 1000])
def test_every_row_comes_once_and_one_batch_is_short(bucket: int) -> None:
    dealt = _deal(bucket=bucket)
    assert sorted(np.concatenate(dealt).tolist()) == list(range(101))
    assert sorted(len(batch) for batch in dealt) == [5] + [8] * 12


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def flat(**changes: Any) -> list[int]:
        return [int(row) for row in np.concatenate(_deal(**changes))]

    assert flat() == flat()
    assert flat() != flat(seed=1)
    assert flat() != flat(epoch=1)


def test_buckets_save_padding_and_do_not_come_in_order_of_length() -> None:
    def cells(dealt: list[np.ndarray]) -> int:
        return sum(len(batch) * int(LENGTHS[batch].max()) for batch in dealt)

    assert cells(_deal(bucket=100)) < 0.75 * cells(_deal(bucket=1))
    longest = [int(LENGTHS[batch].max()) for batch in _deal(bucket=100)]
    assert longest != sorted(longest)


def test_a_batch_is_what_the_encoder_makes_of_it() -> None:
    _, encoder = minilm(1)
    train, _ = trec_rows()
    rows = encode_rows(encoder, train)
    chosen = np.asarray([5, 17, 101, 3])
    expected = encoder.encode([train.examples[row] for row in chosen.tolist()])
    for declared, tensor in zip(encoder.inputs, rows.batch(chosen), strict=True):
        assert torch.equal(tensor, torch.from_numpy(expected[declared.name]))
    assert rows.lengths[chosen].tolist() == expected["attention_mask"].sum(axis=1).tolist()


def test_what_does_not_fit_in_memory_is_encoded_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ImageEncoder(channels=1, height=8, width=8, mean=[0.5], deviation=[0.25])
    pictures = list(np.random.default_rng(0).integers(0, 256, size=(20, 8, 8), dtype=np.uint8))
    split = Split(pictures, np.zeros(20, dtype=np.int64))
    kept = encode_rows(encoder, split)
    monkeypatch.setattr(batches_module, "MEMORY", 1000)
    made = encode_rows(encoder, split)
    assert kept.arrays is not None
    assert made.arrays is None
    chosen = np.asarray([19, 0, 7])
    assert torch.equal(kept.batch(chosen)[0], made.batch(chosen)[0])
