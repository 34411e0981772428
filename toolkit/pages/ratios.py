"""Ratios of times of one run, found again by the artifacts that they speak of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.pages.gather import Gathered, Subject

RUNG_WORDS = {
    "runner": "runner in process",
    "predictor": "predictor in process",
    "http": "HTTP, one connection",
}


def all_ratios(gathered: Gathered) -> Iterator[tuple[Mapping[str, Any], Subject, str]]:
    """Each ratio once, with its artifact and the name of what it is against. Times: above 1 it takes longer."""
    seen = set()
    for subject in gathered.subjects:
        for ratio in subject.bench.ratios if subject.bench else ():
            if ratio["artifact"] != subject.entry.get("name"):
                continue
            other = gathered.named(ratio["against"])
            key = subject.name, ratio["rung"], ratio["against"]
            if key not in seen:
                seen.add(key)
                yield ratio, subject, other.name if other else str(ratio["against"])


def ratio_against(gathered: Gathered, subject: Subject) -> tuple[Mapping[str, Any], str] | None:
    """The ratio that says most of one artifact: against its reference if there is one, the predictor's if there is."""
    if not subject.counts:
        return None
    reference = gathered.reference_of(subject)
    found = [(ratio, other) for ratio, mine, other in all_ratios(gathered) if mine is subject]
    if reference is not None:
        found = [(ratio, other) for ratio, other in found if other == reference.name]
    order = ["predictor", "runner", "http"]
    found.sort(key=lambda item: order.index(item[0]["rung"]) if item[0]["rung"] in order else len(order))
    return found[0] if found else None
