"""`toolkit bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, json_option, optional_data_options, seed_option, threads_option
from toolkit.errors import DataError, GateError, InputError, require

if TYPE_CHECKING:
    from toolkit.artifact import Artifact
    from toolkit.ladder import Benched, Plan
    from toolkit.measure.bench_file import BenchFile

SCENARIOS = ("single_stream", "server", "offline")
PROBE_SECONDS = 3.0


@click.command()
@click.argument("folders", type=FOLDER, nargs=-1, metavar="DIR...")
@optional_data_options
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True,
              help="Seconds for each artifact on each rung.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds to spread them over.")
@click.option("--ladder", is_flag=True,
              help="Serve each one too: HTTP, peak under the objective, open load at 25/50/75/90 % of it.")  # fmt: skip
@click.option("--objective", "objective_ms", type=click.FloatRange(0.01), default=100.0, show_default=True,
              metavar="MS", help="What p99 has to keep at the peak.")  # fmt: skip
@click.option("--scenario", "scenarios", type=click.Choice(SCENARIOS), multiple=True,
              help="MLPerf LoadGen's scenario, again for more; over HTTP with --ladder.")  # fmt: skip
@click.option("--price", "price_per_hour", type=click.FloatRange(0), metavar="PER_HOUR",
              help="Price of this machine an hour, for the cost of a million answers.")  # fmt: skip
@click.option("-o", "--out", type=FOLDER, metavar="FILE", help="Write the results as JSON.")
@click.option("--against", type=FOLDER, metavar="OLD.json",
              help="Leave with 1 when one is slower than in that file, beyond noise and tolerance.")  # fmt: skip
@click.option("--tolerance", type=click.FloatRange(0), default=0.05, show_default=True,
              help="For --against: 0.05 lets a median grow by 5 %.")  # fmt: skip
@click.option("--across-machines", is_flag=True, help="For --against: compare although the machines differ.")
@click.option("--require-idle", is_flag=True, help="Leave with 1 unless this machine is idle.")
@click.option("--self-test", is_flag=True, help="Test the generators instead: do they show a stall of 1 s in 8?")
@click.option("--why", is_flag=True, help="Say also where the time goes, and what keeps it there.")
@seed_option
@threads_option
@json_option
def command(
    *, folders: tuple[Path, ...], reference: str | None, text: str | None, label: str | None, slices: tuple[str, ...],
    seconds: float, rounds: int, ladder: bool, objective_ms: float, scenarios: tuple[str, ...],
    price_per_hour: float | None, out: Path | None, against: Path | None, tolerance: float, across_machines: bool,
    require_idle: bool, self_test: bool, why: bool, seed: int, threads: int, as_json: bool,
) -> int:  # fmt: skip
    """Measure artifacts side by side, one row at a time, in interleaved rounds: runner, predictor, and with --ladder
    a server of each.

    The first artifact is measured twice in every round: what it differs from itself is the noise. Every answer is
    checked. What batches cost is stored beside each artifact: a server batches by it. Leaves with 1 when the run is
    void: a server died, the generator was late, or nobody answered right.

    \b
    Example:
      toolkit bench runs/trec-onnx runs/trec-int8 --data trec
      toolkit bench runs/trec-int8 --data trec --ladder --objective 20 -o bench.json
      toolkit bench runs/trec-int8 --data trec --against bench.json --tolerance 0.05
      toolkit bench --self-test
    """
    if self_test:
        return _test_generators(folders, as_json=as_json)
    if not folders or reference is None:
        raise InputError("toolkit bench takes artifacts and their data: DIR... --data DATA (or --self-test alone)")
    from toolkit.ladder import Plan

    plan = Plan(
        data=reference, seconds=seconds, rounds=rounds, threads=threads, ladder=ladder, objective_ms=objective_ms,
        scenarios=tuple(dict.fromkeys(scenarios)), price_per_hour=price_per_hour, seed=seed,
        probe_seconds=min(PROBE_SECONDS, seconds),
    )  # fmt: skip
    old = _prepare(plan, out, against, across=across_machines)
    artifacts, examples = _open(folders, reference, text=text, label=label, slices=slices)
    benched = _run(artifacts, examples, plan, require_idle=require_idle)
    document = _keep(artifacts, benched, out, seed=seed)
    passed = _show(benched.file, old, tolerance, document, across=across_machines)
    if why:
        document["why"] = [_explain(artifact, examples, threads) for artifact in artifacts]
    terminal.emit(document, as_json=as_json)
    return 0 if passed else 1


def _prepare(plan: Plan, out: Path | None, against: Path | None, *, across: bool) -> BenchFile | None:
    """Everything that can be refused before minutes are spent; returns the file to compare with."""
    from toolkit.measure.bench_file import BenchFile, read_bench, require_one_machine

    if plan.scenarios:
        require("mlperf_loadgen", extra="bench")
    if out is not None and out.exists():
        try:
            read_bench(out)
        except InputError as error:
            raise InputError(f"-o would replace what is no result of toolkit bench: {error}") from None
    if against is None:
        return None
    old = read_bench(against)
    require_one_machine([old, BenchFile.of((), settings={}, conditions={})], across=across)
    return old


def _open(
    folders: Sequence[Path], reference: str, *, text: str | None, label: str | None, slices: Sequence[str]
) -> tuple[list[Artifact], Sequence[Any]]:
    """The artifacts, whole and of one task, and the rows to ask them."""
    from toolkit.artifact import load_artifact
    from toolkit.commands.opening import data_of
    from toolkit.ladder import require_one_task

    artifacts = [load_artifact(folder) for folder in folders]
    require_one_task(artifacts)
    for artifact in artifacts:
        artifact.verify()
    data = data_of(artifacts[0], reference, text=text, label=label, slices=slices)
    split = data.splits.get("validation") or data.split("test")
    if not len(split):
        raise DataError(f"{reference} has no row to measure with")
    return artifacts, split.examples


def _run(artifacts: Sequence[Artifact], examples: Sequence[Any], plan: Plan, *, require_idle: bool) -> Benched:
    """Look at the machine, then measure."""
    from toolkit.ladder import run_bench
    from toolkit.measure.idle import look_around

    idle = look_around()
    if require_idle and not idle.idle:
        raise GateError(f"{idle.words}; stop the other work, or leave out --require-idle")
    terminal.say(idle.words)
    with terminal.showing_progress() as progress:
        return run_bench(artifacts, examples, plan, idle=idle, progress=progress)


def _keep(artifacts: Sequence[Artifact], benched: Benched, out: Path | None, *, seed: int) -> dict[str, Any]:
    """Write the file; a run that counts goes into the artifacts' evidence too. Returns the document for stdout."""
    from toolkit.artifact import EVIDENCE
    from toolkit.measure.bench_file import BENCH, write_bench
    from toolkit.report import REPORT, Report, update_report

    file, reports = benched.file, []
    if out is not None:
        write_bench(out, file)
    parts = zip(artifacts, file.artifacts, benched.comparison.latencies, benched.footprints, strict=True)
    for artifact, entry, latency, footprint in parts:
        report = Report.of(artifact, facts=latency.facts, latency=latency, footprint=footprint, seed=seed)
        if file.counts:
            report = update_report(artifact.folder / EVIDENCE / REPORT, report)
            write_bench(artifact.folder / EVIDENCE / BENCH, file.part(entry["name"]))
        reports.append(report.to_json())
    return {"reports": reports, "comparison": benched.comparison.to_json(), "bench": file.to_json()}


def _show(file: BenchFile, old: BenchFile | None, tolerance: float, document: dict[str, Any], *, across: bool) -> bool:
    """Tables and notes on stderr, the comparison with an older file into the document; False for void or slower."""
    from toolkit.bench_table import ladder_table, notes_of, process_table
    from toolkit.measure.against import compare_bench

    for table in (ladder_table(file), process_table(file)):
        terminal.show_table(table.titles, table.rows, right=table.right, bad=table.bad)
        terminal.say("")
    for note in notes_of(file):
        terminal.say(note)
    if not file.counts or old is None:
        return file.counts
    compared = compare_bench(old, file, tolerance=tolerance, across=across)
    document["against"] = compared.to_json()
    terminal.say("")
    failed = {place for place, row in enumerate(compared.rows) if row.failed}
    terminal.show_table(
        compared.headings, [row.cells for row in compared.rows], right=compared.headings[2:6], bad=failed
    )
    for words in (*compared.notes, compared.words):
        terminal.say(words)
    return compared.passed


def _test_generators(folders: Sequence[Path], *, as_json: bool) -> int:
    from toolkit.measure.self_test import run_self_test

    if folders:
        raise InputError("--self-test takes no artifacts: it stops a server that does nothing, and looks who notices")
    with terminal.showing_progress() as progress:
        found = run_self_test(progress=progress)
    for words in found.words:
        terminal.say(words)
    terminal.emit(found.to_json(), as_json=as_json)
    return 0 if found.passed else 1


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
