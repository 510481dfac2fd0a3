"""gevent: blocking code, a greenlet for each connection, lines read as from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent import socket
from gevent.server import StreamServer

from bench.serve.engines import BACKLOG, announce
from bench.serve.engines.pieces import Producer


def echo(sock: Any, file: Any) -> None:
    for line in file:
        sock.sendall(line)


def ingest(sock: Any, file: Any) -> None:
    lines = 0
    for line in file:
        if line == b"?\r\n":
            sock.sendall(b"%d\r\n" % lines)
        else:
            lines += 1


def bodies(sock: Any, file: Any) -> None:
    for line in file:
        body = file.read(int(line))
        sock.sendall(b"%d %b%b\r\n" % (len(body), body[:8], body[-8:]))


def downloads(sock: Any, file: Any) -> None:
    for line in file:
        producer = Producer(int(line))
        while piece := producer.more():
            sock.sendall(piece)


HANDLERS: dict[str, Callable[[Any, Any], None]] = {
    "echo": echo,
    "ingest": ingest,
    "bodies": bodies,
    "downloads": downloads,
}


def serve(engine: str, service: str) -> None:
    """Serve until the process ends."""
    handler = HANDLERS[service]

    def handle(sock: Any, address: object) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with sock.makefile("rb") as file:
                handler(sock, file)
        except ConnectionError:
            pass

    server = StreamServer(("127.0.0.1", 0), handle, backlog=BACKLOG)
    server.start()
    announce(*server.socket.getsockname())
    server.serve_forever()
