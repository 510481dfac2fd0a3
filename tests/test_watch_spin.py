"""A loop that has nothing to do waits, also where predicates look at a channel or send from it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, posix_only
from tests.support.waiting import from_a_handler, is_waiting

# How often the predicates may be called while the loop waits for one event, a few times for each
# channel; a loop that spins calls them thousands of times.
FEW = 50


def looks_at_its_queue(chat: Any) -> None:
    len(chat.producer_fifo)


def looks_at_the_queue_of_another(chat: Any) -> None:
    len(chat.other.producer_fifo)


def looks_at_its_input(chat: Any) -> None:
    len(chat.ac_in_buffer)


def looks_at_its_socket(chat: Any) -> None:
    chat.socket.fileno()


def sends_what_waits(chat: Any) -> None:
    chat.initiate_send()


def fills_its_queue(chat: Any) -> None:
    if not chat.producer_fifo:
        chat.push(b"x" * (1 << 22))


def empties_its_queue(chat: Any) -> None:
    chat.discard_buffers()


def takes_another_queue(chat: Any) -> None:
    chat.producer_fifo = type(chat.producer_fifo)()


def sends_what_waits_of_another(chat: Any) -> None:
    chat.other.initiate_send()


def lets_another_write(chat: Any) -> None:
    chat.other.handle_write()


def assigns_the_queue_of_another(chat: Any) -> None:
    chat.other.producer_fifo = chat.other.producer_fifo


def gives_another_a_new_queue(chat: Any) -> None:
    chat.other.producer_fifo = deque(chat.other.producer_fifo)


def takes_the_queue_of_another(chat: Any) -> None:
    chat.other.producer_fifo = None


def pushes_to_another(chat: Any) -> None:
    chat.other.push(b"x")


def pushes_other_data_to_another(chat: Any) -> None:
    chat.other.push(bytearray(b"x" * 70_000))


def gives_another_a_producer(chat: Any) -> None:
    if chat.other.producer_fifo:  # else there is always something to do
        chat.other.push_with_producer(chat.producer(b"x"))


def lets_another_join_again(chat: Any) -> None:
    chat.other.add_channel()


def puts_another_where_it_is(chat: Any) -> None:
    chat._map[chat.other._fileno] = chat.other


def makes_a_pass_and_sends(chat: Any) -> None:
    if not chat.is_nested:
        chat.is_nested = True
        chat.loop(0, chat.use_poll, chat._map, 1)
        chat.is_nested = False
    chat.initiate_send()


TO_ITSELF = [
    makes_a_pass_and_sends,
    looks_at_its_queue,
    looks_at_its_input,
    looks_at_its_socket,
    sends_what_waits,
    fills_its_queue,
    empties_its_queue,
    takes_another_queue,
]
TO_ANOTHER = [
    looks_at_the_queue_of_another,
    sends_what_waits_of_another,
    lets_another_write,
    assigns_the_queue_of_another,
    gives_another_a_new_queue,
    takes_the_queue_of_another,
    pushes_to_another,
    pushes_other_data_to_another,
    gives_another_a_producer,
    lets_another_join_again,
    puts_another_where_it_is,
]

# What the other one is: asked only when something happens, or on every pass.
OTHERS: dict[str, dict[str, Any]] = {"stock": {}, "paused": {"writable": lambda chat: False}}


@pytest.mark.parametrize("use_poll", [False, True], ids=["select", "poll"])
@pytest.mark.parametrize("is_full", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("name", ["readable", "writable"])
@pytest.mark.parametrize(
    ("does", "kind"),
    [(does, "stock") for does in TO_ITSELF]
    + [(does, kind) for does in TO_ANOTHER for kind in OTHERS],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_idle_loop_waits(
    stage: Stage, use_poll: bool, does: Callable[[Any], None], kind: str, name: str, is_full: bool
) -> None:
    calls: list[str] = []

    def predicate(chat: Any) -> Any:
        calls.append(name)
        if len(calls) > FEW:
            raise stage.asyncore.ExitNow
        does(chat)
        return getattr(stage.asynchat.async_chat, name)(chat)

    other, chat = stage.chat(**OTHERS[kind]), stage.chat(**{name: predicate})
    chat.other, chat.producer = other, stage.asynchat.simple_producer
    chat.is_nested, chat.loop, chat.use_poll = False, stage.asyncore.loop, use_poll
    if is_full:
        chat.push(b"x" * (1 << 22))
        other.push(b"x" * (1 << 22))
    far = stage.chat(found_terminator=lambda chat: stage.asyncore.close_all(stage.map))
    timer = threading.Timer(0.02, far.peer.sendall, [b"end\n"])
    timer.start()
    stage.at_the_end(timer.join, PATIENCE)
    stage.asyncore.loop(PATIENCE, use_poll, stage.map)
    assert len(calls) <= FEW


@pytest.mark.parametrize("name", ["readable", "writable"])
def test_a_pass_whose_predicate_failed_does_not_wait(own: Stage, name: str) -> None:
    """For handle_error() may have pushed, and nobody has said what the channel waits for now."""

    def predicate(chat: Any) -> Any:
        if not failures:
            failures.append(name)
            raise ValueError
        return getattr(own.asynchat.async_chat, name)(chat)

    failures: list[str] = ["not yet"]
    chat = own.chat(
        handle_error=lambda chat: chat.push(b"x" * (1 << 22)),
        **{name: predicate},
    )
    own.asyncore.loop(0, True, own.map, 2)
    failures.clear()
    # Nothing is to be received, and nobody reads.
    worker = threading.Thread(target=own.asyncore.loop, args=(PATIENCE, True, own.map, 1))
    worker.start()
    worker.join(PATIENCE / 2)
    returned = not worker.is_alive()
    chat.peer.sendall(b"what ends the wait")
    worker.join(PATIENCE)
    assert failures == [name]
    assert returned


SENDERS: dict[str, Callable[[Any], Any]] = {
    "sends what waits": lambda sender: sender.initiate_send(),
    "sends": lambda sender: sender.send(b"x"),
    "assigns what waits": lambda sender: setattr(sender, "out_buffer", sender.out_buffer),
}


@pytest.mark.parametrize("use_poll", [False, True], ids=["select", "poll"])
@pytest.mark.parametrize("is_full", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("does", SENDERS)
def test_an_idle_loop_waits_where_a_sender_is_sent_from(
    stage: Stage, does: str, is_full: bool, use_poll: bool
) -> None:
    calls: list[str] = []

    def predicate(chat: Any) -> Any:
        calls.append("readable")
        if len(calls) > FEW:
            raise stage.asyncore.ExitNow
        SENDERS[does](sender)
        return True

    sender: Any = stage.channel(stage.asyncore.dispatcher_with_send)
    if is_full:
        sender.send(b"x" * (1 << 22))
        assert sender.out_buffer
    stage.chat(readable=predicate)
    far = stage.chat(found_terminator=lambda chat: stage.asyncore.close_all(stage.map))
    timer = threading.Timer(0.02, far.peer.sendall, [b"end\n"])
    timer.start()
    stage.at_the_end(timer.join, PATIENCE)
    stage.asyncore.loop(PATIENCE, use_poll, stage.map)
    assert len(calls) <= FEW


@posix_only
@pytest.mark.parametrize("use_poll", [False, True], ids=["select", "poll"])
def test_a_handler_ends_the_wait_of_a_pass_that_a_predicate_makes(
    own: Stage, use_poll: bool
) -> None:
    """Though it changes the very channel that is asked."""
    begun: list[float] = []

    def readable(chat: Any) -> bool:
        if not begun:
            begun.append(time.monotonic())
            from_a_handler(
                lambda: chat.push(b"x" * (1 << 22)),
                lambda: own.asyncore.loop(PATIENCE, use_poll, own.map, 1),
                lambda: is_waiting(own),
            )
            begun.append(time.monotonic())
        return True

    own.chat(readable=readable)
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert begun[1] - begun[0] < PATIENCE / 2
