"""A device without room, said in the words of the loader's settings."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import cupy

from annbatch.errors import DeviceMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def room_for(what: str, nbytes: int, device: int) -> Iterator[None]:
    """Raise :class:`annbatch.errors.DeviceMemoryError` where CuPy finds no room for ``what`` on a device."""
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as exc:
        raise DeviceMemoryError.of(what, nbytes, f"CUDA device {device}") from exc
