"""Held output: what hooks push leaves in one send, and nobody can tell but by counting.

The row of the list in docs/compat.md is what is tested here; ``_channel_py.py`` has the rules.

Rules this file keeps: sockets are real, since nothing is held for any other; a ``send`` of the
class counts the calls and may take less than it is given; random scenes have seeds, and the seed
of a failure is in its message.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
import inspect
import itertools
import os
import random
import select
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import pytest

from tests.channels import PATIENCE, FakeSocket, Stage, failure, posix_only, receive_all
from tests.implementations import FASTCHAT, STDLIB, Implementation, load

Hook = Callable[[Any, bytes], Any]


def serve(stage: Stage, hook: Hook, sock: Any = None, **members: Any) -> Any:
    """A chat that calls *hook* with itself and each line.

    What each send was given is in its ``sends``; what it takes, if that is not everything, in
    ``takes``: a number, None, or an exception.
    """
    base = stage.asynchat.async_chat
    takes: list[Any] = []
    sends: list[bytes] = []
    parts: list[bytes] = []

    def send(chat: Any, data: Any) -> Any:
        take = takes.pop(0) if takes else len(data)
        if isinstance(take, BaseException):
            sends.append(bytes(data))
            raise take
        taken = base.send(chat, data[:take]) if take or not len(data) else take
        sends.append(bytes(data))  # afterwards, because what was held is sent by the one above
        return taken

    def found_terminator(chat: Any) -> None:
        line = b"".join(parts)
        parts.clear()
        hook(chat, line)

    members.setdefault("send", send)
    made = stage.chat(
        sock=sock,
        collect_incoming_data=lambda chat, data: parts.append(data),
        found_terminator=found_terminator,
        **members,
    )
    made.takes, made.sends = takes, sends
    return made


def echo(chat: Any, line: bytes) -> None:
    chat.push(line + b";")


def do_nothing(*args: Any) -> None:
    pass


def received(peer: socket.socket, size: int) -> bytes:
    """The next *size* bytes that *peer* has or gets."""
    data = b""
    while len(data) < size:
        part = peer.recv(size - len(data))
        assert part, f"the end, after {data!r}"
        data += part
    return data


def has_nothing(peer: socket.socket) -> bool:
    """Whether there is nothing that *peer* could receive now."""
    return not select.select([peer], [], [], 0)[0]


def drained(stage: Stage, chat: Any) -> bytes:
    """What the peer of *chat* receives until nothing is queued any more."""
    data = b""
    for _ in range(10_000):
        while not has_nothing(chat.peer):
            part = chat.peer.recv(65536)
            if not part:
                return data
            data += part
        if chat not in stage.map.values() or not chat.producer_fifo:
            break
        stage.loop(timeout=PATIENCE)
    else:
        pytest.fail(f"still queued: {len(chat.producer_fifo)} entries")
    while not has_nothing(chat.peer) and (part := chat.peer.recv(65536)):
        data += part
    return data


# The rows of the list.


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"one"], id="one line"),
        pytest.param([b"one", b"two", b"three"], id="three lines"),
        pytest.param([b"%d" % number for number in range(500)], id="many lines"),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"unfinished"], ids=["whole", "unfinished"])
def test_what_hooks_push_leaves_in_one_send(own: Stage, lines: list[bytes], rest: bytes) -> None:
    replies = b";".join([*lines, b""])
    chat = serve(own, echo)
    own.feed(chat, b"\n".join([*lines, rest]))
    assert chat.sends == [replies]
    assert received(chat.peer, len(replies)) == replies
    assert has_nothing(chat.peer)


def test_what_hooks_push_leaves_in_one_send_from_collect_incoming_data_too(own: Stage) -> None:
    chat = serve(own, do_nothing)
    type(chat).collect_incoming_data = lambda chat, data: chat.push(data + b",")
    own.feed(chat, b"one\ntwo\nthr", b"ee\nfour\n")
    assert chat.sends == [b"one,two,thr,", b"ee,four,"]


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n", 4, (b"\n", b"\r\n")], ids=repr)
def test_what_hooks_push_leaves_in_one_send_whatever_the_terminator(
    own: Stage, terminator: Any
) -> None:
    def hook(chat: Any, line: bytes) -> None:
        echo(chat, line)
        chat.set_terminator(terminator)

    end = b"" if terminator == 4 else b"\r\n" if terminator == b"\r\n" else b"\n"
    chat = serve(own, hook)
    chat.set_terminator(terminator)
    own.feed(chat, end.join([b"1234", b"5678", b"9012", b""]))
    assert chat.sends == [b"1234;5678;9012;"]


@pytest.mark.parametrize("before", [b"", b"zero\nhalf\n"], ids=["alone", "pipelined"])
def test_nothing_is_held_for_the_last_of_the_input(own: Stage, before: bytes) -> None:
    arrived: list[bytes] = []

    def hook(chat: Any, line: bytes) -> None:
        if line != b"last":
            echo(chat, line)
            return
        held = before.replace(b"\n", b";")
        for reply in (b"a", b"b", b"c"):
            chat.push(reply)
            assert chat.sends[-1:] == [held + reply]  # or it would wait here for nothing
            arrived.append(received(chat.peer, len(held + reply)))
            held = b""

    chat = serve(own, hook)
    own.feed(chat, before + b"last\n")
    assert chat.sends == arrived
    assert len(arrived) == 3
    assert b"".join(arrived) == before.replace(b"\n", b";") + b"abc"


def test_nothing_is_held_for_the_last_of_the_input_without_an_end(own: Stage) -> None:
    chat = serve(own, do_nothing)

    def collect(chat: Any, data: bytes) -> None:
        chat.push(data)
        assert chat.sends == [data]
        chat.push(b"!")
        assert chat.sends == [data, b"!"]

    type(chat).collect_incoming_data = collect
    own.feed(chat, b"unfinished")
    assert chat.sends == [b"unfinished", b"!"]
    assert received(chat.peer, 11) == b"unfinished!"


class Room(NamedTuple):
    """What a look may need."""

    stage: Stage
    chat: Any
    sock: socket.socket


def other_map(room: Room) -> Any:
    """A map of nothing but a channel that has nothing to do with the one that delivers."""
    made: Any = getattr(room.stage.asyncore, "channel_map", dict)()
    mine, _ = room.stage.pair()
    room.stage.asyncore.dispatcher(mine, made)
    return made


def look_recv(room: Room) -> None:
    with pytest.raises(BlockingIOError):
        room.chat.recv(10)


def look_fork(room: Room) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def look_set_fifo(room: Room) -> None:
    room.chat.producer_fifo = deque()


def look_set_socket(room: Room) -> None:
    room.chat.socket = room.sock


class Nothing:
    """A producer of nothing."""

    def more(self) -> bytes:
        return b""


LOOKS: dict[str, Callable[[Room], Any]] = {
    "socket": lambda room: room.chat.socket,
    "socket assigned": look_set_socket,
    "set_socket": lambda room: room.chat.set_socket(room.sock, room.stage.map),
    "send": lambda room: room.chat.send(b"more"),
    "recv": look_recv,
    "close": lambda room: room.chat.close(),
    "initiate_send": lambda room: room.chat.initiate_send(),
    "handle_write": lambda room: room.chat.handle_write(),
    "producer_fifo": lambda room: room.chat.producer_fifo,
    "producer_fifo assigned": look_set_fifo,
    "writable": lambda room: room.chat.writable(),
    "discard_buffers": lambda room: room.chat.discard_buffers(),
    "close_when_done": lambda room: room.chat.close_when_done(),
    "push_with_producer": lambda room: room.chat.push_with_producer(Nothing()),
    "loop": lambda room: room.stage.asyncore.loop(0, False, other_map(room), 1),
    "poll": lambda room: room.stage.asyncore.poll(0.0, other_map(room)),
    "poll2": lambda room: room.stage.asyncore.poll2(0.0, other_map(room)),
    "fork": look_fork,
}


@pytest.mark.parametrize(
    "look",
    [pytest.param(look, marks=[posix_only] if look in ("fork", "poll2") else []) for look in LOOKS],
)
def test_it_leaves_when_anyone_could_look(own: Stage, look: str) -> None:
    mine, peer = own.pair()
    seen: list[Any] = []

    def hook(chat: Any, line: bytes) -> None:
        if line != b"one":
            return
        chat.push(b"first")
        chat.push(b"second")
        before = list(chat.sends)
        LOOKS[look](Room(own, chat, mine))
        seen.extend([before, chat.sends[0]])
        # It has arrived, too: what the look itself sent comes behind it.
        assert received(peer, 11) == b"firstsecond"

    chat = serve(own, hook, mine)
    peer.sendall(b"one\ntwo\n")
    own.loop(timeout=PATIENCE)
    assert [event for event in chat.events if isinstance(event, type)] == []
    assert seen == [[], b"firstsecond"]
    assert chat.sends == [b"firstsecond", b"more"][: 2 if look == "send" else 1]


def test_it_leaves_at_the_end_of_a_delivery_that_fails(own: Stage) -> None:
    seen: list[list[bytes]] = []

    def hook(chat: Any, line: bytes) -> None:
        chat.push(b"before")
        raise ZeroDivisionError

    chat = serve(own, hook, handle_error=lambda chat: seen.append(list(chat.sends)))
    assert own.feed(chat, b"one\ntwo\n")[-1] is ZeroDivisionError
    assert seen == [[b"before"]]
    assert received(chat.peer, 6) == b"before"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_it_leaves_before_what_ends_the_program(own: Stage, kind: type[BaseException]) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(b"before")
        raise kind

    chat = serve(own, hook)
    chat.peer.sendall(b"one\ntwo\n")
    with pytest.raises(kind):
        own.loop(timeout=PATIENCE)
    assert chat.sends == [b"before"]


def push_three(chat: Any, line: bytes) -> None:
    for word in (b"a", b"b", b"c"):
        chat.push(word)


ONE_BY_ONE = [b"a", b"b", b"c"] * 2


@pytest.mark.parametrize("where", ["class", "object"])
def test_the_class_attribute_turns_it_off(own: Stage, where: str) -> None:
    members = {"ac_out_coalesce": False} if where == "class" else {}
    chat = serve(own, push_three, **members)
    if where == "object":
        chat.ac_out_coalesce = False
    own.feed(chat, b"one\ntwo\n")
    assert chat.sends == ONE_BY_ONE
    assert received(chat.peer, 6) == b"abcabc"
    # What waits is sent one by one as well.
    del chat.sends[:]
    chat.takes[:] = [0, 0]
    chat.push(b"1")
    chat.push(b"2")
    assert drained(own, chat) == b"12"
    assert chat.sends == [b"1", b"1", b"1", b"2"]


def test_the_class_attribute_turns_it_off_and_on_again(own: Stage) -> None:
    chat = serve(own, push_three)
    assert own.asynchat.async_chat.ac_out_coalesce is True
    own.feed(chat, b"one\ntwo\n")
    assert chat.sends == [b"abca", b"b", b"c"]  # the last of the input is never held
    del chat.sends[:]
    with mock.patch.object(type(chat), "ac_out_coalesce", False):
        own.feed(chat, b"one\ntwo\n")
    assert chat.sends == ONE_BY_ONE


def test_the_attribute_turns_it_off_in_the_hook(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"held")
            chat.ac_out_coalesce = False
            chat.push(b"not")
            assert b"".join(chat.sends) == b"heldnot"

    chat = serve(own, hook)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")


def replace_on_class(stage: Stage, chat: Any) -> Any:
    base = stage.asynchat.async_chat.initiate_send
    calls: list[Any] = []

    def initiate_send(chat: Any) -> None:
        calls.append(chat)
        base(chat)

    type(chat).initiate_send = initiate_send
    return calls


def replace_on_object(stage: Stage, chat: Any) -> Any:
    base = chat.initiate_send
    calls: list[Any] = []

    def initiate_send() -> None:
        calls.append(chat)
        base()

    chat.initiate_send = initiate_send
    return calls


@pytest.mark.parametrize("replace", [replace_on_class, replace_on_object])
def test_a_replaced_initiate_send_turns_it_off(
    own: Stage, replace: Callable[[Stage, Any], Any]
) -> None:
    chat = serve(own, push_three)
    calls = replace(own, chat)
    own.feed(chat, b"one\ntwo\n")
    assert chat.sends == ONE_BY_ONE
    assert len(calls) == 6
    assert all(call is chat for call in calls)


@pytest.mark.parametrize("where", ["base", "subclass", "object"])
def test_a_replaced_initiate_send_turns_it_off_for_a_mock(own: Stage, where: str) -> None:
    chat = serve(own, push_three)
    target = {"base": own.asynchat.async_chat, "subclass": type(chat), "object": chat}[where]
    stock = target.initiate_send
    with mock.patch.object(target, "initiate_send", autospec=True, side_effect=stock) as replaced:
        own.feed(chat, b"one\ntwo\n")
    assert chat.sends == ONE_BY_ONE
    assert replaced.mock_calls == [mock.call(*([] if where == "object" else [chat]))] * 6
    # And it is on again afterwards.
    del chat.sends[:]
    own.feed(chat, b"one\ntwo\n")
    assert len(chat.sends) == 3


@pytest.mark.parametrize("where", ["class", "object"])
def test_a_replaced_refill_buffer_turns_it_off(own: Stage, where: str) -> None:
    base = own.asynchat.async_chat.refill_buffer
    members = {"refill_buffer": lambda chat: base(chat)} if where == "class" else {}
    chat = serve(own, push_three, **members)
    if where == "object":
        chat.refill_buffer = lambda: base(chat)
    own.feed(chat, b"one\ntwo\n")
    assert chat.sends == ONE_BY_ONE


def test_an_initiate_send_that_a_hook_replaces_gets_what_is_pushed_then(own: Stage) -> None:
    calls: list[str] = []

    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"before")
            chat.initiate_send = lambda: calls.append("replaced")
            chat.push(b"after")
            # What was pushed to the stock one has been sent by that, as ever.
            assert (chat.sends, calls) == ([b"before"], ["replaced"])

    chat = serve(own, hook)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")


MESSAGES = [
    pytest.param(getattr(socket, kind, None), id=kind)
    for kind in ("SOCK_SEQPACKET", "SOCK_DGRAM")
    if sys.platform.startswith("linux")
]


@pytest.mark.skipif(not MESSAGES, reason="needs pairs of sockets that keep messages apart")
@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_keep_their_bounds(own: Stage, kind: Any) -> None:
    mine, peer = socket.socketpair(socket.AF_UNIX, kind)
    own.keep(mine)
    own.keep(peer).settimeout(PATIENCE)
    chat = serve(own, echo, mine)
    peer.send(b"one\ntwo\nthree\n")
    own.loop(timeout=PATIENCE)
    assert chat.sends == [b"one;", b"two;", b"three;"]
    assert [peer.recv(100) for _ in range(3)] == [b"one;", b"two;", b"three;"]
    # Those that have waited, too.
    del chat.sends[:]
    chat.takes[:] = [0, 0, 0]
    for word in (b"a", b"b", b"c"):
        chat.push(word)
    own.until(lambda: not chat.producer_fifo)
    assert [peer.recv(100) for _ in range(3)] == [b"a", b"b", b"c"]


def test_messages_keep_their_bounds_in_a_fake(own: Stage) -> None:
    mine, _ = own.pair()
    fake = FakeSocket(mine.fileno(), recv=[b"one\ntwo\n", BlockingIOError()], send=[4, 4, 0, 1])
    chat = serve(own, echo, fake)
    chat.handle_read()
    assert fake.sent == [b"one;", b"two;"]
    chat.push(b"a")
    chat.push(b"b")
    chat.initiate_send()
    assert fake.sent[2:] == [b"", b"a", b"b"]


def test_a_new_socket_says_whether_bounds_are_kept(own: Stage) -> None:
    mine, peer = own.pair()
    fake = FakeSocket(mine.fileno(), recv=[b"one\ntwo\n", BlockingIOError()])
    chat = serve(own, echo, fake)
    chat.handle_read()
    chat.socket = mine
    mine.setblocking(False)
    peer.sendall(b"one\ntwo\n")
    chat.handle_read()
    assert chat.sends == [b"one;", b"two;", b"one;two;"]
    chat.socket = fake


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


def test_small_pieces_that_wait_leave_together_as_pushed(own: Stage) -> None:
    chat = serve(own, do_nothing)
    chat.takes[:] = [0, 1, 0]
    for word in (b"ab", b"cd", b"ef"):
        chat.push(word)
    assert chat.sends == [b"ab", b"abcd", b"bcdef"]
    assert drained(own, chat) == b"abcdef"
    assert chat.sends[3:] == [b"bcdef"]


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
        pytest.param({"refill_buffer": ...}, id="refilled"),
    ],
)
@pytest.mark.parametrize("in_hook", [False, True])
def test_what_a_producer_pushes_comes_behind_what_it_gives(
    stage: Stage,
    how: Callable[[Stage, Any], Callable[[bytes], None]],
    members: dict[str, Any],
    in_hook: bool,
) -> None:
    if "refill_buffer" in members and not stage.implementation.is_stdlib:
        base = stage.asynchat.async_chat.refill_buffer
        members = {"refill_buffer": lambda chat: base(chat)}

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


# How much is held.


def test_as_much_is_held_as_one_send_may_take(own: Stage) -> None:
    chat = serve(own, lambda chat, line: chat.push(line))
    chat.ac_out_buffer_size = 10
    own.feed(chat, b"aaaa\nbbbb\ncccc\ndddd\neeee\n")
    assert chat.sends == [b"aaaabbbb", b"ccccdddd", b"eeee"]


def test_exactly_the_size_of_the_output_buffer_is_held(own: Stage) -> None:
    chat = serve(own, lambda chat, line: chat.push(line))
    chat.ac_out_buffer_size = 8
    own.feed(chat, b"aaaa\nbbbb\ncccc\ndddd\n")
    assert chat.sends == [b"aaaabbbb", b"ccccdddd"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_no_send_is_given_more_than_the_output_buffer(own: Stage, size: int) -> None:
    chat = serve(own, lambda chat, line: chat.push(line), ac_out_buffer_size=size)
    words = [b"a", b"bb", b"ccccc", b"dddd", b"eeeeeeeeeee", b"f"]
    chat.peer.sendall(b"\n".join([*words, b""]))
    own.loop(timeout=PATIENCE)
    assert drained(own, chat) == b"".join(words)
    assert max(map(len, chat.sends)) <= size


def test_what_is_larger_than_the_output_buffer_comes_behind_what_is_held(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"ab")
            chat.push(b"0123456789")
            assert chat.sends == [b"ab", b"0123"]
            chat.push(b"cd")

    chat = serve(own, hook, ac_out_buffer_size=4)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert drained(own, chat) == b"ab0123456789cd"
    assert max(map(len, chat.sends)) <= 4


def test_the_size_of_the_output_buffer_may_change_at_any_time(own: Stage) -> None:
    chat = serve(own, lambda chat, line: chat.push(line))
    lines = b"aaaa\nbbbb\ncccc\n"
    own.feed(chat, lines)
    chat.ac_out_buffer_size = 8
    own.feed(chat, lines)
    type(chat).ac_out_buffer_size = 4
    del chat.ac_out_buffer_size
    own.feed(chat, lines)
    assert chat.sends == [b"aaaabbbbcccc", b"aaaabbbb", b"cccc", b"aaaa", b"bbbb", b"cccc"]


@pytest.mark.parametrize("size", [1, 3, 6, 1000])
def test_the_size_of_the_output_buffer_may_change_in_a_hook(own: Stage, size: int) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        chat.ac_out_buffer_size = size
        chat.push(line)

    chat = serve(own, hook, ac_out_buffer_size=8)
    own.feed(chat, b"aaaa\nbbbb\ncccc\n")
    assert drained(own, chat) == b"aaaaaaaabbbbbbbbcccccccc"
    assert chat.events.count("found") == 3


def test_a_smaller_output_buffer_is_so_from_the_next_push_on(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"aa")
            chat.ac_out_buffer_size = 3
            chat.push(b"bbbbbbbb")
            assert chat.sends == [b"aa", b"bbb"]

    chat = serve(own, hook)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert drained(own, chat) == b"aabbbbbbbb"


def test_no_more_than_a_mebibyte_is_held(own: Stage) -> None:
    sends: list[int] = []

    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            for _ in range(4):
                chat.push(bytes(1 << 18))
            sends.append(len(chat.sends))
            chat.push(b"x")
            sends.append(len(chat.sends))

    chat = serve(own, hook, ac_out_buffer_size=1 << 30)
    chat.takes[:] = [0] * 100
    own.feed(chat, b"one\ntwo\n")
    assert sends == [0, 1]
    assert len(chat.sends[0]) == 1 << 20


@pytest.mark.parametrize("size", [0, -1, None, 2.5, True], ids=repr)
def test_a_size_that_is_none_holds_nothing(own: Stage, size: Any) -> None:
    seen: list[Any] = []

    def hook(chat: Any, line: bytes) -> None:
        chat.ac_out_buffer_size = size
        try:
            chat.push(b"a")
        except Exception as problem:  # as without holding, for a size that is no size
            seen.append(type(problem))
        seen.append(chat._fc_state.held)
        del chat.ac_out_buffer_size

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\n")
    assert [held for held in seen if not isinstance(held, type)] == [None, None]


@pytest.mark.parametrize(
    ("coalesce", "lines", "sends"),
    [
        pytest.param(True, b"one\ntwo\n", [], id="held"),
        pytest.param(True, b"one\n", [b"waitsone;"], id="the last"),
        pytest.param(False, b"one\ntwo\n", [b"waits"], id="off"),
    ],
)
def test_what_comes_behind_bytes_that_wait_is_held_as_well(
    own: Stage, coalesce: bool, lines: bytes, sends: list[bytes]
) -> None:
    seen: list[list[bytes]] = []

    def hook(chat: Any, line: bytes) -> None:
        echo(chat, line)
        seen.append(list(chat.sends))

    chat = serve(own, hook, ac_out_coalesce=coalesce)
    chat.takes.append(0)
    chat.push(b"waits")
    assert chat.sends.pop() == b"waits"
    chat.peer.sendall(lines)
    chat.handle_read()
    assert seen[0] == sends
    assert drained(own, chat) == b"waits" + lines.replace(b"\n", b";")


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
    assert chat.events.count("close") == 1


def test_a_handle_close_of_the_test_is_called_once_when_the_peer_is_gone(own: Stage) -> None:
    counts = []
    for coalesce in (True, False):
        chat = serve(own, echo, ac_out_coalesce=coalesce)
        chat.peer.sendall(b"one\ntwo\nthree\n")
        chat.peer.close()
        own.until(lambda: not own.map)
        counts.append(chat.events.count("close"))
        assert not any(isinstance(event, type) for event in chat.events)
    assert counts == [1, 1]


OUTCOMES = [
    pytest.param([3], id="3 bytes"),
    pytest.param([1] * 9, id="byte by byte"),
    pytest.param([0], id="0"),
    pytest.param([0, 2, 0], id="now and then"),
    pytest.param([None], id="None"),
    pytest.param([BlockingIOError()], id="BlockingIOError"),
    pytest.param([1, ConnectionResetError()], id="ConnectionResetError"),
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
        errors = [event for event in chat.events if isinstance(event, type)]
        found.append((data, errors, chat.events.count("close")))
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


# Somebody looks while it is sent.


def during_send(stage: Stage, act: Callable[[Any], Any], number: int = 0) -> Any:
    """A chat that echoes, and does *act* with itself inside of one ``send``, the first is 0."""
    base = stage.asynchat.async_chat

    def send(chat: Any, data: Any) -> Any:
        take = chat.takes.pop(0) if chat.takes else len(data)
        chat.sends.append(bytes(data))
        if len(chat.sends) == number + 1:
            act(chat)
        return base.send(chat, data[:take]) if take else take

    return serve(stage, echo, send=send)


@pytest.mark.parametrize("takes", [[], [2], [0], [None]], ids=repr)
def test_whoever_looks_at_the_queue_in_send_sees_what_is_sent(
    own: Stage, takes: list[int | None]
) -> None:
    seen: list[Any] = []
    chat = during_send(own, lambda chat: seen.extend(chat.producer_fifo))
    chat.takes[:] = takes
    own.feed(chat, b"one\ntwo\n")
    assert b"".join(seen) == b"one;two;"
    assert drained(own, chat) == b"one;two;"


@pytest.mark.parametrize("takes", [[], [2], [0]], ids=repr)
def test_what_is_appended_in_send_comes_behind(own: Stage, takes: list[int]) -> None:
    chat = during_send(own, lambda chat: chat.producer_fifo.append(b"!"))
    chat.takes[:] = takes
    own.feed(chat, b"one\ntwo\n")
    assert drained(own, chat) == b"one;two;!"


@pytest.mark.parametrize("takes", [[], [2], [0]], ids=repr)
def test_what_is_pushed_in_send_comes_behind(own: Stage, takes: list[int]) -> None:
    chat = during_send(own, lambda chat: chat.push(b"!"))
    chat.takes[:] = takes
    own.feed(chat, b"one\ntwo\n")
    assert drained(own, chat) == b"one;two;!"


@pytest.mark.parametrize("takes", [[], [2], [0]], ids=repr)
def test_who_clears_the_queue_in_send_gets_nothing_sent_again(own: Stage, takes: list[int]) -> None:
    chat = during_send(own, lambda chat: chat.producer_fifo.clear())
    chat.takes[:] = takes
    own.feed(chat, b"one\ntwo\n")
    assert list(chat.producer_fifo) == []
    assert drained(own, chat) == b"one;two;"[: takes[0] if takes else None]
    chat.push(b"next")
    assert received(chat.peer, 4) == b"next"


@pytest.mark.parametrize("instead", [b"instead", None], ids=["bytes", "end"])
@pytest.mark.parametrize("takes", [[4], [3, 4]], ids=["whole", "rest"])
def test_what_is_put_in_place_of_the_queue_in_send_is_left_alone(
    own: Stage, takes: list[int], instead: Any
) -> None:
    def act(chat: Any) -> None:
        chat.producer_fifo.clear()
        chat.producer_fifo.append(instead)

    chat = during_send(own, act, len(takes) - 1)
    chat.takes[:] = takes
    chat.push(b"0123456789")
    for _ in takes[1:]:
        chat.handle_write()
    assert received(chat.peer, sum(takes)) == b"0123456789"[: sum(takes)]
    assert list(chat.producer_fifo) == [instead]


def test_a_look_in_send_at_the_rest_of_something_sends_it_once(own: Stage) -> None:
    chat = during_send(own, lambda chat: chat.producer_fifo, 1)
    chat.producer_fifo.extend([b"0123456789", b"ab"])
    chat.takes[:] = [3, 4]
    chat.initiate_send()
    chat.initiate_send()
    assert chat.sends[1] == b"3456789ab"
    assert list(chat.producer_fifo) == [b"789", b"ab"]
    assert drained(own, chat) == b"0123456789ab"


def test_a_queue_that_was_got_earlier_may_be_emptied(stage: Stage) -> None:
    chat = serve(stage, do_nothing)
    queue = chat.producer_fifo
    chat.takes[:] = [3]
    chat.push(b"0123456789")
    queue.clear()
    chat.push(b"abcdef")
    assert drained(stage, chat) == b"012abcdef"


def test_a_queue_that_was_got_earlier_may_be_filled_anew(stage: Stage) -> None:
    chat = serve(stage, do_nothing)
    queue = chat.producer_fifo
    chat.takes[:] = [3]
    chat.push(b"0123456789")
    queue.clear()
    queue.append(b"abcdef")
    assert drained(stage, chat) == b"012abcdef"


# What is not bytes.


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_is_not_bytes_comes_behind_what_is_held(
    own: Stage, kind: Callable[[bytes], Any]
) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        if line == b"one":
            chat.push(kind(b"<>"))
            assert chat.sends == [b"one", b"<>"]
            chat.push(b"behind")
            assert len(chat.sends) == 2

    chat = serve(own, hook)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert chat.sends == [b"one", b"<>", b"behindtwo"]
    assert received(chat.peer, 14) == b"one<>behindtwo"


def test_a_bytearray_that_waits_may_be_changed_still(stage: Stage) -> None:
    data = bytearray(b"before")

    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        if line == b"one":
            chat.push(data)
            chat.push(b";")

    chat = serve(stage, hook)
    chat.takes[:] = [0] * 10
    stage.feed(chat, b"one\ntwo\n")
    assert chat.producer_fifo[1] is data
    data[:] = b"after"
    del chat.takes[:]
    assert drained(stage, chat) == b"oneafter;two"


def test_a_subclass_of_bytes_is_queued_itself(stage: Stage) -> None:
    class Marked(bytes):
        pass

    data = Marked(b"marked")

    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        chat.push(data)

    chat = serve(stage, hook)
    chat.takes[:] = [0] * 10
    stage.feed(chat, b"one\ntwo\n")
    assert chat.producer_fifo[1] is data
    del chat.takes[:]
    assert drained(stage, chat) == b"onemarkedtwomarked"


def test_an_empty_push_is_an_empty_send_behind_what_is_held(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        chat.push(b"")

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\nthree\n")
    assert chat.sends == [b"one", b"", b"two", b"", b"three", b""]
    assert received(chat.peer, 11) == b"onetwothree"


@pytest.mark.parametrize("wrong", ["text", 5, None, [b"x"]], ids=repr)
def test_a_wrong_type_is_refused_at_once_and_loses_nothing(stage: Stage, wrong: Any) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        with pytest.raises(TypeError, match="data argument must be byte-ish"):
            chat.push(wrong)
        chat.push(b";")

    chat = serve(stage, hook)
    stage.feed(chat, b"one\ntwo\n")
    assert received(chat.peer, 8) == b"one;two;"


def test_a_producer_that_waits_is_asked_at_each_push_as_ever(stage: Stage) -> None:
    asked: list[str] = []

    class Counting:
        def more(self) -> bytes:
            asked.append("more")
            return b"p" if len(asked) < 5 else b""

    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push_with_producer(Counting())
        chat.push(line)
        asked.append(line.decode())

    chat = serve(stage, hook)
    stage.feed(chat, b"one\ntwo\nthree\n")
    assert asked[:5] == ["more", "more", "one", "more", "two"]
    assert drained(stage, chat) == b"ppponetwothree"


# Who else is there.


def test_another_thread_pushes_at_once_and_in_order(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line != b"one":
            return
        chat.push(b"mine;")
        go, gone = threading.Event(), threading.Event()

        def other() -> None:
            assert go.wait(PATIENCE)
            chat.push(b"other;")
            gone.set()

        thread = threading.Thread(target=other)
        thread.start()
        go.set()
        assert gone.wait(PATIENCE)
        thread.join(PATIENCE)
        assert b"".join(chat.sends) == b"mine;other;"
        chat.push(b"mine again;")
        assert b"".join(chat.sends) == b"mine;other;"

    chat = serve(own, hook)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert received(chat.peer, 22) == b"mine;other;mine again;"


def test_handle_read_in_a_hook_keeps_the_order(stage: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line + b"(")
        if line == b"one":
            chat.peer.sendall(b"three\nfour\n")
            chat.handle_read()
        chat.push(b")")

    chat = serve(stage, hook)
    stage.feed(chat, b"one\ntwo\n")
    expected = b"one(two()three()four())"
    assert received(chat.peer, len(expected)) == expected
    assert has_nothing(chat.peer)


def test_after_handle_read_in_a_hook_it_holds_still(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"1")
            chat.get_ready.sendall(b"x\ny\n")
            buffer, chat.ac_in_buffer = chat.ac_in_buffer, b""
            chat.handle_read()
            assert chat.sends == [b"1", b"x;y;"]
            chat.ac_in_buffer = buffer
            chat.push(b"2")
            chat.push(b"3")
            assert chat.sends == [b"1", b"x;y;"]
        else:
            echo(chat, line)

    chat = serve(own, hook)
    chat.get_ready = chat.peer
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert chat.sends == [b"1", b"x;y;", b"23two;"]


def test_what_is_pushed_to_another_channel_leaves_at_once(own: Stage) -> None:
    other = serve(own, do_nothing)

    def hook(chat: Any, line: bytes) -> None:
        other.push(line)
        chat.push(line)
        if line == b"one":
            assert (other.sends, chat.sends) == ([b"one"], [])

    chat = serve(own, hook)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert other.sends == [b"one", b"two"]
    assert chat.sends == [b"onetwo"]


def test_two_channels_that_deliver_hold_each_its_own(own: Stage) -> None:
    inner = serve(own, echo)
    inner.peer.sendall(b"x\ny\n")

    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        if line == b"one":
            inner.handle_read()
            assert (inner.sends, chat.sends) == ([b"x;y;"], [])
            chat.push(b"!")
            assert chat.sends == []

    chat = serve(own, hook)
    chat.peer.sendall(b"one\ntwo\n")
    chat.handle_read()
    assert chat.sends == [b"one!two"]


def test_handle_read_by_itself_leaves_nothing_held(own: Stage) -> None:
    chat = serve(own, echo)
    chat.peer.sendall(b"one\ntwo\nthr")
    chat.handle_read()
    assert chat.sends == [b"one;two;"]
    assert received(chat.peer, 8) == b"one;two;"
    assert chat._fc_state.held is None
    assert list(chat.producer_fifo) == []


def test_outside_of_a_delivery_nothing_is_held(own: Stage) -> None:
    chat = serve(own, echo)
    own.feed(chat, b"one\ntwo\n")
    del chat.sends[:]
    chat.push(b"a")
    chat.push(b"b")
    assert chat.sends == [b"a", b"b"]


def test_a_channel_that_compares_equal_to_all_leaves_the_right_one_holding(own: Stage) -> None:
    members = {"__eq__": lambda chat, other: True, "__hash__": lambda chat: 1}

    def inner_hook(inner: Any, line: bytes) -> None:
        echo(inner, line)
        chat.push(line)  # and so it is the later of those that hold something

    inner = serve(own, inner_hook, **members)
    inner.peer.sendall(b"x\ny\n")

    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            inner.handle_read()
            assert (inner.sends, chat.sends) == ([b"x;y;"], [])
            own.asyncore.poll(0.0, other_map(Room(own, chat, chat.peer)))
            assert chat.sends == [b"xy"]

    chat = serve(own, hook, **members)
    chat.peer.sendall(b"one\ntwo\n")
    chat.handle_read()
    assert chat.sends == [b"xy"]


# Methods that are replaced, borrowed, or looked at.


@pytest.mark.parametrize("name", ["push", "send", "recv", "handle_read", "initiate_send"])
@pytest.mark.parametrize("where", ["base", "subclass"])
def test_a_mock_in_place_of_a_method_is_called_with_the_channel(
    stage: Stage, where: str, name: str
) -> None:
    base = stage.asynchat.async_chat
    # Without a send of the test, so that one put on the base is found.
    chat = stage.chat(found_terminator=lambda chat: chat.push(b"reply;"))
    target = base if where == "base" else type(chat)
    if where == "base" and name in ("send", "recv"):
        target = stage.asyncore.dispatcher
    original = getattr(target, name)
    with mock.patch.object(target, name, autospec=True, side_effect=original) as replaced:
        stage.feed(chat, b"one\ntwo\n")
    assert replaced.call_args_list
    assert all(call.args[0] is chat for call in replaced.call_args_list)
    assert received(chat.peer, 12) == b"reply;reply;"
    assert getattr(target, name) is original


METHODS = {
    "handle_read_event": "(self)",
    "recv": "(self, buffer_size)",
    "handle_read": "(self)",
    "get_terminator": "(self)",
    "readable": "(self)",
    "writable": "(self)",
    "send": "(self, data)",
    "push": "(self, data)",
    "initiate_send": "(self)",
}


@pytest.mark.parametrize("name", METHODS)
def test_the_methods_are_functions(stage: Stage, name: str) -> None:
    method = getattr(stage.asynchat.async_chat, name)
    assert inspect.isfunction(method)
    assert str(inspect.signature(method)) == METHODS[name]
    assert method.__name__ == name


def test_the_methods_take_keywords_and_refuse_what_is_too_many(stage: Stage) -> None:
    chat = stage.chat()
    chat.push(data=b"one")
    assert chat.send(data=b"two") == 3
    assert received(chat.peer, 6) == b"onetwo"
    chat.peer.sendall(b"abc")
    assert chat.recv(buffer_size=2) == b"ab"
    for name in METHODS:
        with pytest.raises(TypeError, match=rf"{name}\(\) takes \d positional"):
            getattr(chat, name)(1, 2, 3)
        with pytest.raises(TypeError, match=rf"{name}\(\) takes \d positional"):  # from C
            list(map(getattr(chat, name), [1], [2], [3]))


def test_borrowed_methods_work_on_a_class_of_another_kind(stage: Stage) -> None:
    base = stage.asynchat.async_chat

    class Borrower:
        ac_in_buffer_size = ac_out_buffer_size = 100
        use_encoding = 0
        connected = True
        accepting = connecting = False
        ac_in_buffer = b""
        terminator = b"\n"
        recv, send = base.recv, base.send
        push, push_with_producer = base.push, base.push_with_producer
        initiate_send, handle_read = base.initiate_send, base.handle_read
        get_terminator, writable = base.get_terminator, base.writable
        handle_read_event = base.handle_read_event

        def __init__(self, sock: socket.socket) -> None:
            self.socket = sock
            self.producer_fifo: deque[Any] = deque()

        def collect_incoming_data(self, data: bytes) -> None:
            self.push(data)

        def found_terminator(self) -> None:
            self.push(b";")
            self.push_with_producer(stage.asynchat.simple_producer(b"!"))

    mine, peer = stage.pair()
    mine.setblocking(False)
    peer.sendall(b"one\ntwo\nthr")
    borrower: Any = Borrower(mine)
    borrower.handle_read_event()
    assert received(peer, 13) == b"one;!two;!thr"
    assert not borrower.writable()


@pytest.mark.parametrize(
    "hidden", [{"socket": None}, {"producer_fifo": None}, {"ac_in_buffer": b""}], ids=repr
)
def test_a_class_that_hides_a_property_holds_nothing(own: Stage, hidden: dict[str, Any]) -> None:
    chat = serve(own, push_three, **hidden)
    assert own.feed(chat, b"one\ntwo\n") == [b"one", "found", b"two", "found"]
    assert chat.sends == ONE_BY_ONE
    assert received(chat.peer, 6) == b"abcabc"
    chat.takes[:] = [0, 1]
    chat.push(b"12")
    chat.push(b"34")
    assert drained(own, chat) == b"1234"
    chat.push(b"end")
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"end"


# Random scenes.


class Producer:
    """A producer that writes down in *trace* when it is asked."""

    def __init__(self, trace: list[Any], name: int, chunks: list[bytes]) -> None:
        self.trace = trace
        self.name = name
        self.chunks = list(chunks)

    def more(self) -> bytes:
        self.trace.append(("more", self.name))
        return self.chunks.pop(0) if self.chunks else b""


# What a hook may do that shows nothing and changes nothing.
HARMLESS: list[Callable[[Any], Any]] = [
    lambda chat: chat.socket,
    lambda chat: chat.producer_fifo,
    lambda chat: chat.writable(),
    lambda chat: chat.readable(),
    lambda chat: chat.get_terminator(),
    lambda chat: setattr(chat, "socket", chat.socket),
    lambda chat: setattr(chat, "producer_fifo", deque(chat.producer_fifo)),
]


class Scene(NamedTuple):
    """What happens: the input, as it comes, and what is done for each line."""

    seed: int
    mode: str
    chunks: list[bytes]
    actions: list[list[tuple[str, Any]]]
    size: int


def scene_of(seed: int, mode: str) -> Scene:
    draw = random.Random(f"{mode} {seed}")
    lines = [b"%d" % number * draw.randint(1, 3) for number in range(draw.randint(1, 25))]
    data = b"\n".join([*lines, draw.choice([b"", b"rest"])])
    cuts = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randint(0, 4)))
    chunks = [
        data[begin:end]
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
        if begin < end
    ]
    return Scene(
        seed,
        mode,
        chunks,
        [[_action(draw, mode) for _ in range(draw.randint(0, 4))] for _ in lines],
        # With one that is small, more is queued than goes out.
        {
            "full": 65536,
            "partial": draw.choice([1, 5, 30, 4096, 65536]),
            "buffer": draw.choice([500, 4096, 65536]),
        }[mode],
    )


def _action(draw: random.Random, mode: str) -> tuple[str, Any]:
    text = bytes(draw.randrange(97, 123) for _ in range(draw.choice([1, 2, 5, 20])))
    if mode == "buffer":
        text *= draw.choice([1, 100])
    kind = draw.choices(
        ["push", "bytearray", "view", "empty", "producer", "look", "send", "done", "discard"],
        [20, 2, 2, 1, 3, 3, 2, 0.3, 0.5 if mode == "full" else 0],
    )[0]
    if kind == "producer":
        # One piece only, where the moments count: what comes behind several waits in the queue.
        pieces = 1 if mode == "full" else draw.randint(0, 3)
        return kind, [text] * pieces
    return kind, draw.randrange(len(HARMLESS)) if kind == "look" else text


def play(implementation: Implementation, scene: Scene, coalesce: bool) -> tuple[bytes, list[Any]]:
    """What the peer received, and all calls of hooks and producers, in order."""
    with Stage(implementation) as stage:
        base = stage.asynchat.async_chat
        draw = random.Random(f"{scene.seed} {coalesce} {implementation.name}")
        trace: list[Any] = []
        actions = list(scene.actions)
        done: list[bool] = []
        names = itertools.count()

        def send(chat: Any, data: Any) -> Any:
            take = draw.choice([0, 1, 7, len(data)])
            return base.send(chat, data[:take]) if take or not len(data) else 0

        def collect_incoming_data(chat: Any, data: bytes) -> None:
            if not done:
                trace.append(data)
                chat.push(b"[" + data + b"]")

        def found_terminator(chat: Any) -> None:
            trace.append("found")
            for kind, argument in actions.pop(0):
                if done:
                    break
                if kind == "done":
                    chat.close_when_done()
                    done.append(True)
                elif kind == "producer":
                    chat.push_with_producer(Producer(trace, next(names), argument))
                elif kind == "look":
                    HARMLESS[argument](chat)
                elif kind == "send":
                    chat.initiate_send()
                elif kind == "discard":
                    chat.producer_fifo.clear()
                else:
                    make = {"bytearray": bytearray, "view": memoryview}.get(kind, bytes)
                    chat.push(make(b"" if kind == "empty" else argument))

        def handle_close(chat: Any) -> None:
            trace.append("close")
            chat.close()

        members: dict[str, Any] = {"send": send} if scene.mode == "partial" else {}
        chat = stage.chat(
            collect_incoming_data=collect_incoming_data,
            found_terminator=found_terminator,
            handle_close=handle_close,
            ac_out_coalesce=coalesce,
            ac_out_buffer_size=scene.size,
            **members,
        )
        if scene.mode == "buffer":
            chat.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        received = b""
        for chunk in scene.chunks:
            if chat not in stage.map.values():
                break
            chat.peer.sendall(chunk)
            stage.loop(timeout=PATIENCE)
            received += drained(stage, chat)
        unexpected = [event for event in chat.events if isinstance(event, type)]
        assert not unexpected, (scene.seed, scene.mode, unexpected)
        return received, trace


SEEDS = range(200)


@pytest.mark.parametrize("mode", ["full", "partial", "buffer"])
def test_any_scene_is_the_same_with_and_without(pytestconfig: pytest.Config, mode: str) -> None:
    names = [
        name
        for name in FASTCHAT
        if name != "cython" or not pytestconfig.getoption("--no-extension")
    ]
    for seed in SEEDS:
        scene = scene_of(seed, mode)
        expected = None
        plays = [(name, coalesce) for name in names for coalesce in (False, True)]
        for name, coalesce in [*((name, False) for name in STDLIB), *plays]:
            data, trace = play(load(name), scene, coalesce)
            if mode != "full":
                # Producers are asked when there is room for what they give, hooks are not.
                trace.sort(key=lambda call: isinstance(call, tuple))
            expected = (data, trace) if expected is None else expected
            assert (data, trace) == expected, f"seed {seed}, {mode}, {name}, {coalesce}"
