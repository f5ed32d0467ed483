"""Charts as SVG: rates over time, and what each worker did. Drawn here, so that a browser needs no script for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from math import ceil, log10

from core import readable
from inventory.activity import Pace, Span

WIDTH, HEIGHT = 720, 180
LONG = 1180
"""The width of the time line, which stands by itself."""
LEFT, BOTTOM, TOP = 70, 24, 10
ROW = 22
STAGES = ("scan", "load", "verify", "delete")
"""Each has a colour of its own in the style sheet: class `stage-…`."""


@dataclass(frozen=True)
class Axis:
    """The last minutes up to `now`, from left to right."""

    now: datetime
    minutes: float
    width: int = WIDTH

    def x(self, at: datetime) -> float:
        """Where a time is."""
        part = 1 - (self.now - at).total_seconds() / (self.minutes * 60)
        return LEFT + (self.width - LEFT) * min(1.0, max(0.0, part))

    def times(self, height: int) -> str:
        """The beginning, the middle and the end, below a chart of that height."""
        parts = []
        for part, anchor in ((1.0, "start"), (0.5, "middle"), (0.0, "end")):
            at = self.now - timedelta(minutes=self.minutes * part)
            words = f"{at:%H:%M} UTC"
            parts.append(
                f'<text class="tick" x="{self.x(at):.0f}" y="{height - 6}" text-anchor="{anchor}">{words}</text>'
            )
        return "".join(parts)


def rates(
    paces: Sequence[Pace],
    now: datetime,
    minutes: float,
    title: str,
    value: Callable[[Pace], float],
    unit: Callable[[float], str],
    base: float,
) -> str:
    """Lines, one a stage, of the last minutes up to `now`; a picture with a description for those who cannot see it.

    `base` is what the axis counts by: 1,000, or 1,024 for bytes.
    """
    axis = Axis(now, minutes)
    highest = max((value(pace) for pace in paces), default=0.0)
    top = _round_up(highest, base)
    lines = []
    for stage in STAGES:
        points = {pace.at: value(pace) for pace in paces if pace.stage == stage}
        if points:
            lines.append(f'<polyline class="line stage-{stage}" points="{_points(points, axis, top)}"/>')
    last = {pace.stage: value(pace) for pace in paces}
    words = "; ".join(f"{stage} last {unit(last[stage])}/s" for stage in STAGES if stage in last) or "nothing was done"
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(unit(top * part))}</text>'
        for part in (0.0, 0.5, 1.0)
        for y in [_y(top * part, top)]
    )
    return _svg(HEIGHT, title, f"Highest {unit(highest)}/s. {words}.", grid + axis.times(HEIGHT) + "".join(lines))


def time_line(spans: Sequence[Span], now: datetime, minutes: float) -> str:
    """A row a worker with a block for each stretch of work, of the last minutes up to `now`."""
    axis = Axis(now, minutes, LONG)
    rows: dict[tuple[str, int], list[Span]] = {}
    for span in spans:
        rows.setdefault((span.pod, span.worker), []).append(span)
    height = TOP + ROW * max(1, len(rows)) + BOTTOM
    parts = [axis.times(height)]
    for number, ((pod, _), mine) in enumerate(sorted(rows.items())):
        y = TOP + ROW * number
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 15}" text-anchor="end">{escape(_short(pod))}</text>')
        parts += [_block(span, y, axis) for span in mine]
    words = f"{len(rows)} workers; the table below says what each of them did."
    return _svg(height, "What each worker did", words, "".join(parts), LONG)


def _block(span: Span, y: int, axis: Axis) -> str:
    left, right = axis.x(span.began_at), axis.x(span.ended_at)
    words = (
        f"{span.pod}: {span.stage} of {span.job}, {readable.count(span.files)} files, {readable.size(span.bytes)}, "
        f"{readable.count(span.failed)} not done, {readable.moment(span.began_at)} to {readable.moment(span.ended_at)}"
    )
    failed = " failed" if span.failed else ""
    return (
        f'<rect class="block stage-{escape(span.stage)}{failed}" x="{left:.1f}" y="{y + 3}" width="{max(1.5, right - left):.1f}"'
        f' height="{ROW - 6}"><title>{escape(words)}</title></rect>'
    )


def share(files: Mapping[str, float]) -> str:
    """A bar of a job's files by state, widths in per cent."""
    total = sum(files.values())
    x, parts = 0.0, []
    for state, number in files.items():
        width = 100 * number / total if total else 0.0
        words = escape(f"{state}: {readable.count(number)}")
        parts.append(
            f'<rect class="state-{escape(state)}" x="{x:.3f}%" width="{width:.3f}%" height="100%"><title>{words}</title></rect>'
        )
        x += width
    words = ", ".join(f"{state} {readable.count(number)}" for state, number in files.items()) or "no files yet"
    return f'<svg class="share" role="img" aria-label="{escape(words)}" width="100%" height="12">{"".join(parts)}</svg>'


def _points(points: Mapping[datetime, float], axis: Axis, top: float) -> str:
    return " ".join(f"{axis.x(at):.1f},{_y(value, top):.1f}" for at, value in sorted(points.items()))


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)


def _round_up(value: float, base: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 … times a power of `base`."""
    if value <= 0:
        return 1.0
    if value > base:
        return base * _round_up(value / base, base)
    power: float = 10.0 ** (ceil(log10(value)) - 1)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999)


def _short(pod: str) -> str:
    """The end of a pod's name, which tells it from its siblings."""
    return pod if len(pod) <= 11 else f"…{pod[-10:]}"


def _svg(height: int, title: str, words: str, inner: str, width: int = WIDTH) -> str:
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {width} {height}"><title>{escape(title)}</title>'
        f"<desc>{escape(words)}</desc>{inner}</svg>"
    )
