"""`toolkit verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, data_options, json_option, threads_option

if TYPE_CHECKING:
    from toolkit.artifact import Artifact
    from toolkit.export.lint import Remark
    from toolkit.judge.exemplars import Exemplar
    from toolkit.judge.quality import Quality


@click.command()
@click.argument("reference_folder", type=FOLDER, metavar="REFERENCE")
@click.argument("candidate_folder", type=FOLDER, metavar="CANDIDATE")
@data_options
@click.option("--split", "split_name", default="test", show_default=True, help="Split to judge on.")
@click.option("--max-drop", type=click.FloatRange(0, 1), default=0.01, show_default=True,
              help="Accuracy that may be lost: 0.01 is one point.")  # fmt: skip
@click.option("--max-slice-drop", type=click.FloatRange(0, 1), metavar="SHARE",
              help="Fail also when a group of a --slice lost more than this after correction.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Fail also when the rows are too few to tell.")
@click.option("--exemplars", type=click.IntRange(0), is_flag=False, flag_value=10, metavar="[N]",
              help="List changed rows, the surest first: N that are now wrong, N that are now right (10).")  # fmt: skip
@click.option("--exemplars-to", "target", type=FOLDER, metavar="FILE",
              help="Write every changed row with its raw text to a new jsonl file.")  # fmt: skip
@click.option("--tensorrt", is_flag=True,
              help="List what TensorRT 11 would refuse in CANDIDATE's graph, and fail on it.")  # fmt: skip
@threads_option
@json_option
def command(
    *, reference_folder: Path, candidate_folder: Path, reference: str, text: str | None, label: str | None,
    slices: tuple[str, ...], split_name: str, max_drop: float, max_slice_drop: float | None, strict: bool,
    exemplars: int | None, target: Path | None, tensorrt: bool, threads: int, as_json: bool,
) -> int:  # fmt: skip
    """Is CANDIDATE as good as REFERENCE? The same rows, paired; verdict and changed rows (numbers and labels
    only) are saved in its evidence.

    Prints the difference with its score interval and exact McNemar p, the decisions that flipped, what
    each class lost, calibration before and after. Leaves with 1 when it lost more than --max-drop.

    --slice COLUMN (again for more) compares by group and names the worst: each interval is of its group
    alone and uncorrected, p is adjusted for all groups (Holm). A column of numbers is cut at its
    quartiles. --slice @length cuts texts by their length in characters.

    The graph of CANDIDATE is read for what TensorRT would refuse, which needs no GPU. A refusal fails
    with --tensorrt, and always for what was made with --target tensorrt.

    \b
    Example:
      toolkit verify runs/trec-onnx runs/trec-int8 --data trec --max-drop 0.01
      toolkit verify runs/trec-onnx runs/trec-int8 --data trec --slice @length --exemplars 5
    """
    from toolkit.artifact import EVIDENCE, load_artifact
    from toolkit.commands.opening import data_of
    from toolkit.data import digest_of_split
    from toolkit.export.lint import is_for_tensorrt
    from toolkit.judge.exemplars import check_free, list_exemplars, write_exemplars
    from toolkit.judge.flips_file import FLIPS, FlipsFile, write_flips
    from toolkit.judge.grouping import columns_to_read
    from toolkit.judge.quality import judge
    from toolkit.judge.verdict import check_slice_margin
    from toolkit.judge.words import describe_quality
    from toolkit.predictor import Predictor
    from toolkit.report import REPORT, Report, update_report

    if target is not None:
        check_free(target)
    if max_slice_drop is not None:
        check_slice_margin(max_slice_drop, slices)
    before, after = load_artifact(reference_folder), load_artifact(candidate_folder)
    remarks = _lint(after, wanted=tensorrt)
    read = columns_to_read(slices, before.spec.task)
    data = data_of(before, reference, text=text, label=label, slices=read)
    split = data.split(split_name)
    with Predictor.load(before, threads=threads) as first, Predictor.load(after, threads=threads) as second:
        quality = judge(
            first, second, split, max_drop=max_drop, strict=strict, split_name=split_name,
            slices=tuple(dict.fromkeys(slices)), max_slice_drop=max_slice_drop,
        )  # fmt: skip
        facts = second.runner.facts()
    lines = describe_quality(quality)
    for line in lines[:-1]:
        terminal.say(line)
    _show_slices(quality)
    lint_failed = _show_lint(remarks, wanted=tensorrt or is_for_tensorrt(after))
    terminal.say(lines[-1])
    if lint_failed:
        terminal.say("failed: it is to run in TensorRT, which would refuse its graph")
    if exemplars is not None:
        _show_exemplars(list_exemplars(quality.flips, split, before.spec.labels, count=exemplars))
    if target is not None:
        found = list_exemplars(quality.flips, split, before.spec.labels)
        write_exemplars(target, found)
        terminal.say(f"{len(found)} changed rows with their raw examples are in {target}")
    report = Report.of(after, facts=facts, quality=quality)
    update_report(candidate_folder / EVIDENCE / REPORT, report)
    changed = FlipsFile(
        digest=after.digest, reference_name=before.name, reference_digest=before.digest, split=split_name,
        split_digest=digest_of_split(split), labels=before.spec.labels, total=len(split), rows=quality.flips.rows,
    )  # fmt: skip
    write_flips(candidate_folder / EVIDENCE / FLIPS, changed)
    document = report.to_json()
    if remarks is not None:
        document["tensorrt"] = {"failed": lint_failed, "remarks": [remark.to_json() for remark in remarks]}
    terminal.emit(document, as_json=as_json)
    return 1 if quality.failed or lint_failed else 0


def _lint(artifact: Artifact, *, wanted: bool) -> tuple[Remark, ...] | None:
    """What TensorRT would say; None where it cannot be told and was not asked for."""
    from toolkit.errors import InputError
    from toolkit.export.lint import is_for_tensorrt, lint_artifact

    try:
        return lint_artifact(artifact)
    except InputError:  # no ONNX, or no package to read it with
        if wanted or is_for_tensorrt(artifact):
            raise
        return None


def _show_lint(remarks: Sequence[Remark] | None, *, wanted: bool) -> bool:
    """A line, and where it is `wanted` a table; True when that is a reason to fail."""
    from toolkit.export.lint import describe_remarks

    if remarks is None:
        return False
    if wanted and remarks:
        rows = [(remark.rule, remark.where, remark.words) for remark in remarks]
        terminal.say("")
        refused = {place for place, remark in enumerate(remarks) if remark.refused}
        terminal.show_table(("TensorRT", "where", "what, and what to do"), rows, bad=refused)
    terminal.say(describe_remarks(remarks))
    return wanted and any(remark.refused for remark in remarks)


def _show_slices(quality: Quality) -> None:
    """A table a column and its worst group."""
    from toolkit.judge.listing import SLICE_RIGHT, describe_worst, slice_rows, slice_titles

    for column in quality.slices:
        terminal.say("")
        terminal.show_table(slice_titles(column), slice_rows(column), right=SLICE_RIGHT)
    if quality.slices:
        terminal.say("intervals are of one group each, uncorrected; Holm p is adjusted for all groups above")
    for column in quality.slices:
        terminal.say(describe_worst(column))


def _show_exemplars(exemplars: Sequence[Exemplar]) -> None:
    from toolkit.judge.listing import EXEMPLAR_TITLES, exemplar_rows

    terminal.say("")
    if not exemplars:
        terminal.say("no answer changed")
        return
    terminal.show_table(EXEMPLAR_TITLES, exemplar_rows(exemplars), right={"row"})
