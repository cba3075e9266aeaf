from __future__ import annotations

import os

import pytest

from annbatch._runtime.threads import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to cores on this platform")
def test_cores_that_the_process_may_not_use_do_not_count() -> None:
    cores = os.sched_getaffinity(0)
    assert usable_cores() == len(cores)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, cores)
