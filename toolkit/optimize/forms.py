"""Ways to 8 bits beyond the plain one, tried in turn while 8 bits cost accuracy: clipped, smoothed, mixed, trained.

Plain static INT8 is the fastest form and mostly costs nothing, so the others are made only while the best 8-bit form
so far lies more than `TOLERATED` below the float file it came from. Clipping and smoothing take seconds; the other two
take minutes, and are for what was trained long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from toolkit.artifact import Artifact
from toolkit.classifier import Classifier
from toolkit.compress.quantize import quantize
from toolkit.compress.quantize_aware import aware_recipe, quantize_aware
from toolkit.compress.scheme import Scheme
from toolkit.compress.sensitivity import quantize_mixed
from toolkit.data import Data
from toolkit.nets import describe_net

TOLERATED = 0.002
CLIPPED, SMOOTHED, MIXED, AWARE = "int8-clipped", "int8-smooth", "int8-mixed", "int8-aware"
# kinds of net that can be trained to stand INT8
AWARE_KINDS = ("transformer", "cnn")
Make = Callable[[Path], object]


def ways_back(
    exported: Artifact, classifier: Classifier | None, data: Data, *, seed: int, threads: int, table_bits: int,
    thorough: bool,
) -> dict[str, Make]:  # fmt: skip
    """Form -> what writes it into a staged folder, in the order to try; embedding tables in `table_bits`.

    Without a `classifier`, of what came as an exported file, nothing can be trained.
    """
    scheme = Scheme(mode="static", seed=seed, table_bits=table_bits)
    train, validation = data.split("train"), data.split("validation")
    ways: dict[str, Make] = {
        CLIPPED: lambda partial: quantize(exported, partial, replace(scheme, method="percentile"), calibration=train),
        SMOOTHED: lambda partial: quantize(exported, partial, replace(scheme, smooth=0.5), calibration=train),
    }
    if not thorough:
        return ways
    ways[MIXED] = lambda partial: quantize_mixed(
        exported, partial, scheme, calibration=train, validation=validation, max_drop=TOLERATED
    )
    if classifier is not None and (kind := describe_net(classifier.net)["kind"]) in AWARE_KINDS:
        recipe = replace(aware_recipe(kind), seed=seed, threads=threads)
        ways[AWARE] = lambda partial: quantize_aware(classifier, data, partial, epochs=1, recipe=recipe)
    return ways
