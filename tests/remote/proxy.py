"""A TCP proxy in front of an S3 server that injects the faults of networks and busy services.

Each request gets its own connection to the server, and its whole response is held before any of it is passed on: so
faults are placed exactly, and every request is seen.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from typing import BinaryIO

FAULTS = ("stall", "reset", "truncate", "slow", "503")


@dataclass
class Seen:
    """A request that passed the proxy, with its fault."""

    method: str
    path: str
    range: str
    fault: str
    bytes: int = 0


@dataclass
class Proxy:
    """Listens on a loopback port and forwards requests to ``upstream``.

    ``choose(seen)`` returns a fault of ``FAULTS``, ``"flip"``, a status such as ``"403"``, or ``""``.
    """

    upstream: tuple[str, int]
    choose: Callable[[Seen], str] = lambda seen: ""
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._connections: set[socket.socket] = set()
        self._going = False
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, on the previous port if there was one."""
        self._going = True
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)

    def stop(self) -> None:
        """Refuse new connections and drop open ones."""
        self._going = False
        for connection in (self._listener, *list(self._connections)):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()
        self._listener.close()

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self._going:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while self._going and (head := _read_head(stream)):
                body = stream.read(int(_header(head, "content-length") or 0))
                if not self._answer(connection, head, body):
                    break
        self._connections.discard(connection)

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        """Answer a request; return whether the connection stays open."""
        method, path = head.decode("latin-1").split(" ")[:2]
        seen = Seen(method, path, _header(head, "range"), "")
        self.seen.append(seen)
        seen.fault = fault = self.choose(seen)
        if fault == "stall":
            connection.recv(1)  # until the client gives up
            return False
        if fault.isdigit():
            connection.sendall(f"HTTP/1.1 {fault} Fault\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        answer = self._ask(head, body)
        seen.bytes = len(answer) - answer.index(b"\r\n\r\n") - 4
        if fault == "flip":  # one bit per KB of the body
            begin, rng = len(answer) - seen.bytes, random.Random(len(self.seen))
            flipped = bytearray(answer)
            for start in range(begin, len(answer), 1024):
                flipped[rng.randrange(start, min(start + 1024, len(answer)))] ^= 1 << rng.randrange(8)
            answer = bytes(flipped)
        if fault in ("reset", "truncate"):
            connection.sendall(answer[: len(answer) - 1 - seen.bytes // 2])
            if fault == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        step = len(answer) if fault != "slow" else len(answer) // 5 + 1
        for start in range(0, len(answer), step):
            connection.sendall(answer[start : start + step])
            time.sleep(0.02 if fault == "slow" else 0)
        return True

    def _ask(self, head: bytes, body: bytes) -> bytes:
        with socket.create_connection(self.upstream) as server, server.makefile("rb") as stream:
            server.sendall(re.sub(rb"\r\n\r\n$", b"\r\nConnection: close\r\n\r\n", head) + body)
            answer = stream.read()
        # The server closes this connection, not the client's.
        return re.sub(rb"(?i)\r\nconnection: close", b"", answer, count=1)


def faults(rate: float, seed: int, kinds: tuple[str, ...] = FAULTS) -> Callable[[Seen], str]:
    """Choose a fault for a random share of the requests, each kind in turn."""
    numbers, kind = random.Random(seed), cycle(kinds)
    return lambda seen: next(kind) if numbers.random() < rate else ""


def _read_head(stream: BinaryIO) -> bytes:
    lines = [stream.readline()]
    while lines[-1] not in (b"\r\n", b""):
        lines.append(stream.readline())
    return b"".join(lines) if lines[-1] else b""


def _header(head: bytes, name: str) -> str:
    found = re.search(rf"(?i)\r\n{name}: *([^\r]*)\r".encode(), head)
    return found[1].decode() if found else ""
