"""The buffer pool: memory comes back when the last view is gone, and not before."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch._runtime.buffers import BufferPool, allocate_aligned
from annbatch.batch import CSR


def address(array: np.ndarray) -> int:
    return array.ctypes.data


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 4096, 1_000_003])
def test_memory_is_aligned_and_of_the_size_requested(nbytes):
    for array in (allocate_aligned(nbytes), BufferPool().lend(nbytes)):
        assert (array.dtype, array.shape) == (np.uint8, (nbytes,))
        assert nbytes == 0 or address(array) % 64 == 0
        array[...] = 7


def test_a_block_is_lent_again_once_it_is_free():
    pool = BufferPool()
    first = pool.lend(10_000)
    place = address(first)
    second = pool.lend(10_000)
    assert address(second) != place
    del first
    again = pool.lend(9_000)  # a little smaller: the same block fits
    assert address(again) == place


def scipy_matrix(block: np.ndarray):
    """Return a matrix as batches are, all of whose arrays lie in ``block``."""
    indices, indptr = block[64:80].view(np.int32), block[128:136].view(np.int32)
    indices[...], indptr[...] = np.arange(4), (0, 4)
    return CSR(block[:16].view(np.float32), indices, indptr, (1, 4)).to_scipy()


HOLDERS = {
    "the array": lambda a: a,
    "a slice": lambda a: a[10:20],
    "a slice of a slice": lambda a: a[10:500][3:7],
    "another dtype": lambda a: a[:800].view(np.float64),
    "a slice of another dtype": lambda a: a[:800].view(np.float64)[5:],
    "a reshaped slice": lambda a: a[:100].reshape(10, 10).T,
    "an empty slice": lambda a: a[5:5],
    "a subclass": lambda a: a[:8].view(np.recarray)[1:],
    "a memoryview": lambda a: memoryview(a),
    "a memoryview of a slice": lambda a: memoryview(a[3:9])[1:],
    "np.frombuffer": lambda a: np.frombuffer(a[64:128], dtype=np.int32),
    "DLPack": lambda a: np.from_dlpack(a[:64]),
    "a SciPy matrix": lambda a: scipy_matrix(a),
    "an array of a SciPy matrix": lambda a: scipy_matrix(a).indices[1:],
    "a transposed SciPy matrix": lambda a: scipy_matrix(a).T,
    "__array_interface__": lambda a: np.asarray(
        type("Other", (), {"__array_interface__": a.__array_interface__, "a": a})()
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_a_block_is_never_lent_again_while_anything_refers_to_it(hold):
    pool = BufferPool()
    lent = pool.lend(10_000)
    lent[...] = 1
    place, held = address(lent), hold(lent)
    del lent
    gc.collect()
    others = [pool.lend(10_000) for _ in range(5)]
    assert place not in map(address, others)
    del held
    gc.collect()
    assert address(pool.lend(10_000)) == place


def test_a_block_outlives_the_pool():
    pool = BufferPool()
    held = pool.lend(5_000)[100:200]
    held[...] = 3
    del pool
    gc.collect()
    assert (held == 3).all()


def test_memory_in_a_reference_cycle_comes_back_with_the_garbage():
    pool = BufferPool()
    cycle: dict[str, object] = {"block": pool.lend(10_000)}
    cycle["self"] = cycle
    place = address(cycle["block"])
    del cycle
    gc.collect()
    assert address(pool.lend(10_000)) == place


def test_peak_counts_what_is_held_at_once_and_stays_flat():
    pool = BufferPool()
    for _ in range(100):
        pair = [pool.lend(100_000), pool.lend(99_000)]
        del pair
    assert 2 * 99_000 <= pool.peak_bytes <= 2 * 2 * 100_000


def test_blocks_of_sizes_no_longer_requested_are_freed():
    allocated = []

    def allocate(nbytes: int) -> np.ndarray:
        allocated.append(nbytes)
        return allocate_aligned(nbytes)

    pool = BufferPool(allocate)
    pool.lend(10_000_000)
    for _ in range(200):
        pool.lend(1_000)
    pool.lend(10_000_000)  # the large one has gone meanwhile
    assert len(allocated) == 3
    assert pool.peak_bytes < 2 * 10_000_000


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 6)), max_size=60))
def test_blocks_that_are_lent_at_once_never_overlap(lends):
    pool = BufferPool()
    held: dict[int, np.ndarray] = {}
    for nbytes, slot in lends:
        held.pop(slot, None)
        held[slot] = pool.lend(nbytes)
        held[slot][...] = slot
        assert held[slot].shape == (nbytes,)
        for other, block in held.items():
            assert (block == other).all()


def test_threads_may_lend_and_give_back_at_once():
    pool = BufferPool()
    wrong = []

    def work(mark: int) -> None:
        for n in range(300):
            block = pool.lend(1_000 + n)
            block[...] = mark
            if not (block == mark).all():
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.peak_bytes <= 8 * 4096
