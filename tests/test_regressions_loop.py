"""Faults that a review found in passes: predicates, sockets and errors that are odd, other threads.

Each is kept as the smallest case that showed it.  Where the standard library has the behaviour, it
is the one that fastchat must have.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import weakref
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Clock,
    FakeSocket,
    Stage,
    counts_references,
    fail_with,
    failure,
    inside,
    watch_of,
)


def test_a_channel_that_deletes_its_socket_does_not_end_the_pass(stage: Stage) -> None:
    mine, peer = stage.pair()
    map: dict[int, Any] = {}

    class Channel(stage.asyncore.dispatcher):  # type: ignore[misc, name-defined]
        def handle_read(self) -> None:
            self.recv(10)

        def handle_close(self) -> None:
            self.close()
            del self.socket

    Channel(mine, map)
    peer.close()
    stage.asyncore.loop(5, False, map, 1)
    assert map == {}


def test_a_failing_predicate_costs_no_wait(own: Stage, clock: Clock) -> None:
    map: dict[int, Any] = {}

    class Failing(own.asyncore.dispatcher):  # type: ignore[misc, name-defined]
        def readable(self) -> bool:
            raise ValueError

        def log_info(self, message: str, type: str = "info") -> None:
            pass

    Failing(own.pair()[0], map)
    own.asyncore.loop(30, False, map, 1)
    assert (map, clock.slept) == ({}, [0])


def test_a_predicate_that_fails_every_time_does_not_spin(own: Stage, clock: Clock) -> None:
    class Failing(own.asyncore.dispatcher):  # type: ignore[misc, name-defined]
        def readable(self) -> bool:
            raise ValueError

        def handle_error(self) -> None:
            pass

    map: dict[int, Any] = {}
    Failing(own.pair()[0], map)
    own.asyncore.loop(30, False, map, 1)
    assert clock.slept == [30]


@counts_references
def test_a_dropped_channel_is_freed_at_once(own: Stage) -> None:
    class Failing(own.asyncore.dispatcher):  # type: ignore[misc, name-defined]
        def handle_read(self) -> None:
            raise ValueError

        def handle_close(self) -> None:
            raise ValueError

        def log_info(self, message: str, type: str = "info") -> None:
            pass

    mine, peer = own.pair()
    map: dict[int, Any] = {}
    channel = weakref.ref(Failing(mine, map))
    peer.send(b"x")
    own.asyncore.loop(5, False, map, 1)
    assert (map, channel()) == ({}, None)


def test_a_socket_may_be_false(own: Stage) -> None:
    class Empty(socket.socket):
        def __len__(self) -> int:
            return 0

    mine, peer = own.pair()
    chat = own.chat(sock=own.keep(Empty(fileno=mine.detach())), handle_close=lambda chat: None)
    peer.close()
    own.loop()
    assert chat._fc_hung_up is chat.socket


@pytest.mark.parametrize("kind", ["async_chat", "dispatcher"])
@pytest.mark.parametrize(
    ("method", "real"),
    [("recv", False), ("send", False), ("send", True), ("readwrite", False)],
)
@pytest.mark.parametrize("counts", [False, True], ids=["no hang-up", "hang-up"])
def test_which_errors_are_a_hang_up_may_be_changed(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    counts: bool,
    real: bool,
    method: str,
    kind: str,
) -> None:
    problem = failure(errno.EPIPE if real else errno.ETIMEDOUT)
    numbers = {problem.errno} if counts else set()
    monkeypatch.setattr(stage.asyncore, "_DISCONNECTED", frozenset(numbers))
    kind_of_channel = getattr(stage.asynchat if kind == "async_chat" else stage.asyncore, kind)
    if real:
        channel = stage.channel(kind_of_channel)
        channel.peer.close()
    else:
        channel = stage.bare(kind_of_channel, handle_read_event=fail_with(problem))
        channel.socket = FakeSocket(recv=[problem], send=[problem])
        channel.connected = True
    call: Callable[[], Any] = {
        "recv": lambda: channel.recv(9),
        "send": lambda: channel.send(b"x"),
        "readwrite": lambda: stage.asyncore.readwrite(channel, select.POLLIN),
    }[method]
    if counts:
        assert call() == {"recv": b"", "send": 0, "readwrite": None}[method]
        assert channel.events == ["close"]
    elif method == "readwrite":
        call()
        assert channel.events[0] is type(problem)
    else:
        with pytest.raises(type(problem)):
            call()
        assert channel.events == []


@pytest.mark.parametrize("map_kind", ["channel_map", dict, UserDict])
@pytest.mark.parametrize("name", ["read", "write", "readwrite", "_exception"])
def test_what_leaves_a_function_of_the_programs_leaves_the_loop(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, map_kind: Any
) -> None:
    def event(channel: Any, *flags: int) -> None:
        raise ZeroDivisionError

    if map_kind != "channel_map":
        stage.map = map_kind()
    monkeypatch.setattr(stage.asyncore, name, event)
    mine, peer = stage.tcp_pair()
    mine.setblocking(False)
    channel = stage.channel(
        stage.asyncore.dispatcher,
        mine,
        readable=lambda channel: name != "_exception",
        writable=lambda channel: name in ("write", "_exception"),
        handle_error=stage.asyncore.dispatcher.handle_error,
        handle_expt=lambda channel: None,
    )
    peer.send(b"x", socket.MSG_OOB if name == "_exception" else 0)
    if name == "_exception":
        select.select([], [], [mine], PATIENCE)
    with pytest.raises(ZeroDivisionError):
        stage.loop(use_poll=name == "readwrite", timeout=PATIENCE)
    assert list(stage.map.values()) == [channel]


class Racing(dict[Any, Any]):
    """A dict of which another thread takes its own as soon as somebody has seen it there."""

    def __contains__(self, key: Any) -> bool:
        return True

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        return "another thread's"


class Interrupted(dict[Any, Any]):
    """A dict in which nothing gets, because a signal handler raises before."""

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        raise ZeroDivisionError


def senders_of(stage: Stage, monkeypatch: pytest.MonkeyPatch, senders: dict[Any, Any]) -> None:
    """Let *senders* say which thread sends what, where a dict does."""
    if stage.implementation.name == "cython":
        pytest.skip("compiled, who sends is a number in the state")
    monkeypatch.setitem(inside(stage, "state"), "_senders", senders)
    monkeypatch.setitem(inside(stage, "outgoing"), "_turns", senders)


def test_a_thread_may_be_done_while_another_looks_who_sends(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = own.chat()
    chat.producer_fifo.append(b"x")
    senders_of(own, monkeypatch, Racing())
    chat.initiate_send()
    assert list(chat.producer_fifo) == [b"x"]


def test_who_sends_is_noted_until_that_thread_is_done(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = own.chat()
    chat.producer_fifo.append(b"x")
    another = {chat._fc_state: -1}
    senders_of(own, monkeypatch, another)
    chat.initiate_send()
    assert list(chat.producer_fifo) == [b"x"]
    assert another == {chat._fc_state: -1}


def test_who_was_interrupted_before_it_was_noted_does_not_send(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = own.chat()
    assert not chat.producer_fifo
    senders_of(own, monkeypatch, Interrupted())
    chat._fc_state.offset = 1  # something was sent of the first entry
    for look in (lambda: chat.producer_fifo, chat.initiate_send):
        with pytest.raises(ZeroDivisionError):
            look()


def test_a_thread_may_be_done_while_another_looks_who_wakes(own: Stage) -> None:
    own.chat()
    own.loop()
    watch = watch_of(own)
    watch.waker, watch.waker_lock = None, Racing()
    watch.wake()
    assert watch.waker is None


@pytest.mark.parametrize("method", ["recv", "send"])
def test_which_errors_are_a_hang_up_may_be_changed_for_borrowers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    class Borrower:
        recv = stage.asyncore.dispatcher.recv
        send = stage.asyncore.dispatcher.send

        def handle_close(self) -> None:
            closed.append(self)

    closed: list[Any] = []
    if not stage.implementation.is_stdlib:
        monkeypatch.setitem(sys.modules, "fastchat.asyncore", stage.asyncore)
    monkeypatch.setattr(stage.asyncore, "_DISCONNECTED", frozenset({errno.ETIMEDOUT}))
    borrower: Any = Borrower()
    problem = failure(errno.ETIMEDOUT)
    borrower.socket = FakeSocket(recv=[problem], send=[problem])
    assert not (borrower.recv(9) if method == "recv" else borrower.send(b"x"))
    assert closed == [borrower]
    borrower.socket = FakeSocket(recv=[failure(errno.EPIPE)], send=[failure(errno.EPIPE)])
    with pytest.raises(BrokenPipeError):
        borrower.recv(9) if method == "recv" else borrower.send(b"x")
