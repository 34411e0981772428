"""What changed in the answers: by how sure the reference was, and by class or slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.errors import DataError
from toolkit.judge.statistics import wilson_interval
from toolkit.pages.plot_axes import hide_ticks, number, set_linear
from toolkit.pages.plot_canvas import WIDTH, Canvas, open_canvas
from toolkit.pages.plot_data import Delta, FlipBand, drawn
from toolkit.pages.plot_legend import LINE, Key, draw_keys, lay_out, marked
from toolkit.pages.plot_style import BLUE, INK, MUTED, NAMED, RED

MOST = 80  # rows of a figure; a longer one is no figure any more
LEFT, RIGHT = 190.0, 570.0


def draw_flips(bands: Sequence[FlipBand], *, title: str) -> str:
    """See `plots.flips_by_confidence`."""
    if not any(band.rows for band in bands):
        raise DataError("no band of confidence has a row; compare two models with toolkit verify")
    top, bottom, left, right = 34.0, 254.0, 52.0, WIDTH - 12
    with open_canvas(bottom + 62) as canvas:
        axes = canvas.add_axes(left, top, right, bottom)
        shares = [wilson_interval(band.flips, band.rows) if band.rows else None for band in bands]
        set_linear(axes.yaxis, [0, *(100 * share.high for share in shares if share)], least=1.0)
        axes.set_ylim(0, None)
        axes.set_xlim(-0.5, len(bands) - 0.5)
        axes.set_xticks([])
        canvas.write(4, top - 20, "changed answers, % of the band's rows (bar: 95 % interval)")
        for place, (band, share) in enumerate(zip(bands, shares, strict=True)):
            x, _ = canvas.to_pixels(axes, place, 0)
            canvas.write(x, bottom + 14, _band_words(band), align="center")
            words = f"{band.flips:,} of {band.rows:,}" if band.rows else "no rows"
            canvas.write(x, bottom + 31, words, align="center", colour=MUTED.hex)
            if share is not None:
                axes.bar(place, 100 * share.value, width=0.62, color=BLUE.hex, alpha=0.5, linewidth=0)
                axes.plot(
                    [place] * 2, [100 * share.low, 100 * share.high], color=INK.hex, linewidth=1.4, marker="_",
                    markersize=7, clip_on=False,
                )  # fmt: skip
        canvas.write(right, bottom + 51, "confidence of the reference", align="right")
        told = [f"{_band_words(band)}: {band.flips} of {band.rows}" for band in bands]
        return canvas.render(title, f"Changed answers by the reference's confidence. {'; '.join(told)}.")


def _band_words(band: FlipBand) -> str:
    low, high = number(100 * band.above, 4), number(100 * band.up_to, 4)
    return f"up to {high} %" if band.above == 0 else f"{low}–{high} %"


def draw_deltas(rows: Sequence[Delta], *, what: str, title: str) -> str:
    """See `plots.deltas`."""
    if not drawn(row.change for row in rows):
        raise DataError("no class or slice was compared; compare two models with toolkit verify")
    shown = _most_telling(rows)
    judged = [row for row in shown if row.change is not None and not row.few]
    worst = min(judged, key=lambda row: row.change or 0.0, default=None)
    worst = worst if worst is not None and (worst.change or 0.0) < 0 else None
    height = 24.0 if len(shown) <= NAMED else 18.0
    lines = lay_out(_keys(shown, worst, len(rows) - len(shown)), 4)
    top = len(lines) * LINE + 46
    bottom = top + height * len(shown)
    with open_canvas(bottom + 44) as canvas:
        draw_keys(canvas, lines, 12)
        axes = canvas.add_axes(LEFT, top, RIGHT, bottom)
        ends = drawn(100 * value for row in shown for value in (row.change, row.low, row.high) if value is not None)
        set_linear(axes.xaxis, [0, *ends], least=1.0)
        axes.set_ylim(len(shown), 0)
        hide_ticks(axes)
        axes.axvline(0, color=INK.hex, linewidth=1.0)
        if bottom - top > 400:
            axes.tick_params(top=True, labeltop=True)
        canvas.write(4, bottom + 32, f"{what} (left of 0 is worse)")
        canvas.write(650, top - 14, "change", align="right", colour=MUTED.hex)
        canvas.write(WIDTH - 4, top - 14, "rows", align="right", colour=MUTED.hex)
        for place, row in enumerate(shown):
            _draw_delta(canvas, axes, place + 0.5, top + (place + 0.5) * height, row, is_worst=row is worst)
        return canvas.render(title, _describe(shown, worst, what))


def _most_telling(rows: Sequence[Delta]) -> list[Delta]:
    """All of them, or the `MOST` that lost the most, in the order given."""
    if len(rows) <= MOST:
        return list(rows)
    order = sorted(range(len(rows)), key=lambda i: (rows[i].change is None, rows[i].few, rows[i].change or 0.0))
    return [rows[i] for i in sorted(order[:MOST])]


def _draw_delta(canvas: Canvas, axes: Any, level: float, y: float, row: Delta, *, is_worst: bool) -> None:
    colour = RED.hex if is_worst else MUTED.hex if row.few else BLUE.hex
    words = MUTED.hex if row.few else INK.hex
    canvas.write_name(4, y, row.name, LEFT - 14, colour=words, bold=is_worst)
    if row.rows is not None:
        canvas.write(WIDTH - 4, y, f"{row.rows:,}", align="right", colour=words)
    if row.change is None:
        canvas.write(650, y, "not measured", align="right", colour=MUTED.hex)
        return
    canvas.write(650, y, _signed(row.change), align="right", colour=words, bold=is_worst)
    if row.low is not None and row.high is not None:
        span = [100 * row.low, 100 * row.high]
        axes.plot(span, [level] * 2, color=colour, linewidth=1.4, marker="|", markersize=6)
    key = Key("", colour, "D" if is_worst else "o")
    axes.plot(100 * row.change, level, linestyle="none", markersize=6.5, zorder=3, **marked(key, not row.few))


def _signed(change: float) -> str:
    points = round(100 * change, 2)
    return f"{points:+.2f}".replace("-", "−") if points else "0.00"


def _keys(rows: Sequence[Delta], worst: Delta | None, missing: int) -> list[Key]:
    keys = [Key("candidate − reference", BLUE.hex, "o")]
    if worst is not None:
        keys.append(Key("the worst", RED.hex, "D"))
    if any(row.few for row in rows):
        keys.append(Key("too few rows to be judged", MUTED.hex, "o", filled=False))
    if any(row.low is not None and row.high is not None for row in rows):
        keys.append(Key("bar: 95 % interval"))
    if missing:
        keys.append(Key(f"the {len(rows)} that lost most; {missing} more in the table"))
    return keys


def _describe(rows: Sequence[Delta], worst: Delta | None, what: str) -> str:
    fell = sum((row.change or 0.0) < 0 for row in rows)
    told = f" The worst is {worst.name}: {_signed(worst.change or 0.0)}." if worst else ""
    return f"{what}: {len(rows)} groups, {fell} of them lower than the reference's.{told}"
