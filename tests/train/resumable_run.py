"""The command that `test_train_resume` kills and repeats: python resumable_run.py FOLDER; prints a sha256.

With KILL_AT=N in the environment it is killed by SIGKILL once N steps are done: no handler, no clean-up.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from trec_cases import digest_of_weights, make_recipe, minilm, trec_rows

from toolkit.train.fit import Fitted, fit

ROWS = 128
SETTINGS = {"epochs": 2, "dropout": 0.2, "seed": 7, "checkpoint_steps": 5}


def run(folder: Path | None, *, kill_at: int = 0, seed: int = 7) -> Fitted:
    def listen(stage: str, done: int, total: int, words: str = "") -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    net, encoder = minilm(1)
    train, validation = trec_rows()
    recipe = make_recipe(**{**SETTINGS, "seed": seed})
    return fit(
        net, encoder, train.take(range(ROWS)), validation.take(range(16)), recipe, folder=folder, progress=listen
    )


if __name__ == "__main__":
    fitted = run(Path(sys.argv[1]), kill_at=int(os.environ.get("KILL_AT", "0")))
    sys.stdout.write(digest_of_weights(fitted.net))
