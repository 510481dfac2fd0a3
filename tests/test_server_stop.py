"""How a server starts, pauses and ends: by its methods."""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Clock, Stage, failure
from tests.support.servers import (
    LOCAL,
    channels,
    client_of,
    connected,
    received,
    server_of,
)


def is_in(server: Any, state: str) -> Any:
    return lambda: server.stats().state == state


# In one loop.


def test_a_stop_answers_what_was_received_in_full(own: Stage) -> None:
    kind = channels(own, shutting_down=lambda channel: b"bye")
    server = server_of(own, kind)
    client = client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    client.sendall(b"one\r\ntwo\r\nthr")
    server.stop()
    assert received(own, client) == b"one\r\ntwo\r\nbye\r\n"
    client.close()
    own.until(is_in(server, "stopped"), use_poll=True)
    assert not own.map
    assert kind.made[0].events[-1] == "lost"


def test_a_stop_takes_what_the_backlog_holds(own: Stage) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    server.suspend()
    clients = [client_of(own, server) for _ in range(5)]
    for client in clients:
        client.sendall(b"hello\r\n")
    own.loop(5, use_poll=True)
    assert not kind.made
    server.stop()
    for client in clients:
        assert received(own, client) == b"hello\r\n"
    with pytest.raises(ConnectionRefusedError):
        connected(server.addresses[0])


def test_a_backlog_is_taken_as_far_as_it_may_be(own: Stage) -> None:
    """So many connections, and none once the class has closed the listener."""
    made: list[Any] = []

    def make(sock: Any, map: Any) -> Any:
        if made:
            listener.close()
        made.append(sock)
        return kind(sock, map)

    kind = channels(own)
    server = server_of(own, make)
    (listener,) = own.map.values()
    server.suspend()
    clients = [client_of(own, server) for _ in range(4)]
    assert listener.take_backlog(1)
    assert len(made) == 1
    assert listener.take_backlog(3)
    assert len(made) == 2
    for client in clients:
        client.close()
    own.until(lambda: not own.map, use_poll=True)


def test_a_stop_takes_the_backlog_in_spite_of_errors(
    own: Stage, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    (listener,) = own.map.values()
    server.suspend()
    clients = [client_of(own, server) for _ in range(5)]
    for client in clients:
        client.sendall(b"hello\r\n")
    errors = [failure(each) for each in (errno.EMFILE, errno.ECONNABORTED, errno.EPERM)]
    module = type(listener).take_backlog.__globals__
    accept = module["accept"]

    def accept_at_last(sock: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return accept(sock)

    monkeypatch.setitem(module, "accept", accept_at_last)
    server.stop()
    own.until(lambda: len(errors) == 2, use_poll=True)
    own.loop(3, use_poll=True)
    assert listener.accepting
    assert server.stats().exhausted == 1
    clock.now += 1
    for client in clients:
        assert received(own, client) == b"hello\r\n"
        client.close()
    own.until(is_in(server, "stopped"), use_poll=True)
    assert not errors
    assert "cannot accept a connection on 127.0.0.1" in caplog.text
    assert "some that waited on 127.0.0.1" in caplog.text


def test_what_leaves_a_class_in_a_stop_leaves_nobody_behind(own: Stage) -> None:
    """The other backlogs are taken, the listeners closed, and the connections told."""
    kind = channels(own)

    def make(sock: socket.socket, map: Any) -> Any:
        if sock.getsockname()[1] == int(server.addresses[0].rpartition(":")[2]):
            raise own.asyncore.ExitNow
        return own.keep(kind(sock, map))

    server = server_of(own, make, LOCAL, LOCAL)
    server.suspend()
    client_of(own, server, 0)
    client = client_of(own, server, 1)
    client.sendall(b"hello\r\n")
    with pytest.raises(own.asyncore.ExitNow):
        server._stop(1000)
    assert received(own, client) == b"hello\r\n"
    client.close()
    own.until(is_in(server, "stopped"), use_poll=True)


def test_connections_that_were_taken_a_moment_ago_are_answered(own: Stage) -> None:
    """They have not begun when the stop comes."""
    kind = channels(own)
    server = server_of(own, kind)
    clients = [client_of(own, server) for _ in range(3)]
    for client in clients:
        client.sendall(b"hello\r\n")
    server._stop(1000)
    assert server.stats().accepted == 3
    assert not kind.made
    for client in clients:
        assert received(own, client) == b"hello\r\n"


def test_idle_connections_end_at_once(own: Stage, clock: Clock) -> None:
    """Also where the client does not close."""
    kind = channels(own)
    server = server_of(own, kind)
    idle = client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    clock.now += 2
    busy = client_of(own, server)
    busy.sendall(b"hello\r\n")
    own.until(lambda: len(kind.made) == 2 and kind.made[1].events, use_poll=True)
    server.stop()
    own.until(lambda: server.stats().open == 1, use_poll=True)
    assert kind.made[0].events == ["lost"]
    assert (received(own, idle), received(own, busy)) == (b"", b"hello\r\n")
    assert server.stats().state == "stopping"  # it lingers, so that the reply is not destroyed
    clock.now += 5
    own.until(is_in(server, "stopped"), use_poll=True)
    assert kind.made[1].events[-1] == "lost"


def test_a_quiet_connection_that_has_just_asked_is_answered(own: Stage, clock: Clock) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    client = client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    clock.now += 2
    client.sendall(b"hello\r\n")
    server.stop()
    assert received(own, client) == b"hello\r\n"
    assert kind.made[0].linger_timeout == 5


def test_a_reply_that_comes_late_is_not_destroyed(own: Stage, clock: Clock) -> None:
    """By what the client sends besides, though nothing went for a while when the stop came."""

    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        if line == b"one":
            channel.pause_reading()

    kind = channels(own, line_received=line_received)
    server = server_of(own, kind)
    client = client_of(own, server)
    client.sendall(b"one\r\n")
    own.until(lambda: kind.made and kind.made[0].events, use_poll=True)
    clock.now += 2
    server.stop()
    own.until(is_in(server, "stopping"), use_poll=True)
    own.loop(3, use_poll=True)
    client.sendall(b"two\r\n")
    kind.made[0].send_line(b"done")
    kind.made[0].resume_reading()
    assert received(own, client).startswith(b"done\r\n")
    assert kind.made[0].linger_timeout == 5


def test_what_a_quiet_connection_is_told_is_not_destroyed(own: Stage, clock: Clock) -> None:
    kind = channels(own, shutting_down=lambda channel: b"421 bye")
    server = server_of(own, kind)
    client = client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    clock.now += 2
    server.stop()
    assert received(own, client) == b"421 bye\r\n"
    assert kind.made[0].linger_timeout == 5
    assert server.stats().state == "stopping"


def test_what_a_paused_connection_has_not_read_waits_in_the_kernel(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        channel.events.append(line)
        if line == b"one":
            channel.pause_reading()
        return line

    kind = channels(own, line_received=line_received, shutting_down=lambda channel: b"bye")
    server = server_of(own, kind)
    client = client_of(own, server)
    client.sendall(b"one\r\n")
    own.until(lambda: kind.made and kind.made[0].events, use_poll=True)
    client.sendall(b"x" * 20_000 + b"\r\n")
    server.stop()
    own.loop(5, use_poll=True)
    assert server.stats().state == "stopping"
    assert len(kind.made[0]._fc_line.buffer) == 0
    kind.made[0].resume_reading()
    assert received(own, client) == b"one\r\n" + b"x" * 20_000 + b"\r\nbye\r\n"


def test_what_a_lost_connection_had_sent_is_given(own: Stage) -> None:
    """It was paused when the server stopped, and lost before it went on."""
    kind = channels(own, connection_made=lambda channel: made(channel))

    def made(channel: Any) -> None:
        kind.made.append(channel)
        channel.pause_reading()

    server = server_of(own, kind)
    client = client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    client.sendall(b"one\r\n")
    server.stop()
    own.loop(3, use_poll=True)
    client.close()
    kind.made[0].send(b"hello")
    own.loop(3, use_poll=True)
    kind.made[0].resume_reading()
    own.until(is_in(server, "stopped"), use_poll=True)
    assert kind.made[0].events[0] == b"one"


def test_what_a_stop_reads_is_held_to_max_memory(own: Stage) -> None:
    kind = channels(own)
    server = server_of(own, kind, max_memory=10_000)
    client = client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    client.sendall(b"x" * 20_000)
    server._stop(1000)
    assert server.stats().over_max_memory == 1
    own.until(is_in(server, "stopped"), use_poll=True)


def test_a_stop_tells_some_connections_in_a_pass(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    monkeypatch.setitem(type(server).stop.__globals__, "_AT_ONCE", 2)
    clients = [client_of(own, server) for _ in range(5)]
    own.until(lambda: len(kind.made) == 5, use_poll=True)
    for client in clients:
        client.sendall(b"hello\r\n")
    server._stop(1000)
    assert [each._fc_line.is_ending for each in kind.made].count(True) == 2
    for client in clients:
        assert received(own, client) == b"hello\r\n"


def test_the_grace_period_is_the_longest(
    own: Stage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    kind = channels(own, line_received=lambda channel, line: channel.pause_reading())
    server = server_of(own, kind, grace=3)
    client = client_of(own, server)
    client.sendall(b"one\r\ntwo\r\n")
    own.until(lambda: kind.made, use_poll=True)
    own.loop(5, use_poll=True)
    server.stop()
    own.loop(5, use_poll=True)
    clock.now += 2.9
    own.loop(5, use_poll=True)
    assert server.stats().state == "stopping"
    clock.now += 0.2
    own.until(is_in(server, "stopped"), use_poll=True)
    assert "1 connections did not end in 3 s: aborted" in caplog.text
    assert kind.made[0].events == ["lost"]


def test_a_second_stop_may_shorten_the_first(own: Stage, clock: Clock) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    kind.made[0].pause_reading()
    server.stop(1000)
    own.loop(5, use_poll=True)
    assert server.stats().state == "stopping"
    server.stop(1)
    own.loop(5, use_poll=True)
    clock.now += 1
    own.until(is_in(server, "stopped"), use_poll=True)
    server.stop()
    own.loop(2, use_poll=True)


def test_no_grace_ends_all_at_once(own: Stage) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    server.stop(0)
    own.until(is_in(server, "stopped"), use_poll=True)
    assert kind.made[0].events == ["lost"]


@pytest.mark.parametrize("grace", [-1, "8"])
def test_a_wrong_grace(own: Stage, grace: Any) -> None:
    server = server_of(own, channels(own))
    with pytest.raises((TypeError, ValueError), match="grace must be"):
        server.stop(grace)
    own.loop(2, use_poll=True)
    assert server.stats().state == "running"


def test_a_connection_that_closes_meanwhile(own: Stage) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    clients = [client_of(own, server) for _ in range(2)]
    own.until(lambda: len(kind.made) == 2, use_poll=True)
    kind.made[0].close()
    server.stop()
    for client in clients:
        assert received(own, client) == b""
        client.close()
    own.until(is_in(server, "stopped"), use_poll=True)


def test_an_abort_while_connections_begin(own: Stage) -> None:
    server = server_of(own, channels(own))
    client_of(own, server)
    server._stop(5)
    server.abort()
    own.loop(3, use_poll=True)
    assert server.stats().state == "stopped"


def test_abort_closes_all_at_once(own: Stage) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    client = client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    server.abort()
    assert not own.map
    assert client.recv(10) == b""
    assert (server.stats().state, server.stats().open) == ("stopped", 0)
    server.abort()


def test_a_class_may_abort_the_server_in_init(own: Stage) -> None:
    base = channels(own)

    class Last(base):  # type: ignore[misc,valid-type]
        def __init__(self, sock: Any, map: Any) -> None:
            super().__init__(sock, map)
            server.abort()

    server = server_of(own, Last)
    client = client_of(own, server)
    own.until(is_in(server, "stopped"), use_poll=True)
    assert (client.recv(10), server.stats().open) == (b"", 0)
    assert not own.map


def test_a_server_starts_once(own: Stage) -> None:
    server = server_of(own, channels(own))
    with pytest.raises(RuntimeError, match="the server is running: it starts once"):
        server.start()
    server.abort()
    with pytest.raises(RuntimeError, match="the server is stopped: it starts once"):
        server.start()


@pytest.mark.parametrize("end", ["stop", "abort"])
def test_a_server_that_never_started(own: Stage, end: str) -> None:
    server = own.implementation.server.Server(channels(own), LOCAL, map=own.map)
    bystander = own.dispatcher()
    getattr(server, end)()
    own.loop(2, use_poll=True)
    assert server.stats().state == "stopped"
    with pytest.raises(RuntimeError, match="it starts once"):
        server.start()
    bystander.close()


def test_a_stop_comes_too_late(own: Stage) -> None:
    server = server_of(own, channels(own))
    bystander = own.dispatcher()
    server.stop()
    server.abort()
    own.loop(2, use_poll=True)
    assert server.stats().state == "stopped"
    bystander.close()


def test_a_listener_that_has_gone_before(own: Stage) -> None:
    server = server_of(own, channels(own), LOCAL, LOCAL)
    listener, _ = own.map.values()
    listener.close()
    assert server.stats().state == "running"
    client = client_of(own, server, 1)
    client.sendall(b"hello\r\n")
    server.stop()
    assert received(own, client) == b"hello\r\n"


def test_suspend_and_resume(own: Stage) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    early = client_of(own, server)
    own.until(lambda: kind.made, use_poll=True)
    server.suspend()
    server.suspend()
    assert server.stats().state == "suspended"
    late = client_of(own, server)
    early.sendall(b"hello\r\n")
    own.until(lambda: kind.made[0].events, use_poll=True)
    own.loop(5, use_poll=True)
    assert server.stats().open == 1
    late.sendall(b"hello\r\n")
    server.resume()
    own.until(lambda: server.stats().open == 2, use_poll=True)
    server.resume()
    server.abort()
    with pytest.raises(RuntimeError, match="the server is stopped, not running"):
        server.suspend()
    with pytest.raises(RuntimeError, match="the server is stopped, not suspended"):
        server.resume()


def test_a_channel_may_suspend_its_server_in_the_midst_of_a_batch(own: Stage) -> None:
    base = channels(own)

    class Last(base):  # type: ignore[misc,valid-type]
        def __init__(self, sock: Any, map: Any) -> None:
            super().__init__(sock, map)
            server.suspend()

    server = server_of(own, Last)
    for _ in range(3):
        client_of(own, server)
    own.until(lambda: server.stats().accepted, use_poll=True)
    own.loop(5, use_poll=True)
    assert server.stats().accepted == 1


def test_other_channels_of_the_map_are_left_alone(own: Stage) -> None:
    """A listener of the program's own, a channel of its own, and one of another server."""
    other = server_of(own, channels(own))
    client_of(own, other)
    bystander = own.dispatcher()
    server = server_of(own, channels(own))
    client_of(own, server)
    own.until(lambda: other.stats().open and server.stats().open, use_poll=True)
    server.abort()
    assert (other.stats().state, other.stats().open) == ("running", 1)
    assert bystander.socket.fileno() in own.map
    bystander.close()


def test_close_all_ends_a_server(own: Stage) -> None:
    server = server_of(own, channels(own))
    client_of(own, server)
    own.until(lambda: server.stats().open, use_poll=True)
    own.asyncore.close_all(own.map)
    assert server.stats().state == "stopped"


def test_a_thread_may_stop_it(own: Stage) -> None:
    server = server_of(own, channels(own))
    thread = threading.Thread(target=server.stop)
    thread.start()
    own.asyncore.loop(PATIENCE, use_poll=True, map=own.map)
    thread.join()
    assert server.stats().state == "stopped"
