"""The hour of search: shapes first, short trainings of many plans, long trainings of the few that may be the answer.

Three parts share the time. *Compare*: the policy's plans are trained for a short while. *Finish*: what is nearest to
being the answer, alone or as the quick member of a cascade, is trained on. *Decide*: the rest is for building,
measuring and judging, which `decision` does. Ctrl-C ends a part and the next goes on with what there is; a killed
search goes on where it stood.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolkit.errors import ToolkitError
from toolkit.optimize.budget import Budget
from toolkit.optimize.candidates import Candidate, choose, pair_up
from toolkit.optimize.effort import times_longer
from toolkit.optimize.plan import Plan
from toolkit.optimize.policy import Policy, give_up
from toolkit.optimize.trial import FAILED, MADE, STOPPED, Cost, Made, Point, Trial, append_trial, read_trials
from toolkit.optimize.weighing import answers_of
from toolkit.optimize.workshop import GivenUpError, Product, Workshop
from toolkit.spec import Array

if TYPE_CHECKING:
    from toolkit.optimize.cluster import Cluster

# parts of the time after which no comparison begins, and no long training; what runs then may take GRACE more
COMPARE, FINISH, GRACE = 0.55, 0.88, 0.04
# what a long training may add to the score of a short one; on TREC it was -0.6 to +0.9 points in five trainings
GAIN = 0.005
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A training to be done: how long, from which net, and the part of the time after which it is given up."""

    plan: Plan
    shape: Cost | None
    effort: str
    start: Path | None
    until: float


@dataclass
class Search:
    """The state of a search; `run` goes through the parts, `trials` is everything that ended."""

    workshop: Workshop
    policy: Policy
    budget: Budget
    reference: Made
    reference_answers: Array
    folder: Path
    announce: Announce
    trials: list[Trial] = field(default_factory=list)
    cluster: Cluster | None = None
    interrupted: bool = False
    _queue: list[Job] = field(default_factory=list)
    _spent: float = 0.0
    _begun: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Resume what is recorded, then go on until the time is over, nothing is left or somebody interrupts."""
        for trial in read_trials(self.folder):
            self._learn(trial)
        self._spent = sum(trial.seconds for trial in self.trials)
        if self.trials:
            self.announce(
                f"goes on after {len(self.trials)} trials and {self._spent / 60:.0f} minutes of an earlier run"
            )
        try:
            self._make_untrained()
            self._compare()
            self._finish()
        except KeyboardInterrupt:
            self.interrupted = True
            self.announce("interrupted: choosing from what there is")

    @property
    def used(self) -> float:
        """The part of the time that is gone."""
        return (self._spent + time.monotonic() - self._begun) / (3600 * self.budget.hours)

    def singles(self) -> list[Candidate]:
        """Every artifact that was made, under names that last: `t03-int8`."""
        return [
            Candidate(f"{trial.name}-{made.form}", f"{trial.plan.words} {made.form}", made.score,
                      self.reference.score - made.score, made.cost, made, error=made.error)
            for trial in self.trials for made in trial.made
        ]  # fmt: skip

    def cascades(self, singles: list[Candidate]) -> list[Candidate]:
        """Every cascade of two of `singles` worth having; none for a recommender, which orders and does not decide."""
        if self.workshop.data.task == "recommend":
            return []
        answers = {candidate.name: self.answers(candidate) for candidate in singles}
        labels = self.workshop.data.split("validation").labels
        return pair_up(singles, answers, labels, self.reference_answers, self.budget)

    def answers(self, candidate: Candidate) -> Array:
        """Validation logits after the temperature of a single candidate, as they were kept."""
        assert candidate.made is not None
        found: Array = np.load(answers_of(self.folder / candidate.made.folder), allow_pickle=False)
        return found

    def best(self) -> Candidate | None:
        """The best answer so far."""
        singles = self.singles()
        return choose([*singles, *self.cascades(singles)], self.budget) if singles else None

    def _make_untrained(self) -> None:
        """What is made of the model's own weights, first: it costs no training and is what others must beat."""
        known = {trial.plan for trial in self.trials}
        for plan in self._untrained_plans():
            if plan not in known:
                self._try(plan, None, partial(self.workshop.make, plan))

    def _untrained_plans(self) -> Iterable[Plan]:
        return [plan for plan in self.policy.plans() if not plan.trains]

    def _compare(self) -> None:
        """Short trainings of what the policy proposes; on a cluster, as many at once as it has room for."""
        while self.used < COMPARE or self._in_flight:
            while self.used < COMPARE and self._has_room:
                proposed = self.policy.propose(self.workshop.measure_shape)
                self._record_rejections()
                if proposed is None:
                    break
                self._start(Job(*proposed, "short", None, COMPARE + GRACE))
            if not self._in_flight:
                if self.used < COMPARE:
                    self.announce("every plan of the space has been tried")
                return
            self._collect()

    def _finish(self) -> None:
        """Long trainings of what may be the answer, one after the other: each changes which is the next."""
        done: set[Plan] = {trial.plan for trial in self.trials if trial.effort == "long"}
        while self.used < FINISH or self._in_flight:
            while self.used < FINISH and self._has_room:
                trial = self._most_promising(done)
                if trial is None:
                    break
                done.add(trial.plan)
                start = self.folder / Path(trial.made[0].folder).parent / "trained"
                self._start(Job(trial.plan, trial.shape, "long", start, FINISH + 2 * GRACE))
            if not self._in_flight:
                return
            self._collect()

    @property
    def _has_room(self) -> bool:
        return not self._queue if self.cluster is None else self.cluster.has_room

    @property
    def _in_flight(self) -> bool:
        return bool(self._queue) if self.cluster is None else self.cluster.busy

    def _start(self, job: Job) -> None:
        if self.cluster is None:
            self._queue.append(job)
        else:
            self.cluster.submit(job)

    def _collect(self) -> None:
        """Make the next job: here, or what a node of the cluster has trained."""
        job = self._queue.pop() if self.cluster is None else self.cluster.collect()
        watch = self._watch(job)
        self._try(
            job.plan, job.shape, lambda: self.workshop.make(job.plan, effort=job.effort, start=job.start, watch=watch),
            effort=job.effort,
        )  # fmt: skip

    def _fits(self, trial: Trial) -> bool:
        """Whether a long training of this plan would end before trainings must."""
        kind = self.workshop.kind_of(trial.plan)
        seconds = trial.curve[-1].seconds * times_longer(kind, len(self.workshop.data.split("train")))
        return self.used + seconds / (3600 * self.budget.hours) < FINISH + GRACE

    def _most_promising(self, done: set[Plan]) -> Trial | None:
        """The quick member of the best cascade, then what could come to hold the budget: the fastest, the smallest."""
        short = {
            trial.name: trial
            for trial in self.trials
            if trial.made and trial.plan.trains and trial.plan not in done and self._fits(trial)
        }
        best = self.best()
        if best is not None and best.members:
            name = best.members[0].split("-")[0]
            if name in short:
                return short[name]
        allowed = self.budget.max_drop + GAIN
        hopeful = [
            trial for trial in short.values()
            if min(self.reference.score - m.score + self.budget.caution * m.error for m in trial.made) <= allowed + 1e-9
        ]  # fmt: skip
        # one answer is the fastest single model and one the smallest: they take turns
        quantity = ("mean_ms", "size_bytes")[len(done) % 2]
        return min(hopeful, key=lambda trial: min(getattr(m.cost, quantity) for m in trial.made), default=None)

    def _watch(self, job: Job) -> Callable[[tuple[Point, ...]], str | None]:
        def watch(curve: tuple[Point, ...]) -> str | None:
            if self.used > job.until:
                return "out of time"
            return give_up(job.shape, curve, self.trials, self.policy.rows) if job.effort == "short" else None

        return watch

    def _try(self, plan: Plan, shape: Cost | None, make: Callable[[], Product], *, effort: str = "short") -> None:
        """Make a plan, come what may, and record it."""
        number, begun = len(self.trials), time.monotonic()
        self.announce(f"t{number:02d} {plan.words}{' (long)' if effort == 'long' else ''}")
        curve: tuple[Point, ...] = ()
        made: tuple[Made, ...] = ()
        try:
            product = make()
            curve, made, state, reason = product.curve, product.made, MADE, "made"
        except GivenUpError as stop:
            curve, state, reason = stop.curve, STOPPED, str(stop)
        except ToolkitError as error:
            state, reason = FAILED, str(error)
        trial = Trial(number, plan, state, reason, effort, shape, curve, made, time.monotonic() - begun)
        append_trial(self.folder, trial)
        self._learn(trial)
        self._say_how_it_stands(trial)

    def _learn(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.policy.observe(trial)

    def _record_rejections(self) -> None:
        """Write down what the policy turned away by itself."""
        for trial in self.policy.trials[len(self.trials) :]:
            append_trial(self.folder, trial)
            self.trials.append(trial)

    def _say_how_it_stands(self, trial: Trial) -> None:
        best = self.best()
        words = trial.reason if trial.state != MADE else ", ".join(
            f"{made.form} {100 * made.score:.1f} %, {made.cost.mean_ms:.2f} ms, {made.cost.size_bytes / 1e6:.1f} MB"
            for made in trial.made
        )  # fmt: skip
        self.announce(f"    {words}")
        if best is not None:
            missed = best.misses(self.budget)
            self.announce(
                f"    best so far, {self.used:.0%} of the time: {best.name}, drop {100 * best.drop:+.1f} points, "
                f"{best.cost.mean_ms:.2f} ms{', ' + '; '.join(missed) if missed else ''}"
            )
