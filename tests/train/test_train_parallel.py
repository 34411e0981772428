"""Two gloo processes take the step that one process takes on the same global batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from parallel_run import ROWS, gradients

SCRIPT = Path(__file__).with_name("parallel_run.py")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    done = subprocess.run(
        [*command, "--master_port", str(port), str(SCRIPT), str(folder)],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("rows", ROWS)
def test_gradients_are_those_of_one_process(two_processes: Path, rows: int) -> None:
    alone, _ = gradients(rows)
    with np.load(two_processes / f"gradients-{rows}.npz") as together:
        assert set(together.files) == set(alone)
        assert {name.rsplit(".", 1)[1] for name in alone} == {"1", "2", "3"}  # the uneven batch is one of them
        worst = max(float(np.abs(together[name] - alone[name]).max()) for name in alone)
    assert worst < 1e-5
    assert max(float(np.abs(gradient).max()) for gradient in alone.values()) > 1e-2  # not small by being nothing


@pytest.mark.parametrize("rows", ROWS)
def test_both_processes_end_with_the_same_weights(two_processes: Path, rows: int) -> None:
    digests = {(two_processes / f"weights-{rows}-{rank}").read_text() for rank in (0, 1)}
    assert len(digests) == 1
