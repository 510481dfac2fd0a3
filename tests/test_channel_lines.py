"""``LineChannel``: lines and what hooks return for them, output, and modes of input."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from tests.support.channels import ENDING, Stage, fail_with
from tests.support.line_channels import (
    answering,
    line_channel,
    recording_lines,
    replies,
    settle,
    tell,
)
from tests.support.memory import memory_of

# Hooks.


def test_line_received_gets_each_line(own: Stage) -> None:
    channel = line_channel(own)
    assert tell(own, channel, b"one\r\ntw", b"o\r\n\r", b"\n") == [b"one", b"two", b""]


def test_lines_received_gets_those_of_a_read(own: Stage) -> None:
    channel = line_channel(own, lines_received=lambda self, lines: self.events.append(lines))
    events = tell(own, channel, b"one\r\ntwo\r\nth", b"ree\r\n", b"four\r\n")
    assert events == [[b"one", b"two"], [b"three"], [b"four"]]


@pytest.mark.parametrize("delimiter", [b"\n", (b"\r\n", b"\n")])
def test_lines_received_gets_many_at_once(own: Stage, delimiter: Any) -> None:
    """Also of several delimiters, from the first read on."""
    sizes: list[int] = []
    channel = line_channel(
        own, delimiter=delimiter, lines_received=lambda self, lines: sizes.append(len(lines))
    )
    tell(own, channel, b"line\n" * 10)
    assert sizes == [10]


def test_lines_received_wins(own: Stage) -> None:
    channel = line_channel(
        own, lines_received=answering([None]), line_received=fail_with(OSError())
    )
    assert tell(own, channel, b"one\r\n") == [[b"one"]]


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (b"yes", b"yes\r\n"),
        (b"", b"\r\n"),
        ([b"yes", b"no"], b"yes\r\nno\r\n"),
        ([], b""),
        (None, b""),
        ([bytearray(b"yes"), memoryview(b"no")], b"yes\r\nno\r\n"),
    ],
)
@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
def test_what_a_hook_returns_is_the_reply(own: Stage, hook: str, answer: Any, sent: bytes) -> None:
    members: dict[str, Any] = {hook: answering([answer])}
    channel = line_channel(own, **members)
    tell(own, channel, b"line\r\n")
    assert replies(channel) == sent


def test_other_hooks_reply_too(own: Stage) -> None:
    channel = line_channel(
        own,
        max_line=5,
        connection_made=lambda self: b"hello",
        line_received=lambda self, line: self.receive_exactly(2),
        raw_received=lambda self, data: [data, data],
        line_too_long=lambda self, prefix, size: b"too long",
        timed_out=lambda self, which: b"slow",
    )
    tell(own, channel, b"a\r\nxy123456\r\n")
    assert replies(channel) == b"hello\r\nxy\r\nxy\r\ntoo long\r\n"


@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("text", TypeError, r"\.encode\(\)"),
        (["text"], TypeError, r"\.encode\(\)"),
        (7, TypeError, "not int"),
        (b"one\r\ntwo", ValueError, "delimiter"),
        ([b"one", b"two\r\nthree"], ValueError, "delimiter"),
    ],
)
def test_what_is_no_reply_ends_the_channel(
    own: Stage,
    caplog: pytest.LogCaptureFixture,
    hook: str,
    answer: Any,
    kind: type[Exception],
    words: str,
) -> None:
    base = own.implementation.channel.LineChannel
    channel = line_channel(own, handle_error=base.handle_error, **{hook: answering([answer])})
    with caplog.at_level(logging.ERROR, "fastchat.channel"):
        tell(own, channel, b"line\r\n")
    assert replies(channel) == b"<end>"
    assert channel.events[1:] == [kind]
    (record,) = caplog.records
    assert record.exc_info
    assert re.search(words, str(record.exc_info[1]))


def test_a_coroutine_is_no_hook(own: Stage) -> None:
    async def line_received(self: Any, line: bytes) -> None:
        raise AssertionError("nobody awaits it")

    channel = line_channel(own, line_received=line_received)
    assert tell(own, channel, b"line\r\n") == [TypeError, "lost"]


def test_failing_hook_ends_no_other_channel(own: Stage) -> None:
    other = line_channel(own, line_received=lambda self, line: line)
    channel = line_channel(own, line_received=fail_with(ZeroDivisionError()))
    assert tell(own, channel, b"one\r\ntwo\r\n") == [ZeroDivisionError, "lost"]
    other.peer.sendall(b"still here\r\n")
    settle(own)
    assert replies(other) == b"still here\r\n"


@pytest.mark.parametrize("limit", [1, 256])
@pytest.mark.parametrize("kind", ENDING)
def test_what_leaves_the_loop_loses_nothing(own: Stage, kind: Any, limit: int) -> None:
    left = [own.ending(kind)]

    def line_received(channel: Any, line: bytes) -> bytes:
        channel.events.append(line)
        if line == b"two" and left:
            raise left.pop()
        return line

    channel = line_channel(own, lines_per_pass=limit, line_received=line_received)
    with pytest.raises(own.ending(kind)):
        tell(own, channel, b"one\r\ntwo\r\nthree\r\nfo")
    assert tell(own, channel, b"ur\r\n") == [b"one", b"two", b"three", b"four"]
    assert replies(channel) == b"one\r\nthree\r\nfour\r\n"


@pytest.mark.parametrize("limit", [1, 256])
def test_hooks_are_not_nested(own: Stage, limit: int) -> None:
    """Input that comes while a hook makes passes waits until that is done."""

    def line_received(channel: Any, line: bytes) -> bytes:
        channel.events.append(("begins", line))
        if line == b"one":
            channel.peer.sendall(b"three\r\n")
            own.loop(5, use_poll=True)
        channel.events.append(("ends", line))
        return line

    channel = line_channel(own, lines_per_pass=limit, line_received=line_received)
    tell(own, channel, b"one\r\ntwo\r\n")
    lines = [b"one", b"two", b"three"]
    assert channel.events == [(word, line) for line in lines for word in ("begins", "ends")]
    assert replies(channel) == b"one\r\ntwo\r\nthree\r\n"


# Output.


def test_all_that_a_hook_sends_leaves_in_order(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> Any:
        channel.send(b"raw ")
        channel.send_line(b"a line")
        channel.send_lines([b"two", bytearray(b"lines")])
        return line

    channel = line_channel(own, line_received=line_received)
    tell(own, channel, b"one\r\ntwo\r\n")
    expected = b"raw a line\r\ntwo\r\nlines\r\n%b\r\n"
    assert replies(channel) == expected % b"one" + expected % b"two"


def test_sends_outside_of_hooks(own: Stage) -> None:
    channel = line_channel(own)
    channel.send_line(b"before the loop")
    settle(own)
    channel.send(memoryview(b"after"))
    settle(own)
    assert replies(channel) == b"before the loop\r\nafter"


@pytest.mark.parametrize("method", ["send", "send_line"])
def test_refuses_to_send_text(own: Stage, method: str) -> None:
    with pytest.raises(TypeError, match=r"\.encode\(\)"):
        getattr(line_channel(own), method)("text")


def test_refuses_to_send_more_lines_than_are_said(own: Stage) -> None:
    with pytest.raises(ValueError, match="delimiter"):
        line_channel(own).send_line(b"one\r\ntwo")


def test_reply_must_not_have_another_delimiter_inside(own: Stage) -> None:
    channel = line_channel(
        own, delimiter=(b"\r\n", b"\n"), lines_received=answering([[b"one\ntwo"]])
    )
    assert tell(own, channel, b"line\n") == [[b"line"], ValueError, "lost"]


def test_sends_nothing_without_a_socket(own: Stage) -> None:
    channel = recording_lines(own)(None, own.map)
    with pytest.raises(OSError, match="not connected"):
        channel.send(b"data")
    with pytest.raises(OSError, match="not connected"):
        channel.call_later(1, print)
    channel.close()
    channel.abort()
    assert channel.events == []


# Modes.


@pytest.mark.parametrize("delimiter", [b"\r\n", (b"\r\n", b"\n")])
def test_receive_exactly(own: Stage, delimiter: Any) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        if line.isdigit():
            channel.receive_exactly(int(line))

    channel = line_channel(own, delimiter=delimiter, line_received=line_received)
    events = tell(own, channel, b"a\r\n6\r\n1\r\n2\n", b"\nb\r\n0\r\nc\r\n3\r\nx", b"yz")
    raw = [("raw", b"1\r\n2\n\n"), ("raw", b""), ("raw", b"xyz")]
    assert events == [b"a", b"6", raw[0], b"b", b"0", raw[1], b"c", b"3", raw[2]]


@pytest.mark.parametrize("way", ["line", "lines", "raw", "timer", "pause"])
def test_empty_body_needs_no_further_input(own: Stage, way: str) -> None:
    def ask(self: Any, what: Any = None) -> None:
        self.receive_exactly(0)
        if way == "pause":
            self.pause_reading()

    def raw_received(self: Any, data: bytes) -> None:
        self.events.append(("raw", data))
        if data:
            self.receive_exactly(0)

    members: dict[str, dict[str, Any]] = {
        "lines": {"lines_received": ask},
        "raw": {"connection_made": lambda self: self.read_raw(), "raw_received": raw_received},
    }
    channel = line_channel(own, **members.get(way, {"line_received": ask}))
    settle(own)
    if way == "timer":
        channel.call_later(0, channel.receive_exactly, 0)
        settle(own)
    else:
        tell(own, channel, b"0\r\n")
    if way == "pause":
        assert channel.events == []
        channel.resume_reading()
        settle(own)
    assert channel.events[-1:] == [("raw", b"")]


@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
def test_body_that_has_begun_is_no_line(own: Stage, hook: str) -> None:
    """It is not held to max_line."""

    def ask(self: Any, what: Any) -> None:
        self.receive_exactly(30)
        if hook == "lines_received":
            self.unread(what[1:])

    members: dict[str, Any] = {hook: ask}
    channel = line_channel(own, max_line=8, **members)
    tell(own, channel, b"30\r\n" + b"0123\r\n" * 4)
    assert channel.events == []
    assert tell(own, channel, b"abcdef") == [("raw", b"0123\r\n" * 4 + b"abcdef")]


def test_read_raw_and_read_lines(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.events.append(line)
        if line == b"raw":
            channel.read_raw()

    def raw_received(channel: Any, data: bytes) -> None:
        data, end, rest = data.partition(b".")
        channel.events.append(("raw", data))
        if end:
            channel.read_lines()
            channel.unread(rest)

    channel = line_channel(own, line_received=line_received, raw_received=raw_received)
    events = tell(own, channel, b"raw\r\na\r\nb", b"c", b".one\r\ntwo\r\n")
    assert events == [b"raw", ("raw", b"a\r\nb"), ("raw", b"c"), ("raw", b""), b"one", b"two"]


def test_unread_lines_come_first(own: Stage) -> None:
    def lines_received(channel: Any, lines: list[bytes]) -> None:
        channel.events.append(lines[0])
        if lines[0] == b"4":
            channel.receive_exactly(4)
        channel.unread(lines[1:])

    channel = line_channel(own, lines_received=lines_received)
    events = tell(own, channel, b"a\r\n4\r\nb\r\nc\r\nd")
    assert events == [b"a", b"4", ("raw", b"b\r\nc"), b""]
    assert tell(own, channel, b"\r\n")[4:] == [b"d"]


def test_new_delimiter_counts_from_the_next_line(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        channel.events.append(line)
        channel.delimiter = b"\n" if line == b"lf" else b"\r\n"
        return line

    channel = line_channel(own, line_received=line_received)
    assert tell(own, channel, b"lf\r\na\r\nb\r\n") == [b"lf", b"a\r", b"b"]
    assert replies(channel) == b"lf\na\r\r\nb\r\n"


@pytest.mark.parametrize(
    ("size", "kind"),
    [(-1, ValueError), (17 << 20, ValueError), (1.0, TypeError), (True, TypeError)],
)
def test_receive_exactly_refuses(own: Stage, size: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="receive_exactly"):
        line_channel(own).receive_exactly(size)


@pytest.mark.parametrize("what", ["text", ["text"]])
def test_unread_refuses_text(own: Stage, what: Any) -> None:
    with pytest.raises(TypeError, match=r"\.encode\(\)"):
        line_channel(own).unread(what)


# Pausing.


@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
def test_pause_stops_before_the_next_line(own: Stage, hook: str) -> None:
    def pausing(channel: Any, what: Any) -> Any:
        channel.events.append(what)
        channel.pause_reading()
        return what

    members: dict[str, Any] = {hook: pausing}
    channel = line_channel(own, lines_per_pass=1, **members)
    tell(own, channel, b"one\r\ntwo\r\n", b"three\r\n")
    for number, line in enumerate((b"one", b"two", b"three")):
        assert channel.events[number:] == [line if hook == "line_received" else [line]]
        assert replies(channel) == line + b"\r\n"
        channel.resume_reading()
        assert len(channel.events) == number + 1
        settle(own)


def test_close_stops_before_the_next_line(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        channel.events.append(line)
        channel.close()
        return b"bye"

    channel = line_channel(own, line_received=line_received)
    assert tell(own, channel, b"quit\r\nmore\r\n", b"and more\r\n") == [b"quit"]
    assert replies(channel) == b"bye\r\n<end>"
    channel.peer.close()
    settle(own)
    assert channel.events == [b"quit", "lost"]


def test_lines_per_pass_lets_others_have_their_turn(own: Stage) -> None:
    order: list[bytes] = []
    for name in (b"a", b"b"):
        channel = line_channel(
            own, lines_per_pass=2, line_received=lambda self, line: order.append(line)
        )
        channel.peer.sendall((name + b"\r\n") * 5)
    settle(own)
    assert order[:4] in ([b"a", b"a", b"b", b"b"], [b"b", b"b", b"a", b"a"])
    assert sorted(order) == [b"a"] * 5 + [b"b"] * 5


def test_rest_needs_no_further_input(own: Stage) -> None:
    channel = line_channel(
        own, lines_per_pass=3, lines_received=lambda self, lines: self.events.append(lines)
    )
    events = tell(own, channel, b"x\r\n" * 8)
    assert events == [[b"x"] * 3, [b"x"] * 3, [b"x"] * 2]


# What a line that is too long leaves.


@pytest.mark.parametrize("closes", [True, False])
def test_line_that_is_too_long_is_not_copied(own: Stage, closes: bool) -> None:
    """It takes what has been received, and no more."""

    def too_long(self: Any, prefix: bytes, size: int) -> None:
        if closes:
            self.close()

    channel = line_channel(own, line_too_long=too_long)
    piece = b"x" * channel.max_line
    channel.peer.sendall(piece)  # which the socket takes, because the channel does
    settle(own)
    channel.peer.sendall(piece)
    _, peak = memory_of(lambda: settle(own))
    assert peak <= channel.max_line + 16384  # what a tracer allocates included


def test_line_that_is_too_long_is_not_kept_alive(own: Stage) -> None:
    """By the frames of its exception, which would wait for the collector."""
    channel = line_channel(own, max_line=4)
    settle(own)
    state = channel._fc_line
    state.feed(b"12")
    assert state.drop_long(b"345").__traceback__ is None
