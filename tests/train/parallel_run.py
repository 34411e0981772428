"""What `test_train_parallel` runs alone and under torchrun: python parallel_run.py OUT; the gradients of each step.

Class weights on, fp32, no dropout, a learning rate so small that every step sees the same weights.
37 rows make batches of 16, 16 and an uneven 5; 33 rows make a last batch of 1, so one process has none.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from trec_cases import digest_of_weights, make_recipe, minilm, trec_rows

from toolkit.spec import Array
from toolkit.train.fit import fit

ROWS = (37, 33)


def gradients(rows: int) -> tuple[dict[str, Array], str]:
    """name.step -> gradient after each step, and the digest of the final weights."""
    net, encoder = minilm(1)
    train, validation = trec_rows()
    found: dict[str, Array] = {}

    def listen(stage: str, done: int, total: int, words: str = "") -> None:
        for name, parameter in net.named_parameters():
            if parameter.grad is not None:
                found[f"{name}.{done}"] = parameter.grad.numpy().copy()

    recipe = make_recipe(learning_rate=1e-8, class_weights=True, clip=0.0, weight_decay=0.0)
    fit(net, encoder, train.take(range(rows)), validation.take(range(8)), recipe, progress=listen)
    return found, digest_of_weights(net)


if __name__ == "__main__":
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    for rows in ROWS:
        found, weights = gradients(rows)
        (folder / f"weights-{rows}-{rank}").write_text(weights)
        if rank == "0":
            np.savez(folder / f"gradients-{rows}.npz", **found)
