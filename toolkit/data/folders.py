"""Folders of pictures: one folder a class, or the idx files of MNIST and its kin.

A folder of pictures is `CLASS/*.png`, or `train/CLASS/*.png` and so on where the folders are named
after splits. Bytes stay what they are, since that is what a client sends; each is decoded once to
find the broken ones. Hidden files are no rows. idx (`train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`,
gzipped or not) gives uint8 arrays (height, width) and its own train and test.
Format: Y. LeCun, http://yann.lecun.com/exdb/mnist.

Limit: all pictures are held in memory as they are on disk.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolkit.data import BadRow
from toolkit.data.rows import Rows, split_name
from toolkit.encoders.image import decode_picture
from toolkit.errors import DataError, InputError
from toolkit.lineage import digest_of, digest_of_bytes
from toolkit.spec import Array

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".pgm", ".ppm", ".tif", ".tiff")
_IDX_SPLITS = {"train": "train", "t10k": "test"}


def is_idx_folder(folder: Path) -> bool:
    """Whether the folder holds idx files by their usual names."""
    return _idx_file(folder, "train", "images") is not None or _idx_file(folder, "t10k", "images") is not None


def read_pictures(folder: Path) -> Rows:
    """Pictures of `folder` as bytes, labelled by the name of their folder."""
    children = _folders(folder)
    by_split = bool(children) and all(split_name(child.name) for child in children)
    classes = [(child, split_name(parent.name) or "") for parent in children for child in _folders(parent)]
    examples: list[bytes] = []
    labels: list[str] = []
    splits: list[str] = []
    bad: list[BadRow] = []
    digests: list[tuple[str, str]] = []
    for child, split in classes if by_split else [(child, "") for child in children]:
        for path in sorted(p for p in child.rglob("*") if p.is_file() and not p.name.startswith(".")):
            name = path.relative_to(folder).as_posix()
            content = path.read_bytes()
            digests.append((name, digest_of_bytes(content)))
            if expected := _unusable(path, content):
                bad.append(BadRow(name, 0, expected))
                continue
            examples.append(content)
            labels.append(child.name)
            splits.append(split)
    if not digests:
        raise DataError(f"{folder} holds no pictures; expected one folder a class with {', '.join(SUFFIXES)} in it")
    source = digest_of({"content": sorted(digests), "columns": "one folder a class"})
    return Rows(folder.name, "image", examples, labels, source, splits if by_split else None, bad=tuple(bad))


def read_idx(folder: Path, *, name: str = "", labels: Sequence[str] | None = None) -> Rows:
    """Pictures of an idx folder, uint8 (height, width); `labels` names the classes, else their numbers."""
    examples: list[Array] = []
    words: list[str] = []
    splits: list[str] = []
    digests: list[str] = []
    for prefix, split in _IDX_SPLITS.items():
        files = [_idx_file(folder, prefix, part) for part in ("images", "labels")]
        if files == [None, None]:
            continue
        if files[0] is None or files[1] is None:
            raise DataError(f"{folder} has {prefix} images or labels alone; expected both, idx3-ubyte and idx1-ubyte")
        contents = [_unpacked(file) for file in files if file is not None]
        pictures, numbers = _idx(files[0], contents[0], axes=3), _idx(files[1], contents[1], axes=1)
        if len(pictures) != len(numbers):
            raise DataError(f"{files[0]} has {len(pictures)} pictures and {files[1].name} {len(numbers)} labels")
        if labels is not None and len(numbers) and int(numbers.max()) >= len(labels):
            raise DataError(f"{files[1]} has label {int(numbers.max())}; {len(labels)} classes are known")
        examples += list(pictures)
        words += [str(number) if labels is None else labels[number] for number in numbers.tolist()]
        splits += [split] * len(numbers)
        digests += [digest_of_bytes(content) for content in contents]
    source = digest_of({"content": digests, "columns": list(labels or ["idx"])})
    only_test = "train" not in splits
    return Rows(name or folder.name, "image", examples, words, source, None if only_test else splits)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _unusable(path: Path, content: bytes) -> str:
    """What was expected of a file that is no picture; empty when it is one."""
    if path.suffix.lower() not in SUFFIXES:
        return f"a picture named {', '.join(SUFFIXES)}"
    try:
        decode_picture(content)
    except InputError as error:
        return f"a picture ({error})"
    return ""


def _idx_file(folder: Path, prefix: str, part: str) -> Path | None:
    kind = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}[part]
    names = (f"{prefix}-{part}{joint}{kind}{packed}" for joint in ("-", ".") for packed in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        raise DataError(f"{path} is no whole gzip file; get it again") from None


def _idx(path: Path, content: bytes, *, axes: int) -> Array:
    """uint8 of the sizes in the header: two zero bytes, type 8, number of axes, big-endian sizes."""
    header = 4 + 4 * axes
    if content[:4] != bytes((0, 0, 8, axes)) or len(content) < header:
        raise DataError(f"{path} is no idx file of unsigned bytes with {axes} axes")
    sizes = np.frombuffer(content, dtype=">u4", count=axes, offset=4).tolist()
    if len(content) - header != math.prod(sizes):
        raise DataError(f"{path} says {sizes} and has {len(content) - header} bytes; expected {math.prod(sizes)}")
    result: Array = np.frombuffer(content, dtype=np.uint8, offset=header).reshape(sizes)
    return result
