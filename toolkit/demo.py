"""The whole line on real data, read from top to bottom: TREC questions to a served, verified answer.

Every stage is the function that the command of its name calls, with the settings in `SETTINGS`; every
number of the table comes from the rows and the machine of this run. Failing rows stay in the table.

Which model is packaged: the smallest that passes on test rows, among those that validation rows do not rule out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import toolkit
from toolkit.artifact import EVIDENCE, Artifact
from toolkit.classifier import load_classifier
from toolkit.comparison import Compared, compare_artifacts, read_compared, write_compared
from toolkit.compress.distill import distill
from toolkit.compress.prune import prune
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.compress.student import choose_student
from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.export.onnx import export
from toolkit.judge.verdict import PASS
from toolkit.lineage import digest_of
from toolkit.machine import describe_machine
from toolkit.progress import Progress, silent
from toolkit.report import REPORT, Report, write_report
from toolkit.served_check import ServedCheck, check_served
from toolkit.stages import Stages
from toolkit.staging import write_atomically
from toolkit.train import train
from toolkit.train.recipes import default_recipe
from toolkit.train.saving import WORK, save_trained

SCHEMA_VERSION = 1
BASELINE, FALLBACK = "baseline", "baseline-onnx"
SETTINGS: Mapping[str, Any] = {
    "data": "trec",
    "max_drop": 0.02,
    "prune": {"keep": 0.5, "recover": 2},
    "distill": {"layers": 3, "copies": 2, "epochs": 2, "learning_rate": 2e-4},
    "quantize": {"mode": "static", "method": "minmax", "rows": 256},
    "bench": {"seconds": 12.0, "rounds": 6, "threads": 1},
    "questions": 50,
}


@dataclass(frozen=True)
class Demo:
    """What a run left: the reports in the order of the stages, which one was packaged and why."""

    reports: tuple[Report, ...]
    packaged: str
    reason: str
    tag: str
    served: ServedCheck
    seconds: Mapping[str, float]


def run_demo(folder: Path, *, seed: int = 0, progress: Progress = silent) -> Demo:
    """Run or finish the demo in `folder`; raises what the steps raise, and `GateError` for a wrong served answer."""
    stages = Stages(folder, progress)
    with stages.timed("total"):
        data = load_data(SETTINGS["data"], seed=seed)
        artifacts = make_artifacts(stages, data, seed)
        compared = compare(stages, artifacts, data)
        packaged, reason = choose(compared)
        with stages.timed("serve"):
            examples = data.split("test").examples[: SETTINGS["questions"]]
            tag, served = check_served(artifacts[packaged], compared.test[packaged], examples, progress=progress)
    demo = Demo(tuple(compared.test.values()), packaged, reason, tag, served, dict(stages.seconds))
    write_demo(demo, folder, seed)
    return demo


def make_artifacts(stages: Stages, data: Data, seed: int) -> dict[str, Artifact]:
    """Train, prune, distill; take each through the door; quantize. By stage name, in order."""
    recipe = replace(default_recipe("transformer"), seed=seed)
    progress, made = stages.progress, {}

    def learn(partial: Path) -> None:
        trained = train(
            data, net="transformer", start="minilm", recipe=recipe, folder=partial / WORK, progress=progress
        )
        save_trained(replace(trained.classifier, name=BASELINE), data, partial)

    made[BASELINE] = stages.keep(BASELINE, [recipe.to_json(), data.record().to_json()], learn)
    teacher = load_classifier(made[BASELINE])

    def cut(partial: Path) -> None:
        trained = prune(teacher, data, **SETTINGS["prune"], recipe=recipe, folder=partial / WORK, progress=progress)
        save_trained(replace(trained.classifier, name="pruned"), data, partial)

    made["pruned"] = stages.keep("pruned", [teacher.parent, SETTINGS["prune"], recipe.to_json()], cut)

    # the pruned net teaches: its own layers fit a student of three better than the wide original's
    pruned = load_classifier(made["pruned"])

    def teach(partial: Path) -> None:
        settings = SETTINGS["distill"]
        student = choose_student(pruned, data, net="transformer", layers=settings["layers"])
        learning = replace(recipe, epochs=settings["epochs"], learning_rate=settings["learning_rate"])
        trained = distill(
            pruned, data, student=student.net, encoder=student.encoder, recipe=learning, copies=settings["copies"],
            folder=partial / WORK, progress=progress,
        )  # fmt: skip
        save_trained(replace(trained.classifier, name="distilled"), data, partial)

    made["distilled"] = stages.keep("distilled", [pruned.parent, SETTINGS["distill"], recipe.to_json()], teach)

    examples = data.split("validation").examples
    for name in (BASELINE, "pruned", "distilled"):
        trained_artifact = made[name]

        def carry(partial: Path, source: Artifact = trained_artifact, name: str = name) -> None:
            classifier = replace(load_classifier(source), name=f"{name}-onnx")
            artifact, parity = export(classifier, partial, examples=examples, progress=progress)
            write_report(partial / EVIDENCE / REPORT, Report.of(artifact, facts={}, parity=parity))

        exported = stages.keep(f"{name}-onnx", trained_artifact.digest, carry)

        def shrink(partial: Path, source: Artifact = exported, name: str = name) -> None:
            scheme = Scheme(**SETTINGS["quantize"], seed=seed)
            quantize(source, partial, scheme, calibration=data.split("train"), name=f"{name}-int8", progress=progress)

        made[f"{name}-onnx"] = exported
        made[f"{name}-int8"] = stages.keep(f"{name}-int8", [exported.digest, SETTINGS["quantize"], seed], shrink)
    return made


def compare(stages: Stages, artifacts: Mapping[str, Artifact], data: Data) -> Compared:
    """Judge and measure every artifact, or take what an earlier run found while nothing has changed."""
    key = digest_of([toolkit.__version__, dict(SETTINGS), [artifact.digest for artifact in artifacts.values()]])
    path = stages.folder / "compared.json"
    if (kept := read_compared(path, key)) is not None:
        stages.progress("compare", 1, 1, "kept from an earlier run")
        return kept
    with stages.timed("compare"):
        compared = compare_artifacts(
            artifacts, data, reference=BASELINE, max_drop=SETTINGS["max_drop"], progress=stages.progress,
            **SETTINGS["bench"],
        )  # fmt: skip
    write_compared(path, key, compared)
    return compared


def choose(compared: Compared) -> tuple[str, str]:
    """The stage to package, and why: the smallest that passes on test rows and whose validation rows do not object.

    Smaller ones whose accuracy on validation rows dropped by more than the margin are not even asked.
    """
    reports, points = compared.test, f"{100 * SETTINGS['max_drop']:g}-point margin"
    smaller = [name for name in reports if name.endswith(("-onnx", "-int8")) and name != FALLBACK]
    for name in sorted(smaller, key=lambda name: reports[name].size_bytes):
        if not _verdict(compared.validation[name])["failed"] and _verdict(reports[name])["answer"] == PASS:
            return name, f"the smallest that keeps the {points} on validation rows and passes it on test rows"
    return FALLBACK, f"no smaller artifact passes the {points}, so fp32 is packaged"


def write_demo(demo: Demo, folder: Path, seed: int) -> None:
    """`report.json`: one document of everything that the table shows."""
    packaged = next(report for report in demo.reports if report.name == demo.packaged)
    document = {
        "schema_version": SCHEMA_VERSION,
        "toolkit_version": toolkit.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "settings": dict(SETTINGS),
        "machine": describe_machine().to_json(),
        "rows": [report.to_json() for report in demo.reports],
        "packaged": {"name": demo.packaged, "digest": packaged.digest, "reason": demo.reason, "tag": demo.tag},
        "served": demo.served.to_json(),
        "seconds": {name: round(seconds, 1) for name, seconds in demo.seconds.items()},
    }
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / "report.json", text.encode() + b"\n")


def _verdict(report: Report) -> Any:
    return (report.quality or {})["verdict"]
