"""The table of measured times: rises with size, is kept, and is refused where it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compress_samples import Sample

from toolkit.compress.latency_table import measure_latency_table, median_length, read_latency_table
from toolkit.errors import InputError, RecipeError
from toolkit.nets.transformer import TransformerSizes

SIZES = TransformerSizes(
    vocabulary=100, width=128, heads=(4, 2), head_width=32, feed_forward=(512, 100), positions=32, labels=3
)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_measured_table_rises_and_is_read_again(precision: str, tmp_path: Path) -> None:
    table = measure_latency_table(SIZES, length=16, precision=precision, folder=tmp_path)
    assert (table.heads, table.neurons[0], table.neurons[-1]) == ((1, 2, 3, 4), 32, 512)
    assert table.precision == precision
    assert 0.0 < table.attention_us(1) <= table.attention_us(3) <= table.attention_us(4)
    assert 0.0 < table.feed_forward_us(32) < table.feed_forward_us(512)
    assert table.feed_forward_us(64) == pytest.approx(
        (table.feed_forward_us(32) + table.feed_forward_us(96)) / 2, rel=0.5
    )
    stages: list[str] = []
    again = measure_latency_table(
        SIZES, length=16, precision=precision, folder=tmp_path, progress=lambda stage, *_: stages.append(stage)
    )
    assert again == table
    assert stages == []
    (stored,) = tmp_path.iterdir()
    assert read_latency_table(stored) == table
    assert json.loads(stored.read_bytes())["length"] == 16


def test_the_length_is_the_median_of_the_rows(transformer: Sample) -> None:
    encoder, examples = transformer.classifier.encoder, transformer.data.split("train").examples[:5]
    lengths = sorted(encoder.encode([example])["input_ids"].shape[1] for example in examples)
    assert median_length(encoder, examples) == lengths[2]


def test_bad_values_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="precision is 'fp64'; allowed: int8, fp32"):
        measure_latency_table(SIZES, length=16, precision="fp64", folder=tmp_path)
    with pytest.raises(RecipeError, match="length is 33; allowed: 1 to 32"):
        measure_latency_table(SIZES, length=33, folder=tmp_path)
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="is no latency table"):
        read_latency_table(tmp_path / "other.json")
