"""Arrays that zarr or HDF5 decode, within memory that is in proportion to what is stored of them.

Kernels know how large a chunk is before they decode it. Libraries do not: they take the memory that metadata, or the
header of a chunk, ask for, and inflate to any size.
"""

from __future__ import annotations

import asyncio
import bz2
import lzma
import math
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import h5py
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec, VLenBytesCodec, VLenUTF8Codec
from zarr.codecs._v2 import V2Codec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.core.sync import sync

from .._format.attributes import encoding_of, where
from .._format.codecs import quiet_codecs
from .._format.metadata_files import BELIEVED_BYTES, MOST_SHRUNK
from ..errors import CorruptDataError
from .hdf5_files import refuse_external

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

    Decompressor = Callable[[], Any]

_BLOCK = 4096  # least bytes that a file takes on a disk
_PER_CHUNK = 1024  # bytes of memory that a library needs for each chunk, about
_LEAST_SUSPECT = BELIEVED_BYTES // 1032  # bytes of the smallest chunk that gzip inflates to more


def check_backed(array: Any, n_rows: int | None = None) -> None:
    """Raise before memory is taken for rows that are hardly there: chunks that were never written hold the fill value.

    Parameters
    ----------
    array
        A zarr array or HDF5 dataset.
    n_rows
        Rows to read at a time; None for all.

    Raises
    ------
    CorruptDataError
        If far fewer bytes are stored than metadata ask for.
    """
    shape, chunks = array.shape, array.chunks or array.shape
    if n_rows is not None:
        shape = (min(n_rows, shape[0]), *shape[1:])
    n_chunks = math.prod(-(-size // max(1, chunk)) for size, chunk in zip(shape, chunks, strict=True))
    fill_value = getattr(array, "fill_value", None)  # which strings repeat where no chunk is
    size = max(array.dtype.itemsize, len(fill_value) if isinstance(fill_value, str | bytes) else 0)
    check_bytes(array, math.prod(shape) * size + (n_chunks - 1) * _PER_CHUNK)


def check_bytes(array: Any, n_bytes: int) -> None:
    """Raise, as :func:`check_backed` does, before ``n_bytes`` of memory are taken for an array."""
    least = -(-n_bytes // MOST_SHRUNK)
    if n_bytes > BELIEVED_BYTES and (stored := _stored_bytes(array, least)) < least:
        raise CorruptDataError(
            f"{where(array)} of shape {array.shape} must have at least {least:,} bytes stored for {n_bytes:,} bytes of "
            f"memory, got {stored:,}: read fewer rows at a time, unless it is damaged."
        )


def _stored_bytes(array: Any, enough: int) -> int:
    """Return about how many bytes are stored of an array; ``enough`` if that many are, or nobody knows."""
    if isinstance(array, h5py.Dataset):
        return enough if array.is_virtual or array.external else array.id.get_storage_size()
    store, path = array.store_path.store, array.store_path.path
    prefix = f"{path}/" if path else ""

    async def count() -> int:
        stored = 0
        async for key in store.list_prefix(prefix):
            if stored >= enough:
                break
            if not key.endswith(("zarr.json", ".zarray", ".zattrs")):
                stored += max(_BLOCK, await store.getsize(key))
        return stored

    return sync(count()) if store.supports_listing else enough


def bounded(array: Any) -> Any:
    """Return an array whose chunks may not inflate beyond what its metadata say; other objects are returned as is.

    Parameters
    ----------
    array
        A zarr array, for which another handle is returned, or an HDF5 dataset, which is checked here.

    Raises
    ------
    CorruptDataError
        If a chunk of an HDF5 dataset inflates to more; for zarr, when it is read.
    """
    if isinstance(array, h5py.Dataset):
        refuse_external(array)
        _check_inflating(array)
        return array
    given: Any = getattr(array, "async_array", None)
    if given is None:
        return array
    metadata = given.metadata
    with quiet_codecs():
        own = type(given)(metadata, given.store_path, given.config)
    codecs = [V2Codec(metadata.filters, metadata.compressor)] if metadata.zarr_format == 2 else metadata.codecs
    pipeline = _NamingPipeline.from_codecs([*map(_bounded_codec, codecs)])
    for owner, name, value in ((pipeline, "array", array), (own, "codec_pipeline", pipeline)):
        object.__setattr__(owner, name, value)  # the dataclasses are frozen
    return zarr.Array(own)


def bounded_whole(element: Any) -> Any:
    """Return an element that is about to be read whole, bounded; arrays of groups, when they are taken from it."""
    if isinstance(element, zarr.Group):
        return _BoundedGroup(element._async_group)
    if isinstance(element, h5py.Group):
        for name in ("data", "indices", "indptr") if encoding_of(element) in ("csr_matrix", "csc_matrix") else ():
            bounded_whole(element[name])
        return element
    if element.shape is None:  # HDF5's null, which anndata writes for None
        return element
    check_backed(element)
    return bounded(element)


class _BoundedGroup(zarr.Group):
    def __getitem__(self, path: str) -> Any:
        found = super().__getitem__(path)
        return bounded_whole(found) if isinstance(found, zarr.Array) else found


def _check_inflating(dataset: h5py.Dataset) -> None:
    """Raise if a gzip chunk inflates beyond its size: HDF5 would inflate all of it first."""
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if h5py.h5z.FILTER_DEFLATE not in filters:
        return
    most = math.prod(dataset.chunks) * dataset.dtype.itemsize
    suspects: list[tuple[int, ...]] = []

    def note(info: Any) -> None:
        if info.size > min(_LEAST_SUSPECT, 2 * most + _BLOCK):
            suspects.append(info.chunk_offset)

    dataset.id.chunk_iter(note)
    for offset in suspects:
        skipped, data = dataset.id.read_direct_chunk(offset)
        if not skipped:
            with naming(f"at {offset}", dataset):
                _inflate(zlib.decompressobj, data, most + _BLOCK)


@contextmanager
def naming(chunk: str, array: Any) -> Iterator[None]:
    """Name a chunk in errors of what decodes it, which knows bytes alone."""
    place = f"Chunk {chunk} of {where(array)}"
    try:
        yield
    except CorruptDataError as error:
        raise CorruptDataError(f"{place} {error}") from error.__cause__
    except Exception as error:
        error.add_note(f"{place} cannot be decoded.")
        raise


class _NamingPipeline(BatchedCodecPipeline):
    """Names the chunk that cannot be decoded."""

    array: zarr.Array[Any]

    async def read(self, batch_info: Iterable[Any], out: NDBuffer, drop_axes: tuple[int, ...] = ()) -> Any:
        chunks = list(batch_info)
        if len(chunks) == 1:
            prefix = f"{self.array.path}/" if self.array.path else ""
            with naming(chunks[0][0].path.removeprefix(prefix), self.array):
                return await super().read(chunks, out, drop_axes)
        try:
            return await super().read(chunks, out, drop_axes)
        except Exception as error:
            if isinstance(error, CorruptDataError) or not isinstance(error, OSError):
                for chunk in chunks:
                    await self.read([chunk], out, drop_axes)
            raise


def _bounded_codec(codec: Any) -> Any:
    if isinstance(codec, ShardingCodec):
        return replace(codec, codecs=tuple(map(_bounded_codec, codec.codecs)))
    if type(codec) is V2Codec:
        return _BoundedV2(codec.filters, codec.compressor)
    if type(codec) is VLenUTF8Codec:
        return _BoundedStrings()
    if type(codec) is VLenBytesCodec:
        return _BoundedByteStrings()
    if isinstance(codec, BytesBytesCodec) and _name(codec) in (*_STATED, *_DECOMPRESSORS):
        return _BoundedCodec(codec)
    return codec


def _name(codec: BytesBytesCodec) -> str:
    return "" if isinstance(codec, _BoundedCodec) else str(codec.to_dict()["name"]).removeprefix("numcodecs.")


@dataclass(frozen=True)
class _BoundedCodec(BytesBytesCodec):
    """A codec of zarr v3 that decodes no more bytes than a chunk has."""

    codec: BytesBytesCodec
    is_fixed_size = False

    def to_dict(self) -> dict[str, Any]:
        return self.codec.to_dict()

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> _BoundedCodec:
        return replace(self, codec=self.codec.evolve_from_array_spec(array_spec))

    def resolve_metadata(self, chunk_spec: ArraySpec) -> ArraySpec:
        return self.codec.resolve_metadata(chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        return self.codec.compute_encoded_size(input_byte_length, chunk_spec)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        settings: Any = self.codec.to_dict().get("configuration")
        data = chunk_data.to_bytes()
        most = _most_bytes(chunk_spec, len(data))
        decoded = await asyncio.to_thread(_decoded, _name(self.codec), settings or {}, data, most)
        if decoded is None:
            return await self.codec._decode_single(chunk_data, chunk_spec)
        return chunk_spec.prototype.buffer.from_bytes(decoded)


class _BoundedStrings(VLenUTF8Codec):
    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        _check_count(chunk_data.to_bytes()[:4], chunk_spec)
        return await super()._decode_single(chunk_data, chunk_spec)


class _BoundedByteStrings(VLenBytesCodec):
    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        _check_count(chunk_data.to_bytes()[:4], chunk_spec)
        return await super()._decode_single(chunk_data, chunk_spec)


class _BoundedV2(V2Codec):
    """The codecs of a chunk of zarr v2, none of which decodes more bytes than the chunk has, but for narrow filters."""

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        def one(codec: Any) -> Any:
            return _BoundedNumcodec(codec, chunk_spec, 8 if self.filters else 1)

        codec = V2Codec(tuple(map(one, self.filters or ())), self.compressor and one(self.compressor))
        return await codec._decode_single(chunk_bytes, chunk_spec)


class _BoundedNumcodec:
    def __init__(self, codec: Any, spec: ArraySpec, wider: int) -> None:
        self.codec_id = codec.codec_id
        self._codec, self._spec, self._wider = codec, spec, wider

    def decode(self, data: Any) -> Any:
        if self.codec_id.startswith("vlen-"):
            _check_count(bytes(memoryview(data)[:4]), self._spec)
        elif self.codec_id in (*_DECOMPRESSORS, *_STATED):
            data = bytes(data)
            most = _most_bytes(self._spec, len(data), self._wider)
            decoded = _decoded(self.codec_id, self._codec.get_config(), data, most)
            return self._codec.decode(data) if decoded is None else decoded
        return self._codec.decode(data)


def _most_bytes(spec: ArraySpec, n_encoded: int, wider: int = 1) -> int:
    """Return how many bytes ``n_encoded`` ones of a chunk may become."""
    believed, dtype = max(BELIEVED_BYTES, MOST_SHRUNK * n_encoded), spec.dtype.to_native_dtype()
    if dtype.hasobject or dtype.kind == "T":
        return max(BELIEVED_BYTES, 64 * n_encoded)
    chunk = math.prod(spec.shape) * dtype.itemsize
    if chunk > believed:
        raise CorruptDataError(f"must have {chunk:,} bytes, got {n_encoded:,} encoded: damaged.")
    return (chunk + chunk // 64) * wider + _BLOCK  # an encoded chunk, encoded again, may be a little larger


def _check_count(head: bytes, spec: ArraySpec) -> None:
    count = int.from_bytes(head, "little")
    if count != math.prod(spec.shape):
        raise CorruptDataError(f"must have {math.prod(spec.shape)} strings, got {count}: damaged.")


def _decoded(name: str, settings: dict[str, Any], data: bytes, most: int) -> bytes | None:
    """Return a decoded chunk of at most ``most`` bytes; None if the codec itself will not exceed them."""
    if name in _STATED:
        stated = _STATED[name](data)
        if stated > most:
            raise CorruptDataError(f"must have at most {most:,} bytes, got {stated:,}: damaged.")
    return _inflate(_DECOMPRESSORS[name](settings), data, most) if name in _DECOMPRESSORS else None


def _inflate(make: Callable[[], Any], data: bytes, most: int) -> bytes:
    """Decompress all streams of a chunk, one after the other."""
    parts, left = [], most
    while data:
        stream = make()
        try:
            parts.append(stream.decompress(data, left + 1))
        except (zlib.error, lzma.LZMAError, OSError) as error:  # an OSError of bz2
            raise CorruptDataError(f"does not inflate: {error}.") from error
        left -= len(parts[-1])
        if left < 0 or not stream.eof:
            what = f"inflates to more than {most:,} bytes" if left < 0 else "ends before its time"
            raise CorruptDataError(f"{what}: damaged.")
        data = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _zstd_bytes(data: bytes) -> int:
    """Return how many bytes the frames of zstd state; of one that does not, the most that its blocks can hold."""
    total, at = 0, 0
    while at + 6 <= len(data):
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & ~15 == 0x184D2A50:  # a frame to skip
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
            continue
        if magic != 0xFD2FB528:
            break
        flags = data[at + 4]
        single, n_size = flags >> 5 & 1, (flags >> 5 & 1, 2, 4, 8)[flags >> 6]
        at += 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        stated = int.from_bytes(data[at : at + n_size], "little") + 256 * (n_size == 2) if n_size else None
        at, held, last = at + n_size, 0, False
        while not last and at + 3 <= len(data):
            block = int.from_bytes(data[at : at + 3], "little")
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            held += size if kind < 2 else 128 << 10
            at += 3 + (1 if kind == 1 else size)
        at += 4 * (flags >> 2 & 1)
        total += held if stated is None else stated
    return total


_STATED: dict[str, Callable[[bytes], int]] = {
    "blosc": lambda data: int.from_bytes(data[4:8], "little"),
    "lz4": lambda data: int.from_bytes(data[:4], "little"),
    "zstd": _zstd_bytes,
}
"""Codecs whose chunks state how large they become; libraries take memory for that and do not exceed it."""

_DECOMPRESSORS: dict[str, Callable[[dict[str, Any]], Decompressor]] = {
    "gzip": lambda settings: lambda: zlib.decompressobj(31),
    "zlib": lambda settings: zlib.decompressobj,
    "bz2": lambda settings: bz2.BZ2Decompressor,
    "lzma": lambda settings: lambda: lzma.LZMADecompressor(settings.get("format", 1), filters=settings.get("filters")),
}
"""Codecs whose chunks do not."""
