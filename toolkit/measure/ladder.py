"""Several artifacts on several rungs in interleaved rounds: what slows the machine down slows all of them.

A round takes the rungs one after the other, and on each A B C A, in the next round A C B A: the last A of a round is
the first artifact again, and what it differs from itself is how large a difference this machine makes out of nothing.
The rungs are (1) the runner on encoded rows, (2) the predictor, which encodes too, (3) HTTP over one connection: what
a layer costs is the difference of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolkit.errors import DataError, RecipeError
from toolkit.measure.conditions import collector_off
from toolkit.measure.energy import Energy, Meter
from toolkit.measure.rung import rung_json
from toolkit.measure.turns import Stretch, Subject
from toolkit.progress import Progress, silent

RUNNER, PREDICTOR, HTTP = "runner", "predictor", "http"
RUNGS = (RUNNER, PREDICTOR, HTTP)
STAGE = "bench"
WARM_SECONDS = 0.3


@dataclass(frozen=True)
class Turns:
    """`of[artifact][rung]` are the turns of an artifact, a round each; `again[rung]` the first artifact's second ones.

    `energy[artifact]` is what its predictor's turns took, where a counter exists.
    """

    of: tuple[dict[str, list[Stretch]], ...]
    again: dict[str, list[Stretch]]
    energy: tuple[Energy | None, ...] = field(default=())

    def rungs(self, artifact: int) -> dict[str, Any]:
        """The rungs of an artifact in the form of the bench file."""
        return {
            rung: rung_json(turns, self.again.get(rung, ()) if artifact == 0 else ())
            for rung, turns in self.of[artifact].items()
        }

    def gaps(self, names: Sequence[str]) -> list[str]:
        """Rungs on which somebody gave no right answer for a whole round: such a run decides nothing."""
        return [
            f"{name}, {rung}: no right answer in round {number + 1} of {len(turns)}"
            for name, found in zip(names, self.of, strict=True)
            for rung, turns in found.items()
            for number, turn in enumerate(turns)
            if not turn.right.any()
        ][:10]


def measure_rungs(
    subjects: Sequence[Mapping[str, Subject]],
    *,
    rounds: int,
    seconds: float,
    warmup: float = WARM_SECONDS,
    meter: Meter | None = None,
    progress: Progress = silent,
) -> Turns:
    """Take every subject (by artifact, by rung) for `seconds` in all, spread over `rounds`; see the module.

    An artifact may lack a rung. Raises `RecipeError` without artifacts, rounds or time.
    """
    if not subjects or rounds < 1 or not seconds > 0:
        raise RecipeError(f"{len(subjects)} artifacts, {rounds} rounds and {seconds} s; give at least one of each")
    if not all(subjects):
        raise DataError("an artifact has no rung that can be measured")
    rungs = [rung for rung in RUNGS if any(rung in found for found in subjects)]
    turns = Turns(tuple({rung: [] for rung in rungs if rung in found} for found in subjects), {})
    spent: list[list[Energy]] = [[] for _ in subjects]
    done, total = 0, rounds * len(rungs)
    with collector_off():
        for found in subjects:
            for subject in found.values():
                subject.run(warmup)
        for number in range(rounds):
            for rung in rungs:
                order = [place for place, found in enumerate(subjects) if rung in found]
                others = order[1:] if number % 2 == 0 else order[:0:-1]
                for place in (order[0], *others):
                    if meter is not None and rung == PREDICTOR:
                        meter.start()
                    turns.of[place][rung].append(subjects[place][rung].run(seconds / rounds))
                    if meter is not None and rung == PREDICTOR and (energy := meter.stop()) is not None:
                        spent[place].append(energy)
                if order[0] == 0:
                    turns.again.setdefault(rung, []).append(subjects[0][rung].run(seconds / rounds))
                done += 1
                progress(STAGE, done, total, f"{rung}, round {number + 1} of {rounds}")
    return Turns(turns.of, turns.again, tuple(_together(one, rounds) for one in spent))


def _together(parts: Sequence[Energy], rounds: int) -> Energy | None:
    """The sum over all rounds; None where a round has no reading, for half a measurement is none."""
    if len(parts) < rounds or len({tuple(part.joules_by) for part in parts}) != 1:
        return None
    joules = {name: sum(part.joules_by[name] for part in parts) for name in parts[0].joules_by}
    return Energy(joules, sum(part.seconds for part in parts))
