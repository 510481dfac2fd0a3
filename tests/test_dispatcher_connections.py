"""One dispatcher that connects, or accepts: what it is told, and what it tells.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: a fake socket stands in only for an answer that the loopback does not give.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    FakeSocket,
    Stage,
    both_pollers,
    closes,
    fail_with,
    failure,
    name_of,
    posix_only,
)

NOTHING_TO_ACCEPT = [errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EAGAIN]


# Connecting.


@pytest.mark.parametrize("answer", [0, errno.EISCONN])
def test_a_connect_that_is_done_at_once_says_so_at_once(stage: Stage, answer: int) -> None:
    during: list[Any] = []
    channel = stage.bare(
        handle_connect=lambda channel: during.append((channel.connected, channel.connecting))
    )
    channel.set_socket(FakeSocket(7, connect_ex=[answer]))
    channel.connect(("192.0.2.1", 7))
    assert channel.events == ["connect"]
    assert during == [(False, True)]
    assert (channel.connected, channel.connecting) == (True, False)
    assert channel.addr == ("192.0.2.1", 7)


def test_connecting_what_is_connected_calls_handle_connect(stage: Stage) -> None:
    mine, peer = stage.tcp_pair()
    channel = stage.dispatcher(mine, handle_connect=lambda channel: None)
    channel.connect(peer.getsockname())
    assert (channel.events, channel.connected) == (["connect"], True)


@pytest.mark.parametrize(
    "answer", [errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK], ids=name_of
)
def test_a_connect_that_takes_time_is_waited_for(stage: Stage, answer: int) -> None:
    channel = stage.bare(handle_connect=lambda channel: None)
    channel.set_socket(FakeSocket(7, connect_ex=[answer]))
    channel.connected = True
    channel.connect(("192.0.2.1", 7))
    assert channel.events == []
    assert (channel.connected, channel.connecting) == (False, True)
    assert channel.addr == ("192.0.2.1", 7)


def test_windows_says_einval_for_a_connect_that_takes_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.asyncore, "os", SimpleNamespace(name="nt"))
    channel = stage.bare()
    channel.set_socket(FakeSocket(7, connect_ex=[errno.EINVAL]))
    channel.connect(("192.0.2.1", 7))
    assert (channel.connected, channel.connecting) == (False, True)


@posix_only
@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EINVAL], ids=name_of)
def test_a_connect_that_cannot_be_raises_the_number_and_its_name(stage: Stage, number: int) -> None:
    channel = stage.bare()
    channel.set_socket(FakeSocket(7, connect_ex=[number]))
    with pytest.raises(OSError, match=name_of(number)) as raised:
        channel.connect(("192.0.2.1", 7))
    assert raised.value.args == (number, name_of(number))
    assert channel.addr is None


@both_pollers
def test_a_connection_over_the_loopback(stage: Stage, use_poll: bool) -> None:
    listener = stage.listener(handle_accepted=lambda channel, sock, addr: sock.close())
    client = stage.bare(handle_connect=lambda channel: None, writable=lambda c: not c.connected)
    client.create_socket()
    client.connect(listener.address)
    stage.until(lambda: client.connected and listener.events, use_poll)
    assert (client.events[0], listener.events) == ("connect", ["accepted"])
    assert client.connecting is False


@both_pollers
def test_a_refused_connection_closes_the_channel(
    stage: Stage, use_poll: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = stage.bare(handle_connect=lambda channel: None, handle_read=lambda channel: None)
    channel.create_socket()
    channel.connect(stage.refused_address())
    stage.until(lambda: not stage.map, use_poll)
    assert "connect" not in channel.events
    assert closes(channel) == 1
    assert channel.socket.fileno() == -1


def test_the_outcome_of_a_connect_may_come_as_input(stage: Stage) -> None:
    channel = stage.dispatcher(
        handle_connect=lambda channel: None, handle_read=lambda channel: None
    )
    channel.connected, channel.connecting = False, True
    channel.handle_read_event()
    assert channel.events == ["connect", "read"]


def test_the_outcome_of_a_connect_may_come_as_room_for_output(stage: Stage) -> None:
    channel = stage.dispatcher(
        handle_connect=lambda channel: None, handle_write=lambda channel: None
    )
    channel.connected, channel.connecting = False, True
    channel.handle_write_event()
    assert channel.events == ["connect", "write"]


@pytest.mark.parametrize("event", ["read", "write"])
def test_a_channel_that_calls_itself_connected_is_not_told_again(stage: Stage, event: str) -> None:
    channel = stage.dispatcher(
        handle_connect=lambda channel: None,
        handle_read=lambda channel: None,
        handle_write=lambda channel: None,
    )
    channel.connecting = True
    getattr(channel, f"handle_{event}_event")()
    assert channel.events == [event]


def test_an_unconnected_channel_that_never_asked_is_not_told_of_a_connection(
    stage: Stage,
) -> None:
    channel = stage.dispatcher(
        handle_connect=lambda channel: None,
        handle_read=lambda channel: None,
        handle_write=lambda channel: None,
    )
    channel.connected = False
    channel.handle_read_event()
    channel.handle_write_event()
    assert channel.events == ["read", "write"]
    assert channel.connected is False


def test_a_connect_that_failed_raises_what_the_socket_says(stage: Stage) -> None:
    channel = stage.bare(handle_connect=lambda channel: None)
    channel.set_socket(FakeSocket(7, getsockopt=[errno.ECONNREFUSED]))
    with pytest.raises(ConnectionRefusedError) as raised:
        channel.handle_connect_event()
    assert raised.value.args == (errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    assert (channel.events, channel.connected) == ([], False)


def test_an_error_number_that_nobody_knows_has_a_text_as_well(stage: Stage) -> None:
    assert stage.asyncore._strerror(2**70) == f"Unknown error {2**70}"


def test_an_error_number_without_a_text_gives_its_name(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    strerror = fail_with(ValueError())
    monkeypatch.setattr(stage.asyncore, "os", SimpleNamespace(strerror=strerror))
    assert stage.asyncore._strerror(errno.EPIPE) == "EPIPE"


# Accepting.


def test_accept_returns_a_socket_and_an_address(stage: Stage) -> None:
    listener = stage.listener()
    client = stage.client(listener.address)
    sock, addr = listener.accept()
    with sock:
        assert addr == client.getsockname()


@pytest.mark.parametrize("timeout", [0, 5, None])
@pytest.mark.parametrize("default", [5, None])
def test_accept_returns_what_the_socket_would(
    stage: Stage, timeout: float | None, default: float | None
) -> None:
    listener = stage.bare()
    listener.set_socket(stage.keep(socket.socket(proto=socket.IPPROTO_TCP)))
    listener.bind(("127.0.0.1", 0))
    listener.listen(2)
    listener.socket.settimeout(timeout)
    clients = [stage.client(listener.socket.getsockname()) for _ in range(2)]
    socket.setdefaulttimeout(default)
    try:
        made = [stage.keep(accept()[0]) for accept in (listener.accept, listener.socket.accept)]
    finally:
        socket.setdefaulttimeout(None)
    ours, plain = ((type(s), s.family, s.type, s.proto, s.gettimeout()) for s in made)
    assert ours == plain
    assert {s.getpeername() for s in made} == {client.getsockname() for client in clients}


@pytest.mark.parametrize("name", ["accept", "_accept", "__init__"])
def test_accept_is_that_of_the_class_of_sockets(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    listener = stage.listener()
    stage.client(listener.address)
    calls: list[Any] = []
    method = getattr(socket.socket, name)

    def replacement(sock: Any, *args: Any, **options: Any) -> Any:
        calls.append((args, options))
        return method(sock, *args, **options)

    monkeypatch.setattr(socket.socket, name, replacement)
    stage.keep(listener.accept()[0])
    assert len(calls) == 1
    if name == "__init__":
        assert calls[0][0] == (socket.AF_INET, socket.SOCK_STREAM, 0)
        assert [type(number) for number in calls[0][0][:2]] == [
            socket.AddressFamily,
            socket.SocketKind,
        ]


def test_accept_makes_a_socket_of_the_class_that_is_there_now(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaced(socket.socket):
        pass

    listener = stage.listener()
    stage.client(listener.address)
    monkeypatch.setattr(socket, "socket", Replaced)
    assert type(stage.keep(listener.accept()[0])) is Replaced


def test_accept_is_that_of_a_class_which_was_replaced_before(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaced(socket.socket):
        def accept(self) -> Any:
            return "accepted"

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Replaced)
        again = importlib.util.module_from_spec(own.asyncore._accept.__globals__["__spec__"])
        again.__spec__.loader.exec_module(again)  # type: ignore[union-attr]
        listener = own.keep(Replaced())
        assert again.accept(listener) == "accepted"


def test_accept_returns_none_where_nobody_waits(stage: Stage) -> None:
    assert stage.listener().accept() is None


@pytest.mark.parametrize("number", NOTHING_TO_ACCEPT, ids=name_of)
def test_accept_returns_none_where_the_client_has_gone(stage: Stage, number: int) -> None:
    channel = stage.bare()
    channel.socket = FakeSocket(accept=[failure(number)])
    assert channel.accept() is None


def test_accept_returns_none_where_the_socket_does(stage: Stage) -> None:
    channel = stage.bare()
    channel.socket = FakeSocket(accept=[None])
    assert channel.accept() is None


def test_any_other_error_of_accept_leaves(stage: Stage) -> None:
    channel = stage.bare()
    channel.socket = FakeSocket(accept=[failure(errno.EPERM)])
    with pytest.raises(PermissionError):
        channel.accept()


@both_pollers
def test_a_client_is_handed_to_handle_accepted(stage: Stage, use_poll: bool) -> None:
    accepted: list[Any] = []
    listener = stage.listener(handle_accepted=lambda channel, *pair: accepted.append(pair))
    client = stage.client(listener.address)
    stage.until(lambda: accepted, use_poll)
    ((sock, addr),) = accepted
    with sock:
        assert addr == client.getsockname()


def test_handle_accept_has_nothing_to_say_where_nobody_waits(stage: Stage) -> None:
    listener = stage.listener(handle_accepted=lambda channel, *pair: None)
    listener.handle_accept()
    assert listener.events == []


def test_a_client_that_nobody_wants_is_closed(stage: Stage) -> None:
    listener = stage.listener()
    client = stage.client(listener.address)
    stage.loop(timeout=PATIENCE)
    assert client.recv(1) == b""


def test_a_listener_hears_of_clients_and_of_nothing_else(stage: Stage) -> None:
    channel = stage.dispatcher(
        handle_accept=lambda channel: None,
        handle_read=lambda channel: None,
        handle_write=lambda channel: None,
    )
    channel.accepting = True
    channel.handle_read_event()
    channel.handle_write_event()
    assert channel.events == ["accept"]


def test_listen_returns_what_the_socket_does_and_makes_it_a_listener(stage: Stage) -> None:
    channel = stage.bare()
    channel.socket = FakeSocket()
    assert channel.listen(100) == 100
    assert channel.accepting is True


@pytest.mark.parametrize(("wanted", "backlog"), [(4, 4), (5, 5), (6, 5), (100, 5)])
def test_windows_gets_a_backlog_of_five_at_most(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, wanted: int, backlog: int
) -> None:
    monkeypatch.setattr(stage.asyncore, "os", SimpleNamespace(name="nt"))
    channel = stage.bare()
    channel.socket = FakeSocket()
    assert channel.listen(wanted) == backlog


def test_bind_remembers_the_address(stage: Stage) -> None:
    channel = stage.bare()
    channel.create_socket()
    assert channel.bind(("127.0.0.1", 0)) is None
    assert channel.addr == ("127.0.0.1", 0)
