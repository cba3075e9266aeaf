"""Copies to a CUDA device that run while the model computes."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import torch

from annbatch.errors import DeviceMemoryError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Transfer:
    """Copies host tensors to a CUDA device on a stream of its own. Thread-safe.

    The host's memory is held until its copy has ended: the pool that it came from must not lend it out before.

    Parameters
    ----------
    device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._lock = threading.Lock()
        self._in_flight: deque[tuple[torch.cuda.Event, Sequence[torch.Tensor]]] = deque()

    def send(self, tensors: Sequence[torch.Tensor]) -> Sent:
        """Start copying.

        Raises
        ------
        annbatch.errors.DeviceMemoryError
            If the device has no room.
        """
        try:
            with torch.cuda.stream(self._stream):
                copies = [tensor.to(self._device, non_blocking=True) for tensor in tensors]
                ended = self._stream.record_event()
        except torch.OutOfMemoryError as exc:
            # Copies of the first tensors may be under way, out of memory that goes back with this exception.
            self._stream.synchronize()
            raise DeviceMemoryError.of("A batch or window", sum(t.nbytes for t in tensors), self._device) from exc
        with self._lock:
            while self._in_flight and self._in_flight[0][0].query():
                self._in_flight.popleft()
            self._in_flight.append((ended, tensors))
        return Sent(copies, ended)


class Sent:
    """Tensors on their way to a CUDA device."""

    def __init__(self, copies: list[torch.Tensor], ended: torch.cuda.Event) -> None:
        self._copies = copies
        self._ended = ended

    def receive(self) -> list[torch.Tensor]:
        """Return tensors that the current stream of their device may use as if they were there."""
        user = torch.cuda.current_stream(self._copies[0].device)
        user.wait_event(self._ended)
        for copy in self._copies:
            copy.record_stream(user)  # or the allocator would reuse a freed batch while the user's stream works on it
        return self._copies
