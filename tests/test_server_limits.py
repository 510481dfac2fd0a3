"""Who is let in, and what becomes of those that hold too much: the limits of a whole server."""

from __future__ import annotations

import dataclasses
import errno
import inspect
import math
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from fastchat._admission import Admission
from fastchat._core.line_limits import LIMITS
from fastchat._core.line_state import Tally
from tests.support.channels import ENDING, PATIENCE, Clock, Stage, failure, posix_only
from tests.support.servers import (
    ECHO,
    LOCAL,
    channels,
    client_of,
    connected,
    program,
    received,
    server_of,
)

# What is wrong with numbers, test_quantities.py has.
WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"max_connections": "many"}, TypeError, "max_connections must be an int or None, not 'many'"),
    ({"unix_mode": 0o1777}, ValueError, "unix_mode must be at most 0o777, not 0o1777"),
    ({"refusal": "421"}, TypeError, "refusal must be bytes, not str: use .encode()"),
    ({"refusal": 421}, TypeError, "refusal must be bytes, not int"),
]


@pytest.mark.parametrize(("limits", "kind", "said"), WRONG)
def test_a_wrong_limit(own: Stage, limits: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        own.implementation.server.Server(channels(own), LOCAL, map=own.map, **limits)
    assert said in str(caught.value)


@pytest.mark.parametrize("maker", ["Server", "serve"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        *[(name, "make it an attribute of the channel's class") for name in LIMITS],
        *[(name, "without a keyword") for name in ("bind", "host", "port", "address")],
        ("max_conections", "unexpected keyword argument 'max_conections'"),
    ],
)
def test_an_argument_that_belongs_elsewhere(own: Stage, maker: str, name: str, said: str) -> None:
    make = getattr(own.implementation.server, maker)
    with pytest.raises(TypeError) as caught:
        make(channels(own), LOCAL, map=own.map, **{name: 5})
    assert name in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["Server", "serve"])
def test_arguments_are_still_shown(own: Stage, name: str) -> None:
    shown = inspect.signature(getattr(own.implementation.server, name)).parameters
    assert [*shown][:4] == ["channel", "bind", "map", "backlog"]


@pytest.mark.parametrize("channel", [socket.socket, int, "Echo", None])
def test_what_is_no_channel(own: Stage, channel: Any) -> None:
    with pytest.raises(TypeError, match="LineChannel"):
        own.implementation.server.Server(channel, LOCAL, map=own.map)


def test_without_an_address(own: Stage) -> None:
    with pytest.raises(ValueError, match="a server needs an address to listen on"):
        own.implementation.server.Server(channels(own), map=own.map)


# How many.


def test_max_connections(own: Stage) -> None:
    server = server_of(own, channels(own), max_connections=2, refusal=b"421 full\r\n")
    first, _ = client_of(own, server), client_of(own, server)
    own.until(lambda: server.stats().open == 2, use_poll=True)
    assert received(own, client_of(own, server)) == b"421 full\r\n"
    first.close()
    own.until(lambda: server.stats().open == 1, use_poll=True)
    client_of(own, server)
    own.until(lambda: server.stats().accepted == 3, use_poll=True)
    assert server.stats().over_max_connections == 1


def test_who_is_refused_may_have_gone(own: Stage) -> None:
    server = server_of(own, channels(own), max_connections=1, refusal=bytearray(b"full"))
    client_of(own, server)
    own.until(lambda: server.stats().open == 1, use_poll=True)
    gone = client_of(own, server)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    own.until(lambda: server.stats().over_max_connections == 1, use_poll=True)


def test_max_per_address(own: Stage) -> None:
    server = server_of(own, channels(own), max_per_address=1)
    first = client_of(own, server)
    own.until(lambda: server.stats().open == 1, use_poll=True)
    assert received(own, client_of(own, server)) == b""
    assert server.stats().over_max_per_address == 1
    other = own.new_socket()
    if sys.platform == "linux":
        other.bind(("127.0.0.2", 0))
    else:
        first.close()
    other.connect(("127.0.0.1", int(server.addresses[0].rpartition(":")[2])))
    own.until(lambda: server.stats().accepted == 2, use_poll=True)
    first.close()
    own.until(lambda: server.stats().open == 1, use_poll=True)
    client_of(own, server)
    own.until(lambda: server.stats().accepted == 3, use_poll=True)


def test_one_of_two_from_an_address_may_be_replaced(own: Stage) -> None:
    server = server_of(own, channels(own), max_per_address=2)
    first, _ = client_of(own, server), client_of(own, server)
    own.until(lambda: server.stats().open == 2, use_poll=True)
    assert received(own, client_of(own, server)) == b""
    first.close()
    own.until(lambda: server.stats().open == 1, use_poll=True)
    client_of(own, server)
    own.until(lambda: server.stats().open == 2, use_poll=True)
    assert received(own, client_of(own, server)) == b""


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_unix_sockets_have_no_address_to_count(own: Stage, place: Path) -> None:
    server = server_of(own, channels(own), f"unix:{place / 'socket'}", max_per_address=1)
    for _ in range(3):
        client_of(own, server)
    own.until(lambda: server.stats().open == 3, use_poll=True)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", True),
    ],
)
def test_ipv6_is_counted_by_network(one: str, other: str, is_same: bool) -> None:
    class State:
        counted = 0

    admission = Admission(1, math.inf, lambda: None)
    state = State()
    admission.enter(state, Tally("of the test"), socket.AF_INET6, (one, 1, 0, 0))
    assert bool(admission.refuses(socket.AF_INET6, (other, 2, 0, 0))) is is_same
    admission.left(state)
    assert not admission.refuses(socket.AF_INET6, (one, 1, 0, 0))


@pytest.mark.parametrize(
    ("limit", "most"),
    [(256, 192), (64, 1), (10, 1), (100_000, 10_000), (-1, 10_000)],
)
def test_connections_that_the_limit_of_descriptors_allows(
    monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    resource = pytest.importorskip("resource")
    from fastchat import server  # noqa: PLC0415 (only where there is that limit)

    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert server._descriptors_less_some() == most


def test_where_there_is_no_limit_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastchat import server  # noqa: PLC0415

    monkeypatch.setitem(sys.modules, "resource", None)
    assert server._descriptors_less_some() == 10_000


# Channels that do not come to be.


def test_a_function_may_make_the_channels(own: Stage) -> None:
    kind = channels(own)

    def make(sock: Any, map: Any) -> Any:
        return kind(sock, map)

    server = server_of(own, make)
    client = client_of(own, server)
    client.sendall(b"hello\r\n")
    client.shutdown(socket.SHUT_WR)
    assert received(own, client) == b"hello\r\n"


@pytest.mark.parametrize("joins", [False, True])
def test_a_channel_that_cannot_be_made(
    own: Stage, caplog: pytest.LogCaptureFixture, joins: bool
) -> None:
    base = channels(own)

    class Broken(base):  # type: ignore[misc,valid-type]
        def __init__(self, sock: Any, map: Any) -> None:
            if joins:
                super().__init__(sock, map)
            raise ZeroDivisionError

    server = server_of(own, Broken)
    assert received(own, client_of(own, server)) in (b"", b"<reset>")
    assert server.stats().failed == 1
    assert server.stats().open == server.stats().accepted == 0
    assert len(own.map) == 1
    assert "no channel could be made for ('127.0.0.1'," in caplog.text


def test_a_function_that_makes_something_else(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    server = server_of(own, lambda sock, map: None)
    assert received(own, client_of(own, server)) in (b"", b"<reset>")
    assert server.stats().failed == 1
    assert "which is no LineChannel" in caplog.text


def test_a_channel_that_is_not_initialised(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(own.implementation.channel.LineChannel):  # type: ignore[misc,name-defined]
        def __init__(self, sock: Any, map: Any) -> None:
            pass

    server = server_of(own, Forgetful)
    assert received(own, client_of(own, server)) in (b"", b"<reset>")
    assert server.stats().failed == 1
    assert server.stats().open == server.stats().accepted == 0
    assert "let its __init__() call super().__init__(sock, map)" in caplog.text


def test_a_channel_in_another_map(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    other: dict[int, Any] = {}
    base = channels(own)
    server = server_of(own, lambda sock, map: base(sock, other))
    assert received(own, client_of(own, server)) in (b"", b"<reset>")
    assert server.stats().failed == 1
    assert server.stats().open == server.stats().accepted == len(other) == 0
    assert "has joined another map than that of the server" in caplog.text


@pytest.mark.parametrize("kind", ENDING)
def test_what_ends_the_program_leaves_no_socket(own: Stage, kind: Any) -> None:
    def make(sock: Any, map: Any) -> Any:
        raise own.ending(kind)

    server = server_of(own, make)
    client = client_of(own, server)
    with pytest.raises(own.ending(kind)):
        own.until(lambda: False, use_poll=True)
    assert client.recv(10) == b""
    assert server.stats().failed == 0


def test_a_channel_that_has_had_enough_at_once(own: Stage) -> None:
    base = channels(own)

    class Brief(base):  # type: ignore[misc,valid-type]
        def __init__(self, sock: Any, map: Any) -> None:
            super().__init__(sock, map)
            self.abort()

    server = server_of(own, Brief)
    client_of(own, server)
    own.until(lambda: server.stats().accepted == 1, use_poll=True)
    assert server.stats().open == 0


def test_a_peer_that_has_gone_has_an_address(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = channels(own)

    def make(sock: Any, map: Any) -> Any:
        made = kind(sock, map)
        made.addr = None  # what getpeername() leaves where the peer has reset
        found.append(made)
        return made

    found: list[Any] = []
    server = server_of(own, make)
    client = client_of(own, server)
    own.until(lambda: server.stats().accepted == 1, use_poll=True)
    assert found[0].addr == client.getsockname()


# Memory.


def mebibytes(channel: Any, line: bytes) -> None:
    """A hook that sends so many, of which the kernel takes next to nothing."""
    channel.events.append(line)
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    channel.send(b"x" * 2**20 * int(line))


def who_reads_little(own: Stage, server: Any) -> Any:
    """A client whose kernel receives little that it has not read."""
    client = client_of(own, server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return client


def test_who_holds_most_is_ended_first(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    kind = channels(own, line_received=mebibytes, max_output=None)
    server = server_of(own, kind, max_memory=24 * 2**20)
    clients = [who_reads_little(own, server) for _ in range(4)]
    own.until(lambda: len(kind.made) == 4, use_poll=True)
    for client, size in zip(clients, (7, 12, 5, 8), strict=True):
        client.sendall(b"%d\r\n" % size)
        asked = [each for each in kind.made if each.addr == client.getsockname()]
        own.until(lambda: asked[0].events, use_poll=True)  # noqa: B023
    own.until(lambda: server.stats().open == 3, use_poll=True)
    ended = [each for each in kind.made if each.events[-1] is OSError]
    assert [each.addr for each in ended] == [clients[1].getsockname()]
    stats = server.stats()
    assert stats.over_max_memory == 1
    assert stats.memory == sum(each.waiting for each in kind.made if each not in ended)
    assert stats.memory <= 24 * 2**20
    assert "max_memory is 25165824: ended 1 connections, the first of them" in caplog.text


def test_the_reason_says_max_memory(own: Stage) -> None:
    lost: list[Any] = []
    kind = channels(
        own,
        line_received=mebibytes,
        max_output=None,
        connection_lost=lambda channel, exc: lost.append(exc),
    )
    server = server_of(own, kind, max_memory=2**20)
    who_reads_little(own, server).sendall(b"20\r\n1\r\n")
    own.until(lambda: lost, use_poll=True)
    assert lost[0].errno == errno.ENOBUFS
    assert "max_memory" in str(lost[0])
    assert kind.made[0].events == [b"20"]
    assert server.stats().memory == server.stats().open == 0


def test_no_hook_is_called_inside_of_another(own: Stage) -> None:
    log: list[str] = []

    def line_received(channel: Any, line: bytes) -> None:
        log.append("begin")
        for each in list(kind.made):
            mebibytes(each, b"1")
        log.append("end")

    kind = channels(
        own,
        line_received=line_received,
        max_output=None,
        connection_lost=lambda channel, exc: log.append("lost"),
    )
    server = server_of(own, kind, max_memory=2**20)
    clients = [who_reads_little(own, server) for _ in range(8)]
    own.until(lambda: len(kind.made) == 8, use_poll=True)
    clients[0].sendall(b"go\r\n")
    own.until(lambda: "lost" in log, use_poll=True)
    assert log[:3] == ["begin", "end", "lost"]


@pytest.mark.parametrize("kept", ["a part of a line", "a body", "lines that wait"])
def test_input_that_waits_counts(own: Stage, kept: str) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        if kept == "a body":
            channel.receive_exactly(2**20)
        elif kept == "lines that wait":
            channel.pause_reading()

    kind = channels(own, line_received=line_received)
    server = server_of(own, kind)
    client = client_of(own, server)
    begin = {"a part of a line": b"x" * 60_000, "a body": b"go\r\n" + b"x" * 60_000}
    client.sendall(begin.get(kept, (b"x" * 200 + b"\r\n") * 250))
    own.until(lambda: server.stats().memory > 40_000, use_poll=True)
    client.close()
    if kept == "lines that wait":
        kind.made[0].abort()
    own.until(lambda: server.stats().open == 0, use_poll=True)
    assert server.stats().memory == 0
    assert server.stats().most_memory > 40_000


def test_memory_is_given_back_when_output_is_taken(own: Stage) -> None:
    size = 24 * 2**20  # more than the kernel takes

    def send(channel: Any, line: bytes) -> None:
        channel.send(b"x" * size)

    kind = channels(own, line_received=send, max_output=None)
    server = server_of(own, kind)
    client = client_of(own, server)
    client.sendall(b"go\r\n")
    own.until(lambda: server.stats().memory > 2**20, use_poll=True)
    client.setblocking(False)
    left = size

    def is_all_there() -> bool:
        nonlocal left
        try:
            while left:
                left -= len(client.recv(2**20))
        except BlockingIOError:
            return False
        return True

    own.until(is_all_there, use_poll=True, passes=5000)
    assert (server.stats().memory, server.stats().open) == (0, 1)


def test_nothing_small_is_counted(own: Stage) -> None:
    kind = channels(own)
    server = server_of(own, kind)
    client_of(own, server).sendall(b"x" * 1000)
    own.until(lambda: kind.made and len(kind.made[0]._fc_line.buffer) == 1000, use_poll=True)
    assert server.stats().memory == 0


# Deadlines, and the counts as a whole.


def test_deadlines_are_counted(own: Stage) -> None:
    kind = channels(own, idle_timeout=0.01, linger_timeout=0)
    server = server_of(own, kind)
    assert received(own, client_of(own, server)) == b""
    assert server.stats().idle_timeouts == 1
    assert server.stats().line_timeouts == server.stats().write_timeouts == 0


@pytest.mark.parametrize("clients", [60])
def test_slowloris(own: Stage, clients: int) -> None:
    """A byte now and then keeps no connection: the whole line has a deadline."""
    kind = channels(own, line_timeout=0.2, linger_timeout=0)
    server = server_of(own, kind)
    slow = [client_of(own, server) for _ in range(clients)]
    own.until(lambda: server.stats().open == clients, use_poll=True)

    def drip() -> bool:
        for client in slow:
            try:
                client.sendall(b"x")
            except OSError:
                pass  # it is closed already
        return not server.stats().open

    own.until(drip, use_poll=True, passes=5000)
    assert server.stats().line_timeouts == clients
    assert server.stats().accepted == clients


def test_stats_are_frozen(own: Stage) -> None:
    server = own.implementation.server.Server(channels(own), LOCAL, map=own.map)
    before = server.stats()
    assert (before.state, before.addresses, before.uptime) == ("new", (), 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.open = 1
    server.start()
    own.at_the_end(server.abort)
    after = server.stats()
    assert (after.state, after.addresses) == ("running", server.addresses)
    assert after.uptime > 0


# Shortage, and other errors of accept().


def test_a_listener_outlives_errors(
    own: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_of(own, channels(own))
    (listener,) = own.map.values()
    errors = [failure(errno.EPERM), failure(errno.EMFILE)]

    def accept(*args: Any) -> Any:
        raise errors.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(own.asyncore, "_accept", accept)
        client = client_of(own, server)
        client.sendall(b"hello\r\n")
        client.shutdown(socket.SHUT_WR)
        own.until(lambda: not errors, use_poll=True)
    assert received(own, client) == b"hello\r\n"
    assert server.stats().exhausted == 1
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"cannot accept on {server.addresses[0]} for now"
    assert said[1].startswith("cannot accept a connection now (")
    assert listener.accepting


def test_the_end_of_a_connection_ends_a_shortage(
    own: Stage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still, and with it the rest of the listener."""
    server = server_of(own, channels(own))
    first = client_of(own, server)
    own.until(lambda: server.stats().open == 1, use_poll=True)

    def accept(*args: Any) -> Any:
        raise failure(errno.EMFILE)

    with monkeypatch.context() as patch:
        patch.setattr(own.asyncore, "_accept", accept)
        client_of(own, server)
        own.until(lambda: server.stats().exhausted == 1, use_poll=True)
    own.loop(5, use_poll=True)
    assert server.stats().accepted == 1
    first.close()
    own.until(lambda: server.stats().accepted == 2, use_poll=True)


def test_an_error_behind_the_end_of_a_listener(
    own: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    server = server_of(own, channels(own))
    (listener,) = own.map.values()
    listener.close()
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        listener.handle_error()
    assert "cannot accept" in caplog.text
    listener.log_info("of no importance")
    assert "importance" not in caplog.text
    assert server.stats().state == "stopped"


def test_a_rest_ends_with_its_listener(own: Stage) -> None:
    server = server_of(own, channels(own))
    (listener,) = own.map.values()
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        listener.handle_error()
    assert not listener.readable()
    server.abort()
    agenda = own.implementation.core["agenda"].agenda_of(own.map)
    assert agenda.until_next(None) is None


def test_a_listener_that_somebody_shuts_down(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    server = server_of(own, channels(own))
    (listener,) = own.map.values()
    listener.handle_close()
    assert "does not listen any more" in caplog.text
    assert server.stats().state == "stopped"


STARVED = (
    ECHO
    + """
    import logging, resource
    logging.basicConfig(format="%(message)s")

    def ready(server):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 4,) * 2)
        print(*server.addresses, flush=True)
        server_of.append(server)

    server_of = []

    def spent(signum, frame):
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, server_of[0].stats().exhausted, flush=True)

    signal.signal(signal.SIGUSR1, spent)
    sys.exit(fastchat.serve(Echo, "127.0.0.1:0", on_start=ready))
"""
)


@posix_only
def test_without_descriptors(ours: Any) -> None:
    """It does not spin, keeps whom it has, and serves again when there are some."""
    with program(STARVED, ours.name) as server:
        address = server.line()
        clients = [connected(address) for _ in range(12)]
        # One more than there are descriptors is never answered; who is in is.
        for client in clients:
            client.sendall(b"hello\r\n")
        assert clients[0].recv(100) == b"hello\r\n"
        spent = []
        for _ in range(2):
            server.signal(10 if sys.platform == "linux" else 30)
            cpu, exhausted = server.line().split()
            spent.append(float(cpu))
            assert int(exhausted) > 0
            # Who waits for an answer for a while does nothing else.
            clients[-1].settimeout(0.6)
            with pytest.raises(TimeoutError):
                clients[-1].recv(100)
        assert spent[1] - spent[0] < 0.3  # of the 0.6 s that a loop which spins would take
        for client in clients[:-1]:
            client.close()
        clients[-1].settimeout(PATIENCE)
        assert clients[-1].recv(100) == b"hello\r\n"
        clients[-1].close()
        server.signal()
        assert server.status() == 0
        assert server.errors().count("cannot accept a connection now") == 1


def test_connections_are_taken_many_at_a_time(own: Stage) -> None:
    server = server_of(own, channels(own))
    for _ in range(70):
        client_of(own, server)
    counts = []
    (listener,) = own.map.values()
    listener.handle_accept()
    counts.append(server.stats().accepted)
    listener.handle_accept()
    counts.append(server.stats().accepted)
    assert counts == [64, 70]
