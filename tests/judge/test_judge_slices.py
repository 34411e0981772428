"""Groups of rows: which rows are in which, what the correction leaves, when a group fails the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from toolkit.data import Split
from toolkit.encoders.record import Field, RecordEncoder
from toolkit.errors import DataError, RecipeError
from toolkit.judge.grouping import LENGTH, group_rows, slice_columns
from toolkit.judge.listing import describe_worst, slice_rows, slice_titles
from toolkit.judge.quality import Quality, judge_logits
from toolkit.judge.slices import MIN_ROWS, find_failing, judge_slices
from toolkit.judge.statistics import mcnemar_p, paired_interval
from toolkit.spec import Array, Spec

RECORDS = RecordEncoder([Field("user", "category", "user", values=("1", "2"))])


def answers(right: Array, labels: Array, classes: int = 2) -> Array:
    """Logits that are right where `right` says so."""
    chosen = np.where(right, labels, (labels + 1) % classes)
    return np.eye(classes, dtype=np.float32)[chosen]


def one_group_pays() -> tuple[Array, Array, Array, Array]:
    """Logits of both, labels and a column: of 600 rows in four groups only those of "c" lose, 30 of 150."""
    labels = np.arange(600) % 2
    column = np.repeat(["a", "b", "c", "d"], 150)
    right = np.ones(600, dtype=bool)
    after = right.copy()
    after[300:330] = False
    return answers(right, labels), answers(after, labels), labels, column


def judged(max_slice_drop: float | None = None) -> Quality:
    before, after, labels, column = one_group_pays()
    spec = Spec("text", RECORDS.inputs, ("no", "yes"))
    return judge_logits(
        before, after, labels, spec=spec, max_drop=0.2, slices={"kind": column}, max_slice_drop=max_slice_drop
    )


def test_each_group_is_what_its_rows_alone_say() -> None:
    before, after, labels, column = one_group_pays()
    (found,) = judge_slices(before, after, labels, {"kind": column})
    assert [group.name for group in found.groups] == ["a", "b", "c", "d"]
    paid = found.groups[2]
    assert (paid.rows, paid.gained, paid.lost) == (150, 0, 30)
    assert paid.difference == paired_interval(0, 30, 150)
    assert paid.mcnemar_p == mcnemar_p(0, 30)
    assert paid.adjusted_p == pytest.approx(4 * paid.mcnemar_p)
    assert found.worst is paid
    assert paid.lost_for_sure
    assert not any(group.lost_for_sure for group in found.groups if group is not paid)


def test_corrected_intervals_are_wider_with_every_group_looked_at() -> None:
    before, after, labels, column = one_group_pays()
    alone = judge_slices(before, after, labels, {"kind": column})[0].groups[2]
    more = {"kind": column, "other": np.arange(600) % 5}
    among = judge_slices(before, after, labels, more)[0].groups[2]
    assert alone.difference == among.difference, "the plain interval is of the group alone"
    assert alone.corrected is not None
    assert among.corrected is not None
    assert among.corrected.low < alone.corrected.low < alone.difference.low
    assert among.corrected == paired_interval(0, 30, 150, level=1 - 0.05 / 9)
    assert among.adjusted_p == pytest.approx(9 * among.mcnemar_p)


def test_a_small_group_is_shown_and_never_tested() -> None:
    before, after, labels, column = one_group_pays()
    column = column.astype("<U8")
    column[300 : 300 + MIN_ROWS - 1] = "few"
    (found,) = judge_slices(before, after, labels, {"kind": column})
    small = next(group for group in found.groups if group.name == "few")
    assert small.few
    assert (small.adjusted_p, small.corrected, small.lost_for_sure) == (None, None, False)
    assert small.difference.value == -1.0, "it lost every row, and is still no evidence"
    assert found.worst is not small
    assert len([group for group in found.groups if group.adjusted_p is not None]) == 4
    cells = dict(zip([group.name for group in found.groups], slice_rows(found), strict=True))
    assert cells["few"][-1] == "under 20 rows: too few to say"
    assert cells["few"][-2] == ""


def test_equal_models_have_no_sure_loss_in_five_percent_of_draws_at_most() -> None:
    rng = np.random.default_rng(0)
    labels, column = np.zeros(800, dtype=np.int64), np.repeat(np.arange(8), 100).astype(str)
    wrongly = gated = 0
    for _ in range(150):
        before, after = (answers(rng.random(800) < 0.8, labels) for _ in range(2))
        (found,) = judge_slices(before, after, labels, {"g": column})
        wrongly += any(group.lost_for_sure for group in found.groups)
        gated += bool(find_failing([found], 0.0))
    assert wrongly / 150 <= 0.07
    assert gated / 150 <= 0.07


def test_the_gate_asks_the_corrected_interval_and_is_off_by_default() -> None:
    quality = judged()
    paid = quality.slices[0].groups[2]
    assert paid.corrected is not None
    assert not quality.failed
    assert "failing_slices" not in quality.to_json()["verdict"]
    strict = judged(max_slice_drop=-paid.corrected.high - 0.001)
    loose = judged(max_slice_drop=-paid.corrected.high + 0.001)
    assert strict.failed
    assert strict.verdict.failing_slices == ("kind = c",)
    assert strict.verdict.answer == "pass", "all rows together are within the margin"
    assert not loose.failed
    assert loose.to_json()["verdict"]["failing_slices"] == []


def test_a_gate_without_a_group_or_out_of_range_is_refused() -> None:
    before, after, labels, _ = one_group_pays()
    spec = Spec("text", RECORDS.inputs, ("no", "yes"))
    with pytest.raises(RecipeError, match="name a column with --slice"):
        judge_logits(before, after, labels, spec=spec, max_drop=0.1, max_slice_drop=0.1)
    with pytest.raises(RecipeError, match=r"max_slice_drop is 1\.5"):
        judged(max_slice_drop=1.5)


def test_json_keeps_groups_and_is_absent_when_nobody_asked() -> None:
    value = judged().to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["slices"][0]["worst"] == "c"
    assert value["slices"][0]["worst_lost_for_sure"] is True
    assert value["slices"][0]["groups"][2]["difference"]["value"] == -0.2
    before, after, labels, _ = one_group_pays()
    spec = Spec("text", RECORDS.inputs, ("no", "yes"))
    assert "slices" not in judge_logits(before, after, labels, spec=spec, max_drop=0.2).to_json()


def test_words_name_the_worst_group_and_what_is_sure() -> None:
    (column,) = judged().slices
    assert slice_titles(column)[0] == "kind"
    assert describe_worst(column).startswith("worst        kind = c: -20.00 pt")
    assert "a loss also after correction" in describe_worst(column)
    assert all(len(row) == len(slice_titles(column)) for row in slice_rows(column))


def test_many_numbers_are_cut_at_quartiles_that_name_their_bounds() -> None:
    ages = np.asarray([str(age) for age in range(20, 60)])
    groups = group_rows("age", ages)
    assert list(groups) == ["20 to 29", "30 to 39", "40 to 49", "50 to 59"]
    assert sorted(np.concatenate(list(groups.values())).tolist()) == list(range(40)), "every row is in one group"
    few = group_rows("stars", np.asarray(["5", "1", "10", "1"]))
    assert list(few) == ["1", "5", "10"], "few numbers stay as they are, in order of size"


def test_many_equal_numbers_give_fewer_groups_and_missing_ones_their_own() -> None:
    sizes = np.asarray(["7"] * 60 + [str(size) for size in range(100, 120)] + [""] * 5)
    groups = group_rows("size", sizes)
    assert next(iter(groups)) == "7 to 7"
    assert list(groups)[-1] == "(none)"
    assert sum(len(rows) for rows in groups.values()) == 85
    assert len(groups["(none)"]) == 5


def test_a_column_of_too_many_words_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"column 'user' has 101 groups; at most 100"):
        group_rows("user", np.asarray([f"u{row}" for row in range(101)]))


def test_columns_come_from_slices_fields_and_the_length_of_texts() -> None:
    texts = Split(["ab", "abcd"], np.array([0, 1]), {"sex": np.array(["F", "M"])})
    assert slice_columns(texts, [LENGTH, "sex"])[LENGTH].tolist() == [2, 4]
    assert slice_columns(texts, ["sex"])["sex"].tolist() == ["F", "M"]
    records = Split([{"age": 7.0, "tags": ["x"]}, {"tags": ["y"]}], np.array([0, 1]))
    assert slice_columns(records, ["age"])["age"].tolist() == ["7.0", ""]
    with pytest.raises(DataError, match=r"--slice 'town' is no column of these rows; there are: sex, @length"):
        slice_columns(texts, ["town"])
    with pytest.raises(DataError, match=r"there are: age$"):
        slice_columns(records, ["tags"])
    with pytest.raises(DataError, match="these rows are no texts"):
        slice_columns(records, [LENGTH])


def test_a_recommenders_groups_are_judged_by_auc() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 1200)
    users, group = rng.integers(0, 60, 1200), np.repeat(["x", "y", "z"], 400).astype("<U4")
    group[:30], labels[:30] = "only", 1
    score = labels + rng.normal(0, 0.7, 1200)
    lost = np.where(group == "y", rng.normal(0, 0.7, 1200), score)
    before, after = (np.stack([-s, s], 1).astype(np.float32) for s in (score, lost))
    spec = Spec("recommend", RECORDS.inputs, ("dislike", "like"))
    quality = judge_logits(before, after, labels, spec=spec, max_drop=0.5, users=users, slices={"of": group})
    (column,) = quality.slices
    assert column.worst is not None
    assert column.worst.name == "y"
    assert column.worst.lost_for_sure
    found = {g.name: g for g in column.groups}
    assert found["x"].auc_difference is not None
    assert found["x"].auc_difference.value == 0
    assert found["only"].auc_difference is None, "one kind of answer has no order"
    assert "AUC difference (95 %)" in slice_titles(column)
    assert "AUC; a loss also after correction" in describe_worst(column)
    assert all(len(row) == len(slice_titles(column)) for row in slice_rows(column))
    gated = judge_logits(
        before, after, labels, spec=spec, max_drop=0.5, users=users, slices={"of": group}, max_slice_drop=0.1
    )
    assert gated.verdict.failing_slices == ("of = y",)
