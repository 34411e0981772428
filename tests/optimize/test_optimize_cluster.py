"""A search over a real, local Ray cluster: nodes train, this machine measures and decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Digits

from toolkit.errors import InputError
from toolkit.optimize import optimize
from toolkit.optimize.budget import Budget
from toolkit.optimize.plan import Choices, Plan
from toolkit.optimize.trial import MADE

pytest.importorskip("ray", reason="the ray extra is not installed")
pytest.importorskip("optuna", reason="the optimize extra is not installed")
SPACE: dict[str, Choices] = {"quantize": {}, "prune": {"keep": (0.25, 0.5)}}


def test_trials_trained_on_a_cluster_are_made_here(digits: Digits, tmp_path: Path) -> None:
    budget = Budget(max_drop=0.05, hours=0.01)
    found = optimize(digits.artifact, digits.data, tmp_path / "s", budget, cluster="local", space=SPACE)
    trained = {trial.plan: trial for trial in found.trials if trial.plan.trains and trial.effort == "short"}
    assert set(trained) == {Plan.of("prune", keep=0.25), Plan.of("prune", keep=0.5)}
    assert any(trial.state == MADE for trial in trained.values())
    assert all(trial.curve for trial in trained.values())
    assert (tmp_path / "s" / "best" / "model.onnx").is_file()


def test_a_cluster_that_is_not_there_is_one_clear_line(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'") as error:
        optimize(digits.artifact, digits.data, tmp_path / "s", Budget(), cluster="127.0.0.1:1", space=SPACE)
    assert "\n" not in str(error.value)
