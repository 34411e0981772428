"""`toolkit bench` on small real models: what it writes, what it refuses, and when it says that a run is void."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from serving.small_models import image_artifact, text_artifact

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.errors import InputError
from toolkit.ladder import Plan, names_of, require_one_task, run_bench
from toolkit.measure.bench_file import read_bench

TEXTS = ["Who wrote Hamlet ?", "How many miles is it to the moon ?", "Where is Lisbon ?", "What is an atom ?"]
LABELS = ("HUM", "NUM", "DESC", "ABBR")
SHORT = ("--seconds", "0.25", "--rounds", "5")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    text_artifact(root / "a")
    text_artifact(root / "b", name="other", weight=2.0)
    image_artifact(root / "picture")
    rows = [f"{text[:-2]} {i} ?,{label}" for i in range(10) for text, label in zip(TEXTS, LABELS, strict=True)]
    (root / "rows.csv").write_text("\n".join(["question,kind", *rows]) + "\n")
    return root


def say(capfd: pytest.CaptureFixture[str], place: Path, *arguments: Any) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document on stdout, the words on stderr."""
    capfd.readouterr()
    columns = ("--data", str(place / "rows.csv"), "--text", "question", "--label", "kind")
    code = run(["bench", *map(str, arguments), *columns, "--json"])
    shown = capfd.readouterr()
    return code, json.loads(shown.out) if shown.out else {}, shown.err


def test_two_artifacts_side_by_side(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.json"
    code, document, words = say(capfd, place, place / "a", place / "b", *SHORT, "--price", "3.6", "-o", out)
    assert code == 0, words
    file = read_bench(out)
    assert file.to_json() == document["bench"]
    assert [entry["name"] for entry in file.artifacts] == ["questions", "other"]
    assert set(file.noise_floor) == {"runner", "predictor"}
    assert [(one["rung"], one["artifact"], one["against"]) for one in file.ratios] == [
        ("runner", "other", "questions"), ("predictor", "other", "questions"),
    ]  # fmt: skip
    for entry in file.artifacts:
        assert set(entry["rungs"]) == {"runner", "predictor"}
        for rung in entry["rungs"].values():
            assert rung["success_rate"] == 1.0
            assert len(rung["rounds_p50_ms"]) == 5
            assert ("again_p50_ms" in rung) == (entry["name"] == "questions")
        assert entry["rungs"]["runner"]["p50_ms"] < entry["rungs"]["predictor"]["p50_ms"]
        assert entry["footprint"]["first_answer_ms"] > 0
        assert entry["price"]["per_million"] == pytest.approx(entry["rungs"]["predictor"]["mean_ms"], rel=1e-6)
        assert not {"open", "peak", "loadgen", "energy"} & {key for key, value in entry.items() if value is None}
        own = read_bench(Path(entry["folder"]) / "evidence" / "bench.json")
        assert [one["name"] for one in own.artifacts] == [entry["name"]]
        assert entry["digest"] == load_artifact(entry["folder"]).digest
    assert "idle" in file.conditions
    lines = words.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("questions  ", "other  "))][:4] == [
        ["questions", "runner"], ["questions", "predictor"], ["other", "runner"], ["other", "predictor"],
    ]  # fmt: skip
    assert "noise, from questions against itself" in words
    code, document, words = say(capfd, place, place / "a", *SHORT, "--against", out, "--tolerance", "50")
    assert code == 0, words
    assert document["against"]["passed"] is True
    assert any(line.startswith("passed: ") for line in words.splitlines())


def test_what_cannot_be_is_refused_before_the_clock_runs(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "thesis.json"
    precious.write_text('{"kind": "thesis"}')
    old = tmp_path / "old.json"
    old.write_text('{"kind": "bench", "schema_version": 0}')
    begun = time.monotonic()
    for arguments, said in (
        ((place / "a", place / "picture"), "give artifacts of one task"),
        ((place / "a", place / "a"), "is given twice"),
        ((), "DIR... --data DATA"),
        ((place / "a", "-o", precious), "would replace what is no result"),
        ((place / "a", "--against", tmp_path / "none.json"), "does not exist"),
        ((place / "a", "--against", old), "schema_version 0"),
        ((place / "a", "--self-test"), "--self-test takes no artifacts"),
        ((place / "a", "--scenario", "multi_stream"), "multi_stream"),
    ):
        code, document, words = say(capfd, place, *arguments)
        assert (code, document) == (2, {}), words
        assert said in words
        assert len(words.strip().splitlines()) == 1, words
    assert precious.read_text() == '{"kind": "thesis"}'
    assert time.monotonic() - begun < 30
    assert run(["bench", str(place / "a")]) == 2


def test_another_machine_is_refused_unless_asked(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "here.json"
    assert say(capfd, place, place / "a", *SHORT, "-o", out)[0] == 0
    value = json.loads(out.read_text())
    value["machine"]["processor"] = "Zilog Z80"
    out.write_text(json.dumps(value))
    code, document, words = say(capfd, place, place / "a", *SHORT, "--against", out)
    assert (code, document) == (2, {})
    assert "Zilog Z80" in words
    code, document, words = say(
        capfd, place, place / "a", *SHORT, "--against", out, "--across-machines", "--tolerance", "50"
    )  # fmt: skip
    assert code == 0, words
    assert "Zilog Z80" in words, "marked"


def test_require_idle_means_it(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # a child of this process is no neighbour, so its child, which has lost its parent, is taken
    spin = "[sys.executable, '-c', 'while True: pass'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    program = f"import subprocess, sys; print(subprocess.Popen({spin}).pid)"
    neighbour = int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30).stdout)
    try:
        code, document, words = say(capfd, place, place / "a", *SHORT, "--require-idle")
    finally:
        os.kill(neighbour, signal.SIGKILL)
    assert (code, document) == (1, {})
    assert "not idle" in words
    assert "leave out --require-idle" in words


def test_names_that_are_the_same_get_their_folders(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "a", tmp_path / "copy")
    artifacts = [load_artifact(folder) for folder in (place / "a", tmp_path / "copy", place / "b")]
    assert names_of(artifacts) == [f"questions ({place / 'a'})", f"questions ({tmp_path / 'copy'})", "other"]
    require_one_task(artifacts)
    with pytest.raises(InputError, match="is given twice"):
        require_one_task([artifacts[0], *artifacts])


def test_the_whole_ladder(place: Path) -> None:
    """Real servers of two artifacts; what the machine is doing meanwhile decides only whether a peak can be shown."""
    plan = Plan("rows", seconds=0.3, rounds=2, ladder=True, objective_ms=2000, probe_seconds=0.3, longest_probe=0.8)
    artifacts = [load_artifact(place / name) for name in "ab"]
    file = run_bench(artifacts, TEXTS, plan).file
    late = 0
    for entry in file.artifacts:
        assert set(entry["rungs"]) == {"runner", "predictor", "http"}
        http = entry["rungs"]["http"]
        assert http["success_rate"] == 1.0, "every answer is the predictor's own"
        assert http["p50_ms"] > entry["rungs"]["predictor"]["p50_ms"]
        peak = entry["peak"]
        assert peak["objective_ms"] == 2000
        assert peak["probes"]
        assert ("open" in entry) == ("rate" in peak)
        for step, share in zip(entry.get("open", []), (0.25, 0.5, 0.75, 0.9), strict=False):
            assert step["offered"] == pytest.approx(share * peak["rate"])
            assert step["wrong"] == 0
            late += not step["valid"]
        late += "rate" not in peak and peak["limit"].startswith("the generator")
    assert len(file.void) == late, file.void
    assert set(file.noise_floor) == {"runner", "predictor", "http"}


@contextmanager
def killer() -> Iterator[None]:
    """Kills the first server that this process starts, a moment after it stands ready."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            for process in psutil.Process().children():
                try:
                    if "bentoml" in process.cmdline() and process.status() == psutil.STATUS_STOPPED:
                        done.wait(0.3)
                        process.kill()
                        return
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_server_that_dies_makes_the_run_void(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "c", tmp_path / "void.json"
    text_artifact(folder)
    with killer():
        code, document, words = say(capfd, place, folder, "--ladder", "--seconds", "1", "--rounds", "2", "-o", out)
    assert code == 1
    assert "VOID, decides nothing: the server of questions died" in words
    file = read_bench(out)
    assert not file.counts
    assert document["bench"]["void"] == list(file.void)
    assert "peak" not in file.artifacts[0]
    assert not (folder / "evidence" / "bench.json").exists(), "what decides nothing is no evidence"
    assert not any("bentoml" in " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True))
