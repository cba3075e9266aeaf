"""The layout of a zarr v3 array in files, as far as the native reader knows it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from .._plan.ranges import item_size
from .attributes import COMPLETE_ATTRIBUTE

if TYPE_CHECKING:
    import zarr

_BLOSC_COMPRESSORS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")


@dataclass(frozen=True, slots=True)
class ChunkLayout:
    """A chunked array as a flat sequence of elements, cut into chunks that lie in files.

    Attributes
    ----------
    folder
        Folder of the array: on the local disk, or relative to an object store.
    shape, dtype
        Shape and dtype of the array.
    chunk
        Elements per (inner) chunk; the last chunk is stored in full size, too.
    per_file
        Chunks per file: 1 without sharding.
    sharded
        Whether each file begins or ends with an index of its chunks.
    index_first
        Whether the index is at the beginning.
    index_checksum
        Whether a CRC-32C follows the index.
    blosc
        Whether chunks are Blosc-compressed; they are uncompressed otherwise.
    fill_value
        Value of chunks that were not written.
    complete
        Whether every chunk was written, so that a missing file is damage; zarr omits chunks that hold the fill value.
    keys
        Prefix and separator of the names of chunk files, from the array's ``chunk_key_encoding``.
    """

    folder: PurePath
    shape: tuple[int, ...]
    dtype: np.dtype
    chunk: int
    per_file: int
    sharded: bool
    index_first: bool
    index_checksum: bool
    blosc: bool
    fill_value: Any
    complete: bool
    keys: tuple[str, str]

    @property
    def item(self) -> int:
        """Elements in one item along the first axis."""
        return item_size(self.shape)

    @property
    def size(self) -> int:
        """Elements in the array."""
        return self.shape[0] * self.item

    @property
    def index_bytes(self) -> int:
        """Bytes of a shard's index."""
        return 16 * self.per_file + 4 * self.index_checksum

    def describe(self) -> str:
        """Describe how arrays of this layout are read."""
        return f"zarr (native, {'Blosc' if self.blosc else 'uncompressed'})"

    def file(self, number: int) -> PurePath:
        """Return the path of a chunk file; all axes but the first have one chunk, numbered 0."""
        prefix, separator = self.keys
        return self.folder / (prefix + separator.join([str(number), *["0"] * (len(self.shape) - 1)]))


def chunk_layout(array: zarr.Array[Any]) -> ChunkLayout | None:
    """Return the layout of an array on a local disk or in an object store; None if the native reader does not know it.

    It knows zarr v3, little-endian, sharded or not, Blosc or no compression, chunked along the first axis only.
    """
    metadata: dict[str, Any] = array.metadata.to_dict()
    folder = _folder(array)
    if folder is None or metadata.get("zarr_format") != 3 or metadata.get("storage_transformers"):
        return None
    grid, keys = metadata["chunk_grid"], _chunk_keys(metadata["chunk_key_encoding"])
    if grid["name"] != "regular" or keys is None or array.dtype.kind not in "biuf" or not array.shape:
        return None
    outer = tuple(grid["configuration"]["chunk_shape"])
    codecs, inner, sharding = metadata["codecs"], outer, None
    if codecs[0]["name"] == "sharding_indexed":
        if len(codecs) > 1:
            return None
        sharding = codecs[0]["configuration"]
        codecs, inner = sharding["codecs"], tuple(sharding["chunk_shape"])
    blosc = _is_blosc(codecs, array.dtype, inner[0] * item_size(array.shape) * array.dtype.itemsize)
    index_checksum = False if sharding is None else _index_has_checksum(sharding["index_codecs"])
    rows_only = outer[1:] == inner[1:] == array.shape[1:] and all(array.shape[1:]) and array.shape[0] > 0
    if blosc is None or index_checksum is None or not rows_only:
        return None
    return ChunkLayout(
        folder=folder,
        shape=array.shape,
        dtype=array.dtype.newbyteorder("="),
        chunk=inner[0] * item_size(array.shape),
        per_file=outer[0] // inner[0],
        sharded=sharding is not None,
        index_first=sharding is not None and sharding.get("index_location", "end") == "start",
        index_checksum=index_checksum,
        blosc=blosc,
        fill_value=array.fill_value,
        complete=bool(array.attrs.get(COMPLETE_ATTRIBUTE, False)),
        keys=keys,
    )


def _folder(array: zarr.Array[Any]) -> PurePath | None:
    from zarr.storage import LocalStore, ObjectStore

    path = array.store_path
    if isinstance(path.store, LocalStore):
        return Path(path.store.root) / path.path if hasattr(os, "pread") else None
    return PurePosixPath(path.path) if isinstance(path.store, ObjectStore) else None


def _chunk_keys(encoding: dict[str, Any]) -> tuple[str, str] | None:
    """Return prefix and separator of chunk names such as ``c/0/0``, or ``0.0`` as in zarr v2."""
    configuration = encoding.get("configuration") or {}
    if encoding["name"] == "default":
        separator = configuration.get("separator", "/")
        return f"c{separator}", separator
    if encoding["name"] == "v2":
        return "", configuration.get("separator", ".")
    return None


def _is_blosc(codecs: list[dict[str, Any]], dtype: np.dtype, chunk_bytes: int) -> bool | None:
    """Return whether chunks are Blosc-compressed (True) or uncompressed (False); None for anything else."""
    names = [codec["name"] for codec in codecs]
    if names not in (["bytes"], ["bytes", "blosc"]):
        return None
    endian = (codecs[0].get("configuration") or {}).get("endian", "little")
    if endian != "little" and dtype.itemsize > 1:
        return None
    if len(codecs) == 1:
        return False
    blosc = codecs[1]["configuration"]
    # Blosc decodes whole items of its `typesize`. If that and the dtype's size do not nest, values begin in the middle
    # of an item; if a chunk is not a multiple of it, the last values cannot be decoded.
    size = blosc.get("typesize") or 1
    nested = (dtype.itemsize % size == 0 or size % dtype.itemsize == 0) and chunk_bytes % size == 0
    return True if blosc["cname"] in _BLOSC_COMPRESSORS and nested else None


def _index_has_checksum(codecs: list[dict[str, Any]]) -> bool | None:
    names = [codec["name"] for codec in codecs]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        return None
    endian = (codecs[0].get("configuration") or {}).get("endian", "little")
    return None if endian != "little" else len(names) == 2
