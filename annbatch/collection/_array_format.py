"""How arrays of a collection are chunked, sharded and compressed, and strings written."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.registry import get_codec_class

from .._arguments import check_choice, in_words, whole
from .._runtime.fork import fork_safe_lock
from .._sizes import plain_size, rows_for
from .._warn import ignore_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import zarr

Layout: TypeAlias = Literal["compact", "portable", "random_access"]

# Rows decode without their neighbours: 39k random rows/s instead of 17k with automatic block size, for 7 % more bytes.
# Beside differences, which decode faster, larger blocks read single rows as fast, and save another percent.
_BLOCK_SIZES = {"compact": 16384, "portable": 8192}
_INDEX_BYTES = 20  # per chunk: its place in the shard's index, and its checksum


def codecs_for(dtype: np.dtype, layout: str, compressors: tuple[BytesBytesCodec, ...] | None) -> tuple[Any, ...]:
    """Return the codecs that compress an array's inner chunks; a checksum of each chunk comes last.

    Parameters
    ----------
    dtype
        Stored dtype: Blosc shuffles the bytes of items of its size.
    layout
        ``"compact"``, ``"portable"``: Blosc with small blocks. ``"random_access"``: none.
    compressors
        zarr codecs instead of the layout's; None for the layout's.
    """
    if compressors is not None:
        codecs = compressors
    elif layout == "random_access":
        codecs = ()
    else:
        size = dtype.itemsize
        codecs = (BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", blocksize=_BLOCK_SIZES[layout], typesize=size),)
    return (*(codec for codec in codecs if not isinstance(codec, Crc32cCodec)), Crc32cCodec())


def _codecs(given: Any) -> tuple[BytesBytesCodec, ...]:
    """Return the codecs that were given, alone or several, or as their configurations."""
    several = isinstance(given, Iterable) and not isinstance(given, dict | str | bytes)
    codecs = []
    for one in given if several else [given]:
        codec = one
        if isinstance(one, dict):
            with suppress(KeyError, TypeError, ValueError):  # zarr, of those it does not know
                codec = get_codec_class(one["name"]).from_dict(one)
        if not isinstance(codec, BytesBytesCodec):
            raise TypeError(
                "`zarr_compressor` and `compressors` must be codecs of zarr, such as `zarr.codecs.ZstdCodec()`, got "
                f"{in_words(one)}."
            )
        codecs.append(codec)
    return tuple(codecs)


@dataclass(frozen=True, slots=True)
class Format:
    """Chunks, shards and compression of arrays.

    Attributes
    ----------
    n_obs_per_chunk
        Rows per inner chunk.
    shard_size
        Rows per shard, or its uncompressed size (``"1GB"``).
    layout
        ``"compact"``, ``"portable"`` or ``"random_access"``.
    compressors
        zarr codecs, or their configurations, instead of the layout's.
    """

    n_obs_per_chunk: int
    shard_size: int | str
    layout: Layout
    compressors: Any | None = None

    def __post_init__(self) -> None:
        # Python's own types, as they are recorded in JSON.
        object.__setattr__(self, "n_obs_per_chunk", whole(self.n_obs_per_chunk, "n_obs_per_chunk", least=1))
        object.__setattr__(self, "shard_size", plain_size(self.shard_size, name="shard_size"))
        check_choice("layout", self.layout, get_args(Layout))
        if self.compressors is not None:
            object.__setattr__(self, "compressors", _codecs(self.compressors))

    @property
    def differences(self) -> bool:
        """Whether ascending column numbers are stored as differences."""
        return self.layout == "compact" and self.compressors is None

    @property
    def recorded(self) -> list[Any]:
        """The entry in a collection's history: JSON, which :meth:`of_record` reads."""
        given = None if self.compressors is None else [one.to_dict() for one in self.compressors]
        return [self.n_obs_per_chunk, self.shard_size, self.layout, given]

    @classmethod
    def of_record(cls, recorded: list[Any]) -> Format:
        """Return the format that :attr:`recorded` describes."""
        n_obs_per_chunk, shard_size, layout, *rest = recorded  # older records have no compression
        return cls(n_obs_per_chunk, shard_size, layout, rest[0] if rest else None)

    def chunks_per_shard(self, bytes_per_row: float) -> int:
        """Return the number of inner chunks per shard for rows of ``bytes_per_row``; a size is that of files."""
        if isinstance(self.shard_size, str):
            bytes_per_row += _INDEX_BYTES / self.n_obs_per_chunk
        return max(1, rows_for(self.shard_size, bytes_per_row, name="shard_size") // self.n_obs_per_chunk)


_lock = fork_safe_lock()
_writers = 0
_restored: Any = None


@contextmanager
def quiet_writing() -> Iterator[None]:
    """Let anndata write strings that may be missing, and zarr strings without a warning about other readers.

    The setting is that of all threads: the first to write changes it, and the last restores it.
    """
    global _writers, _restored
    import anndata as ad

    with _lock:
        if not _writers:
            _restored = ad.settings.allow_write_nullable_strings
            ad.settings.allow_write_nullable_strings = True
        _writers += 1
    try:
        with ignore_warnings(""):
            yield
    finally:
        with _lock:
            _writers -= 1
            if not _writers:
                ad.settings.allow_write_nullable_strings = _restored


def write_annotations(group: zarr.Group, path: str, element: Any, **dataset_kwargs: Any) -> None:
    """Write an element to a zarr group as anndata does, with a checksum behind each chunk."""
    from anndata.io import write_elem

    parent, _, name = path.rpartition("/")
    form = {"compressors": (ZstdCodec(), Crc32cCodec())} | dataset_kwargs  # zarr's default, and the checksum
    with quiet_writing():
        write_elem(group[parent] if parent else group, name, element, dataset_kwargs=form)
