"""Real TREC questions and digits, and small nets trained on them and exported: made once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compress_samples import LSTM, ROWS, TRANSFORMER, Sample, make_sample

from toolkit.data import Data
from toolkit.data.loading import load_data


@pytest.fixture(scope="session")
def trec() -> Data:
    whole = load_data("trec")
    return replace(whole, splits={name: whole.split(name).take(range(rows)) for name, rows in ROWS.items()})


@pytest.fixture(scope="session")
def transformer(trec: Data, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("compress") / "transformer"
    return make_sample(trec, folder, "transformer", TRANSFORMER, epochs=6, learning_rate=1e-3)


@pytest.fixture(scope="session")
def lstm(trec: Data, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return make_sample(trec, tmp_path_factory.mktemp("compress") / "lstm", "lstm", LSTM)


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return make_sample(load_data("digits"), tmp_path_factory.mktemp("compress") / "cnn", "cnn", None)
