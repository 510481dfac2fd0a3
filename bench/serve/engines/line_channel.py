"""``fastchat.LineChannel``: what its own page teaches, with all limits as they are by default.

``echo`` is served by the hook for a read, or by that for each line.  Bodies are asked for by
``receive_exactly``.
"""

from __future__ import annotations

import socket

from bench.serve.engines import BACKLOG, announce
from fastchat import LineChannel, asyncore


class EchoChannel(LineChannel):
    def lines_received(self, lines: list[bytes]) -> list[bytes]:
        return lines


class EchoByLineChannel(LineChannel):
    def line_received(self, line: bytes) -> bytes:
        return line


class IngestChannel(LineChannel):
    lines = 0

    def lines_received(self, lines: list[bytes]) -> bytes | None:
        self.lines += len(lines)
        if b"?" not in lines:
            return None
        self.lines -= 1
        return b"%d" % self.lines


class IngestByLineChannel(LineChannel):
    lines = 0

    def line_received(self, line: bytes) -> bytes | None:
        if line == b"?":
            return b"%d" % self.lines
        self.lines += 1
        return None


class BodiesChannel(LineChannel):
    def line_received(self, line: bytes) -> None:
        self.receive_exactly(int(line))

    def raw_received(self, data: bytes) -> bytes:
        return b"%d %b%b" % (len(data), data[:8], data[-8:])


CHANNELS: dict[tuple[str, bool], type[LineChannel]] = {
    ("echo", False): EchoChannel,
    ("echo", True): EchoByLineChannel,
    ("ingest", False): IngestChannel,
    ("ingest", True): IngestByLineChannel,
    ("bodies", False): BodiesChannel,
}


class Listener(asyncore.dispatcher):
    def __init__(self, channel: type[LineChannel]) -> None:
        super().__init__()
        self.channel = channel
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(BACKLOG)

    def handle_accepted(self, sock: socket.socket, addr: object) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.channel(sock)


def serve(engine: str, service: str) -> None:
    """Serve until the process ends."""
    listener = Listener(CHANNELS[service, engine.endswith("-by-line")])
    announce(*listener.socket.getsockname())
    asyncore.loop(use_poll=True)
