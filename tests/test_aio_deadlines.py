"""The deadlines of ``fastchat.aio.LineProtocol``, nearly all by a clock of the tests."""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False, disable-error-code="name-defined, misc"

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.aio import Aio, Transport, link_of, turns


class Clock:
    """The time that a protocol believes."""

    def __init__(self, protocol: Any) -> None:
        self.link = link_of(protocol)
        self.now = self.link.gate.heard
        self.link.time = lambda: self.now
        self.link.gate.open(self.link.time, protocol.transport.write, b"\n", True)

    def look(self) -> float:
        """Let the timer look; returns after how many more seconds it looks again."""
        timer = self.link.deadlines.timer
        if timer is not None:
            timer.cancel()
        self.link.deadlines.look()
        new = self.link.deadlines.timer
        return 0.0 if new is timer else float(new.when() - asyncio.get_running_loop().time())

    def move(self, seconds: float) -> float:
        """Let *seconds* pass, and the timer look, twice as it does; returns as ``look()``."""
        self.now += seconds
        self.look()
        return self.look()


def test_an_idle_connection_is_closed(net: Aio) -> None:
    async def main() -> None:
        async with net.talking(net.echo(idle_timeout=0.05)) as (reader, writer):
            writer.write(b"one\n")
            assert await reader.read() == b"one\n"

    net.run(main)


def test_a_line_that_does_not_end_ends_the_connection(net: Aio) -> None:
    class Slow(net.LineProtocol):
        line_timeout = 0.05

        def timed_out(self, which: str) -> Any:
            self.close()
            return which.encode()

    async def main() -> None:
        async with net.talking(Slow) as (reader, writer):
            writer.write(b"unterminated")
            assert await reader.read() == b"line\n"

    net.run(main)


def quiet(alone: Aio, transport: Transport) -> Any:
    """A protocol that answers nothing."""

    class Quiet(alone.LineProtocol):
        def line_received(self, line: bytes) -> None:
            pass

        def line_too_long(self, prefix: bytes, size: int) -> None:
            pass

    return transport.connect(Quiet())


def test_input_and_output_put_off_the_idle_deadline(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = quiet(alone, transport)
        clock = Clock(protocol)
        assert clock.move(299) == pytest.approx(1, abs=0.5)
        transport.receive(b"x\n")
        clock.move(299)
        protocol.send_line(b"x")
        clock.move(299)
        assert transport.did == []
        clock.move(1)
        assert transport.did == ["close"]
        clock.move(299)
        assert transport.did == ["close"]
        clock.move(1)  # nobody has taken the output
        assert transport.did == ["close", "abort"]

    alone.run(main)


def test_input_that_is_there_when_a_deadline_passes_counts(alone: Aio) -> None:
    """A hook of another connection may have kept the loop from reading it."""

    async def main() -> None:
        transport = Transport()
        clock = Clock(quiet(alone, transport))
        for _ in range(2):
            transport.receive(b"begun")
            clock.now += 1000
            assert clock.look() == pytest.approx(0, abs=0.1)
            transport.receive(b", ended\n")
            assert clock.look() > 1
            assert clock.look() > 1
        assert transport.did == []

    alone.run(main)


def test_bytes_do_not_put_off_the_deadline_of_a_line(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = quiet(alone, transport)
        clock = Clock(protocol)
        transport.receive(b"x\nbegun")
        clock.move(59)
        transport.receive(b", and on")
        assert clock.move(0.5) == pytest.approx(0.5, abs=0.2)
        assert transport.did == []
        clock.move(0.5)
        assert transport.did == ["close"]

    alone.run(main)


def test_a_new_line_has_a_deadline_of_its_own(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        clock = Clock(quiet(alone, transport))
        transport.receive(b"one")
        clock.move(59)
        transport.receive(b"\ntwo")
        clock.move(59)
        transport.receive(b"\n")
        clock.move(299)
        assert transport.did == []

    alone.run(main)


def test_a_line_that_is_too_long_has_the_deadline_of_a_line(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = quiet(alone, transport)
        clock = Clock(protocol)
        transport.receive(b"x" * 65536)
        transport.receive(b"x\n")
        clock.move(61)
        assert transport.did == []
        transport.receive(b"x\n" + b"x" * 65000)
        transport.receive(b"x" * 65000)
        clock.move(59)
        transport.receive(b"x")
        assert transport.did == []
        clock.move(1)
        assert transport.did == ["close"]

    alone.run(main)


def test_a_transport_that_reads_in_spite_of_a_pause_is_told_again(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        quiet(alone, transport).pause_reading()
        transport.receive(b"x\n")
        assert transport.did == ["pause", "pause"]
        transport.receive(b"begun")
        assert transport.did == ["pause", "pause", "pause"]

    alone.run(main)


def test_deadlines_wait_for_who_has_paused(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = quiet(alone, transport)
        clock = Clock(protocol)
        transport.receive(b"begun")
        protocol.pause_reading()
        protocol.pause_reading()
        clock.move(1000)
        protocol.resume_reading()
        await turns()
        clock.move(59)
        assert transport.did == ["pause", "resume"]
        clock.move(1)
        assert transport.did == ["pause", "resume", "close"]

    alone.run(main)


def test_the_idle_deadline_begins_anew_with_the_end_of_a_pause(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = quiet(alone, transport)
        clock = Clock(protocol)
        protocol.pause_reading()
        clock.now += 1000
        protocol.resume_reading()
        clock.move(0)
        await turns()
        assert transport.did == ["pause", "resume"]

    alone.run(main)


def test_a_peer_that_takes_nothing_is_aborted(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport(high=10)
        protocol = quiet(alone, transport)
        clock = Clock(protocol)
        protocol.send_line(b"0123456789")
        assert protocol.is_full
        clock.move(200)
        protocol.send_line(b"more")  # which shows nothing of the peer
        transport.waiting += 5
        clock.move(100)
        assert transport.did == ["pause", "abort"]

    alone.run(main)


def test_a_peer_that_takes_its_output_slowly_is_not_idle(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport(high=10)
        protocol = quiet(alone, transport)
        clock = Clock(protocol)
        transport.waiting = 5000
        protocol.send_line(b"0123456789")
        for _ in range(3):
            transport.waiting -= 10
            clock.move(299)
            protocol.send_line(b"more")
            transport.waiting += 5
        protocol.close()
        for _ in range(3):
            transport.waiting -= 1
            clock.move(299)
        assert transport.did == ["pause", "close"]
        clock.move(300)
        assert transport.did == ["pause", "close", "abort"]

    alone.run(main)


def test_an_override_can_let_a_deadline_begin_anew(alone: Aio) -> None:
    async def main() -> None:
        class Patient(alone.LineProtocol):
            def timed_out(self, which: str) -> Any:
                return [which.encode()]

        transport = Transport()
        protocol = transport.connect(Patient())
        clock = Clock(protocol)
        transport.receive(b"begun")
        assert clock.move(60) == pytest.approx(60, abs=1)
        clock.move(59)
        assert transport.sent == b"line\n"
        clock.move(1)
        assert transport.sent == b"line\nline\n"

    alone.run(main)


def test_deadlines_can_be_switched_off(alone: Aio) -> None:
    async def main() -> None:
        class Endless(alone.LineProtocol):
            idle_timeout = line_timeout = None

        transport = Transport()
        protocol = transport.connect(Endless())
        assert link_of(protocol).deadlines.timer is None

        class Lines(alone.LineProtocol):
            idle_timeout = None

            def line_received(self, line: bytes) -> None:
                pass

        transport = Transport()
        clock = Clock(transport.connect(Lines()))
        clock.move(1e6)
        transport.receive(b"begun")
        clock.move(59)
        assert transport.did == []
        clock.move(1)
        assert transport.did == ["close"]

    alone.run(main)


def test_deadlines_count_as_they_are_when_the_connection_is_made(alone: Aio) -> None:
    async def main() -> None:
        protocol = Transport().connect(alone.LineProtocol())
        protocol.idle_timeout = protocol.line_timeout = "no number at all"
        assert Clock(protocol).move(1.0) > 30
        link_of(protocol).deadlines.timer.cancel()

    alone.run(main)
