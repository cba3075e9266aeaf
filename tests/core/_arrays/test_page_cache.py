from __future__ import annotations

import os
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest

from annbatch._arrays.page_cache import _INTERVAL, are_cached, missed_recently


def test_what_is_in_memory_was_not_missed() -> None:
    missed_recently(_INTERVAL)  # counts what was read before this test
    assert not missed_recently(_INTERVAL)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="pages cannot be evicted on this platform")
def test_evicted_files_are_missed_until_they_are_read_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(_INTERVAL))
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        missed_recently(_INTERVAL)
        before = getrusage(RUSAGE_SELF).ru_inblock
        file.read()
    if (getrusage(RUSAGE_SELF).ru_inblock - before) * 512 < _INTERVAL:
        pytest.skip("the temporary folder is in memory, or its disk is not accounted")
    assert missed_recently(_INTERVAL)
    assert not missed_recently(_INTERVAL)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the page cache cannot be asked on this platform")
def test_the_page_cache_says_what_it_holds(tmp_path: Path) -> None:
    kept, evicted = tmp_path / "kept", tmp_path / "evicted"
    for path in (kept, evicted):
        path.write_bytes(bytes(1 << 20))
    with kept.open("rb", buffering=0) as first, evicted.open("rb", buffering=0) as second:
        os.fsync(second.fileno())
        if are_cached([(first.fileno(), 0)]) is None:
            pytest.skip("the file system of the temporary folder cannot tell what is cached")
        places = [(file.fileno(), place) for file in (first, second) for place in range(0, 1 << 20, 1 << 15)]
        assert are_cached(places)
        os.posix_fadvise(second.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # whole files: a page may be a megabyte
        assert not are_cached(places)
        assert are_cached(place for place in places if place[0] == first.fileno())


def test_nobody_can_tell_what_is_cached_of_a_pipe() -> None:
    read, write = os.pipe()
    try:
        assert are_cached([(read, 0)]) is None
    finally:
        os.close(read)
        os.close(write)


def test_no_bytes_are_cached() -> None:
    assert are_cached([]) in (True, None)
