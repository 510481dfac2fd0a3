"""Held output leaves when anyone could look: in a hook, in ``send``, in another thread or channel.

What is there to be seen must be what it would have been had every push been a send.
"""

from __future__ import annotations

import os
import threading
from collections import UserDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    arrived,
    closes,
    forking,
    has_nothing,
    posix_only,
    received,
    reset,
)
from tests.support.coalescing import do_nothing, drained, echo, exceptions_of, serve

# Somebody looks while it is held.


class Room(NamedTuple):
    """What a look may need."""

    stage: Stage
    chat: Any


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
    with forking():
        child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def look_set_fifo(room: Room) -> None:
    room.chat.producer_fifo = deque()


def look_set_socket(room: Room) -> None:
    room.chat.socket = room.chat.sock


class Nothing:
    """A producer of nothing."""

    def more(self) -> bytes:
        return b""


LOOKS: dict[str, Callable[[Room], Any]] = {
    "socket": lambda room: room.chat.socket,
    "socket assigned": look_set_socket,
    "set_socket": lambda room: room.chat.set_socket(room.chat.sock, room.stage.map),
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
    seen: list[Any] = []

    def hook(chat: Any, line: bytes) -> None:
        if line != b"one":
            return
        chat.push(b"first")
        chat.push(b"second")
        before = list(chat.sends)
        LOOKS[look](Room(own, chat))
        seen.extend([before, chat.sends[0]])
        # It has arrived, too: what the look itself sent comes behind it.
        assert received(chat.peer, 11) == b"firstsecond"

    chat = serve(own, hook)
    chat.peer.sendall(b"one\ntwo\n")
    own.loop(timeout=PATIENCE)
    assert exceptions_of(chat) == []
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


# Somebody looks while it is sent.


def during_send(stage: Stage, act: Callable[[Any], Any], number: int = 0) -> Any:
    """A chat that echoes, and does *act* with itself inside of one ``send``, the first is 0."""
    chat = serve(stage, echo)
    chat.sock.act = lambda: act(chat) if len(chat.sends) == number + 1 else None
    return chat


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
    assert chat.sends[1] == b"3456789"
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
            own.asyncore.poll(0.0, other_map(Room(own, chat)))
            assert chat.sends == [b"xy"]

    chat = serve(own, hook, **members)
    chat.peer.sendall(b"one\ntwo\n")
    chat.handle_read()
    assert chat.sends == [b"xy"]


@pytest.mark.parametrize(("look", "argument"), [("recv", 10), ("send", b"more")])
def test_what_fails_while_held_output_is_sent_is_seen_by_who_looks(
    own: Stage, look: str, argument: Any
) -> None:
    def hook(chat: Any, line: bytes) -> None:
        echo(chat, line)
        chat.takes.append(AttributeError())
        getattr(own.asynchat.async_chat, look)(chat, argument)

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\n")
    assert exceptions_of(chat) == [AttributeError]
    assert chat.sends == [b"one;"]


@pytest.mark.parametrize("end", ["say so", "close", "begin anew"])
def test_what_was_pushed_before_the_end_is_sent(own: Stage, end: str) -> None:
    def hook(chat: Any, line: bytes) -> None:
        echo(chat, line)
        if line == b"two":
            if end == "begin anew":
                own.asynchat.async_chat.__init__(chat, None, own.map)
                return
            chat.connected = False
            if end == "close":
                chat.close()

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\nthree\n")
    assert received(chat.peer, 8) == b"one;two;"


def test_what_is_pushed_when_it_is_not_connected_waits(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"two":
            chat.connected = False
        echo(chat, line)

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\nthree\n")
    assert received(chat.peer, 4) == b"one;"
    assert (has_nothing(chat.peer), list(chat.producer_fifo)) == (True, [b"two;", b"three;"])


@pytest.mark.parametrize("is_counted", [False, True])
@pytest.mark.parametrize("size", [0, None, 1, -1, 2.5, "x", 10**30], ids=repr)
def test_a_size_that_changes_does_not_change_what_was_pushed(
    stage: Stage, size: Any, is_counted: bool
) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line != b"three":
            echo(chat, line)
        if line == b"two":
            chat.ac_out_buffer_size = size

    mine, peer = stage.pair()
    chat = serve(stage, hook, mine) if is_counted else echoing(stage, hook, mine)
    chat.peer = peer
    stage.feed(chat, b"one\ntwo\nthree\n")
    assert received(peer, 8) == b"one;two;"
    assert list(chat.producer_fifo) == []


def echoing(stage: Stage, hook: Any, sock: Any) -> Any:
    """A chat that calls *hook* with itself and each line, over *sock* as it is."""
    return stage.chat(sock=sock, found_terminator=lambda chat: hook(chat, chat.events[-2]))


def test_what_did_not_fit_before_a_size_changed_goes_out_in_order(stage: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line != b"three":
            echo(chat, line)
        if line == b"two":
            chat.ac_out_buffer_size = 1

    chat = serve(stage, hook)
    chat.push(b"0123456789" * 100)
    chat.takes[:] = [None] * 3
    chat.producer_fifo.append(b"!")
    stage.feed(chat, b"one\ntwo\nthree\n")
    assert drained(stage, chat) == b"0123456789" * 100 + b"!one;two;"


PASSES: dict[str, Callable[[Any, Any], Any]] = {
    "poll": lambda asyncore, map: asyncore.poll(0, map),
    "poll2": lambda asyncore, map: asyncore.poll2(0, map),
    "loop once": lambda asyncore, map: asyncore.loop(0, False, map, 1),
    "loop twice": lambda asyncore, map: asyncore.loop(0, True, map, 2),
}


@pytest.mark.parametrize("kind", ["channel_map", dict, UserDict])
@pytest.mark.parametrize("make_pass", PASSES)
def test_it_leaves_before_a_pass_over_any_map(own: Stage, make_pass: str, kind: Any) -> None:
    others: Any = own.asyncore.channel_map() if kind == "channel_map" else kind()
    other = own.asyncore.dispatcher(own.pair()[0], others)
    other.writable = lambda: False
    seen: list[bytes] = []

    def hook(chat: Any, line: bytes) -> None:
        echo(chat, line)
        if line == b"one":
            PASSES[make_pass](own.asyncore, others)
            seen.append(received(chat.peer, 4))

    own.feed(serve(own, hook), b"one\ntwo\n")
    assert seen == [b"one;"]


@pytest.mark.parametrize("is_counted", [False, True])
def test_what_is_pushed_after_a_hang_up_is_no_matter_of_the_next_connection(
    stage: Stage, is_counted: bool
) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(b"a" * 40_000)
        chat.push(b"b" * 40_000)

    def handle_close(chat: Any) -> None:
        chat.close()
        if closes(chat) == 1:
            chat.create_socket()

    mine, peer = stage.tcp_pair()
    if is_counted:
        chat = serve(stage, hook, mine, handle_close=handle_close)
    else:
        chat = stage.chat(
            sock=mine, found_terminator=lambda chat: hook(chat, b""), handle_close=handle_close
        )
    peer.sendall(b"one\ntwo\n")
    arrived(chat.socket)
    data = chat.socket.recv(99)
    reset(peer)
    arrived(chat.socket)
    chat.recv = lambda size: data
    chat.handle_read_event()
    assert closes(chat) == 1
    assert chat.socket.fileno() >= 0
    chat.close()
