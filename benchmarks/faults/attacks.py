"""Hostile artifacts: every attack of `artifact_attacks`, which brings a control for each of its own."""

from __future__ import annotations

from benchmarks.faults.row import Counts, NotHereError, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Stand

BY_SELF_TEST = "weights that are no numbers"  # well formed in every way: only computing with it tells


def attack(stand: Stand, subject: Subject) -> Counts:
    """All of them once; the control counts what a loader that does not look takes of the same files."""
    try:
        from benchmarks.artifact_attacks import run_attacks
    except ModuleNotFoundError as error:
        raise NotHereError(f"benchmarks/artifact_attacks.py is not there: {error}") from None
    if not stand.attacked:
        stand.attacked = run_attacks(stand.small.folder, flips=round(stand.seconds(1000, 100)))
    rows = stand.attacked
    taken = "control_accepted" if subject.kind != "ours" else None
    return {
        "cases": sum(row["cases"] for row in rows),
        "accepted": sum(row[taken] if taken else row["cases"] - row["refused"] for row in rows),
        "sessions": 0 if taken else sum(row["sessions"] for row in rows if row["fault"] != BY_SELF_TEST),
        "rows_whose_control_accepts_nothing": [row["fault"] for row in rows if not row["control_accepted"]],
        "sessions_by": [row["fault"] for row in rows if row["sessions"]],
        "let_in": [row["fault"] for row in rows if row["refused"] < row["cases"]] if not taken else [],
    }


def judge_attacks(counts: Counts) -> list[str]:
    """All refused, before a session exists; and each attack was one."""
    harmless = counts["rows_whose_control_accepts_nothing"]
    return misses(
        (counts["accepted"] == 0, f"{counts['accepted']} of {counts['cases']} accepted {counts['let_in']}"),
        (counts["sessions"] == 0, f"{counts['sessions']} sessions were made, by {counts['sessions_by']}"),
        (not harmless, f"no control accepts {harmless}"),
    )


ROWS = (
    Row("artifact attacks", "bit flips, truncation, swaps, links, traversal, bombs, pickle, operators",
        "all refused, before a session exists (NaN weights: in one)", attack, judge_attacks, sabotaged("trusts")),
)  # fmt: skip
