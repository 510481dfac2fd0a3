"""asynchat, the unmodified program: whichever modules have the names asynchat and asyncore.

That is the standard library's, pyasynchat's, or fastchat's after ``fastchat.install()``; nothing
here knows.  The channels are what programs of the 2000s look like.

The loop is ``loop(use_poll=True)`` for all of them: the default stands on ``select``, which cannot
serve a descriptor beyond 1,023, and so none of the workloads with many connections.
"""

from __future__ import annotations

import asynchat
import asyncore
import socket

from bench.serve.engines import BACKLOG, announce
from bench.serve.engines.pieces import Producer


class Channel(asynchat.async_chat):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.parts: list[bytes] = []
        self.set_terminator(b"\r\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self.parts.append(data)


class EchoChannel(Channel):
    def found_terminator(self) -> None:
        line = b"".join(self.parts)
        self.parts.clear()
        self.push(line + b"\r\n")


class IngestChannel(Channel):
    lines = 0

    def found_terminator(self) -> None:
        line = b"".join(self.parts)
        self.parts.clear()
        if line == b"?":
            self.push(b"%d\r\n" % self.lines)
        else:
            self.lines += 1


class BodiesChannel(Channel):
    in_body = False

    def found_terminator(self) -> None:
        data = b"".join(self.parts)
        self.parts.clear()
        if self.in_body:
            self.push(b"%d %b%b\r\n" % (len(data), data[:8], data[-8:]))
            self.set_terminator(b"\r\n")
        else:
            self.set_terminator(int(data))
        self.in_body = not self.in_body


class DownloadsChannel(Channel):
    def found_terminator(self) -> None:
        line = b"".join(self.parts)
        self.parts.clear()
        self.push_with_producer(Producer(int(line)))


CHANNELS: dict[str, type[Channel]] = {
    "echo": EchoChannel,
    "ingest": IngestChannel,
    "bodies": BodiesChannel,
    "downloads": DownloadsChannel,
}


class Listener(asyncore.dispatcher):
    def __init__(self, channel: type[Channel]) -> None:
        super().__init__()
        self.channel = channel
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(BACKLOG)

    def address(self) -> tuple[str, int]:
        assert self.socket is not None
        host, port = self.socket.getsockname()
        return host, port

    def handle_accepted(self, sock: socket.socket, addr: object) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.channel(sock)


def serve(engine: str, service: str) -> None:
    """Serve until the process ends."""
    announce(*Listener(CHANNELS[service]).address())
    asyncore.loop(use_poll=True)
