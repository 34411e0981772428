"""`toolkit report` from real evidence: what is written, what is refused, and that no raw row is in it unasked."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import reported
from reported import COLUMNS, bench, keep, make_models, make_rows

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.measure.bench_file import write_bench


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline and one that failed, judged and timed."""
    folder = tmp_path_factory.mktemp("reports")
    models = make_models(folder, {"baseline": 0.0, "small": 0.15})
    rows = make_rows(folder, models["baseline"])
    assert reported.verify(models["baseline"], models["small"], rows) == 1
    keep(bench(list(models.values()), (3.1, 1.2)), list(models.values()))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may write into, and work in."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


def say(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON document, and what was said to the user."""
    capfd.readouterr()
    code = run(["report", *map(str, arguments), "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, json.loads(out) if out.strip() else {}, err


def examples(place: Path) -> list[str]:
    with (place / "rows.csv").open(newline="") as file:
        return [row["question"] for row in csv.DictReader(file)]


def test_page_markdown_and_terminal_say_the_same(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, document, words = say(
        capfd, place / "model0", place / "model1", "-o", place / "r.html", "--markdown", place / "r.md"
    )
    assert code == 0, words  # a failed gate is shown, and is no failure of the report
    verdict = document["verdict"]
    assert verdict["tone"] == "failed"
    assert verdict["words"].startswith("small fails its gate: accuracy 90.9 % → 87.3 %")
    assert f"verdict   {verdict['words']}" in words
    assert verdict["words"].split(":")[0] in (place / "r.html").read_text()
    assert verdict["words"].split(":")[0] in (place / "r.md").read_text()
    assert document["written"] == {"html": str(place / "r.html"), "markdown": str(place / "r.md")}
    assert set(document["missing"]) == {"scenarios", "cost", "slices"}
    lines = words.splitlines()
    table = next(i for i, line in enumerate(lines) if line.startswith("#  artifact"))
    assert lines[table + 1].startswith("1  baseline")
    assert "worse (failed)" in lines[table + 2]
    assert sorted(path.name for path in place.iterdir()) == ["model0", "model1", "r.html", "r.md", "rows.csv"]


def test_no_raw_row_leaves_unless_the_data_is_given(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    texts = examples(place)
    code, _, words = say(capfd, place / "model1", "-o", place / "r.html", "--markdown", place / "r.md")
    assert code == 0, words
    whole = (place / "r.html").read_text() + (place / "r.md").read_text()
    evidence = "".join(path.read_text() for path in (place / "model1/evidence").glob("*.json"))
    assert not any(text in whole + evidence for text in texts)
    code, _, words = say(capfd, place / "model1", "-o", place / "s.html", "--data", place / "rows.csv", *COLUMNS)
    assert code == 0, words
    flips = json.loads((place / "model1/evidence/flips.json").read_text())
    assert sum(text in (place / "s.html").read_text() for text in texts) == len(flips["rows"]) == 16


def test_verify_keeps_changed_rows_by_number(place: Path) -> None:
    flips = json.loads((place / "model1/evidence/flips.json").read_text())
    before, after = load_artifact(place / "model0"), load_artifact(place / "model1")
    assert flips["reference"] == {"name": "baseline", "digest": before.digest}
    assert (flips["digest"], flips["split"], flips["total"]) == (after.digest, "test", 440)
    report = json.loads((place / "model1/evidence/report.json").read_text())
    assert len(flips["rows"]) == report["flips"]["count"]
    assert len(report["test"]["reliability"]) == len(report["reference"]["reliability"]) == 15
    assert sum(found["rows"] for found in report["test"]["reliability"]) == 440
    for found in report["classes"]:
        assert found["difference"]["value"] == pytest.approx(found["recall_change"])
        assert found["difference"]["low"] <= found["recall_change"] <= found["difference"]["high"]


def test_other_data_is_refused(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = (place / "rows.csv").read_text().splitlines()
    (place / "rows.csv").write_text("\n".join(lines[:-1]) + "\n")
    code, _, words = say(capfd, place / "model1", "-o", place / "r.html", "--data", place / "rows.csv", *COLUMNS)
    assert code == 2
    assert len(words.strip().splitlines()) == 1
    assert "is not the 440 rows that" in words
    assert not (place / "r.html").exists()


def test_the_card_is_written_with_what_a_server_was_seen_to_do(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub import ModelCard

    code, document, words = say(capfd, place / "model1", "--card")
    assert code == 0, words
    path = place / "model1/evidence/card.md"
    assert document["written"]["cards"] == [str(path)]
    card = ModelCard(path.read_text())
    assert card.data.library_name == "onnx"
    assert "- Over HTTP, one connection: p50 2.2" in card.text
    assert "1,200 of 1,200 answers right" in card.text
    assert "Peak with p99 within 20 ms: 750 requests a second (Poisson)" in card.text
    assert "A million answers" not in card.text
    load_artifact(place / "model1").verify()
    code, _, words = say(capfd, place / "model1", "--card")
    assert code == 2
    assert "add --force" in words
    assert say(capfd, place / "model1", "--card", "--force")[0] == 0


def test_a_card_without_a_number_is_refused(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, words = say(capfd, place / "model0", "--card", "-o", place / "r.html")
    assert code == 2
    assert "has no evidence/report.json to make a card of" in words
    assert not (place / "r.html").exists()


def test_a_card_holds_no_number_of_a_void_run(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = load_artifact(place / "model1")
    write_bench(place / "void.json", bench([small], (1.2,), void=("the server of small died",)))
    code, document, words = say(capfd, place / "model1", "--card", "--bench", place / "void.json")
    assert code == 0, words
    assert "Over HTTP" not in (place / "model1/evidence/card.md").read_text()
    assert document["verdict"]["more"] == ["The benchmark is void and decides nothing: the server of small died."]
    assert "warning   The benchmark is void" in words


def test_mixed_machines_need_the_word(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = load_artifact(place / "model1")
    machine = {**bench([small], (1,)).machine, "processor": "Other 9000"}
    write_bench(place / "other.json", bench([small], (1.2,), machine=machine))
    arguments = (place / "model1", "--bench", place / "other.json", "-o", place / "r.html")
    code, _, words = say(capfd, *arguments)
    assert code == 2
    assert len(words.strip().splitlines()) == 1
    assert "add --across-machines" in words
    code, _, words = say(capfd, *arguments, "--across-machines")
    assert code == 0, words
    assert "Other 9000" in (place / "r.html").read_text()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "nothing to write; give -o FILE, --markdown FILE or --card"),
        (["-o", "rows.csv"], "rows.csv exists already; choose another name, or add --force"),
        (["-o", "."], "is a folder"),
        (["-o", "none/r.html"], "none is no folder; make it first"),
        (["-o", "x", "--markdown", "x"], "cannot be both"),
        (["-o", "r.html", "--bench", "none.json"], "none.json does not exist"),
        (["-o", "r.html", "--bench", "rows.csv"], "rows.csv is not JSON"),
        (["-o", "r.html", "model1"], "is given twice"),
        (["-o", "r.html", "none"], "none does not exist"),
    ],
)
def test_what_cannot_be_done_is_a_line_and_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    code, _, said = say(capfd, "model1", *more)
    assert code == 2
    assert len(said.strip().splitlines()) == 1
    assert words in said
    assert sorted(place.rglob("*")) == before


def test_force_replaces(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "r.html").write_text("old")
    assert say(capfd, place / "model1", "-o", place / "r.html", "--force")[0] == 0
    assert (place / "r.html").read_text().startswith("<!doctype html>")


def test_markdown_needs_no_plotting_library(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import subprocess
    import sys

    program = (
        "import sys; sys.modules['matplotlib'] = sys.modules['jinja2'] = None\n"
        "from toolkit.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    root = Path(__file__).parents[2]
    for out, code in (("--markdown", 0), ("-o", 2)):
        done = subprocess.run(
            [sys.executable, "-c", program, "report", str(place / "model1"), out, str(place / f"r{code}")],
            capture_output=True, text=True, check=False, cwd=root,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    assert "serving-toolkit[report]" in done.stderr
