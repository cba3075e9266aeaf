"""Progress of long calls: a bar in terminals and notebooks, one line per tenth elsewhere; and what they tell."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm.auto import tqdm
from tqdm.std import tqdm as text_bar

_FORMAT = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
_log = logging.getLogger("annbatch")


def progress_bar(*, total: int, desc: str, unit: str, unit_scale: bool = False, progress: bool = True) -> tqdm[Any]:
    """Return the bar of a piece of work; ``progress`` is whether to show it."""
    is_notebook = tqdm.display is not text_bar.display
    is_log = not is_notebook and not (sys.stderr is not None and sys.stderr.isatty())
    make: type[tqdm[Any]] = _Lines if is_log else tqdm
    return make(total=total, desc=desc, unit=unit, unit_scale=unit_scale, disable=not progress)


def tell(text: str, *, progress: bool) -> None:
    """Log what a call found out or is about to do, and print it where its progress is shown."""
    _log.info(text)
    if progress:
        tqdm.write(text)


class _Lines(text_bar):  # type: ignore[type-arg]  # which cannot be subscripted when it runs
    """Writes one line per tenth of the work: no returns of the carriage, which a log shows as one endless line."""

    _told = 0

    def __init__(self, **settings: Any) -> None:
        super().__init__(bar_format=_FORMAT, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        tenth = int(10 * self.n / self.total) if self.total else 0
        if tenth > self._told:
            self._told = tenth
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def reset(self, total: float | None = None) -> None:
        self._told = 0
        super().reset(total)

    def clear(self, nolock: bool = False) -> None:
        pass

    def close(self) -> None:
        if not self.disable:
            self.display()
            self.disable = True
            type(self)._instances.discard(self)  # type: ignore[attr-defined]  # of which the stubs know nothing
