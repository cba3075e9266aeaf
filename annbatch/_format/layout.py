"""The layout of a zarr array in files, as far as the native reader knows it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from .._plan.ranges import item_size
from .attributes import COMPLETE_ATTRIBUTE
from .codecs import ChunkCodecs, codecs_of_v2, codecs_of_v3

if TYPE_CHECKING:
    import zarr

_MOST_BYTES = 64 << 20
"""Bytes of the largest chunk that each reading thread decodes as a whole, into memory of its own."""

_OVERHEAD = 1 << 16
"""Bytes by which a small chunk may grow when it is encoded."""


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
    codecs
        How chunks are encoded.
    fill_value
        Value of chunks that were not written.
    complete
        Whether every chunk was written, so that a missing file is damage; zarr omits chunks that hold the fill value.
    keys
        Prefix and separator of the names of chunk files, from the array's ``chunk_key_encoding``.
    trailer
        Bytes behind each chunk that are not read: a checksum.
    """

    folder: PurePath
    shape: tuple[int, ...]
    dtype: np.dtype
    chunk: int
    per_file: int
    sharded: bool
    index_first: bool
    index_checksum: bool
    codecs: ChunkCodecs
    fill_value: Any
    complete: bool
    keys: tuple[str, str]
    trailer: int = 0

    @property
    def item(self) -> int:
        """Elements in one item along the first axis."""
        return item_size(self.shape)

    @property
    def size(self) -> int:
        """Elements in the array."""
        return self.shape[0] * self.item

    @property
    def most_encoded(self) -> int:
        """Most bytes that an encoded chunk may have: no codec that kernels decode makes one much larger."""
        return 2 * self.chunk * self.dtype.itemsize + _OVERHEAD

    @property
    def index_bytes(self) -> int:
        """Bytes of a shard's index."""
        return 16 * self.per_file + 4 * self.index_checksum

    def describe(self) -> str:
        """Describe how arrays of this layout are read."""
        return f"zarr (native, {self.codecs.describe()})"

    def file(self, number: int) -> PurePath:
        """Return the path of a chunk file; all axes but the first have one chunk, numbered 0."""
        prefix, separator = self.keys
        return self.folder / (prefix + separator.join([str(number), *["0"] * (len(self.shape) - 1)]))


def chunk_layout(array: zarr.Array[Any]) -> ChunkLayout | None:
    """Return the layout of an array on a local disk or in an object store; None if the native reader does not know it.

    It knows zarr v3, sharded or not, and v2, chunked along the first axis only, with the codecs of
    :mod:`annbatch._format.codecs`.
    """
    metadata: dict[str, Any] = array.metadata.to_dict()
    folder, sharding = _folder(array), None
    if folder is None or array.dtype.kind not in "biuf" or not array.shape:
        return None
    if metadata["zarr_format"] == 2:
        keys: tuple[str, str] | None = "", metadata.get("dimension_separator", ".")
        outer = inner = tuple(metadata["chunks"])
        codecs = codecs_of_v2(metadata, array.dtype)
    else:
        grid, keys = metadata["chunk_grid"], _chunk_keys(metadata["chunk_key_encoding"])
        if grid["name"] != "regular" or metadata.get("storage_transformers"):
            return None
        outer = inner = tuple(grid["configuration"]["chunk_shape"])
        names = metadata["codecs"]
        if names[0]["name"] == "sharding_indexed":
            if len(names) > 1:
                return None
            sharding = names[0]["configuration"]
            names, inner = sharding["codecs"], tuple(sharding["chunk_shape"])
        codecs = codecs_of_v3(names, array.dtype, inner)
    index_checksum = False if sharding is None else _index_has_checksum(sharding["index_codecs"])
    rows_only = outer[1:] == inner[1:] == array.shape[1:] and all(array.shape[1:]) and array.shape[0] > 0
    if keys is None or codecs is None or index_checksum is None or not rows_only:
        return None
    complete, trailer = bool(array.attrs.get(COMPLETE_ATTRIBUTE, False)), 0
    # Checking would need whole chunks, while reading needs a few blocks. On the way from an object store, whole chunks
    # are fetched anyway, and more can happen to them than on a disk, which `verify` checks.
    if complete and codecs.checksum and not codecs.sequential and isinstance(folder, Path):
        codecs, trailer = replace(codecs, checksum=False), 4
    if codecs.whole and inner[0] * item_size(array.shape) * array.dtype.itemsize > _MOST_BYTES:
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
        codecs=codecs,
        fill_value=0 if array.fill_value is None else array.fill_value,
        complete=complete,
        keys=keys,
        trailer=trailer,
    )


def _folder(array: zarr.Array[Any]) -> PurePath | None:
    from zarr.storage import LocalStore, ObjectStore

    path = array.store_path
    if isinstance(path.store, LocalStore):
        return Path(path.store.root).absolute() / path.path if hasattr(os, "pread") else None
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


def _index_has_checksum(codecs: list[dict[str, Any]]) -> bool | None:
    names = [codec["name"] for codec in codecs]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        return None
    endian = (codecs[0].get("configuration") or {}).get("endian", "little")
    return None if endian != "little" else len(names) == 2
