"""Descriptors that are not sockets: ``file_wrapper`` and ``file_dispatcher``, over pipes.

Every test runs on the standard library too, where the interpreter has it.

Rules this file keeps: nobody closes a descriptor that somebody else may have by then, so each test
says who owns which end.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import tempfile
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    both_pollers,
    closes,
    forget,
    fresh,
    posix_only,
    recording,
)

pytestmark = posix_only


class End:
    """One end of a pipe: a descriptor with a number that nobody else gets before it is closed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


@pytest.fixture
def pipe(stage: Stage) -> tuple[End, End]:
    """The end to read from, and the end to write to."""
    reading, writing = os.pipe()
    return stage.keep(End(reading)), stage.keep(End(writing))


def is_open(fd: int) -> bool:
    """Whether *fd* is an open descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def wrapper(stage: Stage, fd: int) -> Any:
    """A file_wrapper of *fd*, which is closed when the test ends."""
    return stage.keep(stage.asyncore.file_wrapper(fd))


def reader(stage: Stage, fd: Any, **members: Any) -> Any:
    """A recording file_dispatcher that reads from *fd*."""
    members.setdefault("writable", lambda channel: False)
    channel = recording(stage.asyncore.file_dispatcher, **members)(fd, stage.map)
    stage.keep(channel.socket)
    return channel


# file_wrapper


@pytest.mark.parametrize("name", ["recv", "read"])
def test_a_wrapper_reads(stage: Stage, pipe: tuple[End, End], name: str) -> None:
    os.write(pipe[1].fd, b"12345")
    assert getattr(wrapper(stage, pipe[0].fd), name)(3) == b"123"


@pytest.mark.parametrize("name", ["send", "write"])
def test_a_wrapper_writes(stage: Stage, pipe: tuple[End, End], name: str) -> None:
    assert getattr(wrapper(stage, pipe[1].fd), name)(b"123") == 3
    assert os.read(pipe[0].fd, 10) == b"123"


def test_a_wrapper_has_a_descriptor_of_its_own(stage: Stage, pipe: tuple[End, End]) -> None:
    wrapped = wrapper(stage, pipe[0].fd)
    assert wrapped.fileno() == wrapped.fd
    assert wrapped.fd != pipe[0].fd
    os.write(pipe[1].fd, b"x")
    pipe[0].close()
    assert wrapped.recv(1) == b"x"


def test_closing_a_wrapper_leaves_the_original_open(stage: Stage, pipe: tuple[End, End]) -> None:
    wrapped = wrapper(stage, pipe[0].fd)
    fd = wrapped.fd
    wrapped.close()
    assert (wrapped.fileno(), is_open(fd), is_open(pipe[0].fd)) == (-1, False, True)


def test_closing_a_wrapper_twice_closes_nobody_elses_descriptor(
    stage: Stage, pipe: tuple[End, End]
) -> None:
    wrapped = wrapper(stage, pipe[0].fd)
    fd = wrapped.fd
    wrapped.close()
    stranger = stage.keep(End(os.dup2(pipe[0].fd, fd)))
    wrapped.close()
    assert is_open(stranger.fd)


def test_a_wrapper_that_nobody_closed_warns_and_is_closed(
    stage: Stage, pipe: tuple[End, End]
) -> None:
    wrappers = [stage.asyncore.file_wrapper(pipe[0].fd)]
    fd = wrappers[0].fd
    with pytest.warns(ResourceWarning, match="unclosed file <.*file_wrapper"):
        forget(wrappers)
    assert not is_open(fd)


def test_a_wrapper_that_was_closed_does_not_warn(stage: Stage, pipe: tuple[End, End]) -> None:
    wrappers = [stage.asyncore.file_wrapper(pipe[0].fd)]
    wrappers[0].close()
    forget(wrappers)  # a warning would be an error


def test_a_wrapper_has_no_error_pending(stage: Stage, pipe: tuple[End, End]) -> None:
    wrapped = wrapper(stage, pipe[0].fd)
    assert wrapped.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert wrapped.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR, 0) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (socket.SOL_SOCKET, socket.SO_ERROR, 4),
        (socket.SOL_SOCKET, socket.SO_REUSEADDR),
        (socket.IPPROTO_TCP, socket.SO_ERROR),
    ],
)
def test_a_wrapper_has_no_other_option(
    stage: Stage, pipe: tuple[End, End], arguments: tuple[int, ...]
) -> None:
    wrapped = wrapper(stage, pipe[0].fd)
    with pytest.raises(NotImplementedError, match="Only asyncore specific behaviour implemented"):
        wrapped.getsockopt(*arguments)


def test_windows_has_neither(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    copy = fresh(stage.asyncore)
    monkeypatch.undo()
    assert not hasattr(copy, "file_wrapper")
    assert not hasattr(copy, "file_dispatcher")


# file_dispatcher


@both_pollers
def test_input_of_a_pipe_arrives(stage: Stage, pipe: tuple[End, End], use_poll: bool) -> None:
    got: list[bytes] = []
    channel = reader(stage, pipe[0].fd, handle_read=lambda c: got.append(c.recv(100)))
    os.write(pipe[1].fd, b"through the pipe")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (channel.events, got) == (["read"], [b"through the pipe"])


@both_pollers
def test_output_goes_into_a_pipe(stage: Stage, pipe: tuple[End, End], use_poll: bool) -> None:
    def handle_write(channel: Any) -> None:
        channel.send(b"through the pipe")
        channel.close()

    reader(
        stage, pipe[1].fd, handle_write=handle_write, readable=lambda c: False, writable=lambda c: 1
    )
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert os.read(pipe[0].fd, 100) == b"through the pipe"
    assert stage.map == {}


@both_pollers
def test_the_end_of_a_pipe_is_a_close(stage: Stage, pipe: tuple[End, End], use_poll: bool) -> None:
    channel = reader(stage, pipe[0].fd, handle_read=lambda channel: channel.recv(100))
    pipe[1].close()
    stage.until(lambda: not stage.map, use_poll)
    assert closes(channel) == 1
    assert channel.socket.fileno() == -1


def test_a_file_dispatcher_is_connected_from_the_beginning(
    stage: Stage, pipe: tuple[End, End]
) -> None:
    channel = reader(stage, pipe[0].fd)
    assert channel.connected is True
    assert stage.map == {channel.socket.fileno(): channel}
    assert isinstance(channel.socket, stage.asyncore.file_wrapper)


def test_without_a_map_a_file_dispatcher_joins_the_modules_own(
    stage: Stage, pipe: tuple[End, End]
) -> None:
    channel = stage.asyncore.file_dispatcher(pipe[0].fd)
    assert stage.asyncore.socket_map == {channel.socket.fileno(): channel}
    channel.close()


def test_the_original_stops_blocking_and_can_be_closed(stage: Stage, pipe: tuple[End, End]) -> None:
    got: list[bytes] = []
    reader(stage, pipe[0].fd, handle_read=lambda channel: got.append(channel.recv(100)))
    assert os.get_blocking(pipe[0].fd) is False
    pipe[0].close()
    os.write(pipe[1].fd, b"x")
    stage.loop(timeout=PATIENCE)
    assert got == [b"x"]


def test_a_file_object_will_do(stage: Stage, pipe: tuple[End, End]) -> None:
    got: list[bytes] = []
    with open(pipe[0].fd, "rb", closefd=False) as file:
        reader(stage, file, handle_read=lambda channel: got.append(channel.recv(100)))
    os.write(pipe[1].fd, b"x")
    stage.loop(timeout=PATIENCE)
    assert got == [b"x"]


def test_a_closed_descriptor_is_refused(
    stage: Stage, pipe: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The standard library complains of the wrapper that could not be made; fastchat does not.
    monkeypatch.setattr(sys, "unraisablehook", lambda report: None)
    fd = pipe[0].fd
    pipe[0].close()
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EBADF))):
        stage.asyncore.file_dispatcher(fd, stage.map)
    assert stage.map == {}


def test_set_file_serves_another_descriptor(stage: Stage, pipe: tuple[End, End]) -> None:
    channel = reader(stage, pipe[0].fd)
    channel.close()
    channel.set_file(pipe[0].fd)
    stage.keep(channel.socket)
    assert stage.map == {channel.socket.fileno(): channel}


@both_pollers
def test_a_regular_file_is_always_ready(stage: Stage, use_poll: bool) -> None:
    got: list[bytes] = []

    def handle_read(channel: Any) -> None:
        got.append(channel.recv(3))

    with tempfile.TemporaryFile() as file:
        file.write(b"12345")
        file.seek(0)
        channel = reader(stage, file, handle_read=handle_read)
        stage.until(lambda: not stage.map, use_poll, passes=5)
    assert (got, channel.events[-1]) == ([b"123", b"45", b""], "close")


@both_pollers
def test_lines_may_come_from_a_pipe(stage: Stage, pipe: tuple[End, End], use_poll: bool) -> None:
    file_dispatcher: Any = stage.asyncore.file_dispatcher
    async_chat: Any = recording(stage.asynchat.async_chat)

    class Lines(async_chat, file_dispatcher):
        def __init__(self, fd: int, map: Any) -> None:
            async_chat.__init__(self, None, map)
            file_dispatcher.__init__(self, fd, map)
            self.set_terminator(b"\n")

        def writable(self) -> bool:
            return False

    channel = Lines(pipe[0].fd, stage.map)
    stage.keep(channel.socket)
    os.write(pipe[1].fd, b"one\ntw")
    os.write(pipe[1].fd, b"o\n")
    pipe[1].close()
    stage.until(lambda: not stage.map, use_poll)
    assert channel.events == [b"one", "found", b"two", "found", "close"]


@both_pollers
def test_a_hang_up_is_no_room_for_output(
    stage: Stage, pipe: tuple[End, End], use_poll: bool
) -> None:
    ends: list[str] = []
    channel = reader(
        stage,
        pipe[0].fd,
        readable=lambda channel: bool(ends),
        writable=lambda channel: True,
        handle_read=lambda channel: channel.recv(9),
        handle_write=lambda channel: None,
    )
    pipe[1].close()
    stage.loop(3, use_poll)
    assert "read" not in channel.events
    assert ("close" in channel.events) == use_poll
    if not use_poll:
        assert channel.events == []
        ends.append("wanted")
        stage.loop(1, timeout=PATIENCE)
        assert channel.events == ["read", "close"]
