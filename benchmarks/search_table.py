"""Every plan of a small space trained to its end, none given up: a table in which a search can be repeated for nothing.

    python -m benchmarks.search_table MODEL DATA       (make search-table; half an hour on two cores)

Writes `benchmarks/results/search-table.json`: for each plan the cost of its untrained shape, its curve of validation
accuracy with seconds, what was made of it, and its answers to the validation rows. `benchmarks.replay` searches in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from toolkit.artifact import load_artifact
from toolkit.commands.opening import data_of
from toolkit.machine import describe_machine
from toolkit.optimize.plan import Choices, Plan, enumerate_plans
from toolkit.optimize.trial import MADE, Made, Trial
from toolkit.optimize.weighing import answers_of
from toolkit.optimize.workshop import Workshop
from toolkit.staging import write_atomically

QUANTIZED = Plan.of("quantize")
RESULTS = Path(__file__).parent / "results" / "search-table.json"
ANSWERS = RESULTS.with_suffix(".npz")  # validation logits, so that cascades can be counted
SPACE: dict[str, Choices] = {
    "prune": {"layers": (1, 2, 3, 4, 6), "keep": (0.25, 0.5)},
    "lstm": {"width": (128, 256), "hidden": (64, 128, 192)},
    "textcnn": {"width": (128, 256), "filters": (64, 128, 256)},
    "mlp": {"width": (64, 128), "buckets": (8192, 32768)},
}


def main(model: str, reference: str, folder: str, threads: int = 1) -> int:
    """Fill the table; trials found in `folder` from an earlier run are taken."""
    artifact = load_artifact(model)
    data = data_of(artifact, reference)
    workshop = Workshop(artifact, data, Path(folder), seed=0, threads=threads)
    came, _ = workshop.reference
    _ = workshop.teacher
    trials: list[Trial] = []
    for plan in enumerate_plans(SPACE):
        shape = workshop.measure_shape(plan)
        product = workshop.make(plan)
        seconds = product.curve[-1].seconds  # of training: what making and timing a file takes is alike for all
        trials.append(Trial(len(trials), plan, MADE, "made", "short", shape, product.curve, product.made, seconds))
        print(plan.words, [(made.form, round(made.score, 4), round(made.cost.mean_ms, 2)) for made in product.made],
              f"{seconds:.0f} s", flush=True)  # fmt: skip
    untrained = workshop.make(QUANTIZED).made
    document = {
        "schema_version": 1,
        "data": data.record().to_json(),
        "rows": len(data.split("validation")),
        "space": {
            family: {name: list(values) for name, values in choices.items()} for family, choices in SPACE.items()
        },
        "reference": came.to_json(),
        "untrained": [made.to_json() for made in untrained],
        "trials": [trial.to_json() for trial in trials],
        "machine": describe_machine().to_json(),
    }
    np.savez_compressed(ANSWERS, labels=data.split("validation").labels, **{
        answers_name(made): np.load(answers_of(Path(folder) / made.folder)).astype(np.float16)
        for made in [*untrained, *(made for trial in trials for made in trial.made)]
    })  # fmt: skip
    write_atomically(RESULTS, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return 0


def answers_name(made: Made) -> str:
    """The name of an artifact's logits in the table: the start of its digest."""
    return made.digest[:16]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3]))
