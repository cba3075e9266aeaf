"""The C functions that kernels call: ``pread`` and ``memcpy`` of the C library, and the decoder of Blosc.

numba caches kernels that call C functions by name, not by address. The name is resolved when the kernel is loaded, so
its library must be in the process by then: importing this module loads Blosc.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
import weakref
from importlib.util import find_spec
from pathlib import Path

import llvmlite.binding as llvm
from numba import types


def load_library(package: str, patterns: tuple[str, ...], functions: tuple[str, ...]) -> ctypes.CDLL | None:
    """Load a library that a package's wheel brings, for calls from Python and from kernels.

    Parameters
    ----------
    package
        Package that is found, but not imported: importing blosc2 takes half a second.
    patterns
        Where the library may be, as globs relative to the package's folder.
    functions
        Names that it must export.

    Returns
    -------
    CDLL or None
        None if there is no such library.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        if all(hasattr(library, name) for name in functions):
            llvm.load_library_permanently(str(path))
            return library
    return None


BLOSC = load_library(
    "blosc2",
    # In the wheel, and in the environment, where conda keeps it.
    tuple(f"{folder}/libblosc2{end}" for folder in ("lib", "../../..") for end in (".so*", "*.dylib")),
    ("blosc2_init", "blosc2_create_dctx", "blosc2_free_ctx", "blosc2_getitem_ctx"),
)
"""The library of c-blosc2; None if none exports its decoder: zarr's codecs read and write Blosc then."""


class _DecompressionParameters(ctypes.Structure):
    """``blosc2_dparams``, padded so that fields that later versions add read as zero."""

    _fields_ = (
        ("nthreads", ctypes.c_int16),
        ("schunk", ctypes.c_void_p),
        ("postfilter", ctypes.c_void_p),
        ("postparams", ctypes.c_void_p),
        ("typesize", ctypes.c_int32),
        ("later", ctypes.c_int64 * 8),
    )


if BLOSC is None:
    warnings.warn(
        "Found no Blosc library that exports its decoder: Blosc is read and written through zarr's codecs, which are "
        "slower. `pip install blosc2` installs one.",
        stacklevel=2,
    )
    # Kernels that read uncompressed chunks name the decoder, too, and must load. Nothing calls this stand-in.
    llvm.add_symbol("blosc2_getitem_ctx", ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value)
else:
    BLOSC.blosc2_create_dctx.restype = ctypes.c_void_p
    BLOSC.blosc2_create_dctx.argtypes = [_DecompressionParameters]
    BLOSC.blosc2_free_ctx.restype = None
    BLOSC.blosc2_free_ctx.argtypes = [ctypes.c_void_p]
    BLOSC.blosc2_init()

pread = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))
"""``pread(fd, buffer, count, offset)``; -1 on error."""

memcpy = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))
"""``memcpy(to, from, count)``."""

blosc_getitem = types.ExternalFunction(
    "blosc2_getitem_ctx",
    types.intc(types.uintp, types.uintp, types.int32, types.intc, types.intc, types.uintp, types.int32),
)
"""``blosc2_getitem_ctx(context, chunk, chunk_size, first_item, n_items, out, out_size)``: bytes written, or negative.

Decodes only the blocks that hold the items. Measured as fast as ``blosc2_decompress_ctx`` on whole chunks.
"""

_local = threading.local()


class _Context:
    """A Blosc context, freed with its thread."""

    def __init__(self) -> None:
        assert BLOSC is not None, "the caller decodes Blosc, for which the library must be there"
        address = BLOSC.blosc2_create_dctx(_DecompressionParameters(nthreads=1, typesize=8))
        if not address:
            raise MemoryError("Blosc could not create a decompression context.")
        self.address = int(address)
        weakref.finalize(self, BLOSC.blosc2_free_ctx, self.address)


def blosc_context() -> int:
    """Return the address of this thread's decompression context, which holds Blosc's scratch memory."""
    if not hasattr(_local, "context"):
        _local.context = _Context()
    return int(_local.context.address)


def forget_context() -> None:
    """Drop this thread's context: state that a damaged chunk left in it would spoil intact chunks."""
    if hasattr(_local, "context"):
        del _local.context
