"""Gathered artifacts of every kind, made once: judged, timed, void, mixed, many, and one that nobody measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import reported
from reported import HOSTILE, bench, keep, make_models, make_rows

from toolkit.artifact import Artifact
from toolkit.pages.gather import Gathered, gather

MANY = 40


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def models(place: Path) -> dict[str, Artifact]:
    """A baseline, one that is as good, one that failed, and one with a name that nobody should have."""
    (place / "models").mkdir()
    made = make_models(place / "models", {"baseline": 0.0, "same": 0.001, "broken": 1.2, HOSTILE: 0.15})
    rows = make_rows(place, made["baseline"])
    for name, drop in (("same", "0.05"), ("broken", "0.01"), (HOSTILE, "0.01")):
        reported.verify(made["baseline"], made[name], rows, "--max-drop", drop, "--slice", "town", "--slice", "@length")
    keep(bench(list(made.values()), (3.1, 1.2, 0.9, 2.0)), list(made.values()))
    return made


@pytest.fixture(scope="session")
def rows(place: Path, models: dict[str, Artifact]) -> Path:
    return place / "rows.csv"


@pytest.fixture(scope="session")
def take(models: dict[str, Artifact]) -> Callable[..., Gathered]:
    """Gather some of the models by name."""
    return lambda *names, **options: gather([models[name].folder for name in names], **options)


@pytest.fixture(scope="session")
def bare(place: Path) -> Gathered:
    """An artifact without any evidence."""
    (place / "bare").mkdir()
    return gather([one.folder for one in make_models(place / "bare", {"bare": 0.0}).values()])


@pytest.fixture(scope="session")
def many(place: Path) -> Gathered:
    """Forty artifacts, thirty-nine of them judged and all timed in one run."""
    (place / "many").mkdir()
    noises = {f"candidate-{i:02d}{(i % 5) * '-with-a-longer-name'}": 0.02 * i for i in range(MANY)}
    made = list(make_models(place / "many", noises).values())
    found = make_rows(place / "many", made[0])
    for one in made[1:]:
        reported.verify(made[0], one, found)
    keep(bench(made, [3 - 0.05 * i for i in range(MANY)]), made)
    return gather([one.folder for one in made])
