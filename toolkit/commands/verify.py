"""`toolkit verify`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, data_options, json_option, threads_option


@click.command()
@click.argument("reference_folder", type=FOLDER, metavar="REFERENCE")
@click.argument("candidate_folder", type=FOLDER, metavar="CANDIDATE")
@data_options
@click.option("--split", "split_name", default="test", show_default=True, help="Split to judge on.")
@click.option("--max-drop", type=click.FloatRange(0, 1), default=0.01, show_default=True,
              help="Accuracy that may be lost: 0.01 is one point.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Fail also when the rows are too few to tell.")
@threads_option
@json_option
def command(
    *, reference_folder: Path, candidate_folder: Path, reference: str, text: str | None, label: str | None,
    slices: tuple[str, ...], split_name: str, max_drop: float, strict: bool, threads: int, as_json: bool,
) -> int:  # fmt: skip
    """Is CANDIDATE as good as REFERENCE? The same rows, paired; the verdict is saved in its evidence.

    Prints the difference with its score interval and exact McNemar p, the decisions that flipped, what
    each class lost, calibration before and after. Leaves with 1 when it lost more than --max-drop.

    \b
    Example:
      toolkit verify runs/trec-onnx runs/trec-int8 --data trec --max-drop 0.01
    """
    from toolkit.artifact import EVIDENCE, load_artifact
    from toolkit.commands.opening import data_of
    from toolkit.judge.quality import judge
    from toolkit.judge.words import describe_quality
    from toolkit.predictor import Predictor
    from toolkit.report import REPORT, Report, update_report

    before, after = load_artifact(reference_folder), load_artifact(candidate_folder)
    data = data_of(before, reference, text=text, label=label, slices=slices)
    split = data.split(split_name)
    with Predictor.load(before, threads=threads) as first, Predictor.load(after, threads=threads) as second:
        quality = judge(first, second, split, max_drop=max_drop, strict=strict, split_name=split_name)
        facts = second.runner.facts()
    for line in describe_quality(quality):
        terminal.say(line)
    report = Report.of(after, facts=facts, quality=quality)
    update_report(candidate_folder / EVIDENCE / REPORT, report)
    terminal.emit(report.to_json(), as_json=as_json)
    return 1 if quality.failed else 0
