from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from annbatch._arrays.byte_count import count_bytes, take_count


def test_each_thread_counts_its_own_bytes_once() -> None:
    take_count()
    count_bytes(3)
    count_bytes(4)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(take_count).result() == 0
    assert take_count() == 7
    assert take_count() == 0
