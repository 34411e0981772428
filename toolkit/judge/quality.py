"""What a change of a model costs: two models on the same rows, and whether the cost is within a budget.

`judge` runs both; `judge_logits` takes answers already computed, so that a teacher is run once. A
model whose INT8 scales come from the whole batch is run one row at a time by its `Predictor`, and the
candidate once more in batches (`batching`): the verdict is of the first, the second is there to be read.

The verdict speaks of accuracy, or of AUC for a recommender; groups of rows (`slices`) speak in it only
where a margin for them was asked; everything else is there to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from toolkit.data import Split
from toolkit.errors import GateError, InputError
from toolkit.judge.assessment import (
    Assessment,
    check_rows,
    count_answers,
    positive_scores,
    users_of,
)
from toolkit.judge.batching import InBatches, judge_in_batches
from toolkit.judge.flips import Flips, find_flips
from toolkit.judge.grouping import slice_columns
from toolkit.judge.ranking import AucPair, compare_auc, rank_overlap
from toolkit.judge.slices import SliceColumn, find_failing, judge_slices
from toolkit.judge.statistics import MAX_ROWS, Estimate, mcnemar_p, paired_interval, rows_to_decide
from toolkit.judge.verdict import Verdict, check_margin, check_slice_margin, decide, with_slices
from toolkit.predictor import Predictor
from toolkit.spec import Array, Spec, softmax


@dataclass(frozen=True)
class Quality:
    """Both models on the same rows; differences are candidate - reference, shares from -1 to 1.

    `gained` rows are right only for the candidate, `lost` only for the reference; `class_moves` are both
    for each class. `auc_resampled` is what the bootstrap of AUC drew: users or rows.
    """

    reference: Assessment
    candidate: Assessment
    gained: int
    lost: int
    difference: Estimate
    mcnemar_p: float
    flips: Flips
    verdict: Verdict
    class_moves: tuple[tuple[int, int], ...]
    auc_difference: Estimate | None = None
    auc_resampled: str | None = None
    rank_overlap_at_10: float | None = None
    slices: tuple[SliceColumn, ...] = ()
    in_batches: InBatches | None = None

    @property
    def failed(self) -> bool:
        """True when the command leaves with exit code 1."""
        return self.verdict.failed

    def to_json(self, *, rows: bool = False) -> dict[str, Any]:
        """Plain JSON values; the candidate stands under the split's name. `rows` lists the flipped rows."""
        difference: dict[str, Any] = {
            "accuracy": self.difference.to_json(),
            "gained": self.gained,
            "lost": self.lost,
            "mcnemar_p": self.mcnemar_p,
        }
        if self.auc_difference is not None:
            difference |= {
                "auc": self.auc_difference.to_json(),
                "auc_resampled": self.auc_resampled,
                "rank_overlap_at_10": self.rank_overlap_at_10,
            }
        if self.in_batches is not None:
            difference["in_batches"] = self.in_batches.to_json()
        slices = {"slices": [column.to_json() for column in self.slices]} if self.slices else {}
        return {
            **self.candidate.to_json(),
            "reference": self.reference.values(),
            "difference": difference,
            "classes": self.class_deltas(),
            "flips": self.flips.to_json(rows=rows),
            "verdict": self.verdict.to_json(),
            **slices,
        }

    def class_deltas(self) -> list[dict[str, Any]]:
        """For each class its rows, how many each model got right, and the change of recall; worst first.

        `difference` is that change with its 95 % interval, of the class alone and not corrected for their number.
        """
        deltas = [
            {
                "label": after.label,
                "rows": after.rows,
                "reference_right": before.right,
                "candidate_right": after.right,
                "recall_change": (after.right - before.right) / after.rows if after.rows else None,
                "difference": paired_interval(*moves, after.rows).to_json() if after.rows else None,
            }
            for before, after, moves in zip(
                self.reference.classes, self.candidate.classes, self.class_moves, strict=True
            )
        ]
        return sorted(deltas, key=lambda delta: delta["recall_change"] or 0.0)


def judge(
    reference: Predictor,
    candidate: Predictor,
    split: Split,
    *,
    max_drop: float,
    strict: bool = False,
    split_name: str = "test",
    slices: Sequence[str] = (),
    max_slice_drop: float | None = None,
) -> Quality:
    """Run both models over `split` and compare; its labels are indices into the reference's.

    `slices` names columns to compare by group, see `toolkit.judge.slices`; with `max_slice_drop` the verdict
    fails also when a group lost more than that after correction.

    Raises `RecipeError` for a margin out of range, `InputError` when the two models do not have the same
    labels (their order may differ), `DataError` for an empty split or a column that it does not have,
    `GateError` when the candidate answers with something that is not a number.
    """
    check_margin(max_drop)
    columns = _match_labels(reference.spec, candidate.spec)
    grouped = slice_columns(split, slices)
    # a copy in row order: sums over another memory layout would differ in the last digit
    answers = np.ascontiguousarray(candidate.logits(split.examples)[:, columns])
    quality = judge_logits(
        reference.logits(split.examples) / reference.temperature,
        answers / candidate.temperature,
        split.labels,
        spec=reference.spec,
        max_drop=max_drop,
        strict=strict,
        split_name=split_name,
        users=users_of(split) if reference.spec.task == "recommend" else None,
        slices=grouped,
        max_slice_drop=max_slice_drop,
    )
    together = judge_in_batches(candidate, split.examples, alone=answers, labels=split.labels, columns=columns)
    return replace(quality, in_batches=together)


def judge_logits(
    reference_logits: Array,
    candidate_logits: Array,
    labels: Array,
    *,
    spec: Spec,
    max_drop: float,
    strict: bool = False,
    split_name: str = "test",
    users: Array | None = None,
    slices: Mapping[str, Array] | None = None,
    max_slice_drop: float | None = None,
) -> Quality:
    """Compare logits of two models: float (rows, classes) in the order of `spec.labels`, after the temperature.

    `labels` is int (rows,); `users` (rows,) groups a recommender's rows for AUC, NDCG@10 and rank overlap;
    `slices` are columns (rows,) to compare by. Raises as `judge` does.
    """
    check_margin(max_drop)
    if max_slice_drop is not None:
        check_slice_margin(max_slice_drop, slices)
    for logits in (reference_logits, candidate_logits):
        check_rows(logits, labels, spec)
    if not np.isfinite(reference_logits).all():
        raise InputError("the reference answers some rows with NaN or infinity; nothing can be compared with it")
    if broken := int((~np.isfinite(candidate_logits)).any(axis=1).sum()):
        raise GateError(f"the candidate answers {broken} of {len(labels)} rows with NaN or infinity; make it again")
    right = [logits.argmax(axis=1) == labels for logits in (reference_logits, candidate_logits)]
    gained, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    difference = paired_interval(gained, lost, len(labels))
    pair, overlap = _compare_orders(reference_logits, candidate_logits, labels, spec, users)
    if pair:
        needed = _rows_for_auc(pair.difference, len(labels), max_drop)
        verdict = decide(pair.difference, metric="auc", max_drop=max_drop, strict=strict, rows_needed=needed)
    else:
        needed = rows_to_decide(gained, lost, len(labels), max_drop)
        verdict = decide(difference, metric="accuracy", max_drop=max_drop, strict=strict, rows_needed=needed)
    scores = (positive_scores(reference_logits, spec), positive_scores(candidate_logits, spec)) if pair else None
    groups = judge_slices(reference_logits, candidate_logits, labels, slices or {}, scores=scores, users=users)
    if max_slice_drop is not None:
        verdict = with_slices(verdict, find_failing(groups, max_slice_drop), max_slice_drop)
    moves = [
        np.bincount(labels[kept], minlength=len(spec.labels)) for kept in (right[1] & ~right[0], right[0] & ~right[1])
    ]
    count = partial(count_answers, labels=labels, spec=spec, split_name=split_name, users=users)
    return Quality(
        reference=count(reference_logits, auc=pair.reference if pair else None),
        candidate=count(candidate_logits, auc=pair.candidate if pair else None),
        gained=gained,
        lost=lost,
        difference=difference,
        mcnemar_p=mcnemar_p(gained, lost),
        flips=find_flips(softmax(reference_logits), softmax(candidate_logits), labels),
        verdict=verdict,
        class_moves=tuple(zip(*(counts.tolist() for counts in moves), strict=True)),
        auc_difference=pair.difference if pair else None,
        auc_resampled=pair.resampled if pair else None,
        rank_overlap_at_10=overlap,
        slices=groups,
    )


def _match_labels(reference: Spec, candidate: Spec) -> list[int]:
    """The candidate's column for each label of the reference."""
    if set(reference.labels) != set(candidate.labels):
        odd = sorted(set(reference.labels) ^ set(candidate.labels))
        raise InputError(f"the two models do not have the same labels; only one of them has: {', '.join(odd[:5])}")
    return [candidate.labels.index(label) for label in reference.labels]


def _compare_orders(
    reference: Array, candidate: Array, labels: Array, spec: Spec, users: Array | None
) -> tuple[AucPair | None, float | None]:
    """AUC of both and rank overlap, for a recommender; nothing for other tasks."""
    if spec.task != "recommend":
        return None, None
    before, after = positive_scores(reference, spec), positive_scores(candidate, spec)
    pair = compare_auc(before, after, labels == 1, users=users)
    return pair, None if users is None else rank_overlap(before, after, users)


def _rows_for_auc(difference: Estimate, rows: int, max_drop: float) -> int | None:
    """Rows at which a bootstrap interval narrowing with the root of their number would decide."""
    room = difference.value + max_drop
    reach = difference.value - difference.low if room >= 0 else difference.high - difference.value
    if not room:
        return None
    needed = int(np.ceil(rows * (reach / room) ** 2))
    return max(rows, needed) if needed <= MAX_ROWS else None
