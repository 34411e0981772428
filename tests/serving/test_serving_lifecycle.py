"""Swaps and rollbacks of a server that answers, over real HTTP; every bad version, and a lifecycle without checks."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import logging
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving.small_models import TEXTS, image_artifact, text_artifact
from serving.versions import BAD, Running, answers_of, identity, load_unchecked, serving, write_verdict

from toolkit.artifact import Artifact
from toolkit.encoders.ngrams import NgramEncoder
from toolkit.serving import lifecycle as lifecycle_module
from toolkit.serving.app import App
from toolkit.serving.choice import Choice, ChoiceFile
from toolkit.serving.lifecycle import Lifecycle
from toolkit.serving.loading import load_served
from toolkit.serving.served import Served
from toolkit.serving.successor import Demands, Refused, check_gate
from toolkit.signing import VARIABLE, make_keys, sign

DEFAULT = Demands()
BODY = json.dumps({"inputs": TEXTS}).encode()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    """Two versions that give the same texts other scores."""
    root = tmp_path_factory.mktemp("pair")
    first, second = text_artifact(root / "a"), text_artifact(root / "b", weight=-2.0)
    assert answers_of(first) != answers_of(second)
    return first, second


def ask(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/classify", BODY, {"content-type": "application/json"})
        response = connection.getresponse()
        document: dict[str, Any] = json.loads(response.read())
        assert response.status == 200, document
        return document
    finally:
        connection.close()


class Load:
    """A closed loop of connections; every answer is checked against the version that it names."""

    def __init__(self, port: int, expected: dict[str, Any], connections: int = 8) -> None:
        self.port, self.expected = port, expected
        self.counts: dict[str, int] = dict.fromkeys(expected, 0)
        self.faults: list[str] = []
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            while not self.stopping.is_set():
                connection.request("POST", "/v1/classify", BODY, {"content-type": "application/json"})
                response = connection.getresponse()
                document = json.loads(response.read())
                if response.status != 200:
                    self.faults.append(f"{response.status}")
                    continue
                digest = document["model"]["digest"]
                self.counts[digest] += 1
                if document["predictions"] != self.expected[digest]:
                    self.faults.append(f"an answer under the name of {digest[:12]} is not that version's")
        except Exception as error:
            self.faults.append(repr(error))
        finally:
            connection.close()


def test_twenty_swaps_under_load_fail_nobody_and_every_answer_is_that_of_the_version_it_names(
    pair: tuple[Artifact, Artifact],
) -> None:
    expected = {artifact.digest: answers_of(artifact) for artifact in pair}
    with serving(pair[0].folder) as running, Load(running.port, expected) as load:
        for turn in range(20):
            chosen = pair[(turn + 1) % 2]
            facts = running.do(running.lifecycle.swap(str(chosen.folder), DEFAULT))
            assert facts["served"] == identity(chosen)
            # asked for after the switch, so the new version must answer
            assert ask(running.port)["model"] == identity(chosen)
    assert load.faults == []
    assert min(load.counts.values()) > 20


class Mislabelling(Lifecycle):
    """The sabotage of the check above: a switch that changes the name and not the model."""

    def _open(self, served: Served) -> None:
        current = self._current
        super()._open(served if current is None else _renamed(current, served))


def _renamed(current: Served, new: Served) -> Served:
    mixed = Served(current.predictor, current.artifact, current.settings, current.batching)
    mixed.identity = new.identity
    return mixed


def test_the_load_sees_an_answer_of_another_version(pair: tuple[Artifact, Artifact]) -> None:
    expected = {artifact.digest: answers_of(artifact) for artifact in pair}
    with serving(pair[0].folder, Mislabelling) as running, Load(running.port, expected) as load:
        running.do(running.lifecycle.swap(str(pair[1].folder), DEFAULT))
        ask(running.port)
        threading.Event().wait(0.2)
    assert load.faults
    assert "is not that version's" in load.faults[0]


def refused_and_still_served(running: Running, folder: Path, words: str, served: Artifact) -> None:
    """The check of every bad version: refused in one line that says why, and the old one answers on."""
    with pytest.raises(Refused, match=words) as refusal:
        running.do(running.lifecycle.swap(str(folder), DEFAULT))
    assert "\n" not in str(refusal.value)
    answer = ask(running.port)
    assert answer["model"] == identity(served)
    assert answer["predictions"] == answers_of(served)


def test_every_bad_version_is_refused_and_the_old_one_keeps_serving(
    pair: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    with serving(pair[0].folder) as running:
        for number, (make, words) in enumerate(BAD.values()):
            make(tmp_path / str(number))
            refused_and_still_served(running, tmp_path / str(number), words, pair[0])
        assert running.call(running.lifecycle.facts)["previous"] is None


def test_a_version_of_another_task_is_refused(pair: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    other = image_artifact(tmp_path / "image")
    with serving(pair[0].folder) as running:
        refused_and_still_served(running, other.folder, "is of the task image; text is served", pair[0])


def test_with_a_key_set_only_a_signed_version_is_let_in(
    pair: tuple[Artifact, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = make_keys(tmp_path / "release.pem")
    signed = text_artifact(tmp_path / "signed", weight=3.0)
    sign(signed, tmp_path / "release.pem")
    with serving(pair[0].folder) as running:
        monkeypatch.setenv(VARIABLE, str(public))
        refused_and_still_served(running, pair[1].folder, "is not signed", pair[0])
        assert running.do(running.lifecycle.swap(str(signed.folder), DEFAULT))["served"] == identity(signed)


@pytest.mark.parametrize(
    "bad", ["corrupt", "nan", "nan without golden rows", "wrong shape", "one logit", "below its gate"]
)
def test_the_same_check_fails_on_a_lifecycle_that_opens_without_looking(
    pair: tuple[Artifact, Artifact], tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_module, "open_successor", lambda folder, *_, **__: load_unchecked(folder))
    make, words = BAD[bad]
    make(tmp_path / "bad")
    with serving(pair[0].folder) as running, pytest.raises((AssertionError, pytest.fail.Exception)):
        refused_and_still_served(running, tmp_path / "bad", words, pair[0])


def test_labels_and_inputs_may_change_where_that_is_allowed(pair: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    BAD["labels in another order"][0](tmp_path / "labels")
    BAD["narrower inputs"][0](tmp_path / "inputs")
    with serving(pair[0].folder) as running:
        running.do(running.lifecycle.swap(str(tmp_path / "labels"), Demands(allow_new_labels=True)))
        answered = [row["label"] for row in ask(running.port)["predictions"]]
        order = load_served(tmp_path / "labels").spec.labels
        was = [row["label"] for row in answers_of(pair[0])]
        assert [order.index(label) for label in answered] == [pair[0].spec.labels.index(label) for label in was]
        running.do(running.lifecycle.rollback())
        running.do(running.lifecycle.swap(str(tmp_path / "inputs"), Demands(allow_new_inputs=True)))
        assert ask(running.port)["predictions"] == answers_of(load_served(tmp_path / "inputs").artifact)


def test_a_wider_limit_is_no_change_for_a_client(pair: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    wide = text_artifact(tmp_path / "wide", encoder=NgramEncoder(buckets=512, max_length=512))
    with serving(pair[0].folder) as running:
        assert running.do(running.lifecycle.swap(str(wide.folder), DEFAULT))["served"] == identity(wide)


def test_a_gate_counts_only_for_its_own_digest_and_may_be_demanded(tmp_path: Path) -> None:
    artifact = text_artifact(tmp_path / "a")
    served = load_served(artifact.folder)
    check_gate(served, required=False)
    with pytest.raises(Refused, match="no verdict"):
        check_gate(served, required=True)
    write_verdict(artifact, failed=False)
    check_gate(served, required=True)
    write_verdict(artifact, failed=True)
    with pytest.raises(Refused, match="failed its gate"):
        check_gate(served, required=False)
    write_verdict(artifact, failed="no")  # not understood is not passed
    with pytest.raises(Refused, match="failed its gate"):
        check_gate(served, required=False)
    write_verdict(artifact, failed=True, digest="0" * 64)
    check_gate(served, required=False)
    with pytest.raises(Refused, match="no verdict"):
        check_gate(served, required=True)


def test_rollback_goes_back_and_forth_and_needs_no_file(
    pair: tuple[Artifact, Artifact], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = tmp_path / "second"
    shutil.copytree(pair[1].folder, moved)
    with serving(pair[0].folder) as running:
        with pytest.raises(Refused, match="no previous version"):
            running.do(running.lifecycle.rollback())
        with caplog.at_level(logging.INFO, "bentoml.toolkit"):
            running.do(running.lifecycle.swap(str(moved), DEFAULT))
        first, second = (f"questions {artifact.digest[:12]}" for artifact in pair)
        assert f"swap: {first} -> {second}" in caplog.messages
        shutil.rmtree(moved)
        assert ask(running.port)["predictions"] == answers_of(pair[1])
        for expected in (pair[0], pair[1], pair[0]):
            facts = running.do(running.lifecycle.rollback())
            assert facts["served"] == identity(expected)
            assert ask(running.port)["predictions"] == answers_of(expected)


def test_the_version_that_is_served_already_is_not_swapped(pair: tuple[Artifact, Artifact]) -> None:
    with serving(pair[0].folder) as running:
        facts = running.do(running.lifecycle.swap(str(pair[0].folder), DEFAULT))
        assert facts["unchanged"]
        assert facts["previous"] is None


class Gate:
    """A load that waits until it is let on."""

    def __init__(self) -> None:
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, folder: Path) -> Served:
        self.started.set()
        assert self.go.wait(20)
        return load_served(folder)


def held(gate: Callable[[Path], Served], **options: Any) -> Callable[[App], Lifecycle]:
    return lambda app: Lifecycle(app, load=gate, **options)


def test_one_at_a_time_and_a_rollback_wins_over_a_swap_under_way(pair: tuple[Artifact, Artifact]) -> None:
    gate = Gate()
    with serving(pair[0].folder, held(gate)) as running:
        lifecycle = running.lifecycle
        gate.go.set()
        running.do(lifecycle.swap(str(pair[1].folder), DEFAULT))
        gate.go.clear()
        gate.started.clear()
        waiting = asyncio.run_coroutine_threadsafe(lifecycle.swap(str(pair[0].folder), DEFAULT), running.loop)
        assert gate.started.wait(10)
        assert running.call(lifecycle.facts)["loading"] == "swap"
        for second in (lifecycle.swap, lifecycle.start_shadow):
            with pytest.raises(Refused, match="a swap is under way"):
                running.do(second(str(pair[0].folder), DEFAULT))
        assert ask(running.port)["model"] == identity(pair[1]), "it answers while another is loaded"
        running.do(lifecycle.rollback())
        gate.go.set()
        with pytest.raises(Refused, match="switched to meanwhile"):
            waiting.result(20)
        assert ask(running.port)["model"] == identity(pair[0])
        assert running.call(lifecycle.facts)["loading"] is None


def test_a_load_that_hangs_is_given_up_on_and_holds_its_place(pair: tuple[Artifact, Artifact]) -> None:
    gate = Gate()
    with serving(pair[0].folder, held(gate, seconds=0.1)) as running:
        with pytest.raises(Refused, match="not ready within"):
            running.do(running.lifecycle.swap(str(pair[1].folder), DEFAULT))
        with pytest.raises(Refused, match="under way"):
            running.do(running.lifecycle.swap(str(pair[1].folder), DEFAULT))
        gate.go.set()
        for _ in range(500):
            if running.call(running.lifecycle.facts)["loading"] is None:
                break
            threading.Event().wait(0.01)
        assert running.call(running.lifecycle.facts)["loading"] is None
        assert ask(running.port)["model"] == identity(pair[0])


def test_two_models_are_kept_and_no_more(pair: tuple[Artifact, Artifact]) -> None:
    loaded: list[weakref.ref[Served]] = []

    def load(folder: Path) -> Served:
        served = load_served(folder)
        loaded.append(weakref.ref(served))
        return served

    with serving(pair[0].folder, held(load)) as running:
        for turn in range(6):
            running.do(running.lifecycle.swap(str(pair[(turn + 1) % 2].folder), DEFAULT))
            ask(running.port)
        gc.collect()
        for _ in range(500):  # freed off the event loop
            if sum(served() is not None for served in loaded) <= 2:
                break
            threading.Event().wait(0.01)
        # what gc.freeze took out of the collector's sight must be freed by counting alone
        assert [served() is not None for served in loaded] == [False] * 4 + [True] * 2


def test_a_replaced_worker_serves_what_was_swapped_to(pair: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    path = tmp_path / "choice.json"

    def lifecycle(app: App) -> Lifecycle:
        return Lifecycle(app, choices=ChoiceFile(path))

    with serving(pair[0].folder, lifecycle) as running:
        running.do(running.lifecycle.swap(str(pair[1].folder), DEFAULT))
    # killed: nobody cleaned up, and the next worker of the same parent starts with the original
    with serving(pair[0].folder, lifecycle) as running:
        assert ask(running.port)["predictions"] == answers_of(pair[1])
        assert running.do(running.lifecycle.rollback())["served"] == identity(pair[0])
    with serving(pair[0].folder, lifecycle) as running:
        assert ask(running.port)["model"] == identity(pair[0])


def test_a_version_that_ends_its_worker_again_and_again_is_given_up(
    pair: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    def answering() -> str:
        app = App()
        lifecycle = Lifecycle(app, choices=ChoiceFile(tmp_path / "choice.json"))
        lifecycle.start(load_served(pair[0].folder))
        try:
            return str(lifecycle.facts()["served"]["digest"])
        finally:
            lifecycle.close()
            app.close()

    ChoiceFile(tmp_path / "choice.json").write(Choice(str(pair[1].folder), pair[1].digest))
    first, second = (artifact.digest for artifact in pair)
    assert [answering() for _ in range(4)] == [second, second, first, first]


@pytest.mark.parametrize("harm", ["corrupt", "another version", "gone"])
def test_a_choice_that_no_longer_holds_leaves_the_original_and_says_so(
    pair: tuple[Artifact, Artifact], tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, choices = tmp_path / "chosen", ChoiceFile(tmp_path / "choice.json")
    if harm == "corrupt":
        BAD["corrupt"][0](folder)
    elif harm == "another version":
        shutil.copytree(pair[1].folder, folder)
    choices.write(Choice(str(folder), "0" * 64))
    with serving(pair[0].folder, lambda app: Lifecycle(app, choices=choices)) as running:
        assert ask(running.port)["model"] == identity(pair[0])
        assert "could not be loaded" in running.call(running.lifecycle.facts)["note"]
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        connection.request("GET", "/v1/model")
        assert "could not be loaded" in json.loads(connection.getresponse().read())["deployment"]["note"]
        connection.close()
    assert any(message.startswith("restore: ") for message in caplog.messages)


def test_a_choice_is_true_for_one_parent_only(tmp_path: Path) -> None:
    path = tmp_path / "choice.json"
    ChoiceFile(path).write(Choice("/models/v2", "1" * 64))
    assert ChoiceFile(path).read() == Choice("/models/v2", "1" * 64)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "parent": "1.1"}))
    assert ChoiceFile(path).read() is None
    assert not path.exists(), "what a server that is gone has left is removed"
    path.write_text("{")
    assert ChoiceFile(path).read() is None


def test_a_full_disk_undoes_no_swap(pair: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")  # a folder is needed here: every write below it fails, for root too
    choices = ChoiceFile(blocked / "choice.json")
    with serving(pair[0].folder, lambda app: Lifecycle(app, choices=choices)) as running:
        facts = running.do(running.lifecycle.swap(str(pair[1].folder), DEFAULT))
        assert facts["served"] == identity(pair[1])
        assert "a replaced worker would serve the version of the start" in facts["note"]
