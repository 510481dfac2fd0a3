"""Loops of several threads, of which some are over one map, as old programs have them."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.random.threads import Play
from tests.support.channels import PATIENCE, Stage, both_pollers, watch_of
from tests.support.implementations import Implementation
from tests.support.waiting import is_waiting


def until(true: Callable[[], Any]) -> None:
    """Returns when *true* is, and fails if that takes too long."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.001)


@both_pollers
@pytest.mark.parametrize("is_plain", [False, True], ids=["channel_map", "dict"])
def test_a_loop_goes_on_where_another_over_the_same_map_ends(
    own: Stage, is_plain: bool, use_poll: bool
) -> None:
    if is_plain:
        own.map = {}
    chat = own.chat()
    own.chat(readable=lambda chat: True)
    problems: list[BaseException] = []

    def run() -> None:
        try:
            own.asyncore.loop(PATIENCE, use_poll, own.map)
        except BaseException as problem:
            problems.append(problem)

    first, second = threading.Thread(target=run), threading.Thread(target=run)
    own.at_the_end(own.asyncore.close_all, own.map)
    first.start()
    until(lambda: is_waiting(own))
    watch = watch_of(own)
    for _ in range(3):
        own.asyncore.loop(0, use_poll, own.map, 2)
    second.start()
    until(lambda: watch.waiting in (2, {first.ident: None, second.ident: None}))
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert watch_of(own) is watch
    # More than the kernel takes: what waits for room has to end the wait of a loop.
    chat.push(b"x" * (1 << 21) + b"end")
    chat.peer.settimeout(PATIENCE / 2)
    while not chat.peer.recv(1 << 16).endswith(b"end"):
        pass
    own.asyncore.close_all(own.map)
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert not first.is_alive()
    assert not second.is_alive()
    assert (problems, watch_of(own)) == ([], None)


@pytest.mark.parametrize("use_poll", [False, True], ids=["select", "poll"])
def test_threads_may_do_what_they_like(ours: Implementation, use_poll: bool) -> None:
    if sys.gettrace() is not None:
        pytest.skip("CPython 3.11 and 3.12 fail where two threads begin to be traced")
    Play(ours, 2 * random.randrange(10**6) + (not use_poll), steps=100).play()


def test_nothing_is_held_when_deliveries_of_two_threads_have_ended(own: Stage) -> None:
    """Whichever of them was the first to begin; it pushes when both have ended."""
    begun, goes_on, ended = (
        {name: threading.Event() for name in ("first", "second")} for _ in range(3)
    )

    def found(chat: Any) -> None:
        name = threading.current_thread().name
        begun[name].set()
        assert goes_on[name].wait(PATIENCE)

    def deliver() -> None:
        name = threading.current_thread().name
        chat.handle_read()
        ended[name].set()
        if name == "first":
            assert ended["second"].wait(PATIENCE)
            chat.push(b"outside of any delivery")

    chat = own.chat(found_terminator=found)
    for name in begun:
        chat.peer.sendall(b"line\nline\n")
        thread = threading.Thread(target=deliver, name=name)
        own.at_the_end(thread.join, PATIENCE)
        thread.start()
        assert begun[name].wait(PATIENCE)
    for name in begun:
        goes_on[name].set()
        assert ended[name].wait(PATIENCE)
    chat.peer.settimeout(PATIENCE / 4)
    assert chat.peer.recv(100) == b"outside of any delivery"
