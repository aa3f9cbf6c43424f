"""Plots as SVG text: bars and lines, self-contained, for a page that opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 34
COLOURS = ("#2463a8", "#b4511c", "#2f7d4f", "#7a4ba0", "#8a6d1a")
LABELS_MAX = 12

Point = tuple[float, float]


def bar_plot(labels: Sequence[str], values: Sequence[float], name: str) -> str:
    """A bar per label; values from 0."""
    top = max([*values, 0.0]) or 1.0
    step = (WIDTH - LEFT - RIGHT) / max(len(values), 1)
    parts = _frame(0.0, top)
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        x, y = LEFT + place * step, _y(value, 0.0, top)
        parts.append(
            f'<rect x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}" fill="{COLOURS[0]}">'
            f"<title>{escape(label)}: {value:,g}</title></rect>"
        )
        if place % (1 + (len(values) - 1) // LABELS_MAX) == 0:
            parts.append(_text(x + step / 2, HEIGHT - BOTTOM + 16, label, "middle"))
    return _svg(parts, name)


def line_plot(lines: Sequence[tuple[str, Sequence[float]]], name: str, unit: str = "") -> str:
    """A line per name over the number of its values; only finite values."""
    values = [value for _, line in lines for value in line]
    low, high = min([*values, 0.0]), max([*values, 0.0])
    low, high = (low, high) if high > low else (low - 1.0, high + 1.0)
    longest = max([len(line) for _, line in lines], default=1)
    parts = _frame(low, high, unit)
    zero = _y(0.0, low, high)
    parts.append(f'<path d="M{LEFT} {zero:.1f}H{WIDTH - RIGHT}" stroke="#999"/>')
    for place, (label, line) in enumerate(lines):
        colour = COLOURS[place % len(COLOURS)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in _points(line, longest, low, high))
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(_text(LEFT + 8, TOP + 12 + place * 14, label, "start", colour))
    parts.append(_text(WIDTH - RIGHT, HEIGHT - BOTTOM + 16, f"{longest:,}", "end"))
    return _svg(parts, name)


def _points(line: Sequence[float], longest: int, low: float, high: float) -> list[Point]:
    """A point per value, at most one per two pixels: an SVG of a million alerts helps nobody."""
    stride = max(1, len(line) // (WIDTH // 2))
    kept = [*range(0, len(line), stride), len(line) - 1]
    across = (WIDTH - LEFT - RIGHT) / max(longest - 1, 1)
    return [(LEFT + place * across, _y(line[place], low, high)) for place in kept]


def _y(value: float, low: float, high: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)


def _frame(low: float, high: float, unit: str = "") -> list[str]:
    parts = [
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#555"/>'
    ]
    marks = [(_y(value, low, high) + 4, value) for value in (low, (low + high) / 2, high)]
    return parts + [_text(LEFT - 6, y, f"{value:,.3g}{unit}", "end") for y, value in marks]


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="11">'
        f"{escape(text)}</text>"
    )


def _svg(parts: list[str], name: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}" '
        f'font-family="sans-serif">{"".join(parts)}</svg>'
    )
