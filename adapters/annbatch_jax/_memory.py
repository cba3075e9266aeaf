"""A device without room, said in the words of the loader's settings."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import jax

from annbatch.errors import DeviceMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def room_for(what: str, nbytes: int, device: object) -> Iterator[None]:
    """Raise :class:`annbatch.errors.DeviceMemoryError` where JAX finds no room for ``what`` on a device."""
    try:
        yield
    except jax.errors.JaxRuntimeError as exc:
        if "RESOURCE_EXHAUSTED" not in str(exc):
            raise
        raise DeviceMemoryError.of(what, nbytes, device) from exc
