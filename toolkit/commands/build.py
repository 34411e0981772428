"""`toolkit build`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit import terminal
from toolkit.commands.options import force_option, json_option, optional_data_options, out_option, seed_option

if TYPE_CHECKING:
    from toolkit.artifact import Artifact
    from toolkit.data import Data
    from toolkit.judge.quality import Quality
    from toolkit.progress import Progress


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--precision", type=click.Choice(["fp32", "tf32", "fp16", "bf16", "int8", "fp8"]), default="fp16",
              show_default=True, help="What the GPU computes in; it is written into the graph.")  # fmt: skip
@optional_data_options
@click.option("--max-batch", type=click.IntRange(1, 4096), default=256, show_default=True,
              help="Most rows that a run may have.")  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=256, show_default=True,
              help="Training rows that scales and sensitivities are measured on.")  # fmt: skip
@click.option("--max-drop", type=click.FloatRange(0, 1), default=0.01, show_default=True,
              help="Accuracy that may be lost against DIR: 0.01 is one point.")  # fmt: skip
@click.option("--mixed", is_flag=True, help="int8, fp8: put products back to fp16 until --max-drop holds.")
@click.option("--keep-float", multiple=True, metavar="NODE", help="A node of the graph that stays float; repeatable.")
@click.option("--sparse", is_flag=True, help="Cut weights to 2:4, for kernels that skip zeros.")
@click.option("--level", type=click.IntRange(0, 5), default=3, show_default=True,
              help="How long TensorRT searches for kernels.")  # fmt: skip
@click.option(
    "--no-engine", is_flag=True, help="Write the artifact and leave its engine to the machine that serves it."
)
@seed_option
@out_option
@force_option
@json_option
def command(
    *, folder: Path, precision: str, reference: str | None, text: str | None, label: str | None,
    slices: tuple[str, ...], max_batch: int, rows: int, max_drop: float, mixed: bool, keep_float: tuple[str, ...],
    sparse: bool, level: int, no_engine: bool, seed: int, out: Path, force: bool, as_json: bool,
) -> int:  # fmt: skip
    """Put the fp32 ONNX artifact DIR into the precision of a GPU, and build its TensorRT engine on this machine.

    The artifact at -o is portable: ONNX in that precision and the shapes that the data has. The engine is a cache
    beside it, for this GPU, driver and TensorRT alone; a server that finds none that fits builds one. Every build is
    compared with ONNX Runtime and judged on validation rows; leaves with 1, and keeps no engine, when it fails.

    \b
    Example:
      toolkit build runs/trec-onnx --data trec -o runs/trec-fp16
      toolkit build runs/trec-onnx --precision fp8 --mixed --data trec -o runs/trec-fp8
      toolkit build runs/trec-onnx --precision int8 --data trec --no-engine -o runs/trec-gpu
    """
    from toolkit.artifact import load_artifact
    from toolkit.commands.opening import data_of
    from toolkit.compress.gpu_precision import CALIBRATED, Request, write_in_precision
    from toolkit.engines.flags import Flags
    from toolkit.errors import RecipeError
    from toolkit.judge.words import describe_quality
    from toolkit.lineage import digest_of
    from toolkit.staging import staged

    if mixed and precision not in CALIBRATED:
        raise RecipeError(f"--mixed puts products of int8 and fp8 back; --precision {precision} has none")
    if not no_engine:
        check_here()
    request = Request(
        precision, Flags(sparse=sparse, level=level), max_batch, rows, seed, max_drop if mixed else None, keep_float
    )
    artifact = load_artifact(folder)
    data = None if reference is None else data_of(artifact, reference, text=text, label=label, slices=slices)
    train = None if data is None else data.split("train")
    validation = None if data is None else data.splits.get("validation")
    key = digest_of(["build", artifact.digest, asdict(request)])
    with staged(out, key=key, force=force) as partial, terminal.showing_progress() as progress:
        made = write_in_precision(
            artifact, partial, request, train=train, validation=validation, name=out.name, progress=progress
        )
        engine = None if no_engine else build_here(made, artifact, data, max_drop=max_drop, progress=progress)
        if engine is None:
            quality = judge_graph(made, artifact, data, max_drop=max_drop)
        else:
            quality = engine.pop("quality", None)
    step = made.core.steps[-1].settings
    terminal.say(f"{out}: {precision}, {made.size_bytes / 1e6:.1f} MB, was {artifact.size_bytes / 1e6:.1f} MB")
    for words in describe_step(step):
        terminal.say(words)
    if quality is not None:
        for words in describe_quality(quality):
            terminal.say(words)
    if engine is None:
        terminal.say("no engine: the machine that serves it with --provider gpu builds one beside its work")
    else:
        terminal.say(
            f"engine: {engine['bytes'] / 1e6:.1f} MB in {engine['seconds']:.0f} s, logits within "
            f"{engine['largest_difference']:.1e} of ONNX Runtime's; {engine['folder']}"
        )
    document = {"folder": str(out), "build": dict(step), "engine": engine}
    if quality is not None:
        document["quality"] = quality.to_json()
    terminal.emit(document, as_json=as_json)
    terminal.say(f"next: toolkit verify {folder} {out} --data {reference or 'DATA'} --tensorrt")
    return 0


def check_here() -> None:
    """Raise at once what would end a build on this machine at its very end: no TensorRT, no driver, an old one."""
    from toolkit.engines.build import tensorrt_version
    from toolkit.engines.gpu import check_driver, describe_gpu
    from toolkit.errors import InputError

    try:
        check_driver(describe_gpu())
        tensorrt_version()
    except InputError as error:
        raise InputError(f"{error}; add --no-engine to write the artifact here and build where it is served") from None


def build_here(
    made: Artifact, reference: Artifact, data: Data | None, *, max_drop: float, progress: Progress
) -> dict[str, Any]:
    """Build, compare and judge the engine of `made`, and keep it; raises `GateError` for one that is not as good."""
    from toolkit.errors import GateError
    from toolkit.predictor import Predictor
    from toolkit.runners import open_runner
    from toolkit.runners.fresh_engine import build_engine_of

    beside = "cuda" if made.core.precision == "bf16" else "cpu"  # which knows no bf16
    with open_runner(made, provider=beside) as runner:
        fresh = build_engine_of(made, runner, progress=progress)
    with fresh.runner:
        if data is not None:
            after = Predictor(made.encoder(), fresh.runner, made.spec, temperature=made.core.temperature)
            quality = _judge(reference, after, data, max_drop=max_drop)
            if quality.failed:
                raise GateError(f"the engine was built and is not kept: {quality.verdict.words}")
        kept = {**fresh.facts, "folder": str(fresh.keep())}
    return kept if data is None else {**kept, "quality": quality}


def judge_graph(made: Artifact, reference: Artifact, data: Data | None, *, max_drop: float) -> Quality | None:
    """What the precision costs, by ONNX Runtime on the CPU; None without data, and for bf16, which it does not run.

    Raises `GateError` for what loses more than `max_drop`: no engine of such a graph would be kept either.
    """
    from toolkit.errors import GateError
    from toolkit.predictor import Predictor

    if data is None or made.core.precision == "bf16":
        return None
    with Predictor.load(made) as after:
        quality = _judge(reference, after, data, max_drop=max_drop)
    if quality.failed:
        raise GateError(f"in {made.core.precision} the model is not as good: {quality.verdict.words}")
    return quality


def _judge(reference: Artifact, after: Any, data: Data, *, max_drop: float) -> Quality:
    """The engine's answers against those of the fp32 artifact, on validation rows or else on test rows."""
    from toolkit.judge.quality import judge
    from toolkit.predictor import Predictor

    name = "validation" if "validation" in data.splits else "test"
    with Predictor.load(reference) as before:
        return judge(before, after, data.split(name), max_drop=max_drop, split_name=name)


def describe_step(step: Any) -> list[str]:
    """What was decided: which kinds stay in float, which products went back, which shapes it is for."""
    lines = []
    if step.get("kept_float"):
        lines.append(f"in float32, since fp16 moved the answers: {', '.join(step['kept_float'])}")
    if "put_back" in step:
        lines.append(f"back to fp16: {', '.join(step['put_back']) or 'nothing, all in 8 bits holds the margin'}")
    shapes = [" ".join(f"{name} {low} {best} {most}" for name, (low, best, most) in profile.items())
              for profile in step["profiles"]]  # fmt: skip
    lines.append(f"shapes (least, usual, most): {'; '.join(shapes)}")
    return lines
