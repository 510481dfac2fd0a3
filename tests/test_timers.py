"""Timers in the loop, and calls into it from other threads and from signal handlers.

Times are those of a clock that the test moves; a wait is real only where it is to be ended.
"""

from __future__ import annotations

import gc
import logging
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.channels import ENDING, PATIENCE, Clock, Stage, fail_with
from tests.support.line_channels import settle
from tests.support.programs import python
from tests.support.waiting import all_maps, from_a_handler, is_waiting, not_kept, took


@pytest.fixture
def calls(own: Stage) -> list[Any]:
    """What was called; the map has a channel, so that the loop goes on."""
    own.dispatcher()
    return []


def later(stage: Stage, seconds: float, function: Callable[..., Any], *args: Any) -> Any:
    return stage.implementation.timers.call_later(seconds, function, *args, map=stage.map)


def every(stage: Stage, seconds: float, function: Callable[..., Any], *args: Any) -> Any:
    return stage.implementation.timers.call_every(seconds, function, *args, map=stage.map)


def from_elsewhere(stage: Stage, function: Callable[..., Any], *args: Any) -> None:
    stage.implementation.timers.call_threadsafe(function, *args, map=stage.map)


def at(stage: Stage, clock: Clock, seconds: float) -> None:
    """Make passes when so many *seconds* more have passed."""
    clock.now += seconds
    settle(stage, 2)


@all_maps
def test_calls_in_the_order_of_their_times(
    own: Stage, clock: Clock, choose_map: Callable[[Stage], None]
) -> None:
    choose_map(own)
    own.dispatcher()
    calls: list[Any] = []
    for seconds in (3, 1, 2, 1):
        later(own, seconds, calls.append, seconds)
    at(own, clock, 0.5)
    assert calls == []
    at(own, clock, 0.5)
    assert calls == [1, 1]
    at(own, clock, 5)
    assert calls == [1, 1, 2, 3]


def test_the_clock_is_what_the_program_has_made_of_it(
    own: Stage, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As freezegun and others do: in the module ``time``, while the loop runs."""
    later(own, 1000, calls.append, "first")
    monotonic = time.monotonic
    settle(own, 2)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 1001)
    settle(own, 2)
    assert calls == ["first"]
    later(own, 1000, calls.append, "second")
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 2002)
    settle(own, 2)
    assert calls == ["first", "second"]


def test_same_time_means_in_the_order_of_the_calls(
    own: Stage, clock: Clock, calls: list[Any]
) -> None:
    for number in range(20):
        later(own, 1, calls.append, number)
    at(own, clock, 1)
    assert calls == list(range(20))


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["for ever", "for long"])
@pytest.mark.parametrize("use_poll", [False, True], ids=["select", "poll"])
def test_ends_the_wait(own: Stage, calls: list[Any], use_poll: bool, timeout: float | None) -> None:
    begun = time.monotonic()
    later(own, 0.01, calls.append, 1)
    while not calls:
        own.asyncore.loop(timeout, use_poll, own.map, 1)
    assert time.monotonic() - begun >= 0.01
    assert took(begun) < 0.5


def test_cancelled_is_not_called(own: Stage, clock: Clock, calls: list[Any]) -> None:
    first = later(own, 1, calls.append, "first")
    second = later(own, 1, calls.append, "second")
    assert first.is_active
    assert second.is_active
    first.cancel()
    first.cancel()
    at(own, clock, 1)
    assert calls == ["second"]
    assert not first.is_active
    assert not second.is_active
    second.cancel()


def test_may_cancel_another_that_is_due(own: Stage, clock: Clock, calls: list[Any]) -> None:
    timers: list[Any] = []
    timers.append(later(own, 1, lambda: timers[1].cancel()))
    timers.append(later(own, 1, calls.append, "cancelled"))
    at(own, clock, 1)
    assert calls == []


def test_what_a_timer_adds_waits_for_the_next_pass(
    own: Stage, clock: Clock, calls: list[Any]
) -> None:
    def again() -> None:
        calls.append(1)
        later(own, 0, again)

    later(own, 0, again)
    own.loop()
    own.loop()
    assert len(calls) <= 2


def test_cancelled_timers_leave_the_heap(own: Stage, clock: Clock, calls: list[Any]) -> None:
    later(own, 500, calls.append, "kept")
    for _ in range(5000):
        later(own, 1000, fail_with(AssertionError())).cancel()
    agenda = own.implementation.core["agenda"].agenda_of(own.map)
    assert agenda.entries() < 200
    at(own, clock, 500)
    assert calls == ["kept"]


def test_every_does_not_drift(own: Stage, clock: Clock, calls: list[Any]) -> None:
    begun = clock.now
    timer = every(own, 10, lambda: calls.append(clock.now - begun))
    for _ in range(4):
        at(own, clock, 9)
    assert calls == [18, 27, 36]
    at(own, clock, 4)
    assert calls == [18, 27, 36, 40]
    timer.cancel()
    at(own, clock, 50)
    assert len(calls) == 4


def test_every_makes_up_for_nothing(own: Stage, clock: Clock, calls: list[Any]) -> None:
    every(own, 1, calls.append, 1)
    at(own, clock, 100)
    assert calls == [1]
    at(own, clock, 1)
    assert calls == [1, 1]


def test_every_is_not_called_inside_itself(own: Stage, clock: Clock, calls: list[Any]) -> None:
    """Where its call makes passes that take longer than its interval."""

    def call() -> None:
        calls.append("begin")
        at(own, clock, 3)
        at(own, clock, 3)
        calls.append("end")

    timer = every(own, 1, call)
    at(own, clock, 1)
    at(own, clock, 1)
    assert calls == ["begin", "end"] * 2
    timer.cancel()
    at(own, clock, 5)
    assert len(calls) == 4


def test_failure_is_logged_and_ends_nothing(
    own: Stage, clock: Clock, calls: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    later(own, 1, fail_with(ZeroDivisionError("oh")))
    later(own, 1, calls.append, 1)
    from_elsewhere(own, fail_with(ZeroDivisionError("ah")))
    from_elsewhere(own, calls.append, 2)
    with caplog.at_level(logging.ERROR, "fastchat.loop"):
        at(own, clock, 1)
    assert calls == [2, 1]
    problems = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [str(problem) for problem in problems] == ["ah", "oh"]


@pytest.mark.parametrize("kind", ENDING)
def test_ending_leaves_the_loop_and_loses_no_other(
    own: Stage, clock: Clock, calls: list[Any], kind: Any
) -> None:
    from_elsewhere(own, fail_with(own.ending(kind)()))
    from_elsewhere(own, calls.append, 1)
    later(own, 1, fail_with(own.ending(kind)()))
    later(own, 1, calls.append, 2)
    for expected in ([], [1], [1, 2]):
        clock.now += 1
        if expected != [1, 2]:
            with pytest.raises(own.ending(kind)):
                own.loop()
        else:
            own.loop()
        assert calls == expected


@all_maps
def test_a_thread_calls(own: Stage, choose_map: Callable[[Stage], None]) -> None:
    """Its calls are made in the loop's thread, in order, and end the wait of a map that is kept."""
    choose_map(own)
    own.dispatcher()
    made: list[Any] = []
    threads: list[int] = []

    def call() -> None:
        for number in range(100):
            from_elsewhere(own, made.append, number)
        from_elsewhere(own, lambda: threads.append(threading.get_ident()))
        from_elsewhere(own, fail_with(own.asyncore.ExitNow()))

    thread = threading.Thread(target=call)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(own.asyncore.ExitNow):
        own.asyncore.loop(0.01 if choose_map is not_kept else PATIENCE, True, own.map)
    thread.join()
    assert made == list(range(100))
    assert threads == [threading.get_ident()]
    assert took(begun) < 0.5


def test_a_signal_handler_calls(own: Stage, calls: list[Any]) -> None:
    own.loop()

    def wait() -> None:
        begun = time.monotonic()
        while not calls:
            own.asyncore.loop(PATIENCE, True, own.map, 1)
        assert took(begun) < 0.5

    from_a_handler(lambda: from_elsewhere(own, calls.append, 1), wait, when=lambda: is_waiting(own))


def test_a_call_may_make_passes(own: Stage, calls: list[Any]) -> None:
    """What waits is called in them, and not once more."""
    from_elsewhere(own, own.loop)
    from_elsewhere(own, calls.append, 1)
    own.loop()
    assert calls == [1]


def test_calls_wait_for_the_loop(own: Stage, calls: list[Any]) -> None:
    from_elsewhere(own, calls.append, 1)
    assert calls == []
    own.loop()
    assert calls == [1]


def test_a_dict_is_let_go(own: Stage) -> None:
    """The agenda of a plain dict goes with its loop, unless there is something to do."""
    agenda = own.implementation.core["agenda"]
    members: dict[int, Any] = {}
    channel = own.dispatcher()
    channel.del_channel()
    channel.add_channel(members)
    own.implementation.timers.call_threadsafe(members.clear, map=members)
    own.asyncore.loop(0, True, members)
    gc.collect()
    assert agenda.agenda_of(members) is None


def test_refuses_what_cannot_be_called(own: Stage) -> None:
    timers = own.implementation.timers
    for name, arguments in (("call_later", (1, None)), ("call_threadsafe", (1,))):
        with pytest.raises(TypeError, match="a function is to be called later"):
            getattr(timers, name)(*arguments)


def test_time_that_is_past_is_due(own: Stage, clock: Clock, calls: list[Any]) -> None:
    """``end - time.monotonic()`` may be below 0 where the loop is late."""
    later(own, -0.0001, calls.append, 1)
    later(own, 0, calls.append, 2)
    later(own, -(10**300), calls.append, 3)
    own.loop()
    assert calls == [1, 2, 3]


def test_failure_names_what_was_called(
    own: Stage, clock: Clock, calls: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def divide() -> float:
        return 1 / 0

    later(own, 0, divide)
    every(own, 1, divide)
    from_elsewhere(own, divide)
    at(own, clock, 1)
    assert [record.getMessage().count("divide") for record in caplog.records] == [1, 1, 1]


@pytest.mark.parametrize("start", ["timer()", "channel()"])
def test_nothing_is_imported_while_the_loop_runs(ours: Any, start: str, tmp_path: Path) -> None:
    """A process that has no descriptor left could not."""
    code = f"""
        import socket, sys, traceback
        import fastchat
        from fastchat import asyncore

        class Lines(fastchat.LineChannel):
            idle_timeout, linger_timeout = 0.01, 0

            def line_received(self, line):
                return line

            def connection_lost(self, exc):
                print("lost")

        call_later = fastchat.call_later

        def timer():
            call_later(0, lambda: 1 / 0)
            call_later(1, print).cancel()

        def channel():
            pass

        near, far = socket.socketpair()
        Lines(near)
        sys.meta_path.clear()
        {start}
        asyncore.loop(0.1)
    """
    done = python("-c", textwrap.dedent(code), cwd=tmp_path, FASTCHAT_IMPLEMENTATION=ours.name)
    assert (done.status, done.output) == (0, "lost\n")
    assert ("a call in the loop has failed" in done.errors) == (start == "timer()")
    assert done.errors.count("Error") == (start == "timer()")


def test_nothing_is_imported_for_a_timer_alone(ours: Any, tmp_path: Path) -> None:
    """The modules of line channels, which a program may not have, import what others need, too."""
    code = """
        import socket, sys, traceback
        from fastchat import asyncore, call_later

        near, far = socket.socketpair()
        asyncore.dispatcher(near)
        call_later(0, lambda: 1 / 0)
        sys.meta_path.clear()
        asyncore.loop(0.01, count=2)
    """
    done = python("-c", textwrap.dedent(code), cwd=tmp_path, FASTCHAT_IMPLEMENTATION=ours.name)
    assert done.status == 0
    assert "a call in the loop has failed" in done.errors
    assert done.errors.count("Error") == 1
