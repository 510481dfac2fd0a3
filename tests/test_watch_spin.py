"""A loop that has nothing to do waits, also where predicates look at a channel or send from it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage

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


PREDICATES = [
    looks_at_its_queue,
    looks_at_the_queue_of_another,
    looks_at_its_input,
    looks_at_its_socket,
    sends_what_waits,
    fills_its_queue,
    empties_its_queue,
    takes_another_queue,
]


@pytest.mark.parametrize("use_poll", [False, True], ids=["select", "poll"])
@pytest.mark.parametrize("is_full", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("name", ["readable", "writable"])
@pytest.mark.parametrize("does", PREDICATES, ids=lambda does: does.__name__)
def test_an_idle_loop_waits(
    stage: Stage, use_poll: bool, does: Callable[[Any], None], name: str, is_full: bool
) -> None:
    calls: list[str] = []

    def predicate(chat: Any) -> Any:
        calls.append(name)
        if len(calls) > FEW:
            raise stage.asyncore.ExitNow
        does(chat)
        return getattr(stage.asynchat.async_chat, name)(chat)

    other, chat = stage.chat(), stage.chat(**{name: predicate})
    chat.other = other
    if is_full:
        chat.push(b"x" * (1 << 22))
    far = stage.chat(found_terminator=lambda chat: stage.asyncore.close_all(stage.map))
    timer = threading.Timer(0.05, far.peer.sendall, [b"end\n"])
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
