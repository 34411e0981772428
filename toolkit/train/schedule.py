"""The learning rate at each step: a linear rise from 0, then a linear or cosine fall to 0.

A pure function of the step, so the step is all the state that a checkpoint has to keep.
Sources: Goyal et al. 2017 (arXiv:1706.02677) for the warm-up; Loshchilov and Hutter 2017
(arXiv:1608.03983) for the cosine.
"""

from __future__ import annotations

import math

from toolkit.train.recipes import Recipe


def learning_rate_at(step: int, total: int, recipe: Recipe) -> float:
    """Learning rate of step `step` (from 0) of `total`; the first is above 0, the last not yet 0."""
    rising = math.ceil(recipe.warmup * total)
    if step < rising:
        return recipe.learning_rate * (step + 1) / rising
    left = (total - step) / max(total - rising, 1)
    if recipe.decay == "linear":
        return recipe.learning_rate * left
    if recipe.decay == "cosine":
        return recipe.learning_rate * 0.5 * (1.0 - math.cos(math.pi * left))
    return recipe.learning_rate
