"""``LineChannel``: replies that must not be lost, doubled, or cut by another delimiter."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Clock, Stage
from tests.support.line_channels import answering, line_channel, replies, settle, tell

# How the hook that closes is reached: its name, and what makes the loop call it.
CLOSING_HOOKS: dict[str, Callable[[Stage, Any], object]] = {
    "connection_made": lambda stage, channel: None,
    "line_received": lambda stage, channel: channel.peer.sendall(b"ok\n"),
    "lines_received": lambda stage, channel: channel.peer.sendall(b"ok\n"),
    "raw_received": lambda stage, channel: (channel.read_raw(), channel.peer.sendall(b"x")),
    "line_too_long": lambda stage, channel: channel.peer.sendall(b"123456789"),
    "shutting_down": lambda stage, channel: channel.shut_down(),
}


@pytest.mark.parametrize("reply", [b"bye", [b"bye"], bytearray(b"bye")], ids=repr)
@pytest.mark.parametrize("delimiter", [b"\n", (b"\n", b"\r\n")], ids=["one", "several"])
@pytest.mark.parametrize("sends", [False, True], ids=["", "sends"])
@pytest.mark.parametrize("hook", CLOSING_HOOKS)
def test_reply_of_a_hook_that_closes(
    own: Stage, hook: str, reply: Any, delimiter: Any, sends: bool
) -> None:
    def close(channel: Any, *arguments: Any) -> Any:
        if sends:
            channel.send(b"first ")
        channel.close()
        return reply

    members: dict[str, Any] = {hook: close}
    channel = line_channel(own, delimiter=delimiter, max_line=8, **members)
    if hook != "connection_made":
        settle(own)
    CLOSING_HOOKS[hook](own, channel)
    settle(own)
    assert replies(channel) == b"first " * sends + b"bye\n<end>"


def test_reply_of_a_timeout_that_closes(own: Stage, clock: Clock) -> None:
    def timed_out(channel: Any, which: str) -> list[bytes]:
        channel.close()
        return [b"too late"]

    channel = line_channel(own, timed_out=timed_out)
    settle(own)
    clock.now += 300
    settle(own)
    assert replies(channel) == b"too late\r\n<end>"


@pytest.mark.parametrize("chunks", [(b"a\r\nlf\r\n",), (b"a\r\n", b"lf\r\n")], ids=len)
def test_reply_ends_with_the_delimiter_of_its_time(own: Stage, chunks: tuple[bytes, ...]) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        if line == b"lf":
            channel.delimiter = b"\n"
        return line

    channel = line_channel(own, line_received=line_received)
    settle(own)
    tell(own, channel, *chunks)
    assert replies(channel) == b"a\r\nlf\n"


def test_empty_output_before_the_first_pass(own: Stage) -> None:
    """It would count as a piece that is never sent."""
    channel = line_channel(own)
    channel.send(b"")
    channel.send_lines([])
    big = b"".join(b"%07d\n" % number for number in range(200_000))
    settle(own)
    channel.send(big)
    got = b""
    for _ in range(200):
        settle(own)
        got += replies(channel)
    assert got == big
    assert channel.waiting == 0


@pytest.mark.parametrize("in_one", [True, False], ids=["one read", "a read each"])
def test_replies_before_a_hook_that_raises(own: Stage, in_one: bool) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        if line == b"bad":
            raise ZeroDivisionError
        return line

    channel = line_channel(own, line_received=line_received)
    lines = [b"one\r\n", b"two\r\n", b"bad\r\n"]
    settle(own)
    tell(own, channel, *([b"".join(lines)] if in_one else lines))
    assert replies(channel) == b"one\r\ntwo\r\n<end>"
    assert channel.events == [ZeroDivisionError, "lost"]


def test_replies_before_what_leaves_the_loop(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        if line == b"stop":
            raise own.asyncore.ExitNow
        return line

    channel = line_channel(own, line_received=line_received)
    settle(own)
    channel.peer.sendall(b"one\r\nstop\r\n")
    with pytest.raises(own.asyncore.ExitNow):
        settle(own)
    channel.close()
    assert replies(channel) == b"one\r\n<end>"


@pytest.mark.parametrize("delimiter", [b"\r\n", (b"\r\n", b"\n")], ids=["one", "several"])
def test_bad_reply_costs_no_other_its_way(own: Stage, delimiter: Any) -> None:
    """Where ``handle_error`` lets the channel live."""
    channel = line_channel(
        own,
        delimiter=delimiter,
        line_received=answering([b"1", b"a\r\nb", b"3", b"\r\n"]),
        handle_error=lambda self: self.events.append("error"),
    )
    settle(own)
    tell(own, channel, b"1\r\n2\r\n3\r\n", b"4\r\n")
    assert replies(channel) == b"1\r\n3\r\n"
    assert channel.events.count("error") == 2
    assert len(channel.events) == 6


def test_bad_reply_behind_one_that_raises(own: Stage) -> None:
    """Both are told."""

    def line_received(channel: Any, line: bytes) -> bytes:
        if line == b"raise":
            raise ZeroDivisionError
        return b"a\r\nb"

    channel = line_channel(own, line_received=line_received)
    settle(own)
    tell(own, channel, b"1\r\nraise\r\n")
    assert channel.events == [ValueError, ZeroDivisionError, "lost"]


def test_bad_reply_before_another_delimiter(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        if line == b"change":
            channel.delimiter = b"\n"
        return b"a\r\nb"

    channel = line_channel(own, line_received=line_received)
    settle(own)
    tell(own, channel, b"1\r\nchange\r\n")
    assert channel.events == [ValueError, "lost"]


@pytest.mark.parametrize("answer", [b"bye", [b"bye"], 1, "x"], ids=repr)
def test_eof_received_has_no_reply(own: Stage, answer: Any) -> None:
    channel = line_channel(own, eof_received=lambda self: answer)
    channel.peer.shutdown(1)
    settle(own)
    assert channel.events == [TypeError, "lost"]


def test_a_line_may_end_as_another_delimiter_begins(own: Stage) -> None:
    """That counts where it is whole, and what is behind the line is the first delimiter."""
    kind: dict[str, Any] = {"delimiter": (b"\n", b"--"), "max_line": 100}
    channel = line_channel(own, line_received=lambda self, line: line, **kind)
    tell(own, channel, b"a-\nb\n")
    channel.send_lines([b"c-", bytearray(b"d-"), memoryview(b"e-")])
    with pytest.raises(ValueError, match="has the delimiter b'--' inside"):
        channel.send_line(b"f--")
    settle(own)
    assert channel.events == []
    assert replies(channel) == b"a-\nb\nc-\nd-\ne-\n"


def test_bytes_of_other_classes(own: Stage) -> None:
    class Bytes(bytes):
        pass

    channel = line_channel(
        own, line_received=answering([Bytes(b"1"), bytearray(b"2"), memoryview(b"3")])
    )
    settle(own)
    channel.send(Bytes(b"0\r\n"))
    tell(own, channel, b"1\r\n2\r\n3\r\n")
    assert replies(channel) == b"0\r\n1\r\n2\r\n3\r\n"


def test_failing_handle_error_ends_the_channel(
    own: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(channel: Any, *arguments: Any) -> None:
        raise ZeroDivisionError

    channel = line_channel(own, line_received=fail, handle_error=fail)
    other = line_channel(own, line_received=lambda self, line: line)
    settle(own)
    with caplog.at_level(logging.ERROR, "fastchat.channel"):
        tell(own, channel, b"line\r\n")
    assert "handle_error() of" in caplog.text
    assert channel.events == ["lost"]
    tell(own, other, b"line\r\n")
    assert replies(other) == b"line\r\n"
