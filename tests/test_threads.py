"""Threads that push while the loop sends, as bots and programs for devices have them.

What docs/compat.md promises: a ``push`` from any thread raises nothing, and the bytes of each
thread arrive whole, once, and in the order of its pushes.  Threads are switched between as often as
the interpreter can, and the kernel takes little at a time, so that pushes meet a send in its midst.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    both_pollers,
    fail_with,
    has_nothing,
    inside,
    receive_all,
    received,
    watch_of,
)
from tests.support.coalescing import do_nothing, exceptions_of, serve
from tests.support.implementations import load
from tests.support.sending import fill

THREADS = 4
PUSHES = 200


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Let the interpreter switch threads as often as it can.

    Not while coverage is measured: CPython 3.11 and 3.12 fail where two threads begin to be traced.
    """
    interval = sys.getswitchinterval()
    if sys.gettrace() is None:
        sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Once:
    """A producer of one piece."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def more(self) -> bytes:
        data, self.data = self.data, b""
        return data


# How a thread gives a chat a message, each with the size that it is filled up to.
WAYS: dict[str, tuple[int, Callable[[Any, bytes], None]]] = {
    "bytes": (20, lambda chat, data: chat.push(data)),
    "large": (5000, lambda chat, data: chat.push(data)),
    "bytearray": (20, lambda chat, data: chat.push(bytearray(data))),
    "memoryview": (20, lambda chat, data: chat.push(memoryview(data))),
    "producer": (20, lambda chat, data: chat.push_with_producer(Once(data))),
    "queue": (20, lambda chat, data: chat.producer_fifo.append(data)),
}


def message(name: object, number: int, size: int) -> bytes:
    return f"{name}:{number}".encode().ljust(size - 1, b".") + b";"


def sent_by_each(data: bytes) -> dict[str, list[int]]:
    """The numbers of the messages in *data*, in order, by who sent them; nothing else is in it."""
    found: dict[str, list[int]] = {}
    for part in data.split(b";")[:-1]:
        matched = re.fullmatch(rb"(\w+):(\d+)\.*", part)
        assert matched is not None, part[:100]
        found.setdefault(matched[1].decode(), []).append(int(matched[2]))
    assert data.endswith(b";")
    return found


def in_threads(
    stage: Stage, work: Callable[[int], None]
) -> tuple[list[threading.Thread], list[Any]]:
    """Threads that do *work*, each with its number, and what they raise."""
    raised: list[BaseException] = []
    together = threading.Barrier(THREADS + 1)

    begun = [threading.Event() for _ in range(THREADS)]

    def run(number: int) -> None:
        begun[number].set()
        try:
            together.wait(PATIENCE)
            work(number)
        except BaseException as problem:
            traceback.print_exc()
            raised.append(problem)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread, has_begun in zip(threads, begun, strict=True):
        thread.start()
        stage.at_the_end(thread.join, PATIENCE)
        # Where coverage is measured each installs a trace function, and two at once fail.
        assert has_begun.wait(PATIENCE)
    together.wait(PATIENCE)
    return threads, raised


def take_all(
    stage: Stage, chat: Any, size: int, use_poll: bool, each_pass: Callable[[], None] = do_nothing
) -> bytes:
    """What the peer of *chat* receives until it has *size* bytes; makes passes until then."""
    chat.peer.setblocking(False)
    data = bytearray()
    until = time.monotonic() + 2 * PATIENCE
    while len(data) < size and time.monotonic() < until:
        stage.loop(1, use_poll, 0.01)
        each_pass()
        try:
            data += chat.peer.recv(65536)
        except BlockingIOError:
            pass
    return bytes(data)


def small_room(chat: Any) -> None:
    """Let the kernel take little at a time."""
    chat.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


@both_pollers
@pytest.mark.parametrize("is_plain_map", [False, True], ids=["channel_map", "dict"])
@pytest.mark.parametrize("way", WAYS)
def test_all_of_each_thread_arrives_in_order(
    own: Stage, way: str, is_plain_map: bool, use_poll: bool
) -> None:
    if is_plain_map:
        own.map = {}
    size, give = WAYS[way]
    chat = serve(own, lambda chat, line: chat.push(line + b";"))
    small_room(chat)
    echoed = [0]

    def work(number: int) -> None:
        for count in range(PUSHES):
            give(chat, message(f"thread{number}", count, size))

    def ask() -> None:
        # The chat answers meanwhile, two lines at a time, so that it holds output.
        if echoed[0] < 100:
            for _ in range(2):
                chat.peer.send(message("loop", echoed[0], 20)[:-1] + b"\n")
                echoed[0] += 1

    threads, raised = in_threads(own, work)
    data = take_all(own, chat, THREADS * PUSHES * size + 100 * 20, use_poll, ask)
    for thread in threads:
        thread.join(PATIENCE)
    assert (raised, exceptions_of(chat)) == ([], [])
    expected = {f"thread{number}": list(range(PUSHES)) for number in range(THREADS)}
    assert sent_by_each(data) == expected | {"loop": list(range(100))}
    own.until(lambda: not chat.producer_fifo)  # a producer is asked once more
    assert has_nothing(chat.peer)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="stock"),
        pytest.param({"ac_out_coalesce": False}, id="each push sent"),
        pytest.param(
            {"send": lambda chat, data: chat._send(data[:7]), "_send": None}, id="own send"
        ),
        pytest.param(
            {"initiate_send": lambda chat: chat._initiate(), "_initiate": None}, id="own initiate"
        ),
        pytest.param({"producer_fifo": None}, id="hidden queue"),
    ],
)
def test_all_arrives_whatever_the_program_overrides(own: Stage, members: dict[str, Any]) -> None:
    base = own.asynchat.async_chat
    members = {
        name: {"_send": base.send, "_initiate": base.initiate_send}.get(name, member)
        for name, member in members.items()
    }
    chat = serve(own, do_nothing, **members)
    if "producer_fifo" in members:
        chat.producer_fifo = deque()
    small_room(chat)

    def work(number: int) -> None:
        for count in range(PUSHES):
            chat.push(message(f"thread{number}", count, 20))

    threads, raised = in_threads(own, work)
    data = take_all(own, chat, THREADS * PUSHES * 20, False)
    for thread in threads:
        thread.join(PATIENCE)
    assert (raised, exceptions_of(chat)) == ([], [])
    expected = {f"thread{number}": list(range(PUSHES)) for number in range(THREADS)}
    assert sent_by_each(data) == expected


# Each of these may be a property, and take its time; the last two are asked where output is held.
ASKED = ("connected", "ac_out_buffer_size", "send", "initiate_send", "ac_out_coalesce", "push")


@pytest.mark.parametrize("asked", ASKED)
def test_a_thread_may_push_while_push_asks_the_program(own: Stage, asked: str) -> None:
    size = 1_000_000
    data = bytearray()
    asks = [1]

    def receive() -> None:
        while not has_nothing(chat.peer):
            data.extend(chat.peer.recv(65536))

    def let_a_thread_push(chat: Any) -> Any:
        if asks:
            asks.clear()
            thread = threading.Thread(target=own.asynchat.async_chat.push, args=(chat, b"x" * size))
            thread.start()
            thread.join(PATIENCE)
            receive()  # so that there is room again, behind a part of what the thread pushed
        return asked == "connected" or getattr(super(kind, chat), asked)

    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            if asked == "connected":
                del chat.connected
            setattr(kind, asked, property(let_a_thread_push))
            own.asynchat.async_chat.push(chat, b"main")

    chat = serve(own, hook)
    kind: Any = type(chat)
    kind.ac_out_buffer_size = size
    small_room(chat)
    own.feed(chat, b"one\ntwo\n")
    until = time.monotonic() + PATIENCE
    while len(data) < size + 4 and time.monotonic() < until:
        own.loop(1, False, 0.01)
        receive()
    assert (asks, exceptions_of(chat)) == ([], [])
    assert bytes(data).replace(b"main", b"|") in (b"|" + b"x" * size, b"x" * size + b"|")


@both_pollers
def test_the_loop_sends_what_a_thread_leaves_while_it_waits(own: Stage, use_poll: bool) -> None:
    chat = serve(own, do_nothing)
    small_room(chat)
    own.loop()
    watch = watch_of(own)
    size = 1_000_000

    def work(number: int) -> None:
        if number == 0:
            # When the loop has looked at all of its own accord, and waits for what is told it.
            until = time.monotonic() + PATIENCE
            while not (watch and watch.waiting and watch.unchecked <= 0):
                assert time.monotonic() < until
            chat.push(b"x" * size)  # more than the kernel takes

    got: list[int] = []

    def receive() -> None:
        # In a thread of its own, for the kernel takes nothing more until somebody has received.
        while sum(got) < size and (data := chat.peer.recv(65536)):
            got.append(len(data))
        # Before the last wait is ended: a thread that has nothing left to do may live for a while.
        ended.set()
        chat.peer.sendall(b"the end")

    ended = threading.Event()
    receiver = threading.Thread(target=receive)
    receiver.start()
    own.at_the_end(receiver.join, PATIENCE)
    threads, raised = in_threads(own, work)
    until = time.monotonic() + PATIENCE / 2
    while not ended.is_set() and time.monotonic() < until:
        # So long that a loop which does not notice what a thread pushed runs into the bound.
        own.loop(1, use_poll, PATIENCE)
    receiver.join(PATIENCE)
    threads[0].join(PATIENCE)
    assert time.monotonic() < until
    assert (sum(got), raised) == (size, [])


def test_close_when_done_of_a_thread_comes_behind_what_it_pushed(own: Stage) -> None:
    chat = serve(own, do_nothing)
    small_room(chat)

    def work(number: int) -> None:
        if number == 0:
            for count in range(PUSHES):
                chat.push(message("thread0", count, 20))
            chat.close_when_done()

    threads, raised = in_threads(own, work)
    data = take_all(own, chat, PUSHES * 20, False)
    threads[0].join(PATIENCE)
    own.until(lambda: chat not in own.map.values())
    assert sent_by_each(data) == {"thread0": list(range(PUSHES))}
    assert (raised, chat.peer.recv(1)) == ([], b"")


def test_a_chat_that_the_loop_closes_lets_threads_push_on(own: Stage) -> None:
    chat = serve(own, lambda chat, line: chat.close())
    small_room(chat)
    closed = threading.Event()

    def work(number: int) -> None:
        for count in range(PUSHES):
            chat.push(message(f"thread{number}", count, 20))
        assert closed.wait(PATIENCE)
        chat.push(b"after")

    threads, raised = in_threads(own, work)
    chat.peer.sendall(b"close\n")
    own.until(lambda: chat not in own.map.values())
    closed.set()
    for thread in threads:
        thread.join(PATIENCE)
    # What the standard library raises there too: the socket is closed.
    assert {type(problem) for problem in raised} <= {OSError}
    assert all(kind is OSError for kind in exceptions_of(chat))


def test_a_push_that_fails_lets_the_next_one_send(own: Stage) -> None:
    chat = serve(own, do_nothing)
    failing = fail_with(RuntimeError("no"))
    chat.send = failing
    with pytest.raises(RuntimeError, match="no"):
        chat.push(b"one;")
    del chat.send
    chat.push(b"two;")
    own.until(lambda: not chat.producer_fifo)
    assert chat.peer.recv(100) == b"one;two;"


def test_the_queue_may_be_looked_at_while_a_thread_sends_from_it(own: Stage) -> None:
    begun, looked = threading.Event(), threading.Event()
    takes: list[int] = [2]
    chat = own.chat()
    stock = chat.send

    def send(data: bytes) -> int:
        if takes:
            return int(stock(data[: takes.pop()]))
        begun.set()
        assert looked.wait(PATIENCE)
        return int(stock(data))

    chat.send = send
    chat.push(b"123456")
    thread = threading.Thread(target=chat.initiate_send)
    thread.start()
    assert begun.wait(PATIENCE)
    queued = list(chat.producer_fifo)
    looked.set()
    thread.join(PATIENCE)
    # What is being sent is not taken away under who sends it.
    assert queued in ([b"123456"], [b"3456"])
    assert (chat.peer.recv(100), list(chat.producer_fifo)) == (b"123456", [])


def test_a_large_push_is_one_piece_to_other_threads(own: Stage) -> None:
    size, pushes = 5000, 100
    chat = serve(own, do_nothing, ac_out_buffer_size=1000)

    def work(number: int) -> None:
        for _ in range(pushes):
            chat.push(b"<" + b"%d" % number * size + b">")

    threads, raised = in_threads(own, work)
    data = take_all(own, chat, THREADS * pushes * (size + 2), False)
    for thread in threads:
        thread.join(PATIENCE)
    assert (raised, exceptions_of(chat)) == ([], [])
    assert len(re.findall(rb"<(?:0{5000}|1{5000}|2{5000}|3{5000})>", data)) == THREADS * pushes


def test_a_thread_that_ends_its_send_is_not_waited_for() -> None:
    with Stage(load("python")) as stage:
        chat = stage.chat()

        class Ending(dict[Any, int]):
            """Of threads that send, each of which is done the moment after this one has looked."""

            def setdefault(self, key: Any, value: Any) -> Any:
                return super().setdefault(key, value) if len(seen) > 1 else seen.append(key)

        seen: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:
            ending = Ending()
            patch.setitem(inside(stage, "state"), "_senders", ending)
            patch.setitem(inside(stage, "outgoing"), "_turns", ending)
            chat.push(b"data")
        assert seen == [chat._fc_state] * 2
        assert received(chat.peer, 4) == b"data"


# What the thread of the loop does to a queue from which another thread sends, and what is left.
CHANGES: dict[str, tuple[Callable[[Any], object], bytes]] = {
    "discard_buffers": (lambda chat: chat.discard_buffers(), b""),
    "discard_buffers twice": (lambda chat: [chat.discard_buffers() for _ in range(2)], b""),
    "discard_buffers and another": (
        lambda chat: [chat.discard_buffers(), chat.__setattr__("producer_fifo", deque())],
        b"",
    ),
    "clear": (lambda chat: chat.producer_fifo.clear(), b""),
    "popleft": (lambda chat: chat.producer_fifo.popleft(), b"of the thread"),
    "another": (lambda chat: setattr(chat, "producer_fifo", deque([b"another "])), b"another "),
    "before": (lambda chat: chat.producer_fifo.appendleft(b"before "), b"before "),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_new_message_is_whole_whatever_became_of_one_that_was_half_sent(
    stage: Stage, change: str, fails: bool
) -> None:
    sends, goes_on = threading.Event(), threading.Event()
    takes = [4]

    def send(chat: Any, data: bytes) -> int:
        if threading.current_thread() is not threading.main_thread():
            sends.set()
            assert goes_on.wait(PATIENCE)
            if fails:
                raise OSError("of the thread's send")
            return 0
        return int(stage.asyncore.dispatcher.send(chat, data[: takes.pop()] if takes else data))

    chat = stage.chat(send=send, handle_error=do_nothing)
    chat.push(b"0123456789")
    thread = threading.Thread(target=chat.push, args=(b"of the thread",))
    thread.start()
    assert sends.wait(PATIENCE)
    act, left = CHANGES[change]
    act(chat)
    goes_on.set()
    thread.join()
    chat.push(b"NEW MESSAGE")
    for _ in range(3):
        chat.initiate_send()
    chat.connected = False
    chat.socket.close()
    data = receive_all(chat.peer)
    if change == "before":
        assert data.startswith(b"0123before ")
        assert data.endswith(b"of the threadNEW MESSAGE")
    else:
        assert data == b"0123" + left + b"NEW MESSAGE"


# While another thread waits in a send, the one that delivers pushes.


BEHIND: dict[str, Callable[[Any, bytes], object]] = {
    "bytes": lambda chat, data: chat.push(data),
    "a view": lambda chat, data: chat.push(memoryview(data)),
    "a producer": lambda chat, data: chat.push_with_producer(Once(data)),
}


@pytest.mark.parametrize("lines", [1, 3, 200])
@pytest.mark.parametrize("behind", BEHIND)
def test_what_is_pushed_while_another_thread_waits_in_a_send_comes_behind_in_order(
    own: Stage, behind: str, lines: int
) -> None:
    def found(chat: Any) -> None:
        replies.append(b"<%d>" % len(replies) + b"-" * 900)
        push = chat.push if len(replies) % 3 else lambda data: BEHIND[behind](chat, data)
        push(replies[-1])

    def work() -> None:
        for _ in range(pushes):
            chat.push(b"x" * 60_000)

    def read() -> None:
        # Without the event where the delivering thread came first, between two sends of the other,
        # and waits for room itself.
        is_delivered.wait(1)
        received.append(receive_all(chat.peer))

    replies: list[bytes] = []
    received: list[bytes] = []
    is_delivered = threading.Event()
    chat = own.chat(b"\n", found_terminator=found)
    sock = chat.socket
    sock.settimeout(None)
    pushes = 20
    threads = [threading.Thread(target=target) for target in (work, read)]
    for thread in threads:
        own.at_the_end(thread.join, PATIENCE)
    threads[0].start()
    until = time.monotonic() + PATIENCE
    # What it waits with is in the queue, and nothing leaves before the peer takes some.
    while not chat.writable() or select.select([], [sock], [], 0)[1]:
        assert time.monotonic() < until
    chat.peer.sendall(b"\n" * lines)
    threads[1].start()
    chat.handle_read_event()
    is_delivered.set()
    assert len(replies) == lines
    threads[0].join(PATIENCE)
    sock.settimeout(0)
    chat.close_when_done()
    while own.map and time.monotonic() < until:
        own.loop(1, True, 0.01)
    threads[1].join(PATIENCE)
    assert received[0].replace(b"x", b"") == b"".join(replies)
    assert received[0].count(b"x") == pushes * 60_000
    assert exceptions_of(chat) == []


def test_what_waits_may_be_sent_by_another_thread_while_a_push_is_considered(own: Stage) -> None:
    asked: list[Any] = []
    base: Any = own.asynchat.async_chat

    class Asked(base):  # type: ignore[misc]
        def send(self, data: bytes) -> Any:
            return super().send(data)

        def __getattribute__(self, name: str) -> Any:
            if name == "connected" and asked:
                thread = threading.Thread(target=asked.pop())
                thread.start()
                thread.join(PATIENCE)
            return object.__getattribute__(self, name)

    mine, peer = own.pair()
    chat = own._keep_channel(Asked(mine, own.map))
    chat.connected = False
    chat.push(b"one ")
    chat.connected = True
    asked.append(chat.initiate_send)
    chat.push(b"two")
    own.until(lambda: not chat.producer_fifo)
    assert received(peer, 7) == b"one two"


def test_what_a_push_waits_with_is_in_the_queue(own: Stage) -> None:
    chat = own.chat()
    sock = chat.socket
    fill(sock)
    sock.settimeout(None)
    thread = threading.Thread(target=chat.push, args=(b"x" * 60_000,))
    thread.start()
    own.at_the_end(thread.join, PATIENCE)
    until = time.monotonic() + PATIENCE
    while not chat.writable() and time.monotonic() < until:
        pass
    assert thread.is_alive()
    assert b"".join(chat.producer_fifo) == b"x" * 60_000
    chat.peer.setblocking(False)
    while thread.is_alive() and time.monotonic() < until:
        with contextlib.suppress(BlockingIOError):
            chat.peer.recv(1 << 20)
