"""Whatever an engine depends on makes another key, and the difference is said in words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from engines.keys import GPU, key

from toolkit.engines import EngineKey, Flags
from toolkit.errors import ArtifactError, RecipeError

OTHERS = {
    "model": key(b"other"),
    "GPU NVIDIA L4, here": key(gpu=replace(GPU, name="NVIDIA L4")),
    "compute capability 8.9, here 9.0": key(gpu=replace(GPU, compute_capability="8.9")),
    "driver 570.1, here 580.65.06": key(gpu=replace(GPU, driver="570.1")),
    "TensorRT 11.3.0, here 11.4.0": key(tensorrt="11.3.0"),
    "flags or shapes": key(tf32=True),
}


def test_the_same_work_has_the_same_key() -> None:
    assert key() == key()
    assert key().digest == key().digest
    assert key().differences(key()) == ()


@pytest.mark.parametrize("words", OTHERS)
def test_each_thing_it_depends_on_makes_another_key_and_is_named(words: str) -> None:
    other = OTHERS[words]
    assert other.digest != key().digest
    (said,) = key().differences(other)
    assert said.startswith(words)


def test_flags_and_shapes_are_all_in_the_key() -> None:
    digests = {key(**flags).digest for flags in ({}, {"tf32": True}, {"sparse": True}, {"level": 5}, {"max_batch": 9})}
    assert len(digests) == 5


def test_memory_and_newest_cuda_are_not_what_an_engine_depends_on() -> None:
    assert key(gpu=replace(GPU, memory_bytes=1, cuda=(14, 0))) == key()


def test_timings_are_shared_by_what_runs_in_one_place() -> None:
    assert key(b"other", tf32=True).place == key().place
    assert key(tensorrt="11.3.0").place != key().place


def test_a_key_survives_json_and_nothing_else_is_taken() -> None:
    assert EngineKey.from_json(json.loads(json.dumps(key().to_json()))) == key()
    for wrong in ({}, None, {**key().to_json(), "settings": 3}, {**key().to_json(), "format": "x"}):
        with pytest.raises(ArtifactError, match="cannot be read"):
            EngineKey.from_json(wrong)


def test_levels_are_those_of_tensorrt() -> None:
    with pytest.raises(RecipeError, match="level is 6"):
        Flags(level=6)
