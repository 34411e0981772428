"""A training recipe: the numbers of one run, checked when it is made and recorded whole in the lineage.

A recipe file is TOML, one line a setting, and no more than the fields of `Recipe`; what it leaves out
keeps the default of its net. "auto" precision and 0 threads are resolved on the machine that trains
(`resolve`), and the lineage records what was really used: the order of sums depends on both.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from toolkit.errors import RecipeError
from toolkit.machine import describe_machine, threads_allowed

BF16_FLAGS = ("avx512_bf16", "amx_bf16")

# setting -> lowest and highest value allowed
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 10_000),
    "batch_size": (1, 65_536),
    "learning_rate": (1e-8, 10.0),
    "warmup": (0.0, 1.0),
    "weight_decay": (0.0, 10.0),
    "clip": (0.0, 1e6),
    "patience": (0, 10_000),
    "label_smoothing": (0.0, 0.9),
    "dropout": (0.0, 0.9),
    "bucket": (1, 1_000_000),
    "threads": (0, 1024),
    "seed": (0, 2**31 - 1),
    "checkpoint_steps": (0, 10**9),
    "checkpoint_seconds": (0.0, 1e6),
}
CHOICES = {
    "decay": ("linear", "cosine", "none"),
    "watch": ("accuracy", "loss"),
    "precision": ("auto", "fp32", "bf16"),
}


def _checked(name: str, value: Any, kind: type[Any]) -> Any:
    """`value` as `kind`; an integer may stand for a float, nothing else is converted."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        words = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}[kind]
        raise RecipeError(f"{name} is {value!r}; it must be {words}")
    if name in CHOICES and value not in CHOICES[name]:
        raise RecipeError(f"{name} is {value!r}; allowed: {', '.join(CHOICES[name])}")
    if name in RANGES:
        low, high = RANGES[name]
        if not low <= value <= high:  # false for NaN too
            raise RecipeError(f"{name} is {value!r}; allowed: {low} to {high}")
    return value


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a net is trained; raises `RecipeError` for a value of a wrong type or out of its range.

    `warmup` is the share of all steps in which the learning rate rises from 0; after it, `decay` brings
    it down to 0. `clip` is the largest norm of a gradient, `patience` the epochs without a better
    validation result (`watch`) before training stops: 0 switches either off. `class_weights` gives
    every class the same total weight. `bucket` is the number of batches whose rows are sorted by length
    together (1: plain shuffling). `threads` 0 is all that this process may use. A checkpoint is written
    after each `checkpoint_steps` steps or `checkpoint_seconds` seconds (0: not by that clock).
    """

    epochs: int = 6
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: float = 0.1
    decay: str = "linear"
    weight_decay: float = 0.01
    clip: float = 1.0
    patience: int = 3
    watch: str = "accuracy"
    class_weights: bool = False
    label_smoothing: float = 0.0
    dropout: float = 0.1
    bucket: int = 50
    precision: str = "auto"
    threads: int = 0
    seed: int = 0
    checkpoint_steps: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, _checked(field.name, value, type(field.default)))

    def resolve(self) -> Recipe:
        """The same recipe with what this machine makes of "auto" precision and 0 threads."""
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if set(BF16_FLAGS) & set(describe_machine().flags) else "fp32"
        return replace(self, precision=precision, threads=self.threads or threads_allowed())

    def to_json(self) -> dict[str, Any]:
        """Every setting, as plain JSON values."""
        return asdict(self)


# kind of net -> its defaults
RECIPES: dict[str, Recipe] = {
    "mlp": Recipe(epochs=12, batch_size=32, learning_rate=2e-3, dropout=0.3, patience=4),
    "lstm": Recipe(epochs=12, batch_size=32, learning_rate=2e-3, dropout=0.3, patience=4),
    "textcnn": Recipe(epochs=12, batch_size=32, learning_rate=1e-3, dropout=0.3, patience=4),
    "transformer": Recipe(epochs=6, batch_size=32, learning_rate=1e-4, dropout=0.1, patience=3),
    "cnn": Recipe(epochs=12, batch_size=64, learning_rate=2e-3, dropout=0.1, patience=5, decay="cosine"),
    "recommender": Recipe(
        epochs=4, batch_size=256, learning_rate=1e-3, weight_decay=1.0, dropout=0.2, patience=2, watch="loss"
    ),
}


def read_recipe(path: Path | str, net: str) -> Recipe:
    """The recipe of `net` with the settings of a TOML file in place of its defaults.

    Raises `RecipeError` in one line: no such file, no TOML, an unknown setting, a value out of range.
    """
    path = Path(path)
    default = default_recipe(net)
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path} is no TOML: {str(error).splitlines()[0]}") from None
    try:
        return change_recipe(default, settings)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def default_recipe(net: str) -> Recipe:
    """The defaults of `net`; raises `RecipeError` for a net that does not exist."""
    if net not in RECIPES:
        raise RecipeError(f"unknown net {net!r}; allowed: {', '.join(RECIPES)}")
    return RECIPES[net]


def change_recipe(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """`recipe` with `settings`; raises `RecipeError` for one that does not exist or is out of range."""
    allowed = [field.name for field in fields(Recipe)]
    if unknown := sorted(set(settings) - set(allowed)):
        raise RecipeError(f"unknown setting {', '.join(map(repr, unknown))}; allowed: {', '.join(allowed)}")
    return replace(recipe, **settings)
