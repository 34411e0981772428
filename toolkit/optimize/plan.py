"""What a trial tries: a way to a smaller model, as a word and a few numbers, and the space of all such ways.

A family is a way: `quantize` only (nothing is trained), `prune` the model, or train a student of another kind.
Its choices are short lists of values that kernels like, so the space is finite: every point of it has a name, its
latency can be measured before anything is trained, and no point is tried twice. Each list of numbers rises from small
to large; words are in no order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import InputError

Choices = Mapping[str, tuple[Any, ...]]
# vocabularies: 1 is the pieces that training rows hold, 12,000 also so many of the first ones, 0 the whole one
_TRIM = (1, 12_000, 0)
# what a setting is where a plan does not name it; a plan that names it so is the plan without it
DEFAULTS: Mapping[str, Any] = {"by": "weights", "embedding": 0}
# columns of the token table: 0 is as many as it has
PRUNED_TRANSFORMER: Choices = {
    "layers": (2, 3, 4, 5, 6), "keep": (0.15, 0.25, 0.35, 0.5), "embedding": (128, 192, 0), "trim": _TRIM,
}  # fmt: skip
STUDENTS: Mapping[str, Choices] = {
    "transformer": {"layers": (2, 3), "width": (128, 192, 256), "trim": _TRIM},
    "lstm": {"width": (128, 256), "hidden": (64, 128, 192), "trim": _TRIM},
    "textcnn": {"width": (128, 256), "filters": (128, 256, 512), "trim": _TRIM},
    "mlp": {"width": (64, 128), "buckets": (8192, 32768)},
}
# task, kind of the net that comes ("" for one that came as an exported file) -> family -> choices
SPACES: Mapping[tuple[str, str], Mapping[str, Choices]] = {
    ("text", "transformer"): {"quantize": {"trim": _TRIM}, "prune": PRUNED_TRANSFORMER, **STUDENTS},
    ("text", "lstm"): {"quantize": {"trim": _TRIM}, "lstm": STUDENTS["lstm"], "mlp": STUDENTS["mlp"]},
    ("text", "textcnn"): {"quantize": {"trim": _TRIM}, "textcnn": STUDENTS["textcnn"], "mlp": STUDENTS["mlp"]},
    ("text", "mlp"): {"quantize": {}, "mlp": STUDENTS["mlp"]},
    ("text", ""): {"quantize": {}, "mlp": STUDENTS["mlp"]},
    ("image", "cnn"): {
        "quantize": {},
        "prune": {"keep": (0.1, 0.15, 0.25, 0.35, 0.5, 0.75), "by": ("weights", "macs")},
    },
    ("image", ""): {"quantize": {}},
    ("recommend", "recommender"): {"quantize": {}, "recommender": {"width": (4, 6, 8, 12)}},
    ("recommend", ""): {"quantize": {}},
}


@dataclass(frozen=True)
class Plan:
    """One point of a space: a family and its settings, sorted by name."""

    family: str
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, family: str, **settings: Any) -> Plan:
        """A plan from keyword settings, in any order; those at their `DEFAULTS` are left out."""
        named = {name: value for name, value in settings.items() if name not in DEFAULTS or value != DEFAULTS[name]}
        return cls(family, tuple(sorted(named.items())))

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting; what `DEFAULTS` says, or `default`, where the plan has none of this name."""
        return dict(self.settings).get(name, DEFAULTS.get(name, default))

    @property
    def words(self) -> str:
        """As it stands in a table: `prune keep=0.5 layers=3 trim=1`."""
        return " ".join([self.family, *(f"{name}={value}" for name, value in self.settings)])

    @property
    def slug(self) -> str:
        """As the name of a folder: `prune-keep0.5-layers3-trim1`."""
        return "-".join([self.family, *(f"{name}{value}" for name, value in self.settings)])

    @property
    def trains(self) -> bool:
        """False for what is made of the model's own weights."""
        return self.family != "quantize"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"family": self.family, "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The inverse of `to_json`."""
        return cls.of(str(value["family"]), **dict(value["settings"]))


# tried before the sampler has seen anything: what did well on TREC and mnist-5k; a plan that a model has not is passed
FIRST = (
    Plan.of("textcnn", width=128, filters=256, trim=0),
    Plan.of("prune", layers=5, keep=0.5, trim=0),
    Plan.of("prune", layers=6, keep=0.35, trim=12_000),
    Plan.of("prune", layers=4, keep=0.5, trim=0),
    Plan.of("prune", layers=6, keep=0.5, trim=0),
    Plan.of("prune", layers=4, keep=0.35, embedding=192, trim=12_000),
    Plan.of("prune", layers=4, keep=0.5, trim=12_000),
    Plan.of("prune", layers=5, keep=0.5, embedding=192, trim=12_000),
    Plan.of("prune", layers=6, keep=0.25, trim=0),
    Plan.of("prune", layers=4, keep=0.25, trim=0),
    Plan.of("lstm", width=128, hidden=128, trim=0),
    Plan.of("prune", keep=0.5, by="macs"),
    Plan.of("prune", keep=0.35, by="macs"),
    Plan.of("prune", keep=0.25),
    Plan.of("recommender", width=8),
)


def space_of(task: str, kind: str, *, vocabulary: int | None = None) -> Mapping[str, Choices]:
    """Families and choices for a model; raises `InputError` for one that nothing here can make smaller.

    A trimmed vocabulary is no choice for one of as many pieces or fewer (`vocabulary`; None: not known).
    """
    space = SPACES.get((task, kind)) or SPACES.get((task, ""))
    if space is None:
        raise InputError(f"there is no search for a {kind} of task {task}; quantize and verify it by hand")
    if vocabulary is None:
        return space
    return {family: _within(choices, vocabulary) for family, choices in space.items()}


def _within(choices: Choices, vocabulary: int) -> Choices:
    kept = tuple(trim for trim in choices.get("trim", ()) if trim < vocabulary)
    return {**choices, "trim": kept} if kept else choices


def enumerate_plans(space: Mapping[str, Choices]) -> Iterator[Plan]:
    """Every plan of a space, in the order of its table."""
    for family, choices in space.items():
        for values in itertools.product(*choices.values()):
            yield Plan.of(family, **dict(zip(choices, values, strict=True)))


def count_plans(space: Mapping[str, Choices]) -> int:
    """How many plans there are."""
    return sum(math.prod(len(values) for values in choices.values()) for choices in space.values())
