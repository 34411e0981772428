"""Which plan to train next, and when to give one up: the search itself, knowing neither nets nor files.

Optuna's multi-objective TPE proposes (score up, mean latency and size down, the budget as a constraint: without it the
sampler loves what is quick and wrong), after a few plans that did well before. Between its word and an hour of
training stands cheap evidence: what an untrained net of that shape takes on this machine. A plan whose shape breaks the
budget is not trained, nor one that is slower and larger than what already holds the score, nor one of whose family a
larger one was far off. One that trains is given up when a cheaper plan stood clearly higher at the same point of its
training.

Limit: with some thirty plans to choose from, the sampler by itself is no better than chance (`benchmarks/replay.py`
says so each time); the plans tried first and the evidence before training are what saves time.

The policy sees plans, costs and curves only, so that a recorded table of trials can be searched again by the same
code (`benchmarks/replay.py`).

Source: Ozaki et al. 2022, multi-objective TPE (JAIR 73); Jamieson and Talwalkar 2016 (arXiv:1502.07943) for giving
up early; Akiba et al. 2019, Optuna (arXiv:1907.10902).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit.errors import RecipeError, require
from toolkit.optimize.budget import Budget
from toolkit.optimize.plan import Choices, Plan, enumerate_plans
from toolkit.optimize.trial import REJECTED, Cost, Point, Trial

# a shape is timed for a second: what it misses by less than this may be noise
SLACK = 1.15
# standard errors of a validation score that a plan must lie behind before it is given up
BEHIND = 2.0
# how often the sampler is asked for another family when all plans of one have been tried
ASKS = 8
# a short training may be this far outside the budget and still come home with a long one
HOPE = 0.02
EXCESS = "excess"


class Policy:
    """Proposes plans of `space` for a `reference` score on `rows` validation rows; `observe` every trial."""

    def __init__(
        self, space: Mapping[str, Choices], budget: Budget, *, reference: float, rows: int, seed: int,
        first: Sequence[Plan] = (),
    ) -> None:  # fmt: skip
        optuna = require("optuna", extra="optimize")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.budget, self.reference, self.rows = space, budget, reference, rows
        self.trials: list[Trial] = []
        self._optuna = optuna
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sampling groups of a conditional space together is called experimental
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=4, multivariate=True, group=True,
                constraints_func=lambda trial: (trial.user_attrs[EXCESS],),
            )  # fmt: skip
        self._study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
        self._first = [plan for plan in first if plan.family in space]
        self._left = set(enumerate_plans(space))

    def propose(self, measure: Callable[[Plan], Cost | None]) -> tuple[Plan, Cost | None] | None:
        """The next plan worth training with the cost of its shape; None when none is left.

        Plans that their shape speaks against are observed as rejected on the way. `measure` gives the cost of an
        untrained net of a plan's shape, None where only making it can tell.
        """
        while (plan := self._next()) is not None:
            reason, shape = self.hopeless(plan), None
            if reason is None and plan.trains:
                try:
                    shape = measure(plan)
                    reason = self.objection(shape) if shape else None
                except RecipeError as error:  # layers or columns that this model does not have
                    reason = f"not trained: {error}"
            if reason is None:
                self._left.discard(plan)
                return plan, shape
            self.observe(Trial(len(self.trials), plan, REJECTED, reason, shape=shape))
        return None

    def hopeless(self, plan: Plan) -> str | None:
        """Why a plan cannot come near the budget: one of its family, larger in everything, was far off; else None."""
        allowed = self.budget.max_drop + HOPE
        for trial in self.trials:
            larger = trial.plan.family == plan.family and all(
                _no_smaller(values, trial.plan.get(name), plan.get(name))
                for name, values in self.space[plan.family].items()
            )
            if larger and trial.made and trial.score is not None and self.reference - trial.score > allowed + 1e-9:
                lost = 100 * (self.reference - trial.score)
                return f"not trained: {trial.name}, larger in everything, lost {lost:.1f} points"
        return None

    def objection(self, shape: Cost) -> str | None:
        """Why a net of this cost is not worth training, whatever it learns; None when it may be."""
        p99 = None if shape.p99_ms is None else shape.p99_ms / SLACK
        if missed := self.budget.misses(drop=None, p99_ms=p99, size_bytes=shape.size_bytes / SLACK):
            return f"not trained: {'; '.join(missed)}"
        for trial in self.trials:
            for made in trial.made:
                held = not self.budget.misses(
                    drop=self.reference - made.score,
                    p99_ms=made.cost.p99_ms,
                    size_bytes=made.cost.size_bytes,
                    error=made.error,
                )
                if held and shape.mean_ms > made.cost.mean_ms * SLACK and shape.size_bytes > made.cost.size_bytes:
                    return f"not trained: slower and larger than {trial.name}, which holds the budget"
        return None

    def plans(self) -> list[Plan]:
        """Every plan of the space."""
        return list(enumerate_plans(self.space))

    def observe(self, trial: Trial) -> None:
        """Learn from a trial that ended, in this run or in an earlier one."""
        self.trials.append(trial)
        self._left.discard(trial.plan)
        cost = min((made.cost for made in trial.made), key=lambda cost: cost.mean_ms, default=trial.shape)
        if trial.score is None or cost is None or not trial.plan.trains:
            return
        self._study.enqueue_trial(self._parameters(trial.plan))
        asked = self._study.ask()
        self._suggest(asked)  # takes the parameters that were enqueued
        excess = self.budget.excess(drop=self.reference - trial.score, p99_ms=cost.p99_ms, size_bytes=cost.size_bytes)
        asked.set_user_attr(EXCESS, excess)
        self._study.tell(asked, [trial.score, math.log(cost.mean_ms), math.log(cost.size_bytes)])

    def _next(self) -> Plan | None:
        """Sensible plans first, then what the sampler asks for, or the nearest to it that has not been tried."""
        while self._first:
            plan = self._first.pop(0)
            if plan in self._left:
                return plan
        if not self._left:
            return None
        for _ in range(ASKS):
            asked = self._study.ask()
            wanted = self._suggest(asked)
            self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)  # what it gave is added by observe
            near = [plan for plan in self.plans() if plan in self._left and plan.family == wanted.family]
            if near:
                return min(near, key=lambda plan: self._distance(plan, wanted))
        return next(plan for plan in self.plans() if plan in self._left)

    def _distance(self, first: Plan, second: Plan) -> int:
        """Steps between two plans of one family in the lists of its choices."""
        choices = self.space[first.family]
        return sum(
            abs(values.index(first.get(name)) - values.index(second.get(name))) for name, values in choices.items()
        )

    def _suggest(self, asked: Any) -> Plan:
        family = asked.suggest_categorical(
            "family", [name for name in self.space if name != "quantize"] or ["quantize"]
        )
        choices = self.space[family]
        return Plan.of(family, **{
            name: values[asked.suggest_int(f"{family}.{name}", 0, len(values) - 1)] for name, values in choices.items()
        })  # fmt: skip

    def _parameters(self, plan: Plan) -> dict[str, Any]:
        """A plan as the sampler's parameters: positions in the rising lists of choices, so that near is alike."""
        choices = self.space[plan.family]
        return {"family": plan.family} | {
            f"{plan.family}.{name}": values.index(plan.get(name)) for name, values in choices.items()
        }


def _no_smaller(values: Sequence[Any], first: Any, second: Any) -> bool:
    """Whether `first` is no smaller a choice than `second`; words have no order, so each speaks of itself only."""
    return first == second or (not isinstance(second, str) and values.index(first) > values.index(second))


def give_up(shape: Cost | None, curve: Sequence[Point], rivals: Sequence[Trial], rows: int) -> str | None:
    """Why a plan in training should stop after the last point of `curve`; None to go on.

    A rival counts when it is as fast and as small and stood higher, by more than the error of a score on `rows`
    rows, at the same share of its training.
    """
    if shape is None or not curve or curve[-1].share >= 1.0:
        return None
    now = curve[-1]
    error = math.sqrt(max(now.score * (1 - now.score), 1e-4) / rows)
    for trial in rivals:
        if trial.shape is None or trial.shape.mean_ms > shape.mean_ms or trial.shape.size_bytes > shape.size_bytes:
            continue
        then = [point.score for point in trial.curve if point.share <= now.share + 1e-9]
        if then and max(then) > now.score + BEHIND * error:
            return (
                f"given up after {now.share:.0%} of its training at {now.score:.1%}: {trial.name}, as fast and "
                f"as small, had {max(then):.1%} by then"
            )
    return None
