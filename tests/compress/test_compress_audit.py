"""The audit of calibration rows: leaks refused, balance, clipping and spread counted on real ranges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compress_samples import Sample

from toolkit.compress.audit import audit_calibration
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.data import Split
from toolkit.errors import DataError, RecipeError


def test_what_an_audit_says_of_good_rows(transformer: Sample) -> None:
    data = transformer.data
    train = data.split("train")
    audit = audit_calibration(transformer.artifact, train, test=data.split("test"), rows=200)
    assert audit.rows == 200
    assert sum(audit.classes.values()) == 200
    assert set(audit.classes) == set(transformer.artifact.spec.labels)
    assert audit.held_out_rows == 200
    assert audit.test_rows_compared == len(data.split("test"))
    assert len(audit.tensors) == 12, "one for what goes into each product"
    assert audit.largest_clipped is not None
    assert 0 < audit.largest_clipped < 0.01, "a few held-out values pass a min-max range"
    assert 0 < audit.largest_spread < 1
    shares = [tensor.clipped for tensor in audit.tensors]
    assert shares == sorted(shares, reverse=True)
    assert json.loads(json.dumps(audit.to_json()))["rows_shared_with_test"] == 0
    assert ("rows", "200 by minmax, seeds 0, 1, 2") in audit.table()


def test_few_rows_spread_wider_and_clip_more(transformer: Sample) -> None:
    train = transformer.data.split("train")
    few, many = (audit_calibration(transformer.artifact, train, rows=rows) for rows in (4, 256))
    assert few.largest_spread > many.largest_spread
    assert few.largest_clipped is not None
    assert many.largest_clipped is not None
    assert few.largest_clipped > 3 * many.largest_clipped


def test_a_class_without_a_row_is_named(transformer: Sample) -> None:
    train = transformer.data.split("train")
    missing = int(train.labels[0])
    others = train.take(np.flatnonzero(train.labels != missing)[:60].tolist())
    audit = audit_calibration(transformer.artifact, others, rows=60, seeds=(0, 1))
    assert audit.without_rows == (transformer.artifact.spec.labels[missing],)
    assert audit.held_out_rows == 0
    assert audit.largest_clipped is None
    assert audit.largest_spread == 0, "every seed takes all rows"
    assert dict(audit.table())["classes without a row"] == audit.without_rows[0]


def test_a_row_of_the_test_split_is_a_leak(transformer: Sample) -> None:
    train = transformer.data.split("train")
    test = Split([train.examples[3], "a question that nobody asked ?"], np.zeros(2, dtype=np.int64))
    with pytest.raises(DataError, match=r"1 of 700 calibration rows are test rows too: a leak"):
        audit_calibration(transformer.artifact, train, test=test, rows=8)


def test_one_seed_has_no_spread(transformer: Sample) -> None:
    with pytest.raises(RecipeError, match="a spread takes two different ones or more"):
        audit_calibration(transformer.artifact, transformer.data.split("train"), rows=8, seeds=(1, 1))


def test_it_is_kept_beside_the_artifact_and_outside_its_digest(transformer: Sample, tmp_path: Path) -> None:
    train = transformer.data.split("train")
    audit = audit_calibration(transformer.artifact, train, rows=16, seeds=(0, 1))
    folders = [tmp_path / "with", tmp_path / "without"]
    for folder in folders:
        folder.mkdir()
    made = quantize(transformer.artifact, folders[0], Scheme(rows=16), calibration=train, audit=audit)
    assert json.loads((folders[0] / "evidence/calibration.json").read_text()) == audit.to_json()
    plain = quantize(transformer.artifact, folders[1], Scheme(rows=16), calibration=train)
    assert made.digest == plain.digest
