"""One dispatcher: how it gets a socket, connects, accepts, fails and closes, and what it prints.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: a fake socket stands in only for an answer that the loopback does not give;
what is printed is compared to the letter, because programs read their logs with patterns.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
import importlib.util
import os
import re
import select
import socket
import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from tests.support.channels import (
    ENDING,
    GONE,
    PATIENCE,
    FakeSocket,
    Stage,
    both_pollers,
    closes,
    fail_with,
    failure,
    name_of,
    needs_poll,
    posix_only,
)


@pytest.fixture
def dispatcher(stage: Stage) -> Any:
    return stage.asyncore.dispatcher


NOTHING_TO_ACCEPT = [errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EAGAIN]


# A socket for it.


def test_a_socket_given_becomes_non_blocking(stage: Stage, dispatcher: Any) -> None:
    mine, _ = stage.pair()
    dispatcher(mine, stage.map)
    assert mine.gettimeout() == 0


def test_a_socket_given_is_served_from_the_map_given(stage: Stage, dispatcher: Any) -> None:
    mine, _ = stage.pair()
    channel = dispatcher(mine, stage.map)
    assert stage.map == {mine.fileno(): channel}
    assert (channel.socket, channel._fileno, channel._map) == (mine, mine.fileno(), stage.map)


def test_without_a_map_the_modules_own_is_joined(stage: Stage, dispatcher: Any) -> None:
    mine, _ = stage.pair()
    channel = dispatcher(mine)
    assert channel._map is stage.asyncore.socket_map
    assert channel._map.pop(mine.fileno()) is channel


def test_an_empty_map_given_is_not_taken_for_none(stage: Stage, dispatcher: Any) -> None:
    assert dispatcher(None, stage.map)._map is stage.map


def test_a_connected_socket_makes_a_connected_channel(stage: Stage, dispatcher: Any) -> None:
    mine, peer = stage.tcp_pair()
    channel = dispatcher(mine, stage.map)
    assert channel.connected is True
    assert channel.addr == peer.getsockname()


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.EINVAL], ids=name_of)
def test_a_socket_without_a_peer_makes_an_unconnected_channel(
    stage: Stage, dispatcher: Any, number: int
) -> None:
    sock = FakeSocket(7, getpeername=[failure(number)])
    channel = dispatcher(sock, stage.map)
    assert (channel.connected, channel.addr) == (False, None)
    assert stage.map == {7: channel}


def test_any_other_error_of_getpeername_leaves_and_no_channel_stays(
    stage: Stage, dispatcher: Any
) -> None:
    sock = FakeSocket(7, getpeername=[failure(errno.ENOBUFS)])
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOBUFS))):
        dispatcher(sock, stage.map)
    assert stage.map == {}


def test_an_address_set_earlier_stays_where_there_is_no_peer(stage: Stage, dispatcher: Any) -> None:
    class Early(dispatcher):
        def __init__(self, sock: Any, map: Any) -> None:
            self.addr = ("192.0.2.9", 9)
            dispatcher.__init__(self, sock, map)

    sock = FakeSocket(7, getpeername=[failure(errno.ENOTCONN)])
    assert Early(sock, stage.map).addr == ("192.0.2.9", 9)


def test_an_address_set_earlier_gives_way_to_the_peers(stage: Stage, dispatcher: Any) -> None:
    class Early(dispatcher):
        def __init__(self, sock: Any, map: Any) -> None:
            self.addr = ("192.0.2.9", 9)
            dispatcher.__init__(self, sock, map)

    assert Early(FakeSocket(7), stage.map).addr == ("192.0.2.1", 7)


def test_without_a_socket_it_is_in_no_map(stage: Stage, dispatcher: Any) -> None:
    channel = dispatcher(map=stage.map)
    assert (channel.socket, channel._fileno, stage.map) == (None, None, {})


def test_create_socket_makes_one_that_does_not_block_and_serves_it(
    stage: Stage, dispatcher: Any
) -> None:
    channel = stage.bare(dispatcher)
    channel.create_socket()
    assert channel.socket.gettimeout() == 0
    assert channel.family_and_type == (socket.AF_INET, socket.SOCK_STREAM)
    assert stage.map == {channel.socket.fileno(): channel}


def test_create_socket_takes_a_family_and_a_type(stage: Stage) -> None:
    channel = stage.bare()
    channel.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert channel.family_and_type == (socket.AF_INET, socket.SOCK_DGRAM)
    assert channel.socket.type == socket.SOCK_DGRAM


def test_set_socket_serves_it_from_another_map_if_told(stage: Stage) -> None:
    channel = stage.bare()
    another: dict[int, Any] = {}
    mine, _ = stage.pair()
    channel.set_socket(mine, another)
    assert (another, stage.map) == ({mine.fileno(): channel}, {})


def test_set_socket_needs_no_more_of_a_socket_than_its_number(stage: Stage) -> None:
    channel = stage.bare()
    channel.set_socket(SimpleNamespace(fileno=lambda: 7, close=lambda: None))
    assert stage.map == {7: channel}
    channel.close()
    assert stage.map == {}


def test_add_channel_and_del_channel_take_another_map(stage: Stage) -> None:
    channel = stage.dispatcher()
    another: dict[int, Any] = {}
    channel.add_channel(another)
    assert another == {channel.socket.fileno(): channel}
    channel.del_channel(another)
    assert (another, channel._fileno) == ({}, None)


def test_del_channel_of_a_channel_that_is_in_no_map_does_nothing(stage: Stage) -> None:
    channel = stage.bare()
    channel.del_channel()
    assert channel._fileno is None


def test_a_program_may_keep_its_channels_its_own_way(stage: Stage, dispatcher: Any) -> None:
    calls: list[str] = []

    class Own(dispatcher):
        def add_channel(self, map: Any = None) -> None:
            calls.append("add")

        def del_channel(self, map: Any = None) -> None:
            calls.append("del")

    mine, _ = stage.pair()
    Own(mine, stage.map).close()
    assert (calls, stage.map) == (["add", "del"], {})


def test_set_reuse_addr_asks_for_the_address_again(stage: Stage) -> None:
    channel = stage.bare()
    channel.create_socket()
    channel.set_reuse_addr()
    assert channel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_set_reuse_addr_is_content_without(stage: Stage) -> None:
    channel = stage.bare()
    channel.socket = FakeSocket(setsockopt=[failure(errno.ENOPROTOOPT)])
    channel.set_reuse_addr()
    assert channel.socket.calls == ["getsockopt", "setsockopt"]


def test_the_defaults_are_on_the_class(dispatcher: Any) -> None:
    assert (
        dispatcher.debug,
        dispatcher.connected,
        dispatcher.accepting,
        dispatcher.connecting,
        dispatcher.closing,
        dispatcher.addr,
        dispatcher.ignore_log_types,
    ) == (False, False, False, False, False, None, frozenset({"warning"}))


def test_it_waits_for_everything_by_default(stage: Stage, dispatcher: Any) -> None:
    channel = dispatcher(None, stage.map)
    assert (channel.readable(), channel.writable()) == (True, True)


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


# Sending and receiving.


def test_send_returns_how_much_the_kernel_took(stage: Stage) -> None:
    channel = stage.dispatcher()
    assert channel.send(b"four") == 4
    assert channel.peer.recv(10) == b"four"


def test_send_returns_nothing_where_the_kernel_takes_none(stage: Stage) -> None:
    channel = stage.dispatcher()
    while channel.send(b"x" * 65536):
        pass
    assert channel.events == []


@pytest.mark.parametrize("number", GONE, ids=name_of)
def test_send_to_nobody_is_a_close(stage: Stage, number: int) -> None:
    channel = stage.bare()
    channel.socket = FakeSocket(send=[failure(number)])
    assert channel.send(b"x") == 0
    assert channel.events == ["close"]


def test_send_on_a_channel_that_the_program_closed_is_a_close(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.close()
    assert channel.send(b"x") == 0
    assert channel.events == ["close"]


def test_a_channel_that_outlives_its_close_hears_of_every_send_to_nobody(stage: Stage) -> None:
    channel = stage.bare(handle_close=lambda channel: None)
    channel.socket = FakeSocket(send=[failure(errno.EPIPE)])
    channel.send(b"x")
    channel.send(b"x")
    assert channel.events == ["close", "close"]


def test_any_other_error_of_send_leaves(stage: Stage) -> None:
    channel = stage.bare()
    channel.socket = FakeSocket(send=[failure(errno.ENOBUFS)])
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOBUFS))):
        channel.send(b"x")
    assert channel.events == []


def test_recv_returns_what_is_there_up_to_a_size(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.peer.sendall(b"seven.")
    assert (channel.recv(5), channel.recv(5)) == (b"seven", b".")


def test_recv_at_the_end_is_a_close(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.peer.close()
    assert channel.recv(5) == b""
    assert channel.events == ["close"]


@pytest.mark.parametrize("number", GONE, ids=name_of)
def test_recv_from_nobody_is_a_close(stage: Stage, number: int) -> None:
    channel = stage.bare()
    channel.socket = FakeSocket(recv=[failure(number)])
    assert channel.recv(5) == b""
    assert channel.events == ["close"]


def test_recv_where_nothing_is_there_raises(stage: Stage) -> None:
    channel = stage.dispatcher()
    with pytest.raises(BlockingIOError):
        channel.recv(5)
    assert channel.events == []


# Closing.


def test_close_takes_the_channel_off_the_map_and_closes_the_socket(stage: Stage) -> None:
    channel = stage.dispatcher()
    sock = channel.socket
    channel.close()
    assert stage.map == {}
    assert sock.fileno() == -1
    assert (channel.socket, channel._fileno) == (sock, None)


def test_close_takes_all_states_back(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.connected = channel.accepting = channel.connecting = True
    channel.close()
    assert (channel.connected, channel.accepting, channel.connecting) == (False, False, False)
    assert channel.closing is False


def test_close_says_nothing(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.close()
    assert channel.events == []


def test_close_can_be_called_twice(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.close()
    channel.close()
    assert stage.map == {}


def test_close_needs_no_socket(stage: Stage) -> None:
    stage.bare().close()


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.EBADF], ids=name_of)
def test_close_does_not_mind_a_socket_that_is_gone(stage: Stage, number: int) -> None:
    channel = stage.bare()
    channel.set_socket(FakeSocket(7, close=[failure(number), None]))
    channel.close()
    assert stage.map == {}


def test_any_other_error_of_close_leaves(stage: Stage) -> None:
    channel = stage.bare()
    channel.set_socket(FakeSocket(7, close=[failure(errno.EIO), None]))
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EIO))):
        channel.close()
    assert stage.map == {}


def test_a_closed_channel_can_get_a_new_socket(stage: Stage) -> None:
    channel = stage.dispatcher(handle_read=lambda channel: channel.recv(10))
    channel.close()
    mine, peer = stage.pair()
    mine.setblocking(False)
    channel.set_socket(mine)
    peer.sendall(b"x")
    stage.loop(timeout=PATIENCE)
    assert channel.events == ["read"]


class Closing:
    """Something in a map that is closed, and may fail to be."""

    def __init__(self, problem: BaseException | None = None) -> None:
        self.problem = problem
        self.closed = False

    def close(self) -> None:
        self.closed = True
        if self.problem:
            raise self.problem


def test_close_all_closes_everything_and_empties_the_map(stage: Stage) -> None:
    things = {1: Closing(), 2: Closing()}
    map = dict(things)
    stage.asyncore.close_all(map)
    assert [thing.closed for thing in things.values()] == [True, True]
    assert map == {}


def test_close_all_closes_the_channels_of_the_module_map(stage: Stage, dispatcher: Any) -> None:
    mine, _ = stage.pair()
    dispatcher(mine)
    stage.asyncore.close_all()
    assert (stage.asyncore.socket_map, mine.fileno()) == ({}, -1)


def test_close_all_bears_channels_that_leave_the_map_as_they_close(stage: Stage) -> None:
    channels = [stage.dispatcher() for _ in range(3)]
    stage.asyncore.close_all(stage.map)
    assert [channel.socket.fileno() for channel in channels] == [-1, -1, -1]


def test_close_all_does_not_mind_what_is_closed_already(stage: Stage) -> None:
    map = {1: Closing(failure(errno.EBADF)), 2: Closing()}
    stage.asyncore.close_all(map)
    assert map == {}


@pytest.mark.parametrize("problem", [OSError(errno.EIO, "I/O"), ValueError()])
def test_an_exception_stops_close_all(stage: Stage, problem: Exception) -> None:
    map = {1: Closing(problem), 2: Closing()}
    with pytest.raises(type(problem)):
        stage.asyncore.close_all(map)
    assert (map[2].closed, len(map)) == (False, 2)


@pytest.mark.parametrize("problem", [OSError(errno.EIO, "I/O"), ValueError(), GeneratorExit()])
def test_close_all_ignores_exceptions_if_told(stage: Stage, problem: BaseException) -> None:
    last = Closing()
    map = {1: Closing(problem), 2: last}
    stage.asyncore.close_all(map, ignore_all=True)
    assert (last.closed, map) == (True, {})


@pytest.mark.parametrize("kind", ENDING)
def test_close_all_never_ignores_what_ends_the_program(stage: Stage, kind: Any) -> None:
    wanted = stage.ending(kind)
    with pytest.raises(wanted):
        stage.asyncore.close_all({1: Closing(wanted())}, ignore_all=True)


# Errors.


def test_an_exception_is_printed_in_one_line_and_closes_the_channel(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = stage.dispatcher(handle_read=fail_with(ValueError("the text")))
    channel.__class__.__repr__ = lambda channel: "<THE CHANNEL>"
    channel.peer.sendall(b"x")
    stage.loop(timeout=PATIENCE)
    printed = capsys.readouterr().out
    assert re.fullmatch(
        r"error: uncaptured python exception, closing channel <THE CHANNEL> "
        r"\(<class 'ValueError'>:the text( \[[^|\]]+\|\w+\|\d+\])+\)\n",
        printed,
    )
    assert channel.events == ["read", ValueError, "close"]
    assert stage.map == {}


def test_the_line_names_every_frame_the_innermost_last(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    def handle_read(channel: Any) -> None:
        int("x")

    channel = stage.dispatcher(handle_read=handle_read)
    stage.asyncore.read(channel)
    frames = re.findall(r"\[([^|]+)\|(\w+)\|\d+\]", capsys.readouterr().out)
    assert [name for _, name in frames][:2] == ["read", "handle_read_event"]
    assert frames[-1] == (__file__, "handle_read")


def test_a_repr_that_fails_does_not_hide_the_exception(
    stage: Stage, dispatcher: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(dispatcher):
        def __repr__(self) -> str:
            raise RuntimeError

    channel = Broken(None, stage.map)
    try:
        raise ValueError("the text")
    except ValueError:
        channel.handle_error()
    wanted = f"closing channel <__repr__(self) failed for object at {id(channel):0x}> (<class 'V"
    assert wanted in capsys.readouterr().out


def test_handle_error_closes_through_handle_close(stage: Stage) -> None:
    channel = stage.dispatcher(handle_close=lambda channel: None)
    try:
        raise ValueError
    except ValueError:
        channel.handle_error()
    assert channel.events == [ValueError, "close"]
    assert stage.map


def test_handle_error_may_let_the_channel_live(stage: Stage) -> None:
    def handle_read(channel: Any) -> None:
        channel.recv(10)
        raise ValueError

    channel = stage.dispatcher(handle_read=handle_read, handle_error=lambda channel: None)
    for _ in range(2):
        channel.peer.sendall(b"x")
        stage.loop(timeout=PATIENCE)
    assert channel.events == ["read", ValueError] * 2


def test_compact_traceback_describes_the_exception_being_handled(stage: Stage) -> None:
    def inner() -> None:
        raise KeyError("key")

    try:
        inner()
    except KeyError as problem:
        caught = problem
        (file, function, line), kind, value, text = stage.asyncore.compact_traceback()
    assert (file, function, kind, value) == (__file__, "inner", KeyError, caught)
    outer = "test_compact_traceback_describes_the_exception_being_handled"
    pattern = rf"\[{re.escape(file)}\|{outer}\|\d+\] \[{re.escape(file)}\|inner\|{line}\]"
    assert re.fullmatch(pattern, text)


def test_compact_traceback_needs_an_exception(stage: Stage) -> None:
    with pytest.raises(AssertionError, match="traceback does not exist"):
        stage.asyncore.compact_traceback()


def test_handle_error_uses_the_compact_traceback_of_the_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = (("file", "function", "1"), "KIND", "VALUE", "WHERE")
    monkeypatch.setattr(stage.asyncore, "compact_traceback", lambda: answer)
    stage.dispatcher().handle_error()
    assert "(KIND:VALUE WHERE)" in capsys.readouterr().out


def test_an_error_pending_on_the_socket_is_a_close(stage: Stage) -> None:
    channel = stage.bare(handle_expt=lambda channel: None)
    channel.socket = FakeSocket(getsockopt=[errno.ECONNRESET])
    channel.handle_expt_event()
    assert channel.events == ["close"]


def test_urgent_data_without_an_error_is_for_handle_expt(stage: Stage) -> None:
    channel = stage.dispatcher(handle_expt=lambda channel: None)
    channel.handle_expt_event()
    assert channel.events == ["expt"]


# What it prints.


def test_log_writes_to_standard_error(
    stage: Stage, dispatcher: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    dispatcher(None, stage.map).log("text")
    assert tuple(capsys.readouterr()) == ("", "log: text\n")


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("text",), "info: text\n"),
        (("text", "error"), "error: text\n"),
        (("text", "warning"), ""),
    ],
)
def test_log_info_writes_to_standard_output_but_no_warnings(
    stage: Stage,
    dispatcher: Any,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    printed: str,
) -> None:
    dispatcher(None, stage.map).log_info(*arguments)
    assert tuple(capsys.readouterr()) == (printed, "")


def test_a_class_chooses_what_it_does_not_print(
    stage: Stage, dispatcher: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Quiet(dispatcher):
        ignore_log_types = ("info",)

    Quiet(None, stage.map).log_info("text")
    Quiet(None, stage.map).log_info("text", "warning")
    assert capsys.readouterr().out == "warning: text\n"


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ("handle_read", "unhandled read event"),
        ("handle_write", "unhandled write event"),
        ("handle_connect", "unhandled connect event"),
        ("handle_expt", "unhandled incoming priority event"),
        ("handle_close", "unhandled close event"),
    ],
)
def test_a_hook_that_is_not_overridden_warns(
    stage: Stage, dispatcher: Any, hook: str, text: str
) -> None:
    channel = dispatcher(None, stage.map)
    logged: list[Any] = []
    channel.log_info = lambda *arguments: logged.append(arguments)
    getattr(channel, hook)()
    assert logged == [(text, "warning")]


def test_a_client_that_nobody_wants_is_warned_of(stage: Stage, dispatcher: Any) -> None:
    channel = dispatcher(None, stage.map)
    logged: list[Any] = []
    channel.log_info = lambda *arguments: logged.append(arguments)
    sock = FakeSocket()
    channel.handle_accepted(sock, ("192.0.2.1", 7))
    assert (logged, sock.closed) == ([("unhandled accepted event", "warning")], True)


def test_handle_close_closes_if_it_is_not_overridden(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.handle_close()
    assert stage.map == {}


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({}, ""),
        ({"connected": True}, " connected"),
        ({"addr": ("192.0.2.1", 7)}, " 192.0.2.1:7"),
        ({"addr": ("192.0.2.1", 7), "connected": True}, " connected 192.0.2.1:7"),
        ({"addr": ("192.0.2.1", 7), "accepting": True}, " listening 192.0.2.1:7"),
        ({"accepting": True}, ""),
        ({"accepting": True, "connected": True}, " connected"),
        ({"addr": ("::1", 7, 0, 0)}, " ('::1', 7, 0, 0)"),
        ({"addr": "/run/x"}, " '/run/x'"),
        ({"addr": ""}, " ''"),
    ],
)
def test_the_repr_tells_the_state_and_the_address(
    stage: Stage, dispatcher: Any, state: dict[str, Any], text: str
) -> None:
    class Named(dispatcher):
        pass

    channel = Named(None, stage.map)
    channel.__dict__.update(state)
    name = f"{Named.__module__}.{Named.__qualname__}"
    assert repr(channel) == f"<{name}{text} at {id(channel):#x}>"


# Shapes that programs give it.


@both_pollers
def test_a_channel_may_be_a_thread(stage: Stage, dispatcher: Any, use_poll: bool) -> None:
    class Worker(dispatcher, threading.Thread):
        def __init__(self, sock: Any, map: Any) -> None:
            threading.Thread.__init__(self)
            dispatcher.__init__(self, sock, map)
            self.got = b""

        def run(self) -> None:
            stage.asyncore.loop(PATIENCE, use_poll, self._map)

        def handle_read(self) -> None:
            self.got += self.recv(100)

        def writable(self) -> bool:
            return False

    mine, peer = stage.pair()
    worker = Worker(mine, stage.map)
    worker.start()
    peer.sendall(b"work")
    peer.close()
    worker.join(PATIENCE)
    assert (worker.is_alive(), worker.got) == (False, b"work")


def test_a_loop_of_the_programs_own_hears_of_every_close(stage: Stage) -> None:
    # It calls the events of the channel itself, and its handle_close lets the channel live.
    def handle_read(channel: Any) -> None:
        if channel.events != ["read"]:
            raise ValueError
        channel.recv(10)

    channel = stage.dispatcher(handle_read=handle_read, handle_close=lambda channel: None)
    channel.peer.close()
    for _ in range(2):
        try:
            channel.handle_read_event()
        except ValueError:
            channel.handle_error()
    assert channel.events == ["read", "close", "read", ValueError, "close"]


@pytest.mark.parametrize(
    "name", ["read", "write", "expt", pytest.param("readwrite", marks=needs_poll)]
)
def test_a_channel_with_events_of_its_own_hears_of_every_close(stage: Stage, name: str) -> None:
    def event(channel: Any) -> None:
        if channel.events:
            raise ValueError
        channel.send(b"x")

    sock = FakeSocket(7, send=[failure(errno.EPIPE)])
    hook = "handle_read_event" if name == "readwrite" else f"handle_{name}_event"
    channel = stage.dispatcher(sock, **{hook: event}, handle_close=lambda channel: None)
    tell = getattr(stage.asyncore, "_exception" if name == "expt" else name)
    flags = [select.POLLIN] if name == "readwrite" else []
    tell(channel, *flags)
    tell(channel, *flags)
    assert channel.events == ["close", ValueError, "close"]


def test_a_channel_with_a_registration_of_its_own_hears_of_every_close(
    stage: Stage, dispatcher: Any
) -> None:
    own: dict[int, Any] = {}

    class Own(dispatcher):
        def add_channel(self, map: Any = None) -> None:
            own[self._fileno] = self

        def del_channel(self, map: Any = None) -> None:
            own.pop(self._fileno, None)

    channel = stage.bare(Own, handle_read=lambda channel: channel.recv(10))
    for _ in range(2):
        mine, peer = stage.pair()
        channel.set_socket(mine)
        peer.close()
        stage.asyncore.loop(PATIENCE, False, own, 1)
    assert channel.events == ["read", "close"] * 2


def test_a_channel_whose_socket_is_set_by_hand_hears_of_every_close(stage: Stage) -> None:
    channel = stage.bare(handle_read=lambda channel: channel.recv(10))
    for _ in range(2):
        channel.socket, peer = stage.pair()
        channel._fileno = channel.socket.fileno()
        stage.map[channel._fileno] = channel
        peer.close()
        stage.loop(timeout=PATIENCE)
    assert channel.events == ["read", "close"] * 2


def test_a_channel_that_gets_the_same_fake_again_hears_of_every_close(stage: Stage) -> None:
    sock = FakeSocket(7, recv=[b""])
    channel = stage.bare(handle_read=lambda channel: channel.recv(10))
    for _ in range(2):
        channel.set_socket(sock)
        stage.asyncore.read(channel)
    assert channel.events == ["read", "close"] * 2


def test_a_channel_that_connects_again_in_handle_close_is_not_lost(stage: Stage) -> None:
    # The exception is of the old connection; the new one either lives, or its end is told.
    def handle_close(channel: Any) -> None:
        channel.close()
        mine, channel.peer = stage.pair()
        mine.setblocking(False)
        channel.set_socket(mine)

    def handle_read(channel: Any) -> None:
        if not channel.recv(10):
            raise ValueError

    channel = stage.dispatcher(handle_read=handle_read, handle_close=handle_close)
    channel.peer.close()
    stage.loop(timeout=PATIENCE)
    assert channel in stage.map.values()


def test_a_mixin_in_front_overrides(stage: Stage, dispatcher: Any) -> None:
    class Counting:
        received = 0

        def recv(self, size: int) -> bytes:
            data: bytes = super().recv(size)  # type: ignore[misc]
            self.received += len(data)
            return data

    class Channel(Counting, dispatcher):
        def handle_read(self) -> None:
            self.recv(100)

    mine, peer = stage.pair()
    channel = Channel(mine, stage.map)
    peer.sendall(b"12345")
    stage.asyncore.read(channel)
    assert channel.received == 5


def test_a_channel_takes_any_attribute(stage: Stage, dispatcher: Any) -> None:
    channel = dispatcher(None, stage.map)
    channel.anything = 1
    assert channel.anything == 1


def test_a_channel_can_be_referred_to_weakly(stage: Stage, dispatcher: Any) -> None:
    channel = dispatcher(None, stage.map)
    assert weakref.ref(channel)() is channel


@both_pollers
def test_a_map_may_hold_a_weak_proxy(stage: Stage, use_poll: bool) -> None:
    channel = stage.dispatcher(handle_read=lambda channel: channel.close())
    stage.map[channel.socket.fileno()] = weakref.proxy(channel)
    channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (channel.events, stage.map) == (["read"], {})


def test_the_input_event_may_be_the_input_hook(stage: Stage, dispatcher: Any) -> None:
    class Direct(dispatcher):
        def handle_read(self) -> None:
            self.got = self.recv(100)

        handle_read_event = handle_read

    mine, peer = stage.pair()
    channel = Direct(mine, stage.map)
    channel.accepting = True
    peer.sendall(b"x")
    stage.loop(timeout=PATIENCE)
    assert channel.got == b"x"


@both_pollers
def test_a_hook_may_be_patched_on_the_object(stage: Stage, use_poll: bool) -> None:
    channel = stage.dispatcher()
    channel.peer.sendall(b"x")
    with mock.patch.object(channel, "handle_read") as handle_read:
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    handle_read.assert_called_once_with()


@both_pollers
def test_a_hook_may_be_patched_on_the_class(stage: Stage, dispatcher: Any, use_poll: bool) -> None:
    channel = stage.dispatcher()
    channel.peer.sendall(b"x")
    with mock.patch.object(dispatcher, "handle_read", autospec=True) as handle_read:
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    handle_read.assert_called_once_with(channel)


def test_a_method_of_the_socket_may_be_patched(stage: Stage) -> None:
    channel = stage.dispatcher()
    with mock.patch.object(channel, "socket") as sock:
        sock.recv.return_value = b"patched"
        assert channel.recv(10) == b"patched"
    sock.recv.assert_called_once_with(10)


@pytest.mark.parametrize("function", ["read", "write", "_exception"])
def test_a_mock_may_be_a_channel(stage: Stage, function: str) -> None:
    channel = mock.Mock()
    getattr(stage.asyncore, function)(channel)
    (call,) = channel.mock_calls
    assert call in (
        mock.call.handle_read_event(),
        mock.call.handle_write_event(),
        mock.call.handle_expt_event(),
    )


class Borrower:
    """No dispatcher; it has of one what a test lends it."""

    socket: Any = None
    connected = False
    accepting = False
    connecting = False
    debug = False
    out_buffer = b""

    def __init__(self) -> None:
        self.events: list[str] = []

    def handle_close(self) -> None:
        self.events.append("close")

    def handle_connect(self) -> None:
        self.events.append("connect")

    def handle_read(self) -> None:
        self.events.append("read")

    def handle_write(self) -> None:
        self.events.append("write")

    def handle_expt(self) -> None:
        self.events.append("expt")


def lend(stage: Stage, *names: str) -> tuple[Borrower, Callable[..., Any]]:
    """A borrower of methods of dispatcher; also a way to set its attributes."""
    functions = {name: getattr(stage.asyncore.dispatcher, name) for name in names}
    made = type("Lent", (Borrower,), functions)()
    return made, made.__dict__.update


def test_another_class_may_borrow_recv(stage: Stage) -> None:
    borrower, put = lend(stage, "recv")
    put(socket=FakeSocket(recv=[b"data", b""]))
    received: Any = borrower
    assert (received.recv(9), received.recv(9)) == (b"data", b"")
    assert borrower.events == ["close"]


def test_another_class_may_borrow_send(stage: Stage) -> None:
    borrower, put = lend(stage, "send")
    put(socket=FakeSocket(send=[3, failure(errno.EPIPE)]))
    sender: Any = borrower
    assert (sender.send(b"data"), sender.send(b"data")) == (3, 0)
    assert borrower.events == ["close"]


@pytest.mark.parametrize("connecting", [False, True])
@pytest.mark.parametrize(
    ("event", "hook"), [("handle_read_event", "read"), ("handle_write_event", "write")]
)
def test_another_class_may_borrow_an_event(
    stage: Stage, event: str, hook: str, connecting: bool
) -> None:
    borrower, put = lend(stage, event, "handle_connect_event")
    put(socket=FakeSocket(), connecting=connecting)
    getattr(borrower, event)()
    assert borrower.events == [*["connect"][: int(connecting)], hook]


def test_another_class_may_borrow_the_urgent_event(stage: Stage) -> None:
    borrower, put = lend(stage, "handle_expt_event")
    put(socket=FakeSocket(getsockopt=[0, errno.EPIPE]))
    urgent: Any = borrower
    urgent.handle_expt_event()
    urgent.handle_expt_event()
    assert borrower.events == ["expt", "close"]


@pytest.mark.parametrize("answer", [0, errno.EINPROGRESS])
def test_another_class_may_borrow_connect(stage: Stage, answer: int) -> None:
    borrower, put = lend(stage, "connect", "handle_connect_event")
    put(socket=FakeSocket(connect_ex=[answer]))
    connecting: Any = borrower
    connecting.connect(("192.0.2.1", 7))
    assert borrower.events == (["connect"] if answer == 0 else [])


def test_another_class_may_borrow_its_registration(stage: Stage) -> None:
    borrower, put = lend(stage, "set_socket", "add_channel", "del_channel", "close")
    put(_map=stage.map)
    sock = FakeSocket(7)
    registered: Any = borrower
    registered.set_socket(sock)
    assert stage.map == {7: borrower}
    registered.close()
    assert (stage.map, sock.closed) == ({}, True)


def test_another_class_may_borrow_accept(stage: Stage) -> None:
    borrower, put = lend(stage, "accept")
    put(socket=FakeSocket(accept=[("socket", "address")]))
    accepting: Any = borrower
    assert accepting.accept() == ("socket", "address")


class Slotted:
    """A class of the program's own, without room for an attribute that is not its own."""

    __slots__ = ("events",)

    accepting = False

    def __init__(self) -> None:
        self.events: list[str] = []

    def handle_read_event(self) -> None:
        self.events.append("read")

    def handle_close(self) -> None:
        self.events.append("close")

    def handle_error(self) -> None:
        self.events.append("error")


@needs_poll
def test_a_class_with_slots_hears_of_a_hang_up(stage: Stage) -> None:
    channel = Slotted()
    stage.asyncore.readwrite(channel, select.POLLHUP)
    assert channel.events == ["close"]


@both_pollers
def test_a_class_with_slots_may_borrow_the_urgent_hooks(stage: Stage, use_poll: bool) -> None:
    class Urgent(Slotted):
        __slots__ = ()

        handle_expt: Any = stage.asyncore.dispatcher.handle_expt
        handle_expt_event: Any = stage.asyncore.dispatcher.handle_expt_event

        def readable(self) -> bool:
            return True

        def writable(self) -> bool:
            return False

    mine, peer = stage.pair()
    channel = stage.map[mine.fileno()] = Urgent()
    peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["read"]


def test_a_class_with_slots_may_borrow_recv(stage: Stage) -> None:
    class Receiver(Slotted):
        __slots__ = ("socket",)

        recv = stage.asyncore.dispatcher.recv

    channel = Receiver()
    channel.socket = FakeSocket(recv=[b""])  # type: ignore[attr-defined]
    assert channel.recv(10) == b""
    assert channel.events == ["close"]
