"""MovieLens 100k: who liked which film, split by time.

A rating of 4 or 5 is "like". The first 70 % of ratings train, the next 10 % validate, the last 20 %
test, as a recommender meets them; a random split lets a model look into its future and flatters it.
Users carry age, sex and occupation, films their genres and year; sex and age group are slices.
Source: Harper and Konstan 2015, The MovieLens Datasets, doi:10.1145/2827872.
"""

from __future__ import annotations

from typing import Any

from toolkit.data.archives import members_digest, read_member
from toolkit.data.rows import Rows
from toolkit.errors import DataError

_MEMBERS = {part: f"recbole/dataset_example/ml-100k/ml-100k.{part}" for part in ("inter", "user", "item")}
LIKED_FROM = 4.0
AGE_GROUPS = ((18, "under 18"), (25, "18-24"), (35, "25-34"), (50, "35-49"))


def load_movielens() -> Rows:
    """Records {user, item, age, sex, occupation, genres, year} with labels dislike and like."""
    users = {row["user_id"]: _user(row) for row in _read("user")}
    items = {row["item_id"]: _item(row) for row in _read("item")}
    ratings = sorted(_read("inter"), key=lambda row: float(row["timestamp"]))
    examples = [
        {"user": row["user_id"], "item": row["item_id"], **users[row["user_id"]], **items[row["item_id"]]}
        for row in ratings
    ]
    labels = ["like" if float(row["rating"]) >= LIKED_FROM else "dislike" for row in ratings]
    first_of_validation, first_of_test = len(ratings) * 7 // 10, len(ratings) * 8 // 10
    splits = [
        "train" if place < first_of_validation else "validation" if place < first_of_test else "test"
        for place in range(len(ratings))
    ]
    slices = {
        "sex": [example["sex"] for example in examples],
        "age_group": [age_group(example["age"]) for example in examples],
    }
    source = members_digest("recbole", *_MEMBERS.values())
    return Rows("movielens-100k", "recommend", examples, labels, source, splits, slices)


def age_group(age: float) -> str:
    """The group of ages that an age in years belongs to."""
    return next((name for below, name in AGE_GROUPS if age < below), "50 and over")


def _read(part: str) -> list[dict[str, str]]:
    """Rows by column; a header cell is `name:type`, and the type is left out."""
    member = _MEMBERS[part]
    lines = read_member("recbole", member).decode("utf-8").splitlines()
    header = [cell.partition(":")[0] for cell in lines[0].split("\t")]
    rows = [line.split("\t") for line in lines[1:]]
    if any(len(row) != len(header) for row in rows):
        raise DataError(f"{member} has a row of other than {len(header)} columns: not the archive that was pinned")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _user(row: dict[str, str]) -> dict[str, Any]:
    return {"age": float(row["age"]), "sex": row["gender"], "occupation": row["occupation"]}


def _item(row: dict[str, str]) -> dict[str, Any]:
    year = {"year": float(row["release_year"])} if row["release_year"].isdigit() else {}
    return {"genres": row["class"].split(), **year}
