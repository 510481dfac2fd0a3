"""The shapes that programs give an async_chat: mixins, patches, threads, buffers of their own.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import socket
import threading
from collections import deque
from typing import Any
from unittest import mock

import pytest

from tests.support.channels import PATIENCE, Stage, fail_with, recording, survive


def test_init_sets_the_buffers_before_the_channel_can_be_seen(
    stage: Stage, async_chat: Any
) -> None:
    seen: list[Any] = []

    class Early(async_chat):
        def add_channel(self, map: Any = None) -> None:
            seen.extend([self.ac_in_buffer, self.incoming, list(self.producer_fifo)])

    mine, _ = stage.pair()
    Early(mine, stage.map)
    assert seen == [b"", [], []]


def test_init_may_be_called_twice(stage: Stage, async_chat: Any) -> None:
    chat = stage.chat(b"\r\n")
    stage.feed(chat, b"one\r")
    async_chat.__init__(chat, chat.socket, stage.map)
    assert (chat.ac_in_buffer, chat.terminator) == (b"", b"\r\n")
    assert stage.feed(chat, b"two\r\n") == [b"one", b"two", "found"]


def test_init_may_be_skipped(stage: Stage, async_chat: Any) -> None:
    class Bare(recording(async_chat)):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ac_in_buffer = b""
            self.incoming: list[bytes] = []
            self.producer_fifo: Any = deque()
            self.terminator = b"\n"

    chat = Bare()
    chat.recv = lambda size: b"one\ntwo"
    chat.handle_read()
    assert chat.events == [b"one", "found", b"two"]


def test_the_buffer_may_be_an_attribute_of_the_class(stage: Stage) -> None:
    # Which hides whatever async_chat itself makes of that name.
    chat = stage.chat(b"\r\n", ac_in_buffer=b"")
    assert stage.feed(chat, b"one\r\ntwo\r", b"\nthree") == [
        *(b"one", "found"),
        *(b"two", "found"),
        b"three",
    ]
    assert "ac_in_buffer" in chat.__dict__


@pytest.mark.parametrize(
    ("terminator", "events"),
    [
        (None, [b"one\ntwo"]),
        (3, [b"one", "found", b"\ntwo"]),
        (100, [b"one\ntwo"]),
        (bytearray(b"\n"), [b"one", "found", b"two"]),
        (b"\r\n", [b"one\ntwo"]),
        (b"two", [b"one\n", "found"]),
        (b"two\n", [b"one\n"]),
        (b"one\ntwo\n", []),
    ],
)
def test_the_buffer_of_the_class_is_cut_like_any_other(
    stage: Stage, terminator: Any, events: list[Any]
) -> None:
    chat = stage.chat(terminator, ac_in_buffer=b"")
    assert stage.feed(chat, b"one\ntwo") == events


def test_an_exception_keeps_its_place_in_the_buffer_of_the_class(stage: Stage) -> None:
    chat = stage.chat(
        found_terminator=fail_with(ValueError()), handle_error=survive, ac_in_buffer=b""
    )
    assert stage.feed(chat, b"one\ntwo\n") == [b"one", "found", ValueError]
    assert chat.ac_in_buffer == b"two\n"


def test_a_chat_may_be_a_thread(stage: Stage) -> None:
    chat_class: Any = recording(stage.asynchat.async_chat)

    class Worker(chat_class, threading.Thread):
        def __init__(self, sock: Any, map: Any) -> None:
            threading.Thread.__init__(self)
            chat_class.__init__(self, sock, map)
            self.set_terminator(b"\n")

        def run(self) -> None:
            stage.asyncore.loop(PATIENCE, False, self._map)

    mine, peer = stage.pair()
    worker = Worker(mine, stage.map)
    worker.start()
    peer.sendall(b"work\n")
    peer.close()
    worker.join(PATIENCE)
    assert (worker.is_alive(), worker.events) == (False, [b"work", "found", "close"])


def test_a_mixin_in_front_overrides(stage: Stage, async_chat: Any) -> None:
    class Lines:
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.lines: list[bytes] = []
            channel: Any = self
            channel.set_terminator(b"\n")

        def collect_incoming_data(self: Any, data: bytes) -> None:
            self._collect_incoming_data(data)

        def found_terminator(self: Any) -> None:
            self.lines.append(self._get_data())

    class Chat(Lines, async_chat):
        pass

    mine, peer = stage.pair()
    chat = Chat(mine, stage.map)
    peer.sendall(b"one\ntwo\n")
    stage.asyncore.read(chat)
    assert chat.lines == [b"one", b"two"]


@pytest.mark.parametrize(
    ("hook", "calls"),
    [
        ("collect_incoming_data", [mock.call(b"one")]),
        ("found_terminator", [mock.call()]),
        ("get_terminator", [mock.call()]),
        ("handle_read", [mock.call()]),
        ("recv", [mock.call(65536)]),
    ],
)
def test_a_hook_may_be_patched_on_the_object(stage: Stage, hook: str, calls: list[Any]) -> None:
    chat = stage.chat()
    chat.peer.sendall(b"one\n")
    answer = {"recv": b"one\n", "get_terminator": b"\n"}.get(hook)
    with mock.patch.object(chat, hook, return_value=answer) as patched:
        stage.loop(timeout=PATIENCE)
    assert patched.mock_calls == calls


@pytest.mark.parametrize(
    "hook", ["collect_incoming_data", "found_terminator", "get_terminator", "handle_read", "recv"]
)
def test_a_hook_may_be_patched_on_the_class(stage: Stage, async_chat: Any, hook: str) -> None:
    class Plain(async_chat):
        collect_incoming_data = async_chat._collect_incoming_data
        found_terminator = async_chat._get_data

    mine, peer = stage.pair()
    chat = Plain(mine, stage.map)
    chat.set_terminator(b"\n")
    peer.sendall(b"one\n")
    answer = {"recv": b"one\n", "get_terminator": b"\n"}.get(hook)
    with mock.patch.object(Plain, hook, autospec=True, return_value=answer) as patched:
        stage.loop(timeout=PATIENCE)
    patched.assert_called_once()
    assert patched.call_args.args[0] is chat


def test_the_buffer_may_be_patched_on_the_object(stage: Stage) -> None:
    chat = stage.chat(b"\r\n", recv=lambda chat, size: b"one\r\n")
    with mock.patch.object(chat, "ac_in_buffer", b"patched"):
        assert chat.ac_in_buffer == b"patched"
    assert chat.ac_in_buffer == b""
    chat.handle_read()
    assert chat.events == [b"one", "found"]


def test_a_mock_may_be_read_as_a_chat(stage: Stage, async_chat: Any) -> None:
    chat = mock.Mock(ac_in_buffer=b"", ac_in_buffer_size=10)
    chat.recv.return_value = b"one\ntwo"
    chat.get_terminator.return_value = b"\n"
    async_chat.handle_read(chat)
    chat.recv.assert_called_once_with(10)
    assert chat.collect_incoming_data.mock_calls == [mock.call(b"one"), mock.call(b"two")]
    chat.found_terminator.assert_called_once_with()


@pytest.mark.parametrize("kind", [mock.Mock, mock.MagicMock])
def test_a_mock_may_be_written_to_as_a_chat(stage: Stage, async_chat: Any, kind: Any) -> None:
    def made() -> Any:
        chat = kind(ac_out_buffer_size=4096, use_encoding=0, connected=True)
        chat.producer_fifo = deque()
        chat.send.side_effect = len
        return chat

    chat = made()
    async_chat.push(chat, b"data")
    assert (list(chat.producer_fifo), chat.initiate_send.call_count) == ([b"data"], 1)
    async_chat.close_when_done(chat)
    async_chat.push_with_producer(chat, "a producer")
    assert list(chat.producer_fifo) == [b"data", None, "a producer"]
    assert async_chat.writable(chat) is chat.producer_fifo
    async_chat.initiate_send(chat)
    chat.send.assert_called_once_with(b"data")
    assert list(chat.producer_fifo) == [None, "a producer"]


def test_another_class_may_borrow_the_methods_of_input(stage: Stage, async_chat: Any) -> None:
    class Borrower:
        ac_in_buffer_size = 10
        use_encoding = 0

        def __init__(self) -> None:
            self.ac_in_buffer = b""
            self.events: list[Any] = []

        handle_read = async_chat.handle_read
        set_terminator = async_chat.set_terminator
        get_terminator = async_chat.get_terminator

        def recv(self, size: int) -> bytes:
            return b"one\ntwo"

        def collect_incoming_data(self, data: bytes) -> None:
            self.events.append(data)

        def found_terminator(self) -> None:
            self.events.append("found")

    borrower = Borrower()
    borrower.set_terminator(b"\n")
    borrower.handle_read()
    assert borrower.events == [b"one", "found", b"two"]


def test_a_chat_may_have_a_mock_for_a_socket(async_chat: Any) -> None:
    sock = mock.Mock(spec=socket.socket)
    assert async_chat(sock, {}).socket is sock


@pytest.mark.parametrize("buffer", [None, 0, "", bytearray(b"x"), "deleted"], ids=repr)
@pytest.mark.parametrize("is_hidden", [False, True], ids=["stock", "hidden"])
def test_close_takes_any_input_buffer(stage: Stage, buffer: Any, is_hidden: bool) -> None:
    chat = stage.chat(**({"ac_in_buffer": b""} if is_hidden else {}))
    if buffer != "deleted":
        chat.ac_in_buffer = buffer
    elif vars(chat).get("ac_in_buffer") is not None or not is_hidden:
        del chat.ac_in_buffer
    chat.close()
    assert (stage.map, chat.socket.fileno()) == ({}, -1)


def test_a_chat_that_was_begun_as_a_dispatcher_closes(stage: Stage) -> None:
    kind: Any = type(stage.chat())
    chat = kind.__new__(kind)
    mine, _ = stage.pair()
    stage.asyncore.dispatcher.__init__(chat, mine, stage.map)
    chat.close()
    assert mine.fileno() == -1


@pytest.mark.parametrize("how", ["value", "base", "property"])
def test_input_that_a_hook_hides_behind_its_class_is_delivered_once(stage: Stage, how: str) -> None:
    def found_terminator(chat: Any) -> None:
        if chat.events[-1] != b"two":
            return
        left, kind = chat.ac_in_buffer, type(chat)
        vars(chat)["kept"] = vars(chat)["ac_in_buffer"] = left
        if how == "value":
            kind.ac_in_buffer = b""
        elif how == "base":
            kind.__bases__ = (type("Hiding", kind.__bases__, {"ac_in_buffer": b""}),)
        else:
            kind.ac_in_buffer = property(
                lambda chat: vars(chat)["kept"], lambda chat, data: vars(chat).update(kept=data)
            )

    chat = stage.chat(found_terminator=found_terminator)
    for part in (b"one\n", b"two\nthree\n", b"four\n", b"five\n"):
        chat.peer.sendall(part)
        stage.loop()
    lines = [event for event in chat.events if isinstance(event, bytes)]
    assert lines == [b"one", b"two", b"three", b"four", b"five"]
