"""INT8 that was trained to be INT8: the net learns around its own rounding, then leaves as the same Q/DQ graph.

Ranges are measured on training rows; then the net trains for an epoch or two with weights and activations rounded
as the kernels will round them (gradients pass straight through the rounding), to answer as it did in float. It pays
where static INT8 loses accuracy; where that loses none it buys nothing, for the same file and speed.
It costs an epoch of training at about twice its time. What comes out is an artifact and no classifier: this is the last
step, and ranges have no place among plain weights. Embedding tables rest; for cpu they are rounded first.

Parity is asked in two parts, since a value that lies on the edge between two steps falls to either side, and a deep
net carries one such fall to every logit (MiniLM: half the rows within 0.005, one in a hundred beyond 0.2). With
rounding left out on both sides, graph and net agree to 1e-4 at every shape; with it, the finished file and the net
agree to `EDGE` on half of the sample rows, and on the labels of the golden ones.
Limit: transformers and cnns; ranges are symmetric and stay as calibrated.

Source: Jacob et al. 2017 (arXiv:1712.05877); nvidia-modelopt, whose fake quantizers leave through the exporter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from toolkit.artifact import Artifact
from toolkit.classifier import Classifier
from toolkit.compress.cpu_kernels import use_cpu_kernels
from toolkit.compress.distill import check_data
from toolkit.compress.fake_quantizers import NETS, insert_quantizers, rounding_off, weight_bits, widen_weights
from toolkit.compress.imitate import Objective, imitate
from toolkit.compress.qdq import finish_graph, without_rounding
from toolkit.compress.scheme import TARGETS
from toolkit.compress.tables import quantize_tables
from toolkit.compress.teachers import Teacher, digest_of_teacher, measure_untrained, teacher_answers
from toolkit.core import Core
from toolkit.data import Data, Split, hash_rows
from toolkit.encoders import Encoder
from toolkit.errors import InputError, ParityError, RecipeError, require
from toolkit.export.door import OPSET, choose_golden, pass_door, write_exported
from toolkit.export.onnx import trace
from toolkit.export.shapes import encode_some, shape_batches, traced_arrays
from toolkit.golden import Golden
from toolkit.judge.parity import Parity
from toolkit.lineage import Step, digest_of
from toolkit.nets import describe_net
from toolkit.predictor import relative_difference
from toolkit.progress import Progress, silent
from toolkit.runners.onnx import OnnxRunner
from toolkit.runners.torch import TorchRunner
from toolkit.spec import Array, Arrays
from toolkit.train.fit import Fitted
from toolkit.train.randomness import reproducible
from toolkit.train.recipes import Recipe, default_recipe

EDGE = 1e-2
SLOWER = 10  # the learning rate of training, over that of getting used to rounding


@dataclass(frozen=True)
class Aware:
    """The INT8 artifact, how its net trained, and both parts of parity.

    `parity` is of graph and net without rounding; `rounded` the relative differences (rows,) with it.
    """

    artifact: Artifact
    fitted: Fitted
    parity: Parity
    rounded: Array

    @property
    def median_rounded(self) -> float:
        """The relative difference that half of the sample rows stay within."""
        return float(np.median(self.rounded))


def quantize_aware(
    classifier: Classifier,
    data: Data,
    folder: Path,
    *,
    epochs: int = 2,
    recipe: Recipe | None = None,
    teacher: Teacher | None = None,
    objective: Objective | None = None,
    target: str = "cpu",
    rows: int = 256,
    work: Path | None = None,
    progress: Progress = silent,
) -> Aware:
    """Train `classifier` to stand INT8 and write the ONNX artifact of it into `folder` (already staged).

    Ranges are measured on `rows` training rows; then `epochs` of imitating `teacher` (None: the classifier in float)
    follow, by `recipe` (None: the net's own at a tenth of its learning rate; its epochs are replaced). 0 epochs
    leave the net as it was calibrated. `target` is cpu or tensorrt. `work` gets checkpoints, as in `train`.
    Raises `RecipeError` for a value out of its range, `InputError` for a kind of net that cannot, `DataError` when
    `data` was split otherwise than when it was trained, `ParityError` when the graph answers unlike the net.
    """
    kind = describe_net(classifier.net)["kind"]
    _check(kind, epochs=epochs, target=target, rows=rows)
    guide = classifier if teacher is None else teacher
    for known in (classifier, guide):
        check_data(known, data)
    recipe = replace(recipe or aware_recipe(kind), epochs=max(epochs, 1)).resolve()
    train, validation = data.split("train"), data.split("validation")
    with reproducible(recipe.seed, recipe.threads):
        chosen = train.take(np.sort(np.random.default_rng(recipe.seed).permutation(len(train))[:rows]))
        progress("calibrate", 0, 1, f"ranges of {len(chosen)} training rows")
        net = insert_quantizers(classifier, chosen, target=target)
        progress("calibrate", 1, 1)
    if epochs:
        fitted = _train(guide, net, classifier.encoder, train, validation, recipe, objective, work, progress)
    else:
        fitted = measure_untrained(classifier, net, validation, recipe.threads)
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        sample = classifier.sample or encode_some(classifier.encoder, validation.examples)
        aware = replace(classifier, net=fitted.net.eval())
        model, int8, parity = _leave(aware, sample, target=target, progress=progress)
        golden, rounded = compare_rounded(aware, model, sample)
    finally:
        torch.set_num_threads(before)
    settings: dict[str, Any] = {
        "original": digest_of_teacher(classifier),
        "teacher": digest_of_teacher(guide),
        "target": target,
        "epochs": epochs,
        "rows": len(chosen),
        "rows_digest": digest_of([str(key) for key in hash_rows(chosen.examples)]),
        "weight_bits": weight_bits(target),
        "int8": int8,
        "recipe": recipe.to_json() if epochs else None,
        "warnings": list(fitted.warnings),
    }
    core = Core(
        name=classifier.name,
        format="onnx",
        spec=classifier.spec,
        steps=(
            *classifier.steps,
            Step("quantize_aware", settings),
            Step("export", {"exporter": "torchscript", "opset": OPSET}),
        ),
        parent=classifier.parent,
        split=classifier.split,
        temperature=1.0 if epochs else classifier.temperature,  # a trained net is another one
        net=describe_net(classifier.net),
        precision="int8",
    )
    learned = classifier.training_rows
    written = write_exported(
        folder, core, classifier.encoder, model=model, checked=(golden, parity), training_rows=learned
    )
    return Aware(written, fitted, parity, rounded)


def aware_recipe(kind: str) -> Recipe:
    """The recipe of `kind` at a tenth of its learning rate, in fp32: bf16 would round a second time."""
    default = default_recipe(kind)
    return replace(default, learning_rate=default.learning_rate / SLOWER, precision="fp32")


def _check(kind: str, *, epochs: int, target: str, rows: int) -> None:
    if kind not in NETS:
        raise InputError(
            f"a net of kind {kind} cannot be trained in INT8; allowed: {', '.join(NETS)}; export it and quantize that"
        )
    if target not in TARGETS:
        raise RecipeError(f"target is {target!r}; allowed: {', '.join(TARGETS)}")
    if epochs < 0:
        raise RecipeError(f"epochs is {epochs}; allowed: 0 or more")
    if rows < 1:
        raise RecipeError(f"rows is {rows}; allowed: 1 or more training rows to calibrate on")


def _train(
    guide: Teacher,
    net: nn.Module,
    encoder: Encoder,
    train: Split,
    validation: Split,
    recipe: Recipe,
    objective: Objective | None,
    work: Path | None,
    progress: Progress,
) -> Fitted:
    answers = teacher_answers(guide, train.examples, folder=work, threads=recipe.threads, progress=progress)
    return imitate(
        guide,
        net,
        encoder,
        train,
        validation,
        recipe,
        answers=answers,
        objective=objective or Objective(),
        folder=work,
        progress=progress,
    )


def _leave(
    aware: Classifier, sample: Arrays, *, target: str, progress: Progress
) -> tuple[bytes, dict[str, int], Parity]:
    """Trace the net, hold the graph against it without rounding, and finish the graph for its target."""
    onnx = require("onnx", extra="train")
    widen_weights(aware.net)
    traced = onnx.load_from_string(trace(aware, traced_arrays(aware.spec, sample)))
    with rounding_off(aware.net), TorchRunner(aware, threads=torch.get_num_threads()) as reference:
        plain = without_rounding(traced).SerializeToString()
        batches = list(shape_batches(aware.spec, sample))
        _, parity = pass_door(plain, reference, batches, sample=sample, progress=progress)
    int8 = finish_graph(traced, target=target)
    if target == "cpu" and (tables := quantize_tables(traced)):
        int8["embedding table"] = tables
    onnx.checker.check_model(traced, full_check=True)
    if target == "cpu":
        use_cpu_kernels(traced)
    return traced.SerializeToString(deterministic=True), int8, parity


def compare_rounded(aware: Classifier, model: bytes, sample: Arrays) -> tuple[Golden, Array]:
    """Golden rows of the finished `model`, and the relative difference (rows,) of each row of `sample` from the net.

    Both round; the graph runs each node as it stands. Raises `ParityError` when half of the rows differ by more than
    `EDGE`, or when the optimized graph gives a golden row another label than the net.
    """
    singles = [{name: array[row : row + 1] for name, array in sample.items()} for row in range(_rows_of(sample))]
    with OnnxRunner(model, precision="int8", optimized=False) as runner:
        found = np.array([relative_difference(aware.run(single), runner.run(single)) for single in singles])
    if not np.median(found) <= EDGE:  # true for NaN too
        raise ParityError(
            f"half of the rows of the INT8 graph differ from its net by {np.median(found):.1e} relative or more; at "
            f"most {EDGE} is allowed, so nothing was written"
        )
    with OnnxRunner(model, precision="int8") as runner:
        golden = choose_golden(runner, sample)
    if (wrong := int((aware.run(golden.arrays).argmax(axis=1) != golden.logits.argmax(axis=1)).sum())) > 0:
        raise ParityError(
            f"{wrong} of {len(golden.logits)} golden rows get another label from the INT8 graph than from its net, so "
            "nothing was written"
        )
    return golden, found


def _rows_of(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))
