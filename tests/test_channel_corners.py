"""``LineChannel``: calls at unusual moments, and hooks that nobody has overridden."""

from __future__ import annotations

import errno
import gc
import logging
import sys
from functools import partial
from typing import Any

import pytest

from tests.support.channels import Clock, Stage, fail_with, reset
from tests.support.line_channels import line_channel, recording_lines, replies, settle, tell


def plain(stage: Stage, **members: Any) -> Any:
    """A channel without hooks, but for *members*."""
    base: Any = stage.implementation.channel.LineChannel
    return line_channel(stage, **{name: getattr(base, name) for name in HOOKS} | members)


HOOKS = (
    *("connection_made", "line_received", "lines_received", "raw_received", "eof_received"),
    *("shutting_down", "connection_lost", "handle_error"),
)


@pytest.mark.parametrize("hook", ["line_received", "lines_received", "raw_received"])
def test_hook_that_is_needed(own: Stage, hook: str, caplog: pytest.LogCaptureFixture) -> None:
    channel = plain(own)
    settle(own)
    if hook == "raw_received":
        channel.read_raw()
    if hook == "lines_received":
        with pytest.raises(NotImplementedError):
            channel.lines_received([b"line"])
    with caplog.at_level(logging.ERROR, "fastchat.channel"):
        tell(own, channel, b"line\r\n")
    assert hook.partition("_")[0][:3] in caplog.text
    assert replies(channel) == b"<end>"


def test_hooks_that_are_not_needed(own: Stage) -> None:
    channel = plain(own)
    settle(own)
    channel.shut_down()
    settle(own)
    assert replies(channel) == b"<end>"
    channel.peer.close()
    settle(own)
    assert not own.map


def test_timer_of_the_channel_while_its_hook_runs(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        channel.call_later(0, channel.send_line, b"timer")
        own.loop(3, use_poll=True)
        return line

    channel = line_channel(own, line_received=line_received)
    tell(own, channel, b"line\r\n")
    assert replies(channel) == b"timer\r\nline\r\n"


def test_hook_that_makes_passes_while_others_are_ready(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        own.loop(2, use_poll=True)

    channels = [line_channel(own, lines_per_pass=1, line_received=line_received) for _ in range(3)]
    for channel in channels:
        channel.peer.sendall(b"1\r\n2\r\n3\r\n")
    settle(own)
    assert [channel.events for channel in channels] == [[b"1", b"2", b"3"]] * 3


def test_connection_made_that_makes_passes(own: Stage) -> None:
    def connection_made(channel: Any) -> None:
        channel.events.append("made")
        own.loop()

    channels = [line_channel(own, connection_made=connection_made) for _ in range(3)]
    own.loop()
    assert [channel.events for channel in channels] == [["made"]] * 3


def test_event_before_the_first_pass(own: Stage) -> None:
    channel = line_channel(own, connection_made=lambda self: self.events.append("made"))
    channel.peer.sendall(b"line\r\n")
    channel.handle_read_event()
    settle(own)
    assert channel.events == ["made", b"line"]


def test_event_without_input(own: Stage) -> None:
    channel = line_channel(own)
    settle(own)
    channel.handle_read_event()
    recording_lines(own)(None, own.map).handle_read_event()
    assert channel.events == []


def test_delimiter_before_the_first_pass(own: Stage) -> None:
    channel = line_channel(own)
    channel.delimiter = b";"
    assert channel.delimiter == b";"
    assert tell(own, channel, b"a;b;") == [b"a", b"b"]


def test_delimiter_after_the_end_of_the_input(own: Stage) -> None:
    channel = line_channel(own, eof_received=lambda self: self.events.append("eof") or True)
    channel.peer.shutdown(1)
    settle(own)
    channel.delimiter = b";"
    settle(own)
    assert channel.events == ["eof"]


def test_lines_that_are_given_back_as_raw_input(own: Stage) -> None:
    def raw_received(channel: Any, data: bytes) -> None:
        channel.events.append(data)
        if len(channel.events) == 1:
            channel.unread([b"one", b"two"])

    channel = line_channel(own, raw_received=raw_received)
    channel.read_raw()
    assert tell(own, channel, b"x") == [b"x", b"one\r\ntwo\r\n"]


def test_lines_from_outside(own: Stage) -> None:
    """More of them than one pass gives."""
    channel = line_channel(
        own, lines_per_pass=2, lines_received=lambda self, lines: self.events.append(lines)
    )
    settle(own)
    channel.unread([b"1", b"2", b"3"])
    assert channel.events == []
    assert tell(own, channel, b"4\r\n") == [[b"1", b"2"], [b"3"], [b"4"]]
    channel.close()
    channel.unread([b"never"])
    settle(own)
    assert channel.events == [[b"1", b"2"], [b"3"], [b"4"]]


def test_shut_down_in_a_hook(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        channel.shut_down()
        return line

    channel = line_channel(own, line_received=line_received, shutting_down=lambda self: b"goodbye")
    tell(own, channel, b"one\r\ntwo\r\n")
    assert replies(channel) == b"one\r\ntwo\r\ngoodbye\r\n<end>"


def test_close_of_what_was_reset(own: Stage) -> None:
    mine, peer = own.tcp_pair()
    channel = line_channel(own, mine)
    settle(own)
    channel.pause_reading()
    reset(peer)
    channel.close()
    settle(own)
    assert channel.events == ["lost"]


def test_methods_after_the_end(own: Stage) -> None:
    base: Any = own.implementation.channel.LineChannel
    channel = line_channel(own, handle_error=base.handle_error)
    settle(own)
    channel.abort()
    channel.handle_close()
    channel.handle_error()
    channel.pause_reading()
    channel.resume_reading()
    assert channel.events == ["lost"]
    plain(own).handle_close()


def test_error_of_what_waits(own: Stage) -> None:
    lost: list[Any] = []
    channel = line_channel(own, connection_lost=lambda self, exc: lost.append(exc))
    settle(own)
    channel.send(b"x" * 1_000_000)
    channel.handle_close()
    (failure,) = lost
    assert failure.errno == errno.ECONNRESET


def test_what_connection_lost_raises_may_leave(own: Stage) -> None:
    channel = line_channel(own, connection_lost=fail_with(own.asyncore.ExitNow()))
    settle(own)
    with pytest.raises(own.asyncore.ExitNow):
        channel.abort()
    assert not own.map


def test_what_timed_out_raises_may_leave(own: Stage, clock: Clock) -> None:
    left = [own.asyncore.ExitNow()]

    def timed_out(channel: Any, which: str) -> None:
        channel.events.append(which)
        if left:
            raise left.pop()

    channel = line_channel(own, idle_timeout=10, timed_out=timed_out)
    settle(own)
    clock.now += 10
    with pytest.raises(own.asyncore.ExitNow):
        settle(own)
    assert tell(own, channel, b"line\r\n") == ["idle", b"line"]
    clock.now += 10
    settle(own)
    assert channel.events == ["idle", b"line", "idle"]


def test_deadline_that_was_for_later_is_none(own: Stage, clock: Clock) -> None:
    channel = line_channel(
        own,
        line_timeout=None,
        write_timeout=None,
        timed_out=lambda self, which: self.events.append(which),
    )
    settle(own)
    channel.idle_timeout = 200
    channel.idle_timeout = 290
    for _ in range(2):
        clock.now += 250
        settle(own)
    assert channel.events == ["idle"] * 1
    clock.now += 290
    settle(own)
    assert channel.events == ["idle"] * 2


def test_close_waits_only_so_long_for_its_output(own: Stage, clock: Clock) -> None:
    channel = line_channel(own)
    settle(own)
    channel.send(b"x" * 1_000_000)
    channel.close()
    settle(own)
    assert channel.events == []
    clock.now += 60
    settle(own)
    assert channel.events == [TimeoutError]


def test_hook_that_sends_much(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> Any:
        for _ in range(3):
            channel.send(b"x" * 50_000)
        return [b"y" * 70_000, line]

    channel = line_channel(own, line_received=line_received)
    channel.peer.sendall(b"line\r\n")
    got = b""
    for _ in range(20):
        settle(own)
        got += replies(channel)
    assert got == b"x" * 150_000 + b"y" * 70_000 + b"\r\nline\r\n"


NAMES = ("recv", "send", "shutdown", "getpeername")


@pytest.mark.parametrize("problem", [BlockingIOError(), OSError()], ids=["again", "error"])
@pytest.mark.parametrize("what", ["read", "send", "close", "shut down", "connect"])
def test_what_a_handler_raises_in_a_call_is_no_error_of_the_socket(
    own: Stage, what: str, problem: Exception
) -> None:
    """It leaves the call."""
    if own.implementation.name == "cython" and what not in ("close", "connect"):
        pytest.skip("compiled code makes the call itself")
    channel = line_channel(own)
    settle(own)
    act = {
        "read": channel.handle_read_event,
        "send": lambda: channel.send(b"data"),
        "close": channel.close,
        "shut down": channel.shut_down,
        "connect": channel.handle_connect_event,
    }[what]

    def interrupt(frame: Any, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ in NAMES:
            raise problem

    sys.setprofile(interrupt)
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011 (it is compared)
            act()
    finally:
        sys.setprofile(None)
    assert caught.value is problem


@pytest.mark.parametrize("what", ["line", "peer", "room"])
def test_what_a_handler_raises_is_no_answer(own: Stage, what: str) -> None:
    """Neither that a line is too long, nor that there is no peer; and what waits is sent."""
    if own.implementation.name == "cython":
        pytest.skip("compiled code calls nothing of Python there")
    line_too_long = own.implementation.core["line_rules"].LineTooLong
    problem: Any
    sock, peer = own.new_socket(), None
    if what != "peer":
        sock, peer = own.pair()
    channel = line_channel(own, sock, max_line=4)
    if what == "line":
        settle(own)
        channel._fc_line.feed(b"12345")
        name, problem = "_feed", line_too_long([], b"", 0, 0)
        act = partial(channel._fc_line.drop_long, b"")
    elif what == "peer":
        name, problem, act = "getpeername", OSError(), channel.handle_read_event
    else:
        settle(own)
        channel.send(b"x" * 1_000_000)
        channel.peer = peer
        assert replies(channel)
        name, problem, act = "send", KeyboardInterrupt(), channel.handle_write_event

    def interrupt(frame: Any, event: str, function: Any) -> None:
        called = function.__name__ if event == "c_call" else frame.f_code.co_name
        if event in ("call", "c_call") and called == name:
            raise problem

    sys.setprofile(interrupt)
    try:
        with pytest.raises(type(problem)) as caught:
            act()
    finally:
        sys.setprofile(None)
    assert caught.value is problem
    channel.abort()


def test_shut_down_of_a_paused_channel(own: Stage) -> None:
    channel = line_channel(own, line_received=lambda self, line: line)
    settle(own)
    channel.pause_reading()
    channel.read_lines()
    channel.peer.sendall(b"line\r\n")
    channel.shut_down()
    settle(own)
    assert replies(channel) == b""
    channel.resume_reading()
    settle(own)
    assert replies(channel) == b"line\r\n<end>"


def test_eof_by_default_closes(own: Stage) -> None:
    channel = plain(own, line_received=lambda self, line: line)
    channel.peer.sendall(b"line\r\n")
    channel.peer.shutdown(1)
    settle(own)
    assert replies(channel) == b"line\r\n<end>"
    assert not own.map


def test_idle_channels_share_what_is_the_same(own: Stage) -> None:
    """The tuple of delimiters; with one for each, 10,000 idle channels have 0.6 MB more."""
    kind = type(line_channel(own))
    buffers = [kind(own.pair()[0], own.map)._fc_line.buffer for _ in range(2)]
    if own.implementation.name == "cython":
        first, second = (
            [found for found in gc.get_referents(buffer) if found == (b"\r\n",)]
            for buffer in buffers
        )
        assert len(first) == 1
        assert first[0] is second[0]
    else:
        assert buffers[0]._several is buffers[1]._several
