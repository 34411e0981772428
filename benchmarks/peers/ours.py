"""An artifact of this toolkit, run by its own `Predictor`'s parts, as the other peers are.

python ours.py ARTIFACT
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import toolkit
from benchmarks.peers.worker import Array, Arrays, attend, take_stdout, threads
from toolkit.artifact import load_artifact
from toolkit.predictor import Predictor


class Ours:
    """Logits of the artifact's runner."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def encode(self, text: str) -> dict[str, Any]:
        return self._predictor.encoder.encode([text])

    def run(self, arrays: Arrays) -> Array:
        return np.asarray(self._predictor.runner.run(arrays))


def main() -> None:
    out = take_stdout()
    with Predictor.load(sys.argv[1], threads=threads()) as predictor:
        artifact = load_artifact(sys.argv[1])
        facts = {
            "size_bytes": sum(int(artifact.files[name]["bytes"]) for name in artifact.core.models),
            "versions": {"toolkit": toolkit.__version__, "runtime": predictor.runner.facts()["runtime"]},
            "threads": threads(), "digest": artifact.digest,
            "steps": [step.name for step in artifact.core.steps],
        }  # fmt: skip
        model = Ours(predictor)
        attend(out, model.encode, model, facts)


if __name__ == "__main__":
    main()
