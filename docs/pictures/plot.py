"""Axes of a line chart on a canvas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .canvas import WIDTH, Canvas


@dataclass(frozen=True, slots=True)
class Axes:
    """The area of a chart, and how values become places.

    Attributes
    ----------
    canvas
        Where to draw.
    top, bottom
        Edges of the area; its sides leave room for numbers.
    x, y
        Place of a value along each axis, from 0 to 1.
    """

    canvas: Canvas
    top: float
    bottom: float
    x: Callable[[float], float]
    y: Callable[[float], float]
    left: float = 46
    right: float = WIDTH - 24

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies."""
        return self.left + (self.right - self.left) * self.x(x), self.bottom - (self.bottom - self.top) * self.y(y)

    def ticks(
        self,
        xs: Mapping[float, str],
        ys: Mapping[float, str],
        x_name: str,
        y_name: str,
    ) -> None:
        """Draw the grid, numbers, and what they count."""
        for y, name in ys.items():
            place = self.at(0, y)[1]
            self.canvas.line([(self.left, place), (self.right, place)])
            self.canvas.text(self.left - 6, place + 4, name, "note small", "end")
        for x, name in xs.items():
            self.canvas.text(self.at(x, 0)[0], self.bottom + 18, name, "note small", "middle")
        self.canvas.text(
            (self.left + self.right) / 2,
            self.bottom + 38,
            x_name,
            "note",
            "middle",
        )
        self.canvas.text(8, self.top - 14, y_name, "note")

    def series(self, points: Mapping[float, float], colour: str, *, dots: bool = False) -> None:
        """Draw a line through points, with dots on them if wanted."""
        places = [self.at(x, y) for x, y in points.items()]
        self.canvas.line(places, colour, 2.5)
        for place in places if dots else ():
            self.canvas.dot(*place, colour)
