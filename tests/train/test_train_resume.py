"""A killed run goes on where its last checkpoint stood and ends with the very weights of an unbroken one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from resumable_run import run
from trec_cases import digest_of_weights

from toolkit.train.checkpoint import CHECKPOINT
from toolkit.train.fit import Fitted

STEPS_OF_AN_EPOCH = 8
SCRIPT = Path(__file__).with_name("resumable_run.py")


@pytest.fixture(scope="module")
def unbroken() -> Fitted:
    return run(None)


def _command(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path, unbroken: Fitted) -> None:
    # in the second epoch, neither at its start nor where a checkpoint has just been written
    kill_at = random.Random(2026).choice(range(11, 15))
    killed = _command(tmp_path, KILL_AT=str(kill_at))
    assert killed.returncode == -signal.SIGKILL
    stored = torch.load(tmp_path / CHECKPOINT, weights_only=True)["position"]
    assert stored["step"] == kill_at // 5 * 5
    assert stored["batch"] == stored["step"] - STEPS_OF_AN_EPOCH > 0  # in the middle of an epoch
    resumed = _command(tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.strip() == digest_of_weights(unbroken.net)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]  # each epoch once, killed or not


def test_the_same_twice_from_one_seed_and_another_from_another(unbroken: Fitted) -> None:
    assert digest_of_weights(run(None).net) == digest_of_weights(unbroken.net)
    assert digest_of_weights(run(None, seed=8).net) != digest_of_weights(unbroken.net)
