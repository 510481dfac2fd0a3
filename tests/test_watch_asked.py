"""Registrations that are kept: what a pass costs, and which changes it notices all the same.

What the standard library does as well runs on it too.

Rules this file keeps: readiness is real; where many channels matter, the bound is lowered
(``unchecked``) rather than many channels made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, both_pollers, inside, posix_only, watch_of
from tests.support.implementations import Implementation
from tests.support.watched import asked, reader

if sys.platform != "win32":
    import resource


# What a pass costs.


@posix_only
@both_pollers
@pytest.mark.parametrize("map_kind", ["channel_map", "dict", "one pass over a dict"])
def test_d4_descriptors_beyond_what_select_takes(own: Stage, use_poll: bool, map_kind: str) -> None:
    number = 1500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft <= number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, hard))
    try:
        if map_kind != "channel_map":
            own.map = {}
        mine, peer = own.pair()
        high = own.at_number(mine, number)
        channel = reader(own, high, handle_close=lambda channel: channel.close())
        low = reader(own)
        for sock in (peer, low.peer):
            sock.sendall(b"x")
        if map_kind == "one pass over a dict":
            own.loop(use_poll=use_poll)
            assert (channel.got, low.got) == ([b"x"], [b"x"])
        mine.close()
        for sock in (peer, low.peer):
            sock.close()
        own.asyncore.loop(PATIENCE, use_poll, own.map)
        assert b"".join(channel.got) == b"".join(low.got) == b"x"
        assert channel.events[-1] == low.events[-1] == "close"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@both_pollers
def test_a_stock_channel_is_not_asked_while_nothing_happens(
    unchecked: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool
) -> None:
    own = unchecked
    who: list[Any] = []

    class Noting(type):
        """The class of one channel; whoever asks that looks for readable on its class."""

        def __getattribute__(cls, name: str) -> Any:
            if name == "readable":
                who.append(cls)
            return super().__getattribute__(name)

    def noting(channel: Any) -> Any:
        channel.__class__ = Noting("Noted", (type(channel),), {})
        return channel

    chats = [noting(own.chat()) for _ in range(20)]
    readers = [noting(reader(own)) for _ in range(5)]
    listener = noting(own.listener())
    always = asked(own)
    own.loop(use_poll=use_poll)
    assert set(who) == {type(channel) for channel in (*chats, *readers, listener)}
    who.clear()
    before = always.count
    own.loop(10, use_poll)
    assert who == []
    assert always.count - before == 10
    for channel in (chats[3], readers[3]):
        who.clear()
        channel.peer.sendall(b"x\n")
        own.loop(3, use_poll)
        assert set(who) <= {type(channel)}
        assert len(who) <= 4
    assert (chats[3].events, readers[3].got) == ([b"x", "found"], [b"x\n"])


TRACKED = """
import socket
from fastchat import asynchat, asyncore
from fastchat._core.asking import ask_chat, is_tracked
from fastchat._core.pollers import READ

for base in (asyncore.dispatcher, asyncore.dispatcher_with_send, asynchat.async_chat):
    mine, peer = socket.socketpair()
    with mine, peer:
        channel = base(mine, {})
        is_chat = base is asynchat.async_chat
        fits = not is_chat or ask_chat(channel, asyncore._family.stock_chat) == READ
        print(base.__name__, is_tracked(asyncore._family, channel), fits)
"""


def test_a_stock_channel_is_tracked_in_the_development_mode(ours: Implementation) -> None:
    """There, what was released is overwritten; whoever looks at it still finds something else."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", TRACKED],
        env=os.environ | {"FASTCHAT_IMPLEMENTATION": ours.name},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        ["dispatcher True True", "dispatcher_with_send True True", "async_chat True True"],
    )


# What is changed behind its back.


def _assign_connected(chat: Any) -> None:
    chat.connected = False


def _put_a_predicate_on_it(chat: Any) -> None:
    chat.writable = lambda: True


def _fill_a_queue_got_earlier(chat: Any) -> None:
    chat.queue_of_the_test.append(b"late")


def _close_the_descriptor(chat: Any) -> None:
    os.close(chat.socket.fileno())


def _close_the_socket(chat: Any) -> None:
    chat.socket.close()


CHANGES = [
    (_assign_connected, "write"),
    (_put_a_predicate_on_it, "write"),
    (_fill_a_queue_got_earlier, "write"),
    (_close_the_descriptor, "close"),
    (_close_the_socket, "close"),
]


@posix_only
@both_pollers
@pytest.mark.parametrize("way", ["few", "quiet", "busy"])
@pytest.mark.parametrize(("change", "event"), CHANGES)
def test_a_change_behind_our_back_is_noticed_in_the_end(
    own: Stage,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], None],
    event: str,
    way: str,
    use_poll: bool,
) -> None:
    def noticed(channel: Any) -> None:
        if way == "quiet":
            raise own.asyncore.ExitNow

    def handle_close(channel: Any) -> None:
        channel.close()
        noticed(channel)

    victim = own.chat(handle_write=noticed, handle_close=handle_close)
    victim.queue_of_the_test = victim.producer_fifo
    others = [own.chat() for _ in range(5)]
    own.loop(2, use_poll)
    assert victim.events == []
    if way == "few":
        change(victim)
        own.loop(use_poll=use_poll)
    elif way == "quiet":
        monkeypatch.setitem(inside(own, "passes"), "CHECK_ALL_UP_TO", 0)
        monkeypatch.setitem(inside(own, "passes"), "IDLE_MS", 1)

        def found(channel: Any) -> None:
            change(victim)
            watch_of(own).events = 0  # no check is due for what happened before

        trigger = own.chat(found_terminator=found)
        trigger.peer.sendall(b"\n")
        # Two waits as long as they like: what is noticed at their end only is not noticed.
        with pytest.raises(own.asyncore.ExitNow):
            own.asyncore.loop(PATIENCE, use_poll, own.map, 2)
    else:
        monkeypatch.setitem(inside(own, "passes"), "CHECK_ALL_UP_TO", 0)
        busy = own.dispatcher(handle_read=lambda channel: None)
        busy.peer.sendall(b"never read")
        own.loop(use_poll=use_poll)
        change(victim)
        # One loop: the passes that a program makes itself have checks of their own.
        passes = inside(own, "passes")["EVENTS_PER_CHECK"] * (len(own.map) + 1)
        own.asyncore.loop(0, use_poll, own.map, passes)
    assert victim.events[:1] == [event]
    assert all(other.events == [] for other in others)
