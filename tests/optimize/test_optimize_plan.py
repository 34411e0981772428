"""A space is finite, its plans are values, and each has one name."""

from __future__ import annotations

import pytest

from toolkit.errors import InputError
from toolkit.nets import KINDS
from toolkit.optimize.effort import EFFORTS, recipe_for
from toolkit.optimize.plan import FIRST, SPACES, Plan, count_plans, enumerate_plans, space_of


@pytest.mark.parametrize(("task", "kind"), SPACES)
def test_every_space_lists_each_of_its_plans_once(task: str, kind: str) -> None:
    plans = list(enumerate_plans(space_of(task, kind)))
    assert len(plans) == len(set(plans)) == count_plans(space_of(task, kind)) > 0
    assert len({plan.slug for plan in plans}) == len(plans)


@pytest.mark.parametrize(("task", "kind"), SPACES)
def test_what_needs_no_training_is_in_every_space(task: str, kind: str) -> None:
    assert any(not plan.trains for plan in enumerate_plans(space_of(task, kind)))


def test_settings_have_no_order() -> None:
    assert Plan.of("prune", keep=0.5, layers=3) == Plan.of("prune", layers=3, keep=0.5)
    assert Plan.of("prune", layers=3, keep=0.5).words == "prune keep=0.5 layers=3"


def test_a_plan_survives_json() -> None:
    plan = Plan.of("lstm", width=128, hidden=64, trim=1)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_recorded_before_cuts_had_a_measure_is_one_by_weights() -> None:
    recorded = Plan.from_json({"family": "prune", "settings": {"keep": 0.25}})
    assert recorded == Plan.of("prune", keep=0.25, by="weights")
    assert (recorded.get("by"), recorded.slug) == ("weights", "prune-keep0.25")
    assert recorded in set(enumerate_plans(space_of("image", "cnn")))
    other = Plan.of("prune", keep=0.25, by="macs")
    assert other != recorded
    assert (other.words, Plan.from_json(other.to_json())) == ("prune by=macs keep=0.25", other)


def test_a_plan_recorded_before_tables_were_factorized_is_one_of_the_whole_table() -> None:
    recorded = Plan.from_json({"family": "prune", "settings": {"keep": 0.25, "layers": 4, "trim": 1}})
    assert recorded == Plan.of("prune", keep=0.25, layers=4, trim=1, embedding=0)
    assert (recorded.get("embedding"), recorded.slug) == (0, "prune-keep0.25-layers4-trim1")
    space = set(enumerate_plans(space_of("text", "transformer")))
    assert {recorded, Plan.of("prune", keep=0.25, layers=4, trim=1, embedding=192)} <= space


def test_plans_to_begin_with_are_in_a_space() -> None:
    everything = {plan for space in SPACES.values() for plan in enumerate_plans(space)}
    assert set(FIRST) <= everything


def test_a_model_without_a_space_is_refused() -> None:
    with pytest.raises(InputError, match="no search for a lamp of task light"):
        space_of("light", "lamp")


@pytest.mark.parametrize("effort", EFFORTS)
def test_every_kind_of_net_has_a_recipe_of_every_effort(effort: str) -> None:
    for kind in KINDS:
        recipe = recipe_for(kind, effort, seed=3, threads=1)
        assert (recipe.patience, recipe.seed, recipe.threads) == (0, 3, 1)
        assert recipe.epochs == EFFORTS[effort].epochs[kind]
