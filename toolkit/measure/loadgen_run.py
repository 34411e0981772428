"""What may be said of one run of LoadGen: whether it counts, its figures, and LoadGen's own words beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.measure.early_stopping import holds, least_bound_ms
from toolkit.measure.load_samples import SLIP_LIMIT_MS, Samples
from toolkit.measure.loadgen_start import Plan
from toolkit.measure.samples import PERCENTILES, SAMPLES_BEYOND
from toolkit.spec import Array

_SAID = {"p50_ms": "50.00", "p90_ms": "90.00", "p99_ms": "99.00", "p99_9_ms": "99.90"}


@dataclass(frozen=True)
class LoadgenRun:
    """One run: every query as `Samples`, and `said`, the entries of LoadGen's own log."""

    plan: Plan
    over: str
    samples: Samples
    said: Mapping[str, Any]
    objective_ms: float | None = None

    @property
    def void(self) -> tuple[str, ...]:
        """Why nothing may be concluded from this run; empty for one that counts."""
        samples, found = self.samples, []
        if not samples.right.any():
            found.append(f"{self.plan.scenario}: none of {len(samples)} queries got a right answer")
        elif self.plan.scenario != "offline" and not samples.status[-max(1, len(samples) // 10) :].any():
            found.append(f"{self.plan.scenario}: the last tenth of {len(samples)} queries got no answer at all")
        if self.plan.scenario == "server" and not samples.valid:
            late = float((samples.slip_ms > SLIP_LIMIT_MS).mean())
            found.append(f"server: LoadGen was over {SLIP_LIMIT_MS:.0f} ms late with {late:.1%} of its queries")
        return tuple(found)

    @property
    def judged_ms(self) -> Array:
        """Latencies of all queries (queries,), infinite for one without a right answer: what a bound is judged on."""
        return np.where(self.samples.right, self.samples.latency_ms, np.inf)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; an offline run has no percentiles, since a row's latency is its place in the batch."""
        plan, samples = self.plan, self.samples
        found: dict[str, Any] = {
            "scenario": plan.scenario,
            "over": self.over,
            "seed": plan.seed,
            "rows": plan.rows,
            "void": list(self.void),
        }
        summary = samples.summary(self.objective_ms)
        if plan.scenario == "offline":
            kept = ("seconds", "asked", "right", "wrong", "by_status", "errors", "success_rate", "rate")
            return found | {name: summary[name] for name in kept} | {"loadgen": self._loadgen()}
        found |= summary
        percentile = "p90" if plan.scenario == "single_stream" else "p99"
        bound = least_bound_ms(self.judged_ms, int(percentile[1:]) / 100)
        if bound is not None and np.isfinite(bound):
            found[f"{percentile}_shown_ms"] = bound
        if plan.scenario == "server":
            found["offered"] = plan.rate
            if self.objective_ms is not None:
                found["holds"] = holds(self.judged_ms, self.objective_ms)
        return found | {"loadgen": self._loadgen()}

    def _loadgen(self) -> dict[str, Any]:
        """Its own words and figures, of all answers, right or not."""
        said = self.said
        found: dict[str, Any] = {"version": str(said["loadgen_version"]).split(" ")[0]}
        if self.plan.scenario == "offline":
            return found | {"rate": said["result_samples_per_second"]}
        if self.plan.scenario == "single_stream" or self.objective_ms is not None:
            found["early_stopping"] = " ".join(str(said["early_stopping_result"]).replace("*", "").split())
        if self.plan.scenario == "single_stream" and "early_stopping_latency_ss" in said:
            found["p90_estimate_ms"] = said["early_stopping_latency_ss"] / 1e6
        if self.plan.scenario == "server" and self.objective_ms is not None:
            found["validity"] = str(said["result_validity"])
        enough = {name: len(self.samples) * beyond >= 1000 * SAMPLES_BEYOND for name, beyond in PERCENTILES.items()}
        return found | {
            name: said[f"result_{key}_percentile_latency_ns"] / 1e6 for name, key in _SAID.items() if enough[name]
        }
