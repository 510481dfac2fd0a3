"""``LineChannel``: deadlines, and timers of a channel, by a clock that the test moves."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.support.channels import Clock, Stage, fail_with
from tests.support.line_channels import line_channel, replies, settle, tell
from tests.support.waiting import all_maps


@all_maps
def test_idle(own: Stage, clock: Clock, choose_map: Callable[[Stage], None]) -> None:
    choose_map(own)
    channel = line_channel(own, idle_timeout=10, line_received=lambda self, line: line)
    settle(own)
    for _ in range(3):
        clock.now += 9
        tell(own, channel, b"line\r\n")
    assert channel.events == []
    clock.now += 10
    settle(own)
    assert channel.events == [("timed out", "idle")]
    assert replies(channel) == b"line\r\n" * 3 + b"<end>"


def test_line_has_to_be_whole_in_time(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, line_timeout=60)
    for _ in range(5):
        tell(own, channel, b"x")
        clock.now += 11
    assert channel.events == []
    tell(own, channel, b"x\r\ny")
    for _ in range(5):
        clock.now += 11
        tell(own, channel, b"y")
    assert channel.events == [b"xxxxxx"]
    clock.now += 6
    settle(own)
    assert channel.events == [b"xxxxxx", ("timed out", "line")]


def test_output_has_to_be_taken_in_time(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, write_timeout=30)
    settle(own)
    channel.send(b"x" * 1_000_000)
    for _ in range(3):
        clock.now += 29
        settle(own)
        assert replies(channel)
        settle(own)
    assert channel.events == []
    clock.now += 30
    settle(own)
    assert channel.events == [("timed out", "write"), TimeoutError]


def test_who_takes_a_byte_now_and_then_is_not_waited_for(own: Stage, clock: Clock) -> None:
    """It would hold the output for ever; after close(), too."""
    for closes in (False, True):
        channel = line_channel(own, write_timeout=30)
        settle(own)
        channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        channel.send(b"x" * 1_000_000)
        if closes:
            channel.close()
        for _ in range(8):
            clock.now += 9
            settle(own)
            if not own.map:
                break
            channel.peer.recv(4096)
        assert channel.events[-1] is TimeoutError


def test_timer_does_not_put_off_the_deadline_of_a_line(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, line_timeout=60)
    settle(own)
    for _ in range(6):
        channel.call_later(5, channel.events.copy)
        tell(own, channel, b"x")
        clock.now += 10
        settle(own)
    assert channel.events == [("timed out", "line")]


def test_what_waits_comes_before_the_deadline_of_a_line(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, line_timeout=60)
    tell(own, channel, b"x")
    channel.call_later(59, channel.unread, [b"given back"])
    clock.now += 60
    own.loop(1, use_poll=True)
    assert channel.events == []
    settle(own)
    assert channel.events == [b"given back"]


def test_line_that_was_too_long_has_no_deadline(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, max_line=4, line_timeout=60)
    tell(own, channel, b"123456", b"78\r\n", b"ok\r\n")
    clock.now += 100
    settle(own)
    assert channel.events == [("long", b"123456", 6), b"ok"]


def test_no_deadline(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, idle_timeout=None, line_timeout=None, write_timeout=None)
    tell(own, channel, b"x")
    channel.send(b"x" * 5_000_000)
    clock.now += 10**6
    settle(own)
    assert channel.events == []


def test_deadline_begins_anew_where_the_hook_closes_nothing(own: Stage, clock: Clock) -> None:
    channel = line_channel(
        own, idle_timeout=10, timed_out=lambda self, which: self.events.append(which)
    )
    settle(own)
    for _ in range(3):
        clock.now += 10
        settle(own)
    assert channel.events == ["idle"] * 3


def test_program_that_pauses_is_not_idle(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, idle_timeout=10)
    settle(own)
    channel.pause_reading()
    clock.now += 100
    settle(own)
    assert channel.events == []
    channel.resume_reading()
    settle(own)
    clock.now += 10
    settle(own)
    assert channel.events == [("timed out", "idle")]


def test_shorter_deadline_counts_at_once(own: Stage, clock: Clock) -> None:
    channel = line_channel(own)
    settle(own)
    channel.idle_timeout = 5
    clock.now += 5
    settle(own)
    assert channel.events == [("timed out", "idle")]


def test_call_later(own: Stage, clock: Clock) -> None:
    channel = line_channel(own)
    settle(own)
    channel.call_later(1, channel.events.append, "called")
    channel.call_later(1, channel.send_line, b"hello")
    cancelled = channel.call_later(1, channel.events.append, "cancelled")
    cancelled.cancel()
    channel.call_later(2, fail_with(ZeroDivisionError()))
    channel.call_later(3, channel.events.append, "after the end")
    for expected in (["called"], [ZeroDivisionError, "lost"], []):
        clock.now += 1
        del channel.events[:]
        settle(own)
        assert channel.events == expected
    assert replies(channel) == b"hello\r\n<end>"
    with pytest.raises(OSError, match="not connected"):
        channel.call_later(1, print)
