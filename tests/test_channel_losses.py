"""``LineChannel``: connections that are lost, and what must not come of it elsewhere."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Clock, Stage, fail_with, posix_only, reset
from tests.support.line_channels import line_channel, recording_lines, replies, settle, tell

both_loops = pytest.mark.parametrize("use_poll", [False, True], ids=["poll", "poll2"])


# Hooks of a lost channel come in the next pass.


def break_off(channel: Any, *lines: bytes) -> None:
    """Let the peer of *channel* send *lines*, and be gone with input unread."""
    channel.peer.sendall(b"".join(lines))
    channel.send(b"x")
    channel.peer.close()


@pytest.mark.parametrize("size", [1, 8 << 20], ids=["lost", "max_output"])
def test_send_calls_no_hook_of_its_channel(own: Stage, size: int) -> None:
    channel = line_channel(own, max_output=1 << 20)
    settle(own)
    if size == 1:
        break_off(channel, b"last\r\n")
    channel.send(b"y" * size)
    assert channel.events == []
    assert not channel.readable()
    settle(own)
    assert channel.events == ([b"last", BrokenPipeError] if size == 1 else [OSError])
    assert not own.map


def test_room_whose_members_are_gone(own: Stage) -> None:
    """Each that is lost leaves the room and says so to the others, of which some are lost."""
    room: list[Any] = []
    talking: list[Any] = []

    def say(channel: Any, line: bytes) -> None:
        talking.append(channel)
        for each in room:
            each.send_line(line)
        talking.pop()

    def connection_lost(channel: Any, exc: Any) -> None:
        channel.events.append("while somebody talked" if talking else "lost")
        room.remove(channel)
        say(channel, b"one has left")

    for _ in range(200):
        room.append(line_channel(own, line_received=say, connection_lost=connection_lost))
    members = list(room)
    settle(own)
    members[0].peer.sendall(b"hello\r\n")
    for each in members[1:]:
        each.peer.close()
    settle(own, 10)
    assert room == members[:1]
    assert members[0].events == []
    assert {each.events[-1] for each in members[1:]} == {"lost"}
    assert list(own.map.values()) == members[:1]


def test_paused_channel_is_given_nothing_when_it_is_lost(own: Stage) -> None:
    """A command that follows LOGIN may not be done before somebody has resumed."""

    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        channel.pause_reading()

    channel = line_channel(own, line_received=line_received)
    settle(own)
    tell(own, channel, b"LOGIN\r\nDELETE\r\n")
    break_off(channel)
    channel.send(b"y")
    settle(own)
    assert channel.events == [b"LOGIN", BrokenPipeError]


def test_lines_before_a_loss_are_given_a_pass_at_a_time(own: Stage) -> None:
    channel = line_channel(own, lines_per_pass=2)
    settle(own)
    break_off(channel, b"1\r\n2\r\n3\r\n4\r\n5\r\n")
    channel.send(b"y")
    seen = []
    for _ in range(4):
        own.loop(use_poll=True)
        seen.append(len(channel.events))
    assert seen == [2, 4, 6, 6]
    assert channel.events == [b"1", b"2", b"3", b"4", b"5", BrokenPipeError]


def test_what_is_read_after_a_loss_is_bounded(own: Stage) -> None:
    """A peer that sends at full speed is not read for ever, nor at all above ``max_output``."""
    received: list[int] = []

    class Endless:
        def __init__(self, sock: Any) -> None:
            self.sock = sock

        def recv(self, size: int) -> bytes:
            received.append(size)
            return b"x\r\n" * 20_000

        def send(self, data: bytes) -> int:
            raise BrokenPipeError if is_broken else BlockingIOError

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    for is_broken in (True, False):
        received.clear()
        channel = line_channel(own, max_output=1000)
        settle(own)
        channel.socket = Endless(channel.socket)
        channel.send(b"y" * 2000)
        own.loop(1, use_poll=True)
        if is_broken:
            assert sum(received) <= 2 << 20
            assert len(channel.events) == 256
        else:
            assert not received
            assert channel.events == [OSError]
        channel.abort()


@both_loops
def test_what_leaves_the_loop_in_the_last_lines(own: Stage, use_poll: bool) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        if line == b"stop":
            raise own.asyncore.ExitNow

    channel = line_channel(own, line_received=line_received)
    settle(own)
    break_off(channel, b"stop\r\nx\r\n")
    channel.send(b"y")
    with pytest.raises(own.asyncore.ExitNow):
        own.loop(3, use_poll=use_poll)
    own.loop(3, use_poll=use_poll)
    assert channel.events == [b"stop", b"x", BrokenPipeError]
    assert not own.map


# What was never there.


@both_loops
def test_reset_before_it_is_accepted(own: Stage, use_poll: bool) -> None:
    server = own.new_socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    peer = own.client(server.getsockname())
    reset(peer)
    mine, _ = server.accept()
    channel = line_channel(own, mine, connection_made=fail_with(AssertionError()))
    own.until(lambda: channel.events, use_poll=use_poll)
    assert channel.events in ([ConnectionResetError], [OSError])
    assert not own.map
    assert channel.socket.fileno() == -1


@both_loops
def test_socket_that_was_never_connected(own: Stage, use_poll: bool) -> None:
    channel = line_channel(own, socket.socket(), connection_made=fail_with(AssertionError()))
    own.until(lambda: channel.events, use_poll=use_poll)
    assert not own.map


def test_socket_that_is_connected_later(own: Stage) -> None:
    """By the program, behind the channel's back."""
    server = own.new_socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    mine = socket.socket()
    channel = line_channel(own, mine, connection_made=lambda self: b"made")
    mine.setblocking(True)
    mine.connect(server.getsockname())
    mine.setblocking(False)
    peer = own.keep(server.accept()[0])
    own.until(lambda: channel.connected, use_poll=True)
    settle(own)
    assert peer.recv(10) == b"made\r\n"


@pytest.mark.parametrize("waits", [False, True], ids=["linger", "write"])
def test_deadline_of_what_is_closed_before_it_has_begun(
    own: Stage, clock: Clock, waits: bool
) -> None:
    channel = line_channel(own, linger_timeout=5, write_timeout=30)
    channel.send(b"busy" * (1_000_000 if waits else 1))
    channel.close()
    clock.now += 4
    settle(own)
    assert channel.events == []
    clock.now += 30
    settle(own)
    assert channel.events == [TimeoutError if waits else "lost"]
    assert not own.map


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="connects at once")
def test_connection_made_comes_after_init(own: Stage, tmp_path: Any) -> None:
    server = own.new_socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    server.listen()
    channel = recording_lines(own, connection_made=lambda self: self.events.append("made"))(
        None, own.map
    )
    channel.create_socket(socket.AF_UNIX)
    channel.read_raw()
    channel.connect(str(tmp_path / "socket"))
    assert channel.events == []
    settle(own)
    assert channel.events == ["made"]
    channel.abort()


def test_mode_changes_while_it_connects(own: Stage) -> None:
    server = own.new_socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    channel = recording_lines(own, connection_made=lambda self: self.events.append("made"))(
        None, own.map
    )
    channel.create_socket()
    channel.connect(server.getsockname())
    channel.read_raw()
    assert channel.events == []
    own.until(lambda: channel.events, use_poll=True)
    assert channel.events == ["made"]
    channel.abort()


@both_loops
def test_connect_that_fails_at_once(own: Stage, use_poll: bool) -> None:
    """A program that goes on is told of a loss, and of no connection."""
    lost: list[Any] = []
    channel = recording_lines(
        own,
        connection_made=lambda self: self.events.append("made"),
        connection_lost=lambda self, exc: lost.append(exc),
    )(None, own.map)
    channel.create_socket()
    own.at_the_end(channel.abort)
    with pytest.raises(OSError, match="E"):
        channel.connect(("255.255.255.255", 1))
    own.loop(6, use_poll=use_poll)
    assert channel.events == []
    assert [type(exc) for exc in lost] == [OSError]
    assert not own.map


def test_connected_that_a_program_assigns_is_not_waited_for(own: Stage) -> None:
    """As it was a way to end an async_chat."""
    channel = line_channel(own)
    settle(own)
    channel.connected = False
    assert not channel.writable()


@both_loops
def test_the_same_channel_connects_again(own: Stage, use_poll: bool) -> None:
    server = own.new_socket()
    server.bind(("127.0.0.1", 0))
    server.listen()

    def connect(channel: Any) -> None:
        channel.create_socket()
        channel.connect(server.getsockname())

    def connection_lost(channel: Any, exc: Any) -> None:
        channel.events.append("lost")
        if channel.events.count("lost") < 3:
            connect(channel)

    kind = recording_lines(
        own,
        connection_made=lambda self: self.events.append("made"),
        connection_lost=connection_lost,
    )
    channel = kind(None, own.map)
    channel.max_line = 7
    connect(channel)
    for _ in range(3):
        peer, _ = server.accept()
        peer.sendall(b"line\r\nrest")
        peer.close()
        before = channel.events.count("lost")
        own.until(lambda: channel.events.count("lost") > before, use_poll=use_poll)  # noqa: B023
    assert channel.events == ["made", b"line", ("eof", b"rest"), "lost"] * 3
    assert channel.max_line == 7
    assert not own.map


# What a connection was lost by.


def test_reset_in_the_linger_is_no_error(own: Stage) -> None:
    mine, peer = own.tcp_pair()
    channel = line_channel(own, mine)
    settle(own)
    channel.close()
    settle(own)
    reset(peer)
    own.until(lambda: channel.events, use_poll=True)
    assert channel.events == ["lost"]


@posix_only
def test_close_in_a_child_leaves_the_connection_to_its_parent(own: Stage) -> None:
    channel = line_channel(own, line_received=lambda self, line: line)
    settle(own)
    channel._fc_line.pid += 1  # as it would be in a child
    again = own.keep(channel.socket.dup())
    channel.close()
    assert channel.events == ["lost"]
    again.send(b"still there")
    assert channel.peer.recv(20) == b"still there"
    assert channel._fc_line.pid == os.getpid() + 1


# Sockets that are not of the system.


class Own(socket.socket):
    """A socket whose methods are Python."""

    def recv(self, *arguments: Any) -> bytes:
        return super().recv(*arguments)

    def send(self, *arguments: Any) -> int:
        return super().send(*arguments)

    def shutdown(self, how: int) -> None:
        super().shutdown(how)


def test_socket_with_methods_of_its_own(own: Stage) -> None:
    mine, peer = own.pair()
    channel = line_channel(own, own.keep(Own(fileno=mine.detach())))
    channel.peer = peer
    settle(own)
    for _ in range(1000):
        channel.send(b"x" * 1000)
    got = b""
    for _ in range(30):
        settle(own)
        got += replies(channel)
    assert got == b"x" * 1_000_000
    channel.handle_read_event()
    peer.close()
    settle(own)
    assert channel.events == [("eof", b""), "lost"]


def test_close_of_a_reset_socket_with_methods_of_its_own(own: Stage) -> None:
    mine, peer = own.tcp_pair()
    channel = line_channel(
        own, own.keep(Own(fileno=mine.detach())), connection_made=lambda self: self.close()
    )
    reset(peer)
    own.until(lambda: channel.events, use_poll=True)
    assert not own.map


def test_another_socket_counts_at_once(own: Stage) -> None:
    class Shouting:
        def __init__(self, sock: Any) -> None:
            self.sock = sock

        def send(self, data: bytes) -> int:
            sent: int = self.sock.send(data.upper())
            return sent

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    def line_received(channel: Any, line: bytes) -> bytes:
        if line == b"shout":
            channel.socket = Shouting(channel.socket)
        return line

    channel = line_channel(own, line_received=line_received)
    settle(own)
    tell(own, channel, b"a\r\nshout\r\n", b"b\r\n")
    assert replies(channel) == b"A\r\nSHOUT\r\nB\r\n"


def test_no_tls(own: Stage) -> None:
    ssl = pytest.importorskip("ssl")
    mine, _ = own.pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with context.wrap_socket(mine, server_side=True, do_handshake_on_connect=False) as wrapped:
        with pytest.raises(TypeError, match="TLS"):
            recording_lines(own)(wrapped, own.map)
        assert not own.map


def test_ssl_that_is_blocked(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is how an import is blocked."""
    monkeypatch.setitem(sys.modules, "ssl", None)
    assert tell(own, line_channel(own), b"line\r\n") == [b"line"]


# What fails beside the hooks.


def test_what_fails_in_a_pass_is_not_tried_in_each(own: Stage) -> None:
    """Where handle_error() ends nothing."""
    channel = line_channel(
        own,
        unterminated=property(lambda self: b""),
        handle_error=lambda self: self.events.append("error"),
    )
    channel.peer.close()
    settle(own, 20)
    assert channel.events.count("error") <= 2
    assert channel.events[-1] == "lost"
    assert not own.map


def test_what_fails_in_a_pass_ends_its_channel_only(own: Stage) -> None:
    """Such as the ``unterminated`` that a class has made a property."""
    channel = line_channel(own, unterminated=property(lambda self: b""))
    other = line_channel(own)
    channel.peer.close()
    settle(own)
    assert channel.events == [AttributeError, "lost"]
    assert tell(own, other, b"line\r\n") == [b"line"]


def test_what_fails_to_be_closed_is_told(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    channel = line_channel(own, del_channel=fail_with(ZeroDivisionError()))
    settle(own)
    with caplog.at_level(logging.ERROR, "fastchat.channel"):
        channel.abort()
    assert channel.events == ["lost"]
    assert "cannot be closed" in caplog.text
    assert not own.map


def test_end_that_was_interrupted_comes_later(own: Stage) -> None:
    left = [KeyboardInterrupt()]
    channel = line_channel(own)
    leave = channel._fc_leave

    def interrupted() -> None:
        if left:
            raise left.pop()
        leave()

    channel._fc_leave = interrupted
    settle(own)
    with pytest.raises(KeyboardInterrupt):
        channel.abort()
    assert channel.events == []
    settle(own)
    assert channel.events == ["lost"]
    assert not own.map


def test_end_that_is_interrupted_behind_the_map_is_told(own: Stage) -> None:
    """There may be no other pass."""
    channel = line_channel(own)
    leave = channel._fc_leave

    def interrupted() -> None:
        leave()
        raise KeyboardInterrupt

    channel._fc_leave = interrupted
    settle(own)
    with pytest.raises(KeyboardInterrupt):
        channel.abort()
    assert channel.events == ["lost"]
    channel.socket = None


def test_handle_error_may_leave_the_loop(own: Stage) -> None:
    channel = line_channel(
        own,
        line_received=fail_with(ZeroDivisionError()),
        handle_error=fail_with(own.asyncore.ExitNow()),
    )
    settle(own)
    channel.peer.sendall(b"line\r\n")
    with pytest.raises(own.asyncore.ExitNow):
        settle(own)


def test_many_lines_of_what_was_closed_behind_its_back(own: Stage) -> None:
    channel = line_channel(own, lines_per_pass=1)
    settle(own)
    channel.peer.sendall(b"1\r\n2\r\n3\r\n")
    own.loop(1, use_poll=True)
    channel.socket.close()
    settle(own)
    assert channel.events[0] == b"1"
    assert channel.events[-1] in ("lost", OSError)
    assert not own.map


def test_shut_down_behind_the_end_of_the_input(own: Stage) -> None:
    channel = line_channel(
        own, eof_received=lambda self: True, shutting_down=lambda self: b"bye", linger_timeout=0
    )
    channel.peer.shutdown(1)
    settle(own)
    channel.shut_down()
    settle(own)
    assert replies(channel) == b"bye\r\n<end>"


LEAVING = {
    "connection_made": lambda stage, channel: None,
    "eof_received": lambda stage, channel: channel.peer.shutdown(1),
    "shutting_down": lambda stage, channel: channel.shut_down(),
    "timer": lambda stage, channel: channel.call_later(0, channel.leave),
}


@pytest.mark.parametrize("hook", LEAVING)
def test_hook_that_leaves_the_loop_is_gone_on_with(own: Stage, clock: Clock, hook: str) -> None:
    """It has closed, or its end does; and there are deadlines."""

    def leave(channel: Any) -> None:
        channel.events.append(hook)
        if hook == "timer":
            channel.close()
        raise own.asyncore.ExitNow

    members: dict[str, Any] = {hook: leave, "leave": leave}
    channel = line_channel(own, linger_timeout=5, **members)
    if hook != "connection_made":
        settle(own)
    act: Callable[[Stage, Any], object] = LEAVING[hook]
    act(own, channel)
    with pytest.raises(own.asyncore.ExitNow):
        settle(own)
    settle(own)
    clock.now += 400
    settle(own)
    clock.now += 6
    settle(own)
    assert channel.events[0] == hook
    assert channel.events[-1] == "lost"
    assert channel.events.count(hook) == 1
    assert not own.map


def test_nested_passes_and_what_leaves_the_loop(own: Stage) -> None:
    """The channel hears what came meanwhile."""

    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        if line == b"one":
            channel.peer.sendall(b"two\r\n")
            settle(own)
            raise own.asyncore.ExitNow

    channel = line_channel(own, line_received=line_received)
    settle(own)
    channel.peer.sendall(b"one\r\n")
    with pytest.raises(own.asyncore.ExitNow):
        settle(own)
    assert tell(own, channel, b"three\r\n") == [b"one", b"two", b"three"]


def test_lost_by_a_number(own: Stage) -> None:
    lost: list[Any] = []
    channel = line_channel(
        own, max_output=10, connection_lost=lambda self, exc: lost.append(exc.errno)
    )
    channel.send(b"x" * 20)
    settle(own)
    assert lost == [errno.ENOBUFS]
