"""Plain BentoML: a service with a batchable API and its defaults, as its quickstart has it."""

from __future__ import annotations

import os
from typing import Any

import bentoml

from toolkit.predictor import Predictor


@bentoml.service
class Plain:
    """Says which label each text has."""

    def __init__(self) -> None:
        self.predictor = Predictor.load(os.environ["ARTIFACT"])

    @bentoml.api(batchable=True)  # type: ignore[untyped-decorator]  # BentoML is untyped for mypy
    def classify(self, inputs: list[str]) -> list[dict[str, Any]]:
        """Label and score of each text: {"inputs": ["Who wrote Hamlet ?"]}."""
        return [{"label": one.label, "score": one.score} for one in self.predictor(inputs)]
