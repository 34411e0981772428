"""The hub: the extra is named where it is missing, and plain columns become rows."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toolkit.data.hub import HubSplit, read_hub, rows_of_splits
from toolkit.data.splitting import split_rows
from toolkit.errors import DataError, MissingExtra


def _split(rows: int, start: int = 0, **columns: list[Any]) -> HubSplit:
    plain = {"sentence": [f"row {start + i} 好" for i in range(rows)], "label": [i % 2 for i in range(rows)]}
    return HubSplit({**plain, **columns}, {"label": ("neg", "pos")})


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="the extra is installed here")
def test_the_missing_extra_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"datasets is not installed.*pip install 'serving-toolkit\[hub\]'"):
        read_hub("hub:imdb")


def test_a_reference_needs_a_name() -> None:
    with pytest.raises(DataError, match="expected hub:NAME or hub:NAME:CONFIG"):
        read_hub("hub:")


def test_splits_and_class_names_come_from_the_hub() -> None:
    splits = {"train": _split(20), "validation": _split(6, 100), "test": _split(6, 200)}
    data = split_rows(rows_of_splits("hub:x", splits), seed=0)
    assert data.labels == ("neg", "pos")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 20, "validation": 6, "test": 6}


def test_hidden_labels_are_bad_rows() -> None:
    splits = {"train": _split(20), "dev": _split(6, 100), "test": _split(3, 200, label=[-1, -1, -1])}
    rows = rows_of_splits("hub:glue:sst2", splits)
    assert [(bad.file, bad.line) for bad in rows.bad] == [("hub:glue:sst2/test", line) for line in (1, 2, 3)]
    assert "test" not in split_rows(rows, seed=0).splits


def test_a_split_of_another_name_is_reported_and_not_used() -> None:
    rows = rows_of_splits("hub:imdb", {"train": _split(10), "unsupervised": _split(7, 100)})
    assert rows.splits is None
    assert len(rows.examples) == 10
    assert [(bad.file, bad.expected.split("; ")[1]) for bad in rows.bad] == [
        ("hub:imdb/unsupervised", "its 7 rows are not used")
    ]


def test_pictures_are_found_by_their_bytes() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(buffer, "PNG")
    columns = {"image": [buffer.getvalue()] * 2, "labels": [0, 1]}
    rows = rows_of_splits("hub:beans", {"train": HubSplit(columns, {"labels": ("a", "b")})})
    assert (rows.task, rows.labels, rows.examples) == ("image", ["a", "b"], [buffer.getvalue()] * 2)


def test_columns_are_chosen_as_in_a_file() -> None:
    split = HubSplit({"a": ["x", "y"], "b": ["u", "v"], "c": [1, 2]}, {})
    assert rows_of_splits("hub:x", {"train": split}, text="b", label="c").examples == ["u", "v"]
    with pytest.raises(DataError, match="hub:x has the columns: 'a', 'b', 'c'"):
        rows_of_splits("hub:x", {"train": split})


def test_the_source_is_that_of_the_rows() -> None:
    first = rows_of_splits("hub:x", {"train": _split(10)}).source
    assert rows_of_splits("hub:x", {"train": _split(10)}).source == first
    assert rows_of_splits("hub:x", {"train": _split(11)}).source != first
    assert rows_of_splits("hub:x", {"train": _split(10, label=[0] * 10)}).source != first


def test_no_usable_split_is_said() -> None:
    with pytest.raises(DataError, match="hub:x has no split named train, validation or test; it has: extra"):
        rows_of_splits("hub:x", {"extra": _split(3)})
