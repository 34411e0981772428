"""Changed rows in a file: read back as they were written, and refused in a line when they are not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolkit.errors import InputError
from toolkit.judge.flips import Flip
from toolkit.judge.flips_file import FlipsFile, read_flips, write_flips

WHOLE = FlipsFile(
    "a" * 64, "baseline", "b" * 64, "test", "c" * 64, ("no", "yes"), 10, (Flip(3, 1, 1, 0, 0.75, 0.5),)
)  # fmt: skip


def test_it_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_flips(tmp_path / "deep" / "flips.json", WHOLE)
    assert read_flips(tmp_path / "deep" / "flips.json") == WHOLE
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["flips.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema_version 2; this toolkit reads 1"),
        ({"kind": "bench"}, "no list of changed rows"),
        ({"rows": [{"row": 1}]}, "no whole list"),
        ({"rows": 3}, "no whole list"),
        ({"total": 3}, "row 3 of 3"),
        ({"labels": ["no"]}, "names a label"),
        ({"reference": "baseline"}, "no whole list"),
    ],
)
def test_another_form_is_refused_with_its_path(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "flips.json"
    path.write_text(json.dumps({**WHOLE.to_json(), **change}))
    with pytest.raises(InputError, match=words) as caught:
        read_flips(path)
    assert str(path) in str(caught.value)
    assert "run toolkit verify again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '"a"', "null", "[" * 5000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "flips.json").write_text(content)
    with pytest.raises(InputError, match=r"flips\.json"):
        read_flips(tmp_path / "flips.json")
    with pytest.raises(InputError, match="No such file"):
        read_flips(tmp_path / "none.json")


@example(key="row", value=float("inf"))
@given(
    key=st.sampled_from(["row", "label", "reference", "candidate", "reference_confidence", "candidate_confidence"]),
    value=st.none() | st.text(max_size=3) | st.integers() | st.floats(),
)
def test_no_odd_row_comes_through(key: str, value: Any) -> None:
    (row,) = WHOLE.to_json()["rows"]
    try:
        (found,) = FlipsFile.from_json({**WHOLE.to_json(), "rows": [{**row, key: value}]}).rows
    except InputError:
        return  # any other error would fail here
    assert 0 <= found.row < WHOLE.total
    assert {found.label, found.reference, found.candidate} <= {0, 1}
    assert 0 <= found.reference_confidence <= 1.001
    assert 0 <= found.candidate_confidence <= 1.001
