"""CRC-32C of large buffers, without the GIL, which ``google_crc32c`` holds."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import google_crc32c

from .clib import CRC32C

if TYPE_CHECKING:
    import numpy as np

_extend = getattr(CRC32C, "crc32c_extend", None)
if _extend is not None:
    _extend.argtypes, _extend.restype = (ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t), ctypes.c_uint32


def extend_crc32c(crc: int, data: np.ndarray) -> int:
    """Return the CRC-32C of bytes whose own is ``crc``, followed by ``data``, contiguous uint8; none have 0."""
    if _extend is None:
        return int(google_crc32c.extend(crc, data))
    return int(_extend(crc, data.ctypes.data, data.size))
