"""The verdict in a sentence: what a reader must know who reads nothing else.

A failed gate comes first and by name. A time is called shorter or longer only where the interval of its
ratio lies beyond the noise of the machine, and nothing is said of times of a void run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.judge.verdict import CANNOT_TELL
from toolkit.pages.content import FAILED, PASSED, PLAIN, UNSURE, figure, join_names, percent, points, short, signed
from toolkit.pages.gather import Gathered, Subject
from toolkit.pages.ratios import RUNG_WORDS, ratio_against

TONES = (FAILED, UNSURE, PASSED, PLAIN)


@dataclass(frozen=True)
class Headline:
    """The sentence, its tone (FAILED, UNSURE, PASSED or PLAIN), and what must stand beside it."""

    tone: str
    words: str
    more: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"tone": self.tone or "none", "words": self.words, "more": list(self.more)}


def tone_of(subject: Subject) -> str:
    """What the verdict on one artifact looks like."""
    verdict = subject.verdict
    if not verdict:
        return PLAIN
    if verdict.get("failed"):
        return FAILED
    return UNSURE if verdict.get("answer") == CANNOT_TELL else PASSED


def headline(gathered: Gathered) -> Headline:
    """The verdict on everything in the report."""
    judged = [subject for subject in gathered.subjects if subject.verdict]
    warnings = _warnings(gathered)
    if len(judged) == 1:
        return Headline(tone_of(judged[0]), _one(gathered, judged[0]), warnings)
    if judged:
        return _several(gathered, judged, warnings)
    return Headline(PLAIN, _unjudged(gathered.subjects), warnings)


def _one(gathered: Gathered, subject: Subject) -> str:
    verdict, flips = subject.verdict, subject.quality.get("flips", {})
    opening = {
        FAILED: f"{short(subject.name)} fails its gate",
        UNSURE: f"{short(subject.name)}: these rows cannot tell ({verdict.get('words', '')})",
        PASSED: f"{short(subject.name)} passes",
    }[tone_of(subject)]
    if failing := verdict.get("failing_slices"):
        opening += f" in {join_names(failing)}"
    words = f"{opening}: {_change(subject)}"
    if "count" in flips and subject.values:
        words += f"; {flips['count']:,} of {subject.values['rows']:,} answers changed"
    return f"{words}{_speed(gathered, subject)}."


def _change(subject: Subject) -> str:
    """Before and after of what the gate judges, and what may be lost."""
    quality, verdict = subject.quality, subject.verdict
    difference = quality.get("difference", {})
    if verdict.get("metric") == "auc" and difference.get("auc"):
        before, after = (side.get("auc", {}).get("value") for side in (quality["reference"], subject.values))
        gap = difference["auc"]
        ends = f"{signed(gap['value'], 4)}, 95 % {signed(gap['low'], 4)} to {signed(gap['high'], 4)}"
        return f"AUC {before:.4f} → {after:.4f} ({ends}; at most {figure(verdict['max_drop'])} may be lost)"
    before, after = quality["reference"]["accuracy"]["value"], subject.values["accuracy"]["value"]
    gap = points(difference["accuracy"]).replace(" (", " pt, 95 % ").rstrip(")")
    limit = figure(100 * verdict["max_drop"])
    return f"accuracy {percent(before)} → {percent(after)} ({gap}; at most {limit} pt may be lost)"


def _speed(gathered: Gathered, subject: Subject) -> str:
    """Its time against the reference's, in the words that the noise allows."""
    found = ratio_against(gathered, subject)
    if found is None:
        return ""
    ratio, other = found
    rung = RUNG_WORDS.get(ratio["rung"], ratio["rung"])
    if not ratio.get("beyond_noise"):
        return f"; its time ({rung}) cannot be told from that of {short(other)}"
    return (
        f"; it takes {figure(ratio['ratio'])} times as long as {short(other)} ({rung}, 95 % {figure(ratio['low'])} to "
        f"{figure(ratio['high'])})"
    )


def _several(gathered: Gathered, judged: Sequence[Subject], warnings: tuple[str, ...]) -> Headline:
    by_tone = {tone: [subject for subject in judged if tone_of(subject) == tone] for tone in TONES}
    failed, unsure, passed = by_tone[FAILED], by_tone[UNSURE], by_tone[PASSED]
    parts = []
    if failed:
        parts.append(f"{len(failed)} of {len(judged)} judged artifacts failed: {join_names([s.name for s in failed])}")
    if passed:
        every = len(passed) == len(judged)
        parts.append(
            f"all {len(judged)} judged artifacts passed" if every else f"{len(passed)} of {len(judged)} passed"
        )
    if unsure:
        parts.append(f"{len(unsure)} cannot be told from these rows: {join_names([s.name for s in unsure])}")
    references = {found.name for s in judged if (found := gathered.reference_of(s))}
    if alone := [s.name for s in gathered.subjects if not s.verdict and s.name not in references]:
        parts.append(f"{join_names(alone)} {'was' if len(alone) == 1 else 'were'} compared with nothing")
    words = "; ".join(parts)
    if references:
        words += f" (compared with {join_names(sorted(references))})"
    best = _quickest(gathered, passed)
    return Headline(
        FAILED if failed else UNSURE if unsure else PASSED, f"{words[0].upper()}{words[1:]}.{best}", warnings
    )


def _quickest(gathered: Gathered, passed: Sequence[Subject]) -> str:
    """Of those that passed, the one with the lowest p50 of one run that counts; empty where none can be named."""
    timed = [(p50, s) for s in passed if s.counts and (p50 := s.rung("predictor").get("p50_ms"))]
    if len(timed) < 2 or len({(s.bench.date, str(s.bench.machine)) for _, s in timed if s.bench}) != 1:
        return ""
    timed.sort(key=lambda item: item[0])
    p50, first = timed[0]
    floor = first.bench.noise_floor.get("predictor", 1.0) if first.bench else 1.0
    close = [s.name for other, s in timed[1:] if other <= p50 * floor]
    words = f" Of those that passed, {short(first.name)} has the lowest p50 in process ({figure(p50)} ms)"
    return f"{words}, within the noise of {join_names(close)}." if close else f"{words}."


def _unjudged(subjects: Sequence[Subject]) -> str:
    if len(subjects) > 1:
        measured = sum(bool(subject.values) for subject in subjects)
        return f"{len(subjects)} artifacts, {measured} of them judged alone; none was compared with another."
    subject = subjects[0]
    if not subject.values:
        return f"{short(subject.name)} was not judged: nothing here says how often it is right."
    accuracy: Mapping[str, Any] = subject.values["accuracy"]
    return (
        f"{short(subject.name)} answers {percent(accuracy['value'])} of {subject.values['rows']:,} {subject.split} "
        f"rows right (95 % {100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}); it was compared with nothing."
    )


def _warnings(gathered: Gathered) -> tuple[str, ...]:
    found = [f"The benchmark is void and decides nothing: {reason}." for reason in gathered.void]
    if gathered.differences:
        found.append(
            f"Mixed machines, on request: {'; '.join(gathered.differences)}. Their times are no comparison; letters "
            "mark which is which."
        )
    return (*found, *gathered.notes)
