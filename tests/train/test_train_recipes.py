"""Recipes: defaults, TOML files, and one clear line for each thing that can be wrong in one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import RecipeError
from toolkit.nets import KINDS
from toolkit.train.recipes import CHOICES, RANGES, RECIPES, Recipe, change_recipe, default_recipe, read_recipe


def _write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_every_net_has_a_recipe() -> None:
    assert set(RECIPES) == set(KINDS)


def test_every_setting_is_checked() -> None:
    checked = {*RANGES, *CHOICES, "class_weights"}  # true or false needs no range
    assert {field.name for field in fields(Recipe)} == checked


def test_a_file_replaces_defaults_and_keeps_the_rest(tmp_path: Path) -> None:
    path = _write(tmp_path, 'epochs = 2\nlearning_rate = 1\nprecision = "fp32"\nclass_weights = true\n')
    recipe = read_recipe(path, "transformer")
    expected = {"epochs": 2, "learning_rate": 1.0, "precision": "fp32", "class_weights": True}
    assert recipe.to_json() == {**RECIPES["transformer"].to_json(), **expected}
    assert isinstance(recipe.learning_rate, float)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", r"unknown setting 'epoch'; allowed: epochs, batch_size, learning_rate"),
        ("epochs = 0", r"epochs is 0; allowed: 1 to"),
        ("epochs = 2.5", r"epochs is 2.5; it must be an integer"),
        ("epochs = true", r"epochs is True; it must be an integer"),
        ("learning_rate = nan", r"learning_rate is nan; allowed"),
        ('learning_rate = "fast"', r"learning_rate is 'fast'; it must be a number"),
        ("class_weights = 1", r"class_weights is 1; it must be true or false"),
        ("dropout = 1.0", r"dropout is 1.0; allowed: 0.0 to 0.9"),
        ('precision = "fp16"', r"precision is 'fp16'; allowed: auto, fp32, bf16"),
        ('decay = "step"', r"decay is 'step'; allowed: linear, cosine, none"),
        ("[optimizer]\nbeta = 0.9", r"unknown setting 'optimizer'"),
        ("epochs = ", r"is no TOML"),
    ],
)
def test_a_bad_file_is_one_line_that_says_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(RecipeError, match=said) as error:
        read_recipe(path, "mlp")
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_and_an_unknown_net_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"missing\.toml cannot be read: No such file"):
        read_recipe(tmp_path / "missing.toml", "mlp")
    with pytest.raises(RecipeError, match=r"unknown net 'bert'; allowed: mlp, lstm, textcnn, transformer"):
        default_recipe("bert")


@pytest.mark.parametrize("name", [name for name in RANGES if name != "seed"])
def test_a_value_beyond_its_range_is_refused(name: str) -> None:
    highest = RANGES[name][1]
    above: Any = highest * 2 if isinstance(getattr(Recipe(), name), float) else int(highest) * 2
    with pytest.raises(RecipeError, match=f"{name} is"):
        change_recipe(Recipe(), {name: above})


def test_resolve_leaves_nothing_to_the_machine() -> None:
    resolved = Recipe(precision="auto", threads=0).resolve()
    assert resolved.precision in ("fp32", "bf16")
    assert resolved.threads >= 1
    assert Recipe(precision="fp32", threads=3).resolve() == Recipe(precision="fp32", threads=3)
