"""Channels of lines that write down what happens, for test_channel_*.py.

Rules this file keeps: sockets are real, nothing sleeps, and time is moved by the test; what a hook
raises and a test does not expect is in ``events`` as the class of the exception.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from typing import Any

from tests.support.channels import Stage


def recording_lines(stage: Stage, **members: Any) -> Any:
    """A LineChannel class with *members*, whose objects write down in ``events`` what they hear.

    A line is there as ``bytes``, a batch as a list, raw input as ``("raw", data)``.
    """
    base: Any = stage.implementation.channel.LineChannel

    class Recording(base):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            self.events: list[Any] = []
            super().__init__(*arguments)

        def line_received(self, line: bytes) -> Any:
            self.events.append(line)

        def raw_received(self, data: bytes) -> Any:
            self.events.append(("raw", data))

        def line_too_long(self, prefix: bytes, size: int) -> Any:
            self.events.append(("long", prefix, size))

        def timed_out(self, which: str) -> Any:
            self.events.append(("timed out", which))
            return base.timed_out(self, which)

        def eof_received(self) -> Any:
            self.events.append(("eof", self.unterminated))

        def connection_lost(self, exc: BaseException | None) -> None:
            self.events.append("lost" if exc is None else type(exc))

        def handle_error(self) -> None:
            self.events.append(sys.exc_info()[0])
            self.abort()

    return type("Recorded", (Recording,), members)


def line_channel(stage: Stage, sock: socket.socket | None = None, **members: Any) -> Any:
    """A recording channel over *sock*, by default over one of a new pair; its ``peer`` is there."""
    peer = None
    if sock is None:
        sock, peer = stage.pair()
    made = recording_lines(stage, **members)(sock, stage.map)
    made.peer = peer
    stage.at_the_end(made.abort)
    return made


def tell(stage: Stage, channel: Any, *chunks: bytes) -> list[Any]:
    """Let the peer of *channel* send *chunks*, one at a time; returns all events so far."""
    for chunk in chunks:
        channel.peer.sendall(chunk)
        settle(stage)
    events: list[Any] = channel.events
    return events


def settle(stage: Stage, passes: int = 6) -> None:
    """Make passes that wait for nothing, enough for what is there to be dealt with."""
    stage.loop(passes, use_poll=True)


def replies(channel: Any) -> bytes:
    """What the peer of *channel* has received so far."""
    channel.peer.setblocking(False)
    parts = []
    while True:
        try:
            part = channel.peer.recv(1 << 16)
        except BlockingIOError:
            break
        if not part:
            parts.append(b"<end>")
            break
        parts.append(part)
    channel.peer.setblocking(True)
    return b"".join(parts)


def answering(answers: Iterable[Any]) -> Any:
    """A hook that writes down its line or lines, and returns the next of *answers*."""
    left = list(answers)

    def hook(channel: Any, what: Any) -> Any:
        channel.events.append(what)
        return left.pop(0)

    return hook
