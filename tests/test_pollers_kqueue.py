"""The poller that stands on kqueue, played by a stand-in: Linux has none.

Rules this file keeps:

* Sockets, pipes and files are real; kqueue is not.
* A descriptor that a test closes itself has one number only, unless the test says otherwise.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastchat._core import pollers as _pollers
from fastchat._core.pollers import ERROR, HANG_UP, READ, URGENT, WRITE
from tests.support.channels import as_the_system, fail_with, failure, posix_only
from tests.support.pollers import (
    ADD,
    DELETE,
    END,
    READS,
    WRITES,
    FakeKqueue,
    close_if_open,
    errno_of,
    number,
    pair,
    regular_file,
)


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


def test_kqueue_has_a_descriptor_for_other_loops(kqueue: FakeKqueue) -> None:
    assert _pollers.Kqueue().fileno() == kqueue.fileno()
