"""Corners of the loop and of a channel's state that no program should reach, and some do.

What is done here by force (the poller closed under the loop, a map changed past its methods, errors
of the kernel) must cost what it has to, and nothing else.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    FakeSocket,
    Stage,
    as_the_system,
    fail_with,
    failure,
    inside,
    watch_a_dict,
    watch_of,
)
from tests.support.implementations import Implementation


def chats_of(stage: Stage, count: int = 2) -> list[Any]:
    chats = [stage.chat() for _ in range(count)]
    stage.loop()
    return chats


# The poller.


def test_a_set_that_cannot_be_made_again_becomes_poll(own: Stage) -> None:
    (chat,) = chats_of(own, 1)
    watch = watch_of(own)
    pollers = own.implementation.core["pollers"]

    class Spent(pollers.Poll):  # type: ignore[misc, name-defined]
        @as_the_system
        def __new__(cls) -> Any:
            raise failure(errno.EMFILE)

    watch.make_new_set(Spent)
    assert type(watch.poller) is pollers.Poll
    assert own.feed(chat, b"x\n") == [b"x", "found"]


def test_what_the_kernel_knows_already_is_modified(own: Stage) -> None:
    (chat,) = chats_of(own, 1)
    watch = watch_of(own)
    watch.registered[chat._fileno] = 0
    watch._register(chat._fileno, select.POLLIN | select.POLLOUT)
    assert watch.poller.wait(0) == [(chat._fileno, select.POLLOUT)]


def test_a_number_that_means_another_file_is_registered_when_the_flags_change(own: Stage) -> None:
    (chat,) = chats_of(own, 1)
    watch = watch_of(own)
    mine, peer = own.pair()
    os.dup2(mine.fileno(), chat._fileno)
    watch._register(chat._fileno, select.POLLIN | select.POLLOUT)
    assert watch.needs_new_set
    peer.sendall(b"x\n")
    own.loop(timeout=PATIENCE)
    assert chat.events == [b"x", "found"]


def test_a_number_that_means_another_file_is_registered_by_a_check(own: Stage) -> None:
    (chat,) = chats_of(own, 1)
    mine, peer = own.pair()
    os.dup2(mine.fileno(), chat._fileno)
    peer.sendall(b"x\n")
    own.loop(timeout=PATIENCE)
    assert chat.events == [b"x", "found"]


@pytest.mark.parametrize("when", ["a channel joins", "a check", "a wait"])
def test_a_set_that_was_closed_costs_no_channel(
    own: Stage, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    (chat,) = chats_of(own, 1)
    watch = watch_of(own)
    if when != "a check":
        monkeypatch.setitem(inside(own, "passes"), "CHECK_ALL_UP_TO", 0)
    os.close(watch.poller.fileno())
    if when == "a channel joins":
        chat = own.chat()
    chat.peer.sendall(b"x\n")
    own.loop(3)
    assert chat.events == [b"x", "found"]


def waiting_by(own: Stage, wait: Any) -> Any:
    """The poller of *own*'s watch, with another function to wait by."""
    poller = watch_of(own).poller
    names = ("register", "modify", "unregister", "close", "is_kernel_set", "always", "muted")
    return SimpleNamespace(wait=wait, **{name: getattr(poller, name) for name in names})


def test_an_error_of_the_wait_that_is_to_leave_the_loop_leaves_it(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats_of(own, 1)
    own.loop()
    monkeypatch.setattr(watch_of(own), "poller", waiting_by(own, fail_with(ConnectionError())))
    monkeypatch.setattr(own.asyncore, "_reraised_exceptions", (ConnectionError,))
    with pytest.raises(ConnectionError):
        own.loop()


def test_what_died_in_a_quiet_wait_ends_it(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    (chat,) = chats_of(own, 1)
    own.loop()

    def die(milliseconds: int) -> Any:
        chat.socket.close()
        return []

    monkeypatch.setattr(watch_of(own), "poller", waiting_by(own, die))
    own.loop(timeout=PATIENCE)
    assert (chat.events, own.map) == (["close"], {})


def test_who_waits_for_nothing_is_not_registered_in_a_new_set(own: Stage) -> None:
    idle = own.dispatcher(readable=lambda channel: False)
    (chat,) = chats_of(own, 1)
    watch = watch_of(own)
    watch.make_new_set(type(watch.poller))
    assert (watch.registered[idle._fileno], watch.registered[chat._fileno]) == (0, select.POLLIN)


def test_a_poller_without_a_set_reports_a_closed_descriptor(
    unchecked: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = unchecked
    pollers = own.implementation.core["pollers"]
    monkeypatch.setattr(pollers, "available", lambda: (pollers.Poll,))
    closed, other = chats_of(own)
    closed.socket.close()
    own.loop()
    assert (closed.events, list(own.map.values())) == (["close"], [other])


# The map.


def test_a_map_changed_past_its_methods_is_seen_by_a_check(own: Stage) -> None:
    chat, other = chats_of(own)
    dict.__setitem__(own.map, chat._fileno, other)
    own.loop()
    assert watch_of(own).touched
    own.loop()
    assert watch_of(own).entries[chat._fileno].channel is other
    dict.__delitem__(own.map, chat._fileno)


def test_a_map_changed_past_its_methods_is_seen_when_it_is_touched(unchecked: Stage) -> None:
    own = unchecked
    chat, other = chats_of(own)
    dict.__setitem__(own.map, chat._fileno, other)
    watch_of(own).touched[chat._fileno] = None
    own.loop()
    assert watch_of(own).entries[chat._fileno].channel is other
    dict.__delitem__(own.map, chat._fileno)


def test_a_predicate_may_close_another_channel_that_is_asked(own: Stage) -> None:
    asked: list[Any] = []

    def readable(channel: Any) -> bool:
        for other in asked:
            if other is not channel:
                other.close()
        return True

    asked += [own.dispatcher(readable=lambda channel: True) for _ in range(2)]
    own.loop()
    asked[0].__class__.readable = readable
    own.loop()
    assert list(own.map.values()) == asked[:1]


def test_checks_end_where_nobody_is_left(own: Stage) -> None:
    def handle_close(channel: Any) -> None:
        for other in list(own.map.values()):
            other.close()

    chats = [own.chat(handle_close=handle_close) for _ in range(2)]
    own.loop()
    watch_of(own).order = [chats[0]._fileno]
    for chat in chats:
        chat.socket.close()
    own.loop()
    assert own.map == {}


def test_a_duck_on_a_plain_map_that_is_dead_is_forgotten(own: Stage) -> None:
    class Duck:
        accepting = False
        told = 0

        def __init__(self) -> None:
            self.socket = own.pair()[0]

        def readable(self) -> bool:
            return True

        def writable(self) -> bool:
            return False

        def handle_close(self) -> None:
            self.told += 1

        def close(self) -> None:
            pass

    duck = Duck()
    map: dict[int, Any] = {duck.socket.fileno(): duck}
    assert own.asyncore._watch_over(map, own.asyncore._family, True)
    own.asyncore.poll(0, map)
    duck.socket.close()
    own.asyncore.poll(0, map)
    own.implementation.core["maps"].release(map)
    assert (map, duck.told) == ({}, 1)


def test_a_map_may_change_before_any_pass(own: Stage) -> None:
    map = own.asyncore.channel_map({1: "a", 2: "b", 3: "c"})
    map[4] = "d"
    del map[1]
    assert (map.popitem(), map.pop(3)) == ((4, "d"), "c")
    map.clear()
    assert map == {}


# Events and interests.


def test_who_wants_no_input_any_more_gets_none(unchecked: Stage) -> None:
    (chat,) = chats_of(unchecked, 1)
    chat.readable = lambda: False
    chat.peer.sendall(b"x\n")
    unchecked.loop(2)
    assert chat.events == []


@pytest.mark.parametrize("use_poll", [False, True])
def test_who_wants_nothing_any_more_hears_of_no_hang_up(unchecked: Stage, use_poll: bool) -> None:
    (chat,) = chats_of(unchecked, 1)
    unchecked.loop(use_poll=use_poll)
    chat.readable = chat.writable = lambda: False
    chat.peer.close()
    unchecked.loop(2, use_poll)
    assert chat.events == []


@pytest.mark.parametrize("name", ["poll", "poll2"])
def test_a_single_pass_buries_what_was_closed(own: Stage, name: str) -> None:
    map: dict[int, Any] = {}

    class Stubborn(own.asyncore.dispatcher):  # type: ignore[misc, name-defined]
        closes = 0

        def handle_close(self) -> None:
            self.closes += 1

    channel = Stubborn(own.pair()[0], map)
    channel.socket.close()
    getattr(own.asyncore, name)(0, map)
    assert (map, channel.closes) == ({}, 1)


def test_a_single_pass_without_poll_refuses_what_select_does_not_take(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large(own.asyncore.dispatcher):  # type: ignore[misc, name-defined]
        pass

    refuse = fail_with(ValueError("filedescriptor out of range in select()"))
    map: dict[int, Any] = {}
    Large(own.pair()[0], map)
    monkeypatch.setattr(own.asyncore.select, "select", refuse)
    monkeypatch.delattr(own.asyncore.select, "poll")
    with pytest.raises(ValueError, match="out of range"):
        own.asyncore.poll(0, map)


# The state of a channel.


@pytest.mark.parametrize("name", ["producer_fifo", "socket", "ac_in_buffer"])
def test_an_attribute_may_be_deleted_and_is_gone(own: Stage, name: str) -> None:
    chat = own.chat()
    sock = chat.socket
    delattr(chat, name)
    assert not hasattr(chat, name)
    with pytest.raises(AttributeError, match=name):
        getattr(chat, name)
    chat.socket = sock


def test_a_channel_that_was_not_made_has_no_queue(own: Stage) -> None:
    chat = object.__new__(own.asynchat.async_chat)
    with pytest.raises(AttributeError, match="producer_fifo"):
        chat.push(b"data")
    chat.socket = None
    with pytest.raises(AttributeError, match="producer_fifo"):
        chat.push(b"data")


def test_a_channel_may_become_another(own: Stage) -> None:
    chat = own.chat()

    class Hiding(chat.__class__):  # type: ignore[misc, name-defined]
        producer_fifo = None

    chat.__class__ = Hiding
    chat.producer_fifo = [b"data"]
    chat.initiate_send()
    assert chat.peer.recv(9) == b"data"
    assert not chat._fc_state.fits(chat)


def test_a_channel_with_slots_may_borrow_its_registration(ours: Implementation) -> None:
    class Slotted:
        __slots__ = ("_fileno", "_map", "accepting", "connected", "connecting", "socket")
        add_channel = ours.asyncore.dispatcher.add_channel
        del_channel = ours.asyncore.dispatcher.del_channel
        close = ours.asyncore.dispatcher.close

    slotted: Any = Slotted()
    slotted._fileno, slotted._map, slotted.socket = 7, {}, FakeSocket(7)
    slotted.add_channel()
    assert slotted._map == {7: slotted}
    slotted.close()
    assert (slotted._map, slotted._fileno, slotted.connected) == ({}, None, False)
    assert slotted.socket.closed


def test_a_listener_with_slots_may_borrow_accept(ours: Implementation) -> None:
    class Slotted:
        said: list[str]
        __slots__ = ("_map", "said", "socket")
        accept = ours.asyncore.dispatcher.accept

        def log_info(self, message: str, kind: str) -> None:
            self.said.append(message)

    class Exhausted:
        def accept(self) -> Any:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    slotted: Any = Slotted()
    slotted.said, slotted._map, slotted.socket = [], {}, Exhausted()
    assert slotted.accept() is None
    (said,) = slotted.said
    assert "cannot accept a connection now" in said


def test_a_class_may_refuse_attributes_that_it_does_not_know(own: Stage) -> None:
    class Strict(own.asyncore.dispatcher):  # type: ignore[misc, name-defined]
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "_fc_hung_up":
                raise AttributeError(name)
            super().__setattr__(name, value)

        def handle_read(self) -> None:
            self.recv(10)

        def handle_close(self) -> None:
            events.append("close")
            self.close()

    events: list[str] = []
    mine, peer = own.pair()
    Strict(mine, own.map)
    peer.close()
    own.loop(3)
    assert events == ["close"]
    assert not own.map


def test_an_object_may_take_over_the_dict_of_a_channel_in_a_hook(own: Stage) -> None:
    def found_terminator(chat: Any) -> None:
        if "heir" not in vars(chat):
            chat.heir = object.__new__(chat.__class__)
            chat.heir.__dict__ = chat.__dict__
        chat.heir.push(b"from the heir\n")

    chat = own.chat(found_terminator=found_terminator)
    own.feed(chat, b"1\n2\n")
    assert chat.peer.recv(99) == b"from the heir\n" * 2


def test_a_pass_leaves_alone_what_another_threads_hook_holds(own: Stage) -> None:
    holds, goes_on = threading.Event(), threading.Event()

    def found_terminator(chat: Any) -> None:
        if not holds.is_set():
            chat.push(b"held\n")
            holds.set()
            assert goes_on.wait(PATIENCE)

    chat = own.chat(found_terminator=found_terminator)
    chat.peer.sendall(b"1\n2\n")
    thread = threading.Thread(target=chat.handle_read)
    thread.start()
    assert holds.wait(PATIENCE)
    own.implementation.core["outgoing"].flush_this_thread()
    chat.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        chat.peer.recv(9)
    goes_on.set()
    thread.join()
    chat.peer.settimeout(PATIENCE)
    assert chat.peer.recv(9) == b"held\n"


def test_a_blocking_socket_sends_all(own: Stage) -> None:
    mine, peer = own.pair()
    channel = own.asyncore.dispatcher(mine, own.map)
    mine.setblocking(True)
    got: list[bytes] = []

    def receive() -> None:
        while sum(map(len, got)) < 5_000_000:
            got.append(peer.recv(1 << 20))

    reader = threading.Thread(target=receive)
    reader.start()
    assert channel.send(b"x" * 5_000_000) == 5_000_000
    reader.join()
    channel.close()


def test_who_wants_no_room_any_more_gets_none(unchecked: Stage) -> None:
    own = unchecked
    stopped = own.chat()

    def found_terminator(chat: Any) -> None:
        stopped.writable = lambda: False

    other = own.chat(found_terminator=found_terminator)
    own.loop()
    stopped.producer_fifo.append(b"data")
    other.peer.sendall(b"x\n")
    own.loop()
    assert (other.events, list(stopped.producer_fifo)) == ([b"x", "found"], [b"data"])


def test_who_was_taken_off_a_plain_map_in_the_same_pass_hears_nothing(own: Stage) -> None:
    watch_a_dict(own)
    chats: list[Any] = []

    def found_terminator(chat: Any) -> None:
        for other in chats:
            if other is not chat:
                del own.map[other._fileno]

    chats += [own.chat(found_terminator=found_terminator) for _ in range(2)]
    for chat in chats:
        chat.peer.sendall(b"x\n")
    own.loop()
    assert sorted(len(chat.events) for chat in chats) == [0, 2]


def test_a_channel_may_close_itself_when_it_is_asked_again(own: Stage) -> None:
    def readable(channel: Any) -> bool:
        if channel.events:
            channel.close()
        return True

    channel = own.dispatcher(readable=readable)
    own.loop()
    channel.events.append("enough")
    own.loop()
    assert own.map == {}


def test_a_write_event_begins_a_new_event_in_a_loop_of_ones_own(own: Stage) -> None:
    chat = own.chat(handle_close=lambda channel: None)
    chat.peer.close()
    chat.handle_read_event()
    assert (chat.events, chat._fc_hung_up) == (["close"], chat.socket)
    chat.handle_write_event()
    assert (chat.events, chat._fc_hung_up) == (["close"], None)


def test_to_flush_what_holds_nothing_sends_nothing(own: Stage) -> None:
    chat = own.chat(send=fail_with(AssertionError("nothing is to be sent")))
    chat.producer_fifo.append(b"waits for the loop")
    own.implementation.core["outgoing"].flush(chat)
    assert list(chat.producer_fifo) == [b"waits for the loop"]
