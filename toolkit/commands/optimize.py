"""`toolkit optimize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit import terminal
from toolkit.commands.options import dry_run_option, force_option, json_option, out_option, seed_option

if TYPE_CHECKING:
    from toolkit.optimize import Found
    from toolkit.optimize.budget import Budget


@click.command()
@click.argument("model", metavar="DIR|hf:PATH")
@click.option("--data", "reference", required=True, metavar="DATA", help="The data the model was trained on.")
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@click.option(
    "--max-drop", type=float, default=0.01, show_default=True, help="Accuracy (AUC) that may be lost: 0.01 is a point."
)
@click.option("--max-p99", metavar="TIME", help="Longest p99 of a row in process, one thread: 5ms, 900us.")
@click.option("--max-size", metavar="SIZE", help="Largest artifact, everything counted: 20MB.")
@click.option("--caution", type=float, default=1.0, show_default=True,
              help="Standard errors added to a drop on validation rows before it counts.")  # fmt: skip
@click.option("--hours", type=float, default=1.0, show_default=True, help="Time to search.")
@click.option("--objective", type=click.Choice(["speed", "size"]), default="speed", show_default=True,
              help="What the best answer is best at within the budget: mean latency, or size.")  # fmt: skip
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
              help="Where candidates run; cuda tries fp16, int8 and fp8, by TensorRT where it is.")  # fmt: skip
@click.option("--threads", type=click.IntRange(0, 1024), default=0, help="Threads to train with; 0: all allowed.")
@click.option(
    "--ray", "cluster", metavar="ADDRESS", help="Train the trials on this Ray cluster; local: one started here."
)
@seed_option
@dry_run_option
@out_option
@force_option
@json_option
def command(
    *, model: str, reference: str, text: str | None, label: str | None, max_drop: float, max_p99: str | None,
    max_size: str | None, caution: float, hours: float, objective: str, device: str, threads: int, cluster: str | None,
    seed: int, dry_run: bool, out: Path, force: bool, as_json: bool,
) -> int:  # fmt: skip
    """Find the smallest, fastest form of a trained classifier that holds a budget, by measuring on this machine.

    Leaves OUT/best (and OUT/fastest, the fastest single model, and OUT/smallest), the Pareto set as artifacts, a
    table and a plot, and in OUT/report.json every candidate with the reason it was kept or dropped. Goes on after
    a kill when the same command is repeated; Ctrl-C ends the search and chooses from what there is. Leaves with 1
    when the best attempt misses the budget, or loses more on test rows.

    \b
    Example:
      toolkit optimize runs/trec --data trec --max-drop 0.01 --max-p99 5ms --hours 0.5 -o runs/trec-optimized
      toolkit optimize runs/trec --data trec --max-drop 0.01 --device cuda -o runs/trec-gpu
      toolkit optimize runs/trec --data trec --max-drop 0.01 --objective size --ray local -o runs/trec-tiny
    """
    from toolkit.artifact import load_artifact
    from toolkit.commands.opening import data_of
    from toolkit.lineage import digest_of
    from toolkit.machine import threads_allowed
    from toolkit.optimize import check_fit, describe, optimize
    from toolkit.optimize.budget import Budget, parse_bytes, parse_milliseconds
    from toolkit.optimize.decision import BEST
    from toolkit.optimize.devices import check_device
    from toolkit.optimize.plan import count_plans
    from toolkit.optimize.students import space_for
    from toolkit.staging import staged, write_atomically

    budget = Budget(
        max_drop=max_drop, max_p99_ms=parse_milliseconds(max_p99) if max_p99 else None,
        max_size_bytes=parse_bytes(max_size) if max_size else None, hours=hours, objective=objective, caution=caution,
    )  # fmt: skip
    folder = exported_from(model, out) if model.startswith("hf:") else Path(model)
    artifact = load_artifact(folder)
    data = data_of(artifact, reference, text=text, label=label)
    if artifact.core.split is None:
        terminal.say(
            f"warning: nothing is known of the rows that {model} was trained on; {data.name} is split by its own "
            f"splits where it has them, else by seed {data.seed}, and rows that it was trained on would flatter it"
        )
    check_fit(artifact, data, budget)
    check_device(device)
    if dry_run:
        space = space_for(artifact)
        for family, choices in space.items():
            terminal.say(f"{family}: {'; '.join(f'{name} {values}' for name, values in choices.items()) or 'as it is'}")
        terminal.say(f"{count_plans(space)} plans, {hours:g} hours; nothing was searched")
        return 0
    settings = {"data": reference, "seed": seed, "threads": threads or threads_allowed(), "cluster": cluster}
    if device != "cpu":
        settings["device"] = device
    # how long to search does not make another search: what was tried is as true with more hours
    kept = {name: value for name, value in budget.to_json().items() if name != "hours"}
    what = ["optimize", artifact.digest, kept, data.record().to_json(), seed, *([device] if device != "cpu" else [])]
    with staged(out, key=digest_of(what), force=force) as partial:
        with terminal.showing_progress() as progress:
            found = optimize(
                artifact, data, partial, budget, seed=seed, threads=threads or threads_allowed(), device=device,
                cluster=cluster, progress=progress, announce=terminal.say,
            )  # fmt: skip
        document = describe(found, budget, settings)
        write_atomically(
            partial / "report.json", json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        )
        _plot(found, budget, partial)
    show(found, budget, out)
    terminal.emit({"folder": str(out), **document}, as_json=as_json)
    best = next(answer for answer in found.decision.answers if answer.role == BEST)
    return 1 if best.misses or best.quality.failed else 0


def exported_from(source: str, out: Path) -> Path:
    """A Hugging Face folder through the door, beside `out`, where a repeated command finds it."""
    from toolkit.artifact import load_artifact
    from toolkit.errors import InputError
    from toolkit.export.huggingface import export_huggingface
    from toolkit.lineage import digest_of, digest_of_file
    from toolkit.staging import staged

    target, path = out.with_name(f"{out.name}-onnx"), Path(source.removeprefix("hf:"))
    if not target.exists():
        with staged(target, key=digest_of(["export", source])) as partial:
            export_huggingface(path, partial, name=target.name)
        terminal.say(f"{target}: exported from {source}")
    weights = {file.name: digest_of_file(file) for file in path.glob("model*.safetensors")}
    if load_artifact(target).core.steps[0].settings.get("weights") != weights:
        raise InputError(f"{target} was exported from other weights than {source} has; remove it, or give another -o")
    return target


def show(found: Found, budget: Budget, out: Path) -> None:
    """The answers beside the model that came, then every candidate with its reason."""
    from toolkit.judge.words import describe_batches
    from toolkit.table import MEAN

    decision = found.decision
    titles = ["answer", "what", f"validation {found.metric} %", f"test {found.metric} %", "drop", "MB", "p50 ms", MEAN,
              "p99 ms", "faster", "verdict"]  # fmt: skip
    rows = [_row("as it came", "", None, decision.reference.to_json(), {}, "")]
    rows += [
        _row(answer.role, answer.candidate.words, answer.candidate.score, answer.report.to_json(), answer.faster,
             f"{answer.quality.verdict.words}{', FAILED' if answer.quality.failed else ''}")
        for answer in decision.answers
    ]  # fmt: skip
    terminal.show_table(titles, rows, right=set(titles[2:-1]))
    for answer in decision.answers:
        if answer.quality.in_batches is not None:
            terminal.say(f"{answer.role} in batches {describe_batches(answer.quality.in_batches)}")
    for trial in found.trials:
        if not trial.made:
            terminal.say(f"{trial.name} {trial.plan.words}: {trial.reason}")
    for candidate in sorted(decision.candidates, key=lambda candidate: candidate.cost.mean_ms):
        terminal.say(
            f"{candidate.name} ({candidate.words}): {100 * candidate.score:.1f} %, {candidate.cost.mean_ms:.2f} ms, "
            f"{candidate.cost.size_bytes / 1e6:.1f} MB: {decision.reasons[candidate.name]}"
        )
    best = decision.answers[0]
    if best.misses:
        terminal.say(f"nothing holds the budget; the best attempt {' and '.join(best.misses)}")
    terminal.say(f"{out}/best, {out}/fastest, {out}/smallest, {out}/pareto, {out}/pareto.png, {out}/report.json")
    terminal.say(f"next: toolkit serve {out}/best")


def _row(name: str, words: str, validation: float | None, report: Any, faster: Any, verdict: str) -> list[str]:
    test, latency = report["test"], report["latency"]
    key = "auc" if "auc" in test else "accuracy"
    drop = (
        report["difference"][key]["value"] if key in report["difference"] else report["difference"]["accuracy"]["value"]
    )
    return [
        name, words, "" if validation is None else f"{100 * validation:.1f}",
        f"{100 * test[key]['value']:.1f} ({100 * test[key]['low']:.1f}-{100 * test[key]['high']:.1f})",
        f"{100 * drop:+.1f}", f"{report['size_bytes'] / 1e6:.1f}", f"{latency['p50_ms']:.2f}",
        f"{latency['mean_ms']:.2f}",
        "" if latency["p99_ms"] is None else f"{latency['p99_ms']:.2f}",
        f"{faster['median']:.1f}x" if faster else "", verdict,
    ]  # fmt: skip


def _plot(found: Found, budget: Budget, folder: Path) -> None:
    from toolkit.optimize.plot import plot_pareto

    decision = found.decision
    for ending in ("png", "svg"):
        plot_pareto(
            folder / f"pareto.{ending}", decision.candidates, pareto=decision.pareto,
            best=decision.answers[0].candidate, budget=budget, metric=found.metric,
            reference=decision.candidates[0].score + decision.candidates[0].drop,
        )  # fmt: skip
