"""Many artifacts against one reference: judged on the same rows, timed in the same run, each in a report.

The reference answers each row once. Latency is interleaved over all of them, so a machine that slows
down slows all; memory and load time come from a fresh process each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.artifact import EVIDENCE, Artifact
from toolkit.data import Data
from toolkit.judge.assessment import users_of
from toolkit.judge.quality import Quality, judge_logits
from toolkit.measure.footprint import measure_footprint
from toolkit.measure.latency import measure_interleaved
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent
from toolkit.report import REPORT, Report, update_report
from toolkit.staging import write_atomically


@dataclass(frozen=True)
class Compared:
    """Reports by name: `test` is the final verdict with latency and memory, `validation` is to choose by."""

    test: Mapping[str, Report]
    validation: Mapping[str, Report]


def compare_artifacts(
    artifacts: Mapping[str, Artifact],
    data: Data,
    *,
    reference: str,
    max_drop: float,
    seconds: float = 10.0,
    rounds: int = 5,
    threads: int = 1,
    progress: Progress = silent,
) -> Compared:
    """Judge every artifact against `artifacts[reference]`, measure each for `seconds`, and save its report.

    Raises `GateError` when one answers with something that is not a number.
    """
    predictors = {name: Predictor.load(artifact, threads=threads) for name, artifact in artifacts.items()}
    try:
        quality = {
            split_name: _judge(predictors, data, reference, max_drop, split_name, progress)
            for split_name in ("validation", "test")
        }
        rows = data.split("test").examples
        measured = measure_interleaved(
            list(predictors.values()), rows, seconds=seconds, rounds=rounds, progress=progress
        )  # fmt: skip
        facts = {name: predictor.runner.facts() for name, predictor in predictors.items()}
    finally:
        for predictor in predictors.values():
            predictor.close()
    test, validation = {}, {}
    for position, (name, artifact) in enumerate(artifacts.items()):
        report = Report.of(
            artifact,
            facts=facts[name],
            name=name,
            seed=data.seed,
            quality=quality["test"][name],
            latency=measured.latencies[position],
            footprint=measure_footprint(artifact.folder, rows[0], threads=threads),
        )
        test[name] = update_report(artifact.folder / EVIDENCE / REPORT, report)
        validation[name] = Report.of(
            artifact, facts=facts[name], name=name, seed=data.seed, quality=quality["validation"][name]
        )  # fmt: skip
        progress("memory", position + 1, len(artifacts), name)
    return Compared(test, validation)


def _judge(
    predictors: Mapping[str, Predictor],
    data: Data,
    reference: str,
    max_drop: float,
    split_name: str,
    progress: Progress,
) -> dict[str, Quality]:
    split = data.split(split_name)
    answers = {}
    for done, (name, predictor) in enumerate(predictors.items(), start=1):
        answers[name] = predictor.logits(split.examples) / predictor.temperature
        progress("verify", done, len(predictors), f"{name} on {len(split)} {split_name} rows")
    users = users_of(split) if data.task == "recommend" else None
    return {
        name: judge_logits(
            answers[reference], found, split.labels, spec=predictors[name].spec, max_drop=max_drop,
            split_name=split_name, users=users,
        )
        for name, found in answers.items()
    }  # fmt: skip


def write_compared(path: Path, key: str, compared: Compared) -> None:
    """Keep a comparison under the key of what was compared and how."""
    parts = {"test": compared.test, "validation": compared.validation}
    document = {part: {name: report.to_json() for name, report in found.items()} for part, found in parts.items()}
    write_atomically(path, json.dumps({"key": key, **document}).encode())


def read_compared(path: Path, key: str) -> Compared | None:
    """A comparison kept under this key; None where there is none or it was of something else."""
    try:
        found = json.loads(path.read_bytes())
        if found["key"] != key:
            return None
        parts = {
            part: {name: Report.from_json(value) for name, value in found[part].items()}
            for part in ("test", "validation")
        }
    except (OSError, ValueError, KeyError):
        return None
    return Compared(parts["test"], parts["validation"])
