"""The net that a plan trains: cut out of the model that came, or a new one with what it can inherit from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from torch import nn

from toolkit.artifact import Artifact
from toolkit.classifier import Classifier, load_classifier
from toolkit.compress.prune import cut
from toolkit.compress.shapes import shapes_after
from toolkit.compress.student import Student, choose_student
from toolkit.compress.trim_vocabulary import trim_vocabulary
from toolkit.compress.units import MACS
from toolkit.data import Data
from toolkit.encoders import Encoder
from toolkit.errors import InputError
from toolkit.nets import build_net, describe_net
from toolkit.optimize.plan import Choices, Plan, space_of
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent
from toolkit.stages import Stages
from toolkit.train.randomness import reproducible
from toolkit.train.saving import save_trained


class Students:
    """Chooses nets for plans of one model and its data; trimmed vocabularies are kept as stages."""

    def __init__(
        self, artifact: Artifact, data: Data, stages: Stages, *, seed: int, threads: int, progress: Progress = silent
    ) -> None:
        self.artifact, self.data, self.stages = artifact, data, stages
        self.seed, self.threads, self.progress = seed, threads, progress
        self.kind = kind_of(artifact)
        self._bases: dict[int, Classifier] = {}

    @cached_property
    def classifier(self) -> Classifier:
        """The model as a network of ours; raises `InputError` for one that came as an exported file."""
        if not self.kind:
            raise InputError(f"{self.artifact.folder} is an exported file; what needs a network cannot be done with it")
        return load_classifier(self.artifact)

    def base(self, trim: int) -> Classifier:
        """The model with its vocabulary trimmed to seen pieces (`trim` 1), and the first `trim` ones; 0: as it came."""
        if not trim:
            return self.classifier
        if trim not in self._bases:
            found = self.stages.keep(
                f"trimmed-{trim}", [self.artifact.digest, trim],
                lambda partial: save_trained(
                    trim_vocabulary(self.classifier, self.data, common=0 if trim == 1 else trim).classifier,
                    self.data, partial,
                ),
            )  # fmt: skip
            self._bases[trim] = load_classifier(found)
        return self._bases[trim]

    def choose(self, plan: Plan, teacher: Predictor) -> Student:
        """The student of a plan before it is trained; `teacher` is asked where the model is no network of ours."""
        if plan.family == "prune":
            base = self.base(plan.get("trim", 0))
            smaller = cut(
                base, self.data, keep=plan.get("keep"), layers=plan.get("layers"), by=plan.get("by"),
                embedding=plan.get("embedding") or None, seed=self.seed, threads=self.threads, progress=self.progress,
            )  # fmt: skip
            return Student(smaller.net, base.encoder, True, {"cut": dict(plan.settings)})
        sizes = {name: value for name, value in plan.settings if name not in ("trim", "layers")}
        guide = self.base(plan.get("trim", 0)) if self.kind else teacher
        return choose_student(guide, self.data, net=plan.family, layers=plan.get("layers"), sizes=sizes, seed=self.seed)

    def stand_in(self, plan: Plan, teacher: Predictor) -> tuple[nn.Module, Encoder, str]:
        """A net of the plan's shape, its encoder and its kind; of a cut by weights the sizes are reckoned.

        A cut by macs is made, and the net built anew at its sizes: reckoned ones would be those of a cut by weights,
        which is slower. A cnn is cut in a second or two.
        """
        if plan.family != "prune":
            student = self.choose(plan, teacher)
            return student.net, student.encoder, describe_net(student.net)["kind"]
        base = self.base(plan.get("trim", 0))
        if plan.get("by") == MACS:
            sizes = cast(Any, self.choose(plan, teacher).net).sizes
        else:
            sizes = shapes_after(
                cast(Any, base.net).sizes, keep=plan.get("keep"), layers=plan.get("layers"),
                embedding=plan.get("embedding") or None,
            )  # fmt: skip
        with reproducible(self.seed, 1):
            return build_net(self.kind, vars(sizes)), base.encoder, self.kind


def grow(start: Path) -> Student:
    """The net of an earlier trial, to be trained further."""
    earlier = load_classifier(start)
    return Student(earlier.net, earlier.encoder, False, {"trained": earlier.parent})


def kind_of(artifact: Artifact) -> str:
    """The kind of an artifact's net, "" for an exported file: it holds no net that could be trained or cut."""
    return str((artifact.core.net or {}).get("kind", "")) if artifact.core.format == "safetensors" else ""


def space_for(artifact: Artifact) -> Mapping[str, Choices]:
    """The families and choices that this model can have; raises as `space_of`."""
    vocabulary = getattr(artifact.encoder(), "vocabulary_size", None)
    return space_of(artifact.spec.task, kind_of(artifact), vocabulary=vocabulary)
