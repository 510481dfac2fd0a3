"""``LineChannel``: how connections end, half-close, limits, and what a peer cannot do."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Clock, Stage, fail_with, received, reset
from tests.support.line_channels import (
    line_channel,
    recording_lines,
    replies,
    settle,
    tell,
)
from tests.support.waiting import all_maps

# The end of the input.


def test_end_closes(own: Stage) -> None:
    channel = line_channel(own, line_received=lambda self, line: line)
    channel.peer.sendall(b"one\r\ntw")
    channel.peer.shutdown(socket.SHUT_WR)
    settle(own)
    assert channel.events == [("eof", b"tw"), "lost"]
    assert replies(channel) == b"one\r\n<end>"
    assert not own.map


def test_half_closed_stays_open_for_output(own: Stage) -> None:
    channel = line_channel(own, eof_received=lambda self: True)
    channel.peer.sendall(b"one\r\n")
    channel.peer.shutdown(socket.SHUT_WR)
    settle(own)
    assert channel.events == [b"one"]
    channel.send_line(b"later")
    channel.close()
    settle(own)
    assert replies(channel) == b"later\r\n<end>"
    assert channel.events == [b"one", "lost"]


def test_what_waits_is_sent_after_the_end(own: Stage) -> None:
    """A reply of any size arrives whole, though the peer has closed its half."""
    big = b"x" * 4_000_000
    channel = line_channel(own, line_received=lambda self, line: big)
    channel.peer.sendall(b"GET\r\n")
    channel.peer.shutdown(socket.SHUT_WR)
    got = 0
    own.loop(4, use_poll=True)
    channel.peer.setblocking(False)
    while not channel.events or channel.events[-1] != "lost":
        own.loop(use_poll=True)
        try:
            got += len(channel.peer.recv(1 << 20))
        except BlockingIOError:
            continue
    while more := channel.peer.recv(1 << 20):
        got += len(more)
    assert got == len(big) + 2


def test_end_while_paused_comes_after_the_lines(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        channel.pause_reading()

    channel = line_channel(own, line_received=line_received)
    channel.peer.sendall(b"one\r\ntwo\r\nthr")
    channel.peer.shutdown(socket.SHUT_WR)
    settle(own)
    assert channel.events == [b"one"]
    channel.resume_reading()
    settle(own)
    assert channel.events == [b"one", b"two"]
    channel.resume_reading()
    settle(own)
    assert channel.events == [b"one", b"two", ("eof", b"thr"), "lost"]


def test_body_that_is_cut_off_is_reported(own: Stage) -> None:
    channel = line_channel(own, line_received=lambda self, line: self.receive_exactly(100))
    channel.peer.sendall(b"100\r\nsome")
    channel.peer.shutdown(socket.SHUT_WR)
    settle(own)
    assert channel.events == [("eof", b"some"), "lost"]


def test_failing_eof_hook(own: Stage) -> None:
    channel = line_channel(own, eof_received=fail_with(ZeroDivisionError()))
    channel.peer.close()
    settle(own)
    assert channel.events == [ZeroDivisionError, "lost"]


# The end of the connection.


def test_reset_is_told_once(own: Stage) -> None:
    mine, peer = own.tcp_pair()
    channel = line_channel(own, mine)
    settle(own)
    reset(peer)
    own.until(lambda: channel.events, use_poll=True)
    settle(own)
    assert channel.events == [ConnectionResetError]
    assert not own.map


def test_close_lingers(own: Stage) -> None:
    """A reply arrives though the peer has sent input that nobody reads."""
    mine, peer = own.tcp_pair()
    big = b"x" * 400_000

    def line_received(channel: Any, line: bytes) -> bytes:
        channel.close()
        return big

    channel = line_channel(own, mine, line_received=line_received)
    peer.sendall(b"one\r\n" * 20_000)
    own.loop(3, use_poll=True)
    peer.settimeout(0.05)
    got = b""
    while not got.endswith(b"\r\n"):
        own.loop(use_poll=True)
        try:
            got += peer.recv(1 << 16)
        except TimeoutError:
            continue
    assert got == big + b"\r\n"
    assert peer.recv(1) == b""
    assert channel.events == []
    peer.close()
    own.until(lambda: channel.events, use_poll=True)
    assert channel.events == ["lost"]


def test_lingers_only_so_long(own: Stage, clock: Clock) -> None:
    channel = line_channel(own, linger_timeout=5)
    settle(own)
    channel.close()
    for seconds in (2, 2):
        clock.now += seconds
        tell(own, channel, b"never mind\r\n")
    assert channel.events == []
    clock.now += 1.1
    settle(own)
    assert channel.events == ["lost"]


def test_no_lingering(own: Stage) -> None:
    channel = line_channel(own, linger_timeout=0)
    settle(own)
    channel.close()
    assert channel.events == []
    settle(own)
    assert channel.events == ["lost"]


def test_shut_down_answers_what_was_received(own: Stage) -> None:
    channel = line_channel(
        own,
        lines_per_pass=2,
        line_received=lambda self, line: line,
        shutting_down=lambda self: b"421 bye",
    )
    settle(own)
    channel.peer.sendall(b"1\r\n2\r\n3\r\n4\r\n5\r\nhal")
    channel.shut_down()
    channel.shut_down()
    channel.peer.sendall(b"f\r\n")
    settle(own)
    assert replies(channel) == b"1\r\n2\r\n3\r\n4\r\n5\r\n421 bye\r\n<end>"
    channel.peer.close()
    settle(own)
    assert channel.events == ["lost"]


def test_shut_down_of_an_idle_channel(own: Stage) -> None:
    for begins in (True, False):
        channel = line_channel(own, shutting_down=lambda self: b"bye", linger_timeout=0)
        if begins:
            settle(own)
        channel.shut_down()
        settle(own)
        assert channel.events == ["lost"]
        assert replies(channel) == (b"bye\r\n<end>" if begins else b"<end>")
    channel.shut_down()
    recording_lines(own)(None, own.map).shut_down()


def test_abort_drops_what_waits(own: Stage) -> None:
    channel = line_channel(own)
    settle(own)
    channel.send(b"x" * 5_000_000)
    assert channel.waiting > 0
    channel.abort()
    assert channel.events == ["lost"]
    assert channel.waiting == 0
    for method in (channel.abort, channel.close):
        method()
    channel.send(b"into the void")
    assert channel.events == ["lost"]


def test_abort_in_a_hook_waits_for_it(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        channel.abort()
        channel.events.append("still in the hook")
        return b"never"

    channel = line_channel(own, line_received=line_received)
    assert tell(own, channel, b"one\r\ntwo\r\n") == ["still in the hook", "lost"]
    assert replies(channel) == b"<end>"


def test_close_before_it_has_begun(own: Stage) -> None:
    channel = line_channel(own, connection_made=fail_with(AssertionError()), linger_timeout=0)
    channel.close()
    settle(own)
    assert channel.events == ["lost"]


def test_close_in_connection_made(own: Stage) -> None:
    def connection_made(channel: Any) -> bytes:
        channel.close()
        return b"go away"

    channel = line_channel(own, connection_made=connection_made)
    tell(own, channel, b"line\r\n")
    assert replies(channel) == b"go away\r\n<end>"
    channel.peer.close()
    settle(own)
    assert channel.events == ["lost"]


def test_failing_connection_lost_is_logged(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    channel = line_channel(own, connection_lost=fail_with(ZeroDivisionError()))
    other = line_channel(own)
    channel.peer.close()
    with caplog.at_level(logging.ERROR, "fastchat.channel"):
        settle(own)
    (record,) = caplog.records
    assert "connection_lost" in record.getMessage()
    assert tell(own, other, b"here\r\n") == [b"here"]


def test_close_all_ends_it(own: Stage) -> None:
    channel = line_channel(own)
    settle(own)
    own.asyncore.close_all(own.map)
    assert channel.events == ["lost"]
    assert channel.socket.fileno() == -1


def test_descriptor_that_was_closed_behind_its_back(own: Stage) -> None:
    channel = line_channel(own)
    settle(own)
    channel.socket.close()
    settle(own)
    assert len(channel.events) == 1
    assert not own.map


# Clients.


def test_connects(own: Stage) -> None:
    server = own.new_socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    channel = recording_lines(own, connection_made=lambda self: b"hello")(None, own.map)
    channel.create_socket()
    channel.send_line(b"soon")
    channel.connect(server.getsockname())
    peer = own.keep(server.accept()[0])
    own.until(lambda: channel.connected, use_poll=True)
    settle(own)
    assert received(peer, 13) == b"soon\r\nhello\r\n"
    peer.sendall(b"line\r\n")
    own.until(lambda: channel.events, use_poll=True)
    channel.abort()
    assert channel.events == [b"line", "lost"]


def test_connection_refused(own: Stage) -> None:
    channel = recording_lines(own, connection_made=fail_with(AssertionError()))(None, own.map)
    channel.create_socket()
    channel.connect(own.refused_address())
    own.until(lambda: channel.events, use_poll=True)
    assert channel.events == [ConnectionRefusedError]
    assert not own.map


# Limits.

TOO_SMALL = ["max_line", "lines_per_pass"]
SIZES = [*TOO_SMALL, "max_body", "high_water", "low_water", "max_output"]
TIMES = ["idle_timeout", "line_timeout", "write_timeout", "linger_timeout"]


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        *[(name, -1, ValueError) for name in SIZES + TIMES],
        *[(name, 0, ValueError) for name in TOO_SMALL],
        *[(name, "1", TypeError) for name in SIZES + TIMES],
        *[(name, 1.5, TypeError) for name in SIZES],
        *[(name, float("nan"), ValueError) for name in TIMES],
        *[(name, 10**400, ValueError) for name in TIMES],
        *[(name, 0, ValueError) for name in TIMES if name != "linger_timeout"],
        ("max_line", True, TypeError),
        ("delimiter", b"", ValueError),
        ("delimiter", "\n", TypeError),
        ("delimiter", (), ValueError),
        ("delimiter", None, TypeError),
    ],
)
def test_wrong_limit_is_refused(own: Stage, name: str, value: Any, kind: Any) -> None:
    """On a channel, in the body of a class, and where a class was changed later."""
    channel = line_channel(own)
    before = getattr(channel, name)
    words = name.replace("delimiter", "delimiter|terminator")
    with pytest.raises(kind, match=words):
        setattr(channel, name, value)
    assert getattr(channel, name) == before
    with pytest.raises(kind, match=words):
        recording_lines(own, **{name: value})
    changed = recording_lines(own)
    setattr(changed, name, value)
    with pytest.raises(kind, match=words):
        changed()


@pytest.mark.parametrize("name", SIZES + TIMES)
def test_limit_can_be_set_and_switched_off(own: Stage, name: str) -> None:
    base = own.implementation.channel.LineChannel
    assert getattr(base, name) is not None
    kind = recording_lines(own, **{name: None})
    assert getattr(kind, name) is None
    channel = line_channel(own, high_water=None)
    for value in (7, None, 1 << 62, 8):
        setattr(channel, name, value)
        assert getattr(channel, name) in (value, None)
    assert getattr(line_channel(own), name) == getattr(base, name)


def test_low_mark_is_not_above_the_high_one(own: Stage) -> None:
    channel = line_channel(own, high_water=1000)
    assert channel.low_water == 1000
    channel.low_water = 2000
    assert channel.low_water == 1000
    channel.low_water = 900
    channel.high_water = 800
    assert channel.low_water == 800
    # It was lowered for as long as the other one is.
    channel.high_water = 0
    assert channel.low_water == 0
    channel.high_water = 1000
    assert channel.low_water == 900
    channel.low_water = channel.high_water = None
    assert channel.low_water is None


def test_limits_of_the_next_connection_are_those_of_the_last(own: Stage) -> None:
    channel = line_channel(own, delimiter=(b";", b"\n"))
    given = dict.fromkeys(SIZES, 12345) | dict.fromkeys(TIMES, 7.5) | {"high_water": 0}
    for name, value in given.items():
        setattr(channel, name, value)
    channel.max_body, channel.idle_timeout = None, None
    channel.delimiter = b"!"
    channel.abort()
    mine, peer = own.pair()
    channel.set_socket(mine)
    channel.connected = True
    assert channel.low_water == 0
    channel.high_water = 20000
    expected = given | {"high_water": 20000, "max_body": None, "idle_timeout": None}
    assert {name: getattr(channel, name) for name in given} == expected
    assert channel.delimiter == b"!"
    peer.sendall(b"a!b;!")
    own.loop(5, use_poll=True)
    assert channel.events == ["lost", b"a", b"b;"]


@pytest.mark.parametrize(
    "value", [5, 65536, None], ids=["another value", "the same value", "no limit"]
)
@pytest.mark.parametrize("place", ["mixin", "class", "base"])
def test_limit_from_elsewhere_is_one(own: Stage, place: str, value: Any) -> None:
    """Of a class that is mixed in, or assigned to the class or its base, before or after others."""
    base: Any = recording_lines(own)
    mixin: Any = type("Mixin", (), {"max_line": value} if place == "mixin" else {})
    kind: Any = type("Kind", (mixin, base), {})
    if place != "mixin":
        kind().max_line = 9
        (kind if place == "class" else base).max_line = value
    assert kind.max_line == kind().max_line == value
    channel = kind(own.pair()[0], own.map)
    own.at_the_end(channel.abort)
    channel.max_line = 1
    assert channel.max_line == channel._fc_line.max_line == 1
    assert kind().max_line == value
    if place == "mixin":
        assert mixin.max_line == value
        assert base().max_line == 65536
        mixin().max_line = 2
    if place == "base":
        base.max_line = 3
        assert kind().max_line == 3


def test_limit_of_a_mixin_is_checked(own: Stage) -> None:
    mixin = type("Mixin", (), {"max_line": "1"})
    with pytest.raises(TypeError, match="max_line"):
        type("Kind", (mixin, recording_lines(own)), {})


def test_line_too_long_by_default_closes(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    base = own.implementation.channel.LineChannel
    channel = line_channel(own, max_line=10, line_too_long=base.line_too_long)
    with caplog.at_level(logging.WARNING, "fastchat.channel"):
        tell(own, channel, b"fine\r\n" + b"x" * 11 + b"\r\nnever\r\n")
    assert channel.events == [b"fine"]
    assert "11 bytes or more" in caplog.text
    assert replies(channel) == b"<end>"


@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
def test_goes_on_behind_a_line_that_is_too_long(own: Stage, hook: str) -> None:
    members: dict[str, Any] = {}
    if hook == "lines_received":
        members[hook] = lambda self, lines: self.events.extend(lines)
    channel = line_channel(own, max_line=4, **members)
    events = tell(
        own, channel, b"a\r\n12345\r\nb\r\n", b"123456", b"789", b"\r", b"\nc\r\n1234\r\n"
    )
    assert events == [b"a", ("long", b"12345", 5), b"b", ("long", b"123456", 6), b"c", b"1234"]


def test_body_may_be_longer_than_a_line(own: Stage) -> None:
    """What a hook takes as a body is no line that is too long, also in the same read."""
    channel = line_channel(
        own, max_line=4, line_received=lambda self, line: self.receive_exactly(9)
    )
    assert tell(own, channel, b"9\r\n123456789", b"9\r\n123456\r\n9") == [
        ("raw", b"123456789"),
        ("raw", b"123456\r\n9"),
    ]


def test_full_output_stops_input(own: Stage) -> None:
    reply = b"x" * 100_000
    channel = line_channel(
        own, line_received=lambda self, line: (self.events.append(line), reply)[1]
    )
    channel.peer.sendall(b"get\r\n" * 100)
    settle(own, 20)
    stopped = len(channel.events)
    assert stopped < 100
    assert not channel.readable()
    assert channel.writable()
    assert channel.waiting < channel.high_water + 200_000
    channel.peer.settimeout(0.02)
    got = 0
    while got < 100 * (len(reply) + 2):
        own.loop(use_poll=True)
        try:
            got += len(channel.peer.recv(1 << 20))
        except TimeoutError:
            continue
    assert channel.events == [b"get"] * 100


def test_too_much_output_ends_the_channel(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    channel = line_channel(own, max_output=1 << 20)
    settle(own)
    with caplog.at_level(logging.WARNING, "fastchat.channel"):
        channel.send(b"x" * (8 << 20))
    settle(own)
    assert channel.events == [OSError]
    assert "the last piece has 8388608" in caplog.text
    assert "max_output" in caplog.text
    assert not own.map


def test_limits_of_output_count_for_what_waits(own: Stage) -> None:
    channel = line_channel(own)
    settle(own)
    channel.send(b"x" * 1_000_000)
    assert tell(own, channel, b"one\r\n") == []
    channel.high_water = 2_000_000
    settle(own)
    assert channel.events == [b"one"]
    channel.high_water = 1
    assert tell(own, channel, b"two\r\n") == [b"one"]
    channel.high_water = None
    settle(own)
    assert channel.events == [b"one", b"two"]
    channel.max_output = 1000
    settle(own)
    assert channel.events == [b"one", b"two", OSError]


def test_small_sends_that_wait_are_joined(own: Stage) -> None:
    """Each as an object of its own would have some ten times its bytes."""
    channel = line_channel(own, max_output=None)
    settle(own)
    channel.send(b"x" * 1_000_000)
    before = channel.waiting
    for _ in range(10_000):
        channel.send(b"line")
    assert channel.waiting == before + 40_000
    assert len(channel._fc_line.queue) <= 2 + 40_000 // 4000
    got = b""
    while len(got) < 1_040_000:
        settle(own)
        got += channel.peer.recv(1 << 20)
    assert got == b"x" * 1_000_000 + b"line" * 10_000


def test_what_the_kernel_refuses_waits(own: Stage) -> None:
    """Pieces of many sizes arrive in order, however the kernel takes them."""
    pieces = [bytes([number % 251]) * (number * 977 % 70_000 + 1) for number in range(150)]
    channel = line_channel(own)
    settle(own)
    for piece in pieces:
        channel.send(piece)
    whole = b"".join(pieces)
    got = b""
    channel.peer.settimeout(0.02)
    while len(got) < len(whole):
        own.loop(use_poll=True)
        try:
            got += channel.peer.recv(100_000)
        except TimeoutError:
            continue
    assert got == whole
    assert channel.waiting == 0
    assert channel.readable()
    assert not channel.writable()


# Other ways to be served.


def test_override_of_what_is_no_hook_is_called(own: Stage) -> None:
    base = own.implementation.channel.LineChannel

    def handle_read_event(channel: Any) -> None:
        channel.events.append("event")
        base.handle_read_event(channel)

    channel = line_channel(own, handle_read_event=handle_read_event)
    assert tell(own, channel, b"line\r\n") == ["event", b"line"]


@all_maps
def test_serves_over_any_map(own: Stage, choose_map: Callable[[Stage], None]) -> None:
    choose_map(own)
    channel = line_channel(own, line_received=lambda self, line: line)
    tell(own, channel, b"one\r\ntw", b"o\r\n")
    assert replies(channel) == b"one\r\ntwo\r\n"
    channel.peer.close()
    settle(own)
    assert channel.events == [("eof", b""), "lost"]


def test_serves_beside_a_chat(own: Stage) -> None:
    chat = own.chat()
    channel = line_channel(own)
    chat.peer.sendall(b"to the chat\n")
    assert tell(own, channel, b"to the channel\r\n") == [b"to the channel"]
    assert b"to the chat" in chat.events


def test_error_number_of_a_lost_connection(own: Stage) -> None:
    lost: list[Any] = []
    channel = line_channel(own, connection_lost=lambda self, exc: lost.append(exc))
    settle(own)
    channel.send(b"x" * 5_000_000)
    channel.peer.close()
    settle(own)
    (failure,) = lost
    assert failure.errno in (errno.EPIPE, errno.ECONNRESET)
