"""Twisted's LineReceiver, on the reactor that Twisted chooses (epoll, on Linux)."""

from __future__ import annotations

from typing import Any

from twisted.internet import protocol, reactor
from twisted.protocols.basic import LineReceiver

from bench.serve.engines import BACKLOG, announce
from bench.serve.engines.pieces import Producer


class Receiver(LineReceiver):
    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)


class Echo(Receiver):
    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class Ingest(Receiver):
    lines = 0

    def lineReceived(self, line: bytes) -> None:
        if line == b"?":
            self.sendLine(b"%d" % self.lines)
        else:
            self.lines += 1


class Bodies(Receiver):
    missing = 0

    def lineReceived(self, line: bytes) -> None:
        self.missing = int(line)
        self.parts: list[bytes] = []
        self.setRawMode()

    def rawDataReceived(self, data: bytes) -> None:
        part, rest = data[: self.missing], data[self.missing :]
        self.parts.append(part)
        self.missing -= len(part)
        if not self.missing:
            body = b"".join(self.parts)
            self.sendLine(b"%d %b%b" % (len(body), body[:8], body[-8:]))
            self.setLineMode(rest)


class PullProducer:
    """A ``Producer`` as Twisted asks for it: whenever the transport has room."""

    def __init__(self, size: int, transport: Any) -> None:
        self.producer = Producer(size)
        self.transport = transport

    def resumeProducing(self) -> None:
        piece = self.producer.more()
        if piece:
            self.transport.write(piece)
        else:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        pass


class Downloads(Receiver):
    def lineReceived(self, line: bytes) -> None:
        self.transport.registerProducer(PullProducer(int(line), self.transport), False)


RECEIVERS = {"echo": Echo, "ingest": Ingest, "bodies": Bodies, "downloads": Downloads}


def serve(engine: str, service: str) -> None:
    """Serve until the process ends."""
    factory = protocol.Factory.forProtocol(RECEIVERS[service])
    factory.noisy = False
    port = reactor.listenTCP(0, factory, backlog=BACKLOG, interface="127.0.0.1")
    address = port.getHost()
    announce(address.host, address.port)
    reactor.run(installSignalHandlers=False)
