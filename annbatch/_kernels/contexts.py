"""Decoders of chunks: which there are, and the working memory of each on each thread."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import TYPE_CHECKING, Any

from .clib import BLOSC, CRC32C, DEFLATE

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN, BLOSC_CHUNK, ZSTD, GZIP, ZLIB, LZ4 = range(6)
"""Numbers by which kernels know compressors."""

NUMBERS = {"": PLAIN, "blosc": BLOSC_CHUNK, "zstd": ZSTD, "gzip": GZIP, "zlib": ZLIB, "lz4": LZ4}

_FUNCTIONS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "blosc": (BLOSC, "blosc2", ("blosc2_getitem_ctx",)),
    "zstd": (
        BLOSC,
        "blosc2",
        (
            "ZSTD_createDCtx",
            "ZSTD_freeDCtx",
            "ZSTD_decompressDCtx",
            "ZSTD_decompressBegin",
            "ZSTD_nextSrcSizeToDecompress",
            "ZSTD_decompressContinue",
            "ZSTD_getFrameContentSize",
        ),
    ),
    "gzip": (DEFLATE, "deflate", ("libdeflate_gzip_decompress_ex",)),
    "zlib": (DEFLATE, "deflate", ("libdeflate_zlib_decompress",)),
    "lz4": (BLOSC, "blosc2", ("LZ4_decompress_safe", "LZ4_decompress_safe_partial")),
    "crc32c": (CRC32C, "google-crc32c", ("crc32c_value",)),
}
"""Library, package and functions that each codec needs."""


def package_lacking(codec: str) -> str | None:
    """Return the package whose installed version cannot decode a codec; None if it can."""
    library, package, functions = _FUNCTIONS.get(codec, (None, "", ()))
    return None if all(hasattr(library, name) for name in functions) else package


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


_local = threading.local()


class _Context:
    """Working memory of a decoder, freed with its thread."""

    def __init__(self, library: Any, create: str, free: str, *arguments: Any) -> None:
        function: Callable[..., int | None] = getattr(library, create)
        function.restype = ctypes.c_void_p  # type: ignore[attr-defined]
        release = getattr(library, free)
        release.argtypes, release.restype = [ctypes.c_void_p], None
        address = function(*arguments)
        if not address:
            raise MemoryError(f"{create} found no memory.")
        self.address = int(address)
        weakref.finalize(self, release, self.address)


def _create(number: int) -> _Context:
    if number == BLOSC_CHUNK:
        parameters = _DecompressionParameters(nthreads=1, typesize=8)
        return _Context(BLOSC, "blosc2_create_dctx", "blosc2_free_ctx", parameters)
    if number == ZSTD:
        return _Context(BLOSC, "ZSTD_createDCtx", "ZSTD_freeDCtx")
    return _Context(DEFLATE, "libdeflate_alloc_decompressor", "libdeflate_free_decompressor")


def context(number: int) -> int:
    """Return the address of this thread's working memory for a compressor; 0 if it needs none."""
    if number in (PLAIN, LZ4):
        return 0
    contexts: dict[int, _Context] = _local.__dict__.setdefault("contexts", {})
    if number not in contexts:
        contexts[number] = _create(number)
    return contexts[number].address


def forget_contexts() -> None:
    """Drop this thread's working memory: state that a damaged chunk left in it would spoil intact chunks."""
    _local.__dict__.pop("contexts", None)
