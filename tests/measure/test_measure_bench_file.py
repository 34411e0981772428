"""A bench file is read back as it was written, refused when it is not one, and not compared across machines unasked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import InputError
from toolkit.measure.bench_file import SCHEMA_VERSION, BenchFile, read_bench, require_one_machine, write_bench

RUNG = {"asked": 10, "right": 10, "success_rate": 1.0}


def bench(*names: str, void: tuple[str, ...] = ()) -> BenchFile:
    artifacts = [{"name": name, "digest": name * 8, "rungs": {"runner": RUNG}} for name in names]
    ratios = [
        {"rung": "runner", "artifact": name, "against": names[0], "ratio": 0.5, "low": 0.4, "high": 0.6}
        for name in names[1:]
    ]
    return BenchFile.of(
        artifacts, settings={"data": "trec"}, conditions={"load_average": 0.1}, void=void, noise_floor={"runner": 1.01},
        ratios=ratios,
    )  # fmt: skip


WHOLE = bench("a")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, made = tmp_path / "new" / "bench.json", bench("a", "b", void=("a server died",))
    write_bench(path, made)
    assert read_bench(path) == made
    assert not made.counts
    assert bench("a").counts


def test_a_part_keeps_the_run_and_one_artifact() -> None:
    made = bench("a", "b", "c")
    part = made.part("b")
    assert [entry["name"] for entry in part.artifacts] == ["b"]
    assert [ratio["artifact"] for ratio in part.ratios] == ["b"]
    assert part.noise_floor == made.noise_floor
    assert made.artifact("c") == made.artifacts[2]
    assert made.artifact("d") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "serving"}, "says it is 'serving'"),
        ({"schema_version": 0}, "run toolkit bench again to have it in today's form"),
        ({"schema_version": SCHEMA_VERSION + 1}, "update the toolkit"),
        ({"artifacts": [{"digest": "d"}]}, "no whole bench file"),
        ({"artifacts": [{"name": "a", "digest": "d", "rungs": {"runner": {"asked": 1}}}]}, "no whole bench file"),
        ({"machine": None}, "no whole bench file"),
        ({"date": "yesterday"}, "no whole bench file"),
        ({"ratios": [{"ratio": 1.0}]}, "no whole bench file"),
    ],
)
def test_another_form_is_refused_in_one_line(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**bench("a").to_json(), **change}))
    with pytest.raises(InputError, match=words) as caught:
        read_bench(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is not JSON"), (b"\xff\xfe", "is not JSON"), (b"[1]", "another kind"), (b'{"a": NaN}', "NaN is no JSON"),
     (b"[" * 100_000, "is not JSON")],
)  # fmt: skip
def test_what_is_no_bench_file_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_bench(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; make one with toolkit bench"):
        read_bench(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_bench(tmp_path)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner) | (
    st.dictionaries(st.sampled_from(["kind", "schema_version", "artifacts", "ratios", "void", "name", "ratio"]), inner)
), max_leaves=8))  # fmt: skip
def test_no_value_does_anything_but_be_refused(value: Any) -> None:
    whole = WHOLE.to_json()
    tries = [value]
    if isinstance(value, dict):
        tries.append({**whole, **value})
    tries += [{**whole, key: value} for key in ("artifacts", "ratios", "machine", "void", "noise_floor", "seed")]
    for attempt in tries:
        try:
            made = BenchFile.from_json(attempt)
        except InputError:
            continue
        assert BenchFile.from_json(made.to_json()) == made


def test_machines_that_differ_are_refused_and_said_how() -> None:
    here = bench("a")
    other = {**here.machine, "processor": "Zilog Z80", "flags": [], "packages": {"onnxruntime": "0.1"}}
    there = replace(here, machine=other)
    assert require_one_machine([here, here, here]) == ()
    with pytest.raises(InputError, match=r"Zilog Z80.*--across-machines"):
        require_one_machine([here, there])
    words = require_one_machine([here, there], across=True)
    assert words[0] == f"processor {here.machine['processor']} and Zilog Z80"
    assert any(word.startswith("onnxruntime ") and word.endswith(" and 0.1") for word in words)
    if here.machine["flags"]:
        assert any("instruction sets" in word and word.endswith("and none") for word in words)
