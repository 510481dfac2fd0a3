"""Signal handlers: what they raise leaves the loop, and what they change is noticed.

A handler may run at any point of a pass, and raise an exception of any class.  The tests here let
it run while the loop waits; test_interrupted.py lets one run at each point of a pass.

Rules this file keeps: a handler runs because an alarm goes off while the loop waits, whatever the
time; a test that would hang fails when ``PATIENCE`` is over.
"""

from __future__ import annotations

import errno
import functools
import gc
import os
import select
import socket
import sys
import threading
import time
from collections import UserDict
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from fastchat import _pollers
from tests.support.channels import (
    PATIENCE,
    Stage,
    alarms,
    as_the_system,
    both_pollers,
    fail_with,
    forget,
    has_nothing,
    inside,
    needs_poll,
    posix_only,
    watch_a_dict,
    watch_of,
)

pytestmark = posix_only

# How long the loop waits until the handler runs, in seconds: nothing depends on it.
SOON = 0.01


class OwnError(Exception):
    """One that nobody knows."""


class OwnEnd(BaseException):
    """One that no ``except Exception`` sees."""


RAISED = [
    TimeoutError("the watchdog"),
    OSError("without a number"),
    *(OSError(number, name) for number, name in sorted(errno.errorcode.items()) if number < 40),
    OSError(errno.ECONNRESET, "ECONNRESET"),
    OSError(errno.ENOTSOCK, "ENOTSOCK"),
    InterruptedError(),
    ValueError("I/O operation on closed epoll object"),
    OverflowError(),
    TypeError(),
    AttributeError(),
    KeyError(),
    IndexError(),
    ReferenceError(),
    RuntimeError(),
    RecursionError(),
    MemoryError(),
    AssertionError(),
    StopIteration(),
    KeyboardInterrupt(),
    SystemExit(),
    GeneratorExit(),
    OwnError(),
    OwnEnd(),
]


# The functions, of all implementations, that call what waits.
WAITS = {"poll", "poll2", "_poll_once", "_select_once", "_wait", "wait", "_wait_once"}


def in_the_wait(handler: Callable[..., Any]) -> Callable[..., Any]:
    """*handler*, once, where it interrupts a wait; the alarm has to go off again until then.

    It fails where the loop still runs 5 s later.
    """
    alarms_since: list[int] = []

    def called(number: int, frame: FrameType | None) -> None:
        if alarms_since:
            alarms_since.append(number)
            assert len(alarms_since) < 5 / SOON, "the loop goes on after what the handler raised"
        elif frame is not None and frame.f_code.co_name in WAITS:
            alarms_since.append(number)
            handler(number, frame)

    return called


def kept(stage: Stage) -> None:
    """Passes over ``socket_map`` and its like."""


def kept_dict(stage: Stage) -> None:
    """Passes of a loop over a plain dict."""
    if stage.implementation.is_stdlib:
        stage.map = {}
    else:
        watch_a_dict(stage)


def not_kept(stage: Stage) -> None:
    """Passes over a mapping of which nothing is kept."""
    stage.map = UserDict()  # type: ignore[assignment]


all_maps = pytest.mark.parametrize(
    "choose_map", [kept, kept_dict, not_kept], ids=lambda function: function.__name__
)


@both_pollers
@all_maps
@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: str(raised) or type(raised).__name__)
def test_what_a_handler_raises_leaves_the_loop(
    stage: Stage, raised: BaseException, choose_map: Callable[[Stage], None], use_poll: bool
) -> None:
    choose_map(stage)
    chat = stage.chat()
    with pytest.raises(type(raised)) as caught, alarms(in_the_wait(fail_with(raised)), SOON, SOON):
        stage.asyncore.loop(PATIENCE, use_poll, stage.map)
    assert caught.value is raised
    # And nobody else has suffered.
    assert stage.feed(chat, b"line\n") == [b"line", "found"]


class At:
    """Does *act* once, before the line with number *count* of fastchat's own that is run."""

    def __init__(self, act: Callable[[], None], count: int) -> None:
        self.act = act
        self.left = count

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if os.path.basename(os.path.dirname(frame.f_code.co_filename)) != "fastchat":
            return None
        self.left -= event == "line"
        if self.left == 0 and event == "line":
            self.left = -1
            sys.settrace(None)
            self.act()
        return self


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="a trace function takes minutes on PyPy"
)
@both_pollers
@all_maps
def test_a_handler_that_closes_all_ends_a_pass_at_any_moment(
    own: Stage, choose_map: Callable[[Stage], None], use_poll: bool
) -> None:
    count = 0
    while True:
        count += 1
        choose_map(own)
        chats = [own.chat() for _ in range(3)]
        for chat in chats:
            chat.peer.send(b"x")  # or a pass in which nobody closes anything would wait
        at = At(functools.partial(own.asyncore.close_all, own.map), count)
        begun = time.monotonic()
        trace = sys.gettrace()
        sys.settrace(at)
        try:
            own.asyncore.loop(PATIENCE, use_poll, own.map, 1)
        finally:
            sys.settrace(trace)
        assert took(begun) < 0.5, f"it waited, closed before line {count}"
        own.asyncore.close_all(own.map)
        for chat in chats:
            chat.peer.close()
        if at.left > 0:
            break
    assert count > 50


@pytest.mark.parametrize("kind", _pollers.available(), ids=lambda kind: kind.name)
@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: str(raised) or type(raised).__name__)
def test_what_a_handler_raises_leaves_the_wait_of_each_poller(
    own: Stage, raised: BaseException, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside(own)["_pollers"], "available", lambda: (kind,))
    chat = own.chat()
    own.loop()
    with pytest.raises(type(raised)) as caught, alarms(in_the_wait(fail_with(raised)), SOON, SOON):
        own.asyncore.loop(PATIENCE, map=own.map)
    assert caught.value is raised
    assert type(watch_of(own).poller).__name__ == kind.__name__
    assert own.feed(chat, b"line\n") == [b"line", "found"]


@both_pollers
def test_what_a_handler_raises_leaves_though_a_descriptor_is_closed(
    stage: Stage, use_poll: bool
) -> None:
    # Both at once: the descriptor alone would be no exception here.
    not_kept(stage)
    chat = stage.chat()

    def handler(*args: Any) -> None:
        chat.socket.close()
        raise TimeoutError

    with pytest.raises(TimeoutError), alarms(in_the_wait(handler), SOON, SOON):
        stage.asyncore.loop(PATIENCE, use_poll, stage.map)


# What a handler, or another thread, changes while the loop waits.


def close_all(stage: Stage, chat: Any) -> None:
    stage.asyncore.close_all(stage.map)


def close_one(stage: Stage, chat: Any) -> None:
    chat.close()


def at_any_time() -> bool:
    return True


def is_waiting(stage: Stage) -> bool:
    """Whether the loop over the map of *stage*, which keeps registrations, waits."""
    watch = watch_of(stage)
    return watch is not None and watch.is_waiting


def from_a_handler(
    change: Callable[[], None], wait: Callable[[], None], when: Callable[[], bool] = at_any_time
) -> None:
    left = [change]

    def handler(*args: object) -> None:
        if left and when():
            left.pop()()

    with alarms(handler, SOON, SOON):
        wait()


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


def took(begun: float) -> float:
    """The seconds since *begun*, as a part of those for which the loop may wait."""
    return (time.monotonic() - begun) / PATIENCE


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
    monkeypatch.setattr(inside(own)["_pollers"], "available", lambda: (kind,))
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
    watch = watch_of(own)
    wait = watch._wait

    def late(*args: Any) -> Any:
        if change == "close":
            chat.close()
        elif change == "push":
            chat.push(bytes(1 << 20))
        else:
            own.chat()
        return wait(*args)

    monkeypatch.setattr(watch, "_wait", late)
    begun = time.monotonic()
    own.loop(1, timeout=PATIENCE)
    assert took(begun) < 0.5


# The descriptor by which a wait is ended.


def test_no_descriptor_is_taken_before_it_is_needed_and_none_kept_at_the_end(own: Stage) -> None:
    chat, _ = own.chat(), own.chat()
    own.loop()
    watch = watch_of(own)
    assert watch.waker is None
    from_a_handler(chat.close, lambda: own.loop(1, timeout=PATIENCE), lambda: is_waiting(own))
    number = vars(watch)["waker"].fileno()
    own.asyncore._release(own.map)
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
    waker = inside(own)["Waker"]()
    watch = watching(own)
    watch.waker = waker

    class Ends(tuple[int, ...]):
        def __iter__(self) -> Iterator[int]:
            watch.waker = None  # as the loop does, between two steps of the thread
            return super().__iter__()

    number = waker._ends[0]
    waker._ends = Ends(waker._ends)
    watch.is_waiting = True
    watch.stir()
    watch.is_waiting = False
    assert bool(select.select([number], [], [], 0)[0])
    assert watch.waker is None


@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_a_poller_that_is_gone_is_not_waited_for(
    own: Stage, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watching(own)
    gone = SimpleNamespace(register=as_the_system(fail_with(kind())))
    monkeypatch.setattr(watch, "poller", gone)
    watch.is_waiting = True
    watch.stir()
    watch.is_waiting = False
    assert (watch.waker, watch.maker) == (None, {})


def test_only_one_thread_makes_what_ends_the_wait(own: Stage) -> None:
    watch = watching(own)
    watch.maker["thread"] = -1  # another one
    watch.is_waiting = True
    watch.stir()
    watch.is_waiting = False
    assert (watch.waker, watch.maker) == (None, {"thread": -1})
    watch.maker.clear()


def test_the_same_descriptor_ends_many_waits(own: Stage) -> None:
    own.chat()
    numbers = set()
    for _ in range(5):
        chat = own.chat()
        from_a_handler(chat.close, lambda: own.loop(1, timeout=PATIENCE), lambda: is_waiting(own))
        numbers.add(watch_of(own).waker.fileno())
    assert len(numbers) == 1
    # And what was noted in it does not end the next one.
    assert watch_of(own)._wait(0, False) is None


def test_without_a_descriptor_it_is_noticed_when_the_wait_ends(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.chat()
    chat = own.chat()
    monkeypatch.setattr(inside(own)["Waker"], "__init__", _no_descriptor_left)
    from_a_handler(chat.close, lambda: own.loop(1, timeout=5 * SOON), lambda: is_waiting(own))
    assert chat not in own.map.values()
    assert watch_of(own).waker is None


@as_the_system
def _no_descriptor_left(self: Any) -> None:
    raise OSError(errno.EMFILE, "no descriptor left")


@pytest.fixture
def waker(own: Stage) -> Any:
    return inside(own)["Waker"]()


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
    made = inside(own)["Waker"]()
    number = made.fileno()
    forget([made])
    del made
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize("which", [0, 1])
def test_a_waker_leaves_alone_what_has_its_number_now(own: Stage, which: int) -> None:
    # A daemon closes all descriptors that it did not open, and opens others.
    made = inside(own)["Waker"]()
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
        waker = vars(watch_of(own))["waker"]
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
        inside(own)["Waker"]()


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
