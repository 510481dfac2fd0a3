"""What waits in ``producer_fifo`` leaves together, and nothing is lost where a send takes less.

The row about small pieces of docs/compat.md, and that about a producer which pushes; then closing,
and sends that take a part, or fail.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, closes, failure, receive_all, received
from tests.support.coalescing import do_nothing, drained, echo, exceptions_of, serve


def waiting(stage: Stage, *words: Any, size: int = 65536) -> Any:
    """A chat where *words* wait in the queue."""
    chat = serve(stage, do_nothing)
    chat.ac_out_buffer_size = size
    chat.producer_fifo.extend(words)
    return chat


@pytest.mark.parametrize(
    ("words", "sends"),
    [
        pytest.param([b"a", b"b", b"c"], [b"abc"], id="all"),
        pytest.param([b"ab", b"cd", b"ef"], [b"abcd", b"ef"], id="as many as fit"),
        pytest.param([b"ab", b"cde", b"f"], [b"ab", b"cdef"], id="none is cut to fit"),
        pytest.param([b"abcd", b"e"], [b"abcd", b"e"], id="one that fills it"),
        pytest.param([b"abcdef", b"g"], [b"abcd", b"efg"], id="the rest of a larger one"),
        pytest.param([b"a", bytearray(b"b"), b"c"], [b"a", b"b", b"c"], id="a bytearray"),
        pytest.param([b"a", memoryview(b"b"), b"c"], [b"a", b"b", b"c"], id="a memoryview"),
        pytest.param([b"a", b"", b"b", b"c"], [b"a", b"", b"bc"], id="something empty"),
    ],
)
def test_small_pieces_that_wait_leave_together(
    own: Stage, words: list[Any], sends: list[bytes]
) -> None:
    chat = waiting(own, *words, size=4)
    assert drained(own, chat) == b"".join(words)
    assert chat.sends == sends


def test_nothing_is_joined_behind_what_was_refused_until_there_is_room(own: Stage) -> None:
    chat = serve(own, do_nothing)
    chat.takes[:] = [0, 1, 0]
    for word in (b"ab", b"cd", b"ef"):
        chat.push(word)
    assert chat.sends == [b"ab", b"ab", b"b"]
    assert drained(own, chat) == b"abcdef"
    assert chat.sends[3:] == [b"bcdef"]


def test_a_push_to_who_does_not_read_costs_the_same_whatever_waits(own: Stage) -> None:
    chat = serve(own, do_nothing)
    chat.takes[:] = [0] * 1000
    for _ in range(1000):
        chat.push(b"word")
    assert chat.sends == [b"word"] * 1000
    chat.takes.clear()
    assert drained(own, chat) == b"word" * 1000
    assert chat.sends[1000:] == [b"word" * 1000]


def test_what_is_held_behind_what_was_refused_leaves_when_there_is_room(own: Stage) -> None:
    chat = serve(own, echo)
    chat.takes[:] = [0]
    chat.push(b"waits")
    own.feed(chat, b"one\ntwo\n")
    assert chat.sends == [b"waits", b"waits", b"one;two;"]
    assert drained(own, chat) == b"waitsone;two;"


def test_a_new_socket_has_room(own: Stage) -> None:
    chat = serve(own, do_nothing)
    chat.takes[:] = [0, 0]
    chat.push(b"ab")
    chat.push(b"cd")
    chat.socket = chat.socket
    chat.initiate_send()
    assert chat.sends == [b"ab", b"ab", b"abcd"]


def test_small_pieces_that_wait_leave_together_however_little_is_taken(own: Stage) -> None:
    words = [b"ab", b"cde", b"f", b"ghij"]
    whole = b"".join(words)
    for take in range(1, len(whole) + 1):
        chat = waiting(own, *words, size=20)
        chat.takes[:] = [take] * len(whole)
        assert drained(own, chat) == whole
        assert chat.sends == [whole[start:] for start in range(0, len(whole), take)]
        chat.close()


def test_small_pieces_that_wait_leave_together_and_a_large_one_is_not_cut(own: Stage) -> None:
    # Nobody has seen the queue: for who has, its first entry is what is left, as ever.
    large = bytes(1000) * 1000
    chat = serve(own, do_nothing, ac_out_buffer_size=len(large))
    chat.takes[:] = [1000] * 51
    chat.push(large)
    chat.ac_out_buffer_size = 65536
    for number in range(1, 51):
        state = chat._fc_state
        assert state.fifo[0] is large
        assert state.offset == 1000 * number
        chat.handle_write()
    assert {len(data) for data in chat.sends[1:]} == {65536}
    assert list(chat.producer_fifo) == [large[51_000:]]
    assert chat._fc_state.offset == 0
    assert drained(own, chat) == large


class Pushing:
    """A producer of *chunks*; each call pushes something to *chat* by *push* as well."""

    def __init__(self, push: Callable[[bytes], None], *chunks: bytes) -> None:
        self.push = push
        self.chunks = list(chunks)
        self.asked = 0

    def more(self) -> bytes:
        if not self.chunks:
            return b""
        self.asked += 1
        chunk = self.chunks.pop(0)
        self.push(b"<%d>" % self.asked)
        return chunk


def by_push(stage: Stage, chat: Any) -> Callable[[bytes], None]:
    push: Callable[[bytes], None] = chat.push
    return push


def by_producer(stage: Stage, chat: Any) -> Callable[[bytes], None]:
    return lambda data: chat.push_with_producer(stage.asynchat.simple_producer(data))


@pytest.mark.parametrize("how", [by_push, by_producer])
@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="stock"),
        pytest.param({"ac_out_coalesce": False}, id="off"),
        pytest.param({"producer_fifo": None}, id="hidden"),
    ],
)
@pytest.mark.parametrize("in_hook", [False, True])
def test_what_a_producer_pushes_comes_behind_what_it_gives(
    stage: Stage,
    how: Callable[[Stage, Any], Callable[[bytes], None]],
    members: dict[str, Any],
    in_hook: bool,
) -> None:
    def scene(chat: Any, line: bytes = b"") -> None:
        if line != b"two":
            chat.push(b"before")
            chat.push_with_producer(Pushing(how(stage, chat), b"A", b"B", b"C"))

    chat = serve(stage, scene, **members)
    if in_hook:
        stage.feed(chat, b"one\ntwo\n")
    else:
        scene(chat)
    assert drained(stage, chat) == stage.either(
        fastchat=b"beforeABC<1><2><3>", stdlib=b"before<1>CBA<2><3>"
    )


# Closing, and sends that do not take everything.


def test_close_in_a_hook_sends_first_and_nothing_after(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(b"before")
        chat.close()
        chat.push(b"after")

    chat = serve(own, hook)
    assert own.feed(chat, b"one\ntwo\n") == [b"one", "found"]
    assert receive_all(chat.peer) == b"before"
    assert chat.sends == [b"before"]
    assert list(chat.producer_fifo) == [b"after"]


def test_close_when_done_in_a_hook_sends_everything_before(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(b"before")
        if line == b"two":
            chat.close_when_done()

    chat = serve(own, hook)
    chat.takes[:] = [0, 3]
    chat.peer.sendall(b"one\ntwo\nthree\n")
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"beforebefore"
    assert closes(chat) == 1


def test_a_handle_close_of_the_test_is_called_once_when_the_peer_is_gone(own: Stage) -> None:
    counts = []
    for coalesce in (True, False):
        chat = serve(own, echo, ac_out_coalesce=coalesce)
        chat.peer.sendall(b"one\ntwo\nthree\n")
        chat.peer.close()
        own.until(lambda: not own.map)
        counts.append(closes(chat))
        assert exceptions_of(chat) == []
    assert counts == [1, 1]


OUTCOMES = [
    pytest.param([3], id="3 bytes"),
    pytest.param([1] * 9, id="byte by byte"),
    pytest.param([0], id="0"),
    pytest.param([0, 2, 0], id="now and then"),
    pytest.param([None], id="None"),
    pytest.param([BlockingIOError()], id="BlockingIOError"),
    pytest.param([failure(errno.EIO)], id="EIO"),
    pytest.param([2, failure(errno.EIO), 0], id="EIO after 2 bytes"),
    pytest.param([ValueError()], id="ValueError"),
    pytest.param([4, ValueError(), 1], id="ValueError after 4 bytes"),
]


@pytest.mark.parametrize("takes", OUTCOMES)
def test_nothing_is_lost_or_doubled_by_a_send_that_takes_less(
    stage: Stage, takes: list[Any]
) -> None:
    found = []
    for coalesce in (True, False):
        chat = serve(stage, echo, handle_error=do_nothing, ac_out_coalesce=coalesce)
        chat.takes[:] = takes
        stage.feed(chat, b"one\ntwo\nthree\n", b"four\n")
        data = drained(stage, chat)
        # Input that waits since an exception left a hook is delivered with what comes next.
        assert data == b"one;two;three;four;"
        found.append((data, exceptions_of(chat), closes(chat)))
        chat.close()
    raised = [type(take) for take in takes if isinstance(take, Exception)]
    assert found == [(b"one;two;three;four;", raised, 0)] * 2


@pytest.mark.parametrize("takes", OUTCOMES)
def test_what_comes_after_a_send_that_takes_less_keeps_its_order(
    stage: Stage, takes: list[Any]
) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line[:1])
        chat.producer_fifo.append(stage.asynchat.simple_producer(line[1:]))
        chat.push(bytearray(b";"))

    chat = serve(stage, hook, handle_error=do_nothing)
    chat.takes[:] = takes
    stage.feed(chat, b"one\ntwo\nthree\n", b"four\n")
    data = drained(stage, chat)
    if not any(isinstance(take, ValueError) for take in takes):
        assert data == b"one;two;three;four;"
    else:  # where it left the hook between, what followed in the hook was never pushed
        assert data.replace(b";", b"") in (b"onetwothreefour", b"otwothreefour")
        assert chat.events.count(ValueError) == 1


def test_a_kernel_that_is_full_loses_nothing(stage: Stage) -> None:
    mine, peer = stage.pair()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    word = b"0123456789" * 100
    chat = serve(stage, lambda chat, line: chat.push(line + word), mine)
    chat.peer = peer
    lines = [b"%d" % number for number in range(1000)]
    peer.sendall(b"\n".join([*lines, b""]))
    stage.loop(timeout=PATIENCE)
    assert chat.producer_fifo
    assert drained(stage, chat) == b"".join(line + word for line in lines)


@pytest.mark.parametrize("coalesces", [True, False])
def test_the_queue_is_as_long_as_what_was_pushed(stage: Stage, coalesces: bool) -> None:
    # Programs that have slow consumers look at it.
    lengths: list[int] = []

    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        lengths.append(len(chat.producer_fifo))

    chat = serve(stage, hook, ac_out_coalesce=coalesces)
    chat.takes.extend([None] * 10_000)
    lines = [b"%d" % number for number in range(500)]
    stage.feed(chat, b"\n".join([*lines, b""]))
    assert lengths == list(range(1, 501))
    assert list(chat.producer_fifo) == lines
    chat.takes.clear()
    assert drained(stage, chat) == b"".join(lines)


class Appended:
    """What a queue of the program's own was asked to append."""

    def __init__(self) -> None:
        self.appended: list[Any] = []

    def append(self, entry: Any) -> None:
        self.appended.append(entry)
        super().append(entry)  # type: ignore[misc]


@pytest.mark.parametrize("kind", [deque, list], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("in_hook", [False, True])
def test_a_queue_of_the_program_is_given_each_push(stage: Stage, kind: Any, in_hook: bool) -> None:
    def push_two(chat: Any, line: bytes) -> None:
        chat.push(b"one")
        chat.push(b"two")

    queue = type("Queue", (Appended, kind), {})()
    # A plain socket, by which what need not wait is sent at once.
    mine, peer = stage.pair()
    chat = stage.chat(
        sock=mine,
        collect_incoming_data=do_nothing,
        found_terminator=lambda chat: push_two(chat, b""),
    )
    chat.peer, chat.producer_fifo = peer, queue
    if in_hook:
        stage.feed(chat, b"1\n2\n")
    else:
        push_two(chat, b"")
        push_two(chat, b"")
    assert queue.appended == [b"one", b"two"] * 2
    assert received(peer, 12) == b"onetwo" * 2


def test_a_queue_of_very_many_leaves_in_order(own: Stage) -> None:
    words = [b"%d;" % number for number in range(10_000)]
    chat = waiting(own, *words)
    assert drained(own, chat) == b"".join(words)
    assert max(map(len, chat.sends)) <= 65536
    assert len(chat.sends) <= 4


@pytest.mark.parametrize("is_shown", [False, True], ids=["not looked at", "looked at before"])
@pytest.mark.parametrize("of_own_class", [False, True], ids=["socket", "a class of sockets"])
def test_what_the_kernel_does_not_take_of_held_output_stays_separate_entries(
    own: Stage, of_own_class: bool, is_shown: bool
) -> None:
    class Own(socket.socket):
        pass

    mine, peer = own.pair()
    if of_own_class:
        mine = Own(mine.family, mine.type, mine.proto, fileno=mine.detach())
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    replies = [b"%02d" % number * 500 for number in range(12)]
    left = iter(replies)
    base: Any = own.asynchat.async_chat

    class Chat(base):  # type: ignore[misc]
        def collect_incoming_data(self, data: bytes) -> None:
            pass

        def found_terminator(self) -> None:
            self.push(next(left))

    chat = own._keep_channel(Chat(mine, own.map))
    chat.set_terminator(b"\n")
    assert not (is_shown and chat.producer_fifo)
    peer.sendall(b"\n" * len(replies))
    chat.handle_read_event()
    entries = list(chat.producer_fifo)
    assert len(entries) > 1
    assert entries[1:] == replies[1 - len(entries) :]
    assert replies[-len(entries)].endswith(entries[0])
