"""The cache of engines: found by key, opened only as written, never where others may write."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from engines.keys import GPU, key

from toolkit.engines import EngineCache
from toolkit.engines.cache import PLAN, RECORD
from toolkit.errors import InputError

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_what_was_kept_is_found_by_its_key_with_its_facts(cache: EngineCache) -> None:
    place = cache.keep(key(), CONTENT, {"seconds": 3.0})
    look = cache.look(key())
    assert (look.plan, look.why, look.facts) == (CONTENT, "", {"seconds": 3.0})
    assert place.is_relative_to(cache.folder)
    assert {path.stat().st_mode & 0o077 for path in (place, place / PLAN, place / RECORD)} == {0}


def test_nothing_is_found_of_another_model(cache: EngineCache) -> None:
    cache.keep(key(), CONTENT)
    look = cache.look(key(b"other"))
    assert look.plan is None
    assert look.why == "no engine was built of this model"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (key(gpu=replace(GPU, driver="590.1")), "the engine of this model is for driver 580.65.06, here 590.1"),
        (
            key(gpu=replace(GPU, name="NVIDIA L4", compute_capability="8.9")),
            "GPU NVIDIA H100 80GB HBM3, here NVIDIA L4",
        ),
        (key(tensorrt="11.5.0"), "TensorRT 11.4.0, here 11.5.0"),
        (key(max_batch=16), "flags or shapes"),
    ],
)
def test_an_engine_of_another_place_is_not_opened_and_the_difference_is_said(
    cache: EngineCache, other: object, words: str
) -> None:
    cache.keep(key(), CONTENT)
    look = cache.look(other)  # type: ignore[arg-type]
    assert look.plan is None
    assert words in look.why


def test_every_single_changed_byte_is_refused(cache: EngineCache) -> None:
    place = cache.keep(key(), CONTENT)
    for position in range(0, len(CONTENT), 97):
        changed = bytearray(CONTENT)
        changed[position] ^= 1 << position % 8
        (place / PLAN).write_bytes(changed)
        look = cache.look(key())
        assert look.plan is None
        assert "sha256 differs" in look.why
    (place / PLAN).write_bytes(CONTENT)
    assert cache.look(key()).plan == CONTENT


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"null", b'{"key": 3, "sha256": ""}', b"\xff" * 40, b"[" * 99_999]
)
def test_a_record_that_is_none_is_a_reason_to_build_again(cache: EngineCache, content: bytes) -> None:
    place = cache.keep(key(), CONTENT)
    (place / RECORD).write_bytes(content)
    look = cache.look(key())
    assert look.plan is None
    assert "built again" in look.why
    assert cache.look(key(b"other")).plan is None, "one that cannot be read is no reason either"


def test_a_record_moved_to_another_plan_is_found_out(cache: EngineCache) -> None:
    here, there = cache.keep(key(), CONTENT), cache.keep(key(b"other"), CONTENT[::-1])
    (there / RECORD).write_bytes((here / RECORD).read_bytes())
    (there / PLAN).write_bytes((here / PLAN).read_bytes())
    look = cache.look(key(b"other"))
    assert look.plan is None
    assert "another key" in look.why


def test_a_plan_without_its_record_is_none(cache: EngineCache) -> None:
    place = cache.keep(key(), CONTENT)
    (place / RECORD).unlink()
    assert cache.look(key()).plan is None


@pytest.mark.parametrize("name", [PLAN, RECORD])
def test_a_link_in_place_of_a_file_is_not_followed(cache: EngineCache, tmp_path: Path, name: str) -> None:
    place = cache.keep(key(), CONTENT)
    (place / name).rename(tmp_path / "elsewhere")
    (place / name).symlink_to(tmp_path / "elsewhere")
    look = cache.look(key())
    assert look.plan is None
    assert "no regular file" in look.why


def test_a_cache_that_others_may_write_is_refused_at_each_level(cache: EngineCache) -> None:
    place = cache.keep(key(), CONTENT)
    for folder in (place, place.parent, cache.folder):
        folder.chmod(0o777)
        with pytest.raises(InputError, match=r"writable by others.*chmod go-w"):
            cache.look(key())
        with pytest.raises(InputError, match="writable by others"):
            cache.keep(key(), CONTENT)
        folder.chmod(0o700)
    assert cache.look(key()).plan == CONTENT


def test_a_linked_folder_is_refused(cache: EngineCache, tmp_path: Path) -> None:
    place = cache.keep(key(), CONTENT)
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    with pytest.raises(InputError, match="is a link"):
        cache.look(key())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(cache: EngineCache) -> None:
    place = cache.keep(key(), CONTENT)
    os.chown(place, 12345, 12345)
    with pytest.raises(InputError, match="another user's"):
        cache.look(key())


def test_folders_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cache = EngineCache(tmp_path / "engines")
        cache.keep(key(), CONTENT)
        cache.keep_timings(key(), b"timings")
        assert cache.look(key()).plan == CONTENT
    finally:
        os.umask(before)


def test_a_newer_driver_replaces_and_another_gpu_stays_beside(cache: EngineCache) -> None:
    other = key(gpu=replace(GPU, name="NVIDIA L4", compute_capability="8.9"))
    newer = key(gpu=replace(GPU, driver="590.1"))
    old, beside = cache.keep(key(), CONTENT), cache.keep(other, CONTENT)
    cache.keep(newer, CONTENT[::-1])
    assert not old.exists()
    assert beside.exists()
    assert cache.look(newer).plan == CONTENT[::-1]


def test_keeping_again_replaces_whole(cache: EngineCache) -> None:
    cache.keep(key(), CONTENT)
    place = cache.keep(key(), b"newer")
    assert cache.look(key()).plan == b"newer"
    assert {path.name for path in place.iterdir()} == {PLAN, RECORD}
    assert json.loads((place / RECORD).read_bytes())["bytes"] == 5


def test_timings_are_shared_by_models_on_one_gpu_and_not_with_another_driver(cache: EngineCache) -> None:
    assert cache.timings(key()) == b""
    cache.keep_timings(key(), b"timings")
    assert cache.timings(key(b"other", tf32=True)) == b"timings"
    assert cache.timings(key(gpu=replace(GPU, driver="590.1"))) == b""


def test_it_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_TOOLKIT_CACHE", str(tmp_path / "mine"))
    assert EngineCache().folder == tmp_path / "mine" / "engines"
