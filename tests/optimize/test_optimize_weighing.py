"""Scores and their errors, from answers alone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.data import Split
from toolkit.optimize.weighing import error_of, paired_error
from toolkit.spec import Array, Input, Spec


@given(both=st.integers(0, 300), gained=st.integers(0, 50), lost=st.integers(0, 50), neither=st.integers(1, 50))
def test_the_error_of_a_paired_difference_is_that_of_its_discordant_rows(
    both: int, gained: int, lost: int, neither: int
) -> None:
    reference = np.repeat([True, False, True, False], [both, gained, lost, neither])
    candidate = np.repeat([True, True, False, False], [both, gained, lost, neither])
    rows = len(reference)
    expected = np.sqrt((gained + lost) / rows - ((gained - lost) / rows) ** 2) / np.sqrt(rows)
    assert paired_error(reference, candidate) == pytest.approx(expected, abs=1e-12)


def test_equal_answers_have_no_error() -> None:
    right = np.array([True, False, True])
    assert paired_error(right, right) == 0.0


RECOMMENDER = Spec("recommend", (Input("ids", "int64", ("batch", 2)),), ("no", "yes"))


def ratings(rows: int, users: int) -> tuple[Array, Split]:
    """Logits of a scorer that is often right, and the rows that it scored, `users` of them."""
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=rows)
    labels = (wanted + rng.normal(size=rows) > 0).astype(np.int64)
    examples = [{"user_id": int(user)} for user in rng.integers(0, users, rows)]
    return np.stack([-wanted, wanted], axis=1).astype(np.float32), Split(examples, labels)


def test_an_auc_of_equal_scores_has_no_error() -> None:
    logits, rows = ratings(500, 40)
    assert error_of(logits, logits, rows, RECOMMENDER) == 0.0
    assert error_of(logits, 3.0 * logits, rows, RECOMMENDER) == 0.0, "the order is the same"


def test_the_error_of_an_auc_is_delongs_where_rows_are_drawn() -> None:
    """A scorer whose order is shuffled, against the closed form of DeLong et al. 1988."""
    logits, rows = ratings(800, 5)  # so few users that rows are drawn
    shuffled = np.random.default_rng(1).permutation(logits)
    positive = rows.labels == 1
    components = []
    for scores in (logits[:, 1], shuffled[:, 1]):
        ahead = np.sign(scores[positive][:, None] - scores[~positive][None, :]) / 2 + 0.5
        components.append((ahead.mean(axis=1), ahead.mean(axis=0)))
    apart = [components[1][kind] - components[0][kind] for kind in (0, 1)]
    expected = np.sqrt(sum(part.var(ddof=1) / len(part) for part in apart))
    assert 0.01 < expected < 0.05
    assert error_of(logits, shuffled, rows, RECOMMENDER) == pytest.approx(expected, rel=0.1)


def test_ratings_of_one_user_count_together_and_20000_rows_take_less_than_a_second() -> None:
    logits, rows = ratings(20_000, 300)
    # one user in three is scored worse: rows of a user go wrong together
    noise = np.random.default_rng(2).normal(size=300) * (np.arange(300) % 3 == 0)
    users = np.array([example["user_id"] for example in rows.examples])
    worse = logits + np.stack([-noise[users], noise[users]], axis=1).astype(np.float32)
    begun = time.process_time()
    by_users = error_of(logits, worse, rows, RECOMMENDER)
    assert time.process_time() - begun < 1.0
    by_rows = error_of(logits, worse, Split([{} for _ in rows.examples], rows.labels), RECOMMENDER)
    assert by_users > 1.2 * by_rows > 0.0
