"""A fresh process really loads the model, answers, and tells what that cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import digits_models as models
import numpy as np
import pytest

from toolkit.errors import ArtifactError
from toolkit.measure import footprint as footprint_module
from toolkit.measure.footprint import measure_footprint

PICTURE = models.held_out(1).examples[0]


def test_a_real_artifact_in_a_fresh_process(tmp_path: Path) -> None:
    artifact = models.make_artifact(tmp_path / "digits")
    found = measure_footprint(artifact.folder, PICTURE)
    assert 0 < found.load_ms < found.cold_load_ms  # the import of the runtime is paid once
    assert found.first_answer_ms > 0
    assert found.bare_bytes is not None
    assert found.peak_bytes is not None
    assert found.resident_bytes is not None
    assert 4e6 < found.bare_bytes < 60e6  # no numpy, no runtime yet
    assert found.peak_bytes >= found.resident_bytes - 1e6
    assert found.memory_bytes == found.resident_bytes - found.bare_bytes
    assert 10e6 < found.memory_bytes < 500e6  # ONNX Runtime, and never torch
    assert found.to_json()["memory_bytes"] == found.memory_bytes


def test_a_picture_may_come_as_bytes(tmp_path: Path) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, format="PNG")
    artifact = models.make_artifact(tmp_path / "digits")
    assert measure_footprint(artifact.folder, buffer.getvalue()).first_answer_ms > 0


def test_a_broken_artifact_is_an_error_that_says_why(tmp_path: Path) -> None:
    artifact = models.make_artifact(tmp_path / "digits")
    (artifact.folder / "model.onnx").write_bytes(b"x" * artifact.files["model.onnx"]["bytes"])
    with pytest.raises(ArtifactError, match=r"fresh process.*sha256 differs"):
        measure_footprint(artifact.folder, PICTURE)


@pytest.mark.parametrize("example", ["Wer schrieb 紅樓夢 ?", {"user": 7, "genres": ["a", "b"]}, b"\x00\xff", PICTURE])
def test_every_kind_of_example_survives_the_pipe(example: object) -> None:
    import json

    sent = json.loads(json.dumps(footprint_module._pack(example)))
    back = footprint_module._unpack(sent)
    if isinstance(example, np.ndarray):
        assert back.dtype == example.dtype
        assert (back == example).all()
    else:
        assert back == example


def test_the_module_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'onnxruntime', 'torch'}"
    program = (
        f"import sys, toolkit.measure.footprint; print(sorted({heavy} & {{m.split('.')[0] for m in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
