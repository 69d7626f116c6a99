"""Line plots as SVG by hand: the same numbers give the same file, byte for byte, and no library."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 480, 280, 68, 44, 30, 26
COLOURS = ("#1f6feb", "#d1242f", "#8250df", "#1a7f37", "#9a6700")
Points = Sequence[tuple[float, float]]


def lines(title: str, x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """Both axes begin at zero, so that a straight line through the corner is linear growth."""
    high_x = _ceiling(max(x for points in series.values() for x, _ in points))
    high_y = _ceiling(max(y for points in series.values() for _, y in points))

    def place(x: float, y: float) -> str:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / high_x
        down = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / high_y
        return f"{across:.1f},{down:.1f}"

    parts = [_text(WIDTH / 2, 18, title, size=13), _text(WIDTH / 2, HEIGHT - 8, x_label)]
    parts.append(_text(14, HEIGHT / 2, y_label, turn=True))
    for fraction in (0, 0.25, 0.5, 0.75, 1):
        start, end = place(0, high_y * fraction), place(high_x, high_y * fraction)
        parts.append(f'<polyline points="{start} {end}" stroke="#d0d7de" fill="none"/>')
        x, y = map(float, start.split(","))
        parts.append(_text(x - 6, y + 4, _number(high_y * fraction), anchor="end"))
        x, y = map(float, place(high_x * fraction, 0).split(","))
        parts.append(_text(x, y + 16, _number(high_x * fraction)))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [place(x, y) for x, y in points]
        stroke = f'stroke="{colour}" fill="none" stroke-width="2"'
        parts.append(f'<polyline points="{" ".join(places)}" {stroke}/>')
        for one in places:
            x, y = one.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        parts.append(_text(LEFT + 8, TOP + 14 + 15 * number, name, anchor="start", fill=colour))
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    back = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, back, *parts, "</svg>"]) + "\n"


def _ceiling(value: float) -> float:
    """The next of 1, 2, 4, 6, 8, 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if value <= step * power * (1 + 1e-9))


def _number(value: float) -> str:
    """All its digits where it is large: 10,000 and not 1e+04."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 11,
    anchor: str = "middle",
    fill: str = "#1f2328",
    turn: bool = False,
) -> str:
    turned = f' transform="rotate(-90 {x:g} {y:g})"' if turn else ""
    place = f'x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"'
    return f"<text {place}{turned}>{escape(text)}</text>"
