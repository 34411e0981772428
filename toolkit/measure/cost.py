"""What a run costs by how many rows share it and how long they are, and whether sharing moves an answer.

A server that knows it forms a batch only where one is cheaper than its rows one after another, and says no to a
request that it could not answer in time. Whole predictors are timed, encoder included, on texts of a few lengths
(pictures and records have one size), the quickest of a few runs: what disturbs a run only ever adds to it.

Whether neighbours move an answer is measured too: the same rows alone and in one batch. Scales that INT8 takes
from the whole batch do that, and rounding does a little.

Limits: the rows of a size are alike, so a cascade, whose cost depends on what it is asked, counts both members:
its sums are too high, and the server's own clock corrects them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np

from toolkit.errors import ArtifactError
from toolkit.machine import processor_name
from toolkit.predictor import Predictor

COST = "cost.json"
ROWS = (1, 2, 4, 8, 16, 32)
LONGEST_RUN_MS = 100.0  # no larger batch is tried after a run of this length: its first row would wait for its last
REPEATS = 3
ROUNDING = 1e-3  # of a probability; 1e-7 is usual in fp32, 1e-4 where INT8 rounds to another step
WORDS = "What is the name of the river that runs through the capital of the country where it was first seen ? "
LENGTHS = (16, 64, 256, 1024)
_ONE_SIZE: dict[str, Any] = {"image": np.zeros((8, 8), dtype=np.uint8), "recommend": {}}


@dataclass(frozen=True)
class Neighbours:
    """The same rows alone and together: labels that moved, the largest change of a probability."""

    rows: int
    labels_moved: int
    score_difference: float

    @property
    def harmless(self) -> bool:
        """True when nothing moved but by rounding."""
        return not self.labels_moved and self.score_difference <= ROUNDING


@dataclass(frozen=True)
class CostCurve:
    """`milliseconds[i][j]`: a run of `rows[j]` rows of `sizes[i]`, in the unit of `Encoder.size`; both rising.

    A list may be shorter than `rows`: larger batches took too long to be of use.
    """

    digest: str
    sizes: tuple[int, ...]
    rows: tuple[int, ...]
    milliseconds: tuple[tuple[float, ...], ...]
    neighbours: Neighbours | None
    threads: int
    processor: str
    measured_at: str

    def cost(self, rows: int, size: int) -> float:
        """Milliseconds of a run of `rows` of at most `size`; beyond the table, as many runs as it takes."""
        table = self.milliseconds[self.kind(size)]
        largest = self.rows[len(table) - 1]
        if rows > largest:
            return table[-1] * rows / largest
        for (few, cheap), (many, dear) in zip(
            zip(self.rows, table, strict=False), zip(self.rows[1:], table[1:], strict=False), strict=False
        ):
            if rows <= many:
                return cheap + (dear - cheap) * (rows - few) / (many - few)
        return table[0]

    def largest(self, size: int) -> int:
        """How many rows of `size` the table knows."""
        return self.rows[len(self.milliseconds[self.kind(size)]) - 1]

    def kind(self, size: int) -> int:
        """Which of `sizes` stands for `size`."""
        for position, known in enumerate(self.sizes):
            if size <= known:
                return position
        return len(self.sizes) - 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the form in evidence/cost.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; raises `ArtifactError` when the value has another form."""
        try:
            neighbours = value["neighbours"]
            curve = cls(
                digest=str(value["digest"]),
                sizes=tuple(int(size) for size in value["sizes"]),
                rows=tuple(int(rows) for rows in value["rows"]),
                milliseconds=tuple(tuple(float(cell) for cell in line) for line in value["milliseconds"]),
                neighbours=None
                if neighbours is None
                else Neighbours(
                    int(neighbours["rows"]), int(neighbours["labels_moved"]), float(neighbours["score_difference"])
                ),
                threads=int(value["threads"]),
                processor=str(value["processor"]),
                measured_at=str(value["measured_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{COST} cannot be read: {error!r}; run toolkit bench again") from None
        curve._check()
        return curve

    def _check(self) -> None:
        cells = [cell for line in self.milliseconds for cell in line]
        whole = len(self.sizes) == len(self.milliseconds) > 0 and all(
            0 < len(line) <= len(self.rows) for line in self.milliseconds
        )
        rising = all(list(axis) == sorted(set(axis)) and min(axis, default=-1) >= 0 for axis in (self.sizes, self.rows))
        if not (whole and rising and self.rows[0] == 1 and all(0 < cell < 1e7 for cell in cells)):
            raise ArtifactError(f"{COST} is no table of costs; run toolkit bench again")


def measure_cost(
    predictor: Predictor, *, digest: str, threads: int, examples: Sequence[Any] = (), largest: int = ROWS[-1]
) -> CostCurve:
    """Time runs of 1 to `largest` rows; a second or two.

    `examples` are real ones where there are any: their sizes are the ones that are timed, and the neighbours of
    at most 256 of them are compared. Without, texts of a few lengths are, and neighbours stay unknown.
    """
    samples = _of_several_sizes(predictor, examples) if len(examples) else _made_up(predictor)
    rows = tuple(count for count in ROWS if count <= largest)
    return CostCurve(
        digest=digest,
        sizes=tuple(samples),
        rows=rows,
        milliseconds=tuple(_line(predictor, example, rows) for example in samples.values()),
        neighbours=compare_neighbours(predictor, examples) if len(examples) else None,
        threads=threads,
        processor=processor_name(),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def compare_neighbours(predictor: Predictor, examples: Sequence[Any], *, at_most: int = 256) -> Neighbours:
    """Answer `examples` alone, then in batches of like size as a server makes them, and compare."""
    step = -(-len(examples) // at_most)
    chosen = sorted(examples[::step], key=predictor.encoder.size)
    alone = np.concatenate([predictor.probabilities([example]) for example in chosen])
    together = predictor.probabilities(chosen)
    return Neighbours(
        rows=len(chosen),
        labels_moved=int((alone.argmax(1) != together.argmax(1)).sum()),
        score_difference=float(np.abs(alone - together).max()),
    )


def _of_several_sizes(predictor: Predictor, examples: Sequence[Any]) -> dict[int, Any]:
    """A typical short, middle and long example, and the longest, by size."""
    ordered = sorted(examples, key=predictor.encoder.size)
    chosen = [ordered[min(int(len(ordered) * share), len(ordered) - 1)] for share in (0.1, 0.5, 0.9, 1.0)]
    return {predictor.encoder.size(example): example for example in chosen}


def _made_up(predictor: Predictor) -> dict[int, Any]:
    if predictor.spec.task in _ONE_SIZE:
        example = _ONE_SIZE[predictor.spec.task]
        return {predictor.encoder.size(example): example}
    texts = [(WORDS * (length // len(WORDS) + 1))[:length].strip() for length in LENGTHS]
    return {predictor.encoder.size(text): text for text in texts}


def _line(predictor: Predictor, example: Any, rows: Sequence[int]) -> tuple[float, ...]:
    """The quickest of three runs at each number of rows, until one takes too long."""
    line: list[float] = []
    for count in rows:
        line.append(sum(_quickest(part, [example] * count) for part in predictor.parts))
        if line[-1] > LONGEST_RUN_MS:
            break
    return tuple(line)


def _quickest(predictor: Predictor, examples: list[Any]) -> float:
    times = []
    predictor.logits(examples)
    for _ in range(REPEATS):
        start = time.perf_counter()
        predictor.logits(examples)
        times.append(time.perf_counter() - start)
        if times[-1] > LONGEST_RUN_MS / 1e3:
            break
    return min(times) * 1e3
