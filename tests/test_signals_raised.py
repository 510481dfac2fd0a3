"""Signal handlers: what they raise while the loop waits leaves it, whatever it is.

A handler may run at any point of a pass, and raise an exception of any class.  The tests here let
it run while the loop waits; test_interrupted.py lets one run at each point of a pass.

Rules this file keeps: a handler runs because an alarm goes off while the loop waits, whatever the
time; a test that would hang fails when ``PATIENCE`` is over.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from fastchat._core import pollers as _pollers
from tests.support.channels import (
    PATIENCE,
    Stage,
    alarms,
    both_pollers,
    fail_with,
    posix_only,
    watch_of,
)
from tests.support.waiting import SOON, all_maps, not_kept, took

pytestmark = posix_only


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

# The functions, of all implementations, that call what waits: from ``loop`` compiled code does.
WAITS = {"loop", "poll", "poll2", "poll_once", "select_once", "_wait", "wait", "_wait_once"}


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
        if os.path.basename(os.path.dirname(frame.f_code.co_filename)) not in ("fastchat", "_core"):
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
    assert count > 40


@pytest.mark.parametrize("kind", _pollers.available(), ids=lambda kind: kind.name)
@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: str(raised) or type(raised).__name__)
def test_what_a_handler_raises_leaves_the_wait_of_each_poller(
    own: Stage, raised: BaseException, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own.implementation.core["pollers"], "available", lambda: (kind,))
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
