"""The search against random choice, on a recorded table of trials: equal time, many seeds.

    python -m benchmarks.replay            (make replay)

Both see the same table (`search-table.json`, where every plan was trained to its end). Time is what the table says
each training took, epoch by epoch. The search is the code of `toolkit.optimize.policy`: it knows the cost of a shape
before it trains, passes over what cannot be better, and gives up what falls behind. Random choice trains plans in a
random order, each to its end. Measured is the mean latency of the fastest answer to be had of what was found, single or
cascade, that loses no more than the drop allowed on validation rows, at equal times; the model quantized without
training is everybody's first.

Writes `benchmarks/results/replay.json`. The plans that a search tries first were chosen by authors who had seen this
very table, so the search is replayed without them too ("bare"): that is the figure to believe.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_table import ANSWERS, answers_name
from benchmarks.search_table import RESULTS as TABLE
from toolkit.compress.thresholds import choose_threshold
from toolkit.machine import describe_machine
from toolkit.optimize.budget import Budget
from toolkit.optimize.candidates import QUICK, expect_cost
from toolkit.optimize.plan import FIRST, Choices, Plan
from toolkit.optimize.policy import Policy, give_up
from toolkit.optimize.trial import MADE, STOPPED, Made, Trial
from toolkit.spec import Array
from toolkit.staging import write_atomically

RESULTS = Path(__file__).parent / "results" / "replay.json"
SEEDS = 20
SHARES = (0.1, 0.2, 0.3, 0.5)  # of the time that the whole table takes
SHAPE_SECONDS = 3.0  # what measuring an untrained shape takes
DROPS = (0.01,)


@dataclass(frozen=True)
class Found:
    """A model found, and the seconds of search until then."""

    seconds: float
    made: Made


@dataclass(frozen=True)
class Recorded:
    """The table: trials by plan, and what all begin with."""

    space: dict[str, Choices]
    reference: float
    rows: int
    untrained: tuple[Made, ...]
    trials: dict[Plan, Trial]
    answers: Mapping[str, Array]

    @property
    def seconds(self) -> float:
        """What training everything took."""
        return sum(trial.seconds for trial in self.trials.values())


def read_table(path: Path = TABLE) -> Recorded:
    """The table as `benchmarks.search_table` wrote it."""
    value = json.loads(path.read_bytes())
    trials = [Trial.from_json(row) for row in value["trials"]]
    return Recorded(
        {family: {name: tuple(found) for name, found in choices.items()} for family, choices in value["space"].items()},
        value["reference"]["score"],
        value["rows"],
        tuple(Made.from_json(row) for row in value["untrained"]),
        {trial.plan: trial for trial in trials},
        {
            name: answers.astype(np.float32) if name != "labels" else answers
            for name, answers in np.load(ANSWERS).items()
        },
    )


def search(table: Recorded, budget: Budget, seed: int, *, bare: bool = False) -> list[Found]:
    """What the policy finds and when, until nothing is left; `bare` is without the plans that the authors put first."""
    first = [] if bare else [plan for plan in map(without_trim, FIRST) if plan in table.trials]
    policy = Policy(table.space, budget, reference=table.reference, rows=table.rows, seed=seed, first=first)
    policy.trials.append(Trial(0, Plan.of("quantize"), MADE, "made", made=table.untrained))
    clock, found = 0.0, [Found(0.0, made) for made in table.untrained]
    known: set[Plan] = set()
    while (proposed := policy.propose(lambda plan: table.trials[plan].shape)) is not None:
        passed = {trial.plan for trial in policy.trials} | {proposed[0]}
        clock += SHAPE_SECONDS * len(passed - known - {Plan.of("quantize")})
        known |= passed
        recorded = table.trials[proposed[0]]
        for place, point in enumerate(recorded.curve, start=1):
            if give_up(recorded.shape, recorded.curve[:place], policy.trials, table.rows) is not None:
                clock += point.seconds
                policy.observe(
                    Trial(len(policy.trials), recorded.plan, STOPPED, "given up", shape=recorded.shape,
                          curve=recorded.curve[:place])
                )  # fmt: skip
                break
        else:
            clock += recorded.seconds
            found += [Found(clock, made) for made in recorded.made]
            policy.observe(Trial(len(policy.trials), recorded.plan, MADE, "made", shape=recorded.shape,
                                 curve=recorded.curve, made=recorded.made))  # fmt: skip
    return found


def choose_randomly(table: Recorded, seed: int) -> list[Found]:
    """What training plans in a random order finds and when."""
    plans = list(table.trials)
    clock, found = 0.0, [Found(0.0, made) for made in table.untrained]
    for place in np.random.default_rng(seed).permutation(len(plans)).tolist():
        recorded = table.trials[plans[place]]
        clock += recorded.seconds
        found += [Found(clock, made) for made in recorded.made]
    return found


def fastest_pairs(table: Recorded, max_drop: float) -> dict[tuple[str, str], float]:
    """The expected mean latency of every cascade in the table that keeps the drop, by the digests of its members."""
    everything = {made.digest: made for made in (*table.untrained, *(m for t in table.trials.values() for m in t.made))}
    found = {}
    for small, large in itertools.permutations(everything.values(), 2):
        if small.cost.mean_ms >= QUICK * large.cost.mean_ms or small.score >= large.score:
            continue
        router = choose_threshold(
            table.answers[answers_name(small)], table.answers[answers_name(large)], table.answers["labels"],
            reference_accuracy=table.reference, max_drop=max_drop,
        )  # fmt: skip
        if router.within_budget:
            found[small.digest, large.digest] = expect_cost(small.cost, large.cost, router.share).mean_ms
    return found


def best_by(
    found: Sequence[Found], seconds: float, table: Recorded, max_drop: float, pairs: Mapping[tuple[str, str], float]
) -> float:
    """Mean latency of the fastest answer within the drop that could be made of what was found by then."""
    there = [f.made for f in found if f.seconds <= seconds]
    digests = {made.digest for made in there}
    singles = [made.cost.mean_ms for made in there if table.reference - made.score <= max_drop + 1e-9]
    return min([*singles, *(ms for (a, b), ms in pairs.items() if a in digests and b in digests)],
               default=table.untrained[0].cost.mean_ms)  # fmt: skip


def compare(table: Recorded) -> list[dict[str, Any]]:
    """Random choice over the search, latency by latency: above 1 the search had found the faster model."""
    rows = []
    for bare, max_drop in itertools.product((False, True), DROPS):
        budget, cascades = Budget(max_drop=max_drop), fastest_pairs(table, max_drop)
        ours = [search(table, budget, seed, bare=bare) for seed in range(SEEDS)]
        theirs = [choose_randomly(table, seed) for seed in range(SEEDS)]
        for share in SHARES:
            at = share * table.seconds
            pairs = [
                (best_by(a, at, table, max_drop, cascades), best_by(b, at, table, max_drop, cascades))
                for a, b in zip(ours, theirs, strict=True)
            ]
            ratios = np.log([random / search for search, random in pairs])
            low, high = interval(ratios)
            rows.append({
                "bare": bare, "max_drop": max_drop, "share_of_time": share, "seconds": at,
                "search_ms": float(np.median([pair[0] for pair in pairs])),
                "random_ms": float(np.median([pair[1] for pair in pairs])),
                "random_over_search": {"value": float(np.exp(ratios.mean())), "low": low, "high": high},
                "search_better": int((ratios > 1e-9).sum()), "equal": int((abs(ratios) <= 1e-9).sum()),
                "random_better": int((ratios < -1e-9).sum()),
            })  # fmt: skip
    return rows


def interval(values: Any, *, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the geometric mean of ratios, given their logarithms."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (10_000, len(values)))].mean(axis=1)
    low, high = np.exp(np.percentile(means, [2.5, 97.5]))
    return float(low), float(high)


def without_trim(plan: Plan) -> Plan:
    """The plan as the table has it: the table keeps whole vocabularies."""
    return Plan.of(plan.family, **{name: value for name, value in plan.settings if name != "trim"})


def main() -> int:
    """Replay, print and write."""
    table = read_table()
    rows = compare(table)
    for row in rows:
        ratio = row["random_over_search"]
        name = "bare, " if row["bare"] else ""
        print(
            f"{name}drop {row['max_drop']:.2f}, {row['seconds'] / 60:5.1f} min: search {row['search_ms']:.2f} ms, "
            f"random {row['random_ms']:.2f} ms, {ratio['value']:.2f}x ({ratio['low']:.2f}-{ratio['high']:.2f}); better "
            f"in {row['search_better']}, equal in {row['equal']}, worse in {row['random_better']} of {SEEDS}"
        )
    document = {
        "schema_version": 1, "seeds": SEEDS, "plans": len(table.trials), "table_seconds": table.seconds, "rows": rows,
        "machine": describe_machine().to_json(),
    }  # fmt: skip
    write_atomically(RESULTS, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
