"""A TCP proxy before an S3 server that does what networks and busy services do.

Each request gets a connection of its own to the server, and its whole answer is held before any of it is handed on:
so a fault can be placed exactly, and every request is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

FAULTS = ("stall", "reset", "truncate", "slow", "503")


@dataclass
class Seen:
    """A request that came through, with the fault that it met."""

    method: str
    path: str
    range: str
    fault: str
    bytes: int = 0
    finished: bool = False


@dataclass
class Proxy:
    """Listens on a port of loopback; ``upstream`` is where requests go.

    ``choose(seen)`` returns a fault of ``FAULTS``, a status such as ``"403"``, or ``""``.
    """

    upstream: tuple[str, int]
    choose: Callable[[Seen], str] = lambda seen: ""
    delay: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    open_connections: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self._server: asyncio.Server | None = None
        self.start()

    def start(self) -> None:
        """Listen, on the port of before if there was one."""
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Be gone: refuse connections and drop those that there are."""

        async def stop() -> None:
            assert self._server is not None
            self._server.close()
            serving = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

        self._call(stop())

    def close(self) -> None:
        """End for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            await _closed(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(_header(head, "content-length") or 0))
        method, path = head.decode("latin-1").split(" ")[:2]
        seen = Seen(method, path, _header(head, "range"), "")
        self.seen.append(seen)
        seen.fault = fault = self.choose(seen)
        await asyncio.sleep(self.delay)
        if fault == "stall":
            await reader.read(1)  # until the client gives up
            return False
        if fault.isdigit():
            writer.write(f"HTTP/1.1 {fault} Fault\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return True
        answer = await self._ask(head, body)
        seen.bytes = len(answer) - answer.index(b"\r\n\r\n") - 4
        if fault in ("reset", "truncate"):
            writer.write(answer[: len(answer) - 1 - seen.bytes // 2])
            await writer.drain()
            if fault == "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        step = len(answer) if fault != "slow" else len(answer) // 5 + 1
        for start in range(0, len(answer), step):
            writer.write(answer[start : start + step])
            await writer.drain()
            await asyncio.sleep(0.02 if fault == "slow" else 0)
        seen.finished = True
        return True

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        upstream, to = await asyncio.open_connection(*self.upstream)
        to.write(re.sub(rb"\r\n\r\n$", b"\r\nConnection: close\r\n\r\n", head) + body)
        try:
            answer = await upstream.read(-1)
        finally:
            await _closed(to)
        # The server closes this connection, not the client's.
        return re.sub(rb"(?i)\r\nconnection: close", b"", answer, count=1)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def faults(rate: float, seed: int, kinds: tuple[str, ...] = FAULTS) -> Callable[[Seen], str]:
    """Return a choice of a fault for a share of the requests."""
    numbers = random.Random(seed)
    return lambda seen: numbers.choice(kinds) if numbers.random() < rate else ""


def _header(head: bytes, name: str) -> str:
    found = re.search(rf"(?i)\r\n{name}: *([^\r]*)\r".encode(), head)
    return found[1].decode() if found else ""
