"""What changed in the answers: by the reference's confidence, in calibration, and row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from toolkit.judge.flips import Flip
from toolkit.judge.flips_file import FlipsFile
from toolkit.pages import plots
from toolkit.pages.by_subject import part_each
from toolkit.pages.commands_to_run import verify_command
from toolkit.pages.content import DASH, FAILED, PLAIN, Part, Section, columns, percent, short, table_of
from toolkit.pages.gather import Gathered, Subject

SHOWN_ROWS = 30  # changed rows of an artifact in the page; a file of all is one command away


def show_flips(gathered: Gathered) -> Section:
    """Changed answers by how sure the reference was, of every artifact that was compared."""
    return part_each(gathered, "flips", "Changed answers by confidence", _flips, "changed answers were not counted")


def _flips(gathered: Gathered, subject: Subject) -> Part | None:
    flips = subject.quality.get("flips")
    if not flips:
        return None
    bands = [
        plots.FlipBand(band["above"], band["up_to"], band["rows"], band["flips"])
        for band in flips.get("by_reference_confidence", [])
    ]
    heads = columns("confidence of the reference", "rows", "changed", "share", words=("confidence of the reference",))
    rows = [
        (
            f"above {percent(b.above, 0)} up to {percent(b.up_to, 0)}", f"{b.rows:,}", f"{b.flips:,}",
            percent(b.flips / b.rows) if b.rows else DASH,
        )
        for b in bands
    ]  # fmt: skip
    kinds = [f"{flips[key]:,} {words}" for key, words in (
        ("right_to_wrong", "from right to wrong"), ("wrong_to_right", "from wrong to right"),
        ("wrong_to_other_wrong", "from one wrong answer to another"),
    ) if key in flips]  # fmt: skip
    words = f"{flips['count']:,} answers changed ({percent(flips['share'])}): {', '.join(kinds)}."
    title = f"Changed answers of {subject.name}"
    draw = partial(plots.flips_by_confidence, bands, title=title) if any(band.rows for band in bands) else None
    return Part(subject.name, (words,), draw, (table_of(title, heads, rows),) if rows else ())


def show_calibration(gathered: Gathered) -> Section:
    """Share right against confidence, before and after."""
    title = "Calibration before and after"
    return part_each(gathered, "calibration", title, _calibration, "calibration was not measured bin by bin")


def _calibration(gathered: Gathered, subject: Subject) -> Part | None:
    if not subject.quality:
        return None  # a reference is drawn beside its candidates
    after = _bins(subject.values)
    reference = subject.quality.get("reference", {})
    before = _bins(reference)
    if not any(found.rows for found in (*before, *after)):
        return None
    errors = [side["expected_calibration_error"] for side in (reference, subject.values) if side]
    words = f"Expected calibration error {' → '.join(f'{error:.4f}' for error in errors)}: the mean gap, by rows."
    sides = [(name, bins) for name, bins in (("before", before), ("after", after)) if bins]
    heads = columns(
        "confidence of the answer",
        *(f"{what} {name}" for name, _ in sides for what in ("rows", "confidence", "right")),
        words=("confidence of the answer",),
    )  # fmt: skip
    rows = []
    for place, found in enumerate(after or before):
        cells = [
            cell for _, bins in sides
            for cell in (f"{bins[place].rows:,}", percent(bins[place].confidence), percent(bins[place].accuracy))
        ]  # fmt: skip
        if any(bins[place].rows for _, bins in sides):
            rows.append((f"{percent(found.low, 0)} to {percent(found.high, 0)}", *cells))
    title = f"Calibration of {subject.name}"
    other = gathered.reference_of(subject)
    names = (other.name if other else subject.flips.reference_name if subject.flips else "before", subject.name)
    draw = partial(plots.calibration, before, after, names=names, title=title)
    return Part(subject.name, (words,), draw, (table_of(title, heads, rows),))


def _bins(values: Mapping[str, Any]) -> list[plots.CalibrationBin]:
    return [plots.CalibrationBin(**found) for found in values.get("reliability", [])]


def show_rows(gathered: Gathered) -> Section:
    """The changed rows by number, the surest new mistakes first; their texts only where the data was given."""
    return part_each(gathered, "rows", "The rows that changed", _rows, "changed rows were not listed")


def _rows(gathered: Gathered, subject: Subject) -> Part | None:
    flips = subject.flips
    if flips is None:
        return None
    if not flips.rows:
        return Part(subject.name, (f"No answer changed in {flips.total:,} rows.",))
    ordered = order_flips(flips.rows)
    heads = columns(
        "row",
        "right is",
        "before",
        "score",
        "after",
        "score",
        "now",
        "example",
        words=("now",),
        code=("right is", "before", "after", "example"),
    )
    rows = [(*_cells(flip, flips), subject.examples.get(flip.row, "")) for flip in ordered[:SHOWN_ROWS]]
    words = [f"{len(ordered):,} of {flips.total:,} rows of the {flips.split} split, against {flips.reference_name}."]
    commands: tuple[str, ...] = ()
    if len(ordered) > SHOWN_ROWS:
        words.append(f"The first {SHOWN_ROWS} are shown, mistakes first, the surest of them first. To list all:")
        commands = (verify_command(gathered, subject, "--exemplars-to", "FILE"),)
    if not subject.examples:
        words.insert(1, "Rows are numbers only: give --data to see what was asked.")
    tones = [PLAIN if flip.candidate == flip.label else FAILED for flip in ordered[:SHOWN_ROWS]]
    table = table_of(f"Changed rows of {short(subject.name)}", heads, rows, tones, says="now")
    return Part(subject.name, tuple(words), tables=(table,), commands=commands)


def order_flips(flips: Sequence[Flip]) -> list[Flip]:
    """What is wrong now comes first, then what was fixed, each by the candidate's confidence."""
    return sorted(flips, key=lambda flip: (flip.candidate == flip.label, -flip.candidate_confidence, flip.row))


def _cells(flip: Flip, flips: FlipsFile) -> tuple[str, ...]:
    label, before, after = (flips.labels[index] for index in (flip.label, flip.reference, flip.candidate))
    scores = f"{flip.reference_confidence:.2f}", f"{flip.candidate_confidence:.2f}"
    return (
        str(flip.row),
        label,
        before,
        scores[0],
        after,
        scores[1],
        "fixed" if flip.candidate == flip.label else "wrong",
    )
