"""Columns are guessed only where one can be meant."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.data.columns import Columns, choose_columns
from toolkit.errors import DataError


@pytest.mark.parametrize(
    ("available", "told", "example", "label"),
    [
        (["text", "label"], {}, "text", "label"),
        (["id", " Review ", "Sentiment"], {}, " Review ", "Sentiment"),
        (["label", "utterance"], {}, "utterance", "label"),
        (["sentence", "stars"], {}, "sentence", "stars"),
        (["text", "stars", "split"], {}, "text", "stars"),
        (["a", "b", "c"], {"text": "b", "label": "c"}, "b", "c"),
        (["title", "text", "label"], {"text": "title"}, "title", "label"),
        (["text", "label", "class"], {"label": "class"}, "text", "class"),
        (["text", "stars", "country"], {"slices": ["country"]}, "text", "stars"),
    ],
)
def test_plain_cases(available: list[str], told: dict[str, Any], example: str, label: str) -> None:
    chosen = choose_columns("f.csv", available, task="text", **told)
    assert (chosen.example, chosen.label) == (example, label)


def test_the_split_column_is_found_unless_it_is_the_label() -> None:
    assert choose_columns("f.csv", ["text", "label", "Split"], task="text").split == "Split"
    assert choose_columns("f.csv", ["text", "split"], task="text", label="split").split is None


def test_every_other_column_is_a_field_of_a_record() -> None:
    chosen = choose_columns("f.csv", ["user", "item", "split", "label", "age"], task="recommend", slices=["age"])
    assert chosen == Columns("", "label", "split", ("user", "item", "age"), ("age",))


@pytest.mark.parametrize(
    ("available", "told", "words"),
    [
        (["a", "b"], {}, "say it with --text and --label; f.csv has the columns: 'a', 'b'"),
        (["text", "review", "label"], {}, "say it with --text;"),
        (["text", "label", "class"], {}, "say it with --label;"),
        (["text", "x", "y1"], {}, "say it with --label;"),
        (["text", "label"], {"text": "body"}, "--text 'body' is no column; f.csv has the columns: 'text', 'label'"),
        (["text", "label"], {"label": "stars"}, "--label 'stars' is no column"),
        (["text", "label"], {"slices": ["sex"]}, "--slice 'sex' is no column"),
        (["text", "label"], {"text": "label", "label": "label"}, "--text and --label are both 'label'"),
        (["text", "text", "label"], {}, "two columns have one name"),
        (["user", "item"], {"task": "recommend"}, "say which column is the answer with --label"),
        (["label"], {"task": "recommend"}, "no column is left as a field"),
        (["text", "label"], {"task": "recommend", "text": "text"}, "--text is not for the task recommend"),
    ],
)
def test_anything_else_is_an_error_that_lists_the_columns(
    available: list[str], told: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError) as raised:
        choose_columns("f.csv", available, **{"task": "text", **told})
    assert words in str(raised.value)
