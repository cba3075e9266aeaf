"""A collection on the Hugging Face Hub, whose redirects and whose S3 interface local servers imitate."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from annbatch import DatasetCollection
from annbatch._remote.hugging_face import hub_store
from annbatch.cli import main
from annbatch.errors import RemoteError

TOKEN = "hf_a-secret-token"


class Hub(BaseHTTPRequestHandler):
    """The Hub, at /datasets/..., and the server that has the content, at /content/...; another host for clients."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    folder: Path
    seen: list[tuple[str, str | None]]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        authorization = self.headers.get("authorization")
        self.seen.append((self.path, authorization))
        if self.path.startswith("/datasets/lab/atlas/resolve/v2/"):
            if authorization != f"Bearer {TOKEN}":
                return self.respond(401)
            path = self.path.removeprefix("/datasets/lab/atlas/resolve/v2/")
            # "localhost" and "127.0.0.1" are two hosts.
            return self.respond(302, location=f"http://localhost:{self.server.server_port}/content/{path}?signed=yes")
        file = self.folder / self.path.removeprefix("/content/cells.zarr/").partition("?")[0]
        if not file.is_file():
            return self.respond(404)
        content = file.read_bytes()
        headers = {"etag": f'"{len(content)}"'}
        if "range" not in self.headers:
            return self.respond(200, content, **headers)
        first, last = self.headers["range"].removeprefix("bytes=").split("-")
        begin = int(first) if first else len(content) - int(last)
        end = min(int(last) + 1, len(content)) if first and last else len(content)
        headers["content-range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        return self.respond(206, content[begin:end], **headers)

    def respond(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def serving(handler):
    """Serve until the end of the block; yield the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hub(stored, monkeypatch):
    class Here(Hub):
        folder = Path(stored("compact"))

    Here.seen = []
    with serving(Here) as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}/")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield Here


URL = "hf://datasets/lab/atlas@v2/cells.zarr"


def test_a_repository_is_read_and_verified(hub, stored, load, same_batches, capsys):
    with load(URL) as remote, load(stored("compact")) as local:
        same_batches(remote, local)
    assert main(["verify", URL]) == 0
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err + repr(DatasetCollection(URL, mode="r"))
    to_hub = {authorization for path, authorization in hub.seen if path.startswith("/datasets/")}
    to_content = {authorization for path, authorization in hub.seen if path.startswith("/content/")}
    assert to_hub == {f"Bearer {TOKEN}"}
    assert to_content == {None}  # the token stays with the Hub


def test_a_private_repository_needs_a_token(hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(RemoteError, match=r"credentials were not accepted \(401\)"):
        DatasetCollection(URL, mode="r")
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert DatasetCollection(URL, mode="r").n_obs == 2000


class Gateway(BaseHTTPRequestHandler):
    """Buckets of the owner "lab": the S3-protocol server, below a folder of that name."""

    wbufsize = -1  # head and body in one packet
    s3: tuple[str, int]

    def do_GET(self):
        assert self.path.startswith("/lab/bucket"), self.path
        upstream = HTTPConnection(*self.s3)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        upstream.request("GET", self.path.removeprefix("/lab"), headers=headers)
        response = upstream.getresponse()
        self.send_response(response.status)
        for name, value in response.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.read())
        upstream.close()

    def log_message(self, *_):
        pass


def test_a_bucket_is_read_over_its_s3_interface(environment, s3, stored, load, same_batches):
    Gateway.s3 = s3
    with serving(Gateway) as port:
        environment(port)
        with load("hf://buckets/lab/bucket/compact") as remote, load(stored("compact")) as local:
            same_batches(remote, local)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("hf://lab/model/cells.zarr", "https://huggingface.co/lab/model/resolve/main/cells.zarr"),
        ("hf://datasets/lab/atlas", "https://huggingface.co/datasets/lab/atlas/resolve/main"),
        (
            "hf://datasets/lab/atlas@refs%2Fconvert%2Fzarr/a/b.zarr",
            "https://huggingface.co/datasets/lab/atlas/resolve/refs%2Fconvert%2Fzarr/a/b.zarr",
        ),
        ("hf://spaces/lab/app/cells.zarr", "https://huggingface.co/spaces/lab/app/resolve/main/cells.zarr"),
        ("hf://buckets/lab/store/cells.zarr", "s3://store/cells.zarr"),
    ],
)
def test_what_urls_name(monkeypatch, url, address):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = hub_store(url)
    assert found is not None
    assert found[0] == address


@pytest.mark.parametrize(
    "url", ["hf://atlas", "hf://datasets/atlas", "hf://buckets/lab", "hf://datasets/lab/atlas?x=y"]
)
def test_urls_that_name_nothing(url):
    with pytest.raises(ValueError, match=r"`url` must be hf://datasets/OWNER/NAME"):
        DatasetCollection(url, mode="r")
