"""A recommender made ready: the role of every field is read off the training records.

Text and identifiers are categories, numbers are numbers, lists are sets. A field belongs to the user (or
the item) when each user (item) has one value of it throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.encoders.record import learn_fields
from toolkit.errors import DataError
from toolkit.nets import build_net
from toolkit.nets.recommender import field_sizes
from toolkit.train.preparation import Prepared, choose_sizes

IDENTIFIERS = {"user": "user", "item": "item"}


def prepare_record(
    records: Sequence[Mapping[str, Any]], *, labels: int, sizes: Mapping[str, Any] | None, dropout: float
) -> Prepared:
    """A recommender for training `records`; raises `DataError` for a field that has no role."""
    chosen = choose_sizes("recommender", {"width": 16, "hidden": (64, 32), "unseen": 0.3}, sizes)
    encoder = learn_fields(records, infer_roles(records))
    described = {**chosen, "fields": field_sizes(encoder.fields), "labels": labels, "dropout": dropout}
    return Prepared(build_net("recommender", described), encoder)


def infer_roles(records: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Field name -> (role, side), in the order in which fields first appear."""
    names = dict.fromkeys(name for record in records for name in record)
    sides = {side: name for name in names if (side := IDENTIFIERS.get(name.removesuffix("_id")))}
    roles = {}
    for name in names:
        values = [record[name] for record in records if record.get(name) is not None]
        if not values:
            continue  # never known in training: nothing to learn from it
        side = next((side for side, key in sides.items() if _belongs(records, name, key)), "")
        roles[name] = ("category" if name in sides.values() else _role(name, values), side)
    if not roles:
        raise DataError("the training records have no field with a value; a recommender needs one or more")
    return roles


def _role(name: str, values: Sequence[Any]) -> str:
    kinds = {"set" if isinstance(value, list | tuple) else _scalar_role(value) for value in values}
    if len(kinds) > 1 or not kinds <= {"set", "number", "category"}:
        raise DataError(f"the field {name!r} mixes {', '.join(sorted(kinds))}; allowed: all text, numbers or lists")
    return kinds.pop()


def _scalar_role(value: Any) -> str:
    if isinstance(value, str | bool):
        return "category"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _belongs(records: Sequence[Mapping[str, Any]], name: str, key: str) -> bool:
    """Whether each value of `key` goes with one value of `name`; the key itself always does."""
    found: dict[str, str] = {}
    return all(
        found.setdefault(str(record[key]), repr(record.get(name))) == repr(record.get(name))
        for record in records
        if record.get(key) is not None
    )
