"""The loop: who is asked, who is told, in which order, and what leaves it.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: readiness is real, or the pass is made by hand with scripted flags.
"""

from __future__ import annotations

import select
import threading
from typing import Any

import pytest

from tests.support.channels import (
    ENDING,
    GONE,
    PATIENCE,
    Stage,
    both_pollers,
    failure,
    name_of,
    needs_poll,
)
from tests.support.ducks import Duck, duck

# Who is asked.


@both_pollers
def test_every_channel_is_asked_on_every_pass_readable_first(stage: Stage, use_poll: bool) -> None:
    channels = [duck(stage, readable=False)[0], duck(stage, writable=False)[0]]
    stage.loop(2, use_poll)
    assert [channel.events for channel in channels] == [["readable", "writable"] * 2] * 2


@both_pollers
@pytest.mark.parametrize("yes", [1, "yes", [0], object()])
def test_any_true_answer_is_a_yes(stage: Stage, yes: Any, use_poll: bool) -> None:
    channel, peer = duck(stage, readable=lambda _: yes, writable=lambda _: yes)
    peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["readable", "writable", "read", "write"]


@both_pollers
@pytest.mark.parametrize("no", [0, "", [], None])
def test_any_false_answer_is_a_no(stage: Stage, no: Any, use_poll: bool) -> None:
    channel, peer = duck(stage, readable=lambda _: no, writable=lambda _: no)
    peer.sendall(b"x")
    stage.loop(use_poll=use_poll)
    assert channel.events == ["readable", "writable"]


@both_pollers
def test_the_answers_may_change_from_pass_to_pass(stage: Stage, use_poll: bool) -> None:
    answers = iter([False, True, False, True])
    channel, peer = duck(stage, readable=lambda _: next(answers))
    peer.sendall(b"x")
    stage.loop(4, use_poll)
    assert channel.events == ["readable", "writable", "readable", "writable", "read"] * 2


@both_pollers
def test_a_predicate_set_on_the_object_counts(stage: Stage, use_poll: bool) -> None:
    channel = stage.dispatcher(handle_read=lambda channel: None)
    channel.readable = lambda: False
    channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll)
    del channel.readable
    stage.loop(use_poll=use_poll)
    assert channel.events == ["read"]


@both_pollers
def test_a_listener_is_asked_but_never_told_that_it_can_write(stage: Stage, use_poll: bool) -> None:
    channel, _ = duck(stage, writable=True)
    channel.accepting = True
    stage.loop(use_poll=use_poll)
    assert channel.events == ["readable", "writable"]


@both_pollers
def test_a_channel_added_while_the_others_are_asked_waits_for_the_next_pass(
    stage: Stage, use_poll: bool
) -> None:
    late: list[Duck] = []

    def readable(channel: Duck) -> bool:
        if not late:
            late.append(duck(stage)[0])
        return True

    duck(stage, readable=readable)
    stage.loop(use_poll=use_poll)
    assert late[0].events == []
    stage.loop(use_poll=use_poll)
    assert late[0].events == ["readable", "writable"]


@both_pollers
def test_a_channel_may_close_itself_when_it_is_asked(stage: Stage, use_poll: bool) -> None:
    def readable(channel: Any) -> bool:
        channel.close()
        return False

    closing = stage.dispatcher(readable=readable)
    other = stage.dispatcher(handle_read=lambda channel: None)
    other.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (closing.events, other.events) == ([], ["read"])
    assert list(stage.map.values()) == [other]


# Who is told.


@both_pollers
def test_a_channel_is_told_only_of_what_it_waits_for(stage: Stage, use_poll: bool) -> None:
    reader, peer = duck(stage)
    writer, _ = duck(stage, readable=False, writable=True)
    peer.sendall(b"x")
    stage.loop(use_poll=use_poll)
    assert reader.events == ["readable", "writable", "read"]
    assert writer.events == ["readable", "writable", "write"]


def test_select_serves_all_input_before_any_output(stage: Stage) -> None:
    order: list[str] = []
    for name in "ab":
        _, peer = duck(
            stage,
            writable=True,
            read=lambda _, name=name: order.append(name + " reads"),
            write=lambda _, name=name: order.append(name + " writes"),
        )
        peer.sendall(b"x")
    stage.loop(timeout=PATIENCE)
    assert sorted(order[:2]) == ["a reads", "b reads"]
    assert sorted(order[2:]) == ["a writes", "b writes"]


@needs_poll
def test_poll_serves_one_channel_after_the_other(stage: Stage) -> None:
    order: list[str] = []
    for name in "ab":
        _, peer = duck(
            stage,
            writable=True,
            read=lambda _, name=name: order.append(name),
            write=lambda _, name=name: order.append(name),
        )
        peer.sendall(b"x")
    stage.loop(use_poll=True, timeout=PATIENCE)
    assert order in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


@both_pollers
def test_a_channel_taken_off_the_map_in_the_same_pass_hears_nothing(
    stage: Stage, use_poll: bool
) -> None:
    def read(channel: Duck) -> None:
        for fd in [fd for fd, other in stage.map.items() if other is not channel]:
            del stage.map[fd]

    told = [duck(stage, read=read), duck(stage, read=read)]
    for _, peer in told:
        peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert sorted(channel.events[2:] for channel, _ in told) == [[], ["read"]]


@both_pollers
def test_a_handler_may_run_the_loop_itself(stage: Stage, use_poll: bool) -> None:
    # Whichever is told first serves the other from within; then it is the other's turn, and there
    # is nothing left to receive.
    depth: list[int] = []

    def found(chat: Any) -> None:
        depth.append(len(depth))
        if len(depth) == 1:
            stage.loop(use_poll=use_poll)
        depth.append(-1)

    chats = [stage.chat(found_terminator=found) for _ in range(2)]
    for chat in chats:
        chat.peer.sendall(b"line\n")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert depth == [0, 1, -1, -1]
    assert [chat.events for chat in chats] == [[b"line", "found"]] * 2


def test_another_thread_may_add_a_channel(stage: Stage) -> None:
    channels: list[Any] = []

    def add() -> None:
        channels.append(stage.dispatcher(handle_read=lambda channel: channel.close()))
        channels[0].peer.sendall(b"x")

    # The first pass waits for nothing that happens; the channel is found on the next.
    idle = stage.dispatcher()
    thread = threading.Thread(target=add)
    thread.start()
    stage.until(lambda: channels and channels[0].events)
    thread.join()
    assert channels[0].events == ["read"]
    assert list(stage.map.values()) == [idle]


# Events by hand.


@needs_poll
@pytest.mark.parametrize(
    ("flags", "events"),
    [
        ("POLLIN", ["read"]),
        ("POLLOUT", ["write"]),
        ("POLLPRI", ["expt"]),
        ("POLLHUP", ["close"]),
        ("POLLERR", ["close"]),
        ("POLLNVAL", ["close"]),
        ("POLLHUP POLLERR POLLNVAL", ["close"]),
        ("POLLOUT POLLIN", ["read", "write"]),
        ("POLLPRI POLLOUT POLLIN", ["read", "write", "expt"]),
        ("POLLHUP POLLPRI POLLOUT POLLIN", ["read", "write", "expt", "close"]),
        ("", []),
    ],
)
def test_readwrite_tells_input_output_urgency_and_hang_up_in_this_order(
    stage: Stage, flags: str, events: list[str]
) -> None:
    channel = Duck()
    bits = 0
    for flag in flags.split():
        bits |= getattr(select, flag)
    stage.asyncore.readwrite(channel, bits)
    assert channel.events == events


@needs_poll
@pytest.mark.parametrize("number", GONE, ids=name_of)
def test_readwrite_takes_a_lost_connection_for_a_hang_up(stage: Stage, number: int) -> None:
    channel = Duck(read=failure(number))
    stage.asyncore.readwrite(channel, select.POLLIN | select.POLLOUT)
    assert channel.events == ["read", "close"]


@needs_poll
@pytest.mark.parametrize("problem", [OSError(5, "I/O"), OSError("no number"), ValueError("x")])
def test_readwrite_hands_any_other_exception_to_handle_error(
    stage: Stage, problem: Exception
) -> None:
    channel = Duck(read=problem)
    stage.asyncore.readwrite(channel, select.POLLIN | select.POLLOUT)
    assert channel.events == ["read", "error"]


EVENTS = [("read", "read"), ("write", "write"), ("_exception", "expt")]


@pytest.mark.parametrize(("function", "event"), EVENTS)
def test_an_event_function_tells_the_channel(stage: Stage, function: str, event: str) -> None:
    channel = Duck()
    getattr(stage.asyncore, function)(channel)
    assert channel.events == [event]


@pytest.mark.parametrize(("function", "event"), EVENTS)
@pytest.mark.parametrize("problem", [ValueError, OSError, GeneratorExit])
def test_an_event_function_hands_an_exception_to_handle_error(
    stage: Stage, function: str, event: str, problem: type[BaseException]
) -> None:
    channel = Duck(**{event: problem()})
    getattr(stage.asyncore, function)(channel)
    assert channel.events == [event, "error"]


@pytest.mark.parametrize("kind", ENDING)
@pytest.mark.parametrize(("function", "event"), EVENTS)
def test_the_exceptions_that_end_a_program_pass_through_an_event_function(
    stage: Stage, function: str, event: str, kind: Any
) -> None:
    wanted = stage.ending(kind)
    channel = Duck(**{event: wanted()})
    with pytest.raises(wanted):
        getattr(stage.asyncore, function)(channel)
    assert channel.events == [event]


@needs_poll
@pytest.mark.parametrize("kind", ENDING)
@pytest.mark.parametrize(
    ("flag", "event"),
    [("POLLIN", "read"), ("POLLOUT", "write"), ("POLLPRI", "expt"), ("POLLHUP", "close")],
)
def test_the_exceptions_that_end_a_program_pass_through_readwrite(
    stage: Stage, flag: str, event: str, kind: Any
) -> None:
    wanted = stage.ending(kind)
    channel = Duck(**{event: wanted()})
    with pytest.raises(wanted):
        stage.asyncore.readwrite(channel, getattr(select, flag))
    assert channel.events == [event]


def test_the_exceptions_that_leave_the_loop_can_be_extended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = (*stage.asyncore._reraised_exceptions, ZeroDivisionError)
    monkeypatch.setattr(stage.asyncore, "_reraised_exceptions", kinds)
    channel, peer = duck(stage, read=ZeroDivisionError())
    peer.sendall(b"x")
    with pytest.raises(ZeroDivisionError):
        stage.loop(timeout=PATIENCE)
    assert channel.events[2:] == ["read"]


@both_pollers
def test_a_loop_that_was_left_can_be_entered_again(stage: Stage, use_poll: bool) -> None:
    def read(channel: Duck) -> None:
        if channel.events.count("read") == 1:
            raise stage.asyncore.ExitNow

    channel, peer = duck(stage, read=read)
    peer.sendall(b"x")
    with pytest.raises(stage.asyncore.ExitNow):
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["readable", "writable", "read"] * 2


@both_pollers
def test_a_failing_handler_is_told_to_handle_error_and_the_others_go_on(
    stage: Stage, use_poll: bool
) -> None:
    failing, peer = duck(stage, read=ValueError())
    working, other_peer = duck(stage)
    peer.sendall(b"x")
    other_peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert failing.events[2:] == ["read", "error"]
    assert working.events[2:] == ["read"]


@both_pollers
def test_a_way_to_wait_may_tell_of_what_it_was_not_asked(
    stage: Stage, use_poll: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, peer = duck(stage)
    peer.sendall(b"x")
    unknown = 999_999
    if use_poll:
        poll = select.poll

        class Poll:
            def __init__(self) -> None:
                self._poll = poll()
                self.register = self._poll.register

            def poll(self, *timeout: Any) -> Any:
                return [(unknown, select.POLLIN), *self._poll.poll(*timeout)]

        monkeypatch.setattr(select, "poll", Poll)
    else:
        wait = select.select

        def wait_for_more(*args: Any) -> Any:
            return tuple([unknown, *ready] for ready in wait(*args))

        monkeypatch.setattr(select, "select", wait_for_more)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["readable", "writable", "read"]
