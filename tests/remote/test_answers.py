"""A web server whose answers contradict themselves, the request or the shard index: an error, and no foreign memory."""

from __future__ import annotations

import contextlib
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google_crc32c
import numpy as np
import pytest
import zarr

from annbatch import DatasetCollection, Loader, RemoteStore
from annbatch._remote.fetch import RetryPolicy
from annbatch.errors import CorruptDataError, RemoteError, StoreError

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
        self.more = 0
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
    wbufsize = -1  # head and body in one packet: else the body waits 40 ms until the client has acknowledged the head

    def log_message(self, format, *arguments):  # noqa: A002  # the name in the base class
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.server.folder / self.path.lstrip("/")
        asked = self.headers.get("Range", "")
        answer = Answer(path.read_bytes() if path.is_file() else self.server.every, asked)
        if self.server.instead is not None and self.command == "GET" and self.server.concerns(self.path, asked):
            self.server.instead(self)
            return
        if not path.is_file() and not self.server.every:
            answer.status = 404
        elif self.command == "GET" and self.server.concerns(self.path, asked):
            self.server.lie(answer)
        self.send_response(answer.status)
        if answer.status == 206:
            self.send_header("Content-Range", f"bytes {answer.start}-{answer.stop - 1}/{answer.size}")
        self.send_header("Content-Length", str(len(answer.body) + answer.more))
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)
            self.server.flood(self, answer)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.flood = lambda handler, answer: None
    one.every, one.instead = b"", None
    one.folder = tmp_path_factory.mktemp("served")
    group = zarr.open_group(one.folder, mode="w")
    form = {"shape": VALUES.shape, "dtype": "f4", "chunks": (50, 50)}
    blosc, zstd = zarr.codecs.BloscCodec(cname="lz4", clevel=5), zarr.codecs.ZstdCodec()
    for name, compressor in (("plain", None), ("blosc", blosc), ("zstd", zstd)):
        group.create_array(f"{name}/sharded", **form, shards=(200, 50), compressors=compressor)[:] = VALUES
        group.create_array(f"{name}/single", **form, compressors=compressor)[:] = VALUES
    with warnings.catch_warnings(action="ignore"):  # of strings, in zarr before 3.2
        group.create_array("text", shape=(20,), dtype="string", chunks=(10,))[:] = np.array(["text"] * 20, object)
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
        array.store._policy = RetryPolicy(20, 1 if lie else 60)
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


GIGABYTES = 8 << 30
SENT = 1 << 28
"""More bytes than sockets hold: so many are sent only if somebody takes them."""


@pytest.fixture
def flooding(server, monkeypatch):
    """Let the server add gigabytes to its answers; return how many bytes the client took of each."""
    taken = []

    def flood(handler, answer):
        sent = 0
        with contextlib.suppress(OSError):
            while sent < min(answer.more, SENT):
                handler.wfile.write(bytes(1 << 20))
                sent += 1 << 20
        taken.append(sent)

    monkeypatch.setattr(server, "flood", flood)
    return taken


def larger(answer):
    answer.more = GIGABYTES
    answer.stop = answer.size = answer.start + len(answer.body) + GIGABYTES


@pytest.mark.parametrize(
    ("name", "concerned", "message"),
    [
        ("plain/sharded", "bytes=", "sent other bytes than were requested"),
        ("blosc/single", "", "the object must have at most 85,536 bytes, got 8,5"),
    ],
)
def test_more_bytes_than_were_requested_are_not_received(read, flooding, name, concerned, message):
    def is_chunk(path, asked):
        return "/c/" in path and asked.startswith(concerned) and not asked.startswith("bytes=-")

    with pytest.raises((RemoteError, CorruptDataError), match=rf"^Reading .*/{name}/c/./0.* failed: .*{message}"):
        read(name, is_chunk, larger)
    assert max(flooding, default=0) < SENT  # none is noted while the server still waits


def test_metadata_of_any_size_are_not_received(server, flooding):
    server.concerns, server.lie = (lambda path, asked: path.endswith("zarr.json")), larger
    with pytest.raises(
        CorruptDataError, match=r"^Reading all bytes of .*/zarr.json failed: the object must have at most"
    ):
        zarr.open_group(RemoteStore(f"http://127.0.0.1:{server.server_port}"), mode="r")
    assert max(flooding, default=0) < SENT  # none is noted while the server still waits


@pytest.mark.parametrize("name", ["text/c/0", "text/c/1"])
def test_no_memory_is_taken_for_bytes_that_a_server_only_claims(server, name, monkeypatch):
    """obstore takes memory for all of them at once; where there is none, Rust ends the process."""

    def claimed(answer):
        answer.more = 1 << 50
        answer.stop = answer.size = answer.start + len(answer.body) + answer.more

    def begin(handler, answer):
        if answer.more:
            handler.wfile.write(bytes(1 << 20))
            handler.close_connection = True

    monkeypatch.setattr(server, "flood", begin)
    server.concerns, server.lie = (lambda path, asked: path.endswith(name)), claimed
    store = RemoteStore(f"http://127.0.0.1:{server.server_port}", deadline=0.5)
    array = zarr.open_group(store, mode="r")["text"]
    with pytest.raises(RemoteError, match=rf"^Reading all bytes of .*/{name} failed after .* last error: the "):
        array[:]


METADATA = [b"null", b"5", b"[]", b"[" * 100_000, b"<html>", b"\x1f\x8b\x08"]


@pytest.mark.parametrize("content", METADATA)
@pytest.mark.parametrize("use", [lambda url: DatasetCollection(url, mode="r"), lambda url: Loader().add_adata(url)])
def test_other_content_in_place_of_metadata_is_an_error_that_names_the_url(server, content, use):
    def replaced(answer):
        answer.body = content

    server.concerns, server.lie = (lambda path, asked: path.endswith("zarr.json")), replaced
    url = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(StoreError, match=f"^{url} (must be a zarr group|cannot be read)"):
        use(url)


def test_a_server_that_has_an_answer_to_every_request_is_an_error(server, monkeypatch):
    monkeypatch.setattr("annbatch.collection._state.location._MOST_FOUND", 20)
    server.concerns = lambda path, asked: False
    monkeypatch.setattr(server, "every", (server.folder / "zarr.json").read_bytes())
    with pytest.raises(StoreError, match="must have at most 20 datasets on a web server, unless annbatch wrote it"):
        DatasetCollection(f"http://127.0.0.1:{server.server_port}", mode="r")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (["Transfer-Encoding: chunked"], "the server does not state the length of the object"),
        (["Location: /plain/single/c/0/0", "Content-Length: 0"], "the server redirects to nowhere, or without end"),
        (["Content-Length: 0"], "the server redirects to nowhere, or without end"),
    ],
)
def test_what_no_retry_changes_is_not_retried(read, server, monkeypatch, headers, reason):
    asked = []

    def answer(handler):
        asked.append(handler.path)
        status = "200 OK" if "chunked" in headers[0] else "302 Found"
        handler.wfile.write("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + b"0\r\n\r\n")
        handler.close_connection = True

    monkeypatch.setattr(server, "instead", answer)
    with pytest.raises(RemoteError, match=rf"^Reading all bytes of .*/plain/single/c/0/0 .* failed: {reason}"):
        read("plain/single", lambda path, asked: path.endswith("single/c/0/0"), half)
    assert len(asked) <= 11  # as many redirects as obstore follows


def test_an_index_of_chunks_that_are_far_larger_than_values_is_damage(read, server):
    path = server.folder / "blosc" / "sharded" / "c" / "0" / "0"
    whole = path.read_bytes()
    index = np.frombuffer(whole[-4 - 16 * 4 : -4], dtype="<u8").reshape(4, 2).copy()
    index[1] = 0, 1 << 20
    raw = index.tobytes()
    try:
        path.write_bytes(bytes(2 << 20) + raw + google_crc32c.value(raw).to_bytes(4, "little"))
        with pytest.raises(
            CorruptDataError, match=r"/blosc/sharded/c/0/0 must hold chunks of at most .* got .* 1,048,576"
        ):
            read("blosc/sharded", lambda *_: False, None)
        with pytest.raises(
            CorruptDataError, match=r"/blosc/sharded/c/0/0 must hold chunks of at most .* got .* 1,048,576"
        ):
            next(iter(Loader(batch_size=50).add_dataset(zarr.open_group(server.folder, mode="r")["blosc/sharded"])))
    finally:
        path.write_bytes(whole)
