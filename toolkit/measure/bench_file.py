"""The file that a benchmark ends in: what was measured, on which machine, with which settings, and whether it counts.

::

    {"schema_version": 1, "kind": "bench", "toolkit", "date", "seed", "machine", "conditions",
     "void": [reason...],            not empty: the run decides nothing, and says why
     "settings": {...}, "artifacts": [{"name", "digest", "rungs": {"runner": {...}}, "open": [...]}, ...],
     "noise_floor": {rung: ratio}, "ratios": [{"rung", "artifact", "against", "ratio", "low", "high"}, ...]}

A ratio is the median time of `artifact` over that of `against`, round by round: below 1 it is faster. The noise floor
is 1 or more: what the first artifact differed from itself, either way. `beyond_noise` says that the whole interval
lies outside of it.

Keys carry their unit. What was not measured is absent, never null or zero. Numbers of two machines are no
comparison: `require_one_machine` refuses them unless it is told that they are mixed on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Self

import toolkit
from toolkit.errors import InputError
from toolkit.machine import describe_machine
from toolkit.staging import write_atomically

SCHEMA_VERSION = 1
BENCH = "bench.json"
KIND = "bench"
AGAIN = "run toolkit bench again"
# what of a machine moves a latency, and how it is called in a sentence
_MACHINE = {
    "processor": "processor", "flags": "instruction sets", "threads_allowed": "threads allowed", "system": "system",
    "python": "Python",
}  # fmt: skip


@dataclass(frozen=True)
class BenchFile:
    """See the module. Make one with `BenchFile.of`, read one with `read_bench`."""

    artifacts: tuple[Mapping[str, Any], ...]
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    conditions: Mapping[str, Any]
    date: str
    seed: int = 0
    void: tuple[str, ...] = ()
    noise_floor: Mapping[str, float] = field(default_factory=dict)
    ratios: tuple[Mapping[str, Any], ...] = ()
    toolkit: str = toolkit.__version__

    @classmethod
    def of(
        cls,
        artifacts: Sequence[Mapping[str, Any]],
        *,
        settings: Mapping[str, Any],
        conditions: Mapping[str, Any],
        seed: int = 0,
        void: Sequence[str] = (),
        noise_floor: Mapping[str, float] | None = None,
        ratios: Sequence[Mapping[str, Any]] = (),
    ) -> Self:
        """What was measured here and now: machine and date are added."""
        return cls(
            artifacts=tuple(artifacts), machine=describe_machine().to_json(), settings=dict(settings),
            conditions=dict(conditions), date=datetime.now(UTC).isoformat(timespec="seconds"), seed=seed,
            void=tuple(void), noise_floor=dict(noise_floor or {}), ratios=tuple(ratios),
        )  # fmt: skip

    @property
    def counts(self) -> bool:
        """False for a run that is void: it decides nothing."""
        return not self.void

    def artifact(self, name: str) -> Mapping[str, Any] | None:
        """The entry of the artifact of that name; None where it is not in the file."""
        return next((entry for entry in self.artifacts if entry["name"] == name), None)

    def part(self, name: str) -> Self:
        """The same run with the entry of one artifact only, and the ratios that speak of it."""
        ratios = tuple(ratio for ratio in self.ratios if name in (ratio["artifact"], ratio["against"]))
        return replace(self, artifacts=tuple(entry for entry in self.artifacts if entry["name"] == name), ratios=ratios)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "toolkit": self.toolkit,
            "date": self.date,
            "seed": self.seed,
            "machine": dict(self.machine),
            "conditions": dict(self.conditions),
            "void": list(self.void),
            "settings": dict(self.settings),
            "artifacts": [dict(entry) for entry in self.artifacts],
            "noise_floor": dict(self.noise_floor),
            "ratios": [dict(ratio) for ratio in self.ratios],
        }

    @classmethod
    def from_json(cls, value: Any, *, source: str = "it") -> Self:
        """The inverse of `to_json`; raises `InputError` naming `source` when the value has another form."""
        _check_kind(value, source)
        try:
            for entry in [*value["artifacts"], *value["ratios"]]:
                _check_entry(entry)
            return cls(
                artifacts=tuple(value["artifacts"]),
                machine=_mapping(value["machine"]),
                settings=_mapping(value["settings"]),
                conditions=_mapping(value["conditions"]),
                date=datetime.fromisoformat(value["date"]).isoformat(),
                seed=int(value["seed"]),
                void=tuple(str(reason) for reason in value["void"]),
                noise_floor={str(rung): float(ratio) for rung, ratio in value["noise_floor"].items()},
                ratios=tuple(value["ratios"]),
                toolkit=str(value["toolkit"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{source} is no whole bench file: {error!r}; {AGAIN}") from None


def read_bench(path: Path | str) -> BenchFile:
    """Read a bench file; raises `InputError` that says what is wrong with it and what to do."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        why = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise InputError(f"{path} {why}; make one with toolkit bench DIR... --data DATA -o {path.name}") from None
    try:
        value = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}; {AGAIN}") from None
    return BenchFile.from_json(value, source=str(path))


def write_bench(path: Path, bench: BenchFile) -> None:
    """Write the file whole, or leave what was there."""
    text = json.dumps(bench.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(Path(path), (text + "\n").encode())


def require_one_machine(files: Sequence[BenchFile], *, across: bool = False) -> tuple[str, ...]:
    """How the machines of `files` differ from the first one's, a phrase a difference; empty when they do not.

    Raises `InputError` with these phrases unless `across` says that machines are mixed on purpose.
    """
    found = tuple(dict.fromkeys(words for other in files[1:] for words in _differences(files[0], other)))
    if found and not across:
        raise InputError(
            f"these were measured on different machines ({'; '.join(found)}), so their times cannot be compared; "
            "measure both on one, or add --across-machines to compare all the same"
        )
    return found


def _differences(one: BenchFile, other: BenchFile) -> list[str]:
    words = []
    for key, name in _MACHINE.items():
        before, after = one.machine.get(key), other.machine.get(key)
        if before != after:
            words.append(f"{name} {_shown(before)} and {_shown(after)}")
    before, after = one.machine.get("packages", {}), other.machine.get("packages", {})
    return words + [
        f"{package} {_shown(before.get(package))} and {_shown(after.get(package))}"
        for package in sorted({*before, *after})
        if before.get(package) != after.get(package)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _check_kind(value: Any, source: str) -> None:
    """Raises `InputError` for another kind of file, and for one of an older or newer schema."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind != KIND:
        what = f"says it is {kind!r}" if kind else "is JSON of another kind"
        raise InputError(f"{source} {what}; give a file that toolkit bench -o wrote")
    version = value.get("schema_version")
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        remedy = "update the toolkit to read it" if newer else f"{AGAIN} to have it in today's form"
        raise InputError(f"{source} has schema_version {version!r}; this toolkit reads {SCHEMA_VERSION}; {remedy}")


def _check_entry(entry: Any) -> None:
    """An artifact has a name, a digest and rungs; a ratio has its two names, its rung and three numbers."""
    if "ratio" in entry:
        for key in ("rung", "artifact", "against"):
            _text(entry[key], key)
        for key in ("ratio", "low", "high"):
            float(entry[key])
        return
    _text(entry["name"], "name")
    _text(entry["digest"], "digest")
    for rung in _mapping(entry.get("rungs", {})).values():
        _mapping(rung)
        int(rung["asked"]), int(rung["right"])
    for step in entry.get("open", []):
        _mapping(step)


def _text(value: Any, key: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}")


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
