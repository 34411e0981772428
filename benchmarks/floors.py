"""Train each net at full size with its default recipe and see whether it reaches its floor on the test split.

    python -m benchmarks.floors            (make floors)

Writes `benchmarks/results/floors.json` and leaves 1 when a floor is missed. Seed 0 throughout. Known bias: the
recommender's test AUC was seen many times while its net and recipe were tuned, so its margin over the
regression proves nothing (the interval of the difference holds 0). Its floor is the AUC of a
one-hot logistic regression on the same fields and rows, fitted in the same run: of three regularization
strengths the one that is best on the test rows themselves, which favours it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.encoders.record import RecordEncoder
from toolkit.judge.ranking import auc, compare_auc
from toolkit.judge.statistics import wilson_interval
from toolkit.machine import describe_machine, threads_allowed
from toolkit.predictor import Predictor
from toolkit.runners.torch import TorchRunner
from toolkit.spec import Array
from toolkit.staging import write_atomically
from toolkit.train import Trained, train

RESULTS = Path(__file__).parent / "results" / "floors.json"
SEED = 0
STRENGTHS = (0.1, 1.0, 10.0)  # C of the logistic regression


@dataclass(frozen=True)
class Case:
    """One training: `floor` is the least accuracy on test, None where it is reported only."""

    data: str
    net: str
    start: str | None = None
    metric: str = "accuracy"
    floor: float | None = None


CASES = (
    Case("trec", "transformer", start="minilm", floor=0.925),
    Case("sms-spam", "mlp", floor=0.975),
    Case("mnist-5k", "cnn", floor=0.975),
    Case("movielens-100k", "recommender", metric="auc"),
    Case("trec", "lstm", start="minilm"),
)


def main() -> int:
    """Run every case; 1 when a floor is missed."""
    rows = [_run(case) for case in CASES]
    results = {"machine": describe_machine().to_json(), "seed": SEED, "rows": rows}
    write_atomically(RESULTS, (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())
    return 1 if any(row["passed"] is False for row in rows) else 0


def _run(case: Case) -> dict[str, Any]:
    data = load_data(case.data, seed=SEED)
    started = time.perf_counter()
    trained = train(data, net=case.net, start=case.start, progress=_listener(case))
    seconds = time.perf_counter() - started
    row: dict[str, Any] = {
        "data": case.data,
        "net": case.net,
        "start": case.start,
        "metric": case.metric,
        **(_judge_order(trained, data) if case.metric == "auc" else _judge_labels(trained, data, case.floor)),
        "epochs": trained.fitted.epochs_run,
        "best_epoch": trained.fitted.best_epoch,
        "seconds": round(seconds, 1),
        "rows": {name: len(split) for name, split in data.splits.items()},
        "recipe": dict(trained.classifier.steps[0].settings["recipe"]),
        "warnings": list(trained.warnings),
    }
    floor = "" if row["floor"] is None else f", floor {row['floor']:.4f}: {'reached' if row['passed'] else 'MISSED'}"
    _say(f"{case.data} {case.net}: {case.metric} {row['value']['value']:.4f}{floor} ({seconds:.0f} s)\n")
    return row


def _judge_labels(trained: Trained, data: Data, floor: float | None) -> dict[str, Any]:
    """Accuracy on the test rows with Wilson's interval."""
    test = data.split("test")
    right = int((_logits(trained, test.examples).argmax(axis=1) == test.labels).sum())
    value = wilson_interval(right, len(test))
    return {"value": value.to_json(), "floor": floor, "passed": None if floor is None else value.value >= floor}


def _judge_order(trained: Trained, data: Data) -> dict[str, Any]:
    """AUC of the second label on the test rows, and the logistic regression's beside it."""
    encoder = trained.classifier.encoder
    assert isinstance(encoder, RecordEncoder)
    test = data.split("test")
    baseline, strength = _fit_baseline(encoder, data)
    scores = _logits(trained, test.examples).astype(np.float64)
    compared = compare_auc(baseline, scores[:, 1] - scores[:, 0], test.labels == 1, seed=SEED)
    return {
        "value": compared.candidate.to_json(),
        "floor": compared.reference.value,
        "passed": compared.candidate.value > compared.reference.value,
        "difference": compared.difference.to_json(),
        "baseline": {"name": "one-hot logistic regression", "C": strength, **compared.reference.to_json()},
    }


def _fit_baseline(encoder: RecordEncoder, data: Data) -> tuple[Array, float]:
    """Scores float64 (test rows,) of the regression that orders the test rows best, and its C."""
    from sklearn.linear_model import LogisticRegression

    train_split, test = data.split("train"), data.split("test")
    seen, unseen = _one_hot(encoder, train_split.examples), _one_hot(encoder, test.examples)
    fitted = {}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000).fit(seen, train_split.labels)
        scores: Array = model.decision_function(unseen)
        fitted[strength] = (auc(scores, test.labels == 1), scores)
        _say(f"logistic regression, C={strength}: AUC {fitted[strength][0]:.4f}\n")
    best = max(STRENGTHS, key=lambda strength: fitted[strength][0])
    return fitted[best][1], best


def _one_hot(encoder: RecordEncoder, examples: Sequence[Any]) -> Any:
    """A sparse matrix (rows, columns): a column for each value of a category but "never seen", others as they are."""
    from scipy import sparse

    arrays = encoder.encode(examples)
    parts = []
    for field in encoder.fields:
        array = arrays[field.name]
        if field.role == "category":
            seen = np.flatnonzero(array)
            ones = np.ones(len(seen))
            parts.append(sparse.csr_matrix((ones, (seen, array[seen] - 1)), (len(array), len(field.values))))
        else:
            parts.append(sparse.csr_matrix(array.reshape(len(array), -1)))
    return sparse.hstack(parts, format="csr")


def _logits(trained: Trained, examples: Sequence[Any]) -> Array:
    """What the trained net answers in fp32, rows of like length together."""
    classifier = trained.classifier
    runner = TorchRunner(classifier, threads=threads_allowed())
    with Predictor(classifier.encoder, runner, classifier.spec, batch_size=64) as predictor:
        return predictor.logits(examples)


def _listener(case: Case) -> Callable[..., None]:
    """Progress in one line on stderr, at most once a second."""
    last = 0.0

    def listen(stage: str, done: int, total: int, words: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 1 or done == total:
            last = now
            _say(f"\r\033[K{case.data} {case.net} {stage} {done}/{total} {words}{chr(10) if done == total else ''}")

    return listen


def _say(words: str) -> None:
    sys.stderr.write(words)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
