"""Batches: formed where they are cheaper, of like lengths, and of no consequence to anybody's answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving.small_models import TEXTS

from toolkit.artifact import Artifact
from toolkit.measure.cost import CostCurve, Neighbours
from toolkit.runners.cancel import Cancel
from toolkit.serving.app import App
from toolkit.serving.batching import Batching, decide_batching
from toolkit.serving.loading import load_served
from toolkit.serving.served import Served
from toolkit.serving.settings import Settings
from toolkit.spec import Array, Arrays

ROWS = (1, 2, 4, 8)
PAYS = ((1.0, 1.2, 1.6, 2.4), (4.0, 5.0, 7.0, 11.0))
PRICES = st.lists(st.floats(0.01, 10), min_size=4, max_size=4)
SAME = Neighbours(rows=10, labels_moved=0, score_difference=1e-7)


@dataclass(frozen=True)
class Waiting:
    rows: int
    size: int


def curve_of(milliseconds: tuple[tuple[float, ...], ...] = PAYS, neighbours: Neighbours | None = SAME) -> CostCurve:
    return CostCurve("d", (10, 100), ROWS, milliseconds, neighbours, 1, "a processor", "2026-11-24T00:00:00+00:00")


def batching_of(curve: CostCurve, max_rows: int = 8) -> Batching:
    return Batching(curve, max_rows, "", "")


@pytest.fixture(scope="module")
def served(artifacts: dict[str, Artifact]) -> Iterator[Served]:
    served = load_served(artifacts["text"].folder)
    yield served
    served.predictor.close()


def test_rows_of_like_length_go_together_and_a_long_one_waits() -> None:
    short, long = Waiting(1, 10), Waiting(1, 100)
    chosen = batching_of(curve_of()).choose(short, [long, short, long, short])
    assert chosen == [short, short, short]


def test_no_batch_where_none_is_cheaper() -> None:
    dear = curve_of(((1.0, 2.1, 4.2, 8.4), (4.0, 8.1, 16.2, 32.4)))
    assert batching_of(dear).choose(Waiting(1, 10), [Waiting(1, 10)] * 5) == [Waiting(1, 10)]


@given(
    st.lists(st.builds(Waiting, st.integers(1, 12), st.integers(0, 300)), min_size=1, max_size=80),
    st.lists(st.floats(0.01, 50), min_size=8, max_size=8),
    st.integers(1, 8),
)
def test_a_batch_keeps_its_bound_its_order_and_is_never_dearer_than_its_rows(
    waiting: list[Waiting], cells: list[float], max_rows: int
) -> None:
    curve = curve_of((tuple(cells[:4]), tuple(cells[4:])))
    head, *others = waiting
    chosen = batching_of(curve, max_rows).choose(head, others)
    assert chosen[0] is head
    left = iter(others)
    assert all(any(other is one for other in left) for one in chosen[1:])
    rows = sum(one.rows for one in chosen)
    assert rows <= max_rows or chosen == [head]
    apart = sum(curve.cost(one.rows, one.size) for one in chosen)
    assert curve.cost(rows, max(one.size for one in chosen)) <= apart + 1e-9


def test_a_long_one_takes_long_ones_with_it_and_a_short_one_rather_goes_alone() -> None:
    short, long = Waiting(1, 10), Waiting(1, 100)
    assert batching_of(curve_of()).choose(long, [short, long, short, long]) == [long, long, long]
    assert batching_of(curve_of()).choose(short, [long]) == [short]


@given(st.lists(st.sampled_from([5, 50]), min_size=1, max_size=7), st.integers(1, 8), PRICES, PRICES)
def test_no_other_company_does_more_for_its_time(
    sizes: list[int], max_rows: int, short: list[float], more: list[float]
) -> None:
    curve = curve_of((tuple(accumulate(short)), tuple(accumulate(a + b for a, b in zip(short, more, strict=True)))))
    head, *others = [Waiting(1, size) for size in sizes]

    def share(chosen: Sequence[Waiting]) -> float:
        together = curve.cost(len(chosen), max(one.size for one in chosen))
        return together / sum(curve.cost(one.rows, one.size) for one in chosen)

    companies = [[head, *some] for count in range(max_rows) for some in combinations(others, count)]
    chosen = batching_of(curve, max_rows).choose(head, others)
    assert share(chosen) == pytest.approx(min(share(company) for company in companies))


@pytest.mark.parametrize(
    ("settings", "neighbours", "rows", "why"),
    [
        ({}, SAME, 8, "cheaper"),
        ({}, None, 8, "cheaper"),
        ({"batching": "off"}, SAME, 1, "switched off"),
        ({}, Neighbours(10, 1, 0.1), 1, "1 of 10 labels"),
        ({}, Neighbours(10, 0, 0.01), 1, "scores by 0.01"),
        ({"batching": "always"}, Neighbours(10, 1, 0.1), 8, "cheaper"),
        ({"max_batch": 3}, SAME, 3, "cheaper"),
    ],
)
def test_who_may_share_a_run(
    served: Served, settings: dict[str, Any], neighbours: Neighbours | None, rows: int, why: str
) -> None:
    decided = decide_batching(served.predictor, curve_of(neighbours=neighbours), Settings(**settings), source="here")
    assert decided.max_rows == rows
    assert why in decided.why
    assert decided.to_json()["source"] == "here"


def test_a_model_whose_batches_are_dear_never_shares(served: Served) -> None:
    dear = curve_of(((1.0, 2.1, 4.2, 8.4), (4.0, 8.1, 16.2, 32.4)))
    decided = decide_batching(served.predictor, dear, Settings(), source="here")
    assert (decided.max_rows, decided.why) == (1, "no batch is cheaper than its rows one by one")


class Counting:
    """The real runner behind a count of the rows of each run; the first run waits until it is released."""

    def __init__(self, runner: Any) -> None:
        self.runner, self.runs, self.release = runner, list[int](), threading.Event()

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        assert self.release.wait(10)
        self.runs.append(len(next(iter(arrays.values()))))
        logits: Array = self.runner.run(arrays, cancel)
        return logits

    def close(self) -> None:
        self.runner.close()

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.runner.facts()
        return facts


def ask_at_once(app: App, counting: Counting, bodies: list[Any]) -> list[httpx.Response]:
    """Ask for the first answer, and for all others while its run is held, so that they wait together."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # httpx types scopes more widely
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client, asyncio.timeout(20):
            asked = [asyncio.create_task(client.post("/v1/classify", json=bodies[0]))]
            while app.running < 1:
                await asyncio.sleep(0)
            asked += [asyncio.create_task(client.post("/v1/classify", json=body)) for body in bodies[1:]]
            while app.waiting < len(bodies) - 1:
                await asyncio.sleep(0)
            counting.release.set()
            return await asyncio.gather(*asked)

    return asyncio.run(send())


@pytest.fixture
def batched(artifacts: dict[str, Artifact]) -> Iterator[tuple[App, Counting]]:
    """An application whose model is said to be cheaper in batches, and a count of its runs."""
    served = load_served(artifacts["text"].folder)
    counting = Counting(served.predictor.runner)
    served.predictor.runner = counting  # type: ignore[assignment]  # not every member of the protocol
    served.batching = replace(batching_of(curve_of()), max_rows=8)
    app = App()
    app.open(served)
    yield app, counting
    app.close()


def test_what_waits_together_is_answered_as_if_alone(batched: tuple[App, Counting]) -> None:
    app, counting = batched
    texts = [TEXTS[turn % len(TEXTS)] for turn in range(40)]
    responses = ask_at_once(app, counting, [{"inputs": [text]} for text in texts])
    assert max(counting.runs) > 1
    assert len(counting.runs) < len(texts)
    assert app.served is not None
    for text, response in zip(texts, responses, strict=True):
        alone = app.served.answer([text])
        found = response.json()
        assert found["predictions"][0]["label"] == alone["predictions"][0]["label"]
        assert found["predictions"][0]["score"] == pytest.approx(alone["predictions"][0]["score"], abs=1e-6)


def test_one_bad_row_among_twenty_harms_nobody(batched: tuple[App, Counting]) -> None:
    app, counting = batched
    bodies: list[Any] = [{"inputs": [TEXTS[0]]} for _ in range(20)]
    bodies[7] = {"inputs": [" "]}
    responses = ask_at_once(app, counting, bodies)
    assert max(counting.runs) > 1
    assert [response.status_code for response in responses] == [422 if turn == 7 else 200 for turn in range(20)]
    assert responses[7].json()["errors"][0]["pointer"] == "/inputs/0"


def test_a_row_that_computes_nonsense_spoils_its_own_answer_only(batched: tuple[App, Counting]) -> None:
    app, counting = batched
    real = counting.runner

    class Spoiling:
        def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
            logits: Array = real.run(arrays, cancel).copy()
            logits[arrays["attention_mask"].sum(axis=1) < 4] = np.nan  # the shortest text
            return logits

        def close(self) -> None:
            real.close()

    counting.runner = Spoiling()
    responses = ask_at_once(app, counting, [{"inputs": [text]} for text in [TEXTS[0], "a", TEXTS[0], TEXTS[2]]])
    assert [response.status_code for response in responses] == [200, 500, 200, 200]
    assert responses[1].json()["code"] == "non_finite_output"
