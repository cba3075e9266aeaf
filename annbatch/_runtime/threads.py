"""How many threads this process may use, and whether it is still the one that started them."""

from __future__ import annotations

import os


def check_process(owner: int) -> None:
    """Raise ``RuntimeError`` in any process but the one that started the threads."""
    if owner != os.getpid():
        raise RuntimeError(
            f"The loader was iterated in process {owner}, and its threads did not survive the fork into process "
            f"{os.getpid()}: start processes with 'spawn', or iterate in the child only."
        )


def usable_cores() -> int:
    """Return the cores that this process may run on, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def n_threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
