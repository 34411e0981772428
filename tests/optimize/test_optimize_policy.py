"""What is proposed, what its shape rules out, and what is given up."""

from __future__ import annotations

import pytest
from search_samples import cost, trial

from toolkit.errors import RecipeError
from toolkit.optimize.budget import Budget
from toolkit.optimize.plan import Plan, enumerate_plans
from toolkit.optimize.policy import Policy, give_up
from toolkit.optimize.trial import REJECTED, Cost, Point

pytest.importorskip("optuna", reason="the optimize extra is not installed")
SPACE = {"quantize": {}, "prune": {"layers": (1, 2, 3), "keep": (0.5, 1.0)}, "lstm": {"hidden": (64, 128)}}


def make_policy(budget: Budget | None = None, *, seed: int = 0, first: tuple[Plan, ...] = ()) -> Policy:
    return Policy(SPACE, budget or Budget(), reference=0.95, rows=1000, seed=seed, first=first)


def by_layers(plan: Plan) -> Cost:
    """A shape costs a millisecond and a megabyte for each layer."""
    layers = plan.get("layers", 0.5) * plan.get("keep", 1.0)
    return cost(float(layers), size=int(1_000_000 * layers))


def exhaust(policy: Policy, score: float = 0.93) -> list[Plan]:
    seen = []
    while (proposed := policy.propose(by_layers)) is not None:
        plan, shape = proposed
        seen.append(plan)
        found = shape or cost(9.0)
        policy.observe(trial(len(policy.trials), plan, score, found.mean_ms, size=found.size_bytes))
    return seen


@pytest.mark.parametrize("seed", range(3))
def test_every_plan_is_proposed_once_and_then_none(seed: int) -> None:
    seen = exhaust(make_policy(seed=seed))
    assert len(seen) == len(set(seen))
    assert set(seen) == set(enumerate_plans(SPACE))


def test_the_same_seed_proposes_the_same_plans() -> None:
    assert exhaust(make_policy(seed=4)) == exhaust(make_policy(seed=4))


def test_plans_to_begin_with_come_first_and_strangers_among_them_are_passed_over() -> None:
    first = (Plan.of("lstm", hidden=128), Plan.of("mlp", width=64), Plan.of("prune", layers=2, keep=0.5))
    assert exhaust(make_policy(first=first))[:2] == [first[0], first[2]]


def test_a_shape_that_breaks_the_budget_is_not_trained() -> None:
    policy = make_policy(Budget(max_size_bytes=1_500_000))
    seen = exhaust(policy)
    turned_away = [trial for trial in policy.trials if trial.state == REJECTED]
    assert {trial.plan.get("layers") for trial in turned_away} == {2, 3}
    assert all("too large" in trial.reason for trial in turned_away)
    assert not {trial.plan for trial in turned_away} & set(seen)


def test_what_is_slower_and_larger_than_what_holds_the_budget_is_not_trained() -> None:
    policy = make_policy()
    policy.observe(trial(0, Plan.of("prune", layers=1, keep=1.0), 0.95, 1.0))
    assert "slower and larger than t00, which holds the budget" in str(policy.objection(cost(1.3, size=2_000_000)))
    assert policy.objection(cost(0.9, size=2_000_000)) is None
    assert policy.objection(cost(1.3, size=900_000)) is None


def test_what_holds_no_budget_rules_nothing_out() -> None:
    policy = make_policy()
    policy.observe(trial(0, Plan.of("prune", layers=1, keep=1.0), 0.80, 1.0))
    assert policy.objection(cost(5.0, size=9_000_000)) is None


def test_where_a_larger_plan_of_a_family_was_far_off_a_smaller_one_is_not_trained() -> None:
    policy = make_policy()
    policy.observe(trial(0, Plan.of("prune", layers=2, keep=0.5), 0.90, 1.0))
    assert policy.hopeless(Plan.of("prune", layers=1, keep=0.5)) == (
        "not trained: t00, larger in everything, lost 5.0 points"
    )
    assert policy.hopeless(Plan.of("prune", layers=1, keep=1.0)) is None
    assert policy.hopeless(Plan.of("prune", layers=3, keep=0.5)) is None
    assert policy.hopeless(Plan.of("lstm", hidden=64)) is None


def test_a_word_speaks_of_itself_only_and_a_plan_without_it_is_by_weights() -> None:
    space = {"prune": {"keep": (0.25, 0.5), "by": ("macs", "weights")}}
    policy = Policy(space, Budget(), reference=0.95, rows=1000, seed=0)
    policy.observe(trial(0, Plan.of("prune", keep=0.5), 0.90, 1.0))
    assert policy.hopeless(Plan.of("prune", keep=0.25, by="macs")) is None
    assert policy.hopeless(Plan.of("prune", keep=0.25, by="weights")) is not None
    policy.observe(trial(1, Plan.of("prune", keep=0.5, by="macs"), 0.90, 1.0))
    assert str(policy.hopeless(Plan.of("prune", keep=0.25, by="macs"))).startswith("not trained: t01, larger")


def test_a_trial_recorded_without_columns_is_one_of_the_whole_table() -> None:
    space = {"prune": {"keep": (0.25, 0.5), "embedding": (96, 128, 0)}}
    policy = Policy(space, Budget(), reference=0.95, rows=1000, seed=0)
    policy.observe(trial(0, Plan.from_json({"family": "prune", "settings": {"keep": 0.5}}), 0.90, 1.0))
    for columns in (96, 128, 0):
        assert "t00, larger in everything" in str(policy.hopeless(Plan.of("prune", keep=0.25, embedding=columns)))
    assert policy.propose(lambda plan: cost(1.0)) is None
    assert len(policy.trials) == 6


def test_what_the_model_does_not_have_is_turned_away_and_the_search_goes_on() -> None:
    """A net of two layers has no third, a narrow one no table of 96 columns."""

    def measure(plan: Plan) -> Cost:
        if plan.get("layers", 0) > 2:
            raise RecipeError("layers is 3; this net has 2, allowed: 1 to 2")
        return by_layers(plan)

    policy = make_policy()
    seen = []
    while (proposed := policy.propose(measure)) is not None:
        seen.append(proposed[0])
        policy.observe(trial(len(policy.trials), proposed[0], 0.93, 1.0))
    turned_away = {found.plan: found.reason for found in policy.trials if found.state == REJECTED}
    assert set(turned_away) == {plan for plan in enumerate_plans(SPACE) if plan.get("layers", 0) > 2}
    assert set(turned_away.values()) == {"not trained: layers is 3; this net has 2, allowed: 1 to 2"}
    assert set(seen) | set(turned_away) == set(enumerate_plans(SPACE))


def test_what_was_near_the_budget_speaks_against_nothing() -> None:
    policy = make_policy()
    policy.observe(trial(0, Plan.of("prune", layers=2, keep=0.5), 0.93, 1.0))
    assert policy.hopeless(Plan.of("prune", layers=1, keep=0.5)) is None


def test_a_training_is_given_up_when_a_cheaper_one_stood_clearly_higher() -> None:
    rival = trial(3, Plan.of("lstm", hidden=64), 0.93, 1.0, curve=(Point(0.5, 0.92, 5.0), Point(1.0, 0.93, 10.0)))
    reason = give_up(cost(2.0, size=2_000_000), [Point(0.5, 0.85, 9.0)], [rival], 1000)
    assert reason is not None
    assert "50% of its training at 85.0%" in reason
    assert "t03" in reason


@pytest.mark.parametrize(
    ("shape", "now"),
    [
        (cost(2.0, size=2_000_000), Point(0.5, 0.915, 9.0)),  # behind by less than the error of the score
        (cost(0.5, size=2_000_000), Point(0.5, 0.85, 9.0)),  # faster than the rival
        (cost(2.0, size=500_000), Point(0.5, 0.85, 9.0)),  # smaller than the rival
        (cost(2.0, size=2_000_000), Point(1.0, 0.85, 9.0)),  # over anyway
        (cost(2.0, size=2_000_000), Point(0.25, 0.85, 9.0)),  # the rival had nothing to show by then
    ],
)
def test_a_training_goes_on_otherwise(shape: Cost, now: Point) -> None:
    rival = trial(3, Plan.of("lstm", hidden=64), 0.93, 1.0, curve=(Point(0.5, 0.92, 5.0), Point(1.0, 0.93, 10.0)))
    assert give_up(shape, [now], [rival], 1000) is None


def test_the_sampler_learns_where_the_good_plans_are() -> None:
    """With scores that rise with layers, later proposals have more layers than a random order would give."""
    space = {"prune": {"layers": tuple(range(1, 13)), "keep": (0.25, 0.5, 0.75, 1.0)}}
    later = []
    for seed in range(5):
        policy = Policy(space, Budget(max_drop=0.5), reference=0.95, rows=1000, seed=seed)
        for _ in range(18):
            proposed = policy.propose(lambda plan: cost(1.0))
            assert proposed is not None
            plan = proposed[0]
            policy.observe(trial(len(policy.trials), plan, 0.5 + 0.03 * plan.get("layers"), 1.0))
        later += [trial.plan.get("layers") for trial in policy.trials[6:]]
    assert sum(later) / len(later) > 7.5  # 6.5 is the mean of the space
