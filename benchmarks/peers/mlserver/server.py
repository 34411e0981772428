"""MLServer with a runtime of our own; run it to start `mlserver start` on a folder of settings made for it.

Its defaults but for the ports, debug mode and parallel workers: 0 runs the model in the server's own
process, which spares a hop on one core (and the worker of 1.7.1 does not start with the uvloop that pip
resolves: "There is no current event loop in thread 'MainThread'"). BATCH above 1 turns adaptive batching
on, with BATCH_SECONDS to wait for company.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from mlserver import MLModel  # type: ignore[import-not-found]  # in an environment of its own
from mlserver.codecs import NumpyCodec, StringCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]

from toolkit.predictor import Predictor

BATCH = int(os.environ.get("BATCH", "1"))


class Classifier(MLModel):  # type: ignore[misc]
    """Texts in a BYTES tensor, labels and scores out."""

    async def load(self) -> bool:
        """Called once."""
        self.predictor = Predictor.load(os.environ["ARTIFACT"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Label and score of each text."""
        found = self.predictor(StringCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("label", [one.label for one in found]),
                NumpyCodec.encode_output("score", _column([one.score for one in found])),
            ],
        )


def _column(scores: list[float]) -> object:
    import numpy as np

    return np.array(scores).reshape(-1, 1)


def main() -> None:
    """Write the settings and become the server."""
    folder = Path(tempfile.mkdtemp(prefix="mlserver-"))
    port = int(os.environ["PORT"])
    settings = {
        "debug": False, "host": "127.0.0.1", "http_port": port, "grpc_port": int(os.environ["GRPC_PORT"]),
        "metrics_port": int(os.environ["METRICS_PORT"]), "metrics_dir": str(folder),
        "environments_dir": str(folder), "parallel_workers": 0,
    }  # fmt: skip
    model: dict[str, object] = {"name": "model", "implementation": "server.Classifier"}
    if BATCH > 1:
        model |= {"max_batch_size": BATCH, "max_batch_time": float(os.environ.get("BATCH_SECONDS", "0.005"))}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(Path(sys.executable).parent / "mlserver"), "start", str(folder)]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    os.execve(command[0], command, {**os.environ, "PYTHONPATH": path})


if __name__ == "__main__":
    main()
