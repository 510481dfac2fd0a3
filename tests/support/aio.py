"""What the tests of ``fastchat.aio`` stand on: loops, TLS, servers, and transports that are none.

Every wait ends after ``PATIENCE``; what a loop reports to its exception handler is a failure,
unless the test asks for it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest

from tests.support.implementations import Implementation
from tests.support.needed import needed

PATIENCE = 30.0  # seconds

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
LOOPS = ("asyncio", "uvloop", "aiofastnet")


def _new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    module: Any = needed(name, "LOOPS")
    loop: asyncio.AbstractEventLoop
    if name == "aiofastnet":
        loop = module.loop_factory(asyncio.new_event_loop)()
    else:
        loop = module.new_event_loop()
    return loop


class Aio:
    """An implementation on an event loop, over TCP, or over TLS of the version *tls*."""

    def __init__(self, implementation: Implementation, loop: str, tls: str = "") -> None:
        self.name = implementation.name
        self.module: Any = implementation.aio
        self.LineProtocol: Any = implementation.aio.LineProtocol
        self.loop = loop
        self.tls = tls
        self.is_tls = bool(tls)
        self.reports: list[dict[str, Any]] = []

    def echo(self, **limits: Any) -> Any:
        """A class of protocols that answer each line with itself, and have these *limits*."""

        def line_received(self: Any, line: bytes) -> bytes:
            return line

        return type("Echo", (self.LineProtocol,), {"line_received": line_received, **limits})

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run *main* on the loop; raises AssertionError where the loop has something to report."""

        async def bounded() -> None:
            asyncio.get_running_loop().set_exception_handler(
                lambda loop, report: self.reports.append(report)
            )
            async with asyncio.timeout(PATIENCE):
                await main()

        with asyncio.Runner(loop_factory=lambda: _new_loop(self.loop)) as runner:
            runner.run(bounded())
        assert self.reports == []

    def failures(self) -> list[str]:
        """The exceptions that the loop has reported, which are no failure of the test then."""
        found = [repr(report["exception"]) for report in self.reports]
        self.reports.clear()
        return found

    @asynccontextmanager
    async def serving(self, factory: Callable[[], Any]) -> AsyncIterator[dict[str, Any]]:
        """A server; gives what a client needs to connect to it."""
        context = context_of(self.tls, ssl.PROTOCOL_TLS_SERVER) if self.is_tls else None
        server = await asyncio.get_running_loop().create_server(
            factory, "127.0.0.1", 0, ssl=context
        )
        host, port = server.sockets[0].getsockname()
        try:
            yield {
                "host": host,
                "port": port,
                "ssl": context_of(self.tls, ssl.PROTOCOL_TLS_CLIENT) if self.is_tls else None,
            }
        finally:
            server.close()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Any, Any, socket.socket]]:
        """What ``open_lines()`` returns, and the socket at the other end, which ends with this."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            reader, writer = await self.module.open_lines(*server.getsockname())
            peer, _ = server.accept()
        with peer:
            yield reader, writer, peer

    @asynccontextmanager
    async def talking(self, factory: Callable[[], Any]) -> AsyncIterator[Any]:
        """A client, a pair of asyncio's streams, of a server of its own."""
        async with self.serving(factory) as address:
            reader, writer = await asyncio.open_connection(**address, limit=2**24)
            try:
                yield reader, writer
            finally:
                writer.transport.abort()


@cache
def _authority() -> tuple[Any, Any]:
    """Who signs certificates, and the one of 127.0.0.1."""
    authority = needed("trustme", "EXAMPLES").CA()
    return authority, authority.issue_cert("127.0.0.1")


def context_of(version: str, protocol: int) -> ssl.SSLContext:
    """One for TLS of *version*; a client's trusts a server's.

    The test skips where trustme is missing, for which the first call must not be in a coroutine.
    """
    authority, certificate = _authority()
    made = ssl.SSLContext(protocol)
    made.minimum_version = made.maximum_version = VERSIONS[version]
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        certificate.configure_cert(made)
    else:
        authority.configure_trust(made)
    return made


class Transport:
    """A transport without a network: *sent* is what was written; it calls back where it is told.

    Of what was written *waiting* bytes wait.
    """

    def __init__(self, *, high: int = sys.maxsize) -> None:
        self.sent = b""
        self.waiting = 0
        self.did: list[str] = []
        self.high = high
        self.protocol: Any = None

    def connect(self, protocol: Any) -> Any:
        self.protocol = protocol
        protocol.connection_made(self)
        return protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def receive(self, data: bytes) -> None:
        """Give *data* to the protocol, as a real one does."""
        self.protocol.data_received(data)

    def write(self, data: bytes) -> None:
        self.sent += data
        if len(self.sent) > self.high:
            self.high = sys.maxsize
            self.protocol.pause_writing()

    def is_closing(self) -> bool:
        return "close" in self.did or "abort" in self.did

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def get_extra_info(self, name: str) -> None:
        return None

    def pause_reading(self) -> None:
        self.did.append("pause")

    def resume_reading(self) -> None:
        self.did.append("resume")

    def close(self) -> None:
        self.did.append("close")

    def abort(self) -> None:
        self.did.append("abort")


def link_of(protocol: Any) -> Any:
    """What a LineProtocol has beneath it, for the tests that set its clock."""
    return protocol._LineProtocol__link


async def turns() -> None:
    """Let the loop do what it has been asked for so far."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture(params=LOOPS)
def loop_name(request: pytest.FixtureRequest) -> str:
    """Every event loop, and every kind of transport."""
    name: str = request.param
    if name != "asyncio":
        needed(name, "LOOPS")
    return name


@pytest.fixture(params=["", *VERSIONS], ids=["tcp", *(f"tls {each}" for each in VERSIONS)])
def net(ours: Implementation, loop_name: str, request: pytest.FixtureRequest) -> Aio:
    """Both implementations on every loop, over TCP and each version of TLS."""
    if request.param:
        _authority()
    return Aio(ours, loop_name, request.param)


@pytest.fixture
def tcp(ours: Implementation, loop_name: str) -> Aio:
    """The same over TCP, for what TLS does not have."""
    return Aio(ours, loop_name)


@pytest.fixture
def alone(ours: Implementation) -> Aio:
    """Both implementations, for tests without a network."""
    return Aio(ours, "asyncio")
