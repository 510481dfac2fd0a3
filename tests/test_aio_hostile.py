"""What a peer, or a program that does what is usual, must not get out of a ``LineProtocol``.

A splice of plaintext and TLS, output without a bound, a deadline that never comes, work that grows
with what waits, and lines that depend on how they were sent.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False, disable-error-code="name-defined, misc"

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from decimal import Decimal
from typing import Any

import pytest

from tests.support.aio import Aio, Transport, context_of, link_of, turns
from tests.test_aio_deadlines import Clock


class Tls(Transport):
    """A transport that says it protects what it sends."""

    def get_extra_info(self, name: str) -> Any:
        return "a context" if name == "sslcontext" else None


def pausing(aio: Aio) -> Any:
    """A class that pauses at each line, and keeps it."""

    class Pauses(aio.LineProtocol):
        idle_timeout = line_timeout = None

        def __init__(self) -> None:
            self.got: list[bytes] = []

        def line_received(self, line: bytes) -> None:
            self.got.append(line)
            self.pause_reading()

    return Pauses


@pytest.mark.parametrize("behind", [b"", b"injected\n", b"begun"])
def test_tls_by_assignment_takes_no_plaintext(tcp: Aio, behind: bytes) -> None:
    # Here, for it may skip the test, and a coroutine would leave its connections behind.
    servers = context_of("1.3", ssl.PROTOCOL_TLS_SERVER)
    clients = context_of("1.3", ssl.PROTOCOL_TLS_CLIENT)
    got: list[bytes] = []
    protocols: list[Any] = []

    class Server(tcp.LineProtocol):
        done: asyncio.Future[Any]
        lost: asyncio.Future[Any]
        transport: Any

        def connection_made(self, transport: Any) -> None:
            protocols.append(self)

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

        def line_received(self, line: bytes) -> bytes:
            got.append(line)
            if line == b"STARTTLS":
                self.pause_reading()
                self.task = asyncio.create_task(self.secure())
                return b"go"
            self.done.set_result(None)
            return line

        async def secure(self) -> None:
            loop: Any = asyncio.get_running_loop()
            try:
                self.transport = await loop.start_tls(
                    self.transport, self, servers, server_side=True
                )
                self.resume_reading()
            except OSError as failure:
                self.done.set_result(failure)

    async def main() -> None:
        Server.done, Server.lost = (asyncio.get_running_loop().create_future() for _ in "12")
        async with tcp.talking(Server) as (reader, writer):
            writer.write(b"STARTTLS\n" + behind)
            assert await reader.readexactly(3) == b"go\n"
            await writer.start_tls(clients, server_hostname="127.0.0.1")
            writer.write(b"secret\n")  # which may come with the end of the handshake
            failure = await Server.done
            if behind:
                assert isinstance(failure, ConnectionAbortedError)
                assert "plaintext" in str(failure)
            else:
                assert await reader.readexactly(7) == b"secret\n"
            protocols[0].abort()
            await Server.lost
        tcp.reports.clear()  # some loops report TLS that was aborted

    tcp.run(main)
    assert got == ([b"STARTTLS"] if behind else [b"STARTTLS", b"secret"])


@pytest.mark.parametrize("way", ["held", "begun", "running", "hook", "layer"])
def test_an_assigned_tls_transport_is_refused_in_every_other_state(alone: Aio, way: str) -> None:
    async def main() -> None:
        first, second = Transport(), Tls()
        protocol = first.connect(pausing(alone)())
        if way == "hook":

            def hook(self: Any, line: bytes) -> None:
                self.transport = second

            type(protocol).line_received = hook
            first.receive(b"one\ntwo\n")
            (failure,) = alone.failures()
            assert "TLS cannot begin in a hook" in failure
            assert first.did == ["abort"]
            return
        if way == "layer":  # TLS has given its first line behind what was begun before
            first.receive(b"one\nbegun")
            first.protocol = object()
            protocol.data_received(b"protected\n")
        elif way != "running":
            first.receive(b"one\ntwo\n" if way == "held" else b"one\nbegun")
        with pytest.raises(ConnectionAbortedError):
            protocol.transport = second
        assert (first.did[-1], second.did) == ("abort", ["abort"])

    alone.run(main)


def test_input_of_tls_is_no_plaintext(alone: Aio) -> None:
    async def main() -> None:
        first, second = Transport(), Tls()
        protocol = first.connect(pausing(alone)())
        first.receive(b"one\n")
        first.protocol = object()
        protocol.data_received(b"protected\n")
        second.protocol, protocol.transport = protocol, second
        protocol.resume_reading()
        await turns()
        assert protocol.got == [b"one", b"protected"]

    alone.run(main)


@pytest.mark.parametrize("ends", [False, True])
def test_what_is_read_before_the_handshake_begins_ends_the_connection(
    alone: Aio, ends: bool
) -> None:
    """Some loops read once more between ``start_tls()`` and its task."""

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo()())
        begins = asyncio.create_task(protocol.start_tls(None, server_side=False))
        asyncio.get_running_loop().call_soon(
            protocol.eof_received if ends else lambda: transport.receive(b"injected\n")
        )
        with pytest.raises(ConnectionResetError if ends else ConnectionAbortedError):
            await begins
        assert transport.did[-1] == "abort"

    alone.run(main)


def test_tls_begins_when_there_is_room_for_output(alone: Aio) -> None:
    """What tells of room would reach another protocol then."""

    async def main() -> None:
        async def start_tls(*arguments: Any, **options: Any) -> Any:
            assert not protocol.is_full
            return second

        loop: Any = asyncio.get_running_loop()
        loop.start_tls = start_tls
        first, second = Transport(high=3), Tls()
        protocol = first.connect(pausing(alone)())
        protocol.send_line(b"full")
        tasks = [asyncio.create_task(protocol.start_tls(None, server_side=True)) for _ in "12"]
        await turns()
        assert not any(task.done() for task in tasks)
        protocol.resume_writing()
        await tasks[0]
        with pytest.raises(RuntimeError, match="runs already"):
            await tasks[1]
        assert protocol.transport is second
        second.protocol, second.high = protocol, 0
        protocol.send_line(b"full")
        waits = asyncio.create_task(protocol.start_tls(None, server_side=True))
        await turns()
        protocol.connection_lost(None)
        with pytest.raises(ConnectionResetError):
            await waits

    alone.run(main)


def test_output_during_a_handshake_is_bounded(alone: Aio) -> None:
    events: list[str] = []

    class Told(alone.LineProtocol):
        high_water = 1000

        def pause_writing(self) -> None:
            events.append("full")

        def resume_writing(self) -> None:
            events.append("room")

    async def main() -> None:
        ends = asyncio.get_running_loop().create_future()

        async def start_tls(*arguments: Any, **options: Any) -> Any:
            await ends
            return second

        loop: Any = asyncio.get_running_loop()
        loop.start_tls = start_tls
        first, second = Transport(), Tls()
        protocol = first.connect(Told())
        task = asyncio.create_task(protocol.start_tls(None, server_side=True))
        await turns()
        for _ in range(11):
            assert not protocol.is_full
            protocol.send_line(b"x" * 99)
        protocol.send_line(b"x" * 99)
        assert protocol.is_full
        with pytest.raises(RuntimeError, match="runs already"):
            await protocol.start_tls(None, server_side=True)
        ends.set_result(None)
        await task
        await turns()
        assert (events, protocol.is_full) == (["full", "room"], False)
        assert (first.sent, second.sent) == (b"", (b"x" * 99 + b"\n") * 12)

    alone.run(main)


def test_what_comes_with_the_end_of_a_handshake_has_its_transport(alone: Aio) -> None:
    events: list[Any] = []

    class Told(alone.LineProtocol):
        def line_received(self, line: bytes) -> None:
            events.append((line, self.transport is second))

        def connection_lost(self, exc: Exception | None) -> None:
            events.append(exc)

    second = Tls()

    async def main() -> None:
        async def start_tls(*arguments: Any, **options: Any) -> Any:
            first.protocol = None
            protocol.data_received(b"one\n")
            assert protocol.eof_received() is False  # with TLS another answer has no effect
            protocol.connection_lost(None)
            protocol.send_line(b"too late")
            return second

        loop: Any = asyncio.get_running_loop()
        loop.start_tls = start_tls
        first = Transport()
        protocol = first.connect(Told())
        await protocol.start_tls(None, server_side=True)
        await turns()
        assert (first.sent, second.sent) == (b"", b"")

    alone.run(main)
    assert events == [(b"one", True), None]


def test_a_hook_can_send_until_the_output_is_full(tcp: Aio) -> None:
    line, most = b"x" * 10_000, 3000
    protocols: list[Any] = []

    class Pumps(tcp.LineProtocol):
        high_water, low_water = 50_000, 1000
        full: asyncio.Future[Any]
        count = 0

        def line_received(self, _: bytes) -> None:
            protocols.append(self)
            self.pump()

        def resume_writing(self) -> None:
            self.pump()

        def pump(self) -> None:
            while not self.is_full and self.count < most:
                self.count += 1
                self.send_line(line)
            if not self.full.done():
                self.full.set_result(self.count)

    async def main() -> None:
        Pumps.full = asyncio.get_running_loop().create_future()
        async with tcp.talking(Pumps) as (reader, writer):
            reader._transport.pause_reading()
            writer.write(b"go\n")
            assert await Pumps.full < most
            assert protocols[0].transport.get_write_buffer_size() < 50_000 + 2 * 65_536
            reader._transport.resume_reading()
            for _ in range(most):
                assert await reader.readexactly(len(line) + 1) == line + b"\n"

    tcp.run(main)


def test_what_a_hook_has_sent_leaves_by_the_transport_that_was_there(alone: Aio) -> None:
    class Switches(alone.LineProtocol):
        def line_received(self, line: bytes) -> Any:
            if line != b"switch":
                return line
            self.send_line(b"old")
            self.transport = second
            return b"new"

    first, second = Transport(), Transport()

    async def main() -> None:
        first.connect(Switches())
        first.receive(b"one\nswitch\ntwo\n")
        assert (first.sent, second.sent) == (b"one\nold\n", b"new\ntwo\n")

    alone.run(main)


def test_a_line_that_makes_another_delimiter_is_refused(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo(delimiter=(b"\n", b"\r\n"))())
        protocol.send_lines([b"one", b"\rtwo", b""])
        for lines in ([b"x\r"], [b"one", b"x\r", b"two"]):
            with pytest.raises(ValueError, match="read as another line"):
                protocol.send_lines(lines)
        assert transport.sent == b"one\n\rtwo\n\n"

    alone.run(main)


@pytest.mark.parametrize("way", ["method", "class"])
@pytest.mark.parametrize("reads", [[b"1\n2\n3\n"], [b"1\n", b"2\n", b"3\n"]])
def test_a_hook_may_put_another_in_its_place(alone: Aio, way: str, reads: list[bytes]) -> None:
    class Second(alone.LineProtocol):
        def line_received(self, line: bytes) -> bytes:
            return b"second " + line

    class First(alone.LineProtocol):
        def line_received(self, line: bytes) -> bytes:
            if way == "class":
                self.__class__ = Second
            else:
                self.__dict__["line_received"] = self.second
            return b"first " + line

        def second(self, line: bytes) -> bytes:
            return b"second " + line

    async def main() -> None:
        transport = Transport()
        transport.connect(First())
        for read in reads:
            transport.receive(read)
        assert transport.sent == b"first 1\nsecond 2\nsecond 3\n"

    alone.run(main)


def test_stopping_at_each_line_copies_none_of_the_others(
    alone: Aio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line is put where it waits once, and taken once, however many wait."""
    moved = 0
    link_module: Any = type(link_of(alone.LineProtocol())).hold.__globals__

    class Counting(deque):  # type: ignore[type-arg]
        def extend(self, lines: Any) -> None:
            nonlocal moved
            for line in lines:
                moved += 1
                self.append(line)

        def popleft(self) -> Any:
            nonlocal moved
            moved += 1
            return super().popleft()

        def extendleft(self, lines: Any) -> None:
            nonlocal moved
            for line in lines:
                moved += 1
                self.appendleft(line)

        take = link_module["_Left"].take

    monkeypatch.setitem(link_module, "_Left", Counting)
    count = 300

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(pausing(alone)())
        transport.receive(b"x\n" * count)
        while len(protocol.got) < count:
            protocol.resume_reading()
            await asyncio.sleep(0)

    alone.run(main)
    assert count - 1 <= moved <= 3 * count


def test_lines_that_a_hook_adds_while_it_stops_come_first(alone: Aio) -> None:
    got: list[bytes] = []

    class Adds(alone.LineProtocol):
        def line_received(self, line: bytes) -> None:
            got.append(line)
            self.pause_reading()
            if line in (b"1", b"2"):
                super().lines_received([line * 2, line * 3])

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(Adds())
        transport.receive(b"1\n2\n3\n")
        for _ in range(8):
            protocol.resume_reading()
            await turns()

    alone.run(main)
    assert got == [b"1", b"11", b"111", b"2", b"22", b"222", b"3"]


@pytest.mark.parametrize("ends", [False, True])
def test_input_may_come_before_there_is_a_connection(alone: Aio, ends: bool) -> None:
    """As from ``loop.start_tls()``, which calls no ``connection_made()``."""
    events: list[Any] = []

    class Told(alone.LineProtocol):
        delimiter = b";"

        def connection_made(self, transport: Any) -> None:
            events.append("made")

        def line_received(self, line: bytes) -> bytes:
            events.append(line)
            return line

        def connection_lost(self, exc: Exception | None) -> None:
            events.append("lost")

    async def main() -> None:
        protocol, transport = Told(), Transport()
        protocol.data_received(b"one;tw")
        if ends:
            assert protocol.eof_received() is False
            protocol.connection_lost(None)
        assert events == []
        transport.connect(protocol)
        assert events == ["made"]
        await turns()
        if not ends:
            transport.receive(b"o;")
            assert transport.sent == b"one;two;"

    alone.run(main)
    assert events == (["made", b"one", "lost"] if ends else ["made", b"one", b"two"])


@pytest.mark.parametrize("way", ["pause", "resume", "drain"])
def test_nothing_gives_a_begun_line_a_new_deadline(alone: Aio, way: str) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo(idle_timeout=None)())
        clock = Clock(protocol)
        for _ in range(12):
            transport.receive(b"x")
            clock.move(6)
            if way == "drain":
                protocol.pause_writing()
            if way == "pause":
                protocol.pause_reading()
            clock.move(1)  # a second that does not count, if it is stopped
            if way == "drain":
                protocol.resume_writing()
            else:
                protocol.resume_reading()
            await turns()
        assert transport.did[-1] == "close"

    alone.run(main)


def test_a_line_that_begins_while_lines_are_stopped_has_its_whole_time(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo(idle_timeout=None)())
        clock = Clock(protocol)
        transport.receive(b"begun")
        clock.move(50)
        protocol.pause_reading()
        transport.receive(b", ended\nbegun")
        clock.move(50)
        protocol.resume_reading()
        await turns()
        clock.move(59)
        assert "close" not in transport.did
        clock.move(1)
        assert transport.did[-1] == "close"

    alone.run(main)


def test_a_clock_may_begin_at_0(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo(idle_timeout=None)())
        clock = Clock(protocol)
        clock.now = 0.0
        transport.receive(b"begun")
        clock.move(60)
        assert transport.did == ["close"]

    alone.run(main)


def test_a_deadline_may_be_any_number(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo(idle_timeout=Decimal(2), line_timeout=Decimal(1))())
        Clock(protocol).move(2)
        assert transport.did == ["close"]

    alone.run(main)


def test_after_an_end_that_closes_no_deadline_is_told(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo(timed_out=lambda self, which: 1 / 0)())
        clock = Clock(protocol)
        assert protocol.eof_received() is False
        transport.did.append("close")  # as transports do then
        clock.move(300)
        assert transport.did == ["close", "abort"]

    alone.run(main)


def test_a_transport_that_closes_already_is_not_closed_again(alone: Aio) -> None:
    """asyncio's with TLS cannot say then how much output waits."""

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo()())
        clock = Clock(protocol)
        protocol.transport.close()
        protocol.close()
        clock.move(300)
        assert transport.did == ["close", "abort"]

    alone.run(main)


def test_the_deadlines_go_on_whatever_a_look_raises(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo()())
        clock = Clock(protocol)
        vars(transport)["get_write_buffer_size"] = None
        before = link_of(protocol).deadlines.timer
        with pytest.raises(TypeError):
            clock.look()
        assert link_of(protocol).deadlines.timer is not before
        link_of(protocol).deadlines.timer.cancel()

    alone.run(main)


def test_a_lost_protocol_keeps_no_input(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo()())
        transport.receive(b"x" * 60_000)
        protocol.connection_lost(None)
        assert len(link_of(protocol).buffer) == 0

    alone.run(main)
