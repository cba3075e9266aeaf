"""Draw the sparse section: rows per second over chunk sizes, in SVG, which needs no library."""

from __future__ import annotations

import math
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 70, 250, 20, 50
COLOURS = ("#888888", "#bbbbbb", "#1b6ca8", "#2a9d5c", "#d9822b", "#7b4ba0", "#c0392b", "#4aa3a2")


def plot(result: dict[str, Any]) -> str | None:
    """Return the picture; None if the section was not measured."""
    cases = [case for case in result["cases"] if case["section"] == "sparse"]
    names = list(dict.fromkeys(one["name"] for case in cases for one in case["contenders"] if _shown(one)))
    rates = {
        name: [
            next((one["per_second"] for one in case["contenders"] if one["name"] == name and _shown(one)), None)
            for case in cases
        ]
        for name in names
    }
    values = [rate for line in rates.values() for rate in line if rate]
    if not values:
        return None
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def x(i: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (i + 0.5) / len(cases)

    def y(rate: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log10(rate)) / (high - low)

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for power in range(low, high + 1):
        parts.append(f'<path d="M{LEFT} {y(10**power):.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(10**power) + 4:.1f}" text-anchor="end">{10**power:,}</text>')
    for i, case in enumerate(cases):
        label = case["case"].removeprefix("chunks of ")
        parts.append(f'<text x="{x(i):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{label}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">contiguous rows per chunk</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 6}">rows per second</text>')
    for number, (name, line) in enumerate(rates.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x(i), y(rate)) for i, rate in enumerate(line) if rate]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in points]
        at = TOP + 14 + 20 * number
        parts.append(f'<path d="M{WIDTH - RIGHT + 14} {at}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 38}" y="{at + 4}">{name}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n{body}\n</svg>\n'
    )


def _shown(one: dict[str, Any]) -> bool:
    return "error" not in one and not one["name"].startswith("limit") and not one["name"].endswith("X only")
