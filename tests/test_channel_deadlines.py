"""``LineChannel``: deadlines, and timers of a channel, by a clock that the test moves."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Clock, Stage, fail_with
from tests.support.line_channels import line_channel, replies, settle, tell
from tests.support.servers import channels, linux_only, received, server_of
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
    assert channel.events == [("timed out", "idle"), "lost"]
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
    assert channel.events == [b"xxxxxx", ("timed out", "line"), "lost"]


@pytest.mark.parametrize("is_slow", [True, False])
def test_a_timer_bounds_a_body(own: Stage, clock: Clock, is_slow: bool) -> None:
    """As docs/channel.md says, for ``line_timeout`` may be long for a large one."""

    def line_received(self: Any, line: bytes) -> None:
        self.receive_exactly(int(line))
        self.timer = self.call_later(60, self.timed_out, "body")

    def raw_received(self: Any, data: bytes) -> None:
        self.timer.cancel()
        self.events.append(data)

    channel = line_channel(own, line_received=line_received, raw_received=raw_received)
    tell(own, channel, b"9\r\n")
    for _ in range(4 if is_slow else 9):
        clock.now += 14 if is_slow else 1
        tell(own, channel, b"x")
    assert channel.events == ([] if is_slow else [b"x" * 9])
    clock.now += 100
    settle(own)
    assert channel.events == ([("timed out", "body"), "lost"] if is_slow else [b"x" * 9])


def _sized(own: Stage, **members: Any) -> Any:
    """A channel that takes a body behind each line that is a number, and pauses behind a minus."""

    def line_received(self: Any, line: bytes) -> None:
        self.receive_exactly(abs(int(line)))
        if line.startswith(b"-"):
            self.pause_reading()

    members = {
        "line_timeout": 10,
        "idle_timeout": None,
        "line_received": line_received,
        "raw_received": lambda self, data: self.events.append(len(data)),
        **members,
    }
    return line_channel(own, **members)


def _expect_timeout(own: Stage, clock: Clock, channel: Any, *, after: int) -> None:
    """The deadline of what has begun passes in so many seconds, and not a second before."""
    before = list(channel.events)
    for _ in range(after - 1):
        clock.now += 1
        settle(own)
    assert channel.events == before
    clock.now += 1
    settle(own)
    assert channel.events == [*before, ("timed out", "line"), "lost"]


# How a channel comes to wait for two bytes more, of which the first three seconds have passed.
_WAYS: dict[str, Callable[[Stage, Clock, Any], None]] = {}


def _way(function: Callable[[Stage, Clock, Any], None]) -> Callable[[Stage, Clock, Any], None]:
    _WAYS[function.__name__] = function
    return function


@_way
def _of_one_read(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"3\r\nx")
    clock.now += 3


@_way
def _of_its_own(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"3\r\n")
    clock.now += 100
    tell(own, channel, b"x")
    clock.now += 3


@_way
def _behind_another(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"5\r\n")
    tell(own, channel, b"xx")
    clock.now += 9
    tell(own, channel, b"xxx3\r\nx")
    clock.now += 3


@_way
def _behind_many(own: Stage, clock: Clock, channel: Any) -> None:
    channel.lines_per_pass = 1
    tell(own, channel, b"0\r\n" * 9 + b"3\r\nx")
    settle(own, 20)
    clock.now += 3


@_way
def _asked_for_by_a_timer(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"x")
    clock.now += 9
    channel.call_later(0, channel.receive_exactly, 3)
    settle(own)
    clock.now += 3


@_way
def _asked_for_elsewhere(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"x")
    clock.now += 9
    channel.receive_exactly(3)
    settle(own)
    clock.now += 3


@_way
def _asked_for_anew(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"9\r\nx")
    clock.now += 9
    channel.receive_exactly(3)
    settle(own)
    clock.now += 3


@_way
def _given_back_elsewhere(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"3\r\n")
    clock.now += 100
    channel.unread(b"x")
    settle(own)
    clock.now += 3


@_way
def _behind_a_pause(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"3\r\nx")
    channel.pause_reading()
    clock.now += 1000
    settle(own)
    channel.resume_reading()
    clock.now += 3


@_way
def _behind_a_pause_of_its_hook(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"-3\r\nx")
    clock.now += 1000
    settle(own)
    channel.resume_reading()
    clock.now += 3


@_way
def _behind_output_that_waited(own: Stage, clock: Clock, channel: Any) -> None:
    channel.high_water = 1
    channel.low_water = 0
    channel.write_timeout = None
    channel.send(b"x" * 1_000_000)
    tell(own, channel, b"3\r\nx")
    clock.now += 1000
    replies(channel)
    while channel.waiting:
        settle(own)
        replies(channel)
    settle(own)
    clock.now += 3


@_way
def _behind_a_high_mark_that_was_raised(own: Stage, clock: Clock, channel: Any) -> None:
    tell(own, channel, b"3\r\nx")
    channel.high_water = 1
    channel.write_timeout = None
    channel.send(b"x" * 1_000_000)
    clock.now += 1000
    channel.high_water = None
    while channel.waiting:
        replies(channel)
        settle(own)
    clock.now += 3


@_way
def _of_a_limit_that_is_new(own: Stage, clock: Clock, channel: Any) -> None:
    channel.line_timeout = None
    tell(own, channel, b"3\r\nx")
    clock.now += 1000
    channel.line_timeout = 10
    clock.now += 3


@pytest.mark.parametrize("way", _WAYS.values(), ids=_WAYS)
def test_body_has_to_be_whole_in_time(
    own: Stage, clock: Clock, way: Callable[[Stage, Clock, Any], None]
) -> None:
    """From its first byte, however it is asked for; and what interrupts that begins it anew."""
    channel = _sized(own)
    settle(own)
    way(own, clock, channel)
    settle(own)
    _expect_timeout(own, clock, channel, after=7)


@pytest.mark.parametrize("way", _WAYS.values(), ids=_WAYS)
def test_body_that_is_whole_in_time(
    own: Stage, clock: Clock, way: Callable[[Stage, Clock, Any], None]
) -> None:
    """What comes behind it has no deadline before it begins, and then its own."""
    channel = _sized(own)
    settle(own)
    way(own, clock, channel)
    clock.now += 6
    tell(own, channel, b"xx")
    assert channel.events[-1] == 3
    clock.now += 1000
    settle(own)
    assert channel.events[-1] == 3
    tell(own, channel, b"4")
    _expect_timeout(own, clock, channel, after=10)


@pytest.mark.parametrize("sent", [1, 65535, 65536, 131071, 131072])
def test_large_body_has_the_time_again_where_64_kib_came_in_it(
    own: Stage, clock: Clock, sent: int
) -> None:
    """However much that was, so that a byte now and then holds no connection."""
    channel = _sized(own)
    tell(own, channel, b"1000000\r\n", b"x" * sent)
    _expect_timeout(own, clock, channel, after=10 if sent < 65536 else 20)


def test_large_body_that_comes_slowly(own: Stage, clock: Clock) -> None:
    channel = _sized(own)
    tell(own, channel, b"1000000\r\nx")
    for _ in range(24):
        clock.now += 5
        tell(own, channel, b"x" * 34000)
    assert channel.events == []
    for _ in range(3):
        clock.now += 1
        tell(own, channel, b"x")
    _expect_timeout(own, clock, channel, after=7)


@pytest.mark.parametrize("end", ["read_lines", "read_raw"])
def test_what_was_a_body_is_something_else_from_then_on(own: Stage, clock: Clock, end: str) -> None:
    channel = _sized(own)
    tell(own, channel, b"4\r\n", b"x")
    clock.now += 9
    getattr(channel, end)()
    settle(own)
    if end == "read_lines":
        _expect_timeout(own, clock, channel, after=10)
    else:
        clock.now += 1000
        settle(own)
        assert channel.events == [1]


def test_large_body_behind_a_slow_one(own: Stage, clock: Clock) -> None:
    channel = _sized(own)
    tell(own, channel, b"65537\r\n", b"x" * 65536)
    clock.now += 10
    settle(own)
    tell(own, channel, b"x", b"1000000\r\n", b"x" * 65536)
    assert channel.events == [65537]
    _expect_timeout(own, clock, channel, after=20)


def test_large_line_has_to_be_whole_in_time(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, max_line=10**6, line_timeout=10)
    tell(own, channel, b"x" * 200_000)
    _expect_timeout(own, clock, channel, after=10)


def test_line_behind_one_whose_hook_takes_long_has_the_whole_time(own: Stage, clock: Clock) -> None:
    def line_received(self: Any, line: bytes) -> None:
        if line == b"pause":
            self.pause_reading()
        else:
            clock.now += 9

    channel = line_channel(own, line_timeout=10, line_received=line_received)
    tell(own, channel, b"pause\r\nslow\r\nx")
    channel.resume_reading()
    settle(own)
    _expect_timeout(own, clock, channel, after=10)


@pytest.mark.parametrize("first", [b"", b"x", b"4\r\nx"])
def test_what_is_given_back_has_the_whole_time(own: Stage, clock: Clock, first: bytes) -> None:
    channel = _sized(own)
    tell(own, channel, first)
    clock.now += 9
    channel.unread(b"1")
    settle(own)
    _expect_timeout(own, clock, channel, after=10)


@pytest.mark.parametrize("does", ["receive_exactly", "resume_reading", "unread"])
def test_what_a_hook_asks_for_costs_no_other_channel_its_time(
    own: Stage, clock: Clock, does: str
) -> None:
    """Where the hook takes long: what has come meanwhile is received first."""

    def line_received(self: Any, line: bytes) -> None:
        clock.now += 5
        other.peer.sendall(b"y\r\n")
        if does == "receive_exactly":
            self.receive_exactly(9)
        elif does == "unread":
            self.unread(b"z")
        else:
            self.pause_reading()
            self.resume_reading()

    other = line_channel(own, line_timeout=10)
    tell(own, other, b"x")
    channel = line_channel(own, line_received=line_received)
    clock.now += 8
    tell(own, channel, b"line\r\nz")
    assert other.events == [b"xy"]


def test_nothing_has_a_deadline_behind_the_end(own: Stage, clock: Clock) -> None:
    channel = _sized(own, eof_received=lambda self: True)
    channel.peer.shutdown(socket.SHUT_WR)
    settle(own)
    channel.unread(b"x")
    settle(own)
    clock.now += 1000
    settle(own)
    assert channel.events == []


@pytest.mark.parametrize("where", ["hook", "elsewhere"])
def test_raw_input_begins_behind_a_line_that_is_dropped(
    own: Stage, clock: Clock, where: str
) -> None:
    """And the line has its deadline until then."""
    members: dict[str, Any] = {
        "line_too_long": lambda self, *_: self.read_raw() if where == "hook" else None,
        "raw_received": lambda self, data: self.events.append(data),
    }
    for is_late in (False, True):
        channel = line_channel(own, max_line=4, line_timeout=10, idle_timeout=None, **members)
        tell(own, channel, b"123456")
        if where == "elsewhere":
            channel.read_raw()
            settle(own)
        if is_late:
            _expect_timeout(own, clock, channel, after=10)
        else:
            tell(own, channel, b"78\r\nab", b"cd")
            assert channel.events == [b"ab", b"cd"]
            clock.now += 1000
            settle(own)
            assert channel.events == [b"ab", b"cd"]


def test_body_that_ends_early_has_no_deadline(own: Stage, clock: Clock) -> None:
    channel = _sized(own, eof_received=lambda self: True)
    tell(own, channel, b"4\r\nx")
    channel.peer.shutdown(socket.SHUT_WR)
    settle(own)
    clock.now += 1000
    settle(own)
    assert channel.events == []


def test_body_behind_one_whose_hook_left_the_loop_has_its_own_time(
    own: Stage, clock: Clock
) -> None:
    def raw_received(self: Any, data: bytes) -> None:
        raise own.asyncore.ExitNow

    channel = _sized(own, raw_received=raw_received)
    tell(own, channel, b"4\r\nx")
    clock.now += 9
    channel.peer.sendall(b"xxx4")
    with pytest.raises(own.asyncore.ExitNow):
        settle(own)
    settle(own)
    _expect_timeout(own, clock, channel, after=10)


def test_what_waits_behind_a_line_that_was_given_back_has_the_whole_time(
    own: Stage, clock: Clock
) -> None:
    channel = line_channel(own, line_timeout=10)
    tell(own, channel, b"x")
    clock.now += 9
    channel.unread([b"line"])
    settle(own)
    assert channel.events == [b"line"]
    _expect_timeout(own, clock, channel, after=10)


def test_who_was_not_read_is_not_idle_since_before(own: Stage, clock: Clock) -> None:
    """Though no pass was made meanwhile, as where a loop is attached."""
    channel = line_channel(own, idle_timeout=10)
    settle(own)
    channel.pause_reading()
    clock.now += 1000
    channel.resume_reading()
    settle(own)
    assert channel.events == []


@pytest.mark.parametrize("size", [1, 5_000_000])
def test_reply_behind_a_pause_is_not_of_before_it(own: Stage, clock: Clock, size: int) -> None:
    def line_received(self: Any, line: bytes) -> Any:
        return self.pause_reading() if line == b"pause" else b"x" * size

    channel = line_channel(own, idle_timeout=10, line_received=line_received)
    tell(own, channel, b"pause\r\nline\r\n")
    clock.now += 1000
    channel.resume_reading()
    settle(own)
    assert channel.events == []
    clock.now += 9
    settle(own)
    assert channel.events == []


def test_deadline_of_a_body_that_closes_nothing_begins_anew(own: Stage, clock: Clock) -> None:
    channel = _sized(own, timed_out=lambda self, which: self.events.append(which))
    tell(own, channel, b"9\r\nx")
    for _ in range(2):
        clock.now += 10
        settle(own)
    assert channel.events == ["line"] * 2


@pytest.mark.parametrize("when", ["before", "behind", "earlier"])
def test_farewell_of_a_deadline_is_not_destroyed(own: Stage, clock: Clock, when: str) -> None:
    """Where something was sent of late the channel lingers, though the peer goes on sending."""
    base = own.implementation.channel.LineChannel

    def timed_out(self: Any, which: str) -> Any:
        if when == "before":
            self.send(b"bye")
        base.timed_out(self, which)
        return [b"bye"] if when == "behind" else None

    channel = line_channel(own, line_timeout=10, timed_out=timed_out)
    tell(own, channel, b"x")
    clock.now += 9.5
    settle(own)
    if when == "earlier":
        channel.send(b"bye")
    clock.now += 0.5
    tell(own, channel, b"x")
    settle(own)
    assert channel.events == []
    end = b"\r\n<end>" if when == "behind" else b"<end>"
    assert replies(channel) == b"bye" + end
    clock.now += 5
    settle(own)
    assert channel.events == ["lost"]


@linux_only
@pytest.mark.parametrize("end", ["deadline", "stop"])
def test_reply_that_the_kernel_has_is_not_destroyed(own: Stage, clock: Clock, end: str) -> None:
    """Though all of it was taken long ago, and the peer, which is slow, sends on."""
    kind = channels(own, high_water=None, line_received=lambda self, line: b"x" * 100_000)
    server = server_of(own, kind)
    client = own.new_socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = server.addresses[0].rpartition(":")
    client.connect((host, int(port)))
    own.until(lambda: kind.made, use_poll=True)
    (channel,) = kind.made
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    client.sendall(b"get\r\n")
    own.until(lambda: server.stats().channels[0].sent == 100_002, use_poll=True)
    if end == "deadline":
        clock.now += channel.idle_timeout
    else:
        clock.now += 2
        server.stop()
    own.loop(5, use_poll=True)
    client.sendall(b"more")
    own.loop(5, use_poll=True)
    assert received(own, client) == b"x" * 100_000 + b"\r\n"


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
    assert channel.events == [("timed out", "line"), "lost"]


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


def test_line_that_is_too_long_has_to_end_in_time(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, max_line=4, line_timeout=10)
    tell(own, channel, b"123456")
    assert channel.events == [("long", b"123456", 6)]
    _expect_timeout(own, clock, channel, after=10)


@pytest.mark.parametrize("behind", ["nothing", "a line", "a body"])
def test_what_comes_behind_a_line_that_was_too_long_has_its_own_time(
    own: Stage, clock: Clock, behind: str
) -> None:
    members: dict[str, Any] = {"line_too_long": lambda self, *_: self.receive_exactly(3)}
    channel = line_channel(
        own, max_line=4, line_timeout=10, **(members if behind == "a body" else {})
    )
    tell(own, channel, b"123456")
    clock.now += 9
    tell(own, channel, b"7")
    tell(own, channel, b"8\r\n" + (b"" if behind == "nothing" else b"x"))
    if behind == "nothing":
        clock.now += 100
        settle(own)
        assert channel.events == [("long", b"123456", 6)]
    else:
        _expect_timeout(own, clock, channel, after=10)


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


def test_an_idle_deadline_that_is_assigned_late_counts_from_then_on(
    own: Stage, clock: Clock
) -> None:
    channel = line_channel(own, timed_out=lambda self, which: self.events.append(which))
    settle(own)
    clock.now += 200
    settle(own)
    channel.idle_timeout = 10
    clock.now += 9
    settle(own)
    assert channel.events == []
    channel.idle_timeout = 10  # which changes nothing
    clock.now += 1
    settle(own)
    assert channel.events == ["idle"]


@pytest.mark.parametrize("which", ["line", "write"])
def test_other_deadlines_that_are_assigned_late(own: Stage, clock: Clock, which: str) -> None:
    limits: dict[str, Any] = {"idle_timeout": None, "line_timeout": None, "write_timeout": None}
    channel = line_channel(
        own, timed_out=lambda self, which: self.events.append(which), high_water=None, **limits
    )
    tell(own, channel, b"x" if which == "line" else b"")
    if which == "write":
        channel.send(b"x" * 1_000_000)
    clock.now += 200
    settle(own)
    setattr(channel, f"{which}_timeout", 10)
    clock.now += 9
    settle(own)
    assert channel.events == []
    clock.now += 1
    settle(own)
    assert channel.events == [which]


def test_a_deadline_of_a_line_is_none_where_no_line_has_begun(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, line_timeout=None, idle_timeout=None)
    settle(own)
    channel.line_timeout = 10
    clock.now += 100
    settle(own)
    assert channel.events == []


def test_lingering_that_is_shortened_late(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, linger_timeout=None)
    settle(own)
    channel.close()
    clock.now += 200
    settle(own)
    channel.linger_timeout = 10
    clock.now += 9
    settle(own)
    assert channel.events == []
    clock.now += 1
    settle(own)
    assert channel.events == ["lost"]


@pytest.mark.parametrize("which", ["line", "write"])
def test_answer_to_one_deadline_puts_off_no_other(own: Stage, clock: Clock, which: str) -> None:
    """As of a program that pings who is idle."""

    def timed_out(self: Any, which: str) -> None:
        self.events.append(which)
        self.send_line(b"ping")

    limits: dict[str, Any] = {"high_water": None, "idle_timeout": 30, f"{which}_timeout": 70}
    channel = line_channel(own, timed_out=timed_out, **limits)
    tell(own, channel, b"x" if which == "line" else b"")
    if which == "write":
        channel.send(b"x" * 1_000_000)
    for _ in range(8):
        clock.now += 10
        settle(own)
    assert channel.events == ["idle", "idle", which]


@pytest.mark.parametrize("why", ["pause", "output"])
def test_deadline_of_a_line_stops_with_the_input(own: Stage, clock: Clock, why: str) -> None:
    """The peer is not charged for what the program, or its output, has waited for."""
    channel = line_channel(own, line_timeout=60, write_timeout=None, idle_timeout=None)
    tell(own, channel, b"x")
    if why == "pause":
        channel.pause_reading()
    else:
        channel.send(b"x" * 1_000_000)
    for _ in range(17):
        clock.now += 7
        settle(own)
    if why == "pause":
        channel.resume_reading()
    for _ in range(20):
        settle(own)
        if not channel.waiting:
            break
        channel.peer.recv(1 << 20)
    for _ in range(59):
        clock.now += 1
        settle(own, 2)
    assert channel.events == []
    clock.now += 1
    settle(own)
    assert channel.events == [("timed out", "line"), "lost"]


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
    assert channel.events == [("timed out", "idle"), "lost"]


def test_shorter_deadline_counts_at_once(own: Stage, clock: Clock) -> None:
    channel = line_channel(own)
    settle(own)
    channel.idle_timeout = 5
    clock.now += 5
    settle(own)
    assert channel.events == [("timed out", "idle"), "lost"]


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


def test_channel_forgets_its_timers(own: Stage, clock: Clock) -> None:
    """As they are cancelled or called, for a peer decides how many there are."""

    def again(self: Any, line: bytes) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.call_later(30, self.events.append, "called")

    channel = line_channel(own, line_received=again, timer=None)
    tell(own, channel, *[b"x\r\n" * 50] * 10)
    assert len(channel._fc_line.timers) == 1
    clock.now += 30
    settle(own)
    assert channel.events == ["called"]
    assert not channel._fc_line.timers
    with pytest.raises(TypeError, match="a function is to be called later"):
        channel.call_later(1, None)


@all_maps
def test_deadline_that_begins_late_goes_by_the_clock(
    own: Stage, clock: Clock, choose_map: Callable[[Stage], None]
) -> None:
    """Also where nothing needed the clock before."""

    def log_in(self: Any, line: bytes) -> None:
        self.idle_timeout = 30

    choose_map(own)
    never: dict[str, Any] = dict.fromkeys(("idle_timeout", "line_timeout", "write_timeout"))
    channel = line_channel(own, line_received=log_in, **never)
    settle(own)
    clock.now += 500
    tell(own, channel, b"login\r\n")
    clock.now += 29
    assert tell(own, channel) == []
    clock.now += 1
    settle(own)
    assert channel.events == [("timed out", "idle"), "lost"]


def test_peer_that_takes_output_late_is_not_cut_off(own: Stage, clock: Clock) -> None:
    """By a program's own loop, which calls ``asyncore.write``."""
    channel = line_channel(own, write_timeout=30)
    settle(own)
    channel.send(b"x" * 5_000_000)
    for _ in range(3):
        clock.now += 29
        assert replies(channel)
        own.asyncore.write(channel)
        settle(own)
    assert channel.events == []


def test_deadline_in_passes_of_a_hook_does_not_keep_them_busy(own: Stage, clock: Clock) -> None:
    """It passes while a hook runs, and is told when that is done."""
    left: list[Any] = []

    def nest(self: Any, line: bytes) -> None:
        clock.now += 400
        settle(own)
        left.append(agenda_of(own.map).until_next(None))
        self.events.append(line)

    agenda_of = own.implementation.core["agenda"].agenda_of
    channel = line_channel(own, line_received=nest)
    tell(own, channel, b"x\r\n")
    assert left == [1 / 8]
    clock.now += 1
    settle(own)
    assert channel.events == [b"x", ("timed out", "idle"), "lost"]


@pytest.mark.parametrize("which", ["idle", "line", "write"])
def test_short_deadline_does_not_keep_the_loop_busy(own: Stage, clock: Clock, which: str) -> None:
    """It is looked at eight times a second, though its hook does nothing about it."""
    told: list[str] = []
    members: dict[str, Any] = {
        f"{which}_timeout": 1e-9,
        "timed_out": lambda self, which: told.append(which),
    }
    channel = line_channel(own, **members)
    settle(own)
    if which == "write":
        channel.send(b"x" * 1_000_000)
    tell(own, channel, b"x")
    agenda = own.implementation.core["agenda"].agenda_of(own.map)
    for _ in range(16):
        clock.now += agenda.until_next(None)
        settle(own)
    assert told == [which] * len(told)
    assert 14 <= len(told) <= 18


def test_stays_in_its_map(own: Stage) -> None:
    """Where its deadlines are, and what goes on; it may leave and come back."""
    channel = line_channel(own, lines_per_pass=1)
    channel.del_channel()
    other = own.asyncore.channel_map()
    channel._fileno = channel.socket.fileno()
    with pytest.raises(ValueError, match="stays in its map"):
        channel.add_channel(other)
    assert not other
    channel.add_channel(own.map)
    assert tell(own, channel, b"1\r\n2\r\n3\r\n") == [b"1", b"2", b"3"]
