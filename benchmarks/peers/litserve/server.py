"""LitServe, its defaults; BATCH above 1 turns its batching on with BATCH_SECONDS to wait for company.

One API server process and one worker beside it, as it comes.
"""

from __future__ import annotations

import os
from typing import Any

import litserve  # type: ignore[import-not-found]  # in an environment of its own

from toolkit.predictor import Prediction, Predictor

BATCH = int(os.environ.get("BATCH", "1"))


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    """One text a request; with batching `predict` gets a list of them."""

    def setup(self, device: str) -> None:
        """Called once in the worker."""
        self.predictor = Predictor.load(os.environ["ARTIFACT"])

    # LitServe reads the annotation of `request` itself, and takes one it does not know for a query parameter
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """The text."""
        return request["inputs"][0]

    def predict(self, inputs: Any) -> Any:
        """A text without batching, a list of them with it; batches are lists, LitServe's default."""
        return self.predictor(inputs) if BATCH > 1 else self.predictor([inputs])[0]

    def encode_response(self, output: Prediction) -> dict[str, Any]:
        """Label and score."""
        return {"predictions": [{"label": output.label, "score": output.score}]}


if __name__ == "__main__":
    api = Classifier(max_batch_size=BATCH, batch_timeout=float(os.environ.get("BATCH_SECONDS", "0")))
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), num_api_servers=1, log_level="warning", access_log=False,
        generate_client_file=False,
    )  # fmt: skip
