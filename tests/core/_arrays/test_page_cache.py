from __future__ import annotations

import os
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest

from annbatch._arrays.page_cache import _INTERVAL, is_cold


def test_what_is_in_memory_is_not_cold() -> None:
    is_cold(_INTERVAL)  # counts what was read before this test
    assert not is_cold(_INTERVAL)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="pages cannot be evicted on this platform")
def test_evicted_files_are_cold_until_they_are_read_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(_INTERVAL))
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        is_cold(_INTERVAL)
        before = getrusage(RUSAGE_SELF).ru_inblock
        file.read()
    if (getrusage(RUSAGE_SELF).ru_inblock - before) * 512 < _INTERVAL:
        pytest.skip("the temporary folder is in memory, or its disk is not accounted")
    assert is_cold(_INTERVAL)
    assert not is_cold(_INTERVAL)
