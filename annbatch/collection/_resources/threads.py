"""What reading takes: threads, and memory for what they read."""

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
class Hands:
    """Threads that work, and memory that they use again.

    Attributes
    ----------
    pool
        A thread for each core.
    beside
        One thread more, that may wait for those.
    memory
        Lends what they fill.
    """

    pool: Executor
    beside: Executor
    memory: RowMemory


@contextmanager
def hands(doing: str, memory: RowMemory | None = None) -> Iterator[Hands]:
    """Have threads, until the end."""
    with (
        ThreadPoolExecutor(usable_cores(), thread_name_prefix=f"annbatch-{doing}") as pool,
        ThreadPoolExecutor(1, thread_name_prefix=f"annbatch-{doing}-beside") as beside,
    ):
        yield Hands(pool, beside, RowMemory() if memory is None else memory)


def ahead(values: Iterator[T]) -> Iterator[T]:
    """Yield from ``values`` while a thread makes the next one."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="annbatch-ahead") as thread:
        coming: Future[Any] = thread.submit(next, values, end)
        while (value := coming.result()) is not end:
            coming = thread.submit(next, values, end)
            yield value
