"""The page a newcomer sees is true: its commands run as they stand, its numbers come from committed results.

A block runs here unless the comment above it says otherwise: "long" blocks need what `make demo` leaves
and are run by it (`pytest -m long`), "a make target" names one, "not run here" would install packages.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.tables import RESULTS, TABLES, render
from toolkit.serving.serve import free_port

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<language>bash|python)\n(?P<code>.*?)```", re.DOTALL)
SECONDS = 300


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    mark: str


BLOCKS = [Block(b["language"], b["code"], b["mark"] or "") for b in BLOCK.finditer(README)]


def run_blocks(blocks: list[Block], folder: Path) -> str:
    """Run blocks one after another in `folder`, as a person pasting them would; returns what they printed."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BENTOML_HOME": str(folder / "bentoml"),
        "PYTHONPATH": str(ROOT),
    }
    port, printed = str(free_port()), ""
    for block in blocks:
        code = block.code.replace("3000", port)
        program = ["bash", "-euc", code] if block.language == "bash" else [sys.executable, "-c", code]
        process = subprocess.Popen(
            program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            # a server left in the background keeps the pipe: wait for the shell, not for its children
            process.wait(SECONDS)
        finally:
            for child in _children(process.pid):
                os.kill(child, signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0, f"{code}\nleft with {process.returncode}:\n{output}"
        printed += output
    return printed


def _children(session: int) -> list[int]:
    """Processes of the session that a block started and left running."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            if os.getsid(process.pid) == session and process.pid != session:
                found.append(process.pid)
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            continue
    return found


def test_the_blocks_run_as_they_stand(tmp_path: Path) -> None:
    blocks = [block for block in BLOCKS if not block.mark]
    assert len(blocks) >= 3
    printed = run_blocks(blocks, tmp_path)
    assert "verdict      pass" in printed
    assert "Prediction(label='spam'" in printed
    assert '"label":"spam"' in printed.replace(" ", ""), "the server answered"


@pytest.mark.long
def test_the_long_blocks_run_on_what_the_demo_leaves() -> None:
    blocks = [block for block in BLOCKS if block.mark.startswith("long")]
    assert blocks
    assert "is whole" in run_blocks(blocks, ROOT)


def test_every_make_target_on_the_page_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))
    assert named >= {"demo", "test"}
    assert named <= targets


def test_every_extra_on_the_page_exists() -> None:
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {extra for group in re.findall(r"serving-toolkit\[([a-z,-]+)\]", README) for extra in group.split(",")}
    assert named
    assert named <= known


def test_an_example_stands_before_line_40() -> None:
    assert README[: README.index("toolkit train")].count("\n") < 40


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_those_of_the_committed_results(name: str) -> None:
    assert render(README) == README, "run make tables"
    shown = README.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    measured = all((RESULTS / file).is_file() for file in TABLES[name][0])
    assert measured == (not shown.startswith("\nNot measured yet:")), "a page without its result must say so"


def test_a_changed_result_makes_the_page_stale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for file in [file for files, _ in TABLES.values() for file in files if (RESULTS / file).is_file()]:
        (tmp_path / file).write_text((RESULTS / file).read_text())
    changed = json.loads((tmp_path / "demo.json").read_text())
    changed["rows"][0]["size_bytes"] += 10_000_000
    (tmp_path / "demo.json").write_text(json.dumps(changed))
    monkeypatch.setattr("benchmarks.tables.RESULTS", tmp_path)
    assert render(README) != README


def test_without_a_result_the_page_says_what_would_measure_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.tables.RESULTS", tmp_path)
    shown = render(README)
    measured = [name for name, (files, _) in TABLES.items() if files]  # of a GPU every row has its state instead
    assert all(f"<!-- {name} -->\nNot measured yet: `make {name}` does it." in shown for name in measured)
    assert "No GPU figure has been measured yet" in shown
