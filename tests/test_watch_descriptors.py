"""Registrations that are kept, and descriptors that are forked, duplicated, or used again.

What the standard library does as well runs on it too.

Rules this file keeps: readiness is real; what must not spin is counted by its passes.
"""

from __future__ import annotations

import os
import select
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    both_pollers,
    forking,
    inside,
    needs_epoll,
    needs_poll,
    posix_only,
    watch_a_dict,
    watch_of,
)
from tests.support.watched import reader


class Gone:
    """What a proxy is left of."""


@posix_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
@both_pollers
@pytest.mark.parametrize("map_kind", ["channel_map", "dict"])
@pytest.mark.parametrize("stranger", [None, "a dead proxy", "no channel"])
def test_a_forked_child_and_its_parent_do_not_disturb_each_other(
    unchecked: Stage, use_poll: bool, map_kind: str, stranger: str | None
) -> None:
    own = unchecked
    if map_kind == "dict":
        watch_a_dict(own)
    for_parent, for_child = reader(own), reader(own)
    own.loop(use_poll=use_poll)
    ours, theirs = os.pipe()
    strangers = {"a dead proxy": weakref.proxy(Gone()), "no channel": object()}
    if stranger is not None:
        own.map[-1] = strangers[stranger]
    with forking():
        pid = os.fork()
    own.map.pop(-1, None)
    if pid == 0:
        try:
            for_parent.close()
            for_child.peer.sendall(b"to the child")
            own.loop(use_poll=use_poll, timeout=PATIENCE)
            os.write(theirs, repr(for_child.got).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        assert answer.read() == "[b'to the child']"
    assert os.waitpid(pid, 0)[1] == 0
    # The close in the child, before its first pass, did not reach the parent's set.
    for_parent.peer.sendall(b"to the parent")
    own.loop(use_poll=use_poll)
    assert (for_parent.got, for_child.got) == ([b"to the parent"], [])


@needs_epoll
@pytest.mark.parametrize("gone", [["epoll"], ["epoll", "poll"]], ids=" and ".join)
def test_a_child_may_be_forked_after_a_patch_took_pollers_away(
    own: Stage, gone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = reader(own)
    own.loop()
    for name in gone:
        monkeypatch.delattr(select, name)
    watch_of(own).leave_the_set()  # as the child does, before anything else
    assert type(watch_of(own).poller).__name__ == ("Select" if "poll" in gone else "Poll")
    channel.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    assert channel.got == [b"x"]


@needs_poll
def test_a_patch_may_take_away_the_poller_that_is_in_use(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pollers = own.implementation.core["pollers"]
    monkeypatch.setattr(pollers, "available", lambda: (pollers.Poll,))
    channel = reader(own)
    own.loop()
    assert type(watch_of(own).poller) is pollers.Poll
    monkeypatch.delattr(select, "poll")
    channel.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    assert channel.got == [b"x"]
    assert watch_of(own) is None


@posix_only
@both_pollers
@pytest.mark.parametrize("how", ["socket", "channel"])
def test_a_duplicate_of_a_closed_socket_does_not_make_the_loop_spin(
    unchecked: Stage, use_poll: bool, how: str
) -> None:
    own = unchecked
    closed, other = reader(own), reader(own)
    own.loop(use_poll=use_poll)
    poller = watch_of(own).poller
    duplicate = os.dup(closed._fileno)
    try:
        (closed.socket if how == "socket" else closed).close()
        closed.peer.sendall(b"x")
        own.loop(5, use_poll)
        assert list(own.map.values()) == [other]
        assert watch_of(own).poller.wait(0) == []
        # Closed as it should be, it was taken out in time.
        assert how == "socket" or watch_of(own).poller is poller
        other.peer.sendall(b"y")
        own.loop(use_poll=use_poll)
        assert other.got == [b"y"]
    finally:
        os.close(duplicate)


@posix_only
@both_pollers
@pytest.mark.parametrize("is_chat", [False, True], ids=["dispatcher", "chat"])
def test_the_next_user_of_a_number_gets_no_event_of_a_file_that_lives_on(
    unchecked: Stage, use_poll: bool, is_chat: bool
) -> None:
    own = unchecked
    successors: list[Any] = []

    def handle_read(channel: Any) -> None:
        # The descriptor is closed before it leaves the map, and a duplicate keeps its file alive.
        number = channel._fileno
        mine, peer = own.pair()
        channel.socket.close()
        channel.del_channel()
        mine = own.at_number(mine, number)
        base = own.asynchat.async_chat if is_chat else own.asyncore.dispatcher_with_send
        successors.append(reader(own, mine, base))
        successors[0].peer = peer

    first = own.channel(own.asyncore.dispatcher_with_send, handle_read=handle_read)
    duplicate = os.dup(first._fileno)
    try:
        first.peer.sendall(b"x")
        own.loop(3, use_poll)
        (second,) = successors
        assert (second.events, second.got) == ([], [])
        second.peer.sendall(b"y")
        own.loop(use_poll=use_poll)
        assert second.got == [b"y"]
    finally:
        os.close(duplicate)


def test_the_same_channel_put_in_its_place_again_keeps_its_event(own: Stage) -> None:
    def found_terminator(chat: Any) -> None:
        for number, channel in list(own.map.items()):
            own.map[number] = channel

    chats = [own.chat(found_terminator=found_terminator) for _ in range(2)]
    for chat in chats:
        chat.peer.sendall(b"x\n")
    own.loop()
    assert [chat.events for chat in chats] == 2 * [[b"x", "found"]]


@posix_only
@both_pollers
@pytest.mark.parametrize("map_kind", ["channel_map", "dict"])
@pytest.mark.parametrize("few", [0, 32])
def test_a_number_that_another_file_took_over_is_registered_anew(
    own: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool, map_kind: str, few: int
) -> None:
    """The flags are the same, and the kernel has to be told all the same."""
    monkeypatch.setitem(inside(own, "passes"), "CHECK_ALL_UP_TO", few)
    if map_kind == "dict":
        watch_a_dict(own)
    first = reader(own)
    own.loop(use_poll=use_poll)
    mine, peer = own.pair()
    number = first._fileno
    second_socket = own.at_number(mine, number)  # closes the first one's
    first.socket.detach()
    second = reader(own, second_socket)
    assert own.map == {number: second}
    peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert (first.events, second.got) == ([], [b"x"])


@posix_only
@both_pollers
@pytest.mark.parametrize("few", [0, 32])
def test_a_number_taken_off_a_plain_dict_and_used_again_is_registered_anew(
    own: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool, few: int
) -> None:
    """A plain dict tells nobody that it was cleared."""
    monkeypatch.setitem(inside(own, "passes"), "CHECK_ALL_UP_TO", few)
    watch_a_dict(own)
    first = reader(own)
    own.loop(use_poll=use_poll)
    number = first._fileno
    mine, peer = own.pair()
    own.map.clear()
    first.close()
    second = reader(own, own.at_number(mine, number))
    peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert second.got == [b"x"]


@posix_only
@both_pollers
def test_a_regular_file_is_always_ready(stage: Stage, tmp_path: Path, use_poll: bool) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as file:
        channel = stage.channel(
            stage.asyncore.file_dispatcher,
            file,
            writable=lambda channel: False,
            handle_read=lambda channel: channel.got.append(channel.recv(4)),
        )
    channel.got = []
    other = reader(stage)
    other.peer.sendall(b"x")
    stage.loop(3, use_poll, PATIENCE)
    assert (channel.got[:2], other.got) == ([b"cont", b"ent"], [b"x"])
    channel.close()
    other.peer.sendall(b"y")
    stage.loop(1, use_poll, PATIENCE)
    assert other.got == [b"x", b"y"]
