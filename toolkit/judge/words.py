"""A comparison in lines that a person reads: what was lost, which way, whether it is within the budget."""

from __future__ import annotations

from toolkit.judge.batching import InBatches
from toolkit.judge.quality import Quality
from toolkit.judge.statistics import Estimate

MOVED_CLASSES = 5


def describe_quality(quality: Quality) -> list[str]:
    """One fact a line, the verdict last; percentages of rows, points for differences."""
    before, after, flips = quality.reference, quality.candidate, quality.flips
    lines = [
        f"rows         {after.rows:,} of the {after.split} split",
        f"accuracy     {_percent(before.accuracy)} -> {_percent(after.accuracy)}",
        f"difference   {points(quality.difference)}; exact McNemar p {p_value(quality.mcnemar_p)} "
        f"({quality.gained} gained, {quality.lost} lost)",
    ]
    if before.auc and after.auc and quality.auc_difference:
        difference = quality.auc_difference
        lines.append(
            f"AUC          {before.auc.value:.4f} -> {after.auc.value:.4f}; difference {difference.value:+.4f} "
            f"({difference.low:+.4f} to {difference.high:+.4f}; bootstrap over {quality.auc_resampled})"
        )
    if before.ndcg_at_10 is not None and after.ndcg_at_10 is not None:
        overlap = quality.rank_overlap_at_10
        same = "" if overlap is None else f"; rank overlap@10 {overlap:.1%}, mean over users"
        lines.append(f"NDCG@10      {before.ndcg_at_10:.4f} -> {after.ndcg_at_10:.4f}{same}")
    if (together := quality.in_batches) is not None:
        lines.append(f"in batches   {describe_batches(together)}")
    lines.append(
        f"flips        {flips.count} ({flips.share:.2%}): {flips.right_to_wrong} right to wrong, "
        f"{flips.wrong_to_right} wrong to right, {flips.wrong_to_other_wrong} from one wrong answer to another"
    )
    bands = [f"{band.flips} of {band.rows} up to {band.high:.0%}" for band in flips.bands if band.rows]
    lines.append(f"             by the reference's confidence: {', '.join(bands)}")
    lines.append(f"calibration  error {before.calibration_error:.4f} -> {after.calibration_error:.4f}")
    moved = [delta for delta in quality.class_deltas() if delta["recall_change"]]
    lines.extend(
        f"class        {delta['label']}: {delta['reference_right']} -> {delta['candidate_right']} right of "
        f"{delta['rows']} ({100 * delta['recall_change']:+.1f} pt)"
        for delta in moved[:MOVED_CLASSES]
    )
    if len(moved) > MOVED_CLASSES:
        lines.append(f"             and {len(moved) - MOVED_CLASSES} more classes moved, none further down")
    verdict = quality.verdict
    drop = f"{100 * verdict.max_drop:g} pt" if verdict.metric == "accuracy" else f"{verdict.max_drop:g} AUC"
    outcome = " (failed)" if verdict.failed else ""
    lines.extend(
        f"group        {name} lost more than --max-slice-drop {verdict.max_slice_drop} after correction"
        for name in verdict.failing_slices
    )
    lines.append(f"verdict      {verdict.words}{outcome}; at most {drop} may be lost")
    return lines


def describe_batches(together: InBatches) -> str:
    """What answers in batches were, of a model whose rows move one another's."""
    return (
        f"of {together.batch_size}: accuracy {100 * together.accuracy:.2f} %, {together.labels_moved} "
        f"of {together.rows:,} labels moved against one row at a time"
    )


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.2f} % ({100 * estimate.low:.2f} to {100 * estimate.high:.2f})"


def points(estimate: Estimate) -> str:
    """A difference of shares in points, with its interval."""
    return f"{100 * estimate.value:+.2f} pt ({100 * estimate.low:+.2f} to {100 * estimate.high:+.2f})"


def p_value(value: float) -> str:
    """A p with as many digits as matter."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
