"""A handler of logging that raises: what was to be done is done, and that leaves the loop, or not.

Those of the standard library report what fails in them, and raise nothing; others do.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import pytest

from tests.support.channels import Clock, Stage, fail_with, posix_only
from tests.support.line_channels import line_channel, replies, settle, tell
from tests.support.servers import channels, client_of, server_of


class Full(Exception):
    """The disk of the log is full."""


class Handler(logging.Handler):
    """One that raises."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        raise Full


@pytest.fixture(autouse=True)
def handler() -> Iterator[Handler]:
    handler = Handler()
    loggers = [logging.getLogger(f"fastchat.{name}") for name in ("channel", "server")]
    for each in loggers:
        each.addHandler(handler)
    yield handler
    for each in loggers:
        each.removeHandler(handler)


def leave(stage: Stage) -> None:
    """Make passes, out of which the handler's exception comes at least once."""
    times = 0
    for _ in range(10):
        with contextlib.suppress(Full):
            stage.loop(1, use_poll=True)
            continue
        times += 1
    assert times


def test_a_hook_that_raises_ends_its_channel_and_no_other(own: Stage, handler: Handler) -> None:
    stock = own.implementation.channel.LineChannel.handle_error
    channel = line_channel(own, line_received=fail_with(ZeroDivisionError()), handle_error=stock)
    other = line_channel(own, line_received=lambda self, line: line)
    settle(own)
    channel.peer.sendall(b"one\r\ntwo\r\n")
    leave(own)
    assert "handle_error() of" in handler.said[1]
    assert channel.events == ["lost"]
    assert replies(channel) == b"<end>"
    tell(own, other, b"line\r\n")
    assert replies(other) == b"line\r\n"


def test_output_above_the_limit_is_dropped(own: Stage, handler: Handler) -> None:
    channel = line_channel(own, max_output=1000)
    settle(own)
    with pytest.raises(Full):
        channel.send(b"x" * 10_000_000)
    assert channel.waiting == 0
    settle(own)
    assert not own.map


def test_a_stop_ends_with_the_grace(own: Stage, clock: Clock, handler: Handler) -> None:
    kind = channels(own, line_received=lambda self, line: self.pause_reading())
    server = server_of(own, kind)
    client = client_of(own, server)
    client.sendall(b"one\r\n")
    own.until(lambda: server.stats().channels[0].lines, use_poll=True)
    server.stop(5)
    own.loop(3, use_poll=True)
    clock.now += 5
    own.loop(10, use_poll=True)  # the failure of a timer is logged as any
    assert "did not end in 5 s" in handler.said[0]
    assert server.stats().state == "stopped"


@posix_only
def test_a_listener_that_was_shut_leaves_the_map(own: Stage, handler: Handler) -> None:
    server = server_of(own, channels(own))
    (listener,) = own.map.values()
    listener.socket.shutdown(socket.SHUT_RDWR)
    leave(own)
    assert "does not listen any more" in handler.said[0]
    assert server.stats().state == "stopped"
