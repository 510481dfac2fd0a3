"""Passes that ``loop`` makes many at a time, and how it comes back from them."""

from __future__ import annotations

import ctypes
import platform
import select
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, inside, needs_poll
from tests.support.line_channels import line_channel, settle, tell


class Never(BaseException):
    """An exception that only another thread sets."""


def begin(own: Stage) -> Any:
    """The watch of the map of *own*, before its first pass."""
    return own.asyncore._watch_over(own.map, own.asyncore._family, True)


def make_passes(own: Stage, watch: Any, timeout: float = 10) -> None:
    own.asyncore._make_passes(watch, own.asyncore._family, timeout, True, True)


def restless(own: Stage, handle_read: Any) -> Any:
    """A channel that leaves its input where it is, so that each pass has an event."""
    here, there = own.pair()
    members = {"handle_read": handle_read, "writable": lambda self: False}
    channel = type("Restless", (own.asyncore.dispatcher,), members)(here, own.map)
    there.sendall(b"x")
    return channel


def test_a_pass_in_which_nothing_happens_is_the_last_of_many(own: Stage) -> None:
    line_channel(own)
    watch = begin(own)
    make_passes(own, watch, 0)
    settle(own)
    before = watch.passes
    make_passes(own, watch, 0)
    assert watch.passes == before + 1


def test_they_end_now_and_then_whatever_happens(own: Stage) -> None:
    reads: list[Any] = []
    restless(own, lambda channel: reads.append(channel))
    make_passes(own, begin(own))
    assert len(reads) == 64


def test_they_end_with_the_last_channel(own: Stage) -> None:
    reads: list[Any] = []

    def handle_read(channel: Any) -> None:
        reads.append(channel)
        if len(reads) == 3:
            channel.close()

    restless(own, handle_read)
    make_passes(own, begin(own))
    assert len(reads) == 3
    assert not own.map


@needs_poll
def test_they_end_where_another_way_to_wait_is_wanted(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Any] = []
    poll = select.poll

    def handle_read(channel: Any) -> None:
        reads.append(channel)
        if len(reads) == 3:
            monkeypatch.setattr(select, "poll", lambda: poll())
        if len(reads) == 5:
            raise own.asyncore.ExitNow

    restless(own, handle_read)
    make_passes(own, begin(own))
    assert len(reads) == 3
    with pytest.raises(own.asyncore.ExitNow):
        own.asyncore.loop(10, True, own.map)
    assert own.map


def test_another_import_that_makes_them_looks_at_its_own_select(own: Stage) -> None:
    """Both have one map, whose registrations belong to the first."""
    other = inside(own, "family")["Family"](dict(vars(own.asyncore)))
    reads: list[Any] = []

    def handle_read(channel: Any) -> None:
        reads.append(channel)
        if len(reads) == 3:
            other.names["select"] = SimpleNamespace()

    restless(own, handle_read)
    own.asyncore._make_passes(begin(own), other, 10, True, True)
    assert len(reads) == 3


@pytest.mark.skipif(
    platform.python_implementation() != "CPython", reason="only CPython lets a thread raise so"
)
def test_an_idle_loop_hears_an_exception_of_another_thread(own: Stage) -> None:
    """Only Python looks for one: ``loop`` behind a pass without events, or a check of channels."""
    line_channel(own)
    own.asyncore.loop(0, True, own.map, 2)
    watch = begin(own)
    me, before = threading.get_ident(), watch.passes
    found: list[int] = []  # how many threads were told, and in which pass

    def interrupt() -> None:
        until = time.monotonic() + PATIENCE
        while watch.passes < before + 3 and time.monotonic() < until:
            threading.Event().wait(0.001)
        now = watch.passes
        told = ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(me), ctypes.py_object(Never)
        )
        found.extend((told, now))

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Never):
        own.asyncore.loop(0.01, True, own.map)
    thread.join()
    told, now = found
    assert told == 1
    assert now <= watch.passes < now + 10


def test_a_line_channel_that_wants_urgent_bytes_gets_them(own: Stage) -> None:
    """So it cannot be asked in the short way."""
    here, there = own.tcp_pair()
    urgent: list[bytes] = []
    channel = line_channel(
        own, here, handle_expt=lambda self: urgent.append(self.socket.recv(1, socket.MSG_OOB))
    )
    settle(own)
    there.send(b"!", socket.MSG_OOB)
    own.until(lambda: urgent, use_poll=True)
    assert urgent == [b"!"]
    there.sendall(b"line\r\n")
    own.until(lambda: b"line" in channel.events, use_poll=True)


@pytest.mark.parametrize("is_stock", [True, False])
def test_a_property_of_a_line_channel_is_not_looked_at_to_find_out_what_it_is(
    own: Stage, is_stock: bool
) -> None:
    """What it raises there would leave the loop."""

    def fail(channel: Any) -> bool:
        raise RuntimeError("a property")

    members: Any = {"accepting": property(fail, lambda channel, value: None)}
    if not is_stock:
        members["readable"] = lambda channel: True
    channel = line_channel(own, **members)
    assert b"line" in tell(own, channel, b"line\r\n")
