"""The inside of a peer's process: says when it is ready, then answers rows and times them as it is told.

Runs in each peer's own environment, so it needs nothing but numpy and tokenizers. One JSON line in, one out:

    {"answer": [text, ...]}          -> {"logits": [[...], ...]}
    {"texts": [...], "seconds": s}   -> {"whole_ns": [...], "model_ns": [...], "wrong": n, "failed": n, "said": words}

`whole` is text to label, tokenizer included, one row a call, in the order of the texts; `model` the part of it that
is not the tokenizer. An answer is wrong when its label, or a logit by more than 1e-3 of its row's largest, is not what
the process said of that text before the clock ran: a wrong answer is not a fast one. Standard output belongs to this
protocol: whatever a library prints goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

TOLERANCE = 1e-3
Arrays = dict[str, npt.NDArray[np.int64]]
Array = npt.NDArray[Any]


class Model(Protocol):
    """`run` takes int64 (1, length) `input_ids` and `attention_mask`, and returns logits (1, labels)."""

    def run(self, arrays: Arrays) -> Array: ...


class Encode:
    """One text to its arrays, cut at `max_length`, unpadded: what our own encoder makes of one row."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(json.loads((folder / "settings.json").read_text())["max_length"])

    def __call__(self, text: str) -> Arrays:
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def take_stdout() -> IO[str]:
    """The real standard output, and from now on whatever is printed goes to standard error."""
    mine = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return mine


def say(out: IO[str], document: Mapping[str, Any]) -> None:
    """One line, out at once."""
    out.write(json.dumps(document) + "\n")
    out.flush()


def attend(out: IO[str], encode: Callable[[str], Arrays], model: Model, facts: Mapping[str, Any]) -> None:
    """Tell `facts`, then do as told until standard input ends."""
    say(out, facts)
    expected: dict[str, Array] = {}
    for line in sys.stdin:
        task = json.loads(line)
        if "answer" in task:
            for text in task["answer"]:
                expected[text] = np.array(model.run(encode(text)), dtype=np.float64)[0]
            say(out, {"logits": [expected[text].tolist() for text in task["answer"]]})
        else:
            say(out, _timed(encode, model, task["texts"], float(task["seconds"]), expected))


def _timed(
    encode: Callable[[str], Arrays], model: Model, texts: Sequence[str], seconds: float, expected: Mapping[str, Array]
) -> dict[str, Any]:
    whole, alone = list[int](), list[int]()
    wrong, failed, said = 0, 0, ""
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    try:
        end, position = clock() + int(seconds * 1e9), 0
        while not whole or clock() < end:
            text = texts[position % len(texts)]
            position += 1
            start = clock()
            try:
                arrays = encode(text)
                middle = clock()
                logits = model.run(arrays)
                label = int(logits[0].argmax())
                stop = clock()
            except Exception as error:  # a peer that fails in the run has its words in its row
                failed, said = failed + 1, str(error) or repr(error)
                if failed == position >= 10:
                    break
                continue
            whole.append(stop - start)
            alone.append(stop - middle)
            wrong += not _same(logits[0], label, expected[text])
    finally:
        gc.enable()
    return {"whole_ns": whole, "model_ns": alone, "wrong": wrong, "failed": failed, "said": said}


def _same(logits: Array, label: int, expected: Array) -> bool:
    near = np.abs(np.asarray(logits, dtype=np.float64) - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max())
    return bool(near) and label == int(expected.argmax())


def folder_bytes(*paths: Path) -> int:
    """Bytes of the files given, and of all files in the folders given."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files if file.is_file())


def threads() -> int:
    """What the benchmark allows: the environment variable THREADS."""
    return int(os.environ["THREADS"])
