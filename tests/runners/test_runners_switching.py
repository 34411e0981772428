"""One runner answers while another is made; then the other one does. The runners are real sessions."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from digits_models import ENCODER, held_out, make_artifact

from toolkit.artifact import Artifact
from toolkit.errors import GateError, InputError
from toolkit.runners import Runner, open_runner
from toolkit.runners.switching import SwitchingRunner

ARRAYS = ENCODER.encode(held_out(5).examples)
SECONDS = 30.0


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_artifact(tmp_path_factory.mktemp("switching") / "old")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Trained on fewer rows, so that its answers tell it apart."""
    return make_artifact(tmp_path_factory.mktemp("switching") / "new", training_rows=200)


def test_the_first_answers_until_the_other_is_made(old: Artifact, new: Artifact) -> None:
    go = threading.Event()

    def make(first: Runner) -> Runner:
        assert go.wait(SECONDS)
        return open_runner(new)

    with open_runner(old) as one, open_runner(new) as other:
        expected, later = one.run(ARRAYS), other.run(ARRAYS)
    first = open_runner(old)
    with SwitchingRunner(first, make, what="the other") as runner:
        assert np.array_equal(runner.run(ARRAYS), expected)
        assert runner.facts()["beside"] == {"what": "the other", "state": "building"}
        go.set()
        assert runner.wait(SECONDS)
        assert np.array_equal(runner.run(ARRAYS), later)
        assert runner.facts()["beside"] == {"what": "the other", "state": "switched"}
        with pytest.raises(InputError, match="closed"):
            first.run(ARRAYS)  # what nobody uses any more is freed


def test_what_fails_leaves_the_first_and_says_why(old: Artifact) -> None:
    def make(first: Runner) -> Runner:
        raise GateError("logits of the engine differ by 3.0e-01 relative")

    with SwitchingRunner(open_runner(old), make, what="the other") as runner:
        assert runner.wait(SECONDS)
        assert runner.run(ARRAYS).shape == (5, 10)
        assert runner.facts()["beside"]["state"] == "refused"
        assert "3.0e-01" in runner.facts()["beside"]["why"]


def test_nothing_is_lost_or_mixed_while_it_switches(old: Artifact, new: Artifact) -> None:
    go, stop = threading.Event(), threading.Event()
    with open_runner(old) as one, open_runner(new) as other:
        answers = [one.run(ARRAYS), other.run(ARRAYS)]
    seen, wrong = [0, 0], []

    def make(first: Runner) -> Runner:
        go.wait(SECONDS)
        return open_runner(new)

    with SwitchingRunner(open_runner(old), make, what="the other") as runner:

        def ask() -> None:
            while not stop.is_set():
                try:
                    found = runner.run(ARRAYS)
                except Exception as error:
                    wrong.append(str(error))
                    return
                which = [place for place, answer in enumerate(answers) if np.array_equal(found, answer)]
                if len(which) != 1:
                    wrong.append("an answer of neither")
                    return
                seen[which[0]] += 1

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while not seen[0]:
            pass
        go.set()
        assert runner.wait(SECONDS)
        while not seen[1] and not wrong:
            pass
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert all(seen)


def test_closing_waits_for_no_build_and_what_is_made_after_is_closed(old: Artifact, new: Artifact) -> None:
    go, made = threading.Event(), list[Runner]()

    def make(first: Runner) -> Runner:
        go.wait(SECONDS)
        made.append(open_runner(new))
        return made[0]

    runner = SwitchingRunner(open_runner(old), make, what="the other")
    runner.close()
    with pytest.raises(InputError, match="this runner is closed"):
        runner.run(ARRAYS)
    go.set()
    assert runner.wait(SECONDS)
    with pytest.raises(InputError, match="closed"):
        made[0].run(ARRAYS)
