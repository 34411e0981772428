"""Every section has its table and its figure where something was measured, and says what was not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reported import ROUNDS, SAMPLES, bench

from toolkit.artifact import Artifact
from toolkit.errors import InputError
from toolkit.measure.bench_file import write_bench
from toolkit.pages.answers import SHOWN_ROWS, order_flips
from toolkit.pages.content import DASH, FAILED, UNSURE, Section, Table, percent, signed, table_of
from toolkit.pages.gather import Gathered, gather
from toolkit.pages.page import Page, compose
from toolkit.pages.plots import NAMED

Take = Callable[..., Gathered]
ASKED = ["toolkit", "report", "a folder", "-o", "report.html"]


def sections(gathered: Gathered) -> dict[str, Section]:
    return {section.anchor: section for section in compose(gathered, ASKED).sections}


def tables(section: Section) -> list[Table]:
    return [table for part in section.parts for table in part.tables]


def column(table: Table, heading: str) -> list[str]:
    place = [column.heading for column in table.columns].index(heading)
    return [row[place] for row in table.rows]


@pytest.fixture(scope="module")
def whole(take: Take) -> dict[str, Section]:
    return sections(take("baseline", "same", "broken"))


def test_all_that_was_measured_has_its_figure(whole: dict[str, Section]) -> None:
    drawn = {anchor: sum(part.figure is not None for part in section.parts) for anchor, section in whole.items()}
    assert drawn == {
        "summary": 0, "pareto": 1, "lineage": 3, "latency": 1, "ladder": 1, "goodput": 1, "scenarios": 0, "cost": 0,
        "flips": 2, "classes": 2, "slices": 4, "calibration": 2, "rows": 0, "environment": 0,
    }  # fmt: skip
    for section in whole.values():
        for part in section.parts:
            if part.figure is not None:
                assert part.figure().startswith(("<svg", "<ol"))
    assert [anchor for anchor, section in whole.items() if section.missing] == ["scenarios", "cost"]


def test_the_summary_has_every_artifact_and_marks_the_failed(whole: dict[str, Section]) -> None:
    (table,) = tables(whole["summary"])
    assert column(table, "artifact") == ["baseline", "same", "broken"]
    assert column(table, "verdict") == [DASH, "pass", "worse (failed)"]
    assert column(table, "accuracy (95 %)")[0] == "90.9 % (87.9–93.3)"
    assert column(table, "success") == ["100.0 %"] * 3
    place = [heading.heading for heading in table.columns].index("verdict")
    assert [table.tone(row, place) for row in range(3)] == ["", "passed", FAILED]
    assert table.tone(2, 0) == ""
    assert "machine" not in [heading.heading for heading in table.columns]


def test_the_ladder_shows_rungs_and_ratios_with_their_noise(whole: dict[str, Section]) -> None:
    rungs, ratios = tables(whole["ladder"])
    assert len(rungs.rows) == 9
    assert set(column(rungs, "asked")) == {f"{SAMPLES // ROUNDS * ROUNDS:,}"}
    assert "p99.9 ms" not in [heading.heading for heading in rungs.columns]  # 1,200 samples are too few for it
    assert set(column(ratios, "says")) == {"beyond the noise"}
    assert all(float(floor) >= 1 for floor in column(ratios, "noise floor"))
    assert [float(ratio) < 0.5 for ratio in column(ratios, "times as long")] == [True] * 6


def test_loads_that_missed_are_said_to_have(whole: dict[str, Section]) -> None:
    (table,) = tables(whole["goodput"])
    assert column(table, "objective") == ["held", "held", "held", "missed"] * 3
    assert column(table, "share of peak") == ["25 %", "50 %", "75 %", "90 %"] * 3


def test_groups_come_with_intervals_and_the_few_are_marked(whole: dict[str, Section]) -> None:
    for table in tables(whole["classes"]):
        assert all(" to " in cell for cell in column(table, "change of recall, pt (95 %)"))
    towns = tables(whole["slices"])[0]
    few = column(towns, "town").index("Kyiv")
    assert column(towns, "says")[few] == "too few rows to say"
    assert towns.tones[few] == UNSURE
    broken = tables(whole["slices"])[2]
    assert "lost, also after correction" in column(broken, "says")


def test_classes_are_not_lost_by_chance(whole: dict[str, Section]) -> None:
    same, broken = tables(whole["classes"])
    assert set(same.tones) == {""}
    assert FAILED in broken.tones


def test_changed_rows_are_numbers_until_the_data_is_given(take: Take) -> None:
    gathered = take("baseline", "broken")
    section = sections(gathered)["rows"]
    (part,) = section.parts
    (table,) = part.tables
    assert len(table.rows) == SHOWN_ROWS
    assert "example" not in [heading.heading for heading in table.columns]
    assert "numbers only" in part.words[1]
    assert "--exemplars-to FILE" in part.commands[0]
    (broken,) = [s for s in gathered.subjects if s.flips]
    assert broken.flips is not None
    ordered = order_flips(broken.flips.rows)
    assert column(table, "row") == [str(flip.row) for flip in ordered[:SHOWN_ROWS]]
    assert [flip.candidate == flip.label for flip in ordered] == sorted(f.candidate == f.label for f in ordered)
    shown = replace(broken, examples={flip.row: f"text {flip.row}" for flip in ordered})
    (table,) = tables(sections(replace(gathered, subjects=(shown,)))["rows"])
    assert column(table, "example")[0] == f"text {ordered[0].row}"


def test_commands_to_repeat_name_the_reference_and_the_report(whole: dict[str, Section]) -> None:
    commands = whole["environment"].parts[1].commands
    assert sum(line.startswith("toolkit verify ") for line in commands) == 2
    assert all("REFERENCE" not in line for line in commands)
    assert commands[-2].startswith("toolkit bench ")
    assert commands[-2].endswith(" --ladder")
    assert commands[-1] == "toolkit report 'a folder' -o report.html"


def test_what_was_not_measured_is_a_sentence_with_its_command(bare: Gathered) -> None:
    found = sections(bare)
    assert not any(part.figure for anchor, section in found.items() for part in section.parts if anchor != "lineage")
    for anchor in ("pareto", "latency", "ladder", "goodput", "scenarios", "flips", "classes", "slices", "rows"):
        for missing in found[anchor].missing:
            assert missing.words.endswith(".")
            assert missing.command.startswith("toolkit ")
            assert "bare" in missing.command or str(bare.subjects[0].folder) in missing.command
        assert found[anchor].missing, anchor
    assert "REFERENCE" in found["flips"].missing[0].command
    (table,) = tables(found["summary"])
    assert len(table.rows) == 1


def test_times_of_a_void_run_are_marked_and_never_drawn(
    take: Take, models: dict[str, Artifact], tmp_path: Path
) -> None:
    pair = [models["baseline"], models["same"]]
    write_bench(tmp_path / "void.json", bench(pair, (3.1, 1.2), void=("a schedule slipped",)))
    found = sections(take("baseline", "same", bench=tmp_path / "void.json"))
    for anchor in ("pareto", "latency", "ladder", "goodput"):
        assert not any(part.figure for part in found[anchor].parts), anchor
    (table,) = tables(found["summary"])
    assert all(cell.endswith(" void") for cell in column(table, "p50 ms") + column(table, "peak a second"))
    assert all(cell.endswith(", void") for cell in column(tables(found["ladder"])[0], "rung"))
    assert set(column(tables(found["ladder"])[1], "says")) == {"void"}
    assert set(column(tables(found["goodput"])[0], "objective")) == {"void"}


def test_mixed_machines_are_marked_in_every_table_of_times(
    take: Take, models: dict[str, Artifact], tmp_path: Path
) -> None:
    pair = [models["baseline"], models["same"]]
    machine = {**bench(pair, (3, 1)).machine, "processor": "Other 9000"}
    write_bench(tmp_path / "other.json", bench(pair, (3.1, 1.2), machine=machine))
    found = sections(take("baseline", "same", bench=tmp_path / "other.json", across=True))
    assert column(tables(found["summary"])[0], "machine") == ["A", "B+A"]
    assert set(column(tables(found["ladder"])[0], "machine")) == {"A", "B+A"}
    machines = tables(found["environment"])[0]
    assert column(machines, "machine") == ["A", "B"]
    assert column(machines, "processor")[0] == "Other 9000"
    assert "different machines" in found["pareto"].parts[0].words[0]


def test_no_sample_is_a_dash_and_no_figure(take: Take, models: dict[str, Artifact], tmp_path: Path) -> None:
    write_bench(tmp_path / "none.json", bench([models["same"]], (1.2,), samples=0, load=False))
    found = sections(take("same", bench=tmp_path / "none.json"))
    (table,) = tables(found["ladder"])
    assert column(table, "asked") == ["0"] * 3
    assert column(table, "success") == ["0.0 %"] * 3
    assert not any(part.figure for anchor in ("latency", "ladder", "pareto") for part in found[anchor].parts)


def test_too_few_samples_for_p99_draw_p50_and_say_so(take: Take, models: dict[str, Artifact], tmp_path: Path) -> None:
    pair = [models["baseline"], models["same"]]
    write_bench(tmp_path / "few.json", bench(pair, (3.1, 1.2), samples=200))
    found = sections(take("baseline", "same", bench=tmp_path / "few.json"))["pareto"]
    assert found.parts[0].words == ("p50 is drawn: of some artifact there are under 1,000 samples, too few for p99.",)
    assert "p50 latency" in str(found.parts[0].figure and found.parts[0].figure())


def test_what_bench_may_add_is_shown(take: Take, models: dict[str, Artifact], tmp_path: Path) -> None:
    file = bench([models["same"]], (1.2,))
    more: dict[str, Any] = {
        "energy": {"joules_per_1000": 12.5},
        "price": {"per_million": 0.031, "assumes": "0.1 an hour for the machine"},
        "loadgen": {"offline": {"samples": 4096, "rate": 812.25, "valid": True, "success_rate": 1.0, "said": "VALID"}},
    }
    write_bench(tmp_path / "more.json", replace(file, artifacts=({**file.artifacts[0], **more},)))
    found = sections(take("same", bench=tmp_path / "more.json"))
    (cost,) = tables(found["cost"])
    assert (column(cost, "J per 1,000"), column(cost, "cost of a million")) == (["12.5"], ["0.031"])
    assert found["cost"].parts[0].words == ("The cost of same assumes 0.1 an hour for the machine.",)
    assert not found["cost"].missing
    (scenario,) = tables(found["scenarios"])
    assert scenario.rows == (("same", "offline", "4,096", "812", "yes", "100.0 %", "VALID"),)


def test_what_no_server_takes_has_its_reason_and_no_command(
    take: Take, models: dict[str, Artifact], tmp_path: Path
) -> None:
    served, other = bench([models["baseline"], models["same"]], (3.1, 1.2)).artifacts
    kept = {name: value for name, value in other.items() if name not in ("open", "peak")}
    rungs = {name: rung for name, rung in other["rungs"].items() if name != "http"}
    never = {**kept, "rungs": rungs, "not_served": "safetensors is not served; run toolkit export first"}
    file = replace(bench([models["baseline"], models["same"]], (3.1, 1.2)), artifacts=(served, never))
    write_bench(tmp_path / "never.json", file)
    found = sections(take("baseline", "same", bench=tmp_path / "never.json"))
    for anchor in ("ladder", "goodput"):
        (missing,) = found[anchor].missing
        assert missing.words == ("same was not asked over HTTP: safetensors is not served; run toolkit export first.")
        assert not missing.command


def test_a_peak_that_was_not_found_says_why(take: Take, models: dict[str, Artifact], tmp_path: Path) -> None:
    file = bench([models["same"]], (1.2,), load=False)
    peak = {"objective_ms": 100.0, "limit": "the generator, which was late itself", "probes": []}
    write_bench(tmp_path / "none.json", replace(file, artifacts=({**file.artifacts[0], "peak": peak},)))
    missing = sections(take("same", bench=tmp_path / "none.json"))["goodput"].missing
    assert missing[-1].words == "same has no peak with p99 within 100 ms: the generator, which was late itself."


def test_forty_artifacts_have_every_row_and_few_figures(many: Gathered) -> None:
    found = sections(many)
    (table,) = tables(found["summary"])
    assert column(table, "#") == [str(number) for number in range(1, 41)]
    assert column(table, "artifact") == [subject.name for subject in many.subjects]
    assert sum(part.figure is not None for section in found.values() for part in section.parts) == 4
    assert len(found["classes"].parts) == 39
    assert f"drawn for up to {NAMED}" in found["classes"].missing[-1].words


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("report.json", lambda value: value["flips"].pop("share")),
        ("report.json", lambda value: value["classes"].append(3)),
        ("report.json", lambda value: value["reference"].clear()),
        ("bench.json", lambda value: value["artifacts"][0]["open"][0].pop("offered")),
        ("bench.json", lambda value: value["artifacts"][0].update(peak=[1])),
    ],
)
def test_evidence_that_was_edited_is_a_line(
    models: dict[str, Artifact], tmp_path: Path, name: str, change: Callable[[Any], object]
) -> None:
    shutil.copytree(models["same"].folder, tmp_path / "same")
    path = tmp_path / "same" / "evidence" / name
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match="the evidence of same has another form") as caught:
        compose(gather([tmp_path / "same"]), ASKED)
    assert "\n" not in str(caught.value)


def test_shares_and_differences_never_round_to_a_lie() -> None:
    assert [percent(share) for share in (1.0, 0.9999, 0.0, 0.00004, None)] == [
        "100.0 %",
        "99.99 %",
        "0.0 %",
        "0.004 %",
        DASH,
    ]
    assert [signed(value) for value in (0.0, -0.001, -0.25, 3.5)] == ["0.00", "0.00", "−0.25", "+3.50"]


def test_a_column_without_a_number_is_left_out() -> None:
    from toolkit.pages.content import columns

    table = table_of("words", columns("a", "b", "c", words=("a",)), [("x", DASH, "1"), ("y", "", DASH)])
    assert [found.heading for found in table.columns] == ["a", "c"]
    assert table.rows == (("x", "1"), ("y", DASH))


def test_the_page_is_named_after_a_lone_artifact(take: Take) -> None:
    pages: list[Page] = [compose(take(*names), ASKED) for names in (("same",), ("same", "broken"))]
    assert [page.title for page in pages] == ["same", "2 artifacts side by side"]
