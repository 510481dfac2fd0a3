"""Registrations of plain dicts: kept while a loop runs, given back at its end, or never made.

What the standard library does as well runs on it too.

Rules this file keeps: readiness is real; what is kept is seen by the descriptors that are open, or
by the system calls that are made.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import weakref
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    as_the_system,
    both_pollers,
    fail_with,
    failure,
    needs_epoll,
    needs_poll,
    watch_of,
)
from tests.support.watched import asked, reader

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc")


def descriptors() -> list[str]:
    for _ in range(2):  # PyPy closes behind a collection what that has found
        gc.collect()  # so that no set of an earlier test goes in between
    return sorted(os.listdir("/proc/self/fd"))


# What is kept while a loop runs, and given back.


@needs_epoll
@needs_proc
@both_pollers
def test_a_loop_keeps_the_registrations_of_a_plain_dict_and_gives_them_back(
    own: Stage, use_poll: bool
) -> None:
    own.map = {}
    watches: list[Any] = []

    def found(chat: Any) -> None:
        watches.append(watch_of(own))
        if len(watches) == 1:
            chat.peer.sendall(b"\n")
        else:
            chat.close()

    chat = own.chat(found_terminator=found)
    chat.peer.sendall(b"\n")
    before = len(descriptors())
    own.asyncore.loop(PATIENCE, use_poll, own.map)
    assert watches[0] is not None
    assert watches[0] is watches[1]
    assert len(descriptors()) == before - 1  # the chat
    assert watch_of(own) is None
    assert not own.implementation.core["touch"].watches


@needs_proc
@pytest.mark.parametrize("nested_count", [1, 2, None])
@pytest.mark.parametrize("leaves", [False, True])
def test_a_nested_loop_over_the_same_dict_shares_its_registrations(
    own: Stage, nested_count: int | None, leaves: bool
) -> None:
    own.map = {}
    watches: list[Any] = []

    def outer(chat: Any) -> None:
        watches.append(watch_of(own))
        inner.peer.sendall(b"\n")
        try:
            own.asyncore.loop(PATIENCE if nested_count is None else 0, False, own.map, nested_count)
        except own.asyncore.ExitNow:
            pass
        watches.append(watch_of(own))
        chat.close()

    def within(chat: Any) -> None:
        watches.append(watch_of(own))
        chat.close()
        if leaves or nested_count is None:
            raise own.asyncore.ExitNow

    inner = own.chat(found_terminator=within)
    chat = own.chat(found_terminator=outer)
    chat.peer.sendall(b"\n")
    before = len(descriptors())
    own.asyncore.loop(PATIENCE, False, own.map)
    assert len(watches) == 3
    assert watches[0] is not None
    assert all(watch is watches[0] for watch in watches)
    assert len(descriptors()) == before - 2  # the two chats
    assert watch_of(own) is None


@needs_proc
@pytest.mark.parametrize(("count", "passes"), [(2.5, 3), (1.5, 2), (0.5, 1), (2, 2)])
def test_a_count_over_a_plain_dict_may_be_a_float(own: Stage, count: float, passes: int) -> None:
    own.map = {}
    channel = asked(own)
    before = descriptors()
    own.asyncore.loop(0, False, own.map, count)
    assert channel.count == passes
    assert descriptors() == before


@needs_proc
@both_pollers
@pytest.mark.parametrize("count", [None, 1])
def test_an_emptied_channel_map_gives_its_descriptor_back(
    own: Stage, count: int | None, use_poll: bool
) -> None:
    chat = own.chat(found_terminator=lambda chat: chat.close())
    own.loop(use_poll=use_poll)
    assert watch_of(own) is not None
    chat.peer.sendall(b"\n")
    before = len(descriptors())
    own.asyncore.loop(PATIENCE, use_poll, own.map, count)
    assert own.map == {}
    assert watch_of(own) is None
    assert len(descriptors()) == before - 1 - hasattr(select, "epoll")
    # And it can be used again.
    again = reader(own)
    again.peer.sendall(b"x")
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert again.got == [b"x"]


@needs_proc
def test_a_loop_that_is_left_by_an_exception_gives_the_registrations_back(own: Stage) -> None:
    own.map = {}
    chat = own.chat(found_terminator=fail_with(own.asyncore.ExitNow()))
    chat.peer.sendall(b"\n")
    before = descriptors()
    with pytest.raises(own.asyncore.ExitNow):
        own.asyncore.loop(PATIENCE, False, own.map)
    assert descriptors() == before
    assert watch_of(own) is None


# Where nothing is kept.


class Subclass(dict[int, Any]):
    pass


def no_watch() -> Any:
    """Stands for what says of which kinds a poller can be, which only a new watch asks."""
    pytest.fail("a watch was made")


@both_pollers
@pytest.mark.parametrize("kind", [weakref.WeakValueDictionary, Subclass])
def test_of_other_mappings_nothing_is_kept(
    own: Stage, monkeypatch: pytest.MonkeyPatch, kind: Any, use_poll: bool
) -> None:
    monkeypatch.setattr(own.implementation.core["pollers"], "available", no_watch)
    own.map = kind()
    channel = asked(own, handle_read=lambda channel: channel.close())
    stock = reader(own)
    for one in (channel, stock):
        one.peer.sendall(b"x")
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert (channel.events, stock.got) == (["read"], [b"x"])


@both_pollers
def test_of_one_pass_over_a_plain_dict_nothing_is_kept(
    own: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool
) -> None:
    monkeypatch.setattr(own.implementation.core["pollers"], "available", no_watch)
    own.map = {}
    channel = reader(own)
    channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.got == [b"x"]


@pytest.mark.parametrize(
    ("name", "use_poll"),
    [
        ("read", False),
        ("write", False),
        ("_exception", False),
        pytest.param("readwrite", True, marks=needs_poll),
    ],
)
@pytest.mark.parametrize("is_asked", [False, True], ids=["tracked", "asked"])
def test_a_replaced_function_of_the_loop_is_called(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, use_poll: bool, is_asked: bool
) -> None:
    """Each of the four counts, also where the others are stock."""
    mine, peer = stage.tcp_pair()
    # Of the first kind one waits for input only, and of the second always for both.
    channel = stage.channel(
        stage.asyncore.dispatcher_with_send if name == "read" else stage.asyncore.dispatcher,
        mine,
        handle_read=lambda channel: channel.recv(10),
        handle_write=lambda channel: None,
        **({"readable": lambda channel: True} if is_asked else {}),
        **({"handle_expt": lambda channel: channel.recv(1)} if name == "_exception" else {}),
    )
    stage.loop(2, use_poll)
    calls: list[Any] = []
    function = getattr(stage.asyncore, name)

    def replacement(*args: Any) -> None:
        calls.append(args[0])
        function(*args)

    monkeypatch.setattr(stage.asyncore, name, replacement)
    if name == "_exception":
        peer.send(b"!", socket.MSG_OOB)
    elif name == "read":
        peer.sendall(b"x")
    stage.until(lambda: calls, use_poll)
    assert set(calls) == {channel}


@pytest.mark.parametrize(
    ("name", "use_poll"),
    [("read", False), pytest.param("readwrite", True, marks=needs_poll)],
)
def test_a_function_of_the_loop_that_a_hook_replaces_is_called_for_who_is_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, use_poll: bool
) -> None:
    calls: list[Any] = []
    function = getattr(stage.asyncore, name)

    def replacement(channel: Any, *args: Any) -> None:
        calls.append(channel)
        function(channel, *args)

    def handle_read(channel: Any) -> None:
        channel.recv(10)
        monkeypatch.setattr(stage.asyncore, name, replacement)

    both = [stage.dispatcher(handle_read=handle_read) for _ in range(2)]
    for channel in both:
        channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll)
    assert [channel.events for channel in both] == [["read"], ["read"]]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("name", "use_poll"), [("select", False), pytest.param("poll", True, marks=needs_poll)]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_replaced_way_to_wait_sees_every_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, use_poll: bool, when: str
) -> None:
    channel = reader(stage)
    if when == "after":
        stage.loop(use_poll=use_poll)
    calls: list[Any] = []
    function = getattr(select, name)

    def replacement(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(select, name, replacement)
    channel.peer.sendall(b"x")
    stage.loop(3, use_poll)
    assert channel.got == [b"x"]
    assert len(calls) == 3


@both_pollers
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("is_told", [True, False])
def test_without_a_descriptor_for_the_set_passes_are_made_all_the_same(
    own: Stage, monkeypatch: pytest.MonkeyPatch, number: int, is_told: bool, use_poll: bool
) -> None:
    tried: list[int] = []

    class Exhausted:
        @as_the_system
        def __init__(self) -> None:
            tried.append(number)
            raise failure(number)

    monkeypatch.setattr(own.implementation.core["pollers"], "available", lambda: (Exhausted,))
    if not is_told:
        own.map = {}
    channel = reader(own)
    channel.peer.sendall(b"x")
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert channel.got == [b"x"]
    assert tried
    monkeypatch.undo()
    channel.peer.sendall(b"y")
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert channel.got == [b"x", b"y"]


@needs_epoll
@both_pollers
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
@pytest.mark.parametrize("after", [0, 2])
def test_what_the_kernels_set_does_not_take_poll_does(
    own: Stage, monkeypatch: pytest.MonkeyPatch, number: int, after: int, use_poll: bool
) -> None:
    pollers = own.implementation.core["pollers"]

    class Full(pollers.Epoll):  # type: ignore[misc, name-defined]
        @as_the_system
        def register(self, fd: int, flags: int) -> None:
            if self.left == 0:
                raise failure(number)
            self.left -= 1
            super().register(fd, flags)

        left = after

    monkeypatch.setattr(pollers, "available", lambda: (Full,))
    channels = [reader(own) for _ in range(4)]
    for _ in range(2):
        for channel in channels:
            channel.peer.sendall(b"x")
        own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert [channel.got for channel in channels] == [[b"x", b"x"]] * 4
    assert type(watch_of(own).poller) is pollers.Poll
