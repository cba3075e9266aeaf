"""What all pictures share: colours, text sizes, and a canvas that writes SVG.

Pictures are narrow, so that their text stays readable on a phone, and have no background. Their colours are those of
Okabe and Ito, which colour-blind readers can tell apart, and follow the theme of the page that a picture is drawn in;
as a file of its own, a picture follows the reader's system.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 440
"""Units of every picture's width: one is 0.8 pixels on a phone of 400."""

LIGHT = {
    "ink": "#1d2433", "note": "#566072", "rule": "#d3d8e0", "grey": "#8a93a1",
    "blue": "#0072b2", "orange": "#e69f00", "green": "#009e73", "pink": "#cc79a7",
}  # fmt: skip
DARK = LIGHT | {
    "ink": "#e7eaf0", "note": "#a3adbd", "rule": "#3a424f", "grey": "#7b8799", "blue": "#4aa3e0",
}  # fmt: skip
COLOURS = ("blue", "orange", "green", "pink")


def _style() -> str:
    light, dark = (";".join(f"--{name}:{value}" for name, value in theme.items()) for theme in (LIGHT, DARK))
    shapes = "".join(
        f".picture .{name}{{fill:var(--{name})}}.picture .{name}-line{{fill:none;stroke:var(--{name})}}"
        for name in LIGHT
    )
    return (
        f".picture{{{light}}}@media (prefers-color-scheme:dark){{.picture{{{dark}}}}}"
        f"body[data-theme=light] .picture{{{light}}}body[data-theme=dark] .picture{{{dark}}}"
        ".picture text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}"
        ".picture .strong{font-weight:600}.picture .small{font-size:12px}"
        f"{shapes}"
    )


class Canvas:
    """A picture, from top to bottom.

    Parameters
    ----------
    height
        Its height; its width is always the same.
    label
        What it shows, for readers who cannot see it.
    """

    def __init__(self, height: float, label: str) -> None:
        self._height = height
        self._label = label
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        kind: str = "ink",
        anchor: str = "start",
    ) -> None:
        """Write a line of text, whose kind is a colour and, if wanted, "strong" or "small"."""
        self._parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: str,
        opacity: float = 1,
    ) -> None:
        """Fill a rectangle."""
        more = "" if opacity == 1 else f' opacity="{opacity:g}"'
        self._parts.append(
            f'<rect x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}" class="{colour}"{more}/>'
        )

    def frame(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: str = "grey",
    ) -> None:
        """Draw the outline of a rectangle."""
        self._parts.append(
            f'<rect x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}" rx="3" class="{colour}-line"/>'
        )

    def line(
        self,
        points: Iterable[tuple[float, float]],
        colour: str = "rule",
        width: float = 1,
        dash: str = "",
    ) -> None:
        """Draw straight lines from point to point."""
        path = "L".join(f"{x:.5g} {y:.5g}" for x, y in points)
        more = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(f'<path d="M{path}" class="{colour}-line" stroke-width="{width:g}"{more}/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        """Draw a point of a line."""
        self._parts.append(f'<circle cx="{x:.5g}" cy="{y:.5g}" r="3.5" class="{colour}"/>')

    def arrow(self, x: float, top: float, bottom: float) -> None:
        """Draw an arrow that points down."""
        self.line([(x, top), (x, bottom - 6)], "grey", 1.5)
        self._parts.append(f'<path d="M{x - 4:g} {bottom - 7:g}h8l-4 7z" class="grey"/>')

    def cells(
        self,
        x: float,
        y: float,
        size: float,
        colours: Sequence[str],
        height: float | None = None,
    ) -> None:
        """Draw cells side by side, each ``size`` wide with its gap."""
        for number, colour in enumerate(colours):
            self.box(x + number * size, y, size - 1, height or size - 1, colour)

    def legend(self, x: float, y: float, names: dict[str, str], step: float) -> None:
        """Draw a colour and its name, one beside the other."""
        for number, (colour, name) in enumerate(names.items()):
            self.box(x + number * step, y - 10, 11, 11, colour)
            self.text(x + number * step + 16, y, name, "note")

    def __str__(self) -> str:
        body = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._height:g}" class="picture" '
            f'role="img" aria-label="{escape(self._label)}">\n<style>{_style()}</style>\n{body}\n</svg>\n'
        )
