"""A web server behind a slow link: serves byte ranges of files, with latency and a shared bandwidth.

``python -m benchmarks.link FOLDER`` prints its port, and serves until standard input ends. ``GET /.sent`` gives the
number of other requests so far, and of the bytes of files in the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

_PIECE = 64 << 10
"""Bytes sent at a time: 0.7 ms at 100 MB/s, so that connections share the link evenly."""


class Link:
    """The link that all responses pass through, one piece after the other."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0
        self.requests = 0
        self.nbytes = 0

    async def carry(self, nbytes: int) -> None:
        """Wait for as long as ``nbytes`` take to pass."""
        self.nbytes += nbytes
        self._free_at = max(self._free_at, time.monotonic() - 0.002) + nbytes / self._rate
        wait = self._free_at - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)


async def serve(folder: Path, latency: float, rate: float) -> asyncio.Server:
    """Start serving on a free port of the loopback interface."""
    link = Link(rate)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path = head.split(" ", 2)[:2]
                if path == "/.sent":
                    counts = f"{link.requests} {link.nbytes}"
                    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(counts)}\r\n\r\n{counts}".encode())
                    continue
                link.requests += 1
                await asyncio.sleep(latency)
                await _send(writer, link, method, folder / path.partition("?")[0].strip("/"), _range(head))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def _send(writer: asyncio.StreamWriter, link: Link, method: str, path: Path, asked: str) -> None:
    if not path.is_file():
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return
    size = path.stat().st_size
    start, stop = 0, size
    if asked:
        first, _, last = asked.partition("-")
        start = int(first) if first else size - int(last)
        stop = min(size, int(last) + 1) if first and last else size
    status = f"206 Partial Content\r\nContent-Range: bytes {start}-{stop - 1}/{size}" if asked else "200 OK"
    tag = f'"{size:x}-{path.stat().st_mtime_ns:x}"'
    modified = "Sun, 22 Nov 2026 00:00:00 GMT"
    head = f"HTTP/1.1 {status}\r\nContent-Length: {stop - start}\r\nETag: {tag}\r\nLast-Modified: {modified}\r\n\r\n"
    writer.write(head.encode())
    if method == "HEAD":
        return
    with path.open("rb") as file:
        file.seek(start)
        left = stop - start
        while left:
            piece = file.read(min(_PIECE, left))
            await link.carry(len(piece))
            writer.write(piece)
            await writer.drain()
            left -= len(piece)


def _range(head: str) -> str:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "range":
            return value.strip().removeprefix("bytes=")
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.link", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.02, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=100e6, metavar="BYTES_PER_SECOND")
    arguments = parser.parse_args()

    async def run() -> None:
        server = await serve(arguments.folder, arguments.latency, arguments.rate)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)

    asyncio.run(run())


if __name__ == "__main__":
    main()
