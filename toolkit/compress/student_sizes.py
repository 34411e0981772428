"""Sizes of a student: from the words of the command line, and from one number for all layers or kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.errors import RecipeError
from toolkit.train.texts import SIZES

# word on the command line -> kind of net -> its size of that name, and whether it is a tuple
SIZE_WORDS: dict[str, dict[str, tuple[str, bool]]] = {
    "width": dict.fromkeys(("mlp", "lstm", "textcnn", "transformer", "recommender"), ("width", False)),
    "hidden_size": {
        "mlp": ("hidden", True),
        "lstm": ("hidden", False),
        "textcnn": ("filters", False),
        "recommender": ("hidden", True),
    },
    "feed_forward": {"transformer": ("feed_forward", False)},
    "heads": {"transformer": ("heads", False)},
}
# kind of net -> its sizes that have one entry a layer, or a kernel
EACH = {"transformer": ("heads", "feed_forward"), "textcnn": ("filters",)}


def sizes_of_words(net: str, words: Mapping[str, int | None]) -> dict[str, Any]:
    """Sizes by the net's own names out of the words of the command line (`SIZE_WORDS`), None left out.

    Raises `RecipeError` for a word that this net has no size for.
    """
    sizes: dict[str, Any] = {}
    for word, value in words.items():
        if value is None:
            continue
        if net not in SIZE_WORDS[word]:
            option, allowed = word.replace("_", "-"), ", ".join(SIZE_WORDS[word])
            raise RecipeError(f"a {net} has no {option}; leave --{option} out, it is of: {allowed}")
        name, several = SIZE_WORDS[word][net]
        sizes[name] = (value,) if several else value
    return sizes


def for_each(kind: str, sizes: Mapping[str, Any], count: int) -> dict[str, Any]:
    """`sizes` with one entry a layer (transformer) or kernel (textcnn) where one number stands for all `count`."""
    several = dict(sizes)
    for name in EACH.get(kind, ()):
        value = several.get(name)
        if isinstance(value, int):
            several[name] = (value,) * count
        elif value is not None and len(value) != count:
            raise RecipeError(f"{name} is {value!r}; the {kind} has {count} of them: one number, or one for each")
    return several


def new_sizes(kind: str, sizes: Mapping[str, Any], layers: int | None) -> dict[str, Any]:
    """`sizes` of a new net with every entry, and the default's where it would have another number of them."""
    if kind not in EACH:
        return dict(sizes)
    default = SIZES[kind]
    if kind == "textcnn":
        count = len(sizes.get("kernels", default["kernels"]))
    else:
        given = [len(sizes[name]) for name in EACH[kind] if isinstance(sizes.get(name), tuple | list)]
        count = layers or (given[0] if given else len(default["heads"]))
    return for_each(kind, {**{name: default[name][0] for name in EACH[kind]}, **sizes}, count)
