"""One dispatcher and its socket: how it gets one, sends and receives, and is closed.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: a fake socket stands in only for an answer that the loopback does not give.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
import os
import re
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.channels import ENDING, GONE, PATIENCE, FakeSocket, Stage, failure, name_of

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
