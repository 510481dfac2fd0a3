"""Output of an async_chat: what is pushed and queued, how it is sent, and what ends it.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: what a peer receives is read from a real socket; how the bytes are cut into
sends is seen by a ``send`` of the test, which takes as much as the test says.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import (
    GONE,
    PATIENCE,
    FakeSocket,
    Stage,
    both_pollers,
    failure,
    name_of,
    receive_all,
    received,
)
from tests.support.implementations import load
from tests.support.sending import Producer, Sends, queue_of, send_everything

# push


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_push_takes_bytes_of_any_kind(stage: Stage, kind: Callable[[bytes], Any]) -> None:
    chat = stage.chat()
    chat.push(kind(b"data"))
    assert chat.peer.recv(10) == b"data"


def test_push_sends_at_once(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.push(b"data")
    assert (send.offered, queue_of(chat)) == ([b"data"], [])


@pytest.mark.parametrize("data", ["text", 5, [b"x"], None, 1.5])
def test_push_refuses_anything_else_and_loses_nothing(stage: Stage, data: Any) -> None:
    chat = stage.chat(send=lambda chat, data: 0)
    chat.push(b"before")
    with pytest.raises(TypeError, match="data argument must be byte-ish"):
        chat.push(data)
    assert queue_of(chat) == [b"before"]


@pytest.mark.parametrize("use_encoding", [False, True])
def test_push_takes_no_text_with_use_encoding_either(stage: Stage, use_encoding: bool) -> None:
    chat = stage.chat(use_encoding=use_encoding)
    with pytest.raises(TypeError):
        chat.push("text")


def test_what_is_pushed_together_arrives_together(stage: Stage) -> None:
    chat = stage.chat()
    for word in (b"a", b"bc", b"", b"def"):
        chat.push(word)
    chat.close_when_done()
    stage.until(lambda: not stage.map)
    assert receive_all(chat.peer) == b"abcdef"


def test_push_cuts_what_is_larger_than_the_output_buffer(stage: Stage) -> None:
    send = Sends(0)
    chat = stage.chat(send=send)
    chat.ac_out_buffer_size = 4
    chat.push(b"1234567890")
    assert send.offered == [b"1234"]
    assert queue_of(chat) == [b"1234", b"5678", b"90"]


@pytest.mark.parametrize("size", [3, 4])
def test_push_does_not_cut_what_fits(stage: Stage, size: int) -> None:
    chat = stage.chat(send=lambda chat, data: 0)
    chat.ac_out_buffer_size = 4
    data = bytearray(size)
    chat.push(data)
    assert len(queue_of(chat)) == 1
    assert chat.producer_fifo[0] is data


def test_a_small_bytearray_is_queued_itself(stage: Stage) -> None:
    send = Sends(0)
    chat = stage.chat(send=send)
    data = bytearray(b"before")
    chat.push(data)
    data[:] = b"after"
    chat.initiate_send()
    assert send.offered == [b"before", b"after"]


def test_the_output_buffer_may_change_its_size_at_any_time(stage: Stage) -> None:
    send = Sends(0)
    chat = stage.chat(send=send)
    chat.push(b"1234567")
    chat.ac_out_buffer_size = 4
    send_everything(chat)
    assert send.offered == [b"1234567", b"1234", b"567"]


def test_an_empty_push_sends_nothing_once(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.push(b"")
    assert (send.offered, queue_of(chat)) == ([b""], [])


def test_push_goes_through_initiate_send_and_send(stage: Stage) -> None:
    calls: list[str] = []

    def initiate_send(chat: Any) -> None:
        calls.append("initiate_send")

    chat = stage.chat(initiate_send=initiate_send)
    chat.push(b"data")
    chat.push_with_producer(Producer())
    assert calls == ["initiate_send"] * 2
    assert len(chat.producer_fifo) == 2


@pytest.mark.parametrize("name", ["initiate_send", "send", "push"])
def test_a_method_of_output_may_be_set_on_the_object(stage: Stage, name: str) -> None:
    calls: list[Any] = []
    chat = stage.chat()
    setattr(chat, name, lambda *arguments: calls.append(arguments))
    chat.push(b"data")
    assert calls == [() if name == "initiate_send" else (b"data",)]


# The queue.


def test_before_it_is_connected_it_only_queues(stage: Stage) -> None:
    chat = stage.bare(stage.asynchat.async_chat)
    chat.push(b"one")
    chat.push(b"two")
    assert queue_of(chat) == [b"one", b"two"]


def test_what_was_queued_leaves_when_it_is_connected(stage: Stage) -> None:
    listener = stage.listener(handle_accepted=lambda channel, sock, addr: accepted.append(sock))
    accepted: list[Any] = []
    chat = stage.bare(stage.asynchat.async_chat, handle_connect=lambda chat: None)
    chat.push(b"early")
    chat.create_socket()
    chat.connect(listener.address)
    chat.close_when_done()
    stage.until(lambda: accepted and chat.socket.fileno() < 0)
    with accepted[0] as sock:
        sock.settimeout(PATIENCE)
        assert receive_all(sock) == b"early"
    assert chat.events == ["connect", "close"]


def test_the_queue_is_a_deque(stage: Stage) -> None:
    assert isinstance(stage.chat().producer_fifo, deque)


def test_the_queue_may_be_filled_from_outside(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send, ac_out_coalesce=False)
    chat.producer_fifo.append(b"two")
    chat.producer_fifo.appendleft(b"one")
    send_everything(chat)
    assert send.offered == [b"one", b"two"]


def test_the_queue_may_be_another(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send, ac_out_coalesce=False)
    chat.producer_fifo = deque([b"one", b"two"])
    send_everything(chat)
    assert send.offered == [b"one", b"two"]


def test_discard_buffers_keeps_the_queue_itself(stage: Stage) -> None:
    chat = stage.chat()
    queue = chat.producer_fifo
    queue.append(b"data")
    chat.discard_buffers()
    assert chat.producer_fifo is queue
    assert not queue


def test_it_wants_to_write_while_something_is_queued(stage: Stage) -> None:
    chat = stage.chat()
    assert not chat.writable()
    chat.producer_fifo.append(b"data")
    assert chat.writable()


def test_it_wants_to_write_until_it_is_connected(stage: Stage) -> None:
    chat = stage.bare(stage.asynchat.async_chat)
    assert chat.writable() is True


def test_writable_answers_with_the_queue_itself(stage: Stage) -> None:
    chat = stage.chat()
    chat.producer_fifo.append(b"data")
    assert chat.writable() is chat.producer_fifo


# One send at a time.


def test_one_piece_is_sent_for_an_event(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send, ac_out_coalesce=False)
    chat.producer_fifo.extend([b"one", b"two"])
    chat.handle_write_event()
    assert (send.offered, queue_of(chat)) == ([b"one"], [b"two"])


def test_what_was_not_taken_is_offered_again(stage: Stage) -> None:
    send = Sends(3, 2)
    chat = stage.chat(send=send)
    chat.push(b"1234567")
    send_everything(chat)
    assert send.offered == [b"1234567", b"4567", b"67"]
    assert send.taken == b"1234567"


def sent_with_counts(stage: Stage, size: int, counts: tuple[Any, ...]) -> Any:
    """What a ``send`` that returns *counts* is offered, what that raises, and what is left."""
    chat = stage.chat(send=Sends(*counts), ac_out_buffer_size=size)
    chat.connected = False
    for data in (b"one", b"two", b"threes"):
        chat.push(data)
    chat.connected = True
    raised: Any = None
    for _ in range(len(counts) + 1):
        try:
            chat.handle_write_event()
        except TypeError as failure:
            raised = type(failure)
    return chat.send.offered, raised, queue_of(chat)


@pytest.mark.parametrize("size", [2, 4, 4096])
@pytest.mark.parametrize(
    "counts",
    [(4,), (5, 5), (1000,) * 3, (1, 3, 1), (True,), (True, 9), (-1,), (-2, 7), (-9,), (2.0,), "2"],
    ids=str,
)
def test_a_send_may_return_any_count(stage: Stage, size: int, counts: tuple[Any, ...]) -> None:
    # One that encrypts or frames counts what it adds to each piece, and costs no other its bytes.
    with Stage(load("model")) as model:
        assert sent_with_counts(stage, size, counts) == sent_with_counts(model, size, counts)


def test_a_queue_of_the_program_s_is_used_by_its_own_methods(stage: Stage) -> None:
    class Queue(deque[Any]):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.deleted = 0

        def __delitem__(self, index: Any) -> None:
            self.deleted += 1
            super().__delitem__(index)

    chat = stage.chat()
    queue = Queue([b"one", b"two", b"six"])
    chat.producer_fifo = queue
    send_everything(chat)
    chat.close()
    assert (receive_all(chat.peer), queue.deleted) == (b"onetwosix", 3)


@pytest.mark.parametrize("nothing", [0, None])
def test_nothing_taken_means_later(stage: Stage, nothing: Any) -> None:
    send = Sends(nothing)
    chat = stage.chat(send=send)
    chat.push(b"data")
    assert queue_of(chat) == [b"data"]
    send_everything(chat)
    assert send.offered == [b"data", b"data"]


@pytest.mark.parametrize("problem", [failure(errno.EIO), TimeoutError(), OSError("no number")])
def test_an_error_of_send_is_for_handle_error(stage: Stage, problem: OSError) -> None:
    chat = stage.chat(send=Sends(problem))
    chat.push(b"data")
    assert chat.events == [type(problem), "close"]


def test_what_could_not_be_sent_stays(stage: Stage) -> None:
    send = Sends(failure(errno.EIO))
    chat = stage.chat(send=send, handle_error=lambda chat: None)
    chat.push(b"data")
    assert queue_of(chat) == [b"data"]
    chat.initiate_send()
    assert send.taken == b"data"


def test_another_exception_of_send_leaves_push(stage: Stage) -> None:
    chat = stage.chat(send=Sends(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        chat.push(b"data")
    assert (chat.events, queue_of(chat)) == ([], [b"data"])


def test_another_exception_of_send_goes_from_the_loop_to_handle_error(stage: Stage) -> None:
    chat = stage.chat(send=Sends(ZeroDivisionError()))
    chat.producer_fifo.append(b"data")
    stage.loop(timeout=PATIENCE)
    assert chat.events == [ZeroDivisionError, "close"]


@pytest.mark.parametrize("number", GONE, ids=name_of)
def test_a_peer_that_is_gone_is_a_close(stage: Stage, number: int) -> None:
    chat = stage.chat(sock=FakeSocket(7, send=[failure(number)]))
    chat.push(b"data")
    assert chat.events == ["close"]


def test_after_a_close_nothing_is_sent(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.close()
    chat.push(b"data")
    assert (send.offered, queue_of(chat)) == ([], [b"data"])


@both_pollers
def test_much_output_arrives_whole(stage: Stage, use_poll: bool) -> None:
    data = bytes(range(256)) * 4096
    received = bytearray()

    def receive() -> bool:
        while True:
            try:
                part = chat.peer.recv(1 << 20)
            except BlockingIOError:
                return False
            if not part:
                return True
            received.extend(part)

    chat = stage.chat()
    chat.peer.setblocking(False)
    chat.push(data)
    chat.close_when_done()
    stage.until(receive, use_poll)
    assert received == data
    assert chat.events == ["close"]


# close_when_done


def test_close_when_done_does_not_close_yet(stage: Stage) -> None:
    chat = stage.chat()
    chat.close_when_done()
    assert (queue_of(chat), chat.events) == ([None], [])


@both_pollers
def test_close_when_done_closes_when_there_is_room_for_output(stage: Stage, use_poll: bool) -> None:
    chat = stage.chat()
    chat.close_when_done()
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (chat.events, stage.map) == (["close"], {})


@both_pollers
def test_close_when_done_sends_the_rest_first(stage: Stage, use_poll: bool) -> None:
    chat = stage.chat()
    chat.producer_fifo.extend([b"one", b"two"])
    chat.close_when_done()
    stage.until(lambda: not stage.map, use_poll)
    assert receive_all(chat.peer) == b"onetwo"
    assert chat.events == ["close"]


def test_what_is_pushed_after_close_when_done_closes_at_once_and_stays(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.close_when_done()
    chat.push(b"late")
    assert (chat.events, send.offered, queue_of(chat)) == (["close"], [], [b"late"])


def test_none_for_a_producer_closes_at_once(stage: Stage) -> None:
    chat = stage.chat()
    chat.push_with_producer(None)
    assert (chat.events, queue_of(chat)) == (["close"], [])


def test_closing_when_done_goes_through_handle_close(stage: Stage) -> None:
    chat = stage.chat(handle_close=lambda chat: None)
    chat.push_with_producer(None)
    assert (chat.events, list(stage.map.values())) == (["close"], [chat])


# What changes while something is sent.


def test_a_queue_may_be_none_for_a_while(stage: Stage) -> None:
    chat = stage.chat()
    stage.loop()
    queue, chat.producer_fifo = chat.producer_fifo, None
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'append'"):
        chat.push(b"lost")
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute"):
        chat.discard_buffers()
    chat.initiate_send()
    assert chat.producer_fifo is None
    assert not chat.writable()
    assert stage.feed(chat, b"x\n") == [b"x", "found"]
    chat.producer_fifo = queue
    chat.push(b"data")
    assert chat.peer.recv(9) == b"data"
    assert chat.producer_fifo is queue


def test_a_queue_may_become_none_while_something_is_sent(own: Stage) -> None:
    def send(chat: Any, data: bytes) -> int:
        chat.producer_fifo = None
        return len(data)

    chat = own.chat(send=send)
    chat.push(b"data")
    assert chat.producer_fifo is None
    assert own.feed(chat, b"x\n") == [b"x", "found"]


def test_a_send_that_counts_oddly_may_change_the_queue(own: Stage) -> None:
    def send(chat: Any, data: bytes) -> int:
        chat.producer_fifo.appendleft(b"first")
        return len(data) + 7

    chat = own.chat(send=send)
    chat.push(b"data")
    assert list(chat.producer_fifo) == [b"first", b"data"]


# What a program does with a channel on which everything that was queued before is sent.
ENDINGS: dict[str, Callable[[Any], Any]] = {
    "push": lambda chat: chat.push(b"goodbye"),
    "push and flush": lambda chat: pushed_and_flushed(chat),
    "push_with_producer": lambda chat: chat.push_with_producer(Pieces(b"goodbye")),
    "queue": lambda chat: (chat.producer_fifo.append(b"goodbye"), chat.initiate_send()),
    "send": lambda chat: chat.send(b"goodbye"),
}


class Pieces:
    """A producer of one piece."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def more(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def pushed_and_flushed(chat: Any) -> None:
    chat.push(b"goodbye")
    for _ in range(5):
        if chat.producer_fifo:
            chat.initiate_send()
    assert not chat.producer_fifo


@pytest.mark.parametrize("is_hidden", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_handle_close_may_send_behind_what_close_when_done_waited_for(
    stage: Stage, ending: str, is_hidden: bool
) -> None:
    def handle_close(chat: Any) -> None:
        ENDINGS[ending](chat)
        chat.close()

    members: dict[str, Any] = {"producer_fifo": None} if is_hidden else {}
    chat = stage.chat(handle_close=handle_close, **members)
    chat.push(b"reply ")
    chat.close_when_done()
    stage.loop()
    assert receive_all(chat.peer) == b"reply goodbye"
    assert chat.events == ["close"]


@pytest.mark.parametrize("is_shown", [False, True], ids=["not looked at", "looked at"])
@pytest.mark.parametrize("sent", range(6))
def test_what_was_sent_counts_where_the_send_was_interrupted(
    own: Stage, sent: int, is_shown: bool
) -> None:
    # An exception of a signal handler left before whole entries were taken off.
    chat = own.chat()
    chat.producer_fifo.extend([b"ab", b"cde"])
    chat._fc_state.offset = sent
    if is_shown:
        assert b"".join(chat.producer_fifo) == b"abcde"[sent:]
    chat.push(b"!")
    own.until(lambda: not chat.producer_fifo)
    assert received(chat.peer, 6 - sent) == b"abcde!"[sent:]
