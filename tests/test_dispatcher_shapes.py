"""The shapes that programs give a dispatcher: mixins, patches, proxies, slots, borrowed methods.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: a fake socket stands in only for an answer that the loopback does not give.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
import select
import threading
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tests.support.channels import PATIENCE, FakeSocket, Stage, both_pollers, failure, needs_poll


@both_pollers
def test_a_channel_may_be_a_thread(stage: Stage, dispatcher: Any, use_poll: bool) -> None:
    class Worker(dispatcher, threading.Thread):
        def __init__(self, sock: Any, map: Any) -> None:
            threading.Thread.__init__(self)
            dispatcher.__init__(self, sock, map)
            self.got = b""

        def run(self) -> None:
            stage.asyncore.loop(PATIENCE, use_poll, self._map)

        def handle_read(self) -> None:
            self.got += self.recv(100)

        def writable(self) -> bool:
            return False

    mine, peer = stage.pair()
    worker = Worker(mine, stage.map)
    worker.start()
    peer.sendall(b"work")
    peer.close()
    worker.join(PATIENCE)
    assert (worker.is_alive(), worker.got) == (False, b"work")


def test_a_loop_of_the_programs_own_hears_of_every_close(stage: Stage) -> None:
    # It calls the events of the channel itself, and its handle_close lets the channel live.
    def handle_read(channel: Any) -> None:
        if channel.events != ["read"]:
            raise ValueError
        channel.recv(10)

    channel = stage.dispatcher(handle_read=handle_read, handle_close=lambda channel: None)
    channel.peer.close()
    for _ in range(2):
        try:
            channel.handle_read_event()
        except ValueError:
            channel.handle_error()
    assert channel.events == ["read", "close", "read", ValueError, "close"]


@pytest.mark.parametrize(
    "name", ["read", "write", "expt", pytest.param("readwrite", marks=needs_poll)]
)
def test_a_channel_with_events_of_its_own_hears_of_every_close(stage: Stage, name: str) -> None:
    def event(channel: Any) -> None:
        if channel.events:
            raise ValueError
        channel.send(b"x")

    sock = FakeSocket(7, send=[failure(errno.EPIPE)])
    hook = "handle_read_event" if name == "readwrite" else f"handle_{name}_event"
    channel = stage.dispatcher(sock, **{hook: event}, handle_close=lambda channel: None)
    tell = getattr(stage.asyncore, "_exception" if name == "expt" else name)
    flags = [select.POLLIN] if name == "readwrite" else []
    tell(channel, *flags)
    tell(channel, *flags)
    assert channel.events == ["close", ValueError, "close"]


def test_a_channel_with_a_registration_of_its_own_hears_of_every_close(
    stage: Stage, dispatcher: Any
) -> None:
    own: dict[int, Any] = {}

    class Own(dispatcher):
        def add_channel(self, map: Any = None) -> None:
            own[self._fileno] = self

        def del_channel(self, map: Any = None) -> None:
            own.pop(self._fileno, None)

    channel = stage.bare(Own, handle_read=lambda channel: channel.recv(10))
    for _ in range(2):
        mine, peer = stage.pair()
        channel.set_socket(mine)
        peer.close()
        stage.asyncore.loop(PATIENCE, False, own, 1)
    assert channel.events == ["read", "close"] * 2


def test_a_channel_whose_socket_is_set_by_hand_hears_of_every_close(stage: Stage) -> None:
    channel = stage.bare(handle_read=lambda channel: channel.recv(10))
    for _ in range(2):
        channel.socket, peer = stage.pair()
        channel._fileno = channel.socket.fileno()
        stage.map[channel._fileno] = channel
        peer.close()
        stage.loop(timeout=PATIENCE)
    assert channel.events == ["read", "close"] * 2


def test_a_channel_that_gets_the_same_fake_again_hears_of_every_close(stage: Stage) -> None:
    sock = FakeSocket(7, recv=[b""])
    channel = stage.bare(handle_read=lambda channel: channel.recv(10))
    for _ in range(2):
        channel.set_socket(sock)
        stage.asyncore.read(channel)
    assert channel.events == ["read", "close"] * 2


def test_a_channel_that_connects_again_in_handle_close_is_not_lost(stage: Stage) -> None:
    # The exception is of the old connection; the new one either lives, or its end is told.
    def handle_close(channel: Any) -> None:
        channel.close()
        mine, channel.peer = stage.pair()
        mine.setblocking(False)
        channel.set_socket(mine)

    def handle_read(channel: Any) -> None:
        if not channel.recv(10):
            raise ValueError

    channel = stage.dispatcher(handle_read=handle_read, handle_close=handle_close)
    channel.peer.close()
    stage.loop(timeout=PATIENCE)
    assert channel in stage.map.values()


def test_a_mixin_in_front_overrides(stage: Stage, dispatcher: Any) -> None:
    class Counting:
        received = 0

        def recv(self, size: int) -> bytes:
            data: bytes = super().recv(size)  # type: ignore[misc]
            self.received += len(data)
            return data

    class Channel(Counting, dispatcher):
        def handle_read(self) -> None:
            self.recv(100)

    mine, peer = stage.pair()
    channel = Channel(mine, stage.map)
    peer.sendall(b"12345")
    stage.asyncore.read(channel)
    assert channel.received == 5


def test_a_channel_takes_any_attribute(stage: Stage, dispatcher: Any) -> None:
    channel = dispatcher(None, stage.map)
    channel.anything = 1
    assert channel.anything == 1


def test_a_channel_can_be_referred_to_weakly(stage: Stage, dispatcher: Any) -> None:
    channel = dispatcher(None, stage.map)
    assert weakref.ref(channel)() is channel


@both_pollers
def test_a_map_may_hold_a_weak_proxy(stage: Stage, use_poll: bool) -> None:
    channel = stage.dispatcher(handle_read=lambda channel: channel.close())
    stage.map[channel.socket.fileno()] = weakref.proxy(channel)
    channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (channel.events, stage.map) == (["read"], {})


def test_the_input_event_may_be_the_input_hook(stage: Stage, dispatcher: Any) -> None:
    class Direct(dispatcher):
        def handle_read(self) -> None:
            self.got = self.recv(100)

        handle_read_event = handle_read

    mine, peer = stage.pair()
    channel = Direct(mine, stage.map)
    channel.accepting = True
    peer.sendall(b"x")
    stage.loop(timeout=PATIENCE)
    assert channel.got == b"x"


@both_pollers
def test_a_hook_may_be_patched_on_the_object(stage: Stage, use_poll: bool) -> None:
    channel = stage.dispatcher()
    channel.peer.sendall(b"x")
    with mock.patch.object(channel, "handle_read") as handle_read:
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    handle_read.assert_called_once_with()


@both_pollers
def test_a_hook_may_be_patched_on_the_class(stage: Stage, dispatcher: Any, use_poll: bool) -> None:
    channel = stage.dispatcher()
    channel.peer.sendall(b"x")
    with mock.patch.object(dispatcher, "handle_read", autospec=True) as handle_read:
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    handle_read.assert_called_once_with(channel)


def test_a_method_of_the_socket_may_be_patched(stage: Stage) -> None:
    channel = stage.dispatcher()
    with mock.patch.object(channel, "socket") as sock:
        sock.recv.return_value = b"patched"
        assert channel.recv(10) == b"patched"
    sock.recv.assert_called_once_with(10)


@pytest.mark.parametrize("function", ["read", "write", "_exception"])
def test_a_mock_may_be_a_channel(stage: Stage, function: str) -> None:
    channel = mock.Mock()
    getattr(stage.asyncore, function)(channel)
    (call,) = channel.mock_calls
    assert call in (
        mock.call.handle_read_event(),
        mock.call.handle_write_event(),
        mock.call.handle_expt_event(),
    )


class Borrower:
    """No dispatcher; it has of one what a test lends it."""

    socket: Any = None
    connected = False
    accepting = False
    connecting = False
    debug = False
    out_buffer = b""

    def __init__(self) -> None:
        self.events: list[str] = []

    def handle_close(self) -> None:
        self.events.append("close")

    def handle_connect(self) -> None:
        self.events.append("connect")

    def handle_read(self) -> None:
        self.events.append("read")

    def handle_write(self) -> None:
        self.events.append("write")

    def handle_expt(self) -> None:
        self.events.append("expt")


def lend(stage: Stage, *names: str) -> tuple[Borrower, Callable[..., Any]]:
    """A borrower of methods of dispatcher; also a way to set its attributes."""
    functions = {name: getattr(stage.asyncore.dispatcher, name) for name in names}
    made = type("Lent", (Borrower,), functions)()
    return made, made.__dict__.update


def test_another_class_may_borrow_recv(stage: Stage) -> None:
    borrower, put = lend(stage, "recv")
    put(socket=FakeSocket(recv=[b"data", b""]))
    received: Any = borrower
    assert (received.recv(9), received.recv(9)) == (b"data", b"")
    assert borrower.events == ["close"]


def test_another_class_may_borrow_send(stage: Stage) -> None:
    borrower, put = lend(stage, "send")
    put(socket=FakeSocket(send=[3, failure(errno.EPIPE)]))
    sender: Any = borrower
    assert (sender.send(b"data"), sender.send(b"data")) == (3, 0)
    assert borrower.events == ["close"]


@pytest.mark.parametrize("connecting", [False, True])
@pytest.mark.parametrize(
    ("event", "hook"), [("handle_read_event", "read"), ("handle_write_event", "write")]
)
def test_another_class_may_borrow_an_event(
    stage: Stage, event: str, hook: str, connecting: bool
) -> None:
    borrower, put = lend(stage, event, "handle_connect_event")
    put(socket=FakeSocket(), connecting=connecting)
    getattr(borrower, event)()
    assert borrower.events == [*["connect"][: int(connecting)], hook]


def test_another_class_may_borrow_the_urgent_event(stage: Stage) -> None:
    borrower, put = lend(stage, "handle_expt_event")
    put(socket=FakeSocket(getsockopt=[0, errno.EPIPE]))
    urgent: Any = borrower
    urgent.handle_expt_event()
    urgent.handle_expt_event()
    assert borrower.events == ["expt", "close"]


@pytest.mark.parametrize("answer", [0, errno.EINPROGRESS])
def test_another_class_may_borrow_connect(stage: Stage, answer: int) -> None:
    borrower, put = lend(stage, "connect", "handle_connect_event")
    put(socket=FakeSocket(connect_ex=[answer]))
    connecting: Any = borrower
    connecting.connect(("192.0.2.1", 7))
    assert borrower.events == (["connect"] if answer == 0 else [])


def test_another_class_may_borrow_its_registration(stage: Stage) -> None:
    borrower, put = lend(stage, "set_socket", "add_channel", "del_channel", "close")
    put(_map=stage.map)
    sock = FakeSocket(7)
    registered: Any = borrower
    registered.set_socket(sock)
    assert stage.map == {7: borrower}
    registered.close()
    assert (stage.map, sock.closed) == ({}, True)


def test_another_class_may_borrow_accept(stage: Stage) -> None:
    borrower, put = lend(stage, "accept")
    put(socket=FakeSocket(accept=[("socket", "address")]))
    accepting: Any = borrower
    assert accepting.accept() == ("socket", "address")


class Slotted:
    """A class of the program's own, without room for an attribute that is not its own."""

    __slots__ = ("events",)

    accepting = False

    def __init__(self) -> None:
        self.events: list[str] = []

    def handle_read_event(self) -> None:
        self.events.append("read")

    def handle_close(self) -> None:
        self.events.append("close")

    def handle_error(self) -> None:
        self.events.append("error")


@needs_poll
def test_a_class_with_slots_hears_of_a_hang_up(stage: Stage) -> None:
    channel = Slotted()
    stage.asyncore.readwrite(channel, select.POLLHUP)
    assert channel.events == ["close"]


@both_pollers
def test_a_class_with_slots_may_borrow_the_urgent_hooks(stage: Stage, use_poll: bool) -> None:
    class Urgent(Slotted):
        __slots__ = ()

        handle_expt: Any = stage.asyncore.dispatcher.handle_expt
        handle_expt_event: Any = stage.asyncore.dispatcher.handle_expt_event

        def readable(self) -> bool:
            return True

        def writable(self) -> bool:
            return False

    mine, peer = stage.pair()
    channel = stage.map[mine.fileno()] = Urgent()
    peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["read"]


def test_a_class_with_slots_may_borrow_recv(stage: Stage) -> None:
    class Receiver(Slotted):
        __slots__ = ("socket",)

        recv = stage.asyncore.dispatcher.recv

    channel = Receiver()
    channel.socket = FakeSocket(recv=[b""])  # type: ignore[attr-defined]
    assert channel.recv(10) == b""
    assert channel.events == ["close"]
