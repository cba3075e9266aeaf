"""Arrays of a dataset, written from front to back: rows come in order, and shards are written as they fill.

:class:`LocalWriter` encodes inner chunks on threads and appends each to its shard's file, so that no shard is ever
whole in memory; the format is zarr's ("sharding_indexed": all chunks, then their index). :class:`ZarrWriter` goes
through zarr, to any store and with any codec.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numcodecs.blosc import Blosc
from numcodecs.zstd import Zstd
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.codecs.numcodecs import Delta

from ..._format.attributes import COMPLETE_ATTRIBUTE
from ..._format.codecs import quiet_codecs
from ..._format.shard_index import format_index
from ..._kernels.encode import encode, joined
from ..._runtime.threads import usable_cores
from ..._runtime.zarrs import through_zarrs
from .._resources.direct_io import NewFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    import zarr

    from ..._format.checksums import Checksums
    from .._resources.pages import RowMemory

_TASK_BYTES = 1 << 20  # of values that a thread encodes at a time, in about 3 ms
_TASKS = 2 * usable_cores()  # at most, encoded or waiting for a thread


class ArrayWriter(Protocol):
    """An array that grows along its first axis."""

    def append(self, values: np.ndarray) -> None:
        """Add values at the end; their memory may be used again only after ``close``."""

    def finish(self) -> None:
        """Write the remaining values; they may be on their way to the disk still."""

    def close(self) -> zarr.Array[Any]:
        """Write the metadata, once the values are on the disk; return the array. Call :meth:`finish` before."""


def grid(n: int, chunk: int, per_shard: int) -> tuple[int, int]:
    """Return the lengths of inner chunk and shard for an array of ``n``: at least 1, and no longer than needed."""
    chunk = max(1, min(chunk, n))
    return chunk, chunk * max(1, min(per_shard, -(-n // chunk)))


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """An array to be written, of a length that is not known yet.

    Attributes
    ----------
    name, dtype
        Path in the dataset's group, and stored dtype.
    tail
        Shape of one item.
    chunk, per_shard
        Items per inner chunk, inner chunks per shard; fewer in a short array.
    codecs
        zarr codecs that compress chunks.
    differences
        Whether the differences of a chunk's unsigned integers are stored, and not these themselves.
    """

    name: str
    dtype: np.dtype
    tail: tuple[int, ...]
    chunk: int
    per_shard: int
    codecs: tuple[Any, ...]
    differences: bool = False

    def create(self, group: zarr.Group, n: int, attributes: dict[str, Any] | None = None) -> zarr.Array[Any]:
        """Create the array with ``n`` items in a zarr group."""
        chunk, shard = grid(n, self.chunk, self.per_shard)
        tail = tuple(max(1, length) for length in self.tail)
        with quiet_codecs():
            return group.create_array(
                self.name,
                shape=(n, *self.tail),
                dtype=self.dtype,
                chunks=(chunk, *tail),
                shards=(shard, *tail),
                filters=[Delta(dtype=self.dtype.str)] if self.differences else None,
                compressors=self.codecs or None,
                attributes=attributes,
            )


class ZarrWriter:
    """Writes an array through zarr with zarrs, a shard at a time."""

    def __init__(self, group: zarr.Group, form: ArrayForm) -> None:
        self._group, self._form, self._shard = group, form, form.chunk * form.per_shard
        self._array: zarr.Array[Any] | None = None
        self._held: list[np.ndarray] = []
        self._n_held = self._n_written = 0

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
            array = self._form.create(self._group, stop)
            self._array = through_zarrs(array) or array
        elif stop > self._array.shape[0]:
            self._array.resize((stop, *self._form.tail))
            self._array = through_zarrs(self._array) or self._array
        if values.size:
            self._array[self._n_written : stop] = values
        self._n_written = stop

    def finish(self) -> None:
        """Write the remaining values."""
        if self._n_held or self._array is None:
            empty = np.empty((0, *self._form.tail), self._form.dtype)
            self._flush(np.concatenate(self._held) if self._held else empty)

    def close(self) -> zarr.Array[Any]:
        """Return the array."""
        assert self._array is not None
        return self._array


Encode: TypeAlias = "Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]"
"""Encodes inner chunks, ``(n_chunks, *shape of a chunk)``: bytes, one chunk behind the other, and the size of each."""


def encoder(codecs: tuple[Any, ...], *, high: bool, memory: RowMemory, differences: bool = False) -> Encode | None:
    """Return a function that encodes inner chunks as ``codecs`` do, without the GIL; None for unknown codecs.

    zarr's own codecs wrap the same functions. Blosc with LZ4 and small blocks is encoded by a kernel of this package.

    Parameters
    ----------
    codecs
        zarr codecs that compress chunks.
    high
        Whether to use the compressor LZ4HC, whose output every LZ4 decoder reads.
    memory
        Lends memory for encoded chunks.
    differences
        Whether to encode the differences of a chunk's values.
    """
    checksums = bool(codecs) and isinstance(codecs[-1], Crc32cCodec)
    compress = _compressor(codecs[:-1] if checksums else codecs, high, checksums, memory)
    if compress is None or not differences:
        return compress
    return lambda chunks: compress(_differences(chunks, memory))


def _compressor(codecs: tuple[Any, ...], high: bool, checksums: bool, memory: RowMemory) -> Encode | None:
    """Return a function that compresses inner chunks, each followed by its checksum if asked to."""
    codec, shuffles = codecs[0] if len(codecs) == 1 else None, {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
    compress: Callable[[np.ndarray], Any]
    if not codecs:
        compress = _as_bytes
    elif isinstance(codec, BloscCodec):
        # Enums in older zarr, strings in newer. Blosc takes the size of items from the array.
        cname, shuffle = getattr(codec.cname, "value", codec.cname), getattr(codec.shuffle, "value", codec.shuffle)
        if cname == "lz4" and shuffle == "shuffle" and 0 < codec.blocksize < 1 << 16:
            return partial(encode, block_size=codec.blocksize, high=high, checksums=checksums, empty=memory.lend)
        if shuffle not in shuffles:
            return None
        compress = Blosc(cname, codec.clevel, shuffles[shuffle], codec.blocksize).encode
    elif isinstance(codec, ZstdCodec) and not codec.checksum:
        compress = Zstd(codec.level).encode
    else:
        return None
    return lambda chunks: joined([compress(chunk.reshape(-1)) for chunk in chunks], checksums=checksums)


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return values.view(np.uint8)


def _differences(chunks: np.ndarray, memory: RowMemory) -> np.ndarray:
    """Return the differences of each chunk's unsigned integers, which wrap around, behind the first of them."""
    differences = memory.empty(chunks.size, chunks.dtype).reshape(chunks.shape)
    differences[:, :1] = chunks[:, :1]
    np.subtract(chunks[:, 1:], chunks[:, :-1], out=differences[:, 1:])
    return differences


class LocalWriter:
    """Writes an array to local files, which are on the disk after ``close``; its metadata comes last, from zarr.

    Parameters
    ----------
    group, folder
        Group of the dataset, and its folder.
    form
        The array.
    encode_chunks
        Compresses chunks as the form's codecs do.
    pool
        Threads that encode.
    checksums
        Gains size and checksums of each file, by absolute path.
    """

    def __init__(
        self,
        group: zarr.Group,
        folder: Path,
        form: ArrayForm,
        encode_chunks: Encode,
        pool: Executor,
        checksums: dict[str, tuple[int, Checksums]],
    ) -> None:
        self._group, self._folder, self._form, self._chunk = group, folder / form.name, form, form.chunk
        self._encode, self._pool, self._checksums = encode_chunks, pool, checksums
        chunk_bytes = form.chunk * int(np.prod(form.tail, dtype=np.int64)) * form.dtype.itemsize
        self._together = form.chunk * max(1, _TASK_BYTES // max(1, chunk_bytes))
        self._rest: list[np.ndarray] = []
        self._n_rest = self._n = 0
        self._encoded: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        self._file: NewFile | None = None
        self._index: list[tuple[int, int]] = []
        self._closing: list[tuple[str, int, Future[Checksums | None]]] = []
        self._n_files = 0

    def append(self, values: np.ndarray) -> None:
        """Add values at the end; their memory may be used again only after ``close``."""
        self._n += len(values)
        if 0 in self._form.tail:
            return
        start = 0
        if self._n_rest:
            start = min(len(values), self._chunk - self._n_rest)
            self._rest.append(values[:start])
            self._n_rest += start
            if self._n_rest < self._chunk:
                return
            self._submit(np.concatenate(self._rest)[None])
            self._rest, self._n_rest = [], 0
        whole = start + (len(values) - start) // self._chunk * self._chunk
        for first in range(start, whole, self._together):
            some = values[first : min(first + self._together, whole)]
            self._submit(some.reshape(-1, self._chunk, *self._form.tail))
        if whole < len(values):
            self._rest, self._n_rest = [values[whole:].copy()], len(values) - whole

    def _submit(self, chunks: np.ndarray) -> None:
        self._encoded.append(self._pool.submit(self._encode, chunks))
        while len(self._encoded) > _TASKS:
            self._write_next()

    def _write_next(self) -> None:
        encoded, sizes = self._encoded.popleft().result()
        while len(sizes):
            n = min(len(sizes), self._form.per_shard - len(self._index))
            n_bytes = int(sizes[:n].sum())
            self._write(encoded[:n_bytes], sizes[:n])
            encoded, sizes = encoded[n_bytes:], sizes[n:]

    def _write(self, encoded: np.ndarray, sizes: np.ndarray) -> None:
        """Append chunks, which the shard has room for."""
        if self._file is None:
            path = self._shard_path(self._n_files)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = NewFile(path, checksums=True)
        starts = self._file.size + np.cumsum(sizes) - sizes
        self._index += zip(starts.tolist(), sizes.tolist(), strict=True)
        self._file.append(encoded)
        if len(self._index) == self._form.per_shard:
            self._finish_shard(self._file, self._form.per_shard)

    def _shard_path(self, number: int) -> Path:
        return self._folder.joinpath("c", str(number), *("0" for _ in self._form.tail))

    def _finish_shard(self, file: NewFile, per_shard: int) -> None:
        """Begin to close a file; the disk may take a second to have it, in which the next one is written."""
        file.append(format_index(self._index, per_shard))
        self._closing.append((str(self._shard_path(self._n_files)), file.size, file.finish(flush=True)))
        self._n_files += 1
        self._file, self._index = None, []

    def finish(self) -> None:
        """Write the remaining values."""
        chunk, shard = grid(self._n, self._chunk, self._form.per_shard)
        if self._n_rest:
            last = np.zeros((chunk, *self._form.tail), self._form.dtype)  # zarr fills a chunk that is cut short
            last[: self._n_rest] = np.concatenate(self._rest)
            self._submit(last[None])
        while self._encoded:
            self._write_next()
        if self._file is not None:
            self._finish_shard(self._file, shard // chunk)

    def close(self) -> zarr.Array[Any]:
        """Wait until all values are on the disk, then write the metadata; return the array."""
        for path, size, closed in self._closing:
            checksums = closed.result()
            assert checksums is not None
            self._checksums[path] = size, checksums
        return self._form.create(self._group, self._n, {COMPLETE_ATTRIBUTE: True})
