"""What reading takes: threads, and memory for what they read."""

from __future__ import annotations

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._memory import RowMemory

if TYPE_CHECKING:
    from collections.abc import Iterator


def n_threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Hands:
    """Threads that work, and memory that they use again."""

    pool: Executor
    memory: RowMemory


@contextmanager
def hands(doing: str, memory: RowMemory | None = None) -> Iterator[Hands]:
    """Have a thread for each core, until the end."""
    with ThreadPoolExecutor(n_threads(), thread_name_prefix=f"annbatch-{doing}") as pool:
        yield Hands(pool, RowMemory() if memory is None else memory)
