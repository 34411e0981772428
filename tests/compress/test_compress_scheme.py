"""The settings of a quantization: what is allowed, and the one line that says so."""

from __future__ import annotations

import re
from typing import Any

import pytest

from toolkit.compress.scheme import Scheme
from toolkit.errors import RecipeError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "int4"}, "mode is 'int4'; allowed: dynamic, static, weights, fp16"),
        ({"method": "mean"}, "method is 'mean'; allowed: minmax, entropy, percentile"),
        ({"target": "tpu"}, "target is 'tpu'; allowed: cpu, tensorrt"),
        ({"rows": 0}, "rows is 0; allowed: 1 or more training rows"),
        ({"smooth": 1.5}, "smooth is 1.5; allowed: 0"),
        ({"mode": "weights", "bits": 3}, "bits is 3; allowed: 8, 4"),
        ({"bits": 4}, "bits is 4, which is for mode weights"),
        ({"table_bits": 3}, "table_bits is 3; allowed: 8, 4"),
        ({"target": "tensorrt", "table_bits": 4}, "table_bits is 4; mode static for tensorrt leaves embedding tables"),
        ({"mode": "fp16", "table_bits": 4}, "table_bits is 4; mode fp16 for cpu leaves embedding tables in float"),
        ({"mode": "fp16", "smooth": 0.5}, "smooth helps activations in 8 bits, modes dynamic and static; not fp16"),
        ({"mode": "dynamic", "target": "tensorrt"}, "mode dynamic makes no graph for tensorrt; modes for it: static"),
        ({"mode": "weights", "target": "tensorrt"}, "mode weights makes no graph for tensorrt"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        Scheme(**settings)


def test_what_needs_rows_and_what_the_lineage_says() -> None:
    assert Scheme().calibrates
    assert Scheme("dynamic", smooth=0.5).calibrates
    assert not Scheme("dynamic").calibrates
    assert not Scheme("weights").calibrates
    assert [Scheme(m).precision for m in ("static", "dynamic", "weights", "fp16")] == ["int8", "int8", "int8", "fp16"]
    assert Scheme("weights", bits=4).precision == "int4"
    assert Scheme("dynamic", keep_float=("b", "a")).to_json() == {
        "mode": "dynamic", "target": "cpu", "keep_float": ["a", "b"],
    }  # fmt: skip
    assert Scheme("weights", bits=4).to_json() == {"mode": "weights", "target": "cpu", "bits": 4}
