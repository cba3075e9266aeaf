"""A web server whose answers contradict themselves, the request or the shard index: an error, and no foreign memory."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import zarr

from annbatch import Loader, RemoteStore
from annbatch._remote.fetch import RetryPolicy
from annbatch.errors import CorruptDataError, RemoteError

VALUES = np.arange(20_000, dtype="f4").reshape(400, 50)


class Answer:
    """Bytes of an object, and what the headers say about them."""

    def __init__(self, content, asked):
        start, stop = 0, len(content)
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            start = int(first) if first else max(0, stop - int(last))
            stop = min(stop, int(last) + 1) if first and last else stop
        self.status = 206 if asked else 200
        self.body, self.start, self.stop, self.size = content[start:stop], start, stop, len(content)


def half(answer):
    answer.body = answer.body[: len(answer.body) // 2]


def half_of_a_smaller_object(answer):
    half(answer)
    answer.stop = answer.size = answer.start + len(answer.body)


def half_as_stated(answer):
    half(answer)
    answer.stop = answer.start + len(answer.body)


def twice(answer):
    answer.body *= 2


def twice_as_stated(answer):
    twice(answer)
    answer.stop = answer.start + len(answer.body)


def elsewhere(answer):
    answer.start, answer.stop = answer.start + 40, answer.stop + 40


def nothing(answer):
    answer.body = b""


def ranges_ignored(answer):
    answer.status = 200


def an_empty_object(answer):
    answer.size = 0


def no_size(answer):
    answer.size = "*"


def a_size_beyond_64_bits(answer):
    answer.size = 10**30


LIES = [
    half,
    half_of_a_smaller_object,
    half_as_stated,
    twice,
    twice_as_stated,
    elsewhere,
    nothing,
    ranges_ignored,
    an_empty_object,
    no_size,
    a_size_beyond_64_bits,
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *arguments):  # noqa: A002  # the name in the base class
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.server.folder / self.path.lstrip("/")
        asked = self.headers.get("Range", "")
        answer = Answer(path.read_bytes() if path.is_file() else b"", asked)
        if not path.is_file():
            answer.status = 404
        elif self.command == "GET" and self.server.concerns(self.path, asked):
            self.server.lie(answer)
        self.send_response(answer.status)
        if answer.status == 206:
            self.send_header("Content-Range", f"bytes {answer.start}-{answer.stop - 1}/{answer.size}")
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.folder = tmp_path_factory.mktemp("served")
    group = zarr.open_group(one.folder, mode="w")
    form = {"shape": VALUES.shape, "dtype": "f4", "chunks": (50, 50)}
    blosc, zstd = zarr.codecs.BloscCodec(cname="lz4", clevel=5), zarr.codecs.ZstdCodec()
    for name, compressor in (("plain", None), ("blosc", blosc), ("zstd", zstd)):
        group.create_array(f"{name}/sharded", **form, shards=(200, 50), compressors=compressor)[:] = VALUES
        group.create_array(f"{name}/single", **form, compressors=compressor)[:] = VALUES
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


@pytest.fixture
def read(server, tmp_path):
    """Open an array, then read all of it while the server lies about a part of the answers."""

    def read(name, concerns, lie, *, cached=False):
        server.concerns = lambda path, asked: False
        url = f"http://127.0.0.1:{server.server_port}"
        store = RemoteStore(url, cache_dir=tmp_path if cached else None)
        array = zarr.open_group(store, mode="r")[name]
        server.concerns, server.lie = concerns, lie
        array.store._policy = RetryPolicy(20, 0.2 if lie else 60)
        with Loader(batch_size=50, chunk_size=10, preload_nchunks=10).add_dataset(array) as loader:
            return np.concatenate([batch["X"] for batch in loader])

    return read


@pytest.mark.parametrize(("codec", "cached"), [("plain", False), ("plain", True), ("blosc", False), ("zstd", False)])
@pytest.mark.parametrize("lie", LIES)
def test_a_range_that_was_not_requested_is_an_error(read, codec, lie, cached):
    def is_chunk(path, asked):
        return "/c/" in path and bool(asked) and not asked.startswith("bytes=-")

    with pytest.raises(RemoteError, match=rf"^Reading .*/{codec}/sharded/c/0/0.* failed"):
        read(f"{codec}/sharded", is_chunk, lie, cached=cached)
    np.testing.assert_array_equal(read(f"{codec}/sharded", lambda *_: False, None, cached=cached), VALUES)


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie is not ranges_ignored])  # then it is read by its offset
def test_a_shard_index_that_was_not_requested_is_an_error(read, lie):
    with pytest.raises(RemoteError, match=r"^Reading the chunk index of .*/plain/sharded/c/0/0 failed"):
        read("plain/sharded", lambda path, asked: asked.startswith("bytes=-"), lie)


@pytest.mark.parametrize("codec", ["plain", "blosc"])
@pytest.mark.parametrize("lie", [half, twice, nothing])
def test_a_chunk_file_of_another_size_is_damage(read, codec, lie):
    with pytest.raises(CorruptDataError, match=rf"/{codec}/single/c/[01]/0 .*damaged"):
        read(f"{codec}/single", lambda path, asked: "/c/" in path, lie)
