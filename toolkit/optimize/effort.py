"""How long a plan is trained: short, to compare it with others, or long, for those that may be the answer.

A long training goes on from the weights of the short one. Students that run in a tenth of a millisecond train in
seconds, so they get more epochs; `copies` are noised copies of the training rows that the teacher answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolkit.train.recipes import Recipe, default_recipe


@dataclass(frozen=True)
class Effort:
    """Copies of the transfer set, and epochs over it by kind of net."""

    copies: int
    epochs: dict[str, int]


KINDS = ("transformer", "lstm", "textcnn", "mlp", "cnn", "recommender")
EFFORTS = {
    "short": Effort(4, {"transformer": 2, "lstm": 4, "textcnn": 4, "mlp": 5, "cnn": 3, "recommender": 3}),
    "long": Effort(10, {"transformer": 2, "lstm": 6, "textcnn": 6, "mlp": 6, "cnn": 6, "recommender": 4}),
}
# a net cut out of its teacher starts near its answer and learns faster than a fresh head would bear
LEARNING_RATES = {"transformer": 3e-4}


def times_longer(kind: str) -> float:
    """How many times the rows of a short training a long one of this kind goes through."""
    short, long = EFFORTS["short"], EFFORTS["long"]
    return (long.copies + 1) * long.epochs[kind] / ((short.copies + 1) * short.epochs[kind])


def recipe_for(kind: str, effort: str, *, seed: int, threads: int) -> Recipe:
    """The recipe of a student of `kind`: the net's own, with the epochs of `effort` and no early stopping.

    The search stops what falls behind; a schedule cut short by patience could not be compared with others.
    """
    recipe = default_recipe(kind)
    return replace(
        recipe,
        epochs=EFFORTS[effort].epochs[kind],
        learning_rate=LEARNING_RATES.get(kind, recipe.learning_rate),
        patience=0,
        seed=seed,
        threads=threads,
    )
