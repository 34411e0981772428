"""No runtime writes down who runs it: ONNX Runtime's own telemetry is off wherever the toolkit is imported first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from digits_models import make_artifact

PROGRAM = """
import sys
{first}
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""


@pytest.mark.parametrize(("first", "writes"), [("import toolkit", False), ("", True)])
def test_nothing_is_written_to_the_users_cache_and_without_us_it_would_be(
    tmp_path: Path, first: str, writes: bool
) -> None:
    """The second case is the control: a harness that never saw a file would prove nothing."""
    artifact, home = make_artifact(tmp_path / "digits"), tmp_path / "home"
    home.mkdir()
    # Named one by one, since ONNX Runtime is silent by itself where CI, GITHUB_ACTIONS or their like are set.
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    known = {name: os.environ[name] for name in kept if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first), str(artifact.folder / "model.onnx")],
        env={**known, "HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert any(path.name == "deviceid" for path in home.rglob("*")) is writes


def test_the_images_switch_it_off_too() -> None:
    text = (Path(__file__).parents[2] / "Dockerfile").read_text()
    assert text.count("ORT_DISABLE_TELEMETRY=1") == text.count("BENTOML_DO_NOT_TRACK=True") == 2
