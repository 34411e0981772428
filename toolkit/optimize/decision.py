"""The end of a search: build the answers, measure them in one run beside the model that came, judge them on test rows.

Choices were made on validation rows. The test split is looked at here, once, for the named answers: `best` by the
budget's objective, `fastest` of single models and `smallest`, each within the budget (or missing it least). The rest
of the Pareto set is kept as files and judged on validation rows only.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.artifact import EVIDENCE, Artifact, load_artifact
from toolkit.compress.cascade import cascade
from toolkit.compress.temperature import calibration_grew, refit_temperature
from toolkit.judge.assessment import users_of
from toolkit.judge.batching import judge_in_batches
from toolkit.judge.quality import Quality, judge_logits
from toolkit.measure.latency import measure_interleaved
from toolkit.measure.timings import Comparison
from toolkit.optimize.budget import Budget
from toolkit.optimize.candidates import Candidate, choose, dominator, find_pareto
from toolkit.optimize.devices import open_on
from toolkit.optimize.search import Search
from toolkit.optimize.trial import Cost
from toolkit.optimize.weighing import answer
from toolkit.optimize.workshop import Workshop
from toolkit.report import REPORT, Report, write_report

BEST, FASTEST, SMALLEST = "best", "fastest", "smallest"
KEPT = 8  # of the Pareto set, as files
SECONDS, ROUNDS = 8.0, 6
SECONDS_EACH = 1.2  # for a single candidate, when all are timed again


@dataclass(frozen=True)
class Answer:
    """One named answer: what it is, the artifact, the report with the verdict on test rows, and how much faster."""

    role: str
    candidate: Candidate
    artifact: Artifact
    report: Report
    quality: Quality
    faster: Mapping[str, float]
    misses: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What the search leaves: named answers, the Pareto set, and every candidate with the reason it was kept or not."""

    reference: Report
    answers: tuple[Answer, ...]
    pareto: tuple[Candidate, ...]
    reasons: Mapping[str, str]
    candidates: tuple[Candidate, ...]
    comparison: Comparison


def decide(search: Search, budget: Budget) -> Decision:
    """Choose, build, measure and judge; writes `best/`, `fastest/`, `smallest/` and `pareto/` into the folder."""
    workshop, folder = search.workshop, search.folder
    singles = time_again(search.singles(), search)
    candidates = [*singles, *search.cascades(singles)]
    chosen = name_answers(candidates, budget)
    pareto = find_pareto(candidates)
    kept = [candidate for candidate in pareto if candidate not in chosen.values()][: KEPT - len(set(chosen.values()))]
    built: dict[str, Artifact] = {}
    for role, candidate in chosen.items():
        if candidate.name not in built:
            built[candidate.name] = build(candidate, search, folder / role)
        else:
            shutil.rmtree(folder / role, ignore_errors=True)
            shutil.copytree(built[candidate.name].folder, folder / role)
    shutil.rmtree(folder / "pareto", ignore_errors=True)  # of an earlier end of this search
    for candidate in kept:
        build(candidate, search, folder / "pareto" / candidate.name)
    reports, answers, comparison = _judge(workshop, {role: load_artifact(folder / role) for role in chosen}, budget)
    named = tuple(
        Answer(
            role, candidate, load_artifact(folder / role), reports[role], answers[role],
            comparison.ratio(0, place).to_json(),
            budget.misses(
                drop=candidate.drop, p99_ms=comparison.latencies[place].p99_ms, size_bytes=reports[role].size_bytes,
                error=candidate.error,
            ),
        )
        for place, (role, candidate) in enumerate(chosen.items(), start=1)
    )  # fmt: skip
    names = {candidate.name: role for role, candidate in reversed(list(chosen.items()))}
    reasons = {candidate.name: _reason(candidate, names, pareto, candidates, budget) for candidate in candidates}
    return Decision(reports["reference"], named, tuple(pareto), reasons, tuple(candidates), comparison)


def time_again(singles: Sequence[Candidate], search: Search) -> list[Candidate]:
    """All singles with costs of one interleaved run: those of the trials lie an hour apart, and a machine drifts."""
    artifacts = [load_artifact(search.folder / single.made.folder) for single in singles if single.made is not None]
    predictors = [open_on(artifact, search.workshop.device) for artifact in artifacts]
    try:
        rows = search.workshop.data.split("validation").examples
        timed = measure_interleaved(
            predictors, rows, seconds=SECONDS_EACH, rounds=ROUNDS // 2, warmup=0.1, progress=search.workshop.progress
        )
    finally:
        for predictor in predictors:
            predictor.close()
    return [
        replace(
            single,
            cost=Cost(
                latency.p50_ms or latency.mean_ms,
                latency.mean_ms,
                latency.p99_ms or single.cost.p99_ms,
                single.cost.size_bytes,
            ),
        )
        for single, latency in zip(singles, timed.latencies, strict=True)
    ]


def name_answers(candidates: Sequence[Candidate], budget: Budget) -> dict[str, Candidate]:
    """The best by the budget's objective; the fastest single model; the smallest of all."""
    singles = [candidate for candidate in candidates if not candidate.members]
    return {
        BEST: choose(candidates, budget),
        FASTEST: choose(singles, replace(budget, objective="speed")),
        SMALLEST: choose(candidates, replace(budget, objective="size")),
    }


def build(candidate: Candidate, search: Search, folder: Path) -> Artifact:
    """The candidate as an artifact in `folder`: a copy, or the cascade of its members."""
    shutil.rmtree(folder, ignore_errors=True)
    validation = search.workshop.data.split("validation")
    if candidate.made is not None:
        made = load_artifact(search.folder / candidate.made.folder)
        # scores that mean less than they did are put right; labels stay what they were
        if calibration_grew(search.reference_answers, search.answers(candidate), validation.labels):
            folder.mkdir(parents=True)
            return refit_temperature(made, folder, validation=validation)
        shutil.copytree(made.folder, folder)
        return load_artifact(folder)
    by_name = {single.name: single for single in search.singles()}
    members = [by_name[name].made for name in candidate.members]
    small, large = (load_artifact(search.folder / made.folder) for made in members if made is not None)
    assert candidate.router is not None
    folder.mkdir(parents=True)
    return cascade(small, large, folder, validation=validation, share=candidate.router.share, name=folder.name)


def _judge(
    workshop: Workshop, artifacts: Mapping[str, Artifact], budget: Budget
) -> tuple[dict[str, Report], dict[str, Quality], Comparison]:
    """Every answer on test rows against the model that came, and all of them timed in the same rounds."""
    test = workshop.data.split("test")
    everything = {"reference": workshop.artifact, **artifacts}
    predictors = {name: open_on(artifact, workshop.device) for name, artifact in everything.items()}
    try:
        logits = {name: answer(predictor, test) for name, predictor in predictors.items()}
        columns = range(len(workshop.artifact.spec.labels))
        together = {
            name: judge_in_batches(
                predictor, test.examples, alone=logits[name], labels=test.labels, columns=columns
            )
            for name, predictor in predictors.items()
        }  # fmt: skip
        comparison = measure_interleaved(
            list(predictors.values()), test.examples, seconds=SECONDS, rounds=ROUNDS, progress=workshop.progress
        )
        facts = {name: predictor.runner.facts() for name, predictor in predictors.items()}
    finally:
        for predictor in predictors.values():
            predictor.close()
    users = users_of(test) if workshop.data.task == "recommend" else None
    qualities = {
        name: replace(
            judge_logits(
                logits["reference"], found, test.labels, spec=workshop.artifact.spec, max_drop=budget.max_drop,
                split_name="test", users=users,
            ),
            in_batches=together[name],
        )
        for name, found in logits.items()
    }  # fmt: skip
    reports = {
        name: Report.of(
            artifact, facts=facts[name], name=name, seed=workshop.seed, quality=qualities[name],
            latency=comparison.latencies[place],
        )
        for place, (name, artifact) in enumerate(everything.items())
    }  # fmt: skip
    for name in artifacts:
        write_report(everything[name].folder / EVIDENCE / REPORT, reports[name])
    return reports, qualities, comparison


def _reason(
    candidate: Candidate, names: Mapping[str, str], pareto: Sequence[Candidate], candidates: Sequence[Candidate],
    budget: Budget,
) -> str:  # fmt: skip
    """Why a candidate was kept or dropped, in a few words."""
    missed = candidate.misses(budget)
    if candidate.name in names:
        words = f"{names[candidate.name]} of those within the budget"
        return words if not missed else f"{names[candidate.name]}, though it misses the budget: {'; '.join(missed)}"
    beyond = f"misses the budget: {'; '.join(missed)}" if missed else "holds the budget, and is not the best at it"
    if candidate in pareto:
        return f"on the Pareto set; {beyond}"
    better = dominator(candidate, candidates)
    return f"dropped: {better.name if better else 'another'} is no worse in anything and better in something; {beyond}"
