"""The verdict in a sentence: failures first and by name, times only where they count and the noise allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from reported import HOSTILE, bench

from toolkit.artifact import Artifact
from toolkit.measure.bench_file import write_bench
from toolkit.pages.content import FAILED, PASSED, PLAIN, UNSURE
from toolkit.pages.gather import Gathered
from toolkit.pages.headline import headline

Take = Callable[..., Gathered]


def test_one_that_passes_says_what_it_cost_and_bought(take: Take) -> None:
    found = headline(take("baseline", "same"))
    assert found.tone == PASSED
    assert found.words.startswith("same passes: accuracy 90.9 % → ")
    assert "at most 5 pt may be lost" in found.words
    assert "answers changed; it takes 0.38" in found.words
    assert "times as long as baseline (predictor in process, 95 % 0.3" in found.words
    assert found.more == ()


def test_one_that_fails_says_so_first(take: Take) -> None:
    found = headline(take("broken"))
    assert found.tone == FAILED
    assert found.words.startswith("broken fails its gate: accuracy 90.9 % → 47.")
    assert found.words.count(".") < 20
    assert "pt, 95 % −" in found.words


def test_of_several_the_failed_are_named_first(take: Take) -> None:
    found = headline(take("baseline", "same", "broken"))
    assert found.tone == FAILED
    assert found.words == "1 of 2 judged artifacts failed: broken; 1 of 2 passed (compared with baseline)."


def test_what_cannot_be_told_is_no_pass(take: Take) -> None:
    gathered = take("same")
    (subject,) = gathered.subjects
    assert subject.report is not None
    verdict = {**subject.verdict, "answer": "cannot tell", "words": "cannot tell, 900 rows would"}
    report = replace(subject.report, quality={**subject.quality, "verdict": verdict})
    found = headline(replace(gathered, subjects=(replace(subject, report=report),)))
    assert found.tone == UNSURE
    assert found.words.startswith("same: these rows cannot tell (cannot tell, 900 rows would)")


def test_of_those_that_passed_the_quickest_is_named_within_the_noise(take: Take) -> None:
    gathered = take("same")
    one, twin = gathered.subjects[0], replace(gathered.subjects[0], name="twin")
    found = headline(replace(gathered, subjects=(one, twin)))
    assert found.words.startswith("All 2 judged artifacts passed. Of those that passed, same has the lowest p50")
    assert found.words.endswith("within the noise of twin.")


def test_a_ratio_within_the_noise_is_no_claim(take: Take, models: dict[str, Artifact], tmp_path: Path) -> None:
    pair = [models["baseline"], models["same"]]
    file = bench(pair, (3.1, 1.2))
    ratios = [{**ratio, "beyond_noise": False} for ratio in file.ratios]
    write_bench(tmp_path / "close.json", bench(pair, (3.1, 1.2), ratios=ratios))
    words = headline(take("baseline", "same", bench=tmp_path / "close.json")).words
    assert words.endswith("; its time (predictor in process) cannot be told from that of baseline.")


def test_a_void_run_claims_nothing_and_is_named(take: Take, models: dict[str, Artifact], tmp_path: Path) -> None:
    pair = [models["baseline"], models["same"]]
    write_bench(tmp_path / "void.json", bench(pair, (3.1, 1.2), void=("the server of same died",)))
    found = headline(take("baseline", "same", bench=tmp_path / "void.json"))
    assert "times as long" not in found.words
    assert found.more == ("The benchmark is void and decides nothing: the server of same died.",)


def test_mixed_machines_are_a_warning(take: Take, models: dict[str, Artifact], tmp_path: Path) -> None:
    pair = [models["baseline"], models["same"]]
    machine = {**bench(pair, (3, 1)).machine, "processor": "Other 9000"}
    write_bench(tmp_path / "other.json", bench(pair, (3.1, 1.2), machine=machine))
    found = headline(take("baseline", "same", bench=tmp_path / "other.json", across=True))
    assert any("Other 9000" in words and "no comparison" in words for words in found.more)


def test_nothing_judged_is_said_plainly(take: Take, bare: Gathered) -> None:
    found = headline(bare)
    assert (found.tone, found.words) == (PLAIN, "bare was not judged: nothing here says how often it is right.")
    gathered = take("same")
    quality = {key: gathered.subjects[0].quality[key] for key in ("split", "test")}
    report = gathered.subjects[0].report
    assert report is not None
    alone = replace(gathered.subjects[0], report=replace(report, quality=quality))
    found = headline(replace(gathered, subjects=(alone,)))
    assert found.words.startswith("same answers 90.9 % of 440 test rows right (95 % 87.9 to 93.3)")
    assert found.words.endswith("compared with nothing.")


def test_many_and_long_names_stay_a_sentence(take: Take, many: Gathered) -> None:
    found = headline(many)
    assert found.tone == FAILED
    assert " more" in found.words
    assert len(found.words) < 700
    assert len(headline(take(HOSTILE)).words) < 400


@pytest.mark.parametrize("names", [("baseline", "same"), ("broken",)])
def test_it_is_plain_json(take: Take, names: tuple[str, ...]) -> None:
    value = headline(take(*names)).to_json()
    assert set(value) == {"tone", "words", "more"}
    assert value["tone"] in ("failed", "passed")
