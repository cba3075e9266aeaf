"""Copy to a CUDA device while the user's stream computes."""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

from annbatch.errors import DeviceMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

room_for = partial(DeviceMemoryError.instead_of, cupy.cuda.memory.OutOfMemoryError)

_ALIGNMENT = 256  # of arrays in a block; the same as that of `cudaMalloc`

_KEPT = 8
"""Number of idle blocks to keep: more than windows are read ahead, so that blocks are not allocated again and again."""


class Block:
    """Device memory for copies, and the event of its last use."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.last: Any = None
        self.memory = cupy.cuda.alloc(nbytes)

    def __del__(self) -> None:
        if self.last is not None and not sys.is_finalizing():
            self.last.synchronize()  # CuPy may reuse the memory at once on the same stream


class Transfer:
    """Copies host arrays to a CUDA device on a separate stream. Thread-safe.

    CuPy's allocator returns memory to the stream that allocated it, and would reuse it there while another stream still
    reads it. So copies go to blocks that are kept here, each with the event that its last reader recorded: the next
    copy to a block waits for that event, on the device. Host memory is held until its copy has finished, even if the
    loader is dropped before: its pool must not reuse it meanwhile.

    Parameters
    ----------
    device
        Number of a CUDA device.
    """

    def __init__(self, device: int) -> None:
        self._device = device
        with cupy.cuda.Device(device):
            self._stream = cupy.cuda.Stream(non_blocking=True)
        self._lock = threading.Lock()
        self._in_flight: deque[tuple[Any, Sequence[np.ndarray]]] = deque()
        weakref.finalize(self, self._stream.synchronize).atexit = False  # runs before `_in_flight` is released
        self._idle: list[Block] = []
        # Filled wherever the last reference to sent arrays dies, perhaps while the lock is held: so without it.
        self._returned: deque[Block] = deque()

    def send(self, arrays: Sequence[np.ndarray]) -> Sent:
        """Start copying.

        Raises
        ------
        annbatch.errors.DeviceMemoryError
            If the device has no room.
        """
        begins = np.concatenate([[0], np.cumsum([-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in arrays])])
        with cupy.cuda.Device(self._device), self._lock, self._stream:
            while self._in_flight and self._in_flight[0][0].done:
                self._in_flight.popleft()
            block = self._take(max(int(begins[-1]), _ALIGNMENT))
            if block.last is not None:
                self._stream.wait_event(block.last)
            copies = []
            for array, begin in zip(arrays, begins.tolist(), strict=False):
                copy = cupy.ndarray(array.shape, array.dtype, memptr=block.memory + begin)
                if array.size:
                    copy.set(array, stream=self._stream)
                copies.append(copy)
            block.last = self._stream.record()
            self._in_flight.append((block.last, arrays))
        sent = Sent(copies, block)
        weakref.finalize(sent, self._returned.append, block).atexit = False
        return sent

    def _take(self, nbytes: int) -> Block:
        """Return the smallest idle block of ``nbytes`` to twice that, or a new one."""
        while self._returned:
            self._idle.append(self._returned.popleft())
        fitting = [block for block in self._idle if nbytes <= block.nbytes <= 2 * nbytes]
        if fitting:
            best = min(fitting, key=lambda block: block.nbytes)
            self._idle = [block for block in self._idle if block is not best]
            return best
        self._drop(self._idle[: max(0, len(self._idle) - _KEPT)])
        size = nbytes + nbytes // 4  # the next windows differ by a few percent
        try:
            return Block(size)
        except cupy.cuda.memory.OutOfMemoryError:
            self._drop(list(self._idle))
        with room_for("A batch or window", nbytes, f"CUDA device {self._device}"):
            return Block(size)

    def _drop(self, blocks: Sequence[Block]) -> None:
        """Return blocks to CuPy; their next use on this stream waits for their last readers."""
        for block in blocks:
            self._stream.wait_event(block.last)
            block.last = None
        self._idle = [block for block in self._idle if block not in blocks]


class Sent:
    """Arrays on their way to a CUDA device, in memory that is reused once this object is gone."""

    def __init__(self, copies: list[Any], block: Block) -> None:
        self._copies = copies
        self._block = block

    @contextmanager
    def reading(self) -> Iterator[list[Any]]:
        """Yield the arrays; the current stream can read them right away, until the context ends."""
        stream = cupy.cuda.get_current_stream()
        stream.wait_event(self._block.last)  # of the copy or of the last reader, perhaps on another stream
        try:
            yield self._copies
        finally:
            self._block.last = stream.record()
