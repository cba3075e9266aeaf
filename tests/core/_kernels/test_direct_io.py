"""Ranges that are read around the page cache are those of the file, whatever the disk does."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annbatch._kernels.direct_io import UNIT, Queue
from annbatch._runtime.buffers import allocate_aligned

SIZE = 3 * 1024 * UNIT + 77  # its last unit is not whole


@pytest.fixture(scope="module")
def queue() -> Iterator[Queue]:
    try:
        one = Queue(8)
    except OSError as error:
        pytest.skip(f"no asynchronous I/O here: {error}")
    yield one
    one.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, bytes]]:
    path = tmp_path_factory.mktemp("direct") / "file"
    content = np.random.default_rng(0).bytes(SIZE)
    path.write_bytes(content)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except (AttributeError, OSError) as error:
        pytest.skip(f"no direct I/O in the temporary folder: {error}")
    yield fd, content
    os.close(fd)


def read(queue: Queue, fd: list[int], offset: list[int], size: list[int]) -> tuple[list[int], list[bytes]]:
    memory = allocate_aligned(sum(size) + UNIT, alignment=UNIT)
    begin = np.cumsum([0, *size])[:-1].astype(np.int64)
    fields = (np.array(field, np.int64) for field in (fd, offset, size))
    got, _, _ = queue.read(*fields, memory.ctypes.data + begin)
    return got.tolist(), [bytes(memory[a : a + n]) for a, n in zip(begin.tolist(), got.tolist(), strict=True)]


@given(st.lists(st.tuples(st.integers(0, SIZE // UNIT), st.integers(1, 400)), max_size=40))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_are_those_of_the_file(queue: Queue, file: tuple[int, bytes], ranges: list[tuple[int, int]]) -> None:
    fd, content = file
    offset, size = [a * UNIT for a, _ in ranges], [n * UNIT for _, n in ranges]  # many, long ones, and behind the end
    got, read_of = read(queue, [fd] * len(ranges), offset, size)
    assert read_of == [content[a : a + n] for a, n in zip(offset, size, strict=True)]
    assert got == [len(one) for one in read_of]


def test_what_cannot_be_read_is_not_read(queue: Queue, file: tuple[int, bytes]) -> None:
    fd, content = file
    got, _ = read(queue, [10_000, 10_000], [0, UNIT], [UNIT, UNIT])
    assert got == [0, 0]
    got, read_of = read(queue, [fd, fd, fd], [0, 1, UNIT], [UNIT, UNIT, UNIT])  # the second one is refused
    assert got[0] == UNIT
    assert read_of[0] == content[:UNIT]
    assert got[1] == 0
    got, read_of = read(queue, [fd], [0], [2 * UNIT])  # and the queue can be used after it
    assert read_of == [content[: 2 * UNIT]]


def test_a_closed_queue_reads_nothing(file: tuple[int, bytes], queue: Queue) -> None:
    one = Queue(4)
    one.close()
    one.close()
    assert read(one, [file[0]], [0], [UNIT])[0] == [0]


def test_a_queue_deeper_than_the_system_allows_is_refused(queue: Queue) -> None:
    with pytest.raises(OSError, match=r"io_setup"):
        Queue(1 << 30)
