"""A budget in, the best model out: a search over the steps of this toolkit, which owns no step of its own.

::

    budget     what may be lost and must be kept
    plan       one way to a smaller model, and the space of all ways
    policy     which plan next, which to give up                     (Optuna; knows neither nets nor files)
    workshop   a plan to artifacts: shape measured, net trained, exported, quantized
    candidates what was made, and every cascade of two of them
    search     the hour: compare many shortly, finish the few
    decision   build, measure in one run, judge on test rows, say why each other was dropped

Everything is written as it happens, so a search that was killed goes on and one that is interrupted still answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.artifact import Artifact
from toolkit.data import Data
from toolkit.errors import DataError, InputError
from toolkit.optimize.budget import Budget
from toolkit.optimize.decision import Decision, decide
from toolkit.optimize.devices import check_device
from toolkit.optimize.plan import FIRST, Choices
from toolkit.optimize.policy import Policy
from toolkit.optimize.search import Announce, Search
from toolkit.optimize.students import space_for
from toolkit.optimize.trial import Trial
from toolkit.optimize.workshop import Workshop
from toolkit.progress import Progress, silent


@dataclass(frozen=True)
class Found:
    """A finished search: every trial and the decision; `interrupted` when somebody ended it before its time."""

    trials: tuple[Trial, ...]
    decision: Decision
    interrupted: bool
    metric: str
    rows: Mapping[str, int]


def optimize(
    artifact: Artifact,
    data: Data,
    folder: Path,
    budget: Budget,
    *,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    cluster: str | None = None,
    space: Mapping[str, Choices] | None = None,
    progress: Progress = silent,
    announce: Announce = lambda words: None,
) -> Found:
    """Search for the best form of `artifact` (a trained classifier or an exported one) within `budget`, in `folder`.

    `folder` is staged or kept from an earlier run of the same search, which goes on. `threads` train; latency is
    always of one, on `device`, cpu or cuda. `cluster` is the address of a Ray cluster that trains the trials; `space`
    replaces the families and choices of `plan.SPACES`. Raises `InputError` for a model and data of different labels,
    `DataError` without training or validation rows, or with so few that a single one
    is more than the drop allowed.
    """
    check_fit(artifact, data, budget)
    check_device(device)
    workshop = Workshop(artifact, data, folder, seed=seed, threads=threads, device=device, progress=progress)
    reference, answers = workshop.reference
    policy = Policy(
        space or space_for(artifact), budget, reference=reference.score,
        rows=len(data.split("validation")), seed=seed, first=FIRST,
    )  # fmt: skip
    announce(
        f"the model that came: {100 * reference.score:.2f} % of {len(data.split('validation'))} validation rows, "
        f"{reference.cost.mean_ms:.2f} ms, {reference.cost.size_bytes / 1e6:.1f} MB; {len(policy.plans())} plans"
    )
    search = Search(workshop, policy, budget, reference, answers, folder, announce)
    if cluster is None:
        search.run()
    else:
        from toolkit.optimize.cluster import Cluster

        with Cluster(cluster, search) as search.cluster:
            search.run()
    if not search.singles():
        raise InputError("nothing could be made of this model before the search ended; give it more --hours")
    decision = decide(search, budget)
    metric = "AUC" if data.task == "recommend" else "accuracy"
    rows = {name: len(split) for name, split in data.splits.items()}
    return Found(tuple(search.trials), decision, search.interrupted, metric, rows)


def check_fit(artifact: Artifact, data: Data, budget: Budget) -> None:
    """Raise what `optimize` raises for a model, data and budget that do not go together."""
    if artifact.spec.task != data.task or artifact.spec.labels != data.labels:
        raise InputError(
            f"the model answers {', '.join(artifact.spec.labels[:6])} ({artifact.spec.task}) and {data.name} has "
            f"{', '.join(data.labels[:6])} ({data.task}); give the data that it was trained on"
        )
    for name in ("train", "validation", "test"):
        if name not in data.splits or not len(data.splits[name]):
            raise DataError(
                f"{data.name} has no {name} rows for this model; a search trains on train, chooses on validation and "
                "judges on test rows: give the data that it was trained on"
            )
    rows = len(data.split("validation"))
    if data.task != "recommend" and 1 / rows > budget.max_drop > 0:
        raise DataError(
            f"{rows} validation rows cannot tell a drop of {budget.max_drop:g}: one row is {1 / rows:.3g}; give more "
            f"rows or --max-drop {1 / rows:.2g} and more"
        )


def describe(found: Found, budget: Budget, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`report.json` of a search: budget, reference, answers, Pareto set, and each candidate with its reason."""
    decision = found.decision
    return {
        "schema_version": 1,
        "budget": budget.to_json(),
        "settings": dict(settings),
        "metric": found.metric,
        "rows": dict(found.rows),
        "interrupted": found.interrupted,
        "reference": decision.reference.to_json(),
        "answers": {
            answer.role: {
                **answer.candidate.to_json(),
                "digest": answer.artifact.digest,
                "faster_than_reference": dict(answer.faster),
                "smaller_than_reference": decision.reference.size_bytes / answer.artifact.size_bytes,
                "misses": list(answer.misses),
                "report": answer.report.to_json(),
            }
            for answer in decision.answers
        },
        "pareto": [candidate.name for candidate in decision.pareto],
        "candidates": [
            {**candidate.to_json(), "reason": decision.reasons[candidate.name]} for candidate in decision.candidates
        ],
        "comparison": decision.comparison.to_json(),
        "trials": len(found.trials),
    }
