"""Charts as SVG text: curves over steps, and points with names. They open in any browser; nothing is needed to draw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 320
"""Pixels of one chart."""
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 34, 44
"""Pixels around the plotted area."""
COLOURS = ("#1f6fd0", "#d1495b", "#2e8b57", "#8e5bb5", "#b8860b", "#008b8b")
TICKS = 8


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        name: for the key.
        points: (x, y) in order.
        labels: for points that have names, one each.
    """

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """One pair of axes.

    Attributes:
        title, across, along: of the chart, its horizontal and its vertical axis.
        series: curves, or named points.
        logarithmic: whether the vertical axis is; values that are not positive are then left out.
    """

    title: str
    across: str
    along: str
    series: Sequence[Series] = field(default_factory=tuple)
    logarithmic: bool = False


def svg(charts: Sequence[Chart]) -> str:
    """The charts below each other as one SVG document. Values that are no finite numbers are left out."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(charts)}" '
        f'width="{WIDTH}" height="{HEIGHT * len(charts)}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for row, chart in enumerate(charts):
        parts += [f'<g transform="translate(0,{row * HEIGHT})">', *_drawn(chart), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _drawn(chart: Chart) -> list[str]:
    kept = [_finite(series, chart.logarithmic) for series in chart.series]
    xs = [x for series in kept for x, _ in series.points]
    ys = [math.log10(y) if chart.logarithmic else y for series in kept for _, y in series.points]
    parts = [_text(LEFT, 20, chart.title, size=14)]
    if not xs:
        return [*parts, _text(LEFT, HEIGHT / 2, "no values yet")]
    x_axis, y_axis = _Axis(xs, LEFT, WIDTH - RIGHT), _Axis(ys, HEIGHT - BOTTOM, TOP)
    for value, place in x_axis.ticks():
        parts.append(f'<path d="M{place:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(_text(place, HEIGHT - BOTTOM + 16, _number(value), "middle"))
    for value, place in y_axis.ticks():
        parts.append(f'<path d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, place + 4, _number(10**value if chart.logarithmic else value), "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, chart.across, "middle"))
    parts.append(f'<g transform="rotate(-90 14 {HEIGHT / 2})">{_text(14, HEIGHT / 2, chart.along, "middle")}</g>')
    for index, series in enumerate(kept):
        colour = COLOURS[index % len(COLOURS)]
        places = [(x_axis.place(x), y_axis.place(math.log10(y) if chart.logarithmic else y)) for x, y in series.points]
        parts += _points(places, series.labels, colour) if series.labels else _curve(places, colour)
        parts.append(_text(WIDTH - RIGHT - 4, TOP + 14 + 16 * index, series.name, "end", colour=colour))
    return parts


def _curve(places: Sequence[tuple[float, float]], colour: str) -> list[str]:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    last = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places[-1:])
    return [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>', last]


def _points(places: Sequence[tuple[float, float]], labels: Sequence[str], colour: str) -> list[str]:
    parts = []
    for (x, y), label in zip(places, labels, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(label)}</title></circle>')
        beside = (x + 7, "start") if x < WIDTH * 0.75 else (x - 7, "end")
        parts.append(_text(beside[0], y - 6, label, beside[1]))
    return parts


def _finite(series: Series, logarithmic: bool) -> Series:
    labels = series.labels or [""] * len(series.points)
    kept = [
        (point, label)
        for point, label in zip(series.points, labels, strict=True)
        if all(map(math.isfinite, point)) and (point[1] > 0 or not logarithmic)
    ]
    return Series(series.name, [point for point, _ in kept], [label for _, label in kept] if series.labels else ())


class _Axis:
    """From values to places, with a little room at both ends."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        room = 0.05 * (high - low) or max(abs(low) * 0.5, 0.5)
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def place(self, value: float) -> float:
        """Where a value is."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, float]]:
        """Round values within the axis, with their places."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step)
        values = [step * number for number in range(first, math.floor(self.high / step) + 1)]
        return [(value, self.place(value)) for value in values]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.3g}".replace("e+0", "e")


def _text(x: float, y: float, text: str, anchor: str = "start", *, size: int = 12, colour: str = "#222") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"
