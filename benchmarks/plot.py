"""Bars of rows per second, of each loader at each chunk size."""

from __future__ import annotations

from typing import Any

from docs.pictures.canvas import COLOURS, Canvas

Rates = dict[str, dict[str, float]]
"""Rows per second, by case ("chunks of 64") and loader."""


def rates_of(result: dict[str, Any]) -> Rates:
    """Return the rates of the sparse section."""
    return {
        case["case"]: {one["name"]: one["per_second"] for one in case["contenders"] if _shown(one)}
        for case in result["cases"]
        if case["section"] == "sparse"
    }


def plot(rates: Rates) -> str | None:
    """Return the picture, as SVG; None if nothing was measured."""
    longest = max((rate for loaders in rates.values() for rate in loaders.values()), default=0)
    if not longest:
        return None
    names = list(dict.fromkeys(name for loaders in rates.values() for name in loaders))
    colours = {name: ("grey", *COLOURS)[number % 5] for number, name in enumerate(names)}
    left, right, bar = 8, 372, 18
    height = 26 + 20 * len(names) + sum(34 + bar * len(loaders) for loaders in rates.values())
    fastest = {
        case: f"{max(loaders, key=lambda name: loaders[name])} {max(loaders.values()):,.0f}"
        for case, loaders in rates.items()
    }
    canvas = Canvas(height, "Rows per second. The fastest: " + "; ".join(f"{a}: {b}" for a, b in fastest.items()) + ".")
    canvas.text(left, 18, "Rows per second", "ink strong")
    for number, name in enumerate(names):
        canvas.legend(left, 40 + 20 * number, {colours[name]: name}, 0)
    y = 24.0 + 20 * len(names)
    for case, loaders in rates.items():
        canvas.text(left, y + 24, case)
        y += 32
        for name, rate in loaders.items():
            width = max(1, (right - left) * rate / longest)
            canvas.box(left, y, width, bar - 3, colours[name])
            canvas.text(left + width + 6, y + 12, _short(rate), "ink small")
            y += bar
        y += 2
    return str(canvas)


def _short(rate: float) -> str:
    return f"{rate / 1e3:,.0f}k" if rate >= 9_950 else f"{rate / 1e3:.1f}k" if rate >= 950 else f"{rate:.0f}"


def _shown(one: dict[str, Any]) -> bool:
    return "error" not in one and not one["name"].startswith("limit") and not one["name"].endswith("X only")
