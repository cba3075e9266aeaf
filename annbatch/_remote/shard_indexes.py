"""Indexes of shards: fetched once, and kept within a bound."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .._format.shard_index import ABSENT, ShardIndex, parse_index
from .._runtime.fork import fork_safe_lock
from ..errors import CorruptDataError
from .fetch import ByteRange
from .requests import ObjectRange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._format.layout import ChunkLayout
    from .requests import Request

_MAX_BYTES = 64 << 20
"""Bytes of indexes per store: 4 million chunks, or some 250 million cells at 64 per chunk."""


class ShardIndexes:
    """The shard indexes of one store. Thread-safe.

    Parameters
    ----------
    url
        URL of the store, for errors.
    submit
        Submits requests, ahead of all others.
    """

    def __init__(self, url: str, submit: Callable[[Sequence[ObjectRange]], list[Request]]) -> None:
        self._url = url
        self._submit = submit
        self._lock = fork_safe_lock()
        self._known: OrderedDict[str, ShardIndex] = OrderedDict()
        self._bytes = 0

    def get(self, layout: ChunkLayout, shards: Sequence[int]) -> list[ShardIndex]:
        """Return the indexes of some shards of an array; unknown ones are fetched together.

        Raises
        ------
        annbatch.errors.CorruptDataError
            If an index contradicts its checksum, or a shard of a complete array is missing.
        annbatch.errors.RemoteError
            If the store refuses, or the deadline has passed.
        """
        numbers = {str(layout.file(shard)): shard for shard in shards}
        with self._lock:
            found = {path: self._known[path] for path in numbers if path in self._known}
            for path in found:
                self._known.move_to_end(path)
        missing = [path for path in numbers if path not in found]
        requests = self._submit([self._range(layout, path) for path in missing])
        for path, request in zip(missing, requests, strict=True):
            found[path] = index = self._parse(layout, numbers[path], path, request)
            self._keep(path, index)
        return [found[path] for path in numbers]

    def forget(self, path: str) -> None:
        """Drop an index, as its shard was replaced."""
        with self._lock:
            index = self._known.pop(path, None)
            self._bytes -= 0 if index is None else _size(index)

    def _keep(self, path: str, index: ShardIndex) -> None:
        with self._lock:
            if path not in self._known:
                self._known[path] = index
                self._bytes += _size(index)
            while self._bytes > _MAX_BYTES and len(self._known) > 1:
                self._bytes -= _size(self._known.popitem(last=False)[1])

    def _range(self, layout: ChunkLayout, path: str) -> ObjectRange:
        n_bytes = layout.index_bytes
        index = ByteRange(0, n_bytes) if layout.index_first else ByteRange(suffix=n_bytes)
        what = partial("Reading the chunk index of {}/{}".format, self._url, path)
        return ObjectRange(path, index, None, n_bytes, what)

    def _parse(self, layout: ChunkLayout, number: int, path: str, request: Request) -> ShardIndex:
        response, shard = request.result(), f"{self._url}/{path}"
        if response is None:
            if layout.complete:
                raise CorruptDataError(f"{shard} is missing, with chunks of array {self._url}/{layout.folder}.")
            absent, empty = (np.broadcast_to(np.int64(value), layout.per_file) for value in (ABSENT, 0))
            return ShardIndex(absent, empty, None)
        offset, nbytes = parse_index(bytes(response.data), layout, number, response.size, shard)
        return ShardIndex(offset, nbytes, response.tag)


def _size(index: ShardIndex) -> int:
    return index.offset.nbytes + index.nbytes.nbytes
