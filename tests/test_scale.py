"""The scale benchmark on small real models: what it counts, fits, checks, keeps, draws, and when it is void."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_classifiers
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.ledger import Ledger
from benchmarks.peers.servers import OURS, PEERS, Running
from benchmarks.scale_axes import Plan, Scale, measure
from benchmarks.scale_fit import fit_slopes
from benchmarks.scale_limits import WrongProductError, check_product, limit_of, time_products
from benchmarks.scale_models import Model, Operations, read_models
from benchmarks.scale_plot import draw
from benchmarks.scale_runs import answers_right, open_subjects, time_round
from benchmarks.scale_served import VoidRunError, _turn
from benchmarks.scale_table import HEAD, table
from toolkit.classifier import Classifier, forward_arrays
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.data import Data, Split
from toolkit.encoders.text import TokenEncoder
from toolkit.errors import DataError, InputError
from toolkit.export.onnx import export
from toolkit.measure.graphs import find_weights, parse_model
from toolkit.measure.load import Request
from toolkit.serving.serve import Server, free_port

TEXTS = small_classifiers.TEXTS
SIZES = {"width": 48, "heads": (4, 1, 2), "head_width": 16, "feed_forward": (96, 64, 80)}  # enough to quantize
PLAN = Plan((2, 4, 8, 24), (1, 3), (1, 4), (2, 6), 2, 1, 0.001, 0.2, 32, 1 << 20, 0.001)
LIMITS = {"threads": {"1": {"memory_gb_s": 10.0, "read_by_bytes": {"4000000": 20.0}, "int8_gop_s": 200.0,
                            "fp32_gop_s": 50.0}}}  # fmt: skip


def classifier(longest: int = 24) -> Classifier:
    """A small transformer of `longest` tokens that knows no rows, so that any may calibrate it."""
    made = small_classifiers.make_classifier("transformer", **SIZES)
    encoder = TokenEncoder(made.encoder.files()["tokenizer.json"], max_length=longest)
    spec = replace(made.spec, limits=encoder.limits)
    return replace(made, encoder=encoder, spec=spec, split=None, training_rows=None)


def make_models(folder: Path, *, longest: int, trained: bool) -> list[Model]:
    """int8 and fp32."""
    plain, _ = export(classifier(longest), folder / "fp32", examples=TEXTS)
    rows = Split(TEXTS, np.zeros(len(TEXTS), dtype=np.int64))
    small = quantize(plain, folder / "int8", Scheme(rows=6), calibration=rows)
    return [Model("small", small, trained=trained), Model("small", plain, trained=trained)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Those that stand in for longer ones."""
    return make_models(tmp_path_factory.mktemp("stand-in"), longest=24, trained=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Those that end at 12 tokens."""
    return make_models(tmp_path_factory.mktemp("trained"), longest=12, trained=True)


def scale_of(models: list[Model], ledger: Path, trained: Sequence[Model] = ()) -> Scale:
    rows = Split(TEXTS, np.zeros(len(TEXTS), dtype=np.int64))
    data = Data("small", "text", ("one", "two", "three"), {"train": rows, "test": rows}, "0" * 64, 0)
    return Scale(PLAN, models, trained, data, (1, 2), 0, Ledger(ledger, "key"))


@pytest.fixture(scope="module")
def results(models: list[Model], trained: list[Model], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A whole run with a real server, and the ledger that it left."""
    ledger = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    found, void = measure(scale_of(models, ledger, trained))
    facts = {"machine": {"processor": "a processor"}, "date": "2026-01-01T00:00:00+00:00", "quick": False}
    return {**facts, "void": void, "models": [m.to_json() for m in (*models, *trained)], "ledger": str(ledger), **found}


@given(st.floats(-1, 3), st.floats(0.01, 100), st.integers(2, 9), st.integers(2, 6))
def test_a_pure_power_is_found_exactly(power: float, factor: float, sizes: int, rounds: int) -> None:
    grows = [2.0**n for n in range(sizes)]
    found = fit_slopes(grows, [[factor * size**power] * rounds for size in grows])
    assert math.isclose(found["slope"]["value"], power, abs_tol=1e-9)
    assert found["slope"]["high"] - found["slope"]["low"] < 1e-9
    assert math.isclose(found["off"], 1.0, abs_tol=1e-9)
    assert ("large_end" in found) == (sizes >= 4)


def test_the_interval_holds_the_true_slope_about_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(0), 0
    grows = np.array([1.0, 2, 4, 8, 16])
    for _ in range(400):
        costs = np.exp(0.8 * np.log(grows)[:, None] + 0.2 * random.standard_normal((5, 5)))
        slope = fit_slopes(grows.tolist(), costs.tolist())["slope"]
        held += slope["low"] <= 0.8 <= slope["high"]
    assert 0.92 <= held / 400 <= 0.98


def test_a_fixed_cost_shows_as_a_steeper_large_end_and_as_points_off_the_line() -> None:
    grows = [float(2**n) for n in range(9)]
    found = fit_slopes(grows, [[10.0 + size] * 3 for size in grows])
    assert found["large_end"]["value"] > found["slope"]["value"] + 0.2
    assert found["large_end"]["from"] == 16.0
    assert found["off"] > 1.3


def test_one_size_or_one_round_has_no_slope_or_no_interval() -> None:
    with pytest.raises(ValueError, match="no slope"):
        fit_slopes([4.0, 4.0], [[1.0], [1.0]])
    assert set(fit_slopes([1.0, 2.0], [[1.0], [2.0]])["slope"]) == {"value"}


@pytest.mark.parametrize("length", [1, 7, 24])
def test_operations_are_those_that_torch_counts(models: list[Model], length: int) -> None:
    plain = models[1]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward_arrays(classifier().net, plain.artifact.spec, plain.rows(length, 1, seed=0))
    assert plain.operations(length) == Operations(0.0, float(counter.get_total_flops()))


def test_int8_leaves_the_products_of_attention_and_the_smallest_in_float(models: list[Model]) -> None:
    small, plain = (model.operations(9) for model in models)
    assert small.int8 + small.fp32 == plain.fp32
    stored = [weight.values for weight in find_weights(parse_model(models[0].content))]
    assert small.int8 == 2 * 9 * sum(values.size for values in stored if values.dtype == np.int8) > 0
    assert any(values.dtype == np.float32 for values in stored)
    assert models[0].weight_bytes < models[1].weight_bytes


def test_the_limit_is_the_longer_of_products_and_of_reading_the_weights() -> None:
    light = limit_of(LIMITS, 1, weight_bytes=4_000_000, work=Operations(1e6, 0.0))
    assert light == pytest.approx({"memory_ms": 0.4, "kept_ms": 0.2, "operations_ms": 0.005, "limit_ms": 0.2})
    heavy = limit_of(LIMITS, 1, weight_bytes=4_000_000, work=Operations(2e8, 5e7))
    assert heavy["limit_ms"] == heavy["operations_ms"] == pytest.approx(2.0)


def test_a_product_that_is_wrong_is_no_rate() -> None:
    assert set(time_products(32, 1, seconds=0.001)) == {"MatMulInteger", "QGemm", "MatMul"}
    left, right = np.eye(8, dtype=np.float32), np.arange(64, dtype=np.float32).reshape(8, 8)
    check_product("MatMul", right, left, right)
    with pytest.raises(WrongProductError, match="MatMul of 8 x 8"):
        check_product("MatMul", right + 1, left, right)


def test_a_run_measures_every_axis_and_every_answer_is_right(results: dict[str, Any]) -> None:
    assert results["void"] == []
    assert list(results["axes"]) == ["length", "batch", "connections", "calibration"]
    for axis in results["axes"].values():
        for series in axis["series"]:
            assert all(point["success_rate"] == 1.0 and point["ms"] > 0 for point in series["points"])
    series = results["axes"]["length"]["series"]
    sizes = {one["trained"]: [point["size"] for point in one["points"]] for one in series}
    assert sizes == {False: [2, 4, 8, 24], True: [2, 4, 8, 12]}
    assert all(one["trained"] for name in ("batch", "connections") for one in results["axes"][name]["series"])
    assert [series["threads"] for series in results["axes"]["batch"]["series"]] == [1, 2, 1, 2]
    assert results["axes"]["length"]["noise"] >= 1


def test_a_second_run_takes_what_is_in_the_ledger(
    models: list[Model], trained: list[Model], results: dict[str, Any]
) -> None:
    lines = Path(results["ledger"]).read_text()
    again, _ = measure(scale_of(models, Path(results["ledger"]), trained))
    assert again["axes"] == results["axes"]
    assert Path(results["ledger"]).read_text() == lines


def test_a_wrong_answer_is_counted_and_makes_the_run_void(models: list[Model], tmp_path: Path) -> None:
    subject = open_subjects(models[0], [1], {3: models[0].rows(4, 3, seed=0)})[0]
    assert answers_right(subject.expected[3], subject.expected[3]) == 3
    bad = subject.expected[3].copy()
    bad[1] = bad[1, ::-1] + [0, 1, 2]
    found = time_round([replace(subject, expected={3: bad})], seconds=0.001, number=0)[subject.key]["3"]
    assert found["right"] == found["asked"] * 2 // 3
    scale = scale_of(models, tmp_path / "ledger.jsonl")
    for number in range(PLAN.calibrations):
        broken = [{"seconds": 1.0, "right": 1}, {"seconds": 2.0, "right": 0}]
        scale.ledger.take(f"calibration {number}", lambda broken=broken: broken)
    point = {"asked": 9, "right": 9, "wrong": 0, "refused": 0, "rate": 9.0, "us": [1000] * 9}
    scale.ledger.take("connections", lambda: [[point] * 2, [point] * 2])
    assert measure(scale)[1] == ["calibration: 1 wrong answers"]


def test_a_server_that_has_died_makes_the_run_void(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("out of luck\n")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]) as process:
        process.wait()
    server = Server(process, free_port(), log)
    running = Running(next(peer for peer in PEERS if peer.name == OURS), server, server.url, 0.0)
    with pytest.raises(VoidRunError, match=r"(?s)4 connections: refused.*ended with 7; it said: out of luck"):
        _turn(running, [Request("/v1/classify", b"{}")], 4, 0.05, 0)


def test_the_table_has_a_row_a_series_and_says_what_it_was_measured_on(results: dict[str, Any]) -> None:
    lines = table(results).splitlines()
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == sum(len(axis["series"]) for axis in results["axes"].values())
    assert all(line.count("|") == len(HEAD) + 1 for line in rows)
    assert "| small, int8: wait for an answer |" in table(results)
    assert "| stand-in, int8 |" in table(results)
    assert "a processor, 2026-01-01" in lines[-1]
    assert "The trained model ends at 12 tokens" in lines[-1]
    assert "No trained model was there" in table({**results, "models": results["models"][:2]})
    assert "decides nothing" not in lines[-1]


def test_what_is_missing_void_or_wrong_stands_in_the_table(results: dict[str, Any]) -> None:
    changed = copy.deepcopy({name: value for name, value in results.items() if name != "ledger"})
    changed |= {"quick": True, "void": ["connections: the server did not live"]}
    del changed["axes"]["connections"]
    changed["axes"]["length"]["series"][0]["points"][1]["success_rate"] = 0.5
    text = table(changed)
    assert "| clients at once | **not measured: the run is void** |" in text
    assert "**The run is void: connections: the server did not live.**" in text
    assert "**A quick run: its numbers decide nothing.**" in text
    assert "| **50.0 %** |" in text


def test_the_picture_is_whole_xml_the_same_each_time_and_names_every_axis(results: dict[str, Any]) -> None:
    svg = draw(results)
    assert svg == draw(results)
    words = " ".join(ET.fromstring(svg).itertext())
    for grows in ("tokens in a row", "rows in a batch", "clients at once", "rows to calibrate"):
        assert f"Milliseconds by {grows}" in words
    without = {**results, "axes": {"batch": results["axes"]["batch"]}}
    assert "clients at once" not in draw(without)
    with pytest.raises(DataError, match="make scale"):
        draw({**results, "axes": {}})


def test_only_folders_of_exported_transformers_are_read(models: list[Model], tmp_path: Path) -> None:
    assert [model.precision for model in read_models([models[0].artifact.folder, tmp_path / "nothing"])] == ["int8"]
    mlp, _ = export(small_classifiers.make_classifier("mlp"), tmp_path / "mlp", examples=TEXTS)
    with pytest.raises(InputError, match="no exported transformer"):
        read_models([mlp.folder])


def test_weights_are_random_only_in_name_of_the_seed(models: list[Model]) -> None:
    rows = models[0].rows(5, 2, seed=3)
    assert torch.equal(torch.from_numpy(rows["input_ids"]), torch.from_numpy(models[0].rows(5, 2, seed=3)["input_ids"]))
    assert rows["input_ids"].shape == (2, 5)
    assert rows["input_ids"].min() >= 5
