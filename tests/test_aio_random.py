"""Random plays of ``fastchat.aio.LineProtocol`` without a network.

Whatever a program and a peer do, lines come once and in order, output leaves in order by the
transport of its time, a full output stops lines and ends, and nothing that came as plaintext is
given as what TLS has protected.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False, disable-error-code="name-defined, misc"

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.aio import Aio, Transport, link_of, turns
from tests.test_aio_deadlines import Clock
from tests.test_aio_hostile import Tls

SEEDS = range(150)
ACTIONS = ("receive", "receive", "pause", "resume", "resume", "send", "room", "turn", "switch")


class Play:
    """A protocol whose hooks do at random what hooks may do, and what must become of it."""

    def __init__(self, aio: Aio, seed: int) -> None:
        self.random = random.Random(seed)
        self.sent = 0  # how many lines the program has sent
        self.wanted = [b""]  # what each transport has to send
        self.got: list[bytes] = []
        self.count = 0  # of lines in the input
        self.rest = b""  # of the input, that was not received yet
        play = self

        class Played(aio.LineProtocol):
            high_water, low_water = 40, 10
            idle_timeout = None

            def line_received(self, line: bytes) -> Any:
                return play.on_line(line)

            def other(self, line: bytes) -> Any:
                return play.on_line(line)

        self.protocol = Played()
        self.transports = [Transport(high=40)]
        self.transports[0].connect(self.protocol)
        self.clock = Clock(self.protocol)
        self.clock.now = 0.0

    def on_line(self, line: bytes) -> Any:
        """The hook for a line."""
        assert not self.protocol.is_full
        self.got.append(line)
        choice = self.random.randrange(8)
        if choice == 0:
            self.protocol.pause_reading()
        elif choice == 1:
            before = len(self.wanted[-1])
            while not self.protocol.is_full:
                self.send()
                assert len(self.wanted[-1]) - before < 200
        elif choice == 2:
            self.protocol.__dict__["line_received"] = self.protocol.other
        elif choice == 3:
            self.switch()
        elif choice == 4:
            self.wanted[-1] += line + b"\n"
            return line
        return None

    def send(self) -> None:
        self.sent += 1
        self.wanted[-1] += b"%d\n" % self.sent
        self.protocol.send_line(b"%d" % self.sent)

    def switch(self) -> None:
        """Assign another transport, which has room."""
        new = Transport(high=40)
        new.protocol = self.protocol
        self.protocol.transport = new
        self.transports.append(new)
        self.wanted.append(b"")

    def receive(self) -> None:
        while len(self.rest) < 20:
            self.rest += b"%d\n" % self.count
            self.count += 1
        size = self.random.randrange(1, 20)
        self.transports[-1].receive(self.rest[:size])
        self.rest = self.rest[size:]

    def room(self) -> None:
        if self.protocol.is_full:
            self.transports[-1].high = len(self.transports[-1].sent) + 40
            self.protocol.resume_writing()

    async def act(self) -> None:
        action = self.random.choice(ACTIONS)
        if action == "receive":
            self.receive()
        elif action == "pause":
            self.protocol.pause_reading()
        elif action == "resume":
            self.protocol.resume_reading()
        elif action == "send" and not self.protocol.is_full:
            self.send()
        elif action == "room":
            self.room()
        elif action == "switch":
            self.switch()
        elif action == "turn":
            await turns()
        self.check()

    def check(self) -> None:
        assert self.got == [b"%d" % number for number in range(len(self.got))]
        assert [transport.sent for transport in self.transports] == self.wanted

    async def end(self) -> None:
        """Everything that was received comes, once nothing stops it."""
        while len(self.got) < self.count - self.rest.count(b"\n"):
            self.room()
            self.protocol.resume_reading()
            await turns()
        self.check()

    async def begin_tls(self) -> None:
        """Assign TLS: it is taken only where no plaintext waits behind what was given."""
        self.protocol.pause_reading()
        waits = link_of(self.protocol).holds_input()
        given, new = len(self.got), Tls()
        new.protocol = self.protocol
        if waits:
            with pytest.raises(ConnectionAbortedError):
                self.protocol.transport = new
        else:
            self.protocol.transport = new
        self.protocol.resume_reading()
        await turns()
        assert len(self.got) == given


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_a_program_does_lines_and_output_keep_their_order(alone: Aio, seed: int) -> None:
    async def main() -> None:
        play = Play(alone, seed)
        for _ in range(80):
            await play.act()
        if seed % 3:
            await play.end()
        await play.begin_tls()
        play.protocol.abort()

    alone.run(main)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_stops_lines_the_time_of_one_is_what_was_not_stopped(
    alone: Aio, seed: int
) -> None:
    """By a clock that begins at 0, and a peer that dribbles."""

    async def main() -> None:
        chance = random.Random(seed)
        transport = Transport()
        protocol = transport.connect(alone.echo(idle_timeout=None, line_timeout=60)())
        clock = Clock(protocol)
        clock.now, ran = 0.0, 0.0
        transport.receive(b"x")
        is_paused = is_full = False
        while ran < 60:
            assert not transport.is_closing()
            action = chance.randrange(4)
            if action == 0:
                (protocol.resume_reading if is_paused else protocol.pause_reading)()
                is_paused = not is_paused
            elif action == 1:
                (protocol.resume_writing if is_full else protocol.pause_writing)()
                is_full = not is_full
            elif action == 2:
                transport.receive(b"x")
                protocol.resume_reading()
                is_paused = False
            await turns()
            seconds = chance.randrange(1, 10)
            ran += 0 if is_paused or is_full else seconds
            clock.move(seconds)
        assert transport.did[-1] == "close"

    alone.run(main)
