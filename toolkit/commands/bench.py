"""`toolkit bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, data_options, json_option, threads_option
from toolkit.errors import DataError

if TYPE_CHECKING:
    from toolkit.artifact import Artifact


@click.command()
@click.argument("folders", type=FOLDER, nargs=-1, required=True, metavar="DIR...")
@data_options
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds for each artifact."
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds to spread them over.")
@click.option("--why", is_flag=True, help="Say also where the time goes, and what keeps it there.")
@threads_option
@json_option
def command(
    *, folders: tuple[Path, ...], reference: str, text: str | None, label: str | None, slices: tuple[str, ...],
    seconds: float, rounds: int, why: bool, threads: int, as_json: bool,
) -> None:  # fmt: skip
    """Measure artifacts in process, one row at a time, encoder included, in interleaved rounds.

    What batches cost is measured too, and whether sharing one moves an answer: a server batches by it.

    \b
    Example:
      toolkit bench runs/trec-onnx runs/trec-int8 --data trec
      toolkit bench runs/trec-int8 --data trec --seconds 2 --why
    """
    from toolkit.artifact import EVIDENCE, load_artifact
    from toolkit.commands.opening import data_of
    from toolkit.measure.footprint import measure_footprint
    from toolkit.measure.latency import measure_interleaved
    from toolkit.predictor import Predictor
    from toolkit.report import REPORT, Report, update_report
    from toolkit.serving.loading import SERVABLE
    from toolkit.table import print_reports

    artifacts = [load_artifact(folder) for folder in folders]
    data = data_of(artifacts[0], reference, text=text, label=label, slices=slices)
    split = data.splits.get("validation") or data.split("test")
    if not len(split):
        raise DataError(f"{reference} has no row to measure with")
    predictors = [Predictor.load(artifact, threads=threads) for artifact in artifacts]
    try:
        with terminal.showing_progress() as progress:
            measured = measure_interleaved(
                predictors, split.examples, seconds=seconds, rounds=rounds, progress=progress
            )
    finally:
        for predictor in predictors:
            predictor.close()
    reports = []
    for folder, artifact, latency in zip(folders, artifacts, measured.latencies, strict=True):
        footprint = measure_footprint(folder, split.examples[0], threads=threads)
        if artifact.core.format in SERVABLE:
            _store_cost(artifact, split.examples, threads)
        report = update_report(
            folder / EVIDENCE / REPORT,
            Report.of(artifact, facts=latency.facts, latency=latency, footprint=footprint),
        )
        reports.append(report)
    print_reports(reports, terminal.console)
    document = {"reports": [report.to_json() for report in reports], "comparison": measured.to_json()}
    if why:
        document["why"] = [_explain(artifact, split.examples, threads) for artifact in artifacts]
    terminal.emit(document, as_json=as_json)


def _store_cost(artifact: Artifact, examples: Sequence[Any], threads: int) -> None:
    """Time batches, and see whether sharing one moves an answer, as a server with batching would."""
    from toolkit.artifact import EVIDENCE
    from toolkit.lineage import canonical_json
    from toolkit.measure.cost import COST, measure_cost
    from toolkit.predictor import BATCH_SIZE, Predictor
    from toolkit.staging import write_atomically

    with Predictor.load(artifact, threads=threads, batch_size=BATCH_SIZE) as predictor:
        curve = measure_cost(predictor, digest=artifact.digest, threads=threads, examples=examples)
    write_atomically(artifact.folder / EVIDENCE / COST, canonical_json(curve.to_json()))


def _explain(artifact: Artifact, examples: Sequence[Any], threads: int) -> dict[str, Any]:
    """Print where an artifact's time goes; a cascade's members each, a trained network not at all."""
    from toolkit.measure.reasons import explain_cost

    found: dict[str, Any] = {"digest": artifact.digest, "models": []}
    for name, part in (artifact.members or {"": artifact}).items():
        terminal.say("")
        terminal.say(f"{artifact.folder}{f' ({name})' if name else ''}")
        if part.core.format != "onnx":
            terminal.say("  only an exported model is explained; run toolkit export first")
            continue
        reasons = explain_cost(part, examples=examples, threads=threads)
        for reason in reasons:
            terminal.say(f"  {reason.words}")
        found["models"].append({"name": part.name, "reasons": [reason.to_json() for reason in reasons]})
    return found
