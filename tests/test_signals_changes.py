"""Signal handlers and other threads: what they change while the loop waits is noticed.

Rules this file keeps: a handler runs because an alarm goes off while the loop waits, whatever the
time; a test that would hang fails when ``PATIENCE`` is over.
"""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fastchat._core import pollers as _pollers
from tests.support.channels import (
    PATIENCE,
    Stage,
    alarms,
    both_pollers,
    needs_poll,
    posix_only,
)
from tests.support.waiting import (
    SOON,
    all_maps,
    at_any_time,
    from_a_handler,
    is_waiting,
    kept,
    kept_dict,
    took,
)

pytestmark = posix_only


# What a handler, or another thread, changes while the loop waits.


def from_a_thread(
    change: Callable[[], None], wait: Callable[[], None], when: Callable[[], bool] = at_any_time
) -> None:
    def run() -> None:
        until = time.monotonic() + PATIENCE
        while not when() and time.monotonic() < until:
            pass
        change()

    timer = threading.Timer(SOON, run)
    timer.start()
    wait()
    timer.join()


from_outside = pytest.mark.parametrize("by", [from_a_handler, from_a_thread])


@both_pollers
@all_maps
def test_a_handler_that_closes_all_ends_the_loop(
    own: Stage, choose_map: Callable[[Stage], None], use_poll: bool
) -> None:
    choose_map(own)
    for _ in range(3):
        own.chat()
    begun = time.monotonic()
    from_a_handler(
        lambda: own.asyncore.close_all(own.map),
        lambda: own.asyncore.loop(PATIENCE, use_poll, own.map),
    )
    assert not own.map
    assert took(begun) < 0.5


@pytest.mark.parametrize("kind", _pollers.available(), ids=lambda kind: kind.name)
@from_outside
@both_pollers
def test_closing_all_ends_the_loop_with_each_poller(
    own: Stage, kind: Any, by: Any, use_poll: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by is from_a_thread and not kind.is_kernel_set:
        pytest.skip("the system waits for what it was told of before, until it ends")
    monkeypatch.setattr(own.implementation.core["pollers"], "available", lambda: (kind,))
    for _ in range(3):
        own.chat()
    begun = time.monotonic()
    by(
        lambda: own.asyncore.close_all(own.map),
        lambda: own.asyncore.loop(PATIENCE, use_poll, own.map),
    )
    assert not own.map
    assert took(begun) < 0.5


@from_outside
@both_pollers
def test_closing_one_ends_the_pass(own: Stage, by: Any, use_poll: bool) -> None:
    chat, other = own.chat(), own.chat()
    own.loop()
    begun = time.monotonic()
    # A pass that begins later waits for the other one.
    by(chat.close, lambda: own.loop(1, use_poll, PATIENCE), lambda: is_waiting(own))
    assert list(own.map.values()) == [other]
    assert took(begun) < 0.5


@from_outside
@both_pollers
def test_who_joins_is_served_at_once(own: Stage, by: Any, use_poll: bool) -> None:
    own.chat()
    joined: list[Any] = []

    def join() -> None:
        chat = own.chat(found_terminator=lambda chat: own.asyncore.close_all(own.map))
        joined.append(chat)
        chat.peer.sendall(b"line\n")

    begun = time.monotonic()
    by(join, lambda: own.asyncore.loop(PATIENCE, use_poll, own.map))
    assert joined[0].events == [b"line", "found"]
    assert took(begun) < 0.5


@from_outside
@both_pollers
@pytest.mark.parametrize("is_asked", [False, True], ids=["tracked", "asked on every pass"])
def test_what_is_pushed_leaves_at_once_though_the_kernel_takes_little(
    own: Stage, by: Any, is_asked: bool, use_poll: bool
) -> None:
    base = own.asynchat.async_chat
    members = {"writable": lambda chat: base.writable(chat)} if is_asked else {}
    chat = own.chat(handle_close=lambda chat: chat.close(), **members)
    data = b"x" * (1 << 22)  # more than the buffers of a socket hold
    got = bytearray()

    def read() -> None:
        while len(got) < len(data):
            got.extend(chat.peer.recv(1 << 16))
        chat.peer.close()

    reads = threading.Thread(target=read, daemon=True)

    def change() -> None:
        chat.push(data)
        reads.start()

    begun = time.monotonic()
    by(change, lambda: own.asyncore.loop(PATIENCE, use_poll, own.map))
    reads.join(PATIENCE)
    assert bytes(got) == data
    assert took(begun) < 0.5


def test_a_handler_that_changes_nothing_ends_no_pass(own: Stage) -> None:
    chat = own.chat()
    ran: list[int] = []

    def handler(*args: Any) -> None:
        ran.append(1)
        if len(ran) == 3:
            chat.peer.sendall(b"line\n")

    with alarms(handler, SOON, SOON):
        own.loop(1, timeout=PATIENCE)
    assert chat.events == [b"line", "found"]


@pytest.mark.parametrize("change", ["close", "push", "join"])
def test_what_changes_between_asking_and_waiting_ends_the_wait(
    own: Stage, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, _ = own.chat(), own.chat()
    chat.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    own.loop()

    def late() -> float:
        if change == "close":
            chat.close()
        elif change == "push":
            chat.push(bytes(1 << 20))
        else:
            own.chat()
        return 0.0

    # While a listener rests, a pass looks at the clock before it waits.
    monkeypatch.setattr(own.asyncore._family, "resting", {0: math.inf})
    monkeypatch.setattr(own.asyncore, "time", SimpleNamespace(monotonic=late))
    begun = time.monotonic()
    own.loop(1, timeout=PATIENCE)
    assert took(begun) < 0.5


# Passes that wait for nothing.


@needs_poll
def test_a_pass_of_which_nothing_is_kept_does_not_wait_for_nobody(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.map = UserDict()  # type: ignore[assignment]
    waits: list[Any] = []

    def poll(wait: Any) -> list[tuple[int, int]]:
        waits.append(wait)
        return []

    pollster = SimpleNamespace(register=lambda fd, flags: None, poll=poll)
    monkeypatch.setattr(select, "poll", lambda: pollster)

    def leave(chat: Any) -> Any:
        chat.del_channel()
        return True

    own.chat(writable=leave)
    own.asyncore.loop(PATIENCE, True, own.map, 1)
    assert waits == [0]


@both_pollers
@pytest.mark.parametrize("choose_map", [kept, kept_dict], ids=lambda function: function.__name__)
def test_a_handler_that_closes_all_ends_a_wait_for_nothing(
    own: Stage, choose_map: Callable[[Stage], None], use_poll: bool
) -> None:
    choose_map(own)
    own.chat(readable=lambda chat: False)
    began = time.monotonic()
    with alarms(lambda *args: own.asyncore.close_all(own.map), SOON):
        own.asyncore.loop(PATIENCE, use_poll, own.map)
    assert time.monotonic() - began < PATIENCE / 2
