"""A recommender as a BentoML service.

::

    TOOLKIT_ARTIFACT=runs/movielens bentoml serve bentos/recommender/service.py:Recommender

In a bento the artifact lies beside this file. HTTP is answered by toolkit.serving, in front of
BentoML; the method below is the same thing for BentoML's schema, client and in-process callers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml

from toolkit.serving.loading import find_artifact, load_served
from toolkit.serving.seam import service


@service("recommender")
class Recommender:
    """Says how likely each user is to like each item."""

    def __init__(self) -> None:
        self.served = load_served(find_artifact(Path(__file__).parent), task="recommend")

    @bentoml.api(route="/v1/recommend")  # type: ignore[untyped-decorator]  # BentoML is untyped for mypy
    def recommend(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Score of each record, in order: {"inputs": [{"user": "1", "item": "50"}]}."""
        return self.served.answer(inputs)
