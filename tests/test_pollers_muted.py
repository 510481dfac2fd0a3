"""Pollers: who is muted, so that a hang-up of it ends no wait.

Rules this file keeps:

* Sockets, pipes and files are real.  A stand-in takes the place of the system call where the point
  is what it is given.
* Nothing sleeps, and nothing is timed.  A wait for something has an end; a wait for nothing is one
  of 0 milliseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastchat._core import pollers as _pollers
from fastchat._core.pollers import HANG_UP, READ, WRITE
from tests.support.channels import fail_with, needs_epoll, needs_poll, posix_only
from tests.support.pollers import LONG, FakeKqueue, close_if_open, pair


def hung_up(stack: ExitStack, directory: Path) -> tuple[int, Callable[[], int]]:
    """The reading end of a fifo whose writer has gone, and what opens it for writing."""
    path = directory / "fifo"
    os.mkfifo(path)

    def write() -> int:
        writer = os.open(path, os.O_WRONLY)
        stack.callback(close_if_open, writer)
        return writer

    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    stack.callback(close_if_open, reader)
    os.close(write())
    return reader, write


@posix_only
def test_the_hang_up_of_who_is_muted_ends_no_wait(
    unasked: Any, stack: ExitStack, tmp_path: Path
) -> None:
    reader, _ = hung_up(stack, tmp_path)
    unasked.register(reader, READ)
    assert [unasked.wait(0) for _ in range(2)] == [[(reader, HANG_UP)]] * 2
    for _ in range(2):
        unasked.mute(reader, READ)
        assert [unasked.wait(0) for _ in range(2)] == [[], []]
    other, peer = pair(stack)
    unasked.register(other.fileno(), READ)
    peer.sendall(b"x")
    assert unasked.wait(LONG) == [(other.fileno(), READ)]


@posix_only
def test_what_else_happens_to_who_is_muted_is_told_until_it_is_no_more(
    unasked: Any, stack: ExitStack, tmp_path: Path
) -> None:
    reader, write = hung_up(stack, tmp_path)
    unasked.register(reader, READ)
    unasked.mute(reader, READ)
    assert unasked.wait(0) == []
    writer = write()
    assert unasked.wait(0) == []
    os.write(writer, b"x")
    assert unasked.wait(LONG) == [(reader, READ)]
    assert not unasked.muted
    assert [unasked.wait(0) for _ in range(3)] == [[(reader, READ)]] * 3


@posix_only
@pytest.mark.parametrize("change", ["modify", "unregister", "close"])
def test_who_is_changed_is_muted_no_more(
    unasked: Any, stack: ExitStack, tmp_path: Path, change: str
) -> None:
    reader, _ = hung_up(stack, tmp_path)
    unasked.register(reader, READ)
    unasked.mute(reader, READ)
    if change == "modify":
        unasked.modify(reader, READ | WRITE)
    elif change == "unregister":
        assert unasked.unregister(reader)
        assert unasked.wait(0) == []
        assert not unasked.unregister(reader)
    else:
        unasked.close()
        assert not unasked.muted
        unasked = type(unasked)()
        stack.callback(unasked.close)
    assert not unasked.muted
    if change != "modify":
        unasked.register(reader, READ)
    assert unasked.wait(LONG) == [(reader, HANG_UP)]


@posix_only
def test_the_number_of_who_is_muted_may_be_used_again(
    unasked: Any, stack: ExitStack, tmp_path: Path
) -> None:
    reader, _ = hung_up(stack, tmp_path)
    mine, peer = pair(stack)
    unasked.register(reader, READ)
    unasked.mute(reader, READ)
    os.dup2(mine.fileno(), reader)
    unasked.unregister(reader)
    unasked.register(reader, READ)
    peer.close()
    assert [unasked.wait(LONG) for _ in range(2)] == [[(reader, READ | HANG_UP)]] * 2


@posix_only
def test_a_signal_handler_may_unregister_who_is_muted_no_more(
    unasked: Any, stack: ExitStack, tmp_path: Path
) -> None:
    class Interrupted(dict[int, int]):
        def get(self, fd: int, default: Any = None) -> Any:
            flags = super().get(fd, default)
            if flags is not default:
                unasked.unregister(fd)  # as a handler does between this call and the next
            return flags

    reader, write = hung_up(stack, tmp_path)
    unasked.register(reader, READ)
    unasked.mute(reader, READ)
    assert unasked.wait(0) == []
    os.write(write(), b"x")
    unasked.muted = Interrupted(unasked.muted)
    assert unasked.wait(LONG) == [(reader, READ)]
    assert not unasked.muted


@needs_epoll
def test_epoll_tells_of_a_quiet_file_that_was_closed(
    epoll: _pollers.Epoll, stack: ExitStack, tmp_path: Path
) -> None:
    reader, write = hung_up(stack, tmp_path)
    epoll.register(reader, READ)
    epoll.mute(reader, READ)
    assert epoll.wait(0) == []
    stack.callback(os.close, os.dup(reader))  # so that it stays in the set
    os.close(reader)
    os.write(write(), b"x")
    assert epoll.wait(LONG) == [(reader, READ)]


@needs_poll
@pytest.mark.parametrize("milliseconds", [-1, 5])
def test_poll_asks_the_quiet_in_between(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, milliseconds: int
) -> None:
    def others(milliseconds: int) -> list[tuple[int, int]]:
        waits.append(milliseconds)
        if len(waits) == 3:
            os.write(write(), b"x")
        return []

    waits: list[int] = []
    monkeypatch.setattr(_pollers, "_ASK_QUIET", 2)
    reader, write = hung_up(stack, tmp_path)
    poller = _pollers.Poll()
    poller.register(reader, READ)
    poller.mute(reader, READ)
    monkeypatch.setattr(
        poller, "_poll", SimpleNamespace(poll=others, register=lambda fd, flags: None)
    )
    assert poller.wait(milliseconds) == [(reader, READ)]
    assert waits == ([2, 2, 2] if milliseconds < 0 else [2, 2, 1])


def test_where_a_hang_up_ends_no_wait_nobody_has_to_be_quiet(
    kqueue: FakeKqueue, stack: ExitStack
) -> None:
    mine, _ = pair(stack)
    for poller in (_pollers.Select(), _pollers.Kqueue()):
        poller.register(mine.fileno(), WRITE)
        poller.mute(mine.fileno(), WRITE)
        assert not poller.muted
    assert len(kqueue.filters) == 1


@needs_poll
def test_poll_forgets_nobody_though_quieten_is_interrupted(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, write = hung_up(stack, tmp_path)
    poller = _pollers.Poll()
    poller.register(reader, READ)
    real = poller._poll
    poller._poll = SimpleNamespace(unregister=fail_with(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        poller.mute(reader, READ)
    poller._poll = real
    assert poller.wait(0) == [(reader, HANG_UP)]
    poller.mute(reader, READ)
    assert poller.wait(0) == []
    os.write(write(), b"x")
    assert poller.wait(LONG) == [(reader, READ)]


def test_who_cannot_be_made_quiet_by_epoll_is_not_noted() -> None:
    poller = _pollers.Epoll.__new__(_pollers.Epoll)
    poller.muted = {}
    poller._set = SimpleNamespace(modify=fail_with(FileNotFoundError()))
    with pytest.raises(FileNotFoundError):
        poller.mute(7, WRITE)
    assert not poller.muted


def test_what_is_left_of_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 12.5)
    assert [_pollers.rest_of(ms, 10.0) for ms in (-1, 0, 2000, 3000)] == [-1, 0, 0, 500]
