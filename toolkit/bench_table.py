"""A bench file in a terminal: a row for each artifact on each rung, and what a process of each artifact takes.

Rows stand in the order measured; none is left out because it is bad, and bad ones are named in `bad`. A dash is what
was not measured, or a percentile with too few samples beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.measure.bench_file import BenchFile
from toolkit.measure.ladder import RUNGS
from toolkit.measure.rung import unsteady
from toolkit.measure.samples import PERCENTILES
from toolkit.table import DASH

TIMES = ("p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "mean ms", "max ms")
_RUNG_KEYS = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "mean_ms", "max_ms")
_OPEN_KEYS = (*PERCENTILES, "mean_ms", "max_ms")
LEFT = ("artifact", "rung", "first = 1 (95 %)", "holds")


@dataclass(frozen=True)
class Table:
    """Headings with their units, rows of text, which columns stand to the right, and the places of bad rows."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: frozenset[int] = frozenset()

    @property
    def right(self) -> frozenset[str]:
        """Columns of numbers."""
        return frozenset(self.titles) - {*LEFT}


def ladder_table(file: BenchFile) -> Table:
    """Every artifact on every rung, then open arrivals and the peak where they were measured."""
    found = [row for entry in file.artifacts for row in _rows_of(entry, file)]
    titles = ("artifact", "rung", "asked", *TIMES, "right/s", "right %", "first = 1 (95 %)", "holds")
    rows = [cells for cells, _ in found]
    bad = frozenset(place for place, (_, is_bad) in enumerate(found) if is_bad)
    return _without_empty(Table(titles, tuple(rows), bad), ("first = 1 (95 %)", "holds"))


def process_table(file: BenchFile) -> Table:
    """What each artifact takes: bytes, memory, time to load and to the first answer; joules and cost where known."""
    titles = ("artifact", "size MB", "memory MB", "cold load ms", "load ms", "first answer ms", "J per 1,000",
              "cost per million")  # fmt: skip
    rows = []
    for entry in file.artifacts:
        footprint, memory = entry.get("footprint", {}), entry.get("footprint", {}).get("memory_bytes")
        rows.append(
            (
                entry["name"],
                f"{entry['size_bytes'] / 1e6:,.2f}",
                DASH if memory is None else f"{memory / 1e6:,.1f}",
                *(_time(footprint.get(key)) for key in ("cold_load_ms", "load_ms", "first_answer_ms")),
                _figures(entry.get("energy", {}).get("joules_per_1000")),
                _figures(entry.get("price", {}).get("per_million")),
            )
        )
    return _without_empty(Table(titles, tuple(rows)), ("J per 1,000", "cost per million"))


def notes_of(file: BenchFile) -> list[str]:
    """What has to be read beside the numbers: a void run first, what stood above each peak, drift, the noise floor."""
    notes = [f"VOID, decides nothing: {reason}" for reason in file.void]
    for entry in file.artifacts:
        name = entry["name"]
        for rung, found in entry["rungs"].items():
            if (drift := unsteady(found)) is not None:
                notes.append(f"{name}, {rung}: not steady, the last third took {drift:.2f} times the first")
        if peak := entry.get("peak"):
            rate = f"{peak['rate']:,.0f} a second" if "rate" in peak else "none"
            notes.append(f"{name}: peak with p99 within {peak['objective_ms']:g} ms is {rate}; limit: {peak['limit']}")
        if "not_served" in entry:
            notes.append(f"{name}: {entry['not_served']}")
        if "price" in entry:
            notes.append(f"{name}: {entry['price']['assumes']}")
    if file.noise_floor:
        floors = ", ".join(f"{rung} {100 * (floor - 1):.1f} %" for rung, floor in file.noise_floor.items())
        notes.append(f"noise, from {file.artifacts[0]['name']} against itself: {floors}; no less is a difference")
    return notes


def _rows_of(entry: Mapping[str, Any], file: BenchFile) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Cells of each row, and whether it is a bad one."""
    name = entry["name"]
    for rung in RUNGS:
        if (found := entry["rungs"].get(rung)) is not None:
            rate = 1000 / found["mean_ms"] if found["mean_ms"] else None
            cells = (name, rung, f"{found['asked']:,}", *_times(found, _RUNG_KEYS), _rate(rate), _share(found))
            yield (*cells, _ratio(file, rung, name), ""), found["success_rate"] < 1
    for scenario, found in entry.get("loadgen", {}).items():
        cells = (name, f"LoadGen {scenario.replace('_', ' ')}", f"{found['asked']:,}", *_times(found, _OPEN_KEYS))
        held = _held(found["holds"]) if "holds" in found else ""
        yield (*cells, _rate(found.get("rate")), _share(found), "", held), found["success_rate"] < 1
    for step in entry.get("open", []):
        words = f"open {step['share']:.0%} of peak"
        cells = (name, words, f"{step['asked']:,}", *_times(step, _OPEN_KEYS), _rate(step["rate"]), _share(step))
        yield (*cells, "", _held(step["holds"])), step["success_rate"] < 1 or step["holds"] is False
    if peak := entry.get("peak"):
        words = f"peak, p99 ≤ {peak['objective_ms']:g} ms"
        cells = (name, words, "", *("" for _ in TIMES), _rate(peak.get("rate")), "", "")
        yield (*cells, _held(True if "rate" in peak else None)), "rate" not in peak


def _ratio(file: BenchFile, rung: str, name: str) -> str:
    """The time beside the first artifact's; `=` where the noise is as large."""
    for ratio in file.ratios:
        if ratio["rung"] == rung and ratio["artifact"] == name:
            mark = "" if ratio["beyond_noise"] else " ="
            return f"{ratio['ratio']:.3f} ({ratio['low']:.3f}–{ratio['high']:.3f}){mark}"
    return ""


def _times(found: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(_time(found.get(key)) for key in keys)


def _time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return DASH
    return f"{milliseconds:,.{1 if milliseconds >= 100 else 2 if milliseconds >= 1 else 4}f}"


def _figures(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _rate(rate: float | None) -> str:
    return DASH if rate is None else f"{rate:,.{1 if rate < 100 else 0}f}"


def _share(found: Mapping[str, Any]) -> str:
    """Never rounded up to 100: one wrong answer in a million shows."""
    share = 100 * found["success_rate"]
    return "100" if share == 100 else f"{min(share, 99.9999):.4f}".rstrip("0").rstrip(".")


def _held(holds: bool | None) -> str:
    return {True: "yes", False: "no", None: "too few to tell"}[holds]


def _without_empty(table: Table, optional: Sequence[str]) -> Table:
    """The table without those columns of `optional` that hold nothing in any row."""
    kept = [
        place for place, title in enumerate(table.titles)
        if title not in optional or any(row[place] for row in table.rows)
    ]  # fmt: skip
    return Table(
        tuple(table.titles[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in table.rows),
        table.bad,
    )
