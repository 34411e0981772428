"""A transfer set of records: each copy takes one thing from another row, for a teacher to answer.

Who likes what is known for a few of all pairs; a teacher can be asked about any. A copy takes one field
from another training row: an identifier brings along what belongs to it (the age of the user, the genres
of the film), so that what comes out is a pair that nobody has rated and not a film of false genres.

Source: Tang and Wang 2018, Ranking Distillation (arXiv:1809.07428), which has the teacher answer unrated pairs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.errors import InputError, RecipeError
from toolkit.train.records import IDENTIFIERS, infer_roles

Record = Mapping[str, Any]


def noised_records(examples: Sequence[Record], *, copies: int, seed: int) -> list[dict[str, Any]]:
    """`copies` noised records of each example, copy by copy in the order of the examples.

    A copy depends on seed, copy and row alone (and on which rows there are). Raises `RecipeError` for copies
    below 0, `InputError` for examples that are no records.
    """
    if copies < 0:
        raise RecipeError(f"copies is {copies}; allowed: 0 or more noised copies of each training record")
    if not copies:
        return []
    for row, example in enumerate(examples):
        if not isinstance(example, Mapping):
            kind = type(example).__name__
            raise InputError(f"row {row} is {kind}; noised copies are made of records: copies=0")
    groups = group_fields(examples)
    result = []
    for copy in range(copies):
        for row, example in enumerate(examples):
            chance = random.Random(f"{seed}/{copy}/{row}")
            other, fields = examples[chance.randrange(len(examples))], chance.choice(groups)
            kept = {name: value for name, value in example.items() if name not in fields}
            taken = {name: other[name] for name in fields if name in other}
            # in the order of the record it was, so that equal records are equal bytes
            together = {**kept, **taken}
            result.append({name: together[name] for name in dict.fromkeys((*example, *taken)) if name in together})
    return result


def group_fields(examples: Sequence[Record]) -> list[tuple[str, ...]]:
    """The fields that are taken together: an identifier with all of its side, any other field alone."""
    roles = infer_roles(examples)
    groups = []
    for name, (_, side) in roles.items():
        if side and IDENTIFIERS.get(name.removesuffix("_id")) == side:
            groups.append(tuple(field for field, (_, of) in roles.items() if of == side))
        else:
            groups.append((name,))
    return groups
