"""What the commands that make a model have in common once it is made: save it, and show before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import terminal
from toolkit.artifact import EVIDENCE, Artifact, load_artifact
from toolkit.data import Data, Split
from toolkit.judge.assessment import assess
from toolkit.judge.quality import judge
from toolkit.measure.latency import measure_latency
from toolkit.predictor import Predictor
from toolkit.report import REPORT, Report, update_report
from toolkit.table import card

if TYPE_CHECKING:
    from toolkit.train import Trained

MAX_DROP = 0.01
SECONDS = 1.5


def finish_training(trained: Trained, data: Data, partial: Path, *, name: str) -> None:
    """Save what was trained under the name that the user gave its folder, and say what it was warned of."""
    from toolkit.train.saving import save_trained

    save_trained(replace(trained.classifier, name=name), data, partial)
    print_warnings(trained.warnings)


def print_warnings(warnings: Iterable[str]) -> None:
    """Each warning on its own line: never swallowed, never a traceback."""
    for warning in warnings:
        terminal.say(f"warning: {warning}")


def show_card(before: Artifact | None, folder: Path, data: Data, *, step: str, as_json: bool) -> None:
    """Judge the artifact in `folder` against `before` on validation rows, time it, and print the card.

    The report goes into its evidence and, with --json, to stdout: {"folder", "before", "after"}.
    """
    made = load_artifact(folder)
    split = data.splits.get("validation") or data.split("test")
    split_name = "validation" if "validation" in data.splits else "test"
    old, new = _measure(before, made, split, split_name)
    update_report(folder / EVIDENCE / REPORT, new)
    terminal.say(f"{step}, judged on {len(split):,} {split_name} rows")
    terminal.say(card(old, new, saved=folder))
    document: dict[str, Any] = {
        "folder": str(folder), "before": old.to_json() if old else None, "after": new.to_json(),
    }  # fmt: skip
    terminal.emit(document, as_json=as_json)


def _measure(before: Artifact | None, made: Artifact, split: Split, split_name: str) -> tuple[Report | None, Report]:
    with Predictor.load(made) as after:
        facts, latency = after.runner.facts(), measure_latency(after, split.examples, seconds=SECONDS)
        if before is None:
            return None, Report.of(
                made, facts=facts, quality=assess(after, split, split_name=split_name), latency=latency
            )
        with Predictor.load(before) as reference:
            quality = judge(reference, after, split, max_drop=MAX_DROP, split_name=split_name)
            old = Report.of(
                before,
                facts=reference.runner.facts(),
                quality=quality.reference,
                latency=measure_latency(reference, split.examples, seconds=SECONDS),
            )
    return old, Report.of(made, facts=facts, quality=quality, latency=latency)
