"""Protocols of asyncio, on its own event loop and on others, and on aiofastnet's transports.

``transport.write`` is called once per line, as everybody does it first.  The author of
``JoinedEchoProtocol`` has thought further and joins the replies to all that one read brought.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from bench.serve.engines import BACKLOG, announce
from bench.serve.engines.loops import new_event_loop
from bench.serve.engines.pieces import Producer


class LineProtocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


class EchoProtocol(LineProtocol):
    def data_received(self, data: bytes) -> None:
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\r\n")
        for line in lines:
            self.transport.write(line + b"\r\n")


class JoinedEchoProtocol(LineProtocol):
    def data_received(self, data: bytes) -> None:
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\r\n")
        if lines:
            self.transport.write(b"".join([line + b"\r\n" for line in lines]))


class IngestProtocol(LineProtocol):
    lines = 0

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\r\n")
        for line in lines:
            if line == b"?":
                self.transport.write(b"%d\r\n" % self.lines)
            else:
                self.lines += 1


class BodiesProtocol(LineProtocol):
    """Collects the parts of a body in a list: adding to the buffer would copy it every time."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []
        self.missing = 0

    def data_received(self, data: bytes) -> None:
        while data:
            if self.missing:
                part, data = data[: self.missing], data[self.missing :]
                self.parts.append(part)
                self.missing -= len(part)
                if not self.missing:
                    body = b"".join(self.parts)
                    self.parts.clear()
                    self.transport.write(b"%d %b%b\r\n" % (len(body), body[:8], body[-8:]))
            else:
                line, end, data = (self.buffer + data).partition(b"\r\n")
                if end:
                    self.buffer = b""
                    self.missing = int(line)
                else:
                    self.buffer = line


class DownloadsProtocol(LineProtocol):
    """Produces while the transport takes more: it calls ``pause_writing`` when it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.producer: Producer | None = None
        self.is_paused = False

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        line, end, rest = self.buffer.partition(b"\r\n")
        if end:
            self.buffer = rest
            self.producer = Producer(int(line))
            self.produce()

    def produce(self) -> None:
        while self.producer and not self.is_paused:
            piece = self.producer.more()
            if piece:
                self.transport.write(piece)
            else:
                self.producer = None

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self.produce()


PROTOCOLS: dict[str, type[LineProtocol]] = {
    "echo": EchoProtocol,
    "ingest": IngestProtocol,
    "bodies": BodiesProtocol,
    "downloads": DownloadsProtocol,
}


def serve(engine: str, service: str) -> None:
    """Serve until the process ends."""
    protocol = JoinedEchoProtocol if engine.endswith("-joined") else PROTOCOLS[service]
    loop = new_event_loop(engine)
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    # Connections inherit it; asyncio and uvloop set it themselves, rloop does not.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    address = listener.getsockname()
    loop.run_until_complete(loop.create_server(protocol, sock=listener, backlog=BACKLOG))
    announce(*address)
    loop.run_forever()
