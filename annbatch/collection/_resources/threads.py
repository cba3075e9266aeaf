"""Threads of a conversion."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..._runtime.threads import usable_cores
from .pages import RowMemory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads that read or encode, and the memory that they fill.

    Attributes
    ----------
    pool
        One thread per core.
    coordinator
        One more thread, which may wait for the pool.
    memory
        Lends memory to all of them.
    """

    pool: Executor
    coordinator: Executor
    memory: RowMemory


@contextmanager
def workers(doing: str, memory: RowMemory | None = None) -> Iterator[Workers]:
    """Start threads, named after what they are ``doing``; stop them at the end."""
    with (
        ThreadPoolExecutor(usable_cores(), thread_name_prefix=f"annbatch-{doing}") as pool,
        ThreadPoolExecutor(1, thread_name_prefix=f"annbatch-{doing}-coordinator") as coordinator,
    ):
        yield Workers(pool, coordinator, RowMemory() if memory is None else memory)


def ahead(values: Iterator[T]) -> Iterator[T]:
    """Yield from ``values`` while a thread computes the next one."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="annbatch-ahead") as thread:
        upcoming: Future[Any] = thread.submit(next, values, end)
        while (value := upcoming.result()) is not end:
            upcoming = thread.submit(next, values, end)
            yield value
