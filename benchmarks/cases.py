"""Cases, and the contenders that take turns in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Contender:
    """One loader, or one limit of the machine, with one task.

    Attributes
    ----------
    name
        Name in tables; unique in its case.
    worker
        Name of the worker that measures it.
    task
        Task for that worker; JSON-able. ``rows`` is added.
    limit
        Name of the contender that bounds this one.
    threads
        Cores that it may use; None: all.
    unit
        Unit that a sample counts.
    least
        Rows of the smallest sample; other sizes are multiples of it. 0 for a sample of fixed size.
    most
        Rows of the largest sample.
    page_memory
        Bytes of memory that are left for pages of files, once it was opened; None: what the machine has.
    cached
        Whether its files are read into the page cache before each sample, in a cold case too.
    """

    name: str
    worker: str
    task: dict[str, Any]
    limit: str | None = None
    threads: int | None = None
    unit: str = "rows"
    least: int = 0
    most: int = 0
    page_memory: int | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """Contenders compared with each other.

    Attributes
    ----------
    section, name
        Place in the report.
    contenders
        Contenders, in the order in which they take turns.
    baseline
        Name of the contender that others are compared with; None: there is none.
    cold
        Whether the files of tasks are dropped from the page cache before each sample.
    """

    section: str
    name: str
    contenders: tuple[Contender, ...]
    baseline: str | None = None
    cold: bool = False

    def __post_init__(self) -> None:
        names = [contender.name for contender in self.contenders]
        if len(set(names)) != len(names):
            raise ValueError(f"`contenders` must have unique names, got {names}.")
