"""Pollers and descriptors that are closed, duplicated, used again, always ready, or none at all.

Rules this file keeps:

* Sockets, pipes and files are real.
* Nothing sleeps, and nothing is timed.  A wait for something has an end; a wait for nothing is one
  of 0 milliseconds.
* A descriptor that a test closes itself has one number only, unless the test says otherwise.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fastchat._core import pollers as _pollers
from fastchat._core.poller import Poller
from fastchat._core.pollers import INVALID, READ, URGENT, WRITE
from tests.support.channels import PATIENCE, failure, needs_epoll, needs_poll, posix_only
from tests.support.pollers import (
    LONG,
    close_if_open,
    closed_at_the_end,
    errno_of,
    number,
    pair,
    regular_file,
)


@pytest.fixture(
    params=[kind for kind in _pollers.available() if kind.is_kernel_set],
    ids=lambda kind: kind.name,
)
def kernel_set(request: pytest.FixtureRequest) -> Iterator[Poller]:
    """One of each kind whose registrations are in the kernel."""
    yield from closed_at_the_end(request.param())


# Descriptors that are closed, duplicated, used again, or no descriptors at all.


@posix_only
def test_a_closed_descriptor_leaves_a_kernel_set(kernel_set: Poller, stack: ExitStack) -> None:
    fd, _ = number(stack)
    kernel_set.register(fd, WRITE)
    os.close(fd)
    assert kernel_set.wait(0) == []
    assert errno_of(kernel_set.modify, fd, READ) == errno.EBADF
    assert not kernel_set.unregister(fd)
    assert errno_of(kernel_set.register, fd, READ) == errno.EBADF
    assert not kernel_set.unregister(fd)


@posix_only
def test_a_closed_descriptor_is_invalid_elsewhere(plain: Poller, stack: ExitStack) -> None:
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
def test_poll_and_select_follow_a_number_to_its_next_file(plain: Poller, stack: ExitStack) -> None:
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
def test_a_duplicate_does_not_matter_to_poll_and_select(plain: Poller, stack: ExitStack) -> None:
    fd, peer = number(stack)
    stack.callback(os.close, os.dup(fd))
    plain.register(fd, READ)
    os.close(fd)
    peer.sendall(b"x")
    assert plain.wait(LONG) == [(fd, INVALID)]


# Files that are always ready.


@posix_only
@pytest.mark.parametrize("flags", [READ, WRITE, READ | WRITE, READ | URGENT | WRITE])
def test_a_regular_file_is_always_ready(
    poller: Poller, stack: ExitStack, tmp_path: Path, flags: int
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
    poller: Poller, stack: ExitStack, tmp_path: Path
) -> None:
    poller.register(regular_file(stack, tmp_path), URGENT)
    assert poller.wait(0) == []


@posix_only
def test_a_regular_file_beside_others(poller: Poller, stack: ExitStack, tmp_path: Path) -> None:
    fd = regular_file(stack, tmp_path)
    (mine, peer), (idle, _) = pair(stack), pair(stack)
    poller.register(fd, READ)
    poller.register(mine.fileno(), READ)
    poller.register(idle.fileno(), READ)
    assert poller.wait(LONG) == [(fd, READ)]
    peer.sendall(b"x")
    assert sorted(poller.wait(LONG)) == sorted([(fd, READ), (mine.fileno(), READ)])


@posix_only
def test_a_device_that_is_always_ready(poller: Poller, stack: ExitStack) -> None:
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


def test_the_others_have_none(plain: Poller, stack: ExitStack, tmp_path: Path) -> None:
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
