"""Which worker process of a ``DataLoader`` this is."""

from __future__ import annotations

import sys


def this_worker() -> tuple[int, int]:
    """Return the number of this worker and how many there are; ``(0, 1)`` in a process that is none.

    A worker of PyTorch has imported ``torch.utils.data``; where that is not so, nothing needs to be imported to know.
    """
    data = sys.modules.get("torch.utils.data")
    worker = None if data is None else data.get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)
