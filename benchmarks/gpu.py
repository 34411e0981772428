"""The toolkit's text transformer and residual cnn on the NVIDIA GPU of this machine, in every way there is.

    make gpu                                    (benchmarks/gpu.sh: its environment, the GPU tests, then this)
    python -m benchmarks.gpu [--quick]

Contestants take turns in interleaved rounds, the first one twice: its two values are the noise floor. At batch 1, 8, 64
and 256, and over test rows one at a time at their own lengths. Three times for each: numpy in and numpy out, on arrays
that lie on the GPU, and by the GPU's own clock. All answer the whole test split, and are judged against eager fp32.
Clocks are read before and after and never set. Writes `benchmarks/results/gpu-NAME.json`; leaves 3 without a GPU, 1
when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import toolkit
from benchmarks.cases import CASES, WORKPLACE, data_of, make_models
from benchmarks.gpu_contestants import EAGER16, OURS, Contestant, Opened, open_all, products_milliseconds
from benchmarks.roles import CAME, EXPORTED
from toolkit.artifact import Artifact
from toolkit.classifier import load_classifier
from toolkit.data import Data, Split
from toolkit.engines.build import tensorrt_version
from toolkit.engines.gpu import check_driver, describe_gpu, read_clocks
from toolkit.errors import InputError
from toolkit.judge.quality import judge_logits
from toolkit.machine import describe_machine
from toolkit.measure.bootstrap import paired_ratio
from toolkit.predictor import BATCH_SIZE
from toolkit.spec import Array, Arrays
from toolkit.staging import write_atomically
from toolkit.terminal import say, show_table, showing_progress

RESULTS = Path(__file__).parent / "results"
NO_GPU = 3
BATCHES, OWN = (1, 8, 64, 256), "own lengths"
ROUNDS, REPEATS, WARM = 9, 200, 20
LEAST_GAIN, MOST_OVER_PRODUCTS = 3.0, 1.5
AGAIN = "again"


def main() -> int:
    """Measure every case; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two rounds; its numbers decide nothing")
    quick = parser.parse_args().quick
    try:
        gpu = describe_gpu()
        check_driver(gpu)
    except InputError as error:
        sys.stderr.write(f"make gpu: {error}\nNothing was measured, and nothing was passed.\n")
        return NO_GPU
    begun, before, cases = time.monotonic(), read_clocks(), {}
    for case in (case for case in CASES if case.task in ("text", "image")):
        with showing_progress() as progress:
            data = data_of(case, 0)
            models = make_models(case, data, WORKPLACE, progress=progress)
        cases[case.name] = measure_case(
            models[CAME], models[EXPORTED], data, WORKPLACE / case.name / "gpu", max_drop=case.max_drop,
            rounds=2 if quick else ROUNDS, repeats=20 if quick else REPEATS,
        )  # fmt: skip
    found = {
        "schema_version": 1, "kind": "gpu", "toolkit": toolkit.__version__, "quick": quick,
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "gpu": gpu.to_json(), "tensorrt": _tensorrt(),
        "machine": describe_machine().to_json(),
        "clocks": {"before": before.to_json(), "after": read_clocks().to_json()},
        "seconds": time.monotonic() - begun, "cases": cases,
    }  # fmt: skip
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    path = (WORKPLACE if quick else RESULTS) / f"gpu-{name}.json"
    write_atomically(path, json.dumps(found, indent=1, sort_keys=True).encode() + b"\n")
    show(found)
    say(f"{path}, {found['seconds'] / 60:.1f} minutes on {gpu.name}")
    return 0 if all(bar["held"] for case in cases.values() for bar in case["bars"]) else 1


def measure_case(
    came: Artifact, exported: Artifact, data: Data, folder: Path, *, max_drop: float, rounds: int, repeats: int
) -> dict[str, Any]:
    """Open, judge and time every contestant of one model."""
    with ExitStack() as stack:
        opened = open_all(came, exported, data, folder, stack)
        largest = exported.encoder().encode(_rows(data.split("test").examples, BATCHES[-1]))
        products = products_milliseconds(load_classifier(came), largest)
        return measure_opened(
            opened,
            exported,
            data.split("test"),
            products_ms=products,
            max_drop=max_drop,
            rounds=rounds,
            repeats=repeats,
        )


def measure_opened(
    opened: Opened, exported: Artifact, test: Split, *, products_ms: float, max_drop: float, rounds: int, repeats: int
) -> dict[str, Any]:
    """Judge all against the first, and time them in turns at every shape."""
    encoder, names = exported.encoder(), list(opened.contestants)
    logits = {name: answer(one, encoder, test.examples) for name, one in opened.contestants.items()}
    quality = {}
    for name in names:
        judged = judge_logits(
            logits[names[0]], logits[name], test.labels, spec=exported.spec, max_drop=max_drop, split_name="test"
        ).to_json()
        quality[name] = {key: judged[key] for key in ("test", "difference", "flips", "verdict")}
    shapes: dict[str, Sequence[Arrays]] = {
        str(batch): [encoder.encode(_rows(test.examples, batch))] for batch in BATCHES
    }
    shapes[OWN] = [encoder.encode([example]) for example in test.examples[:64]]
    timed = {shape: time_shape(opened.contestants, arrays, rounds, repeats) for shape, arrays in shapes.items()}
    return {
        "rows": len(test), "contestants": names, "absent": dict(opened.absent), "quality": quality, "timed": timed,
        "facts": {name: one.facts() for name, one in opened.contestants.items()}, "products_ms": products_ms,
        "bars": bars(timed, products_ms),
    }  # fmt: skip


def answer(contestant: Contestant, encoder: Any, examples: Sequence[Any]) -> Array:
    """Logits of all examples, rows of like length together, in the caller's order."""
    order = sorted(range(len(examples)), key=lambda row: encoder.size(examples[row]))
    parts = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
    found = np.concatenate([contestant.run(encoder.encode([examples[row] for row in part])) for part in parts])
    back = np.empty_like(found)
    back[order] = found
    return back


def time_shape(
    contestants: Mapping[str, Contestant], arrays: Sequence[Arrays], rounds: int, repeats: int
) -> dict[str, Any]:
    """Milliseconds by contestant, in three ways: the median of each round, taken in turns.

    `arrays` is one batch, or several that are asked one after the other.
    """
    first = next(iter(contestants))
    whole: dict[str, list[float]] = {name: [] for name in (*contestants, AGAIN)}
    resident: dict[str, list[float]] = {name: [] for name in contestants}
    events: dict[str, list[float]] = {name: [] for name in contestants}
    calls = {name: one.resident(arrays[0]) for name, one in contestants.items()} if len(arrays) == 1 else {}
    clocks = {name: one.events(arrays[0]) for name, one in contestants.items()} if len(arrays) == 1 else {}
    for _ in range(rounds):
        for name in (*contestants, AGAIN):
            one = contestants[first if name == AGAIN else name]
            whole[name].append(_median_ms([partial(one.run, batch) for batch in arrays], repeats))
            if name in calls:
                resident[name].append(_median_ms([calls[name]], repeats))
            if (clock := clocks.get(name)) is not None:
                events[name].append(statistics.median(clock() for _ in range(repeats)))
    return {
        "whole_ms": whole, "resident_ms": resident, "event_ms": events,
        "shape": {name: list(array.shape) for name, array in arrays[0].items()},
        "noise": paired_ratio(whole[first], whole[AGAIN]).to_json(),
    }  # fmt: skip


def bars(timed: Mapping[str, Any], products_ms: float) -> list[dict[str, Any]]:
    """The gain over eager fp16 for one row, 8 bits against fp16, the largest batch against its products."""
    one, many = timed["1"], timed[str(BATCHES[-1])]
    ours = {name: _best(one["whole_ms"][name]) for name in OURS if name in one["whole_ms"]}
    eager = _best(one["whole_ms"][EAGER16])
    fastest = min(ours, key=ours.__getitem__)
    found = [_bar(f"{fastest} over {EAGER16} at batch 1", eager / ours[fastest], LEAST_GAIN, least=True)]
    for shape in timed:
        times = timed[shape]["whole_ms"]
        half = times.get("TensorRT fp16")
        found += [
            _bar(f"{name} over fp16 at {shape}", _best(times[name]) / _best(half), 1.0, least=False)
            for name in ("TensorRT int8", "TensorRT fp8")
            if half and name in times
        ]
    device = {name: _best(many["event_ms"][name] or many["resident_ms"][name]) for name in ours}
    quickest = min(device, key=device.__getitem__)
    found.append(
        _bar(f"{quickest} over its products at batch {BATCHES[-1]}", device[quickest] / products_ms, MOST_OVER_PRODUCTS,
             least=False)
    )  # fmt: skip
    return found


def _bar(what: str, value: float, limit: float, *, least: bool) -> dict[str, Any]:
    return {"what": what, "value": value, "limit": limit, "held": value >= limit if least else value <= limit}


def _best(rounds: Sequence[float]) -> float:
    return statistics.median(rounds)


def _median_ms(runs: Sequence[Callable[[], object]], repeats: int) -> float:
    """Milliseconds of a call, the calls in turn."""
    for place in range(WARM):
        runs[place % len(runs)]()
    found = []
    for place in range(repeats):
        begun = time.perf_counter_ns()
        runs[place % len(runs)]()
        found.append(time.perf_counter_ns() - begun)
    return statistics.median(found) / 1e6


def _rows(examples: Sequence[Any], count: int) -> list[Any]:
    return [examples[row % len(examples)] for row in range(count)]


def _tensorrt() -> str | None:
    try:
        return tensorrt_version()
    except InputError:
        return None


def show(found: Mapping[str, Any]) -> None:
    """A table a case, and the bars."""
    for name, case in found["cases"].items():
        titles = ["contestant", "test %", "flips", *(f"batch {shape}" for shape in case["timed"]), "ms, numpy to numpy"]
        rows = []
        for one in case["contestants"]:
            quality = case["quality"][one]
            times = [f"{_best(case['timed'][shape]['whole_ms'][one]):.3f}" for shape in case["timed"]]
            rows.append([one, f"{100 * quality['test']['accuracy']['value']:.1f}", _flips(quality), *times, ""])
        rows += [[one, words[:60], "", *([""] * len(case["timed"])), "absent"] for one, words in case["absent"].items()]
        say(f"{name}, {case['rows']} test rows")
        show_table(titles, rows, right=set(titles[1:-1]))
        for bar in case["bars"]:
            say(f"{'held' if bar['held'] else 'MISSED'}: {bar['what']}: {bar['value']:.2f} (limit {bar['limit']:g})")


def _flips(quality: Mapping[str, Any]) -> str:
    return str(quality["flips"]["count"])


if __name__ == "__main__":
    sys.exit(main())
