"""The models that are measured: one of text, of pictures and of records, each as it came, exported, and made small.

Every one is made by the steps that the commands `train`, `prune` or `distill`, `export` and `quantize` call, always
the same and at the same small budget: no search, so that two runs of a benchmark have models of one making. The text
model is the demo's own (`make demo`), copied: benchmarks write evidence beside what they measure. What an earlier run
left is taken while nothing that decides it has changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.roles import CAME, EXPORTED, SMALL
from toolkit.artifact import Artifact
from toolkit.classifier import Classifier, load_classifier
from toolkit.compress.distill import distill
from toolkit.compress.prune import prune
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.compress.student import choose_student
from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.demo import BASELINE, SETTINGS, make_artifacts
from toolkit.export.onnx import export
from toolkit.progress import Progress, silent
from toolkit.stages import Stages
from toolkit.train import Trained, train
from toolkit.train.recipes import Recipe, default_recipe
from toolkit.train.saving import WORK, save_trained

WORKPLACE = Path("runs/bench")
DEMO = Path("runs/demo")
FROM_DEMO = {CAME: BASELINE, EXPORTED: "baseline-onnx", SMALL: "pruned-int8"}


@dataclass(frozen=True)
class Case:
    """How a case's models are made; `prune` or `distill` are the settings of the step that makes it small.

    With `demo` they are the demo's and nothing else is read but `data`, `task` and `max_drop`, the margin of its
    verdict. `epochs` None is the recipe's own. `mode` is that of `quantize`.
    """

    name: str
    data: str
    task: str
    net: str
    max_drop: float
    epochs: int | None = None
    prune: Mapping[str, Any] = field(default_factory=dict)
    distill: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "static"
    demo: bool = False

    def to_json(self) -> dict[str, Any]:
        """How the models were made, as plain JSON values."""
        if self.demo:
            return {"data": self.data, "demo": dict(SETTINGS), "models": list(FROM_DEMO.values())}
        made = {"prune": dict(self.prune), "distill": dict(self.distill)}
        return {
            "data": self.data, "net": self.net, "epochs": self.epochs, "quantize": self.mode,
            **{step: settings for step, settings in made.items() if settings},
        }  # fmt: skip


CASES = (
    Case("text", str(SETTINGS["data"]), "text", "transformer", float(SETTINGS["max_drop"]), demo=True),
    Case("image", "mnist-5k", "image", "cnn", 0.01, prune={"keep": 0.25, "by": "macs", "recover": 6}),
    Case("recommend", "movielens-100k", "recommend", "recommender", 0.005,
         distill={"sizes": {"width": 4}, "epochs": 4}, mode="weights"),
)  # fmt: skip
# seconds to make; their numbers decide nothing
QUICK_CASES = (
    Case("text", "sms-spam", "text", "mlp", 0.02, epochs=2, distill={"sizes": {"width": 64}, "epochs": 2},
         mode="weights"),
    Case("image", "mnist-5k", "image", "cnn", 0.05, epochs=1, prune={"keep": 0.25, "by": "macs", "recover": 1}),
    Case("recommend", "movielens-100k", "recommend", "recommender", 0.02, epochs=1,
         distill={"sizes": {"width": 4}, "epochs": 1}, mode="weights"),
)  # fmt: skip


def data_of(case: Case, seed: int) -> Data:
    """The case's rows, split by `seed`."""
    return load_data(case.data, task=case.task, seed=seed)


def make_models(
    case: Case, data: Data, folder: Path = WORKPLACE, *, seed: int = 0, progress: Progress = silent
) -> dict[str, Artifact]:
    """The case's models by `CAME`, `EXPORTED` and `SMALL`, made in `folder/NAME` or kept from an earlier run."""
    stages = Stages(folder / case.name, progress)
    if case.demo:
        made = make_artifacts(Stages(DEMO, progress), data, seed)
        return {role: _copy(stages, made[stage], role) for role, stage in FROM_DEMO.items()}
    recipe = _with_epochs(replace(default_recipe(case.net), seed=seed), case.epochs)

    def learn(partial: Path) -> None:
        trained = train(data, net=case.net, recipe=recipe, folder=partial / WORK, progress=progress)
        save_trained(replace(trained.classifier, name=CAME), data, partial)

    came = stages.keep(CAME, [case.net, recipe.to_json(), data.record().to_json()], learn)
    exported = _export(stages, came, EXPORTED, data)

    def shrink(partial: Path) -> None:
        trained = _make_small(case, load_classifier(came), data, recipe, partial / WORK, progress)
        save_trained(replace(trained.classifier, name="small"), data, partial)

    settings = [came.digest, dict(case.prune), dict(case.distill), recipe.to_json()]
    small = _export(stages, stages.keep("small", settings, shrink), "small-onnx", data)
    scheme = Scheme(case.mode, seed=seed)

    def lessen(partial: Path) -> None:
        calibration = data.split("train") if scheme.calibrates else None
        quantize(small, partial, scheme, calibration=calibration, name=SMALL, progress=progress)

    return {
        CAME: came, EXPORTED: exported,
        SMALL: stages.keep(SMALL, [small.digest, scheme.to_json(), scheme.rows, seed], lessen),
    }  # fmt: skip


def _make_small(
    case: Case, teacher: Classifier, data: Data, recipe: Recipe, folder: Path, progress: Progress
) -> Trained:
    if case.prune:
        return prune(teacher, data, **case.prune, recipe=recipe, folder=folder, progress=progress)
    student = choose_student(
        teacher, data, net=case.net, sizes=case.distill["sizes"], dropout=recipe.dropout, seed=recipe.seed
    )
    return distill(
        teacher, data, student=student.net, encoder=student.encoder, inherited=student.inherited,
        recipe=_with_epochs(recipe, case.distill["epochs"]), folder=folder, progress=progress,
    )  # fmt: skip


def _copy(stages: Stages, source: Artifact, name: str) -> Artifact:
    def copy(partial: Path) -> None:
        shutil.copytree(source.folder, partial, dirs_exist_ok=True)

    return stages.keep(name, source.digest, copy)


def _with_epochs(recipe: Recipe, epochs: int | None) -> Recipe:
    return recipe if epochs is None else replace(recipe, epochs=epochs)


def _export(stages: Stages, source: Artifact, name: str, data: Data) -> Artifact:
    """The trained `source` through the door, with the parity that it passed checked on validation rows."""

    def carry(partial: Path) -> None:
        classifier = replace(load_classifier(source), name=name)
        export(classifier, partial, examples=data.split("validation").examples, progress=stages.progress)

    return stages.keep(name, source.digest, carry)
