"""Pollers: what the four kinds report, keep and refuse, and how they differ.

Rules this file keeps:

* Sockets, pipes and files are real.  A stand-in takes the place of kqueue, which Linux lacks, and
  of the system call where the point is what it is given.
* Nothing sleeps, and nothing is timed.  A wait for something has an end; a wait for nothing is one
  of 0 milliseconds.
* A descriptor that a test closes itself has one number only, unless the test says otherwise.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastchat import _pollers
from fastchat._pollers import ERROR, HANG_UP, INVALID, READ, URGENT, WRITE
from tests.support.channels import (
    PATIENCE,
    alarms,
    as_the_system,
    fail_with,
    failure,
    fresh,
    needs_epoll,
    needs_poll,
    posix_only,
)

LONG = PATIENCE * 1000  # in milliseconds


@pytest.fixture(params=_pollers.available(), ids=lambda kind: kind.name)
def poller(request: pytest.FixtureRequest) -> Iterator[_pollers.Poller]:
    """One of each kind that the system has."""
    yield from _closed_at_the_end(request.param())


@pytest.fixture(
    params=[kind for kind in _pollers.available() if kind.is_kernel_set],
    ids=lambda kind: kind.name,
)
def kernel_set(request: pytest.FixtureRequest) -> Iterator[_pollers.Poller]:
    """One of each kind whose registrations are in the kernel."""
    yield from _closed_at_the_end(request.param())


@pytest.fixture(
    params=[kind for kind in _pollers.available() if not kind.is_kernel_set],
    ids=lambda kind: kind.name,
)
def plain(request: pytest.FixtureRequest) -> Iterator[_pollers.Poller]:
    """One of each kind that names all descriptors at each wait."""
    yield from _closed_at_the_end(request.param())


@pytest.fixture
def epoll() -> Iterator[_pollers.Epoll]:
    yield from _closed_at_the_end(_pollers.Epoll())


def _closed_at_the_end(poller: Any) -> Iterator[Any]:
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


def tcp_pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Two sockets connected over the loopback, for what only TCP has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = stack.enter_context(socket.create_connection(server.getsockname(), PATIENCE))
        mine, _ = server.accept()
    return stack.enter_context(mine), peer


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


def pipe(stack: ExitStack) -> tuple[int, int]:
    """The reading and the writing end of a pipe."""
    reader, writer = os.pipe()
    stack.callback(close_if_open, reader)
    stack.callback(close_if_open, writer)
    return reader, writer


def regular_file(stack: ExitStack, directory: Path) -> int:
    """The descriptor of an empty file."""
    return stack.enter_context((directory / "file").open("w+b")).fileno()


def fill(sock: socket.socket) -> None:
    """Send until there is no room left."""
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass


def errno_of(call: Callable[..., object], *args: int) -> int | None:
    """The number of the OSError that *call* raises."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is asked for
        call(*args)
    return caught.value.errno


# What is reported.


def test_reads_are_reported(poller: _pollers.Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    poller.register(mine.fileno(), READ)
    assert poller.wait(0) == []
    peer.sendall(b"x")
    assert poller.wait(LONG) == [(mine.fileno(), READ)]


def test_writes_are_reported(poller: _pollers.Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    peer.sendall(b"x")  # is not asked for
    poller.register(mine.fileno(), WRITE)
    assert poller.wait(LONG) == [(mine.fileno(), WRITE)]


@posix_only  # elsewhere a pair is of TCP, and what was sent may move on and make room again
def test_no_write_is_reported_without_room(poller: _pollers.Poller, stack: ExitStack) -> None:
    mine, _ = pair(stack)
    poller.register(mine.fileno(), WRITE)
    fill(mine)
    assert poller.wait(0) == []


def test_both_are_reported_in_one(poller: _pollers.Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    peer.sendall(b"x")
    mine.recv(1, socket.MSG_PEEK)  # it has arrived
    poller.register(mine.fileno(), READ | WRITE)
    assert poller.wait(LONG) == [(mine.fileno(), READ | WRITE)]


def test_urgent_bytes_are_reported(poller: _pollers.Poller, stack: ExitStack) -> None:
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


def test_each_descriptor_has_its_own_interest(poller: _pollers.Poller, stack: ExitStack) -> None:
    (reading, peer), (writing, _) = pair(stack), pair(stack)
    poller.register(reading.fileno(), READ)
    poller.register(writing.fileno(), WRITE)
    assert poller.wait(LONG) == [(writing.fileno(), WRITE)]
    peer.sendall(b"x")
    assert sorted(poller.wait(LONG)) == sorted(
        [(reading.fileno(), READ), (writing.fileno(), WRITE)]
    )


def test_more_events_than_the_least_that_are_asked_for(
    poller: _pollers.Poller, stack: ExitStack
) -> None:
    fds = [pair(stack)[0].fileno() for _ in range(100)]
    for fd in fds:
        poller.register(fd, WRITE)
    assert sorted(poller.wait(LONG)) == [(fd, WRITE) for fd in sorted(fds)]


def test_the_order_is_that_of_registration(plain: _pollers.Poller, stack: ExitStack) -> None:
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


def test_registrations_are_kept(poller: _pollers.Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    poller.register(mine.fileno(), READ)
    for _ in range(2):
        peer.sendall(b"x")
        # Twice, for what is still unread is reported again.
        assert poller.wait(LONG) == poller.wait(LONG) == [(mine.fileno(), READ)]
        mine.recv(1)
        assert poller.wait(0) == []


def test_modify(poller: _pollers.Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    peer.sendall(b"x")
    mine.recv(1, socket.MSG_PEEK)
    poller.register(mine.fileno(), READ)
    for flags in (READ, WRITE, READ | WRITE, READ):
        poller.modify(mine.fileno(), flags)
        assert poller.wait(LONG) == [(mine.fileno(), flags)]


def test_modify_of_an_unknown_descriptor(poller: _pollers.Poller, stack: ExitStack) -> None:
    (mine, _), (idle, _) = pair(stack), pair(stack)
    poller.register(idle.fileno(), READ)
    assert errno_of(poller.modify, mine.fileno(), WRITE) == errno.ENOENT
    assert poller.wait(0) == []


def test_unregister(poller: _pollers.Poller, stack: ExitStack) -> None:
    (mine, _), (other, _) = pair(stack), pair(stack)
    poller.register(mine.fileno(), WRITE)
    poller.register(other.fileno(), WRITE)
    assert len(poller.wait(LONG)) == 2
    assert poller.unregister(mine.fileno())
    assert poller.wait(LONG) == [(other.fileno(), WRITE)]
    poller.register(mine.fileno(), WRITE)
    assert len(poller.wait(LONG)) == 2


def test_unregister_of_an_unknown_descriptor(poller: _pollers.Poller, stack: ExitStack) -> None:
    mine, _ = pair(stack)
    assert not poller.unregister(mine.fileno())
    assert not poller.unregister(-1)
    poller.register(mine.fileno(), READ)
    assert poller.unregister(mine.fileno())
    assert not poller.unregister(mine.fileno())


@posix_only  # Windows does not wait for nothing
def test_close_forgets(plain: _pollers.Poller, stack: ExitStack) -> None:
    mine, _ = pair(stack)
    plain.register(mine.fileno(), WRITE)
    assert len(plain.wait(LONG)) == 1
    plain.close()
    assert plain.wait(0) == []
    assert not plain.unregister(mine.fileno())


# Ends.


@posix_only
def test_the_end_of_a_connection(poller: _pollers.Poller, stack: ExitStack) -> None:
    mine, peer = pair(stack)
    poller.register(mine.fileno(), READ)
    peer.close()
    unasked = HANG_UP if poller.name in ("epoll", "poll") else 0
    assert poller.wait(LONG) == [(mine.fileno(), READ | unasked)]


@posix_only
def test_the_end_of_a_pipe(poller: _pollers.Poller, stack: ExitStack) -> None:
    reader, writer = pipe(stack)
    poller.register(reader, READ)
    os.close(writer)
    assert poller.wait(LONG) == [(reader, READ if poller.name in ("select", "kqueue") else HANG_UP)]


@posix_only
def test_an_error_is_reported_unasked(poller: _pollers.Poller, stack: ExitStack) -> None:
    if isinstance(poller, _pollers.Kqueue):
        pytest.skip("a kqueue reports the end of a pipe to its writer as such")
    reader, writer = pipe(stack)
    poller.register(writer, WRITE)
    os.close(reader)
    unasked = ERROR if poller.name in ("epoll", "poll") else 0
    assert poller.wait(LONG) == [(writer, WRITE | unasked)]


# Who is quiet.


@pytest.fixture(params=["epoll", "poll"])
def unasked(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One of each kind that tells of hang-ups unasked."""
    kinds = [kind for kind in _pollers.available() if kind.name == request.param]
    if not kinds:
        pytest.skip(f"the system has no {request.param}")
    yield from _closed_at_the_end(kinds[0]())


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
def test_the_hang_up_of_who_is_quiet_ends_no_wait(
    unasked: Any, stack: ExitStack, tmp_path: Path
) -> None:
    reader, _ = hung_up(stack, tmp_path)
    unasked.register(reader, READ)
    assert [unasked.wait(0) for _ in range(2)] == [[(reader, HANG_UP)]] * 2
    for _ in range(2):
        unasked.quieten(reader, READ)
        assert [unasked.wait(0) for _ in range(2)] == [[], []]
    other, peer = pair(stack)
    unasked.register(other.fileno(), READ)
    peer.sendall(b"x")
    assert unasked.wait(LONG) == [(other.fileno(), READ)]


@posix_only
def test_what_else_happens_to_who_is_quiet_is_told_until_it_is_no_more(
    unasked: Any, stack: ExitStack, tmp_path: Path
) -> None:
    reader, write = hung_up(stack, tmp_path)
    unasked.register(reader, READ)
    unasked.quieten(reader, READ)
    assert unasked.wait(0) == []
    writer = write()
    assert unasked.wait(0) == []
    os.write(writer, b"x")
    assert unasked.wait(LONG) == [(reader, READ)]
    assert not unasked.quiet
    assert [unasked.wait(0) for _ in range(3)] == [[(reader, READ)]] * 3


@posix_only
@pytest.mark.parametrize("change", ["modify", "unregister", "close"])
def test_who_is_changed_is_quiet_no_more(
    unasked: Any, stack: ExitStack, tmp_path: Path, change: str
) -> None:
    reader, _ = hung_up(stack, tmp_path)
    unasked.register(reader, READ)
    unasked.quieten(reader, READ)
    if change == "modify":
        unasked.modify(reader, READ | WRITE)
    elif change == "unregister":
        assert unasked.unregister(reader)
        assert unasked.wait(0) == []
        assert not unasked.unregister(reader)
    else:
        unasked.close()
        assert not unasked.quiet
        unasked = type(unasked)()
        stack.callback(unasked.close)
    assert not unasked.quiet
    if change != "modify":
        unasked.register(reader, READ)
    assert unasked.wait(LONG) == [(reader, HANG_UP)]


@posix_only
def test_the_number_of_who_is_quiet_may_be_used_again(
    unasked: Any, stack: ExitStack, tmp_path: Path
) -> None:
    reader, _ = hung_up(stack, tmp_path)
    mine, peer = pair(stack)
    unasked.register(reader, READ)
    unasked.quieten(reader, READ)
    os.dup2(mine.fileno(), reader)
    unasked.unregister(reader)
    unasked.register(reader, READ)
    peer.close()
    assert [unasked.wait(LONG) for _ in range(2)] == [[(reader, READ | HANG_UP)]] * 2


@posix_only
def test_a_signal_handler_may_unregister_who_is_quiet_no_more(
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
    unasked.quieten(reader, READ)
    assert unasked.wait(0) == []
    os.write(write(), b"x")
    unasked.quiet = Interrupted(unasked.quiet)
    assert unasked.wait(LONG) == [(reader, READ)]
    assert not unasked.quiet


@needs_epoll
def test_epoll_tells_of_a_quiet_file_that_was_closed(
    epoll: _pollers.Epoll, stack: ExitStack, tmp_path: Path
) -> None:
    reader, write = hung_up(stack, tmp_path)
    epoll.register(reader, READ)
    epoll.quieten(reader, READ)
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
    poller.quieten(reader, READ)
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
        poller.quieten(mine.fileno(), WRITE)
        assert not poller.quiet
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
        poller.quieten(reader, READ)
    poller._poll = real
    assert poller.wait(0) == [(reader, HANG_UP)]
    poller.quieten(reader, READ)
    assert poller.wait(0) == []
    os.write(write(), b"x")
    assert poller.wait(LONG) == [(reader, READ)]


def test_who_cannot_be_made_quiet_by_epoll_is_not_noted() -> None:
    poller = _pollers.Epoll.__new__(_pollers.Epoll)
    poller.quiet = {}
    poller._set = SimpleNamespace(modify=fail_with(FileNotFoundError()))
    with pytest.raises(FileNotFoundError):
        poller.quieten(7, WRITE)
    assert not poller.quiet


def test_what_is_left_of_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 12.5)
    assert [_pollers.rest_of(ms, 10.0) for ms in (-1, 0, 2000, 3000)] == [-1, 0, 0, 500]


# Descriptors that are closed, duplicated, used again, or no descriptors at all.


@posix_only
def test_a_closed_descriptor_leaves_a_kernel_set(
    kernel_set: _pollers.Poller, stack: ExitStack
) -> None:
    fd, _ = number(stack)
    kernel_set.register(fd, WRITE)
    os.close(fd)
    assert kernel_set.wait(0) == []
    assert errno_of(kernel_set.modify, fd, READ) == errno.EBADF
    assert not kernel_set.unregister(fd)
    assert errno_of(kernel_set.register, fd, READ) == errno.EBADF
    assert not kernel_set.unregister(fd)


@posix_only
def test_a_closed_descriptor_is_invalid_elsewhere(plain: _pollers.Poller, stack: ExitStack) -> None:
    (fd, _), (mine, _) = number(stack), pair(stack)
    plain.register(mine.fileno(), WRITE)
    plain.register(fd, READ)
    os.close(fd)
    others = [] if plain.name == "select" else [(mine.fileno(), WRITE)]
    assert plain.wait(LONG) == plain.wait(LONG) == [*others, (fd, INVALID)]
    assert plain.unregister(fd)
    assert plain.wait(LONG) == [(mine.fileno(), WRITE)]
    plain.register(fd, READ)
    assert (fd, INVALID) in plain.wait(LONG)


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        pytest.param("Epoll", ValueError, id="epoll", marks=needs_epoll),
        pytest.param("Poll", ValueError, id="poll", marks=needs_poll),
    ],
)
def test_a_negative_descriptor_is_refused(kind: str, refusal: type[Exception]) -> None:
    poller = getattr(_pollers, kind)()
    with pytest.raises(refusal, match="negative"):
        poller.register(-1, READ)
    assert poller.wait(0) == []
    poller.close()


def test_select_takes_a_negative_descriptor_for_a_closed_one() -> None:
    poller = _pollers.Select()
    poller.register(-1, READ)
    assert poller.wait(LONG) == [(-1, INVALID)]
    assert poller.unregister(-1)


def test_select_raises_what_no_closed_descriptor_explains(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(reads: list[int], *args: Any) -> Any:
        if len(reads) > 1:
            raise failure(errno.ENOMEM)
        return [], [], []

    monkeypatch.setattr(select, "select", out_of_memory)
    poller = _pollers.Select()
    for mine, _ in (pair(stack), pair(stack)):
        poller.register(mine.fileno(), READ)
    assert errno_of(poller.wait, 0) == errno.ENOMEM


@posix_only
def test_select_refuses_descriptors_that_are_too_large(stack: ExitStack) -> None:
    mine, _ = pair(stack)
    large = 1100  # above the 1,024 of FD_SETSIZE, and low enough to be within most limits
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(large)
    try:
        os.dup2(mine.fileno(), large)
    except OSError:
        pytest.skip(f"the limit of descriptors does not allow {large}")
    stack.callback(os.close, large)
    poller = _pollers.Select()
    with pytest.raises(ValueError, match=r"^descriptor 1100 is too large for select\(\)$"):
        poller.register(large, WRITE)
    assert not poller.unregister(large)
    poller.register(mine.fileno(), WRITE)
    assert poller.wait(LONG) == [(mine.fileno(), WRITE)]


@needs_epoll
def test_epoll_notices_a_number_that_is_used_again(epoll: _pollers.Epoll, stack: ExitStack) -> None:
    (fd, _), (other, _) = number(stack), pair(stack)
    epoll.register(fd, READ)
    os.dup2(other.fileno(), fd)
    assert errno_of(epoll.modify, fd, WRITE) == errno.ENOENT
    assert not epoll.unregister(fd)
    epoll.register(fd, WRITE)
    assert epoll.wait(LONG) == [(fd, WRITE)]


@posix_only
def test_poll_and_select_follow_a_number_to_its_next_file(
    plain: _pollers.Poller, stack: ExitStack
) -> None:
    (fd, _), (other, peer) = number(stack), pair(stack)
    plain.register(fd, READ)
    os.dup2(other.fileno(), fd)
    peer.sendall(b"x")
    assert plain.wait(LONG) == [(fd, READ)]


@needs_epoll
def test_a_duplicate_keeps_what_epoll_has_registered(
    epoll: _pollers.Epoll, stack: ExitStack
) -> None:
    fd, peer = number(stack)
    duplicate = os.dup(fd)
    stack.callback(close_if_open, duplicate)
    epoll.register(fd, READ)
    os.close(fd)
    peer.sendall(b"x")
    assert epoll.wait(LONG) == [(fd, READ)]
    # And nothing takes it out, neither under its old number nor under the new one ...
    assert not epoll.unregister(fd)
    assert not epoll.unregister(duplicate)
    assert epoll.wait(LONG) == [(fd, READ)]
    # ... until the file is closed.
    os.close(duplicate)
    assert epoll.wait(0) == []


@needs_epoll
def test_a_duplicate_does_not_matter_after_unregister(
    epoll: _pollers.Epoll, stack: ExitStack
) -> None:
    fd, peer = number(stack)
    stack.callback(os.close, os.dup(fd))
    epoll.register(fd, READ)
    assert epoll.unregister(fd)
    os.close(fd)
    peer.sendall(b"x")
    assert epoll.wait(0) == []


@posix_only
def test_a_duplicate_does_not_matter_to_poll_and_select(
    plain: _pollers.Poller, stack: ExitStack
) -> None:
    fd, peer = number(stack)
    stack.callback(os.close, os.dup(fd))
    plain.register(fd, READ)
    os.close(fd)
    peer.sendall(b"x")
    assert plain.wait(LONG) == [(fd, INVALID)]


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
def test_a_signal_does_not_end_a_wait(poller: _pollers.Poller, stack: ExitStack) -> None:
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


# Files that are always ready.


@posix_only
@pytest.mark.parametrize("flags", [READ, WRITE, READ | WRITE, READ | URGENT | WRITE])
def test_a_regular_file_is_always_ready(
    poller: _pollers.Poller, stack: ExitStack, tmp_path: Path, flags: int
) -> None:
    fd = regular_file(stack, tmp_path)
    poller.register(fd, flags)
    assert poller.wait(LONG) == poller.wait(LONG) == [(fd, flags & ~URGENT)]
    poller.modify(fd, WRITE)
    assert poller.wait(LONG) == [(fd, WRITE)]
    assert poller.unregister(fd)
    assert poller.wait(0) == []
    assert not poller.unregister(fd)


@posix_only
def test_nothing_is_urgent_about_a_regular_file(
    poller: _pollers.Poller, stack: ExitStack, tmp_path: Path
) -> None:
    poller.register(regular_file(stack, tmp_path), URGENT)
    assert poller.wait(0) == []


@posix_only
def test_a_regular_file_beside_others(
    poller: _pollers.Poller, stack: ExitStack, tmp_path: Path
) -> None:
    fd = regular_file(stack, tmp_path)
    (mine, peer), (idle, _) = pair(stack), pair(stack)
    poller.register(fd, READ)
    poller.register(mine.fileno(), READ)
    poller.register(idle.fileno(), READ)
    assert poller.wait(LONG) == [(fd, READ)]
    peer.sendall(b"x")
    assert sorted(poller.wait(LONG)) == sorted([(fd, READ), (mine.fileno(), READ)])


@posix_only
def test_a_device_that_is_always_ready(poller: _pollers.Poller, stack: ExitStack) -> None:
    if isinstance(poller, _pollers.Kqueue):
        pytest.skip("it asks the kernel about devices")
    fd = os.open(os.devnull, os.O_RDWR)
    stack.callback(os.close, fd)
    poller.register(fd, READ | WRITE)
    assert poller.wait(LONG) == [(fd, READ | WRITE)]


@needs_epoll
def test_epoll_shows_the_files_it_cannot_wait_for(
    epoll: _pollers.Epoll, stack: ExitStack, tmp_path: Path
) -> None:
    fd = regular_file(stack, tmp_path)
    mine, _ = pair(stack)
    epoll.register(mine.fileno(), READ)
    assert epoll.always == {}
    epoll.register(fd, READ | URGENT)
    assert epoll.always == {fd: READ | URGENT}
    epoll.modify(fd, WRITE)
    assert epoll.always == {fd: WRITE}
    epoll.unregister(fd)
    assert epoll.always == {}
    epoll.register(fd, READ)
    epoll.close()
    assert epoll.always == {}


def test_the_others_have_none(plain: _pollers.Poller, stack: ExitStack, tmp_path: Path) -> None:
    plain.register(regular_file(stack, tmp_path), READ)
    assert plain.always == {}


@needs_epoll
@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_socket_under_the_number_of_a_file(
    epoll: _pollers.Epoll, stack: ExitStack, tmp_path: Path, is_noticed: bool
) -> None:
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    stack.callback(close_if_open, fd)
    mine, peer = pair(stack)
    epoll.register(fd, READ)
    assert epoll.always == {fd: READ}
    os.dup2(mine.fileno(), fd)
    if is_noticed:
        assert errno_of(epoll.modify, fd, READ) == errno.ENOENT
        assert epoll.always == {}
    epoll.register(fd, READ)
    assert epoll.always == {}
    assert epoll.wait(0) == []
    peer.sendall(b"x")
    assert epoll.wait(LONG) == [(fd, READ)]
    assert epoll.unregister(fd)


@needs_epoll
def test_a_file_under_the_number_of_a_socket(
    epoll: _pollers.Epoll, stack: ExitStack, tmp_path: Path
) -> None:
    fd, _ = number(stack)
    epoll.register(fd, WRITE)
    os.dup2(regular_file(stack, tmp_path), fd)
    assert errno_of(epoll.modify, fd, READ) == errno.ENOENT
    assert epoll.always == {}
    assert not epoll.unregister(fd)
    epoll.register(fd, READ)
    assert epoll.wait(LONG) == [(fd, READ)]


@needs_epoll
def test_a_closed_file_is_reported_until_it_is_unregistered(
    epoll: _pollers.Epoll, tmp_path: Path
) -> None:
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    epoll.register(fd, READ)
    os.close(fd)
    assert epoll.wait(LONG) == [(fd, READ)]
    assert epoll.unregister(fd)
    assert epoll.wait(0) == []


# The set of epoll.


@needs_epoll
def test_the_set_of_epoll_is_ready_when_something_happens(
    epoll: _pollers.Epoll, stack: ExitStack
) -> None:
    mine, peer = pair(stack)
    epoll.register(mine.fileno(), READ)
    assert select.select([epoll.fileno()], [], [], 0) == ([], [], [])
    peer.sendall(b"x")
    assert select.select([epoll.fileno()], [], [], PATIENCE)[0] == [epoll.fileno()]


@needs_epoll
def test_the_set_of_epoll_is_closed(epoll: _pollers.Epoll) -> None:
    fd = epoll.fileno()
    assert not os.get_inheritable(fd)
    epoll.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


# kqueue, played by a stand-in.


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


def event(fd: int, number: int, flags: int = 0, fflags: int = 0) -> SimpleNamespace:
    return SimpleNamespace(ident=fd, filter=number, flags=flags, fflags=fflags)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EBADF, _pollers.PollerLost), (errno.EIO, OSError)]
)
def test_a_wait_of_kqueue_that_fails_says_whether_the_set_is_lost(
    kqueue: FakeKqueue, number: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = _pollers.Kqueue()
    monkeypatch.setattr(kqueue, "control", as_the_system(fail_with(failure(number))))
    with pytest.raises(kind) as raised:
        poller.wait(0)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("flags", "filters"),
    [
        (READ, {READS}),
        (WRITE, {WRITES}),
        (READ | WRITE, {READS, WRITES}),
        (READ | URGENT, {READS}),
        (URGENT, set()),
    ],
)
def test_kqueue_has_a_filter_for_each_interest(
    kqueue: FakeKqueue, stack: ExitStack, flags: int, filters: set[int]
) -> None:
    poller = _pollers.Kqueue()
    fd = pair(stack)[0].fileno()
    poller.register(fd, flags)
    assert kqueue.filters == {(fd, each) for each in filters}
    assert poller.always == {}
    assert poller.unregister(fd)
    assert kqueue.filters == set()
    assert not poller.unregister(fd)


def test_kqueue_changes_the_filters_that_change(kqueue: FakeKqueue, stack: ExitStack) -> None:
    poller = _pollers.Kqueue()
    fd = pair(stack)[0].fileno()
    poller.register(fd, READ)
    for flags, changes in [
        (READ, []),
        (READ | URGENT, []),
        (READ | WRITE, [(fd, WRITES, ADD)]),
        (READ, [(fd, WRITES, DELETE)]),
        (WRITE, [(fd, READS, DELETE), (fd, WRITES, ADD)]),
        (READ, [(fd, WRITES, DELETE), (fd, READS, ADD)]),
    ]:
        kqueue.changes.clear()
        poller.modify(fd, flags)
        assert kqueue.changes == changes


def test_kqueue_merges_the_filters_of_a_descriptor(kqueue: FakeKqueue) -> None:
    poller = _pollers.Kqueue()
    kqueue.events = [event(5, WRITES), event(3, READS), event(5, READS), event(4, WRITES)]
    assert poller.wait(0) == [(5, READ | WRITE), (3, READ), (4, WRITE)]


@pytest.mark.parametrize(
    ("number", "flags", "fflags", "reported"),
    [
        (READS, 0, 0, READ),
        (READS, ADD, 0, READ),
        (READS, END, 0, READ),
        (READS, END, errno.ECONNRESET, READ | HANG_UP | ERROR),
        (READS, 0, errno.ECONNRESET, READ),
        (WRITES, 0, 0, WRITE),
        (WRITES, ADD, 0, WRITE),
        (WRITES, END, 0, WRITE | HANG_UP),
        (WRITES, END, errno.ECONNREFUSED, WRITE | HANG_UP),
    ],
)
def test_kqueue_reports_ends(
    kqueue: FakeKqueue, number: int, flags: int, fflags: int, reported: int
) -> None:
    kqueue.events = [event(3, number, flags, fflags)]
    assert _pollers.Kqueue().wait(0) == [(3, reported)]


def test_kqueue_waits_in_seconds(kqueue: FakeKqueue, stack: ExitStack) -> None:
    poller = _pollers.Kqueue()
    for milliseconds in (-1, -7, 0, 2500):
        poller.wait(milliseconds)
    assert kqueue.waits == [(64, None), (64, None), (64, 0), (64, 2.5)]


def test_kqueue_asks_for_two_events_of_each_descriptor(
    kqueue: FakeKqueue, stack: ExitStack
) -> None:
    poller = _pollers.Kqueue()
    fds = [pair(stack)[0].fileno() for _ in range(40)]
    for fd in fds:
        poller.register(fd, READ)
    poller.wait(0)
    for fd in fds[:5]:
        poller.unregister(fd)
    poller.wait(0)
    assert kqueue.waits == [(80, 0), (70, 0)]


@posix_only
def test_kqueue_keeps_regular_files_aside(
    kqueue: FakeKqueue, stack: ExitStack, tmp_path: Path
) -> None:
    poller = _pollers.Kqueue()
    fd = regular_file(stack, tmp_path)
    poller.register(fd, READ | URGENT)
    assert poller.always == {fd: READ | URGENT}
    kqueue.events = [event(fd + 1, READS)]
    assert poller.wait(-1) == [(fd + 1, READ), (fd, READ)]
    assert kqueue.waits == [(64, 0)]
    poller.modify(fd, WRITE)
    assert poller.always == {fd: WRITE}
    assert poller.unregister(fd)
    assert poller.always == {}
    assert kqueue.changes == []
    poller.register(fd, READ)
    poller.close()
    assert poller.always == {}
    assert kqueue.closed


@posix_only
def test_kqueue_and_closed_descriptors(kqueue: FakeKqueue, stack: ExitStack) -> None:
    poller = _pollers.Kqueue()
    fd, _ = number(stack)
    poller.register(fd, READ)
    os.close(fd)
    kqueue.forget(fd)
    assert errno_of(poller.modify, fd, WRITE) == errno.EBADF
    assert not poller.unregister(fd)
    assert errno_of(poller.register, fd, READ) == errno.EBADF
    assert errno_of(poller.register, -1, READ) == errno.EBADF
    assert not poller.unregister(fd)
    assert errno_of(poller.modify, fd, READ) == errno.ENOENT
    assert kqueue.filters == set()


@posix_only
def test_kqueue_and_a_number_that_is_used_again(kqueue: FakeKqueue, stack: ExitStack) -> None:
    poller = _pollers.Kqueue()
    (fd, _), (other, _) = number(stack), pair(stack)
    poller.register(fd, WRITE)
    os.dup2(other.fileno(), fd)
    kqueue.forget(fd)
    # The loss shows where something is taken away, and nothing has been added then.
    assert errno_of(poller.modify, fd, READ) == errno.ENOENT
    assert kqueue.filters == set()
    # A new registration owes nothing to the old one.
    poller.register(fd, WRITE)
    assert kqueue.filters == {(fd, WRITES)}
    assert poller.unregister(fd)
    assert kqueue.filters == set()


@posix_only
def test_kqueue_and_a_socket_under_the_number_of_a_file(
    kqueue: FakeKqueue, stack: ExitStack, tmp_path: Path
) -> None:
    poller = _pollers.Kqueue()
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    stack.callback(close_if_open, fd)
    poller.register(fd, READ)
    os.dup2(pair(stack)[0].fileno(), fd)
    poller.register(fd, READ)
    assert poller.always == {}
    assert kqueue.filters == {(fd, READS)}
    # And the other way round: the kernel forgot the socket, and so must the poller.
    kqueue.forget(fd)
    os.dup2(regular_file(stack, tmp_path), fd)
    poller.register(fd, READ)
    assert poller.unregister(fd)
    assert not poller.unregister(fd)


def test_kqueue_leaves_nothing_of_a_registration_that_fails(
    kqueue: FakeKqueue, stack: ExitStack
) -> None:
    poller = _pollers.Kqueue()
    fd = pair(stack)[0].fileno()
    kqueue.refused = {(fd, WRITES)}
    assert errno_of(poller.register, fd, READ | WRITE) == errno.EPIPE
    assert kqueue.changes == [(fd, READS, ADD), (fd, READS, DELETE)]
    assert not poller.unregister(fd)


def test_kqueue_knows_what_a_failing_change_left(kqueue: FakeKqueue, stack: ExitStack) -> None:
    poller = _pollers.Kqueue()
    fd = pair(stack)[0].fileno()
    poller.register(fd, READ)
    kqueue.refused = {(fd, WRITES)}
    assert errno_of(poller.modify, fd, WRITE) == errno.EPIPE
    assert kqueue.filters == set()
    kqueue.refused = set()
    poller.modify(fd, READ | WRITE)
    assert kqueue.filters == {(fd, READS), (fd, WRITES)}


# Which kinds there are.


def test_the_best_kind_is_first() -> None:
    kinds = [kind.name for kind in _pollers.available()]
    assert kinds == [
        name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)
    ]
    assert "select" in kinds


def test_kinds_that_the_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "epoll", object, raising=False)
    monkeypatch.setattr(select, "kqueue", object, raising=False)
    monkeypatch.setattr(select, "poll", getattr(select, "poll", len), raising=False)
    assert _pollers.available() == _pollers.KINDS
    monkeypatch.delattr(select, "epoll")
    assert _pollers.available() == (_pollers.Kqueue, _pollers.Poll, _pollers.Select)
    monkeypatch.delattr(select, "kqueue")
    assert _pollers.available() == (_pollers.Poll, _pollers.Select)
    monkeypatch.delattr(select, "poll")
    assert _pollers.available() == (_pollers.Select,)


@pytest.mark.parametrize("name", ["select", "poll"])
def test_no_kind_where_a_function_was_replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, name, lambda *args: ([], [], []), raising=False)
    assert _pollers.available() == ()


def test_which_kinds_keep_their_registrations_in_the_kernel() -> None:
    assert [kind.name for kind in _pollers.KINDS if kind.is_kernel_set] == ["epoll", "kqueue"]


# The flags.

FLAGS = {"READ": 1, "URGENT": 2, "WRITE": 4, "ERROR": 8, "HANG_UP": 16, "INVALID": 32}
NAMES = {
    "READ": "POLLIN",
    "URGENT": "POLLPRI",
    "WRITE": "POLLOUT",
    "ERROR": "POLLERR",
    "HANG_UP": "POLLHUP",
    "INVALID": "POLLNVAL",
}


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_are_those_of_poll(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, NAMES[flag], 0x4000, raising=False)
    assert getattr(fresh(_pollers), flag) == 0x4000


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_without_poll(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, NAMES[flag], raising=False)
    assert getattr(fresh(_pollers), flag) == FLAGS[flag]


def test_what_select_says_of_no_descriptor_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = _pollers.Select()
    mine, peer = socket.socketpair()
    with mine, peer:
        poller.register(mine.fileno(), _pollers.READ)
        own_select = select.select

        @as_the_system
        def refuse_to_wait(*args: Any) -> Any:
            if args[3] == 0:
                return own_select(*args)
            raise OSError(errno.EBADF, "of something else")

        monkeypatch.setattr(select, "select", refuse_to_wait)
        with pytest.raises(OSError, match="of something else"):
            poller.wait(1000)
