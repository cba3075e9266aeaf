"""Copy to a CUDA device while the model computes."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import torch

from annbatch.errors import DeviceMemoryError

if TYPE_CHECKING:
    from collections.abc import Sequence

room_for = partial(DeviceMemoryError.instead_of, torch.OutOfMemoryError)


class Transfer:
    """Copies host tensors to a CUDA device on a separate stream. Thread-safe.

    Host memory is held until its copy has finished, even if the loader is dropped before: its pool must not reuse it
    meanwhile.

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
        weakref.finalize(self, self._stream.synchronize).atexit = False  # runs before `_in_flight` is released

    def send(self, tensors: Sequence[torch.Tensor]) -> Sent:
        """Start copying.

        Raises
        ------
        annbatch.errors.DeviceMemoryError
            If the device has no room.
        """
        with torch.cuda.stream(self._stream):
            try:
                with room_for("A batch or window", sum(tensor.nbytes for tensor in tensors), self._device):
                    copies = [tensor.to(self._device, non_blocking=True) for tensor in tensors]
            finally:  # copies of what did fit are under way
                ended = self._stream.record_event()
                self._hold(tensors, ended)
        return Sent(copies, ended)

    def _hold(self, tensors: Sequence[torch.Tensor], ended: torch.cuda.Event) -> None:
        with self._lock:
            while self._in_flight and self._in_flight[0][0].query():
                self._in_flight.popleft()
            self._in_flight.append((ended, tensors))


class Sent:
    """Tensors in transfer to a CUDA device."""

    def __init__(self, copies: list[torch.Tensor], ended: torch.cuda.Event) -> None:
        self._copies = copies
        self._ended = ended

    def receive(self) -> list[torch.Tensor]:
        """Return tensors that the current stream of their device can use right away."""
        user = torch.cuda.current_stream(self._copies[0].device)
        user.wait_event(self._ended)
        for copy in self._copies:
            copy.record_stream(user)  # or the allocator might reuse a freed batch while the user's stream works on it
        return self._copies
