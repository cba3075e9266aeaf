"""The C functions that kernels call: ``pread`` of the C library and two of Blosc.

numba calls C directly, and caches its machine code across processes, when a function is named and not pointed at: the
name is resolved when the code is loaded, so Blosc must be in the process by then, which importing this module sees to.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba import types


def _blosc_path() -> str:
    spec = find_spec("blosc2")  # found, not imported, which takes half a second
    if spec is None or spec.origin is None:
        raise ImportError("annbatch reads Blosc through the library in the blosc2 wheel: `pip install blosc2`")
    folder = Path(spec.origin).parent / "lib"
    found = sorted(path for pattern in ("libblosc2.so*", "libblosc2*.dylib") for path in folder.glob(pattern))
    if not found:
        raise ImportError(f"annbatch needs the Blosc library of the blosc2 wheel, found none in {folder}")
    return str(found[0])


class _DecompressionParameters(ctypes.Structure):
    """``blosc2_dparams``; padded, so that fields that later versions add read as zero."""

    _fields_ = (
        ("nthreads", ctypes.c_int16),
        ("schunk", ctypes.c_void_p),
        ("postfilter", ctypes.c_void_p),
        ("postparams", ctypes.c_void_p),
        ("typesize", ctypes.c_int32),
        ("later", ctypes.c_int64 * 8),
    )


_path = _blosc_path()
llvm.load_library_permanently(_path)
_blosc = ctypes.CDLL(_path)
_blosc.blosc2_create_dctx.restype = ctypes.c_void_p
_blosc.blosc2_create_dctx.argtypes = [_DecompressionParameters]
_blosc.blosc2_free_ctx.restype = None
_blosc.blosc2_free_ctx.argtypes = [ctypes.c_void_p]
_blosc.blosc2_init()


def symbol(name: str) -> Any:
    """Return a function of the Blosc library, to be called from Python."""
    function = getattr(_blosc, name)
    if name == "LZ4_initStreamHC":
        function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t]
    return function


pread = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))
"""``pread(fd, buffer, count, offset)``; -1 on error."""

memcpy = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))
"""``memcpy(to, from, count)``."""

blosc_getitem = types.ExternalFunction(
    "blosc2_getitem_ctx",
    types.intc(types.uintp, types.uintp, types.int32, types.intc, types.intc, types.uintp, types.int32),
)
"""``blosc2_getitem_ctx(context, chunk, chunk_size, first_item, n_items, out, out_size)``: bytes written, or negative.

Decodes only the blocks that the items lie in. Measured as fast as ``blosc2_decompress_ctx`` on whole chunks.
"""

_local = threading.local()


class _Context:
    """A Blosc context, freed with the thread that made it."""

    def __init__(self) -> None:
        address = _blosc.blosc2_create_dctx(_DecompressionParameters(nthreads=1, typesize=8))
        if not address:
            raise MemoryError("Blosc could not make a decompression context.")
        self.address = int(address)
        weakref.finalize(self, _blosc.blosc2_free_ctx, self.address)


def blosc_context() -> int:
    """Return the address of this thread's decompression context: Blosc's scratch memory, made once a thread."""
    if not hasattr(_local, "context"):
        _local.context = _Context()
    return int(_local.context.address)


def forget_context() -> None:
    """Drop this thread's context: what a damaged chunk left in it would spoil chunks that are intact."""
    if hasattr(_local, "context"):
        del _local.context
