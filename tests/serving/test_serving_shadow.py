"""A shadow compares, drops what it cannot keep up with, harms nobody, and keeps no value of a request."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from serving.small_models import TEXTS, image_artifact, picture, recommender_artifact, text_artifact
from serving.versions import answers_of, identity, serving

from toolkit.artifact import Artifact
from toolkit.predictor import Predictor
from toolkit.serving.lifecycle import Lifecycle
from toolkit.serving.loading import load_served
from toolkit.serving.served import Served
from toolkit.serving.shadow import ROWS, Shadow
from toolkit.serving.successor import Demands, Refused

CANARY = "canary-81be3f"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return load_served(text_artifact(tmp_path_factory.mktemp("live") / "a").folder)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Weights of the other sign: wherever it is sure, it says the opposite."""
    return load_served(text_artifact(tmp_path_factory.mktemp("other") / "b", weight=-2.0).folder)


def predict(served: Served, inputs: list[Any], *, top: int | None = None) -> list[dict[str, Any]]:
    """What a client gets."""
    predictions: list[dict[str, Any]] = served.answer(inputs, top=top)["predictions"]
    return predictions


def wait_for(shadow: Shadow, **counts: int) -> dict[str, Any]:
    for _ in range(1000):
        facts = shadow.facts()
        if all(facts[name] >= count for name, count in counts.items()):
            return facts
        time.sleep(0.005)
    raise AssertionError(f"waited in vain: {shadow.facts()}")


def test_the_same_model_agrees_on_every_row(live: Served) -> None:
    shadow = Shadow(live, live=live)
    try:
        for turn in range(16):
            shadow.offer(TEXTS, predict(live, TEXTS))
            wait_for(shadow, rows=len(TEXTS) * (turn + 1))
        facts = shadow.facts()
    finally:
        shadow.stop()
    assert facts["agreement"]["value"] == 1
    assert 0.9 < facts["agreement"]["low"] < 1
    assert facts["largest_score_difference"] == 0
    assert facts["latency"]["pairs"] == 4
    assert 0.2 < facts["latency"]["ratio_p50"] < 5
    assert (facts["dropped"], facts["failed"]) == (0, 0)


def test_disagreements_are_counted_by_the_label_that_was_answered(live: Served, other: Served) -> None:
    shadow = Shadow(other, live=live)
    try:
        shadow.offer(TEXTS, predict(live, TEXTS, top=2))
        facts = wait_for(shadow, rows=len(TEXTS))
    finally:
        shadow.stop()
    was, now = predict(live, TEXTS), predict(other, TEXTS)
    differing = sum(a["label"] != b["label"] for a, b in zip(was, now, strict=True))
    assert differing > 0
    assert facts["agreement"]["value"] == 1 - differing / len(TEXTS)
    assert sum(found["differ"] for found in facts["disagreements"].values()) == differing
    assert sum(found["rows"] for found in facts["disagreements"].values()) == len(TEXTS)
    scores = other.scores(TEXTS)
    labels = list(other.spec.labels)
    apart = [abs(row[labels.index(a["label"])] - a["score"]) for row, a in zip(scores, was, strict=True)]
    assert facts["largest_score_difference"] == pytest.approx(max(apart))
    assert facts["served"] == identity(other.artifact)
    assert facts["against"] == identity(live.artifact)


class Slow(Predictor):
    """A real predictor that is held up until it is let on."""

    def __init__(self, inner: Predictor) -> None:
        super().__init__(inner.encoder, inner.runner, inner.spec, artifact=inner.artifact)
        self.go = threading.Event()

    def logits(self, *arguments: Any, **options: Any) -> Any:
        self.go.wait(20)
        return super().logits(*arguments, **options)


def test_what_it_cannot_keep_up_with_is_dropped_at_once(live: Served) -> None:
    slow = Slow(live.predictor)
    shadow = Shadow(Served(slow, live.artifact, live.settings, live.batching), live=live, room=4)
    predictions = predict(live, TEXTS)
    try:
        started = time.perf_counter()
        for _ in range(1000):
            shadow.offer(TEXTS, predictions)
        seconds = time.perf_counter() - started
        assert shadow.facts()["dropped"] >= 995  # four wait, one is in hand
        assert seconds < 2, "waiting for one row would take 20"
        slow.go.set()
        facts = wait_for(shadow, rows=4 * len(TEXTS))
        assert facts["requests"] == 1000
    finally:
        slow.go.set()
        shadow.stop()


def test_a_large_request_is_compared_in_part(live: Served) -> None:
    shadow = Shadow(live, live=live)
    texts = TEXTS * 50
    try:
        shadow.offer(texts, predict(live, texts))
        facts = wait_for(shadow, rows=ROWS)
        assert facts["rows"] == ROWS
    finally:
        shadow.stop()


@pytest.mark.parametrize(
    "bad", [(["a"], [{}]), (["a"], None), ([], [{"label": "HUM", "score": 1}]), ([1], [{"label": "HUM", "score": 1}])]
)
def test_nothing_that_is_offered_raises(live: Served, bad: tuple[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    shadow = Shadow(live, live=live)
    try:
        shadow.offer(*bad)
        wait_for(shadow, failed=1)
        shadow.offer(TEXTS, predict(live, TEXTS))
        assert wait_for(shadow, rows=len(TEXTS))["failed"] == 1
    finally:
        shadow.stop()
    assert caplog.messages == []


def test_pictures_and_records_are_compared_too(tmp_path: Path) -> None:
    pictures = load_served(image_artifact(tmp_path / "image").folder)
    films = load_served(recommender_artifact(tmp_path / "films").folder)
    for served, inputs in ((pictures, [picture(0), picture(1)]), (films, [{"user": "1", "item": i} for i in "123"])):
        shadow = Shadow(served, live=served)
        try:
            shadow.offer(inputs, predict(served, inputs, top=2))
            facts = wait_for(shadow, rows=2)
            assert facts["agreement"]["value"] == 1
            assert facts["largest_score_difference"] == 0
        finally:
            shadow.stop()


def test_no_value_of_a_request_is_kept_or_logged(live: Served, other: Served, caplog: pytest.LogCaptureFixture) -> None:
    texts = [f"Who is {CANARY} ?", CANARY]
    shadow = Shadow(other, live=live)
    with caplog.at_level(logging.DEBUG):
        try:
            shadow.offer(texts, predict(live, texts))
            shadow.offer([{CANARY: CANARY}], [{"label": "HUM", "score": 0.5}])
            facts = wait_for(shadow, rows=2, failed=1)
        finally:
            shadow.stop()
    assert CANARY not in json.dumps(facts) + caplog.text
    assert CANARY not in repr([value for name, value in vars(shadow).items() if name not in ("served", "_live")])


def test_stopped_it_ends_its_thread_and_takes_nothing(live: Served) -> None:
    shadow = Shadow(live, live=live)
    shadow.stop()
    shadow._thread.join(5)
    assert not shadow._thread.is_alive()
    shadow.offer(TEXTS, predict(live, TEXTS))
    assert shadow.facts()["requests"] == 0


def test_a_lifecycle_casts_a_shadow_and_begins_anew_when_the_live_version_changes(tmp_path: Path) -> None:
    first, second, third = (
        text_artifact(tmp_path / name, weight=weight) for name, weight in (("a", 1.0), ("b", -2.0), ("c", 3.0))
    )

    def compare(lifecycle: Lifecycle, artifact: Artifact) -> Any:
        shadow = lifecycle._front.shadow
        assert shadow is not None
        shadow.offer(TEXTS, answers_of(artifact))
        wait_for(shadow, rows=len(TEXTS))
        return lifecycle.facts()["shadow"]

    with serving(first.folder) as running:
        lifecycle = running.lifecycle
        (tmp_path / "nothing").mkdir()
        with pytest.raises(Refused):
            running.do(lifecycle.start_shadow(str(tmp_path / "nothing"), Demands()))
        assert running.app.shadow is None
        running.do(lifecycle.start_shadow(str(second.folder), Demands()))
        facts = compare(lifecycle, first)
        assert facts["served"] == identity(second)
        assert facts["agreement"]["value"] < 1
        running.do(lifecycle.swap(str(third.folder), Demands()))
        facts = running.call(lifecycle.facts)["shadow"]
        assert (facts["served"], facts["against"], facts["rows"]) == (identity(second), identity(third), 0)
        assert compare(lifecycle, third)["rows"] == len(TEXTS)
        ended = running.call(lifecycle.stop_shadow)
        assert ended["shadow"]["rows"] == len(TEXTS)
        assert running.app.shadow is None
        assert running.call(lifecycle.facts)["shadow"] is None
        # what was tried in the shadow and is now answered with is no shadow any more
        running.do(lifecycle.start_shadow(str(second.folder), Demands()))
        running.do(lifecycle.swap(str(second.folder), Demands()))
        assert running.call(lifecycle.facts)["shadow"] is None
