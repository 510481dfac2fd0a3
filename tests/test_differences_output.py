"""Deliberate differences of output: a sender's buffer (d17), and what Python 2.6 documents (old).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.

Rules this file keeps: random scenes have seeds, and the seed of a failure is in its message.
"""

from __future__ import annotations

import errno
import random
from collections import deque
from typing import Any

import pytest

from tests.support.channels import FakeSocket, Stage, fail_with, failure, receive_all

# d17: the same bytes from dispatcher_with_send, with less work.


class Taker(FakeSocket):
    """A socket that takes of each send as much as it likes."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(7)
        self.rng = rng

    def send(self, data: bytes) -> int:
        size = len(data)
        count = self.rng.choice([0, min(1, size), size // 2, size, size, size])
        self.sent.append(bytes(data[:count]))
        return count


@pytest.mark.parametrize("members", [{}, {"out_buffer": b""}], ids=["usual", "class attribute"])
def test_d17_the_bytes_of_a_sender_stay_what_they_were(
    stage: Stage, members: dict[str, Any]
) -> None:
    for seed in range(30):
        rng = random.Random(seed)
        sock = Taker(rng)
        channel = stage.channel(stage.asyncore.dispatcher_with_send, sock, **members)
        expected = b""
        for _ in range(60):
            data = rng.randbytes(rng.choice([0, 1, 1, 2, 5, 30000, 70000]))
            action = rng.choice(["send", "send", "send", "write", "add", "assign", "look"])
            if action == "send":
                expected += data
                channel.send(rng.choice([bytes, bytearray, memoryview])(data))
            elif action == "write":
                channel.handle_write()
            elif action == "add":
                channel.out_buffer += data
                expected += data
            elif action == "assign":
                channel.out_buffer = data
                expected = b"".join(sock.sent) + data
            assert len(channel.out_buffer) == channel.writable(), seed
            if action == "look":
                assert channel.out_buffer == expected[len(b"".join(sock.sent)) :], seed
        assert b"".join(sock.sent) + channel.out_buffer == expected, seed


def test_d17_many_small_sends_arrive_whole(stage: Stage) -> None:
    channel = stage.channel(stage.asyncore.dispatcher_with_send)
    words = [b"%d of many small words that together are too many, " % n for n in range(10000)]
    received = bytearray()

    def receive() -> bool:
        received.extend(channel.peer.recv(1 << 20))
        return not channel.out_buffer

    for word in words:
        channel.send(word)
    stage.until(receive)
    channel.close()
    assert received + receive_all(channel.peer) == b"".join(words)


def test_d17_a_buffer_assigned_in_handle_close_stays(stage: Stage) -> None:
    def handle_close(channel: Any) -> None:
        channel.out_buffer = b"greeting of the next connection"

    sock = FakeSocket(7, send=[failure(errno.EPIPE)])
    channel = stage.channel(stage.asyncore.dispatcher_with_send, sock, handle_close=handle_close)
    channel.send(b"lost")
    assert channel.out_buffer == b"greeting of the next connection"


# old: what Python 2.6 documents, and later versions had dropped.


def test_old_async_chat_takes_conn_for_sock(own: Stage) -> None:
    mine, _ = own.pair()
    chat = own.asynchat.async_chat(conn=mine, map=own.map)
    assert own.map == {mine.fileno(): chat}


def test_old_the_standard_library_has_no_conn(stage: Stage) -> None:
    mine, _ = stage.pair()
    try:
        stage.asynchat.async_chat(conn=mine, map=stage.map)
        refused = False
    except TypeError:
        refused = True
    assert refused is stage.either(fastchat=False, stdlib=True)


def test_old_sock_and_conn_are_too_many(own: Stage) -> None:
    mine, _ = own.pair()
    with pytest.raises(TypeError, match="sock and conn are two names of one argument"):
        own.asynchat.async_chat(mine, own.map, conn=mine)
    assert own.map == {}


def test_old_fifo_is_an_addition(stage: Stage) -> None:
    assert hasattr(stage.asynchat, "fifo") is stage.either(fastchat=True, stdlib=False)


def test_old_a_fifo_begins_empty(own: Stage) -> None:
    fifo = own.asynchat.fifo()
    assert (len(fifo), fifo.is_empty(), fifo.pop()) == (0, True, (0, None))


def test_old_a_fifo_gives_its_items_in_order(own: Stage) -> None:
    fifo = own.asynchat.fifo()
    fifo.push("one")
    fifo.push("two")
    assert (len(fifo), fifo.is_empty()) == (2, False)
    assert [fifo.pop(), fifo.pop(), fifo.pop()] == [(1, "one"), (1, "two"), (0, None)]


def test_old_the_first_item_of_a_fifo_stays(own: Stage) -> None:
    fifo = own.asynchat.fifo(["one", "two"])
    assert (fifo.first(), fifo.first(), len(fifo)) == ("one", "one", 2)


def test_old_an_empty_fifo_has_no_first(own: Stage) -> None:
    with pytest.raises(IndexError):
        own.asynchat.fifo().first()


def test_old_a_fifo_copies_what_it_is_made_of(own: Stage) -> None:
    content = ["one"]
    fifo = own.asynchat.fifo(content)
    fifo.push("two")
    assert (content, list(fifo.list)) == (["one"], ["one", "two"])


def test_old_a_fifo_can_be_the_queue(own: Stage) -> None:
    chat = own.chat()
    chat.producer_fifo = own.asynchat.fifo([b"one"])
    chat.push(b"two")
    chat.producer_fifo.push(b"three")
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"onetwothree"


def test_old_refill_buffer_is_never_called(own: Stage) -> None:
    # pyftpdlib has kept one since Python 2, which would break what it sends.
    chat = own.chat(refill_buffer=fail_with(AssertionError()))
    chat.refill_buffer = fail_with(AssertionError())
    chat.push(b"one")
    chat.push_with_producer(own.asynchat.simple_producer(b"two"))
    own.until(lambda: not chat.producer_fifo)
    chat.discard_buffers()
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"onetwo"
    assert chat.events == ["close"]


def queued(stage: Stage, *entries: Any) -> Any:
    """A chat that is not connected, and has *entries* in its queue."""
    chat = stage.chat(sock=FakeSocket(7))
    chat.connected = False
    chat.producer_fifo.extend(entries)
    return chat


def test_old_refill_buffer_puts_the_next_piece_before_its_producer(own: Stage) -> None:
    producer = own.asynchat.simple_producer(b"onetwo", 3)
    chat = queued(own, producer, b"rest")
    chat.refill_buffer()
    assert list(chat.producer_fifo) == [b"one", producer, b"rest"]
    chat.refill_buffer()
    assert list(chat.producer_fifo) == [b"one", producer, b"rest"]


def test_old_refill_buffer_goes_on_to_the_next_producer(own: Stage) -> None:
    nothing, last = own.asynchat.simple_producer(b""), own.asynchat.simple_producer(b"data")
    chat = queued(own, nothing, b"", nothing, last)
    chat.refill_buffer()
    assert list(chat.producer_fifo) == [b"data", last]


@pytest.mark.parametrize("before", [[], [b""]], ids=["at once", "behind what is used up"])
def test_old_refill_buffer_closes_at_the_end(own: Stage, before: list[Any]) -> None:
    chat = queued(own, *before, None, b"never")
    chat.refill_buffer()
    assert chat.events == ["close"]
    assert list(chat.producer_fifo) == [b"never"]


def test_old_refill_buffer_of_an_empty_queue_does_nothing(own: Stage) -> None:
    chat = queued(own)
    chat.refill_buffer()
    assert not chat.producer_fifo
    assert chat.events == []


def test_old_refill_buffer_follows_a_producer_that_replaces_the_queue(own: Stage) -> None:
    class Replacing:
        def more(self) -> bytes:
            chat.producer_fifo = deque([self])
            return b"data"

    chat = queued(own, Replacing(), b"gone")
    chat.refill_buffer()
    assert chat.producer_fifo[0] == b"data"
    assert len(chat.producer_fifo) == 2


def test_old_what_refill_buffer_took_is_sent(own: Stage) -> None:
    chat = own.chat()
    chat.producer_fifo.append(own.asynchat.simple_producer(b"onetwo", 3))
    chat.refill_buffer()
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"onetwo"
