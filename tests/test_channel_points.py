"""``LineChannel`` interrupted at each point of a pass where a signal handler may run.

Whatever a handler raises, and wherever, the channel hears what comes next.  Compiled, where all
that runs between the input and its hook is one call, no line and no body is lost, besides; in pure
Python what was just received or cut is lost with the call that was to give it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.channels import Stage
from tests.support.interruption import at_each_point, where_there_are_points
from tests.support.line_channels import line_channel

pytestmark = where_there_are_points

# What is asked of the channel before, what its peer sends, and what the hooks get.
GIVEN: dict[str, tuple[str, bytes, list[bytes]]] = {
    "a line": ("read_lines", b"one\r\n", [b"one"]),
    "lines": ("read_lines", b"one\r\ntwo\r\nthree\r\n", [b"one", b"two", b"three"]),
    "a body": ("receive_exactly", b"body\r\n", [b"body\r\n"]),
    "a body and a line": ("receive_exactly", b"body\r\none\r\n", [b"body\r\n", b"one"]),
    "raw": ("read_raw", b"raw", [b"raw"]),
}


def make_pass(state: Any) -> None:
    """What two passes do of which the first has an event of the channel, when it has gone on."""
    state.agenda.run()
    state.read_event()
    state.agenda.run()


def check_that_it_hears(own: Stage, channel: Any, heard: list[Any]) -> None:
    """The next line comes, whatever has become of those before."""
    state = channel._fc_line
    channel.resume_reading()
    own.loop(4, use_poll=True)
    channel.read_lines()
    channel.delimiter = b"\r\n"
    channel.peer.sendall(b"\r\nlast\r\n")
    own.loop(4, use_poll=True)
    assert heard[-1:] == [b"last"]
    assert state.stops == 0
    assert state.batch is None
    channel.abort()


@pytest.mark.parametrize("name", GIVEN)
def test_what_was_received_is_given_once(own: Stage, name: str) -> None:
    mode, data, expected = GIVEN[name]

    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        channel = line_channel(own)
        heard: list[bytes] = []
        # Neither runs code of Python.
        channel.line_received = channel.raw_received = heard.append
        own.loop(2, use_poll=True)
        getattr(channel, mode)(*([6] if mode == "receive_exactly" else []))
        channel.peer.sendall(data)

        def check() -> None:
            own.loop(4, use_poll=True)
            if own.implementation.name == "cython":
                assert heard == expected
            assert len(heard) <= len(expected)
            check_that_it_hears(own, channel, heard)

        return partial(make_pass, channel._fc_line), check

    at_each_point(own.implementation, scene)


ASKED: dict[bytes, Callable[[Any], object]] = {
    b"body": lambda channel: channel.receive_exactly(3),
    b"raw": lambda channel: channel.read_raw(),
    b"pause": lambda channel: channel.pause_reading(),
    b"again": lambda channel: channel.unread([b"one", b"two"]),
    b"delimiter": lambda channel: setattr(channel, "delimiter", b"\n"),
    b"reply": lambda channel: channel.send_lines([b"a", b"b"]),
}


@pytest.mark.parametrize("what", ASKED, ids=bytes.decode)
def test_who_was_interrupted_hears_what_comes_next(own: Stage, what: bytes) -> None:
    """Also where the hook has asked for something that was not done to its end."""

    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        if line == what:
            ASKED[what](channel)

    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        channel = line_channel(own, line_received=line_received, max_line=64)
        own.loop(2, use_poll=True)
        channel.peer.sendall(what + b"\r\none\r\ntwo\n\r\nthree\r\n")

        def check() -> None:
            own.loop(4, use_poll=True)
            check_that_it_hears(own, channel, channel.events)

        return partial(make_pass, channel._fc_line), check

    at_each_point(own.implementation, scene)
