"""Plots as SVG: a bar for each server, its median, and a line over the range of its rounds."""

from collections.abc import Mapping, Sequence
from statistics import median
from xml.sax.saxutils import escape

WIDTH = 720
NAMES = 150
VALUES = 90
BAR = 22
GAP = 10
TOP = 44
OURS = "#4453c4"
THEIRS = "#9aa3ad"


def bars(title: str, rates: Mapping[str, Sequence[float]]) -> str:
    """Return a plot; the first server is ours."""
    scale = (WIDTH - NAMES - VALUES) / max(max(each) for each in rates.values())
    height = TOP + len(rates) * (BAR + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="26" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for place, (name, its_rates) in enumerate(rates.items()):
        parts += _bar(
            name, its_rates, TOP + place * (BAR + GAP), scale, OURS if not place else THEIRS
        )
    return "\n".join([*parts, "</svg>", ""])


def _bar(name: str, rates: Sequence[float], y: float, scale: float, colour: str) -> list[str]:
    middle, baseline = median(rates), y + BAR * 0.7
    least, most = (NAMES + each * scale for each in (min(rates), max(rates)))
    return [
        f'<text x="{NAMES - 8}" y="{baseline:.1f}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{NAMES}" y="{y}" width="{middle * scale:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<path d="M{least:.1f} {y + BAR / 2}H{most:.1f}" stroke="#222" stroke-width="1.5"/>',
        f'<text x="{most + 6:.1f}" y="{baseline:.1f}">{middle:,.0f}</text>',
    ]
