"""Output: what an async_chat queues and sends, its producers, and ``dispatcher_with_send``.

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
from unittest import mock

import pytest

from tests.support.channels import (
    ENDING,
    GONE,
    PATIENCE,
    FakeSocket,
    Stage,
    both_pollers,
    fail_with,
    failure,
    name_of,
    receive_all,
)
from tests.support.implementations import load


class Sends:
    """A ``send`` that takes what it is told to take: everything, unless *takes* has a number."""

    def __init__(self, *takes: Any) -> None:
        self.takes = list(takes)
        self.offered: list[Any] = []
        self.taken = b""

    def __call__(self, data: Any) -> Any:
        self.offered.append(data if isinstance(data, str) else bytes(data))
        take = self.takes.pop(0) if self.takes else len(data)
        if isinstance(take, BaseException):
            raise take
        self.taken += data[:take] if take else b""
        return take


class Producer:
    """Gives its *chunks* one after the other, then what an exhausted producer gives."""

    def __init__(self, *chunks: Any, at_the_end: Any = b"") -> None:
        self.chunks = list(chunks)
        self.at_the_end = at_the_end
        self.asked = 0

    def more(self) -> Any:
        self.asked += 1
        chunk = self.chunks.pop(0) if self.chunks else self.at_the_end
        return chunk() if callable(chunk) else chunk


def queue_of(chat: Any) -> list[Any]:
    """What *chat* has queued."""
    return list(chat.producer_fifo)


def send_everything(chat: Any) -> None:
    """Give *chat* room for output until it has none left, without a loop."""
    for _ in range(1000):
        if not chat.producer_fifo:
            return
        chat.handle_write_event()
    pytest.fail(f"still queued: {queue_of(chat)}")


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
    listener = stage.listener(handle_accepted=lambda channel, sock, addr: received.append(sock))
    received: list[Any] = []
    chat = stage.bare(stage.asynchat.async_chat, handle_connect=lambda chat: None)
    chat.push(b"early")
    chat.create_socket()
    chat.connect(listener.address)
    chat.close_when_done()
    stage.until(lambda: received and chat.socket.fileno() < 0)
    with received[0] as sock:
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


# Producers.


def test_a_producer_is_asked_until_it_has_nothing_left(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    producer = Producer(b"one", b"two")
    chat.push_with_producer(producer)
    send_everything(chat)
    assert (send.offered, producer.asked) == ([b"one", b"two"], 3)


@pytest.mark.parametrize("nothing", [b"", None, "", bytearray(), 0])
def test_something_false_is_the_end_of_a_producer(stage: Stage, nothing: Any) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.push_with_producer(Producer(b"one", at_the_end=nothing))
    chat.push(b"two")
    send_everything(chat)
    assert send.taken == b"onetwo"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_producer_may_give_bytes_of_any_kind(stage: Stage, kind: Callable[[bytes], Any]) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.push_with_producer(Producer(kind(b"data")))
    send_everything(chat)
    assert send.taken == b"data"


def test_a_producer_may_give_another_producer(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.push_with_producer(Producer(b"1", Producer(b"2", Producer(b"3"), b"4"), b"5"))
    chat.push(b"6")
    send_everything(chat)
    assert send.taken == b"123456"


def test_a_large_chunk_of_a_producer_is_cut_when_it_is_sent(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.ac_out_buffer_size = 4
    chat.push_with_producer(Producer(b"1234567890"))
    send_everything(chat)
    assert send.offered == [b"1234", b"5678", b"90"]


def test_a_producer_is_not_asked_before_there_is_room(stage: Stage) -> None:
    chat = stage.chat(send=Sends(0))
    producer = Producer(b"one", b"two")
    chat.push_with_producer(producer)
    chat.initiate_send()
    assert producer.asked == 1


def test_a_producer_behind_data_waits_for_its_turn(stage: Stage) -> None:
    send = Sends(0)
    chat = stage.chat(send=send)
    producer = Producer(b"two")
    chat.push(b"one")
    chat.producer_fifo.append(producer)
    assert producer.asked == 0
    send_everything(chat)
    assert send.taken == b"onetwo"


def test_a_producer_may_put_another_queue_in_place(stage: Stage) -> None:
    def replace() -> bytes:
        chat.producer_fifo = deque([b"then"])
        return b"first"

    send = Sends()
    chat = stage.chat(send=send)
    chat.push_with_producer(Producer(replace))
    send_everything(chat)
    assert send.offered == [b"first", b"then"]


def test_text_of_a_producer_is_encoded_with_use_encoding(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send, use_encoding=True)
    chat.push_with_producer(Producer("\xa7"))
    assert send.offered == [b"\xa7"]


def test_text_of_a_producer_is_an_error_without_use_encoding(stage: Stage) -> None:
    chat = stage.chat()
    with pytest.raises(TypeError):
        chat.push_with_producer(Producer("text"))


def test_an_exception_of_a_producer_leaves_and_the_producer_stays(stage: Stage) -> None:
    chat = stage.chat()
    producer = Producer(fail_with(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        chat.push_with_producer(producer)
    assert queue_of(chat) == [producer]


@pytest.mark.parametrize("kind", ENDING)
def test_what_ends_the_program_leaves_the_loop_from_a_producer(stage: Stage, kind: Any) -> None:
    wanted = stage.ending(kind)
    chat = stage.chat()
    chat.producer_fifo.append(Producer(fail_with(wanted())))
    with pytest.raises(wanted):
        stage.loop(timeout=PATIENCE)
    assert chat.events == []


def test_what_slices_is_taken_for_data(stage: Stage) -> None:
    class Sliced(Producer):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, part: slice) -> bytes:
            return b"data"[part]

    send = Sends()
    chat = stage.chat(send=send)
    producer = Sliced(b"never")
    chat.push_with_producer(producer)
    assert (send.offered, producer.asked, queue_of(chat)) == ([b"data"], 0, [])


def test_a_list_slices_too_and_cannot_be_sent(stage: Stage) -> None:
    chat = stage.chat()
    with pytest.raises(TypeError):
        chat.push_with_producer([b"one", b"two"])
    assert queue_of(chat) == [[b"one", b"two"]]


def test_a_producer_that_is_false_gives_one_chunk(stage: Stage) -> None:
    class Empty(Producer):
        def __len__(self) -> int:
            return 0

    send = Sends()
    chat = stage.chat(send=send)
    chat.push_with_producer(Empty(b"one", b"two"))
    send_everything(chat)
    assert send.offered == [b"one"]


def test_what_is_no_producer_is_an_error(stage: Stage) -> None:
    chat = stage.chat()
    with pytest.raises(AttributeError, match="more"):
        chat.push_with_producer(object())


def test_a_simple_producer_gives_pieces_of_512_bytes(stage: Stage) -> None:
    producer = stage.asynchat.simple_producer(bytes(1025))
    assert [len(producer.more()) for _ in range(5)] == [512, 512, 1, 0, 0]


def test_a_simple_producer_gives_pieces_of_any_size(stage: Stage) -> None:
    producer = stage.asynchat.simple_producer(b"1234567890", buffer_size=4)
    assert [producer.more() for _ in range(4)] == [b"1234", b"5678", b"90", b""]


def test_the_data_of_a_simple_producer_is_what_is_left(stage: Stage) -> None:
    producer = stage.asynchat.simple_producer(b"1234567890", 4)
    producer.more()
    assert (producer.data, producer.buffer_size) == (b"567890", 4)


def test_the_data_of_a_simple_producer_may_be_replaced(stage: Stage) -> None:
    producer = stage.asynchat.simple_producer(b"1234567890", 4)
    producer.more()
    producer.data = b"abcdef"
    assert [producer.more() for _ in range(3)] == [b"abcd", b"ef", b""]


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        (bytearray(b"12345"), [b"1234", b"5", b""]),
        (memoryview(b"12345"), [b"1234", b"5", b""]),
        ("12345", ["1234", "5", b""]),
        ([1, 2, 3, 4, 5], [[1, 2, 3, 4], [5], b""]),
        ([1, 2, 3, 4], [[1, 2, 3, 4], b"", b""]),
    ],
)
def test_a_simple_producer_cuts_whatever_slices(stage: Stage, data: Any, pieces: list[Any]) -> None:
    producer = stage.asynchat.simple_producer(data, 4)
    assert [producer.more() for _ in range(3)] == pieces


def test_a_simple_producer_is_sent(stage: Stage) -> None:
    send = Sends()
    chat = stage.chat(send=send)
    chat.push_with_producer(stage.asynchat.simple_producer(b"1234567890", 4))
    send_everything(chat)
    assert send.offered == [b"1234", b"5678", b"90"]


# Borrowed and patched.


@pytest.mark.parametrize("name", ["send", "initiate_send"])
def test_a_method_of_output_may_be_patched_on_the_class(stage: Stage, name: str) -> None:
    class Plain(stage.asynchat.async_chat):  # type: ignore[name-defined]
        pass

    mine, _ = stage.pair()
    chat = Plain(mine, stage.map)
    with mock.patch.object(Plain, name, return_value=4) as patched:
        chat.push(b"data")
    patched.assert_called_once_with(*([b"data"] if name == "send" else []))


def test_another_class_may_borrow_the_methods_of_output(stage: Stage) -> None:
    lender = stage.asynchat.async_chat

    class Borrower:
        connected = True
        use_encoding = 0
        ac_out_buffer_size = 4

        def __init__(self) -> None:
            self.producer_fifo: deque[Any] = deque()
            self.sent: list[bytes] = []

        push: Any = lender.push
        push_with_producer: Any = lender.push_with_producer
        initiate_send: Any = lender.initiate_send
        close_when_done: Any = lender.close_when_done
        writable: Any = lender.writable

        def send(self, data: bytes) -> int:
            self.sent.append(data)
            return len(data)

        def handle_close(self) -> None:
            self.sent.append(b"closed")

    borrower = Borrower()
    borrower.push(b"1234567890")
    borrower.push_with_producer(Producer(b"more"))
    borrower.close_when_done()
    while borrower.writable():
        borrower.initiate_send()
    assert borrower.sent == [b"1234", b"5678", b"90", b"more", b"closed"]


def test_a_class_with_slots_may_borrow_the_methods_of_output(stage: Stage) -> None:
    lender = stage.asynchat.async_chat

    class Slotted:
        __slots__ = ("producer_fifo", "sent")

        connected = True
        use_encoding = 0
        ac_out_buffer_size = 100

        push: Any = lender.push
        initiate_send: Any = lender.initiate_send

        def send(self: Any, data: bytes) -> int:
            self.sent.append(data)
            return len(data)

    borrower: Any = Slotted()
    borrower.producer_fifo = deque()
    borrower.sent = []
    borrower.push(b"data")
    assert borrower.sent == [b"data"]


# dispatcher_with_send


def sender(stage: Stage, **members: Any) -> Any:
    """A recording dispatcher_with_send over one of a pair."""
    return stage.channel(stage.asyncore.dispatcher_with_send, **members)


def test_a_sender_sends_at_once_and_returns_nothing(stage: Stage) -> None:
    channel = sender(stage)
    assert channel.send(b"data") is None
    assert (channel.peer.recv(10), channel.out_buffer) == (b"data", b"")


def test_a_sender_keeps_what_was_not_taken(stage: Stage) -> None:
    sock = FakeSocket(7, send=[2, 0, 5])
    channel = stage.channel(stage.asyncore.dispatcher_with_send, sock)
    channel.send(b"1234567")
    assert channel.out_buffer == b"34567"
    channel.handle_write()
    assert channel.out_buffer == b"34567"
    channel.handle_write()
    assert (channel.out_buffer, b"".join(sock.sent)) == (b"", b"1234567")


def test_a_sender_offers_everything_up_to_64_kibibytes(stage: Stage) -> None:
    with mock.patch.object(stage.asyncore.dispatcher, "send", return_value=0) as send:
        channel = sender(stage)
        for size in (1, 65534, 1, 1):
            channel.send(bytes(size))
    offered = [len(call.args[-1]) for call in send.mock_calls]
    assert offered == [1, 65535, 65536, 65536]


def test_a_sender_wants_to_write_while_it_keeps_something(stage: Stage) -> None:
    channel = sender(stage)
    assert not channel.writable()
    channel.out_buffer = b"data"
    assert channel.writable()


def test_a_sender_wants_to_write_until_it_is_connected(stage: Stage) -> None:
    channel = stage.bare(stage.asyncore.dispatcher_with_send)
    assert channel.writable() is True


@both_pollers
def test_what_is_assigned_to_the_buffer_is_sent(stage: Stage, use_poll: bool) -> None:
    channel = sender(stage)
    channel.out_buffer = b"assigned"
    stage.until(lambda: not channel.out_buffer, use_poll)
    assert channel.peer.recv(100) == b"assigned"


def test_the_buffer_begins_empty(stage: Stage) -> None:
    assert sender(stage).out_buffer == b""


@pytest.mark.parametrize("data", ["text", None, 5])
def test_a_sender_refuses_what_is_no_bytes_and_loses_nothing(stage: Stage, data: Any) -> None:
    channel = stage.channel(stage.asyncore.dispatcher_with_send, FakeSocket(7, send=[0]))
    channel.send(b"before")
    with pytest.raises(TypeError):
        channel.send(data)
    assert channel.out_buffer == b"before"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_sender_takes_bytes_of_any_kind(stage: Stage, kind: Callable[[bytes], Any]) -> None:
    channel = sender(stage)
    channel.send(kind(b"data"))
    assert channel.peer.recv(10) == b"data"


def test_a_sender_copies_what_may_change(stage: Stage) -> None:
    sock = FakeSocket(7, send=[0, 6])
    channel = stage.channel(stage.asyncore.dispatcher_with_send, sock)
    data = bytearray(b"before")
    channel.send(data)
    data[:] = b"after!"
    channel.handle_write()
    assert sock.sent[-1] == b"before"


def test_a_sender_with_debug_says_what_it_sends(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = sender(stage, debug=True)
    channel.send(b"data")
    assert capsys.readouterr().out == "info: sending b'data'\n"


def test_a_sender_without_debug_does_not(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    sender(stage).send(b"data")
    assert capsys.readouterr().out == ""


def test_a_socket_that_does_not_say_how_much_it_took_took_nothing(stage: Stage) -> None:
    sock = FakeSocket(7, send=[None])
    channel = stage.channel(stage.asyncore.dispatcher_with_send, sock)
    channel.send(b"data")
    assert channel.out_buffer == b"data"


def test_a_socket_that_says_it_took_more_than_there_was_took_everything(stage: Stage) -> None:
    sock = mock.Mock()
    sock.fileno.return_value = 7
    sock.send.return_value = 100
    channel = stage.asyncore.dispatcher_with_send(sock, stage.map)
    channel.send(b"data")
    assert (channel.out_buffer, channel.writable()) == (b"", 0)


def test_a_sender_goes_through_initiate_send(stage: Stage) -> None:
    channel = sender(stage)
    with mock.patch.object(channel, "initiate_send") as initiate_send:
        channel.send(b"data")
        channel.handle_write()
    assert initiate_send.mock_calls == [mock.call()] * 2
    assert channel.out_buffer == b"data"


def test_initiate_send_goes_around_an_overridden_send(stage: Stage) -> None:
    channel = sender(stage, send=lambda channel, data: pytest.fail("its own send"))
    channel.out_buffer = b"data"
    channel.initiate_send()
    assert channel.peer.recv(10) == b"data"


@pytest.mark.parametrize("name", ["_queue", "_keep", "_output", "queue", "output"])
def test_a_sender_takes_any_attribute(stage: Stage, name: str) -> None:
    channel = sender(stage)
    setattr(channel, name, [])
    channel.send(b"data")
    assert (channel.peer.recv(10), getattr(channel, name)) == (b"data", [])


def test_another_class_may_borrow_the_methods_of_a_sender(stage: Stage) -> None:
    lender = stage.asyncore.dispatcher_with_send

    class Borrower(stage.asyncore.dispatcher):  # type: ignore[name-defined]
        out_buffer = b""

        send = lender.send
        initiate_send = lender.initiate_send
        handle_write = lender.handle_write
        writable = lender.writable

    mine, peer = stage.pair()
    borrower = Borrower(mine, stage.map)
    borrower.send(b"data")
    assert (peer.recv(10), borrower.out_buffer, borrower.writable()) == (b"data", b"", 0)


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
