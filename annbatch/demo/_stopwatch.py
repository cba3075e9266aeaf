"""Where time goes, by the name of the activity."""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


class Stopwatch:
    """Seconds of each activity, in the order in which they were first met.

    Examples
    --------
    >>> clock = Stopwatch()
    >>> with clock.measure("adding"):
    ...     total = sum(clock.each("counting", range(3)))
    >>> list(clock.seconds)
    ['adding', 'counting']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, activity: str) -> Iterator[None]:
        """Count the time that the block takes."""
        self.seconds.setdefault(activity, 0.0)
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[activity] += perf_counter() - started

    def each(self, activity: str, items: Iterable[T]) -> Iterator[T]:
        """Yield the items and count the time that each takes to come."""
        iterator = iter(items)
        while True:
            with self.measure(activity):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
