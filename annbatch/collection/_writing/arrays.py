"""Arrays of a dataset, written from front to back: rows come in order, shards go out as they fill.

:class:`LocalWriter` appends each inner chunk to its shard's file as soon as it is encoded, on threads, so that no shard
is ever whole in memory; the format is zarr's own ("sharding_indexed": the chunks one after the other, then their
index). :class:`ZarrWriter` goes through zarr, to any store and codec.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numcodecs.blosc import Blosc
from numcodecs.zstd import Zstd
from zarr.codecs import BloscCodec, ZstdCodec

from ..._format.attributes import COMPLETE_ATTRIBUTE
from ..._format.shard_index import format_index
from ..._kernels.encode import encode
from ..._runtime.zarrs import through_zarrs
from .._resources.direct_io import NewFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    import zarr


class ArrayWriter(Protocol):
    """An array that grows along its first axis."""

    def append(self, values: np.ndarray) -> None:
        """Add values at the end; the memory may be used again only after ``close``."""

    def close(self) -> zarr.Array[Any]:
        """Write what is left and the metadata; return the array."""


def grid(n: int, chunk: int, per_shard: int) -> tuple[int, int]:
    """Return the lengths of inner chunk and shard for an array of ``n``: no longer than needed, at least 1."""
    chunk = max(1, min(chunk, n))
    return chunk, chunk * max(1, min(per_shard, -(-n // chunk)))


class ZarrWriter:
    """An array written through zarr with zarrs, a shard at a time."""

    def __init__(
        self,
        group: zarr.Group,
        name: str,
        dtype: np.dtype,
        tail: tuple[int, ...],
        chunk: int,
        per_shard: int,
        codecs: Any,
    ) -> None:
        self._create: Callable[[int], zarr.Array[Any]] = lambda n: self._make(
            group, name, dtype, tail, n, chunk, per_shard, codecs
        )
        self._shard = chunk * per_shard
        self._array: zarr.Array[Any] | None = None
        self._held: list[np.ndarray] = []
        self._n_held = self._n_written = 0
        self._tail, self._dtype = tail, dtype

    @staticmethod
    def _make(
        group: zarr.Group,
        name: str,
        dtype: np.dtype,
        tail: tuple[int, ...],
        n: int,
        chunk: int,
        per_shard: int,
        codecs: Any,
    ) -> zarr.Array[Any]:
        chunk, shard = grid(n, chunk, per_shard)
        array = group.create_array(
            name,
            shape=(n, *tail),
            dtype=dtype,
            chunks=(chunk, *_at_least_one(tail)),
            shards=(shard, *_at_least_one(tail)),
            compressors=codecs or None,
        )
        return through_zarrs(array) or array

    def append(self, values: np.ndarray) -> None:
        """Add values at the end."""
        self._held.append(values)
        self._n_held += len(values)
        while self._n_held >= self._shard:
            held = np.concatenate(self._held)
            self._flush(held[: self._shard])
            self._held = [held[self._shard :]]
            self._n_held = len(self._held[0])

    def _flush(self, values: np.ndarray) -> None:
        stop = self._n_written + len(values)
        if self._array is None:
            self._array = self._create(stop)
        elif stop > self._array.shape[0]:
            self._array.resize((stop, *self._tail))
            self._array = through_zarrs(self._array) or self._array
        if values.size:
            self._array[self._n_written : stop] = values
        self._n_written = stop

    def close(self) -> zarr.Array[Any]:
        """Write what is left; return the array."""
        if self._n_held or self._array is None:
            self._flush(np.concatenate(self._held) if self._held else np.empty((0, *self._tail), self._dtype))
        assert self._array is not None
        return self._array


def _at_least_one(tail: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(1, n) for n in tail)


def encoder(codecs: tuple[Any, ...], *, high: bool) -> Callable[[np.ndarray], Any] | None:
    """Return what turns an inner chunk into bytes as ``codecs`` do, without holding the GIL; None for codecs not known.

    zarr's own codecs wrap these very functions. LZ4 in blocks smaller than Blosc makes them is encoded by
    :mod:`._blosc`, with ``high`` by LZ4HC, which LZ4 decodes.
    """
    if not codecs:
        return lambda chunk: chunk.reshape(-1).view(np.uint8)
    codec, shuffles = codecs[0], {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
    if len(codecs) == 1 and isinstance(codec, BloscCodec):
        # Enums in older zarr, strings in newer. Blosc takes the size of items from the array.
        cname, shuffle = getattr(codec.cname, "value", codec.cname), getattr(codec.shuffle, "value", codec.shuffle)
        if cname == "lz4" and shuffle == "shuffle" and 0 < codec.blocksize < 1 << 16:
            return partial(encode, block_size=codec.blocksize, high=high)
        if shuffle in shuffles:
            blosc = Blosc(cname, codec.clevel, shuffles[shuffle], codec.blocksize)
            return lambda chunk: blosc.encode(chunk.reshape(-1))
    if len(codecs) == 1 and isinstance(codec, ZstdCodec) and not codec.checksum:
        zstd = Zstd(codec.level)
        return lambda chunk: zstd.encode(chunk.reshape(-1))
    return None


class LocalWriter:
    """An array written to local files, all on the disk at the end; its metadata comes last, and comes from zarr.

    Parameters
    ----------
    group, folder
        Where to, as a group and as its folder.
    name, dtype, tail
        Of the array; ``tail`` is the shape of one item.
    chunk, per_shard
        Items of an inner chunk, inner chunks of a shard.
    codecs, encode_chunk
        How chunks are compressed, for zarr's metadata and as the function that does it.
    pool
        Threads that encode.
    checksums
        Filled in with size and CRC-32C of each file, by absolute path.
    """

    def __init__(
        self,
        group: zarr.Group,
        folder: Path,
        name: str,
        dtype: np.dtype,
        tail: tuple[int, ...],
        chunk: int,
        per_shard: int,
        codecs: tuple[Any, ...],
        encode_chunk: Callable[[np.ndarray], Any],
        pool: Executor,
        checksums: dict[str, tuple[int, int]],
    ) -> None:
        self._group, self._folder, self._name = group, folder / name, name
        self._dtype, self._tail, self._chunk, self._per_shard, self._codecs = dtype, tail, chunk, per_shard, codecs
        self._encode, self._pool, self._checksums = encode_chunk, pool, checksums
        self._rest: list[np.ndarray] = []
        self._n_rest = self._n = 0
        self._encoded: deque[Future[Any]] = deque()
        self._file: NewFile | None = None
        self._index: list[tuple[int, int]] = []
        self._n_files = 0

    def append(self, values: np.ndarray) -> None:
        """Add values at the end; the memory may be used again only after ``close``."""
        self._n += len(values)
        if 0 in self._tail:
            return
        start = 0
        if self._n_rest:
            start = min(len(values), self._chunk - self._n_rest)
            self._rest.append(values[:start])
            self._n_rest += start
            if self._n_rest < self._chunk:
                return
            self._submit(np.concatenate(self._rest))
            self._rest, self._n_rest = [], 0
        whole = start + (len(values) - start) // self._chunk * self._chunk
        for first in range(start, whole, self._chunk):
            self._submit(values[first : first + self._chunk])
        if whole < len(values):
            self._rest, self._n_rest = [values[whole:].copy()], len(values) - whole

    def _submit(self, chunk: np.ndarray) -> None:
        self._encoded.append(self._pool.submit(self._encode, chunk))
        while len(self._encoded) > 32:
            self._write(self._encoded.popleft().result())

    def _write(self, encoded: Any) -> None:
        if self._file is None:
            path = self._shard_path(self._n_files)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = NewFile(path)
        self._index.append((self._file.size, len(encoded)))
        self._file.append(encoded)
        if len(self._index) == self._per_shard:
            self._finish_shard(self._file, self._per_shard)

    def _shard_path(self, number: int) -> Path:
        return self._folder.joinpath("c", str(number), *("0" for _ in self._tail))

    def _finish_shard(self, file: NewFile, per_shard: int) -> None:
        file.append(format_index(self._index, per_shard))
        crc = file.close(flush=True)
        self._checksums[str(self._shard_path(self._n_files))] = (file.size, crc)
        self._n_files += 1
        self._file, self._index = None, []

    def close(self) -> zarr.Array[Any]:
        """Write what is left, then the metadata; return the array."""
        chunk, shard = grid(self._n, self._chunk, self._per_shard)
        if self._n_rest:
            last = np.zeros((chunk, *self._tail), self._dtype)  # zarr fills a chunk that is cut short
            last[: self._n_rest] = np.concatenate(self._rest)
            self._submit(last)
        while self._encoded:
            self._write(self._encoded.popleft().result())
        per_shard = shard // chunk if self._n_files == 0 else self._per_shard
        if self._file is not None:
            self._finish_shard(self._file, per_shard)
        return self._group.create_array(
            self._name,
            shape=(self._n, *self._tail),
            dtype=self._dtype,
            chunks=(chunk, *_at_least_one(self._tail)),
            shards=(chunk * per_shard, *_at_least_one(self._tail)),
            compressors=self._codecs or None,
            attributes={COMPLETE_ATTRIBUTE: True},
        )
