"""Pollers of every kind, and what the files test_pollers_*.py let them wait for.

This is a plugin of pytest, for the fixtures that those files share.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastchat._core import pollers as _pollers
from fastchat._core.poller import Poller
from tests.support.channels import PATIENCE, as_the_system, failure

LONG = PATIENCE * 1000  # in milliseconds


@pytest.fixture(params=_pollers.available(), ids=lambda kind: kind.name)
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    """One of each kind that the system has."""
    yield from closed_at_the_end(request.param())


@pytest.fixture(
    params=[kind for kind in _pollers.available() if not kind.is_kernel_set],
    ids=lambda kind: kind.name,
)
def plain(request: pytest.FixtureRequest) -> Iterator[Poller]:
    """One of each kind that names all descriptors at each wait."""
    yield from closed_at_the_end(request.param())


@pytest.fixture
def epoll() -> Iterator[_pollers.Epoll]:
    yield from closed_at_the_end(_pollers.Epoll())


def closed_at_the_end(poller: Any) -> Iterator[Any]:
    """Give *poller* to a fixture, and close it when the test ends."""
    yield poller
    poller.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be closed when the test ends."""
    with ExitStack() as stack:
        yield stack


def pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets."""
    mine, peer = socket.socketpair()
    return stack.enter_context(mine), stack.enter_context(peer)


def number(stack: ExitStack) -> tuple[int, socket.socket]:
    """A descriptor without a socket object, which the test may close, and its peer."""
    mine, peer = socket.socketpair()
    fd = mine.detach()
    stack.callback(close_if_open, fd)
    return fd, stack.enter_context(peer)


def close_if_open(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:
        return
    os.close(fd)


def regular_file(stack: ExitStack, directory: Path) -> int:
    """The descriptor of an empty file."""
    return stack.enter_context((directory / "file").open("w+b")).fileno()


def errno_of(call: Callable[..., object], *args: int) -> int | None:
    """The number of the OSError that *call* raises."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is asked for
        call(*args)
    return caught.value.errno


@pytest.fixture(params=["epoll", "poll"])
def unasked(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One of each kind that tells of hang-ups unasked."""
    kinds = [kind for kind in _pollers.available() if kind.name == request.param]
    if not kinds:
        pytest.skip(f"the system has no {request.param}")
    yield from closed_at_the_end(kinds[0]())


class FakeKqueue:
    """Keeps filters as a kernel does, and answers a wait with *events*.

    *refused* are pairs of descriptor and filter that it does not take.
    """

    def __init__(self) -> None:
        self.filters: set[tuple[int, int]] = set()
        self.changes: list[tuple[int, int, int]] = []
        self.refused: set[tuple[int, int]] = set()
        self.events: list[SimpleNamespace] = []
        self.waits: list[tuple[int, float | None]] = []
        self.closed = False

    def fileno(self) -> int:
        return 1000

    def control(
        self, changes: list[SimpleNamespace] | None, maximum: int, timeout: float | None
    ) -> list[SimpleNamespace]:
        if changes is None:
            self.waits.append((maximum, timeout))
            return self.events
        assert (maximum, timeout) == (0, 0)
        for change in changes:
            self._change(change)
        return []

    def _change(self, change: SimpleNamespace) -> None:
        key = (change.ident, change.filter)
        os.fstat(change.ident)  # raises EBADF
        if key in self.refused:
            raise failure(errno.EPIPE)
        if change.flags == ADD:
            self.filters.add(key)
        else:
            assert change.flags == DELETE
            if key not in self.filters:
                raise failure(errno.ENOENT)
            self.filters.remove(key)
        self.changes.append((*key, change.flags))

    def forget(self, fd: int) -> None:
        """What the kernel does when *fd* is closed."""
        self.filters = {key for key in self.filters if key[0] != fd}

    def close(self) -> None:
        self.closed = True


# The numbers of FreeBSD.
READS, WRITES, ADD, DELETE, END = -1, -2, 0x0001, 0x0002, 0x8000


@pytest.fixture
def kqueue(monkeypatch: pytest.MonkeyPatch) -> FakeKqueue:
    """The stand-in that the next ``Kqueue`` gets."""
    if os.name != "posix":
        pytest.skip("sockets are no descriptors there")
    for name in ("control", "_change"):
        monkeypatch.setattr(FakeKqueue, name, as_the_system(vars(FakeKqueue)[name]))
    fake = FakeKqueue()
    parts = {
        "kqueue": lambda: fake,
        "kevent": lambda fd, number, action: SimpleNamespace(ident=fd, filter=number, flags=action),
        "KQ_FILTER_READ": READS,
        "KQ_FILTER_WRITE": WRITES,
        "KQ_EV_ADD": ADD,
        "KQ_EV_DELETE": DELETE,
        "KQ_EV_EOF": END,
    }
    for name, part in parts.items():
        monkeypatch.setattr(select, name, part, raising=False)
    return fake
