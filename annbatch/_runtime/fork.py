"""Locks that are free in a forked child: the thread that held one in the parent is not there to release it."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def fork_safe_lock(*, reentrant: bool = False) -> Any:
    """Return a new lock, which a forked child finds released.

    What it guards must be usable after each single step, as a thread may have been between two of them.
    """
    lock = threading.RLock() if reentrant else threading.Lock()
    _locks.add(lock)
    return lock


def _release_all() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # as the standard library does with its own locks


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_release_all)
