"""An image classifier as a BentoML service.

::

    TOOLKIT_ARTIFACT=runs/digits bentoml serve bentos/image_classifier/service.py:ImageClassifier
    curl -F image=@seven.png localhost:3000/v1/classify

In a bento the artifact lies beside this file. HTTP is answered by toolkit.serving, in front of
BentoML; the method below is the same thing for BentoML's schema, client and in-process callers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml

from toolkit.serving.loading import find_artifact, load_served
from toolkit.serving.seam import service


@service("image_classifier")
class ImageClassifier:
    """Says which label each picture has."""

    def __init__(self) -> None:
        self.served = load_served(find_artifact(Path(__file__).parent), task="image")

    @bentoml.api(route="/v1/classify")  # type: ignore[untyped-decorator]  # BentoML is untyped for mypy
    def classify(self, inputs: list[str]) -> dict[str, Any]:
        """Label and score of each picture, a PNG or JPEG in base64: {"inputs": ["iVBORw0KGgo..."]}."""
        return self.served.answer(inputs)
