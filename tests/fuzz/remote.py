"""A web server on this machine whose answers are damaged."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from obstore.store import MemoryStore

from annbatch import DatasetCollection, RemoteStore

from .mutate import mutate_bytes
from .victims import UNCHECKED, Victim, damage_file, entries_in, read_collection, users_part

if TYPE_CHECKING:
    from pathlib import Path

_STATUSES = (200, 204, 206, 301, 304, 400, 403, 404, 416, 429, 500, 503)


class _Answers(BaseHTTPRequestHandler):
    """Serves a folder with byte ranges; the answer to one request in a few is damaged."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    folder: Path
    damage: dict[str, int] | None = None
    n_requests = 0

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with a range of a file."""
        kind = type(self)
        number, kind.n_requests = kind.n_requests, kind.n_requests + 1
        try:
            data, status, tag = (self.folder / self.path.lstrip("/")).read_bytes(), 200, '"1"'
        except OSError:
            data, status, tag = b"", 404, ""
        size, start, stop = len(data), 0, len(data)
        headers = {"Accept-Ranges": "bytes"}
        if status == 200 and (asked := self.headers.get("Range")):
            low, _, high = asked.removeprefix("bytes=").partition("-")
            start, stop = (max(0, size - int(high)), size) if not low else (int(low), min(size, int(high or size) + 1))
            status, data = 206, data[start:stop]
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        headers |= {"Content-Length": str(len(data)), "ETag": tag, "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if kind.damage is not None and number >= kind.damage["first"]:
            rng = np.random.default_rng([kind.damage["seed"], number])
            if number == kind.damage["first"] or rng.random() < 0.1:
                status, data = self._damage(status, headers, data, rng)
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _damage(self, status: int, headers: dict[str, str], data: bytes, rng: np.random.Generator) -> tuple[int, bytes]:
        roll = rng.random()
        if roll < 0.1:
            return int(_STATUSES[int(rng.integers(len(_STATUSES)))]), data
        if roll < 0.4:  # fewer or more bytes than are asked for, or others
            data = mutate_bytes(data, rng)[0]
            if rng.random() < 0.8:
                headers["Content-Length"] = str(len(data))
            else:
                self.close_connection = True
            return status, data
        name = list(headers)[int(rng.integers(len(headers)))]
        if name == "Content-Length":
            self.close_connection = True
        if roll < 0.5:
            del headers[name]
        elif roll < 0.7:
            headers[name] = str(
                rng.choice(["", "0", "-1", "18446744073709551615", "bytes 0-0/1", "bytes */7", "x", '"2"'])
            )
        else:
            digits = [place for place, letter in enumerate(headers[name]) if letter.isdigit()]
            if digits:
                place = int(rng.choice(digits))
                headers[name] = f"{headers[name][:place]}{rng.integers(10)}{headers[name][place + 1 :]}"
        return status, data


def remote(local: Victim) -> dict[str, Victim]:
    """Return the victims that are read from the server, and from a cache."""
    state: dict[str, Any] = {}

    def serve(folder: Path) -> str:
        if not state:
            state["kind"] = type("Answers", (_Answers,), {})
            server = ThreadingHTTPServer(("127.0.0.1", 0), state["kind"])
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            state["url"] = f"http://127.0.0.1:{server.server_port}"
        state["kind"].folder, state["kind"].n_requests = folder / "store", 0
        damage = folder / "damage.json"
        state["kind"].damage = json.loads(damage.read_bytes()) if damage.exists() else None
        return str(state["url"])

    def read(folder: Path, way: int) -> str:
        url = serve(folder)
        deadline = (
            60.0 if state["kind"].damage is None else 0.3
        )  # else the right answers would be missed on a busy machine
        return _read(RemoteStore(url, read_only=True, timeout=5.0, deadline=deadline), way)

    def damage(folder: Path, rng: np.random.Generator) -> str:
        what = {"first": int(rng.integers(60)), "seed": int(rng.integers(2**31))}
        (folder / "damage.json").write_text(json.dumps(what))
        return f"answers {what}"

    return {"remote": Victim(2, local.make, read, damage=damage, ways=2), "cache": _cache(local)}


def _read(store: RemoteStore, way: int) -> str:
    with users_part():
        group = zarr.open_group(store, mode="r")
    return read_collection(DatasetCollection(group, mode="r"), way)


def _cache(local: Victim) -> Victim:
    """The cache of a store whose answers are right: whatever is in its folder, values are, too."""

    def read(folder: Path, way: int) -> str:
        objects = MemoryStore()
        for path in entries_in(folder / "store"):
            if path.is_file():
                objects.put(path.relative_to(folder / "store").as_posix(), path.read_bytes())
        return _read(RemoteStore(objects, read_only=True, cache_dir=folder / "cache"), way)

    def make(folder: Path) -> None:
        local.make(folder)
        read(folder, 0)

    def damage(folder: Path, rng: np.random.Generator) -> str:
        return damage_file(folder / "cache", rng)

    def judge(folder: Path, what: str) -> str:
        return UNCHECKED if what.endswith("sealed") else "WRONG"

    return Victim(2, make, read, judge, damage)
