"""``fastchat.aio.LineProtocol``, on the event loops of others: what its own page teaches.

The hook gets the lines of a read and returns the replies.  Its limits are on, as everybody has them
who does not ask for others.
"""

from __future__ import annotations

from bench.serve.engines import BACKLOG, announce
from bench.serve.engines.loops import new_event_loop
from fastchat import aio


class EchoProtocol(aio.LineProtocol):
    delimiter = b"\r\n"

    def lines_received(self, lines: list[bytes]) -> list[bytes]:
        return lines


class EchoByLineProtocol(aio.LineProtocol):
    delimiter = b"\r\n"

    def line_received(self, line: bytes) -> bytes:
        return line


class IngestProtocol(aio.LineProtocol):
    delimiter = b"\r\n"
    lines = 0

    def lines_received(self, lines: list[bytes]) -> bytes | None:
        self.lines += len(lines)
        if b"?" not in lines:
            return None
        self.lines -= 1
        return b"%d" % self.lines


PROTOCOLS: dict[str, type[aio.LineProtocol]] = {"echo": EchoProtocol, "ingest": IngestProtocol}


def serve(engine: str, service: str) -> None:
    """Serve until the process ends."""
    protocol = EchoByLineProtocol if engine.endswith("-by-line") else PROTOCOLS[service]
    loop = new_event_loop(engine)
    server = loop.run_until_complete(loop.create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG))
    announce(*server.sockets[0].getsockname())
    loop.run_forever()
