"""Registrations that are kept: what ends a wait, and what leaves a pass without losing events.

What the standard library does as well runs on it too.

Rules this file keeps: readiness is real; where many channels matter, the bound is lowered
(``unchecked``) rather than many channels made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    alarms,
    both_pollers,
    fail_with,
    posix_only,
    watch_a_dict,
    watch_of,
)
from tests.support.watched import asked, reader


@posix_only
@both_pollers
def test_signals_do_not_prolong_a_wait(stage: Stage, use_poll: bool) -> None:
    channel = reader(stage)
    count = 0

    def handler(number: int, frame: Any) -> None:
        nonlocal count
        count += 1
        # A wait that begins anew after each of them would never end.
        assert count < 1000

    with alarms(handler, 0.005, 0.005):
        stage.loop(use_poll=use_poll, timeout=0.1)
    assert count > 0
    assert channel.events == []


@posix_only
@both_pollers
def test_an_exception_of_a_signal_handler_leaves_the_wait(stage: Stage, use_poll: bool) -> None:
    channel = reader(stage)
    with pytest.raises(KeyboardInterrupt), alarms(fail_with(KeyboardInterrupt()), 0.01):
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.got == [b"x"]


@both_pollers
@pytest.mark.parametrize("kind", ["chat", "reader", "asked", "writer"])
def test_an_exception_that_leaves_the_loop_loses_no_event(
    stage: Stage, use_poll: bool, kind: str
) -> None:
    told: list[Any] = []

    def leave(channel: Any) -> None:
        told.append(channel)
        if kind == "writer":
            channel.close()
        elif kind != "chat":
            channel.recv(100)
        raise stage.asyncore.ExitNow

    make: Callable[[], Any] = {
        "chat": lambda: stage.chat(found_terminator=leave),
        "reader": lambda: reader(stage, handle_read=leave),
        "asked": lambda: asked(stage, handle_read=leave),
        "writer": lambda: stage.channel(stage.asyncore.dispatcher, handle_write=leave),
    }[kind]
    channels = [make() for _ in range(5)]
    if kind != "writer":
        stage.loop(use_poll=use_poll)
        for channel in channels:
            channel.peer.sendall(b"\n")
    for _ in channels:
        with pytest.raises(stage.asyncore.ExitNow):
            stage.loop(use_poll=use_poll)
    assert len(told) == 5
    assert set(told) == set(channels)
    stage.loop(use_poll=use_poll)
    assert len(told) == 5


@posix_only
@both_pollers
@pytest.mark.parametrize("map_kind", ["channel_map", "dict"])
@pytest.mark.parametrize("is_stock", [True, False])
def test_a_channel_registered_in_a_nested_pass_gets_no_event_of_the_outer_one(
    unchecked: Stage, use_poll: bool, map_kind: str, is_stock: bool
) -> None:
    own = unchecked
    if map_kind == "dict":
        watch_a_dict(own)
    late: list[Any] = []
    make = reader if is_stock else asked

    def handle_read(channel: Any) -> None:
        channel.recv(10)
        if late:
            return
        number = pair[channel is pair[0]]._fileno
        mine, _ = own.pair()
        pair[channel is pair[0]].close()
        mine = own.at_number(mine, number)
        late.append(make(own, sock=mine) if is_stock else own.dispatcher(mine))
        own.loop(use_poll=use_poll)
        assert late[0]._fileno == number

    pair = [make(own, handle_read=handle_read) for _ in range(2)]
    own.loop(use_poll=use_poll)
    for channel in pair:
        channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert sorted(channel.events for channel in pair) == [[], ["read"]]
    assert late[0].events == []


@both_pollers
@pytest.mark.parametrize("kind", ["the best", "Poll"])
def test_what_a_nested_pass_is_answered_does_not_change_the_outer_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool, kind: str
) -> None:
    if kind == "Poll" and not stage.implementation.is_stdlib:
        pollers = stage.implementation.core["pollers"]
        monkeypatch.setattr(pollers, "available", lambda: (pollers.Poll,))
    wants = True

    def found_terminator(chat: Any) -> None:
        nonlocal wants
        wants = False
        stage.loop(use_poll=use_poll)

    chat = stage.chat(found_terminator=found_terminator)
    other = stage.dispatcher(
        readable=lambda channel: wants,
        writable=lambda channel: wants,
        handle_read=lambda channel: None,
        handle_write=lambda channel: None,
    )
    stage.loop(use_poll=use_poll)
    other.events.clear()
    for channel in (chat, other):
        channel.peer.sendall(b"\n")
    stage.loop(use_poll=use_poll)
    assert (chat.events, other.events) == (["found"], ["read", "write"])


@both_pollers
def test_another_thread_adds_and_closes_channels_while_a_pass_waits(
    own: Stage, use_poll: bool
) -> None:
    waker = reader(own)
    leaving = [reader(own) for _ in range(20)]
    added: list[Any] = []
    own.loop(use_poll=use_poll)

    def disturb() -> None:
        for channel in leaving:
            channel.close()
            new = reader(own)
            new.peer.sendall(b"x")
            added.append(new)
            waker.peer.sendall(b".")

    thread = threading.Thread(target=disturb)
    thread.start()
    own.until(
        lambda: len(added) == 20 and all(channel.got for channel in added), use_poll, passes=1000
    )
    thread.join()
    assert [channel.got for channel in added] == [[b"x"]] * 20
    # One that was being asked when the thread closed it may have been found closed.
    assert all(channel.events in ([], ["close"]) for channel in leaving)
    assert set(own.map.values()) == {waker, *added}


@both_pollers
def test_a_predicate_that_leaves_the_loop_lets_the_others_be_asked_later(
    unchecked: Stage, use_poll: bool
) -> None:
    own = unchecked

    def readable(channel: Any) -> bool:
        if not left:
            left.append(channel)
            raise own.asyncore.ExitNow
        return True

    left: list[Any] = []
    own.dispatcher(readable=readable)
    late = reader(own)
    late.peer.sendall(b"x")
    with pytest.raises(own.asyncore.ExitNow):
        own.loop(use_poll=use_poll)
    own.loop(use_poll=use_poll)
    assert late.got == [b"x"]


@both_pollers
def test_passes_hand_out_all_that_has_happened_to_many(own: Stage, use_poll: bool) -> None:
    channels = [reader(own) for _ in range(400)]
    for channel in channels:
        channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert sum(len(channel.got) for channel in channels) >= 256
    own.loop(use_poll=use_poll)
    assert [channel.got for channel in channels] == [[b"x"]] * 400


def test_a_poller_may_be_given_back_by_a_pass_of_a_signal_handler(own: Stage) -> None:
    channel = reader(own)
    own.loop()
    watch = watch_of(own)
    poller = watch.poller
    watch.make_new_set(watch.kind)  # while this one interrupts another that does the same
    watch._give_back(poller)
    channel.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    assert channel.got == [b"x"]
