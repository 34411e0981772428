"""Mixed precision: what costs most goes back to float, until validation rows lose no more than the margin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compress_samples import Sample
from small_graphs import norm_then_products, rows_of, run

from toolkit.artifact import Artifact, load_artifact
from toolkit.compress.int8 import apply, prepare
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.compress.sensitivity import measure_sensitivity, quantize_mixed
from toolkit.data import Split
from toolkit.errors import DataError, GateError, RecipeError
from toolkit.predictor import Predictor

SCHEME = Scheme(rows=48)
COARSE = Scheme("weights", rows=16, bits=4)  # few enough to change an answer


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _mixed(sample: Sample, folder: Path, scheme: Scheme = SCHEME, *, max_drop: float) -> Artifact:
    train, validation = sample.data.split("train"), sample.data.split("validation")
    return quantize_mixed(sample.artifact, folder, scheme, calibration=train, validation=validation, max_drop=max_drop)


def _rows_it_loses(sample: Sample, folder: Path, scheme: Scheme) -> Split:
    """Rows that fp32 answers and `scheme` answers otherwise, labelled as fp32 answers them, beside as many of others.

    So fp32 is right on all of them and `scheme` on half.
    """
    made = quantize(sample.artifact, folder, scheme, calibration=sample.data.split("train"))
    examples = [*sample.data.split("train").examples, *sample.data.split("test").examples]
    with Predictor.load(sample.artifact) as fp32, Predictor.load(made) as int8:
        labels, others = (predictor.logits(examples).argmax(axis=1) for predictor in (fp32, int8))
    lost = np.flatnonzero(labels != others)
    assert len(lost), "the scheme of this test changes no answer; give it a coarser one"
    rows = [*lost, *np.flatnonzero(labels == others)[: len(lost)]]
    return Split([examples[row] for row in rows], labels[rows])


def test_where_all_in_8_bits_holds_nothing_is_put_back(transformer: Sample, tmp_path: Path) -> None:
    made = _mixed(transformer, tmp_path, max_drop=0.2)
    settings = made.core.steps[-1].settings
    mixed = settings["mixed"]
    assert mixed["put_back"] == []
    assert "keep_float" not in settings
    assert settings["int8"] == {"MatMul": 12, "embedding table": 1}
    assert mixed["drop"] == mixed["drop_of_all"] <= 0.2
    assert mixed["validation_rows"] == len(transformer.data.split("validation"))
    values = [one["value"] for one in mixed["sensitivity"]]
    assert len(values) == 13
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0
    assert load_artifact(tmp_path).digest == made.digest


def test_the_most_sensitive_go_back_first_until_the_margin_holds(transformer: Sample, tmp_path: Path) -> None:
    validation = _rows_it_loses(transformer, _made(tmp_path / "all"), COARSE)
    folder = _made(tmp_path / "mixed")
    train = transformer.data.split("train")
    made = quantize_mixed(transformer.artifact, folder, COARSE, calibration=train, validation=validation, max_drop=0.2)
    settings = made.core.steps[-1].settings
    mixed = settings["mixed"]
    back = len(mixed["put_back"])
    assert back >= 1
    assert mixed["put_back"] == [one["node"] for one in mixed["sensitivity"][:back]]
    assert settings["keep_float"] == sorted(mixed["put_back"])
    assert mixed["drop_of_all"] == 0.5
    assert mixed["drop"] <= 0.2 == mixed["max_drop"]
    assert sum(settings["int8"].values()) + sum(settings["int4"].values()) == 13 - back
    with Predictor.load(made) as int8:
        right = (int8.logits(validation.examples).argmax(axis=1) == validation.labels).mean()
    assert 1 - right == pytest.approx(mixed["drop"])


def test_what_never_holds_is_an_error_with_both_ends(transformer: Sample, tmp_path: Path) -> None:
    """One operator is left to quantize, and on these rows it alone loses too much."""
    train, validation = transformer.data.split("train"), transformer.data.split("validation")
    listed = quantize_mixed(
        transformer.artifact, _made(tmp_path / "list"), COARSE, calibration=train, validation=validation, max_drop=0.9
    )
    units = [one["node"] for one in listed.core.steps[-1].settings["mixed"]["sensitivity"]]
    single = replace(COARSE, keep_float=tuple(units[1:]))
    validation = _rows_it_loses(transformer, _made(tmp_path / "single"), single)
    folder = _made(tmp_path / "mixed")
    with pytest.raises(GateError, match=r"no mixture loses 0\.1 or less: all in few bits lose 0\.5000, one of 1 "):
        quantize_mixed(transformer.artifact, folder, single, calibration=train, validation=validation, max_drop=0.1)
    assert not list(folder.iterdir())


def test_an_operator_measured_alone_moves_the_logits_by_what_the_list_says() -> None:
    model, scheme = norm_then_products(), Scheme()
    batches = [rows_of(model, 32)]
    prepared = prepare(model, scheme, batches=batches)
    found = measure_sensitivity(prepared, scheme, batches, model)
    assert {(one.node, one.operator) for one in found} == {("first", "MatMul"), ("second", "MatMul"), ("last", "Gemm")}
    for one in found:
        others = tuple(other.node for other in found if other.node != one.node)
        made = apply(prepared, replace(scheme, keep_float=others)).model
        expected = float(((run(made, batches[0]) - run(model, batches[0])) ** 2).mean())
        assert one.value == pytest.approx(expected, rel=1e-3)
    assert found[-1].node == "last", "the outlier of the norm is where the products are"


def test_modes_and_rows_that_cannot_be_mixed_are_refused(transformer: Sample, tmp_path: Path) -> None:
    data = transformer.data
    train, test = data.split("train"), data.split("test")
    given = {"calibration": train, "max_drop": 0.01}
    with pytest.raises(RecipeError, match="mixed precision is for modes static, dynamic and weights"):
        quantize_mixed(transformer.artifact, tmp_path, Scheme("fp16"), validation=train, **given)
    with pytest.raises(DataError, match="mixed precision is chosen on validation rows and got none"):
        quantize_mixed(transformer.artifact, tmp_path, SCHEME, validation=Split([], np.zeros(0, np.int64)), **given)
    with pytest.raises(DataError, match="these are the test rows of this model"):
        quantize_mixed(transformer.artifact, tmp_path, SCHEME, validation=test, **given)


def test_dynamic_scales_are_judged_one_row_at_a_time(lstm: Sample, tmp_path: Path) -> None:
    made = _mixed(lstm, tmp_path, Scheme("dynamic", rows=16), max_drop=0.2)
    assert made.depends_on_batch
    assert {one["operator"] for one in made.core.steps[-1].settings["mixed"]["sensitivity"]} >= {"LSTM", "Gather"}
