"""The descriptor by which a signal handler or another thread ends a wait: the waker.

Rules this file keeps: nothing depends on the time; a test that would hang fails when ``PATIENCE``
is over.
"""

from __future__ import annotations

import errno
import gc
import os
import select
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    as_the_system,
    fail_with,
    forget,
    has_nothing,
    inside,
    posix_only,
    watch_of,
)
from tests.support.waiting import SOON, from_a_handler, is_waiting

pytestmark = posix_only


def test_no_descriptor_is_taken_before_it_is_needed_and_none_kept_at_the_end(own: Stage) -> None:
    chat, _ = own.chat(), own.chat()
    own.loop()
    watch = watch_of(own)
    assert watch.waker is None
    from_a_handler(chat.close, lambda: own.loop(1, timeout=PATIENCE), lambda: is_waiting(own))
    number = watch_of(own).waker.fileno()
    own.implementation.core["maps"].release(own.map)
    assert watch.waker is None
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        select.select([number], [], [], 0)


def watching(stage: Stage) -> Any:
    """The watch of a stage with a chat."""
    stage.chat()
    stage.loop()
    return watch_of(stage)


def test_a_thread_that_ends_the_wait_may_do_so_while_it_is_dropped(own: Stage) -> None:
    waker = inside(own, "waker")["Waker"]()
    watch = watching(own)
    watch.waker = waker

    class Ends(tuple[int, ...]):
        def __iter__(self) -> Iterator[int]:
            watch.waker = None  # as the loop does, between two steps of the thread
            return super().__iter__()

    number = waker._ends[0]
    waker._ends = Ends(waker._ends)
    watch.begin_to_wait()
    watch.stir()
    watch.end_wait()
    assert bool(select.select([number], [], [], 0)[0])
    assert watch.waker is None


@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_a_poller_that_is_gone_is_not_waited_for(
    own: Stage, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watching(own)
    gone = SimpleNamespace(register=as_the_system(fail_with(kind())))
    monkeypatch.setattr(watch, "poller", gone)
    watch.begin_to_wait()
    watch.stir()
    watch.end_wait()
    assert (watch.waker, watch.waker_lock) == (None, {})


def test_only_one_thread_makes_what_ends_the_wait(own: Stage) -> None:
    watch = watching(own)
    watch.waker_lock["thread"] = -1  # another one
    watch.begin_to_wait()
    watch.stir()
    watch.end_wait()
    assert (watch.waker, watch.waker_lock) == (None, {"thread": -1})
    watch.waker_lock.clear()


def test_the_same_descriptor_ends_many_waits(own: Stage) -> None:
    own.chat()
    numbers = set()
    for _ in range(5):
        chat = own.chat()
        from_a_handler(chat.close, lambda: own.loop(1, timeout=PATIENCE), lambda: is_waiting(own))
        numbers.add(watch_of(own).waker.fileno())
    assert len(numbers) == 1
    # And what was noted in it does not end the next one.
    assert own.implementation.core["passes"]._wait(watch_of(own), 0, False) is None


def test_without_a_descriptor_it_is_noticed_when_the_wait_ends(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.chat()
    chat = own.chat()
    monkeypatch.setattr(inside(own, "waker")["Waker"], "__init__", _no_descriptor_left)
    from_a_handler(chat.close, lambda: own.loop(1, timeout=5 * SOON), lambda: is_waiting(own))
    assert chat not in own.map.values()
    assert watch_of(own).waker is None


@as_the_system
def _no_descriptor_left(self: Any) -> None:
    raise OSError(errno.EMFILE, "no descriptor left")


@pytest.fixture
def waker(own: Stage) -> Any:
    return inside(own, "waker")["Waker"]()


def is_set(waker: Any) -> bool:
    return bool(select.select([waker], [], [], 0)[0])


def test_a_waker_is_set_and_cleared(waker: Any) -> None:
    assert not is_set(waker)
    waker.clear()
    waker.set()
    waker.set()
    assert is_set(waker)
    waker.clear()
    assert not is_set(waker)


def test_a_waker_that_nobody_clears_stays_set(waker: Any) -> None:
    for _ in range(70_000):  # more than a pipe has room for
        waker.set()
    assert is_set(waker)
    waker.clear()
    assert not is_set(waker)


def test_a_waker_gives_its_descriptors_back_when_it_is_forgotten(own: Stage) -> None:
    made = inside(own, "waker")["Waker"]()
    number = made.fileno()
    forget([made])
    del made
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize("which", [0, 1])
def test_a_waker_leaves_alone_what_has_its_number_now(own: Stage, which: int) -> None:
    # A daemon closes all descriptors that it did not open, and opens others.
    made = inside(own, "waker")["Waker"]()
    mine, peer = own.pair()
    os.dup2(mine.fileno(), made._ends[which])
    peer.sendall(b"x")
    assert not made.set()
    made.clear()
    numbers = made._ends
    del made
    gc.collect()
    assert has_nothing(peer)
    assert os.read(numbers[which], 10) == b"x"
    os.close(numbers[which])


@pytest.mark.parametrize("reused", [False, True])
def test_a_waker_that_a_program_has_closed_is_made_anew(own: Stage, reused: bool) -> None:
    own.chat()
    for _ in range(2):
        chat = own.chat()
        from_a_handler(chat.close, lambda: own.loop(1, timeout=PATIENCE), lambda: is_waiting(own))
        assert chat not in own.map.values()
        waker = watch_of(own).waker
        for number in waker._ends:
            os.close(number)
        if reused:
            for _ in waker._ends:
                own.pair()


def test_a_system_without_pipes_that_can_be_waited_for_has_no_waker(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(OSError, match="not implemented"):
        inside(own, "waker")["Waker"]()
