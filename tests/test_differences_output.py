"""Deliberate differences of output: a sender's buffer (d17), and what Python 2.6 documents (old).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.

Rules this file keeps: random scenes have seeds, and the seed of a failure is in its message.
"""

from __future__ import annotations

import errno
import random
from typing import Any
from unittest import mock

import pytest

from tests.channels import FakeSocket, Stage, closes, failure, receive_all

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


class Old:
    """Output as a program of 2005 does it: its own refill_buffer, over a fifo."""

    refilled = 0

    def refill_buffer(self: Any) -> None:
        self.refilled += 1
        while not self.producer_fifo.is_empty():
            first = self.producer_fifo.first()
            if first is None:
                if not self.ac_out_buffer:
                    self.producer_fifo.pop()
                    self.close()
                return
            data = first if isinstance(first, bytes) else first.more()
            if isinstance(first, bytes) or not data:
                self.producer_fifo.pop()
            if data:
                self.ac_out_buffer += data
                return


def old_chat(stage: Stage, sock: Any = None, **members: Any) -> Any:
    base = type("Old", (Old, stage.asynchat.async_chat), {})
    return stage.channel(base, sock, **members)


def test_old_refill_buffer_is_called_if_it_is_overridden(own: Stage) -> None:
    chat = old_chat(own)
    chat.push(b"data")
    assert (chat.refilled, chat.peer.recv(10), chat.ac_out_buffer) == (1, b"data", b"")


def test_old_refill_buffer_feeds_everything_in_order(own: Stage) -> None:
    chat = old_chat(own)
    chat.push(b"one")
    chat.push_with_producer(own.asynchat.simple_producer(b"two three", 4))
    chat.push(b" four")
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"onetwo three four"


def test_old_refill_buffer_on_the_object_is_called(own: Stage) -> None:
    chat = own.chat()
    with mock.patch.object(chat, "refill_buffer") as refill:
        chat.push(b"data")
    refill.assert_called_once_with()


def test_old_refill_buffer_is_not_called_while_the_buffer_is_full(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7, send=[0]))
    chat.ac_out_buffer_size = 4
    chat.push(b"12345678")
    chat.initiate_send()
    assert (chat.refilled, chat.ac_out_buffer) == (1, b"1234")


def test_old_what_was_not_taken_is_offered_again(own: Stage) -> None:
    sock = FakeSocket(7, send=[3, 0, 1, 2])
    chat = old_chat(own, sock)
    chat.push(b"123456")
    for _ in range(3):
        assert chat.writable()
        chat.handle_write()
    assert b"".join(sock.sent) == b"123456"
    assert not chat.writable()


def test_old_before_it_is_connected_it_only_refills(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7))
    chat.connected = False
    chat.push(b"data")
    assert (chat.ac_out_buffer, chat.socket.sent) == (b"data", [])


def test_old_nothing_queued_is_nothing_sent(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7))
    chat.initiate_send()
    assert "send" not in chat.socket.calls


def test_old_an_error_of_send_is_for_handle_error(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7, send=[failure(errno.EIO)]))
    chat.push(b"data")
    assert chat.events == [OSError, "close"]


def test_old_discard_buffers_forgets_the_output_buffer(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7, send=[0]))
    chat.push(b"data")
    chat.discard_buffers()
    assert (chat.ac_out_buffer, len(chat.producer_fifo)) == (b"", 0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_old_the_stock_refill_buffer_can_be_built_upon(own: Stage, kind: Any) -> None:
    stock = own.asynchat.async_chat.refill_buffer
    chat = own.chat(refill_buffer=lambda chat: stock(chat))
    chat.push(kind(b"one"))
    chat.push_with_producer(own.asynchat.simple_producer(b"two three", 4))
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"onetwo three"
    assert closes(chat) == 1


def test_old_the_stock_refill_buffer_passes_over_empty_producers(own: Stage) -> None:
    stock = own.asynchat.async_chat.refill_buffer
    chat = own.chat(refill_buffer=lambda chat: stock(chat))
    chat.push_with_producer(own.asynchat.simple_producer(b""))
    assert len(chat.producer_fifo) == 0


def test_old_the_stock_refill_buffer_closes_after_the_last_byte(own: Stage) -> None:
    stock = own.asynchat.async_chat.refill_buffer
    chat = own.chat(sock=FakeSocket(7, send=[0, 4]), refill_buffer=lambda chat: stock(chat))
    chat.push(b"data")
    chat.close_when_done()
    chat.handle_write()
    assert chat.events == []
    chat.handle_write()
    assert chat.events == ["close"]


def test_old_nobody_else_has_an_output_buffer(own: Stage) -> None:
    chat = own.chat()
    chat.ac_out_buffer = b"ignored"
    assert not chat.writable()
    chat.push(b"data")
    assert chat.peer.recv(100) == b"data"
    assert type(chat.producer_fifo) is not own.asynchat.fifo
