"""Input of a line channel that is given back, or cut anew: what it costs, and its order.

A stop, or a connection that is lost, gathers up to 1 MiB.  Where each line of that changes how the
rest is to be cut, a pass must not copy the rest for each of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Stage
from tests.support.line_channels import line_channel
from tests.support.memory import memory_of

GATHERED = 1 << 20
CHANGES: dict[str, Callable[[Any], object]] = {
    "receive_exactly": lambda channel: channel.receive_exactly(0),
    "read_lines": lambda channel: channel.read_lines(),
    "max_line": lambda channel: setattr(channel, "max_line", 100 + channel.max_line % 2),
    "delimiter": lambda channel: setattr(
        channel, "delimiter", {b"\r\n": b"\n", b"\n": b"\r\n"}[channel.delimiter]
    ),
}


def changing(own: Stage, name: str, hook: str) -> Any:
    """A channel whose *hook* does ``CHANGES[name]`` for each line, and counts them in ``count``."""

    def line_received(channel: Any, line: bytes) -> None:
        channel.count += 1
        CHANGES[name](channel)

    def lines_received(channel: Any, lines: list[bytes]) -> None:
        channel.unread(lines[1:])
        line_received(channel, lines[0])

    members: dict[str, Any] = {
        "line_received": line_received,
        "raw_received": lambda channel, data: None,
    }
    if hook == "lines_received":
        members[hook] = lines_received
    return line_channel(own, **members, count=0, max_line=100)


@pytest.mark.parametrize("way", ["waits", "stops", "lost"])
@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_does_not_copy_what_waits(own: Stage, name: str, hook: str, way: str) -> None:
    channel = changing(own, name, hook)
    own.loop(2, use_poll=True)
    state = channel._fc_line
    for _ in range(GATHERED // 65536):
        state.feed(b"x\r\n" * (65536 // 3))
    if way == "waits":
        state.requeue()
    elif way == "stops":
        channel.shut_down()
    else:
        channel.peer.close()
        own.implementation.channel.line_events.lose(state, None)
    own.loop(1, use_poll=True)
    _, peak = memory_of(lambda: own.loop(5, use_poll=True))
    assert channel.count > 100
    assert len(state.buffer) > GATHERED // 2
    assert peak < GATHERED // 4
    channel.abort()


def given(channel: Any) -> list[bytes]:
    """The lines that *channel* has got."""
    return [each for each in channel.events if type(each) is bytes]


@pytest.mark.parametrize("size", [1, 600, 70_000], ids="{} bytes".format)
@pytest.mark.parametrize("rest", [b"", b"behind\r\n", b"y" * 700 + b"\r\n"], ids=len)
def test_what_was_never_there_comes_first(own: Stage, size: int, rest: bytes) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        if line == b"go":
            channel.unread(b"x" * size + b"\r\n")

    channel = line_channel(own, line_received=line_received, max_line=None)
    channel.peer.sendall(b"go\r\n" + rest)
    own.loop(6, use_poll=True)
    assert given(channel) == [b"go", b"x" * size, *rest.splitlines()]


def test_what_is_given_back_while_a_line_is_dropped_as_raw_input(own: Stage) -> None:
    """Raw input has no lines, so what follows is no part of the one that was too long."""

    def line_too_long(channel: Any, prefix: bytes, size: int) -> None:
        channel.read_raw()
        channel.unread(b"first ")

    channel = line_channel(own, max_line=4, line_too_long=line_too_long)
    own.loop(2, use_poll=True)
    channel.peer.sendall(b"x" * 20)
    own.loop(3, use_poll=True)
    channel.peer.sendall(b"second")
    own.loop(3, use_poll=True)
    raw = b"".join(each[1] for each in channel.events if type(each) is tuple and each[0] == "raw")
    assert raw == b"first second"


def test_a_part_of_a_line_is_behind_what_is_given_back(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        if line == b"go":
            channel.unread([b"one", b"two"])
            channel.read_lines()

    channel = line_channel(own, line_received=line_received)
    mine: socket.socket = channel.peer
    mine.sendall(b"go\r\nthr")
    own.loop(4, use_poll=True)
    mine.sendall(b"ee\r\n")
    own.loop(4, use_poll=True)
    assert given(channel) == [b"go", b"one", b"two", b"three"]
