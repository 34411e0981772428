"""From a plan to artifacts: shapes measured untrained, nets trained to imitate the model that came, both doors passed.

Everything costly is done once and kept in the search's folder under a key: the teacher's answers, its trimmed
vocabularies, each trained net, each exported and quantized file. A search that was killed finds them again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from toolkit.artifact import EVIDENCE, Artifact
from toolkit.classifier import Classifier, load_classifier
from toolkit.compress.distill import distill
from toolkit.compress.gpu_precision import Request, write_in_precision
from toolkit.compress.imitate import Objective
from toolkit.compress.int8 import NothingToQuantizeError
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.data import Data
from toolkit.errors import GateError, InputError, MissingExtra, ToolkitError
from toolkit.export.onnx import export
from toolkit.nets import describe_net
from toolkit.optimize.devices import GPU_FORMS
from toolkit.optimize.effort import EFFORTS, PRUNED, recipe_for
from toolkit.optimize.forms import TOLERATED, ways_back
from toolkit.optimize.plan import Plan
from toolkit.optimize.students import Students, grow
from toolkit.optimize.trial import Cost, Made, Point
from toolkit.optimize.weighing import measure, weigh, weigh_reference
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent
from toolkit.spec import Array, Spec
from toolkit.stages import Stages
from toolkit.train.logbook import read_log
from toolkit.train.overfitting import Epoch
from toolkit.train.saving import WORK, save_trained

# kind of net -> how its file is quantized; the rest is static: dynamic scales make rows depend on one another. An mlp
# and a recommender look rows up and multiply little: 8 bits there buy size and no time.
MODES = {"lstm": "dynamic", "mlp": "weights", "recommender": "weights"}
# kinds whose embedding tables are worth a second form in 4 bits; "" is a file that came exported
TABLES = ("transformer", "lstm", "textcnn", "mlp", "")
TABLE4 = "int8-table4"
TRIALS_FOLDER, TEACHER = "trials", "teacher"
SECONDS, P99_SAMPLES = 1.0, 1_100
Watch = Callable[[tuple[Point, ...]], str | None]


class GivenUpError(ToolkitError):
    """A training that was told to stop; its words are the reason. Caught by the search, never seen by a user."""

    def __init__(self, reason: str, curve: tuple[Point, ...]) -> None:
        super().__init__(reason)
        self.curve = curve


@dataclass(frozen=True)
class Product:
    """What making a plan left: how training went, and an artifact for each form of the file."""

    curve: tuple[Point, ...]
    made: tuple[Made, ...]


class Workshop:
    """Makes and measures for one model (`artifact`) and its `data`, in `folder`."""

    def __init__(
        self, artifact: Artifact, data: Data, folder: Path, *, seed: int, threads: int, device: str = "cpu",
        progress: Progress = silent,
    ) -> None:  # fmt: skip
        self.artifact, self.data, self.folder = artifact, data, folder
        self.seed, self.threads, self.device, self.progress = seed, threads, device, progress
        self.stages = Stages(folder, progress)
        self.students = Students(artifact, data, self.stages, seed=seed, threads=threads, progress=progress)
        self._shapes: dict[str, Cost] = {}
        self._received: dict[tuple[Plan, str], tuple[tuple[Point, ...], str | None]] = {}

    @cached_property
    def teacher(self) -> Predictor:
        """The model as it answers fastest in fp32: through ONNX Runtime."""
        if self.students.kind:
            exported = self.stages.keep(
                TEACHER, self.artifact.digest, lambda partial: self._export(self.students.classifier, partial)
            )
        else:
            exported = self.artifact
        return Predictor.load(exported, threads=self.threads)

    def measure_shape(self, plan: Plan) -> Cost:
        """What an untrained net of the plan's shape costs once it is exported and quantized."""
        net, encoder, kind = self.students.stand_in(plan, self.teacher)
        key = str([kind, describe_net(net)["sizes"]])
        if key not in self._shapes:
            spec = Spec(self.data.task, encoder.inputs, self.data.labels, encoder.limits)
            blank = Classifier(name="shape", net=net.eval(), spec=spec, encoder=encoder, split=self.data.record())
            self.progress("shape", 0, 1, plan.words)
            with tempfile.TemporaryDirectory() as scratch:
                exported = self._export(blank, Path(scratch) / "fp32")
                if self.device != "cpu":  # any precision is quicker than this one, and none has to be made for it
                    self._shapes[key] = measure(exported, self._rows, device=self.device)
                    return self._shapes[key]
                try:
                    small = self._quantize(
                        exported, Path(scratch) / "int8", kind, rows=32, table_bits=4 if kind in TABLES else 8
                    )
                except NothingToQuantizeError:
                    small = exported
                self._shapes[key] = measure(small, self._rows)
        return self._shapes[key]

    def train(
        self, plan: Plan, *, effort: str, start: Path | None = None, watch: Watch | None = None
    ) -> tuple[Artifact, tuple[Point, ...]]:
        """The trained net of a plan and how its training went.

        Training starts from the net in `start`, else from what the plan takes over of the teacher. `watch` is shown
        the curve after each epoch; what it says ends the training: `GivenUpError`.
        """
        trained = self.stages.keep(
            self._place(plan, effort, "trained"), self._key(plan, effort, start),
            lambda partial: self._train(plan, partial, effort, start, watch),
        )  # fmt: skip
        epochs = trained.core.steps[-1].settings["recipe"]["epochs"]
        return trained, curve_of(read_log(trained.folder / EVIDENCE), epochs)

    def make(
        self, plan: Plan, *, effort: str = "short", start: Path | None = None, watch: Watch | None = None
    ) -> Product:
        """Train the plan (see `train`) and take it through the door and to 8 bits; judge and time both forms."""
        curve: tuple[Point, ...] = ()
        classifier: Classifier | None = None
        if plan.trains:
            if (plan, effort) in self._received:
                given_up, reason = self._received.pop((plan, effort))
                if reason is not None:
                    raise GivenUpError(reason, given_up)
            trained, curve = self.train(plan, effort=effort, start=start, watch=watch)
            classifier = load_classifier(trained)
        elif self.students.kind:
            classifier = self.students.base(plan.get("trim", 0))
        exported = self.stages.keep(
            self._place(plan, effort, "fp32"),
            [plan.to_json(), classifier.parent if classifier else self.artifact.digest, effort],
            lambda partial: self._export(classifier, partial) if classifier else self._copy(partial),
        )
        made = [self._weigh("fp32", exported)]
        if self.device != "cpu":
            return Product(curve, (*made, *self.write_for_gpu(plan, effort, exported)))
        kind = str((describe_net(classifier.net) if classifier else self.artifact.core.net or {}).get("kind", ""))
        try:
            small = self.stages.keep(
                self._place(plan, effort, "int8"), exported.digest,
                lambda partial: self._quantize(exported, partial, kind),
            )  # fmt: skip
        except NothingToQuantizeError:  # so small a net that its float form is the answer
            return Product(curve, tuple(made))
        made.append(self._weigh("int8", small))
        if kind in TABLES and "embedding table" in small.core.steps[-1].settings["int8"]:
            smaller = self.stages.keep(
                self._place(plan, effort, TABLE4), [exported.digest, TABLE4],
                lambda partial: self._quantize(exported, partial, kind, table_bits=4),
            )  # fmt: skip
            made.append(self._weigh(TABLE4, smaller))
        if MODES.get(kind, "static") == "static":
            made += self._win_back(plan, effort, exported, classifier, made)
        return Product(curve, tuple(made))

    def write_for_gpu(self, plan: Plan, effort: str, exported: Artifact) -> list[Made]:
        """The precisions of a GPU that this file can be written in."""
        found = []
        for precision in GPU_FORMS:
            request = Request(precision, seed=self.seed)
            try:
                artifact = self.stages.keep(
                    self._place(plan, effort, precision), [exported.digest, precision],
                    lambda partial, request=request: write_in_precision(  # type: ignore[misc]
                        exported, partial, request, train=self.data.split("train"), progress=self.progress
                    ),
                )  # fmt: skip
                found.append(self._weigh(precision, artifact))
            except InputError:  # no product with weights enough, or no provider that takes these types
                continue
        return found

    def _win_back(
        self, plan: Plan, effort: str, exported: Artifact, classifier: Classifier | None, made: Sequence[Made]
    ) -> list[Made]:
        """Other 8-bit forms, until one is as good as the float file; see `forms`."""
        wanted, best = made[0].score - TOLERATED - 1e-9, max(one.score for one in made[1:])
        found: list[Made] = []
        # a table in 4 bits mostly costs nothing, then the other forms have it too
        bits = 4 if made[-1].form == TABLE4 and made[-1].score >= made[1].score - TOLERATED else 8
        ways = ways_back(
            exported, classifier, self.data, seed=self.seed, threads=self.threads, table_bits=bits,
            thorough=effort == "long",
        )  # fmt: skip
        for form, make in ways.items():
            if best >= wanted:
                break
            try:
                artifact = self.stages.keep(self._place(plan, effort, form), [exported.digest, form, bits], make)
            except (GateError, MissingExtra, InputError):  # none keeps it, its extra is missing, nothing to smooth
                continue
            found.append(self._weigh(form, artifact))
            best = max(best, found[-1].score)
        return found

    def receive(
        self, plan: Plan, effort: str, start: Path | None, files: Mapping[str, bytes], curve: tuple[Point, ...],
        reason: str | None,
    ) -> None:  # fmt: skip
        """Take what was trained elsewhere, so that `make` finds it; or that it was given up there, and why."""
        self._received[plan, effort] = (curve, reason)
        if reason is not None:
            return

        def unpack(partial: Path) -> None:
            for path, content in files.items():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).write_bytes(content)

        self.stages.keep(self._place(plan, effort, "trained"), self._key(plan, effort, start), unpack)

    def _place(self, plan: Plan, effort: str, form: str) -> str:
        return f"{TRIALS_FOLDER}/{plan.slug}/{effort}/{form}"

    def _key(self, plan: Plan, effort: str, start: Path | None) -> list[object]:
        settings = asdict(EFFORTS[effort])  # another effort is another net, also where a search goes on
        return [plan.to_json(), effort, settings, self.artifact.digest, None if start is None else start.name]

    def _train(self, plan: Plan, partial: Path, effort: str, start: Path | None, watch: Watch | None) -> None:
        student = self.students.choose(plan, self.teacher) if start is None else grow(start)
        kind = self.kind_of(plan)
        recipe = recipe_for(kind, effort, seed=self.seed, threads=self.threads)

        def look(stage: str, done: int, total: int, words: str = "") -> None:
            self.progress(stage, done, total, f"{plan.words}: {words}")
            if stage == "train" and watch is not None:
                curve = curve_of(read_log(partial / WORK), recipe.epochs)
                reason = watch(curve)
                if reason:
                    raise GivenUpError(reason, curve)

        # hidden states are matched where the student reads its teacher's tokens: a net that was cut out of a trimmed
        # model reads that one's, and the trimmed model answers training rows bit for bit as the one that came
        near = kind == PRUNED
        trained = distill(
            self.students.base(plan.get("trim", 0)) if near else self.teacher, self.data, student=student.net,
            encoder=student.encoder, recipe=recipe, objective=Objective(alpha=0.9, hidden=near),
            copies=EFFORTS[effort].copies_for(kind, len(self.data.split("train"))), inherited=student.inherited,
            answers_folder=self.folder / "answers", folder=partial / WORK, progress=look,
        )  # fmt: skip
        save_trained(replace(trained.classifier, name=plan.slug), self.data, partial)

    def _weigh(self, form: str, artifact: Artifact) -> Made:
        return weigh(
            form, artifact, self.data.split("validation"), self.folder, reference=self.reference[1], device=self.device
        )

    def kind_of(self, plan: Plan) -> str:
        """What a plan is trained as: its net, or "pruned" for a transformer cut out of its teacher."""
        if plan.family != "prune":
            return plan.family
        return PRUNED if self.students.kind == "transformer" else self.students.kind

    @cached_property
    def reference(self) -> tuple[Made, Array]:
        """The model as it came, weighed, and its answers to the validation rows."""
        return weigh_reference(self.artifact, self.data.split("validation"), self.folder, device=self.device)

    @property
    def _rows(self) -> Sequence[Any]:
        return self.data.split("validation").examples

    def _copy(self, folder: Path) -> None:
        """The file that came, in the search's folder: nothing is written beside a user's."""
        shutil.copytree(self.artifact.folder, folder, dirs_exist_ok=True)

    def _export(self, classifier: Classifier, folder: Path) -> Artifact:
        return export(classifier, folder, examples=self.data.split("validation").examples)[0]

    def _quantize(
        self, artifact: Artifact, folder: Path, kind: str, *, rows: int = 256, table_bits: int = 8
    ) -> Artifact:
        mode = MODES.get(kind, "static")
        calibration = self.data.split("train") if mode == "static" else None
        scheme = Scheme(mode=mode, rows=rows, seed=self.seed, table_bits=table_bits)
        return quantize(artifact, folder, scheme, calibration=calibration)


def curve_of(log: Sequence[Epoch], epochs: int) -> tuple[Point, ...]:
    """The log of a training as points: share of `epochs`, validation accuracy, seconds."""
    return tuple(Point(row.epoch / epochs, row.validation_accuracy, row.seconds) for row in log)
