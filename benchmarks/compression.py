"""The bars of compression: train a model, let `optimize` loose on it, hold its answers against what they must reach.

    python -m benchmarks.compression [CASE...]        (make compression; two hours and a quarter for all)

Each case is trained by its default recipe, searched within its budget and judged once on test rows; latency of the
answers and of eager PyTorch is measured interleaved in one run. Writes `benchmarks/results/compression-CASE.json`.
Leaves 0 also when a bar is missed: the file says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import toolkit
from toolkit.artifact import Artifact, load_artifact
from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.judge.quality import judge_logits
from toolkit.machine import describe_machine, threads_allowed
from toolkit.optimize import describe, optimize
from toolkit.optimize.budget import Budget
from toolkit.optimize.decision import Decision
from toolkit.optimize.weighing import answer
from toolkit.predictor import Predictor
from toolkit.stages import Stages
from toolkit.staging import write_atomically
from toolkit.terminal import say, showing_progress
from toolkit.train import train
from toolkit.train.recipes import default_recipe
from toolkit.train.saving import WORK, save_trained

RESULTS = Path(__file__).parent / "results"
FOLDER = Path("runs/compression")
SST2 = Path(__file__).parents[2] / "shared" / "data" / "sst2"


@dataclass(frozen=True)
class Bar:
    """`role` is the answer that it speaks of, `quantity` what must be at least `least`, at a drop of at most `drop`."""

    words: str
    role: str
    quantity: str
    least: float
    drop: float


@dataclass(frozen=True)
class Case:
    """A model to train, the budget to search under, the bars, and how small an answer is shown at any cost."""

    data: str
    task: str
    net: str
    budget: Budget
    bars: tuple[Bar, ...]
    start: str | None = None
    smaller: float | None = None


TEXT_BARS = (
    Bar("p50, best (a cascade allowed)", "best", "p50_faster", 20.0, 0.01),
    Bar("mean, best (a cascade allowed)", "best", "mean_faster", 12.0, 0.01),
    Bar("p50, one model", "fastest", "p50_faster", 12.0, 0.01),
    Bar("size", "smallest", "smaller", 12.0, 0.01),
)
CASES: Mapping[str, Case] = {
    "trec": Case("trec", "text", "transformer", Budget(max_drop=0.01, hours=1.0), TEXT_BARS, "minilm", 20.0),
    "sst2": Case(str(SST2), "text", "transformer", Budget(max_drop=0.01, hours=1.0), TEXT_BARS, "minilm", 20.0),
    "mnist-5k": Case(
        "mnist-5k", "image", "cnn", Budget(max_drop=0.004, hours=0.15),
        (Bar("p50", "best", "p50_faster", 10.0, 0.005),),
    ),
    "movielens-100k": Case(
        "movielens-100k", "recommend", "recommender", Budget(max_drop=0.002, hours=0.05, objective="size"),
        (Bar("size", "best", "smaller", 4.0, 0.002), Bar("not slower", "best", "p50_faster", 1.0, 0.002)),
    ),
}  # fmt: skip


def run_case(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Train, search, judge; what an earlier run finished is taken from `folder`."""
    case = CASES[name]
    data = load_data(case.data, task=case.task, seed=0)
    with showing_progress() as progress:
        stages = Stages(folder / name, progress)
        recipe = replace(default_recipe(case.net), seed=0)

        def learn(partial: Path) -> None:
            trained = train(
                data, net=case.net, start=case.start, recipe=recipe, folder=partial / WORK, progress=progress
            )
            save_trained(replace(trained.classifier, name=name), data, partial)

        baseline: Artifact = stages.keep("baseline", [recipe.to_json(), data.record().to_json()], learn)
        found = optimize(
            baseline, data, folder / name / "search", case.budget, threads=threads_allowed(), progress=progress,
            announce=say,
        )  # fmt: skip
    document = describe(found, case.budget, {"data": name, "net": case.net, "seed": 0, "threads": threads_allowed()})
    answers = {role: summarize(answer, document["reference"]) for role, answer in document["answers"].items()}
    return {
        "schema_version": 1,
        "case": name,
        "toolkit_version": toolkit.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine().to_json(),
        "budget": case.budget.to_json(),
        "metric": document["metric"],
        "rows": document["rows"],
        "reference": numbers_of(document["reference"]) | {"digest": document["reference"]["digest"]},
        "answers": answers,
        "shown": case.smaller and show_small(found.decision, baseline, data, folder / name / "search", case.smaller),
        "bars": [hold(bar, answers[bar.role]) for bar in case.bars],
        "candidates": [
            {key: found[key] for key in ("name", "plan", "validation", "cost", "reason")}
            for found in document["candidates"] if found["name"] in document["pareto"]
        ],
        "trials": [trial.to_json() for trial in found.trials],
        "comparison": document["comparison"],
    }  # fmt: skip


def show_small(decision: Decision, baseline: Artifact, data: Data, folder: Path, times: float) -> dict[str, Any] | None:
    """What `times` smaller costs: of the single models so small the best on validation rows, judged on test rows."""
    largest = decision.reference.size_bytes / times
    small = [one for one in decision.candidates if one.made is not None and one.cost.size_bytes <= largest]
    if not small:
        return None
    best = max(small, key=lambda one: one.score)
    assert best.made is not None
    artifact, test = load_artifact(folder / best.made.folder), data.split("test")
    with Predictor.load(baseline, threads=1) as before, Predictor.load(artifact, threads=1) as after:
        quality = judge_logits(
            answer(before, test), answer(after, test), test.labels, spec=baseline.spec, max_drop=0.01, split_name="test"
        ).to_json()
    return {
        "at_least": times, "name": best.name, "plan": best.words, "digest": artifact.digest,
        "validation": {"score": best.score, "drop": best.drop}, "test": {"accuracy": quality["test"]["accuracy"]},
        "difference": quality["difference"]["accuracy"], "verdict": quality["verdict"]["words"],
        **best.cost.to_json(), "smaller": decision.reference.size_bytes / artifact.size_bytes,
    }  # fmt: skip


def numbers_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a table shows of a report."""
    test, latency = report["test"], report["latency"]
    return {
        "test": {key: test[key] for key in ("accuracy", "auc", "ndcg_at_10") if key in test},
        "p50_ms": latency["p50_ms"], "mean_ms": latency["mean_ms"], "p99_ms": latency["p99_ms"],
        "size_bytes": report["size_bytes"],
    }  # fmt: skip


def summarize(answer: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """An answer in numbers, with what it is times faster and smaller."""
    report = answer["report"]
    numbers = numbers_of(report)
    metric = "auc" if "auc" in report["difference"] else "accuracy"
    return numbers | {
        "name": answer["name"], "plan": answer["plan"], "digest": answer["digest"], "router": answer["router"],
        "validation": answer["validation"], "difference": report["difference"][metric],
        "mcnemar_p": report["difference"]["mcnemar_p"], "flips": report["flips"]["share"],
        "verdict": report["verdict"]["words"], "misses": answer["misses"],
        "p50_faster": answer["faster_than_reference"]["median"],
        "p50_faster_rounds": [answer["faster_than_reference"][end] for end in ("low", "high")],
        "mean_faster": reference["latency"]["mean_ms"] / numbers["mean_ms"],
        "smaller": answer["smaller_than_reference"],
    }  # fmt: skip


def hold(bar: Bar, answer: Mapping[str, Any]) -> dict[str, Any]:
    """A bar beside what was reached."""
    reached, drop = answer[bar.quantity], -answer["difference"]["value"]
    return {
        "words": bar.words, "answer": bar.role, "quantity": bar.quantity, "least": bar.least, "reached": reached,
        "largest_drop": bar.drop, "drop": drop, "held": bool(reached >= bar.least and drop <= bar.drop + 1e-9),
    }  # fmt: skip


def main(names: list[str]) -> int:
    """Run the cases named, or all."""
    for name in names or list(CASES):
        if name == "sst2" and not SST2.is_dir():
            say(f"sst2 is left out: {SST2} is not there")
            continue
        document = run_case(name)
        text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        write_atomically(RESULTS / f"compression-{name}.json", text.encode() + b"\n")
        for bar in document["bars"]:
            say(f"{name}: {bar['words']} {bar['reached']:.1f}x of {bar['least']:g}x, drop {100 * bar['drop']:.2f} of "
                f"{100 * bar['largest_drop']:g} points: {'held' if bar['held'] else 'MISSED'}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
