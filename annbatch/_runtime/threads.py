"""How many threads a process may use, and whether it is the one that started them."""

from __future__ import annotations

import os


def check_process(owner: int) -> None:
    """Raise ``RuntimeError`` in any process other than ``owner``, which started the threads."""
    if owner != os.getpid():
        raise RuntimeError(
            f"The loader was iterated in process {owner}, and its threads did not survive the fork into process "
            f"{os.getpid()}: start processes with 'spawn', or iterate in the child only."
        )


_owners: dict[str, int] = {}  # the process that started the threads of a library


def claim_threads(library: str) -> None:
    """Raise ``RuntimeError`` in a forked process: the threads of a library do not survive a fork; it waits for ever."""
    owner = _owners.setdefault(library, os.getpid())
    if owner != os.getpid():
        raise RuntimeError(
            f"{library} was used in process {owner}, and its threads did not survive the fork into process "
            f"{os.getpid()}: start processes with 'spawn', or read in the child only."
        )


def usable_cores() -> int:
    """Return the number of cores that this process may run on, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
