"""The change of every class and of every slice: the mean can hold while one group pays for all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from toolkit.judge.statistics import LEVEL
from toolkit.pages import plots
from toolkit.pages.by_subject import few_figures, part_each
from toolkit.pages.commands_to_run import verify_command
from toolkit.pages.content import (
    DASH,
    FAILED,
    PLAIN,
    UNSURE,
    Missing,
    Part,
    Section,
    columns,
    figure,
    percent,
    points,
    signed,
    table_of,
)
from toolkit.pages.gather import Gathered, Subject


def show_classes(gathered: Gathered) -> Section:
    """Every class, the worst first; an interval is of its class alone."""
    return part_each(gathered, "classes", "Change by class", _classes, "classes were not compared")


def _classes(gathered: Gathered, subject: Subject) -> Part | None:
    classes = subject.quality.get("classes")
    if not classes:
        return None
    drawn = [
        plots.Delta(found["label"], found.get("recall_change"), *_ends(found.get("difference")), rows=found["rows"])
        for found in classes
    ]
    heads = columns("class", "rows", "right before", "right after", "change of recall, pt (95 %)", code=("class",))
    rows = [_class_row(found) for found in classes]
    tones = [FAILED if found.get("difference") and found["difference"]["high"] < 0 else PLAIN for found in classes]
    title = f"Change by class, {subject.name}"
    draw = partial(plots.deltas, drawn, what="change of recall, percentage points", title=title)
    return Part(
        subject.name,
        ("Intervals are of one class each and are not corrected for their number.",),
        draw if any(delta.change is not None for delta in drawn) else None,
        (table_of(title, heads, rows, tones, says=heads[-1].heading),),
    )


def _class_row(found: Mapping[str, Any]) -> tuple[str, ...]:
    change = found.get("recall_change")
    said = points(found["difference"]) if found.get("difference") else DASH if change is None else signed(100 * change)
    return (found["label"], *(f"{found[key]:,}" for key in ("rows", "reference_right", "candidate_right")), said)


def show_slices(gathered: Gathered) -> Section:
    """Groups of rows, a part for each column of each artifact."""
    made = [(s, _column(s, column)) for s in gathered.subjects for column in s.quality.get("slices", [])]
    if not made:
        judged = next((s for s in gathered.subjects if s.verdict), gathered.subjects[-1])
        command = verify_command(gathered, judged, "--slice", "COLUMN")
        return Section("slices", "Change by slice", missing=(Missing("No column of groups was looked at.", command),))
    return few_figures(Section("slices", "Change by slice", tuple(part for _, part in made)), len(gathered.subjects))


def _column(subject: Subject, column: Mapping[str, Any]) -> Part:
    groups, name = column["groups"], column["column"]
    order = any("auc_difference" in group for group in groups)
    drawn = [
        plots.Delta(
            g["group"], _judged(g)["value"], *_ends(_judged(g)), rows=g["rows"], few=g["too_few_rows"]
        )
        for g in groups
    ]  # fmt: skip
    heads = columns(
        name, "rows", "accuracy before", "accuracy after", "difference pt (95 %)", "AUC difference (95 %)", "Holm p",
        "says", words=("says",), code=(name,),
    )  # fmt: skip
    tones = [UNSURE if g["too_few_rows"] else FAILED if _lost(g) else PLAIN for g in groups]
    title = f"Change by {name}, {subject.name}"
    what = "change of AUC, hundredths" if order else "change of accuracy, percentage points"
    words = "Intervals are of one group each and are not corrected; p is adjusted for all groups (Holm)."
    return Part(
        f"{subject.name}, by {name}",
        (words,),
        partial(plots.deltas, drawn, what=what, title=title),
        (table_of(title, heads, [_group_row(group) for group in groups], tones, says="says"),),
    )


def _group_row(group: Mapping[str, Any]) -> tuple[str, ...]:
    said = "too few rows to say" if group["too_few_rows"] else "lost, also after correction" if _lost(group) else ""
    holm = group.get("adjusted_p")
    return (
        group["group"], f"{group['rows']:,}", percent(group["reference_accuracy"]["value"]),
        percent(group["accuracy"]["value"]), points(group["difference"]), _auc(group.get("auc_difference")),
        DASH if holm is None else figure(holm), said,
    )  # fmt: skip


def _judged(group: Mapping[str, Any]) -> Mapping[str, float]:
    """The difference that counts, as `judge.slices` has it: of AUC for a recommender, else of accuracy."""
    found: Mapping[str, float] = group.get("auc_difference") or group["difference"]
    return found


def _lost(group: Mapping[str, Any]) -> bool:
    """As `SliceGroup.lost_for_sure`, from its JSON."""
    if group.get("adjusted_p") is None or group.get("corrected") is None:
        return False
    if "auc_difference" in group:
        return bool(group["corrected"]["high"] < 0)
    return bool(group["difference"]["value"] < 0 and group["adjusted_p"] <= 1 - LEVEL)


def _ends(estimate: Mapping[str, Any] | None) -> tuple[float | None, float | None]:
    return (estimate["low"], estimate["high"]) if estimate else (None, None)


def _auc(estimate: Mapping[str, Any] | None) -> str:
    if not estimate:
        return DASH
    return f"{signed(estimate['value'], 4)} ({signed(estimate['low'], 4)} to {signed(estimate['high'], 4)})"
