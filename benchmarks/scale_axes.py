"""The axes of the scale benchmark: which work grows, what is fed at each size, and the limit beside each point."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ledger import Ledger
from benchmarks.peers.servers import PeerUnavailableError
from benchmarks.scale_calibration import gather_calibration, time_calibration, work_of_rows
from benchmarks.scale_limits import limit_of, measure_limits
from benchmarks.scale_models import Model, Operations
from benchmarks.scale_runs import gather, open_subjects, time_round
from benchmarks.scale_served import VoidRunError, gather_connections, measure_connections
from toolkit.data import Data
from toolkit.serving.serve import ServerStartError
from toolkit.serving.standing import cores, on_core
from toolkit.spec import Array

TEXTS = 256


@dataclass(frozen=True)
class Plan:
    """Sizes of each axis, rounds, seconds of one size in one round; `square`, `block` and `beat` are of the limits."""

    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    connections: tuple[int, ...]
    rows: tuple[int, ...]
    rounds: int
    calibrations: int
    slot: float
    connected: float
    square: int
    block: int | None
    beat: float


@dataclass(frozen=True)
class Scale:
    """One run: what is measured (the fp32 model last), on which rows, and where it is kept."""

    plan: Plan
    stand_ins: Sequence[Model]
    trained: Sequence[Model]
    data: Data
    threads: tuple[int, ...]
    seed: int
    ledger: Ledger

    @property
    def models(self) -> Sequence[Model]:
        """Those that stand for the toolkit's own: trained, else the stand-ins."""
        return self.trained or self.stand_ins

    def limits(self) -> dict[str, Any]:
        """The machine's, measured once."""
        sizes = [model.weight_bytes for model in (*self.stand_ins, *self.trained)]
        return dict(self.ledger.take("limits", partial(
            measure_limits, sizes, self.threads, square=self.plan.square, block=self.plan.block,
            seconds=self.plan.beat, seed=self.seed,
        )))  # fmt: skip

    def length(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """One row of a growing number of tokens: the stand-in on each number of threads, trained models on one."""
        subjects = []
        for model in self.stand_ins:
            subjects += open_subjects(model, self.threads, self._random_rows(model))
        for model in self.trained:
            subjects += open_subjects(model, self.threads[:1], self._random_rows(model))
        rounds = [
            self.ledger.take(f"length {number}", partial(time_round, subjects, seconds=self.plan.slot, number=number))
            for number in range(self.plan.rounds)
        ]
        return {"unit": "tokens", **gather(subjects, rounds, limits, batch_grows=False)}

    def batch(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """A growing number of real rows of the median length together, without padding."""
        length, rows = self.median_rows(self.models[0])
        feeds = {size: {name: np.resize(array, (size, length)) for name, array in rows.items()}
                 for size in self.plan.batches}  # fmt: skip
        subjects = [subject for model in self.models for subject in open_subjects(model, self.threads, feeds)]
        rounds = [
            self.ledger.take(f"batch {number}", partial(time_round, subjects, seconds=self.plan.slot, number=number))
            for number in range(self.plan.rounds)
        ]
        return {"unit": "rows", "tokens": length, **gather(subjects, rounds, limits, batch_grows=True, length=length)}

    def connections(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """A growing number of clients at once, of the int8 model behind HTTP."""
        model, texts = self.models[0], [str(text) for text in self.data.split("test").examples[:TEXTS]]
        encoder = model.artifact.encoder()
        lengths = [encoder.encode([text])["input_ids"].shape[1] for text in texts]
        work = sum((model.operations(length) for length in lengths), Operations(0.0, 0.0)).times(1 / len(lengths))
        server, client = cores(1)
        with tempfile.TemporaryDirectory(prefix="scale-") as folder, on_core(client):
            found = self.ledger.take("connections", partial(
                measure_connections, model, texts, self.plan.connections, rounds=self.plan.rounds,
                seconds=self.plan.connected, folder=Path(folder), core=server, seed=self.seed,
            ))  # fmt: skip
        limit = limit_of(limits, 1, weight_bytes=model.weight_bytes, work=work)
        series = gather_connections(self.plan.connections, found, limit["operations_ms"])
        facts = {"model": model.name, "trained": model.trained, "precision": model.precision, "threads": 1}
        return {"unit": "clients", "series": [facts | one for one in series]}

    def calibration(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Static quantization of the fp32 model with a growing number of training rows."""
        model, train = self.models[-1], self.data.split("train")
        rows = sorted({min(count, len(train)) for count in self.plan.rows})
        rounds = [
            self.ledger.take(f"calibration {number}", partial(time_calibration, model, train, rows, seed=self.seed))
            for number in range(self.plan.calibrations)
        ]
        works = [work_of_rows(model, train, count, seed=self.seed) for count in rows]
        threads = self.threads[-1]
        limit = [limit_of(limits, threads, weight_bytes=model.weight_bytes, work=work) for work in works]
        facts = {"model": model.name, "trained": model.trained, "precision": "fp32 to int8", "threads": threads}
        found = gather_calibration(rows, rounds, [one["operations_ms"] for one in limit])
        return {"unit": "rows", "series": [facts | found]}

    def median_rows(self, model: Model) -> tuple[int, dict[str, Array]]:
        """The median length of test rows in tokens, and the rows that have it, encoded."""
        encoder = model.artifact.encoder()
        encoded = [encoder.encode([text]) for text in self.data.split("test").examples]
        length = int(statistics.median_low([arrays["input_ids"].shape[1] for arrays in encoded]))
        alike = [arrays for arrays in encoded if arrays["input_ids"].shape[1] == length]
        return length, {name: np.concatenate([arrays[name] for arrays in alike]) for name in alike[0]}

    def _random_rows(self, model: Model) -> dict[int, dict[str, Array]]:
        fitting = {size for size in self.plan.lengths if size <= model.positions}
        if model.positions < max(self.plan.lengths):
            fitting.add(model.positions)
        return {size: model.rows(size, 1, seed=self.seed) for size in sorted(fitting)}


def measure(scale: Scale) -> tuple[dict[str, Any], list[str]]:
    """{"limits", "axes"} and why the run is void, if it is; an axis that cannot be measured is absent."""
    limits, axes, void = scale.limits(), {}, []
    for name in ("length", "batch", "connections", "calibration"):
        try:
            axes[name] = getattr(scale, name)(limits)
        except (VoidRunError, PeerUnavailableError, ServerStartError) as error:
            void.append(f"{name}: {error}")
    for name, axis in axes.items():
        points = [point for series in axis["series"] for point in series["points"]]
        wrong = sum(point.get("wrong", point["asked"] - point["right"]) for point in points)
        if wrong:
            void.append(f"{name}: {wrong} wrong answers")
    return {"limits": limits, "axes": axes}, void
