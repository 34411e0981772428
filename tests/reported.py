"""Artifacts with evidence beside them, as `toolkit verify` and `toolkit bench` leave it, for the tests of reports.

Models, verdicts and changed rows are real; times are drawn from a seed, so that nothing here depends on the machine.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from text_models import LABELS, WORDS, text_artifact

from toolkit.artifact import EVIDENCE, Artifact
from toolkit.cli import run
from toolkit.lineage import Step
from toolkit.measure.bench_file import BENCH, BenchFile, write_bench
from toolkit.measure.rung import compare_rungs, rung_json
from toolkit.measure.turns import Stretch
from toolkit.predictor import Predictor

TRAIN = Step("train", {"net": "ngrams", "epochs": 3, "learning_rate": 0.001})
ROWS, ROUNDS, SAMPLES, OBJECTIVE = 480, 5, 1200, 20.0
COLUMNS = ("--text", "question", "--label", "kind")
HOSTILE = '<script>alert(1)</script> & "q" | `code` @all <b>' + 12 * " very-long"  # as a name
RUNGS = {"runner": 0.7, "predictor": 1.0, "http": 1.9}  # times over the predictor's


def make_rows(folder: Path, judge: Artifact) -> Path:
    """A csv whose labels are the answers of `judge`, a tenth of them another's."""
    rng = np.random.default_rng(0)
    texts = [f"{' '.join(rng.choice(WORDS, rng.integers(2, 12)))} {row} ?" for row in range(ROWS)]
    with Predictor.load(judge) as predictor:
        answers = [answer.label for answer in predictor(texts)]
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "kind", "town", "split"])
        for row, (text, answer) in enumerate(zip(texts, answers, strict=True)):
            kind = LABELS[row % 4] if row % 10 == 0 else answer
            town = ("Rome", "Oslo", "Bonn")[row % 3] if row % 50 else "Kyiv"
            writer.writerow([text, kind, town, "train" if row < 40 else "test"])
    return folder / "rows.csv"


def make_models(folder: Path, noises: Mapping[str, float]) -> dict[str, Artifact]:
    """An artifact for each name; the first is the baseline, the others one step further."""
    made = {}
    for place, (name, noise) in enumerate(noises.items()):
        more = (Step("quantize", {"mode": "static", "noise": noise}),) if place else ()
        steps = (TRAIN, Step("export", {"opset": 17}), *more)
        made[name] = text_artifact(folder / f"model{place}", noise=noise, name=name, steps=steps)
    return made


def verify(before: Artifact, after: Artifact, rows: Path, *more: str) -> int:
    """Judge one against the other by the command; returns its exit code."""
    return run(["verify", str(before.folder), str(after.folder), "--data", str(rows), *COLUMNS, *more])


def bench(artifacts: Sequence[Artifact], p50s: Sequence[float], *, samples: int = SAMPLES, load: bool = True,
          **changed: Any) -> BenchFile:  # fmt: skip
    """A bench file of these artifacts with medians of about `p50s` ms; `changed` replaces some of its parts."""
    entries = []
    for place, (artifact, p50) in enumerate(zip(artifacts, p50s, strict=True)):
        rungs = {
            rung: rung_json(
                _turns(p50 * factor, samples, place), _turns(p50 * factor, samples, 99) if not place else ()
            )
            for rung, factor in RUNGS.items()
        }
        entry: dict[str, Any] = {
            "name": artifact.name, "folder": str(artifact.folder), "digest": artifact.digest, "task": "text",
            "steps": [], "size_bytes": artifact.size_bytes, "rungs": rungs,
            "runtime": {"runtime": "ONNX Runtime 1.32.0", "precision": "fp32", "threads": 1},
            "footprint": {"memory_bytes": 58_000_000, "peak_bytes": 91_000_000, "cold_load_ms": 410.0, "load_ms": 8.1,
                          "first_answer_ms": 1.4},
        }  # fmt: skip
        if load:
            entry |= {
                "open": _open(900 / p50, p50),
                "peak": {"rate": 900 / p50, "objective_ms": OBJECTIVE, "probes": []},
            }
        entries.append(entry)
    floors, ratios = compare_rungs(entries, seed=0)
    file = BenchFile.of(
        entries, settings={"objective_ms": OBJECTIVE, "seconds": 2.0, "rounds": ROUNDS}, noise_floor=floors,
        ratios=ratios, conditions={"load_average": 0.1, "steal_share": 0.0}, void=changed.pop("void", ()),
    )  # fmt: skip
    return BenchFile.from_json({**file.to_json(), **changed})


def keep(file: BenchFile, artifacts: Sequence[Artifact]) -> None:
    """Write each artifact's part beside it, as `toolkit bench` does."""
    for artifact in artifacts:
        write_bench(artifact.folder / EVIDENCE / BENCH, file.part(artifact.name))


def _turns(p50: float, samples: int, seed: int) -> list[Stretch]:
    rng = np.random.default_rng([seed, int(1000 * p50)])
    count = samples // ROUNDS
    times = (
        p50 * np.exp(0.12 * rng.standard_normal((ROUNDS, count))) * np.where(rng.random((ROUNDS, count)) < 0.02, 3, 1)
    )
    return [Stretch((row * 1e6).astype(np.int64), np.ones(count, dtype=bool)) for row in times]


def _open(peak: float, p50: float) -> list[dict[str, Any]]:
    return [
        {
            "share": share, "offered": share * peak, "rate": share * peak, "holds": share < 0.8, "success_rate": 0.9995,
            "goodput": share * peak * (0.999 - 0.05 * (share > 0.8)), "p50_ms": p50 * (1 + share),
            "p90_ms": p50 * (2 + share), "p99_ms": p50 * (3 + 4 * share), "valid": True, "objective_ms": OBJECTIVE,
        }
        for share in (0.25, 0.5, 0.75, 0.9)
    ]  # fmt: skip
