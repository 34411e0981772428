"""What a user gets from the wheel alone, in an environment without one extra (`make test` builds it).

Here nothing of this repository is on the path: a module that forgot to be packaged, or that imports an
optional library at the top, is found here and nowhere else.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import digits_models
import pytest

from toolkit.cli import COMMANDS

ROOT = Path(__file__).parents[1]
BARE = ROOT / ".venv-bare" / "bin"

pytestmark = pytest.mark.skipif(not BARE.exists(), reason="no .venv-bare; `make test` builds the wheel and installs it")


def bare(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BARE / "toolkit", *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def test_no_extra_is_installed_there() -> None:
    program = "import importlib.util as u; print([m for m in ('torch', 'onnxruntime', 'bentoml') if u.find_spec(m)])"
    done = subprocess.run([BARE / "python", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_works_without_extras(name: str, tmp_path: Path) -> None:
    done = bare(*([name] if name else []), "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_doctor_names_what_is_missing(tmp_path: Path) -> None:
    done = bare("doctor", "--json", cwd=tmp_path)
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["[train]"]["state"] == "absent"
    assert "serving-toolkit[train]" in findings["[train]"]["advice"]


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "text", "--data", "rows.csv", "--net", "mlp", "-o", "x"], "train"),
        (["export", "artifact", "-o", "x"], "train"),
        (["quantize", "artifact", "--mode", "dynamic", "-o", "x"], "train"),
        (["check", "artifact"], "cpu"),
        (["serve", "artifact"], "serve"),
        (["package", "artifact"], "cpu"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_a_command_names_the_extra_it_needs(arguments: list[str], extra: str, tmp_path: Path) -> None:
    digits_models.make_artifact(tmp_path / "artifact")
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(40)))
    done = bare(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"serving-toolkit[{extra}]" in done.stderr
    assert not (tmp_path / "x").exists()


def test_an_artifact_is_read_and_verified_without_extras(tmp_path: Path) -> None:
    digits_models.make_artifact(tmp_path / "artifact")
    program = "from toolkit.artifact import load_artifact as l; a = l('artifact'); a.verify(); print(a.spec.labels[3])"
    done = subprocess.run([BARE / "python", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "three"


def test_the_wheel_carries_types_and_services(tmp_path: Path) -> None:
    program = (
        "import toolkit, pathlib; f = pathlib.Path(toolkit.__file__).parent; "
        "print((f / 'py.typed').is_file(), sorted(p.parent.name for p in (f / '_bentos').glob('*/service.py')))"
    )
    done = subprocess.run([BARE / "python", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "True ['image_classifier', 'recommender', 'text_classifier']"
