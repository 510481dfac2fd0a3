"""Producers: when they are asked, what they may give, and ``simple_producer``.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: what a peer receives is read from a real socket; how the bytes are cut into
sends is seen by a ``send`` of the test, which takes as much as the test says.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import ENDING, PATIENCE, Stage, fail_with
from tests.support.sending import Producer, Sends, queue_of, send_everything


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
