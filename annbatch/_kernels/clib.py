"""The C functions that kernels call: ``pread`` and ``memcpy`` of the C library, and decoders of libraries in wheels.

numba caches kernels that call C functions by name, not by address. The name is resolved when the kernel is loaded, so
its library must be in the process by then: importing this module loads them.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba import types

from .._warn import warn


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


def function(library: ctypes.CDLL | None, name: str, signature: Any) -> types.ExternalFunction:
    """Return a library's function for kernels, by a name of its own: other libraries in the process export the same.

    Where the library lacks it, the name leads to a stand-in, so that kernels load; nothing may call it then.
    """
    found = getattr(library, name, ctypes.pythonapi.Py_IsInitialized)
    llvm.add_symbol(f"annbatch_{name}", ctypes.cast(found, ctypes.c_void_p).value)
    return types.ExternalFunction(f"annbatch_{name}", signature)


BLOSC = load_library(
    "blosc2",
    # In the wheel, and in the environment, where conda keeps it.
    tuple(f"{folder}/libblosc2{end}" for folder in ("lib", "../../..") for end in (".so*", "*.dylib")),
    ("blosc2_init", "blosc2_create_dctx", "blosc2_free_ctx", "blosc2_getitem_ctx"),
)
"""The library of c-blosc2, which holds LZ4 and zstd, too; None if none exports Blosc's decoder."""

DEFLATE = load_library(
    "deflate",
    ("_deflate*",),
    ("libdeflate_alloc_decompressor", "libdeflate_free_decompressor", "libdeflate_zlib_decompress"),
)
"""libdeflate, which the extension of the package ``deflate`` exports; None if it does not."""

CRC32C = load_library(
    "google_crc32c",
    # In the wheels for Linux and for macOS, and in the environment, where conda keeps it.
    ("../google_crc32c.libs/libcrc32c*", ".dylibs/libcrc32c*", "../../../libcrc32c*.so*", "../../../libcrc32c*.dylib"),
    ("crc32c_value",),
)
"""Google's CRC32C; None if there is none."""


if BLOSC is None:
    warn(
        "Found no Blosc library that exports its decoder: Blosc is read and written through zarr's codecs, which are "
        "slower. `pip install blosc2` installs one.",
    )
else:
    BLOSC.blosc2_init()

pread = types.ExternalFunction("pread", types.intp(types.intc, types.intp, types.intp, types.int64))
"""``pread(fd, buffer, count, offset)``; -1 on error."""

memcpy = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.intp))
"""``memcpy(to, from, count)``."""

blosc_getitem = function(
    BLOSC,
    "blosc2_getitem_ctx",
    types.intc(types.intp, types.intp, types.int32, types.intc, types.intc, types.intp, types.int32),
)
"""``blosc2_getitem_ctx(context, chunk, chunk_size, first_item, n_items, out, out_size)``: bytes written, or negative.

Decodes only the blocks that hold the items. Measured as fast as ``blosc2_decompress_ctx`` on whole chunks.
"""

crc32c = function(CRC32C, "crc32c_value", types.uint32(types.intp, types.intp))
"""``crc32c_value(data, size)``."""
