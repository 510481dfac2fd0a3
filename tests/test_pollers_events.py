"""Pollers: what is registered with the four kinds, what they report, and how long they wait.

Rules this file keeps:

* Sockets, pipes and files are real.  A stand-in takes the place of the system call where the point
  is what it is given.
* Nothing sleeps, and nothing is timed.  A wait for something has an end; a wait for nothing is one
  of 0 milliseconds.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from fastchat._core import pollers as _pollers
from fastchat._core.poller import Poller
from fastchat._core.pollers import ERROR, HANG_UP, READ, URGENT, WRITE
from tests.support.channels import PATIENCE, alarms, as_the_system, posix_only
from tests.support.pollers import LONG, close_if_open, errno_of, pair


def tcp_pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Two sockets connected over the loopback, for what only TCP has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = stack.enter_context(socket.create_connection(server.getsockname(), PATIENCE))
        mine, _ = server.accept()
    return stack.enter_context(mine), peer


def pipe(stack: ExitStack) -> tuple[int, int]:
    """The reading and the writing end of a pipe."""
    reader, writer = os.pipe()
    stack.callback(close_if_open, reader)
    stack.callback(close_if_open, writer)
    return reader, writer


def fill(sock: socket.socket) -> None:
    """Send until there is no room left."""
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass


# What is reported.


def test_reads_are_reported(poller: Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    poller.register(mine.fileno(), READ)
    assert poller.wait(0) == []
    peer.sendall(b"x")
    assert poller.wait(LONG) == [(mine.fileno(), READ)]


def test_writes_are_reported(poller: Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    peer.sendall(b"x")  # is not asked for
    poller.register(mine.fileno(), WRITE)
    assert poller.wait(LONG) == [(mine.fileno(), WRITE)]


@posix_only  # elsewhere a pair is of TCP, and what was sent may move on and make room again
def test_no_write_is_reported_without_room(poller: Poller, stack: ExitStack) -> None:
    mine, _ = pair(stack)
    poller.register(mine.fileno(), WRITE)
    fill(mine)
    assert poller.wait(0) == []


def test_both_are_reported_in_one(poller: Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    peer.sendall(b"x")
    mine.recv(1, socket.MSG_PEEK)  # it has arrived
    poller.register(mine.fileno(), READ | WRITE)
    assert poller.wait(LONG) == [(mine.fileno(), READ | WRITE)]


def test_urgent_bytes_are_reported(poller: Poller, stack: ExitStack) -> None:
    if isinstance(poller, _pollers.Kqueue):
        pytest.skip("Python has no filter for them")
    mine, peer = tcp_pair(stack)
    poller.register(mine.fileno(), READ | URGENT)
    assert poller.wait(0) == []
    peer.send(b"!", socket.MSG_OOB)
    assert poller.wait(LONG) == [(mine.fileno(), URGENT)]
    poller.modify(mine.fileno(), READ)
    assert poller.wait(0) == []
    poller.modify(mine.fileno(), URGENT | WRITE)
    assert poller.wait(LONG) == [(mine.fileno(), URGENT | WRITE)]
    poller.unregister(mine.fileno())
    poller.register(mine.fileno(), READ)
    assert poller.wait(0) == []


def test_each_descriptor_has_its_own_interest(poller: Poller, stack: ExitStack) -> None:
    (reading, peer), (writing, _) = pair(stack), pair(stack)
    poller.register(reading.fileno(), READ)
    poller.register(writing.fileno(), WRITE)
    assert poller.wait(LONG) == [(writing.fileno(), WRITE)]
    peer.sendall(b"x")
    assert sorted(poller.wait(LONG)) == sorted(
        [(reading.fileno(), READ), (writing.fileno(), WRITE)]
    )


def test_more_events_than_the_least_that_are_asked_for(poller: Poller, stack: ExitStack) -> None:
    fds = [pair(stack)[0].fileno() for _ in range(100)]
    for fd in fds:
        poller.register(fd, WRITE)
    assert sorted(poller.wait(LONG)) == [(fd, WRITE) for fd in sorted(fds)]


def test_the_order_is_that_of_registration(plain: Poller, stack: ExitStack) -> None:
    ends = [pair(stack)[0] for _ in range(3)]
    fds = [ends[i].fileno() for i in (1, 2, 0)]
    for fd in fds:
        plain.register(fd, WRITE)
    plain.modify(fds[0], READ | WRITE)
    assert plain.wait(LONG) == [(fd, WRITE) for fd in fds]


def test_select_reports_reads_before_writes(stack: ExitStack) -> None:
    poller = _pollers.Select()
    (writing, _), (both, peer) = pair(stack), pair(stack)
    peer.sendall(b"x")
    both.recv(1, socket.MSG_PEEK)
    poller.register(writing.fileno(), WRITE)
    poller.register(both.fileno(), READ | WRITE)
    assert poller.wait(LONG) == [(both.fileno(), READ | WRITE), (writing.fileno(), WRITE)]


# Registrations.


def test_registrations_are_kept(poller: Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    poller.register(mine.fileno(), READ)
    for _ in range(2):
        peer.sendall(b"x")
        # Twice, for what is still unread is reported again.
        assert poller.wait(LONG) == poller.wait(LONG) == [(mine.fileno(), READ)]
        mine.recv(1)
        assert poller.wait(0) == []


def test_modify(poller: Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    peer.sendall(b"x")
    mine.recv(1, socket.MSG_PEEK)
    poller.register(mine.fileno(), READ)
    for flags in (READ, WRITE, READ | WRITE, READ):
        poller.modify(mine.fileno(), flags)
        assert poller.wait(LONG) == [(mine.fileno(), flags)]


def test_modify_of_an_unknown_descriptor(poller: Poller, stack: ExitStack) -> None:
    (mine, _), (idle, _) = pair(stack), pair(stack)
    poller.register(idle.fileno(), READ)
    assert errno_of(poller.modify, mine.fileno(), WRITE) == errno.ENOENT
    assert poller.wait(0) == []


def test_unregister(poller: Poller, stack: ExitStack) -> None:
    (mine, _), (other, _) = pair(stack), pair(stack)
    poller.register(mine.fileno(), WRITE)
    poller.register(other.fileno(), WRITE)
    assert len(poller.wait(LONG)) == 2
    assert poller.unregister(mine.fileno())
    assert poller.wait(LONG) == [(other.fileno(), WRITE)]
    poller.register(mine.fileno(), WRITE)
    assert len(poller.wait(LONG)) == 2


def test_unregister_of_an_unknown_descriptor(poller: Poller, stack: ExitStack) -> None:
    mine, _ = pair(stack)
    assert not poller.unregister(mine.fileno())
    assert not poller.unregister(-1)
    poller.register(mine.fileno(), READ)
    assert poller.unregister(mine.fileno())
    assert not poller.unregister(mine.fileno())


@posix_only  # Windows does not wait for nothing
def test_close_forgets(plain: Poller, stack: ExitStack) -> None:
    mine, _ = pair(stack)
    plain.register(mine.fileno(), WRITE)
    assert len(plain.wait(LONG)) == 1
    plain.close()
    assert plain.wait(0) == []
    assert not plain.unregister(mine.fileno())


# Ends.


@posix_only
def test_the_end_of_a_connection(poller: Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    poller.register(mine.fileno(), READ)
    peer.close()
    unasked = HANG_UP if poller.name in ("epoll", "poll") else 0
    assert poller.wait(LONG) == [(mine.fileno(), READ | unasked)]


@posix_only
def test_the_end_of_a_pipe(poller: Poller, stack: ExitStack) -> None:
    reader, writer = pipe(stack)
    poller.register(reader, READ)
    os.close(writer)
    assert poller.wait(LONG) == [(reader, READ if poller.name in ("select", "kqueue") else HANG_UP)]


@posix_only
def test_an_error_is_reported_unasked(poller: Poller, stack: ExitStack) -> None:
    if isinstance(poller, _pollers.Kqueue):
        pytest.skip("a kqueue reports the end of a pipe to its writer as such")
    reader, writer = pipe(stack)
    poller.register(writer, WRITE)
    os.close(reader)
    unasked = ERROR if poller.name in ("epoll", "poll") else 0
    assert poller.wait(LONG) == [(writer, WRITE | unasked)]


# How long is waited, and for how much.


class Recorder:
    """Takes the place of a poll or epoll object, and notes with what it is called to wait."""

    def __init__(self) -> None:
        self.waits: list[tuple[float, ...]] = []

    def fileno(self) -> int:
        return -1

    @as_the_system
    def register(self, fd: int, flags: int) -> None:
        if fd == 0:
            raise OSError(errno.EPERM, "no file that can be waited for")

    def unregister(self, fd: int) -> None:
        pass

    def poll(self, *args: float) -> list[tuple[int, int]]:
        self.waits.append(args)
        return []


def test_epoll_waits_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(select, "epoll", lambda: recorder, raising=False)
    poller = _pollers.Epoll()
    for milliseconds in (-1, -7, 0, 1, 2500):
        assert poller.wait(milliseconds) == []
    assert recorder.waits == [(-1, 1024), (-1, 1024), (0, 1024), (0.001, 1024), (2.5, 1024)]


def test_epoll_does_not_wait_where_something_is_always_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(select, "epoll", lambda: recorder, raising=False)
    poller = _pollers.Epoll()
    poller.register(0, READ)
    assert poller.wait(-1) == poller.wait(2500) == [(0, READ)]
    assert recorder.waits == [(0, 1024), (0, 1024)]


def test_poll_waits_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(select, "poll", lambda: recorder, raising=False)
    poller = _pollers.Poll()
    for milliseconds in (-1, 0, 2500):
        poller.wait(milliseconds)
    assert recorder.waits == [(-1,), (0,), (2500,)]


def test_select_waits_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def noting(*args: Any) -> Any:
        waits.append(args)
        return [], [], []

    monkeypatch.setattr(select, "select", noting)
    poller = _pollers.Select()
    for milliseconds in (-1, -7, 0, 2500):
        poller.wait(milliseconds)
    assert waits == [([], [], [], timeout) for timeout in (None, None, 0, 2.5)]


@posix_only
def test_a_signal_does_not_end_a_wait(poller: Poller, stack: ExitStack) -> None:
    if poller.name == "poll" and sys.implementation.name == "pypy":
        pytest.skip("PyPy's poll() without a time-out returns when a signal was handled")
    mine, peer = pair(stack)
    signals = 0

    def on_alarm(*args: object) -> None:
        nonlocal signals
        signals += 1
        if signals == 3:  # the first two bring nothing
            peer.sendall(b"x")
        assert signals < 1000, "the wait goes on after what it waited for"

    poller.register(mine.fileno(), READ)
    with alarms(on_alarm, 0.01, 0.01):
        assert poller.wait(-1) == [(mine.fileno(), READ)]
