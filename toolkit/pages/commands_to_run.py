"""The commands that measure what a report shows, or what it lacks, as a person would type them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from toolkit.pages.gather import Gathered, Subject


def verify_command(gathered: Gathered, subject: Subject, *more: str) -> str:
    """Judge `subject` against its reference; a word in capitals where the reader must fill something in."""
    reference = gathered.reference_of(subject)
    before = str(reference.folder) if reference else "REFERENCE"
    return " ".join(
        ["toolkit verify", *map(shlex.quote, (before, str(subject.folder))), "--data", data_of(subject), *more]
    )


def bench_command(subjects: Sequence[Subject], *more: str) -> str:
    """Measure all of them in one run."""
    folders = [shlex.quote(str(subject.folder)) for subject in subjects]
    return " ".join(["toolkit bench", *folders, "--data", data_of(subjects[0]), *more])


def data_of(subject: Subject) -> str:
    """The data it was split from, by the name that its lineage kept, or that bench was given; DATA for neither."""
    split = subject.artifact.core.split
    name = split.name if split else (subject.bench.settings if subject.bench else {}).get("data")
    return shlex.quote(str(name)) if name else "DATA"
