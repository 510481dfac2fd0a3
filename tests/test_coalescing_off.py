"""Held output: what turns it off, and methods that a program replaces, borrows or hides.

Where a program has a part in sending, or a socket keeps messages apart, each push is one send.
"""

from __future__ import annotations

import inspect
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tests.support.channels import PATIENCE, FakeSocket, Stage, fail_with, receive_all, received
from tests.support.coalescing import count_sends, do_nothing, drained, echo, exceptions_of, serve


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


def test_a_push_of_the_object_turns_it_off(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        for word in (b"a", b"b", b"c"):
            own.asynchat.async_chat.push(chat, word)

    chat = serve(own, hook)
    chat.push = do_nothing
    own.feed(chat, b"one\ntwo\n")
    assert chat.sends == ONE_BY_ONE


def test_the_class_attribute_turns_it_off_and_on_again(own: Stage) -> None:
    chat = serve(own, push_three)
    assert own.asynchat.async_chat.ac_out_coalesce is True
    own.feed(chat, b"one\ntwo\n")
    assert chat.sends == [b"abca", b"b", b"c"]  # the last of the input is never held
    del chat.sends[:]
    with mock.patch.object(type(chat), "ac_out_coalesce", False):
        own.feed(chat, b"one\ntwo\n")
    assert chat.sends == ONE_BY_ONE


@pytest.mark.parametrize("members", [{}, {"ac_out_coalesce": True}], ids=["default", "class"])
def test_the_attribute_turns_it_off_in_the_hook(own: Stage, members: dict[str, Any]) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"held")
            chat.ac_out_coalesce = False
            chat.push(b"not")
            assert b"".join(chat.sends) == b"heldnot"

    chat = serve(own, hook, **members)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")


def test_a_push_that_a_hook_assigns_is_called_at_once(own: Stage) -> None:
    calls: list[bytes] = []

    def push(data: bytes) -> None:
        calls.append(data)
        own.asynchat.async_chat.push(chat, data)

    def hook(chat: Any, line: bytes) -> None:
        chat.push = push
        chat.push(line)

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\nthree\n")
    assert calls == [b"one", b"two", b"three"]
    assert drained(own, chat) == b"onetwothree"


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
    assert fake.sent == [b"one;", b"two;"]
    counted = count_sends(own, mine)
    chat.socket = counted
    counted.setblocking(False)
    peer.sendall(b"one\ntwo\n")
    chat.handle_read()
    assert counted.sends == [b"one;two;"]
    chat.socket = fake


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


@pytest.mark.parametrize("hidden", [{}, {"ac_in_buffer": b""}], ids=repr)
@pytest.mark.parametrize("problem", [BlockingIOError(), OSError("no")], ids=repr)
def test_a_recv_that_fails_says_so_whatever_is_hidden(
    stage: Stage, hidden: dict[str, Any], problem: OSError
) -> None:
    chat = stage.chat(recv=fail_with(problem), **hidden)
    chat.handle_read()
    assert chat.events == ([] if isinstance(problem, BlockingIOError) else [OSError, "close"])


@pytest.mark.parametrize("name", ["send", "initiate_send"])
def test_what_is_pushed_is_kept_where_a_method_is_not_there(own: Stage, name: str) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            setattr(type(chat), name, property(fail_with(AttributeError("gone"))))
            with pytest.raises(AttributeError, match="gone"):
                chat.push(b"abc")
            delattr(type(chat), name)

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\n")
    own.loop()
    assert exceptions_of(chat) == []
    assert received(chat.peer, 3) == b"abc"
