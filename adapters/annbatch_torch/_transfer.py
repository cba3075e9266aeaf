"""Copies to a CUDA device that run while the model computes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


class Transfer:
    """Copies host tensors to a CUDA device on a stream of its own.

    The host's memory is held until its copy has ended: the pool that it came from must not lend it out before.

    Parameters
    ----------
    device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._in_flight: deque[tuple[torch.cuda.Event, Sequence[torch.Tensor]]] = deque()

    def __call__(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Start copying; return tensors that the current stream may use as if they were there."""
        while self._in_flight and self._in_flight[0][0].query():
            self._in_flight.popleft()
        with torch.cuda.stream(self._stream):
            copies = [tensor.to(self._device, non_blocking=True) for tensor in tensors]
            ended = self._stream.record_event()
        user = torch.cuda.current_stream(self._device)
        user.wait_event(ended)
        for copy in copies:
            copy.record_stream(user)  # or the allocator would reuse a freed batch while the user's stream works on it
        self._in_flight.append((ended, tensors))
        return copies
