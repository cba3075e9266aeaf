"""How the values of a chunk are encoded, as the metadata of zarr v3 and v2 name it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .._warn import ignore_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import numpy as np

_COMPRESSORS = {"blosc": "Blosc", "zstd": "zstd", "gzip": "gzip", "zlib": "zlib", "lz4": "LZ4"}
"""Codecs that kernels decode, and how users are told. "lz4" is that of numcodecs: the size, then an LZ4 block."""

_BLOSC_COMPRESSORS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")


def quiet_codecs() -> AbstractContextManager[None]:
    """Ignore warnings about codecs of numcodecs: of zarr before 3.2, and of zarrs where it is configured globally."""
    return ignore_warnings(
        "Numcodecs codecs are not in the Zarr version 3 spec", "Array is unsupported by ZarrsCodecPipe"
    )


@dataclass(frozen=True, slots=True)
class ChunkCodecs:
    """How the values of a chunk are encoded.

    Attributes
    ----------
    compressor
        ``"blosc"``, ``"zstd"``, ``"gzip"``, ``"zlib"`` or ``"lz4"``; empty for uncompressed chunks.
    checksum
        Whether a CRC-32C of the chunk follows it.
    big_endian
        Whether values are big-endian.
    transposed
        Whether the chunk's first axis comes last, so that a row does not lie together.
    block_bytes
        Bytes of a Blosc block, if the metadata give them; 0 otherwise.
    differences
        Whether each value of a chunk but its first is stored as its difference from the one before.
    """

    compressor: str = ""
    checksum: bool = False
    big_endian: bool = False
    transposed: bool = False
    block_bytes: int = 0
    differences: bool = False

    @property
    def plain(self) -> bool:
        """Whether the bytes of a value lie in the file where they lie in the chunk."""
        return not (self.compressor or self.checksum or self.transposed or self.differences)

    @property
    def sequential(self) -> bool:
        """Whether the last bytes of a chunk cannot be decoded without the first ones."""
        return self.transposed or self.compressor not in ("", "blosc")

    @property
    def whole(self) -> bool:
        """Whether a chunk is always fetched whole, to check or to decode it, and decoded once."""
        return self.checksum or self.sequential

    def describe(self) -> str:
        """Describe the encoding in a word or two."""
        name = _COMPRESSORS.get(self.compressor, "uncompressed")
        return f"{name} of differences" if self.differences else name


def codecs_of_v3(codecs: Sequence[dict[str, Any]], dtype: np.dtype, chunk: tuple[int, ...]) -> ChunkCodecs | None:
    """Return how chunks are encoded by codecs of zarr v3; None if kernels cannot decode it.

    Parameters
    ----------
    codecs
        The codecs of the array or, if it is sharded, of its inner chunks.
    dtype, chunk
        Dtype of the array, and shape of a chunk.
    """
    named = [(codec["name"].removeprefix("numcodecs."), codec.get("configuration") or {}) for codec in codecs]
    transposed = differences = False
    if named[0][0] == "delta" and len(chunk) == 1:
        if not _are_differences(named.pop(0)[1], dtype):
            return None
        differences = True
    elif named[0][0] == "transpose":
        moved = _first_axis_last(named.pop(0)[1].get("order"), len(chunk))
        if moved is None:
            return None
        transposed = moved
    if not named or named[0][0] != "bytes":
        return None
    big_endian = dtype.itemsize > 1 and named[0][1].get("endian", "little") != "little"
    codecs_ = _codecs(named[1:], dtype, chunk, big_endian=big_endian, transposed=transposed)
    if differences and codecs_ is not None:
        return None if big_endian or codecs_.sequential else replace(codecs_, differences=True)
    return codecs_


def _are_differences(settings: dict[str, Any], dtype: np.dtype) -> bool:
    """Return whether a codec "delta" takes differences that wrap around as the array's unsigned integers do."""
    own = dtype.newbyteorder("<").str
    return dtype.kind == "u" and settings.get("dtype") == own == settings.get("astype", own)


def codecs_of_v2(metadata: dict[str, Any], dtype: np.dtype) -> ChunkCodecs | None:
    """Return how chunks of a zarr v2 array are encoded, given its metadata; None if kernels cannot decode it."""
    codecs = [*(metadata.get("filters") or ()), *filter(None, [metadata.get("compressor")])]
    chunk = tuple(metadata["chunks"])
    named = [(codec["id"], codec) for codec in codecs]
    axes = list(range(len(chunk)))
    transposed = _first_axis_last(axes if metadata.get("order", "C") == "C" else axes[::-1], len(chunk))
    if transposed is None:
        return None
    return _codecs(named, dtype, chunk, big_endian=dtype.byteorder == ">", transposed=transposed)


def _first_axis_last(order: Any, n_axes: int) -> bool | None:
    """Return whether the first axis is stored last, and the others as they are; None for any other order than that."""
    axes, order = list(range(n_axes)), list(order or ())
    if order == axes:
        return False
    return True if order == [*axes[1:], 0] else None


def _codecs(
    named: list[tuple[str, dict[str, Any]]],
    dtype: np.dtype,
    chunk: tuple[int, ...],
    *,
    big_endian: bool,
    transposed: bool,
) -> ChunkCodecs | None:
    """Return what follows the values' bytes: a compressor or none, then a checksum or none."""
    checksum = bool(named) and named[-1][0] == "crc32c" and named[-1][1].get("location", "end") == "end"
    compressors = named[: len(named) - checksum]
    name, settings = compressors[0] if compressors else ("", {})
    if len(compressors) > 1 or (name and name not in _COMPRESSORS):
        return None
    if name == "blosc":
        # Blosc decodes whole items of its `typesize`. If that and the dtype's size do not nest, values begin in the
        # middle of an item; if a chunk is not a multiple of it, the last values cannot be decoded.
        size, chunk_bytes = settings.get("typesize") or 1, dtype.itemsize
        for length in chunk:
            chunk_bytes *= length
        nested = (dtype.itemsize % size == 0 or size % dtype.itemsize == 0) and chunk_bytes % size == 0
        if settings.get("cname", "lz4") not in _BLOSC_COMPRESSORS or not nested:
            return None
    return ChunkCodecs(name, checksum, big_endian, transposed, int(settings.get("blocksize") or 0))
