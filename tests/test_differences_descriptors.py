"""Deliberate differences: descriptors that are used again, or closed behind a channel's back.

A number that has a new owner in the same pass (d7), a channel that leaves a map (d8), and one whose
descriptor is gone (d9).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.
"""

from __future__ import annotations

import os
import select
import socket
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    both_pollers,
    bystander,
    closes,
    dead_proxy,
    left_by,
    needs_poll,
    posix_only,
)

# d7: a descriptor that is used again in the same pass.


def reopen(stage: Stage, channel: Any) -> socket.socket:
    """Close *channel*; returns another socket that has its number, and nothing to read."""
    spare, _ = stage.pair()
    spare.setblocking(False)
    number = channel.socket.fileno()
    channel.close()
    return stage.at_number(spare, number)


def replacing(stage: Stage, replace: Callable[[Any, socket.socket], None], **members: Any) -> Any:
    """Two channels with input, of which the first that is served has *replace* close the other.

    Returns them with the events of the first cut off.
    """
    pair: list[Any] = []

    def handle_read(channel: Any) -> None:
        if [other.events for other in pair].count([]) == 1:
            (other,) = (other for other in pair if other is not channel)
            replace(other, reopen(stage, other))

    for _ in range(2):
        pair.append(stage.dispatcher(handle_read=handle_read, **members))
    for channel in pair:
        channel.peer.sendall(b"x")
    return pair


@posix_only
@both_pollers
def test_d7_a_new_channel_on_an_old_number_does_not_get_the_old_event(
    stage: Stage, use_poll: bool
) -> None:
    new: list[Any] = []

    def replace(other: Any, sock: socket.socket) -> None:
        new.append(stage.dispatcher(sock, handle_read=lambda channel: None))

    replacing(stage, replace)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert new[0].events == stage.either(fastchat=[], stdlib=["read"])
    assert new[0] in stage.map.values()


@posix_only
@both_pollers
def test_d7_a_channel_that_was_opened_again_does_not_get_its_old_event(
    stage: Stage, use_poll: bool
) -> None:
    opened: list[Any] = []

    def replace(other: Any, sock: socket.socket) -> None:
        other.set_socket(sock)
        opened.append(other)

    replacing(stage, replace)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert opened[0].events == stage.either(fastchat=[], stdlib=["read"])
    assert opened[0] in stage.map.values()


@posix_only
@both_pollers
def test_d7_a_channel_that_opens_itself_again_does_not_get_the_rest_of_the_event(
    stage: Stage, use_poll: bool
) -> None:
    def handle_read(channel: Any) -> None:
        channel.set_socket(reopen(stage, channel))

    channel = stage.channel(
        stage.asyncore.dispatcher, handle_read=handle_read, handle_write=lambda channel: None
    )
    channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["read", *stage.either(fastchat=[], stdlib=["write"])]


@both_pollers
def test_d7_an_entry_that_was_replaced_does_not_get_the_old_event(
    stage: Stage, use_poll: bool
) -> None:
    # By hand, and without a close: both are channels of the program's own.
    def handle_read(channel: Any) -> None:
        for fd, other in stage.map.items():
            if other is not channel:
                stage.map[fd] = new

    new = stage.bare(handle_read=lambda channel: None, writable=lambda channel: False)
    channels = [stage.dispatcher(handle_read=handle_read) for _ in range(2)]
    for channel in channels:
        channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert sorted(channel.events for channel in channels) == [[], ["read"]]
    assert new.events == stage.either(fastchat=[], stdlib=["read"])


@posix_only
@both_pollers
def test_d7_a_channel_opened_while_the_others_are_asked_is_asked_itself_first(
    stage: Stage, use_poll: bool
) -> None:
    # The first is asked, and answers; the second, when it is asked, puts a stranger on its number.
    stranger: list[Any] = []

    def readable(channel: Any) -> bool:
        if not stranger:
            sock = reopen(stage, first)
            stranger.append(stage.channel(stage.asyncore.dispatcher, sock, handle_write=ignore))
        return False

    def ignore(channel: Any) -> None:
        pass

    first = stage.channel(stage.asyncore.dispatcher, handle_write=ignore)
    stage.dispatcher(readable=readable)
    stage.loop(use_poll=use_poll)
    assert (first.events, stranger[0].events) == ([], stage.either(fastchat=[], stdlib=["write"]))


# d8: a channel that leaves a map takes nobody with it.


@posix_only
def test_d8_a_late_close_leaves_the_next_user_of_the_number_alone(stage: Stage) -> None:
    late = stage.dispatcher()
    spare, _ = stage.pair()
    fd = late.socket.detach()
    new = stage.dispatcher(stage.at_number(spare, fd))
    late.close()
    assert stage.map == stage.either(fastchat={fd: new}, stdlib={})


@posix_only
def test_d8_a_late_del_channel_leaves_another_map_alone(stage: Stage) -> None:
    late = stage.dispatcher()
    fd = late.socket.fileno()
    another = {fd: stage.dispatcher()}
    late.del_channel(another)
    assert len(another) == stage.either(fastchat=1, stdlib=0)
    late._fileno = fd
    late.close()


def test_d8_a_weak_proxy_of_the_channel_leaves_with_it(stage: Stage) -> None:
    channel = stage.dispatcher()
    stage.map[channel.socket.fileno()] = weakref.proxy(channel)
    channel.close()
    assert stage.map == {}


def test_d8_a_stand_in_for_the_channel_leaves_with_it(stage: Stage) -> None:
    channel = stage.dispatcher()
    stage.map[channel.socket.fileno()] = SimpleNamespace(socket=channel.socket)
    channel.close()
    assert stage.map == {}


def test_d8_a_stranger_that_has_no_socket_stays(stage: Stage) -> None:
    channel = stage.dispatcher()
    fd = channel.socket.fileno()
    stage.map[fd] = stranger = object()
    channel.close()
    assert stage.map == stage.either(fastchat={fd: stranger}, stdlib={})


def test_d8_a_dead_proxy_is_in_nobodys_way(stage: Stage) -> None:
    channel = stage.dispatcher()
    stage.map[channel.socket.fileno()] = dead_proxy(stage)
    channel.close()
    assert channel.socket.fileno() == -1


# d9: a descriptor that was closed behind a channel's back.


def close_the_socket(channel: Any) -> None:
    channel.socket.close()


def close_the_number(channel: Any) -> None:
    os.close(channel.socket.detach())


BEHIND = [close_the_socket, pytest.param(close_the_number, marks=posix_only)]


@pytest.mark.parametrize("behind", BEHIND)
@both_pollers
def test_d9_a_closed_descriptor_costs_one_channel_only(
    stage: Stage, behind: Callable[[Any], None], use_poll: bool
) -> None:
    dead = stage.dispatcher()
    other = bystander(stage)
    behind(dead)
    left = left_by(stage, use_poll, passes=3)
    if stage.implementation.is_stdlib and not use_poll:
        assert (left, other.events) == (OSError, [])
    else:
        assert (left, other.events) == (None, ["read"])
        assert (dead.events, list(stage.map.values())) == (["close"], [other])


@both_pollers
def test_d9_a_closed_descriptor_leaves_the_map_whatever_handle_close_does(
    stage: Stage, use_poll: bool
) -> None:
    dead = stage.dispatcher(handle_close=lambda channel: None)
    dead.socket.close()
    left = left_by(stage, use_poll, passes=3)
    outcome = (left, closes(dead), len(stage.map))
    assert outcome == stage.either(
        fastchat=(None, 1, 0), stdlib=(None, 3, 1) if use_poll else (OSError, 0, 1)
    )


@both_pollers
def test_d9_several_closed_descriptors_leave_together(own: Stage, use_poll: bool) -> None:
    dead = [own.dispatcher() for _ in range(3)]
    for channel in dead:
        channel.socket.close()
    own.loop(use_poll=use_poll)
    assert ([channel.events for channel in dead], own.map) == ([["close"]] * 3, {})


@both_pollers
@pytest.mark.parametrize("when", ["before any pass", "later"])
def test_d9_what_handle_close_raises_of_a_closed_descriptor_is_for_handle_error(
    own: Stage, use_poll: bool, when: str
) -> None:
    def handle_close(channel: Any) -> None:
        channel.close()
        raise ZeroDivisionError

    dead = own.dispatcher(handle_close=handle_close, handle_error=lambda channel: None)
    if when == "later":
        own.loop(use_poll=use_poll)
    dead.socket.close()
    own.loop(use_poll=use_poll)
    assert (dead.events, own.map) == (["close", ZeroDivisionError], {})


@both_pollers
def test_d9_handle_close_may_leave_the_loop_for_a_closed_descriptor(
    own: Stage, use_poll: bool
) -> None:
    def handle_close(channel: Any) -> None:
        channel.close()
        raise own.asyncore.ExitNow

    dead = own.dispatcher(handle_close=handle_close)
    dead.socket.close()
    with pytest.raises(own.asyncore.ExitNow):
        own.loop(use_poll=use_poll)
    assert (dead.events, own.map) == (["close"], {})


@both_pollers
def test_d9_a_negative_descriptor_costs_one_channel_only(stage: Stage, use_poll: bool) -> None:
    closed, _ = stage.pair()
    closed.close()
    dead = stage.bare(writable=lambda channel: False)
    dead.set_socket(closed)
    assert list(stage.map) == [-1]
    other = bystander(stage)
    left = left_by(stage, use_poll, passes=3)
    if stage.implementation.is_stdlib:
        assert (left, other.events) == (ValueError, [])
    else:
        assert (left, other.events) == (None, ["read"])
        assert (dead.events, list(stage.map.values())) == (["close"], [other])


def test_d9_a_pass_over_a_closed_descriptor_does_not_wait(own: Stage) -> None:
    # With nothing else in the map there would be nothing to end it.
    own.dispatcher().socket.close()
    own.asyncore.poll(None, own.map)
    assert own.map == {}


@needs_poll
def test_d9_a_pass_over_a_negative_descriptor_does_not_wait(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []

    class Pollster:
        def __init__(self) -> None:
            self.register = pollster.register

        def poll(self, timeout: Any) -> list[Any]:
            waited.append(timeout)
            return []

    dead = own.dispatcher()
    own.map[-1] = own.map.pop(dead.socket.fileno())
    idle = own.dispatcher()
    pollster = select.poll()
    monkeypatch.setattr(own.asyncore.select, "poll", Pollster)
    own.loop(use_poll=True, timeout=30)
    assert waited == [0]
    assert list(own.map.values()) == [idle]


@both_pollers
def test_d9_a_channel_closed_while_the_pass_begins_hears_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool
) -> None:
    # As another thread would do it: after the channel was asked, and before the kernel is.
    closing = stage.dispatcher(handle_read=lambda channel: channel.recv(10))
    other = bystander(stage)

    def wait(*arguments: Any) -> Any:
        closing.close()
        return select.select(*arguments)

    class Pollster:
        def __init__(self) -> None:
            self._pollster = select.poll()
            self.register = self._pollster.register

        def poll(self, timeout: Any) -> Any:
            closing.close()
            return self._pollster.poll(timeout)

    names = {**vars(select), "select": wait, "poll": Pollster}
    monkeypatch.setattr(stage.asyncore, "select", SimpleNamespace(**names))
    left = left_by(stage, use_poll, passes=3)
    assert left is stage.either(fastchat=None, stdlib=None if use_poll else OSError)
    if left is None:
        assert (closing.events, other.events) == ([], ["read"])


def test_d9_a_dead_channel_that_another_one_buried_hears_of_it_once(own: Stage) -> None:
    dead: list[Any] = []

    def handle_close(channel: Any) -> None:
        for other in dead:
            other.close()

    dead += [own.dispatcher(handle_close=handle_close) for _ in range(2)]
    for channel in dead:
        channel.socket.close()
    own.loop()
    # Whichever came first closed the other, which then is no longer in the map to be told.
    assert sorted(closes(channel) for channel in dead) == [0, 1]
