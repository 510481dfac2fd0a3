"""Registrations that are kept: in which order the events of a pass are told, and to whom.

What the standard library does as well runs on it too.

Rules this file keeps: readiness is real; where many channels matter, the bound is lowered
(``unchecked``) rather than many channels made.
"""

from __future__ import annotations

import errno
import select
import socket
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    both_pollers,
    fail_with,
    failure,
    needs_poll,
    watch_a_dict,
    watch_of,
)
from tests.support.watched import reader


def test_select_serves_the_input_of_all_kinds_before_any_output(stage: Stage) -> None:
    order: list[str] = []
    writer = stage.channel(
        stage.asyncore.dispatcher, handle_write=lambda channel: order.append("output")
    )
    late = stage.dispatcher(handle_read=lambda channel: order.append("input"))
    stage.loop()
    order.clear()
    late.peer.sendall(b"x")
    stage.loop()
    assert order == ["input", "output"]
    assert writer.events[-1] == "write"


@both_pollers
@pytest.mark.parametrize("event", ["read", "write"])
def test_who_closes_another_takes_its_event(stage: Stage, event: str, use_poll: bool) -> None:
    """Whichever of the two is told first; and nothing has to be made anew for that."""
    chats: list[Any] = []

    def told(chat: Any) -> None:
        chat.events.append("told")
        chats[1 - chats.index(chat)].close()

    chats[:] = [stage.chat(**{f"handle_{event}": told}) for _ in range(2)]
    stage.loop(use_poll=use_poll)
    watch = None if stage.implementation.is_stdlib else watch_of(stage)
    poller = watch and watch.poller
    for chat in chats:
        if event == "read":
            chat.peer.sendall(b"x")
        else:
            chat.producer_fifo.append(b"x")
    stage.loop(use_poll=use_poll)
    assert [*chats[0].events, *chats[1].events].count("told") == 1
    stage.loop(use_poll=use_poll)
    assert watch is None or watch.poller is poller


@both_pollers
def test_a_channel_that_an_input_hook_takes_off_a_plain_map_does_not_write(
    own: Stage, use_poll: bool
) -> None:
    """Such a map tells nobody, so it is looked at again before output."""
    watch_a_dict(own)
    gone: list[Any] = []

    def handle_read(channel: Any) -> None:
        gone.append(channel.recv(10))
        del own.map[writer._fileno]

    first = reader(own, handle_read=handle_read)
    writer = own.channel(own.asyncore.dispatcher, handle_write=lambda channel: None)
    own.loop(use_poll=use_poll)
    assert writer.events == ["write"]
    first.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert gone == [b"x"]
    assert writer.events == ["write"]


@both_pollers
@pytest.mark.parametrize("is_told", [False, True], ids=["dict", "channel_map"])
def test_a_channel_that_an_input_hook_takes_off_a_map_does_not_read(
    own: Stage, use_poll: bool, is_told: bool
) -> None:
    """Nobody is told of it: also with a map that tells, programs can call the methods of dict."""
    if is_told:
        own.map = own.asyncore.channel_map()
        own.at_the_end(own.map.clear)
    else:
        watch_a_dict(own)
    read: list[Any] = []

    def handle_read(channel: Any) -> None:
        read.append(channel)
        for other in {*both} - {channel}:
            dict.__delitem__(own.map, other._fileno)

    both = [own.dispatcher(handle_read=handle_read) for _ in range(2)]
    for channel in both:
        channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert len(read) == 1


@needs_poll
def test_who_is_asked_and_outlives_a_hang_up_is_told_of_the_next(stage: Stage) -> None:
    channel = stage.dispatcher(
        handle_read_event=fail_with(failure(errno.ECONNRESET)), handle_close=lambda channel: None
    )
    channel.peer.sendall(b"x")
    stage.loop(3, use_poll=True)
    assert channel.events == ["close"] * 3


@both_pollers
def test_what_left_a_plain_map_is_not_waited_for(unchecked: Stage, use_poll: bool) -> None:
    own = unchecked
    watch_a_dict(own)
    left, stays = reader(own), reader(own)
    own.loop(use_poll=use_poll)
    poller = watch_of(own).poller
    del own.map[left._fileno]
    for channel in (left, stays):
        channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert poller.wait(0) == []
    assert watch_of(own).poller is poller
    assert (left.got, stays.got) == ([], [b"x"])


def test_the_same_entry_assigned_again_keeps_its_event(stage: Stage) -> None:
    """Nothing left the map, so nothing has to wait for the next pass."""

    def handle_read(channel: Any) -> None:
        channel.recv(10)
        for fd, other in list(stage.map.items()):
            stage.map[fd] = other

    pair = [
        stage.channel(
            stage.asyncore.dispatcher, handle_read=handle_read, handle_write=lambda channel: None
        )
        for _ in range(2)
    ]
    for channel in pair:
        channel.peer.sendall(b"x")
    stage.loop()
    assert all("read" in channel.events for channel in pair)


@both_pollers
def test_who_joins_another_map_as_well_keeps_its_events(stage: Stage, use_poll: bool) -> None:
    """That counts as a new registration, but not in this map."""
    channel = stage.dispatcher(readable=lambda channel: True, handle_read=lambda channel: None)
    channel.peer.sendall(b"never read")
    stage.asyncore.loop(0, use_poll, stage.map, 2)
    channel.add_channel({})
    stage.loop(use_poll=use_poll)
    assert channel.events == ["read"] * 3


def test_an_error_tells_only_of_what_was_waited_for(stage: Stage) -> None:
    """To select() an error is input and room for output, for those who wait for it."""

    def found_terminator(chat: Any) -> None:
        late.producer_fifo.append(b"queued")

    first = stage.chat(found_terminator=found_terminator)
    late = stage.chat()
    stage.loop()
    late.push(b"never read")
    late.peer.sendall(b"x\n")
    late.peer.close()
    first.peer.sendall(b"\n")
    stage.loop()
    assert late.events == [b"x", "found"]
    stage.loop()
    assert late.events == [b"x", "found", "close"]


@needs_poll
@pytest.mark.parametrize("first", [True, False])
def test_who_is_asked_waits_for_what_each_way_to_wait_looks_for(stage: Stage, first: bool) -> None:
    """That of poll() looks for urgent data also where no input is wanted."""
    mine, peer = stage.tcp_pair()
    channel = stage.dispatcher(
        mine,
        readable=lambda channel: False,
        writable=lambda channel: True,
        handle_write=lambda channel: None,
        handle_expt=lambda channel: None,
    )
    stage.asyncore.loop(0, first, stage.map, 2)
    channel.events.clear()
    peer.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [mine], PATIENCE)[2]
    stage.asyncore.loop(0, not first, stage.map, 1)
    assert channel.events == ["write", *(["expt"] if first else [])]
