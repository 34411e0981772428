"""The picture is drawn, whole, for one candidate and for many."""

from __future__ import annotations

from pathlib import Path

import pytest
from search_samples import candidate

from toolkit.optimize.budget import Budget
from toolkit.optimize.candidates import find_pareto
from toolkit.optimize.plot import plot_pareto

pytest.importorskip("matplotlib", reason="the optimize extra is not installed")


@pytest.mark.parametrize("count", [1, 40])
def test_a_picture_shows_the_candidates_the_budget_and_the_answer(tmp_path: Path, count: int) -> None:
    found = [candidate(f"t{i:02d}-int8", 0.80 + 0.15 * i / count, 0.1 + i, size=10**6 * (1 + i)) for i in range(count)]
    path = tmp_path / "pareto.svg"
    plot_pareto(
        path, found, pareto=find_pareto(found), best=found[-1], reference=0.95, budget=Budget(), metric="accuracy"
    )
    text = path.read_text()
    assert text.count("<svg") == 1
    assert "PathCollection" in text
    assert f"best: {found[-1].name}" in text
