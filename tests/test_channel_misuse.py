"""``LineChannel``: what its author cannot mean is said at once; what is given back is kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.channels import Stage
from tests.support.line_channels import line_channel, recording_lines, replies, settle, tell


@pytest.mark.parametrize(
    "name",
    ["handle_read", "handle_write", "handle_close", "handle_connect", "recv", "found_terminator"],
)
def test_hook_of_asyncore_is_refused(own: Stage, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        recording_lines(own, **{name: lambda self: None})


def test_line_received_over_a_base_with_lines_received(own: Stage) -> None:
    base = recording_lines(own, lines_received=lambda self, lines: self.events.append(lines))
    with pytest.raises(TypeError, match="lines_received"):
        type("Derived", (base,), {"line_received": lambda self, line: None})
    both = ("line_received", "lines_received")
    type("Both", (base,), {name: lambda self, it: None for name in both})


def test_listens_not(own: Stage) -> None:
    channel = recording_lines(own)(None, own.map)
    channel.create_socket()
    with pytest.raises(TypeError, match="dispatcher"):
        channel.listen(5)
    channel.abort()


def test_limits_and_modes_before_there_is_a_socket(own: Stage) -> None:
    channel = recording_lines(own)(None, own.map)
    channel.delimiter = b";"
    channel.read_raw()
    channel.read_lines()
    channel.unread([b"line"])
    channel.pause_reading()
    channel.resume_reading()
    assert channel.events == []


# What is no line, and no bytes.


@pytest.mark.parametrize(
    ("method", "argument", "said"),
    [
        ("send", [b"x"], "send() takes bytes, not list"),
        ("send", 5, "send() takes bytes, not int"),
        ("send", "x", "send() takes bytes, not str: use .encode()"),
        ("send_line", [b"x"], "send_line() takes one line, not list: send_lines() takes several"),
        ("send_line", (b"x",), "send_line() takes one line, not tuple: send_lines() takes several"),
        ("send_line", "x", "a line must be bytes, not str: use .encode()"),
        ("send_line", None, "a line must be bytes, not NoneType"),
        ("send_lines", b"x", "send_lines() takes a list of lines, not bytes"),
        ("send_lines", "x", "send_lines() takes a list of lines, not str"),
        ("send_lines", None, "send_lines() takes a list of lines, not NoneType"),
        ("send_lines", [5], "a line must be bytes, not int"),
        ("send_lines", [[b"x"]], "a line must be bytes, not list"),
        ("unread", "x", "unread() takes a list of lines, or bytes, not str: use .encode()"),
        ("unread", (b"x",), "unread() takes a list of lines, or bytes, not tuple"),
        ("unread", ["x"], "a line must be bytes, not str: use .encode()"),
    ],
    ids=str,
)
def test_what_is_no_bytes_is_not_sent(own: Stage, method: str, argument: Any, said: str) -> None:
    channel = line_channel(own)
    settle(own)
    with pytest.raises(TypeError) as caught:
        getattr(channel, method)(argument)
    assert str(caught.value) == said
    channel.send_lines(line for line in (b"one", bytearray(b"two"), memoryview(b"three")))
    assert replies(channel) == b"one\r\ntwo\r\nthree\r\n"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "Mine overrides neither line_received() nor lines_received()"),
        (
            {"line_received": lambda self, line: self.receive_exactly(1)},
            "Mine overrides no raw_received()",
        ),
        ({"line_received": lambda self, line: "text"}, "a hook of Mine for "),
    ],
    ids=["line_received", "raw_received", "text"],
)
def test_log_names_the_class(
    own: Stage, caplog: pytest.LogCaptureFixture, members: dict[str, Any], said: str
) -> None:
    sock, peer = own.pair()
    type("Mine", (own.implementation.channel.LineChannel,), members)(sock, own.map)
    peer.sendall(b"line\r\nx")
    settle(own)
    assert said in caplog.text
    assert peer.recv(10) == b""


# Given back.


@pytest.mark.parametrize("way", ["hook", "outside"])
@pytest.mark.parametrize("data", [b"", b"PING\r\n", b"PING\r\nx"], ids=repr)
def test_given_back_while_a_line_is_dropped(own: Stage, data: bytes, way: str) -> None:
    """The tail of a line that was too long is never a line."""

    def line_too_long(channel: Any, prefix: bytes, size: int) -> None:
        channel.events.append("long")
        if way == "hook":
            channel.unread(data)

    channel = line_channel(own, max_line=8, line_too_long=line_too_long)
    settle(own)
    tell(own, channel, b"x" * 20)
    if way == "outside":
        channel.unread(data)
    tell(own, channel, b"DEL\r", b"\nnext\r\n")
    assert channel.events == ["long", *[b"PING"] * bool(data), b"next"]


def test_body_given_back_while_a_line_is_dropped(own: Stage) -> None:
    """It comes when that has ended."""
    channel = line_channel(own, max_line=8)
    settle(own)
    tell(own, channel, b"x" * 20)
    channel.unread(b"123456789\r\n456\r\n")
    channel.receive_exactly(5)
    tell(own, channel, b"DEL\r\nnext\r\n")
    assert channel.events[1:] == [("raw", b"12345"), b"6789", b"456", b"next"]


def test_raw_input_forgets_the_line_that_is_dropped(own: Stage) -> None:
    channel = line_channel(own, max_line=8)
    settle(own)
    tell(own, channel, b"x" * 20)
    channel.read_raw()
    channel.unread(b"given back ")
    tell(own, channel, b"tail\r\n")
    assert channel.events[1:] == [("raw", b"given back "), ("raw", b"tail\r\n")] or (
        channel.events[1:] == [("raw", b"given back tail\r\n")]
    )


def test_given_back_as_other_bytes(own: Stage) -> None:
    line = bytearray(b"one")
    channel = line_channel(own)
    settle(own)
    channel.unread([line])
    line[:] = b"two"
    with pytest.raises(TypeError):
        channel.unread((b"no", b"tuple"))
    settle(own)
    assert channel.events == [b"one"]
    assert type(channel.events[0]) is bytes


def test_given_back_under_a_lower_limit(own: Stage) -> None:
    channel = line_channel(
        own, lines_per_pass=4, lines_received=lambda self, lines: self.events.append(lines)
    )
    settle(own)
    channel.unread([b"1", b"2", b"3", b"4", b"5"])
    channel.lines_per_pass = 2
    settle(own)
    assert channel.events == [[b"1", b"2"], [b"3", b"4"], [b"5"]]


@pytest.mark.parametrize("limit", [3, 256, None])
def test_each_command_has_a_body(own: Stage, limit: int | None) -> None:
    """Pipelined, so that what was cut is taken back again and again."""
    channel = line_channel(
        own,
        lines_per_pass=limit,
        line_received=lambda self, line: self.receive_exactly(int(line)),
        raw_received=lambda self, data: self.events.append(data),
    )
    settle(own)
    bodies = [b"\r\n" * (number % 5) for number in range(600)]
    channel.peer.sendall(b"".join(b"%d\r\n%b" % (len(body), body) for body in bodies))
    own.loop(3 + 600 // (limit or 600), use_poll=True)
    settle(own, 600)
    assert channel.events == bodies


@pytest.mark.parametrize("limit", [4, 20])
@pytest.mark.parametrize("in_one", [True, False], ids=["one read", "two reads"])
@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
def test_max_line_of_a_hook_counts_for_the_lines_behind_it(
    own: Stage, hook: str, in_one: bool, limit: int
) -> None:
    """Lowered or raised; whatever else was received with the line that has changed it."""

    def line_received(self: Any, line: bytes) -> None:
        self.events.append(line)
        if line == b"set":
            self.max_line = limit

    def lines_received(self: Any, lines: list[bytes]) -> None:
        self.unread(lines[1:])
        line_received(self, lines[0])

    members: dict[str, Any] = {hook: locals()[hook]}
    channel = line_channel(own, max_line=12 if limit == 4 else 4, **members)
    lines = (b"a\r\n", b"set\r\n", b"123456789\r\n", b"b\r\n")
    events = tell(own, channel, *([b"".join(lines)] if in_one else lines))
    long = ("long", b"123456789", 9) if limit == 4 else b"123456789"
    assert [*map(type, events)] == [bytes, bytes, type(long), bytes]
    assert events[:2] + events[3:] == [b"a", b"set", b"b"]


@pytest.mark.parametrize("behind", [b"", b"c\r\n"], ids=["alone", "more waits"])
@pytest.mark.parametrize("is_first", [True, False], ids=["limit first", "lines first"])
def test_max_line_counts_for_lines_that_are_given_back(
    own: Stage, is_first: bool, behind: bytes
) -> None:
    """Whichever a hook does first, and whatever waits behind them."""

    def lines_received(self: Any, lines: list[bytes]) -> None:
        self.events.append(lines[0])
        if is_first:
            self.max_line = 4
        self.unread(lines[1:])
        if not is_first:
            self.max_line = 4

    channel = line_channel(own, max_line=12, lines_per_pass=3, lines_received=lines_received)
    events = tell(own, channel, b"a\r\n123456789\r\nb\r\n" + behind)
    assert events == [b"a", ("long", b"123456789", 9), b"b", *behind.split()]


def test_max_line_that_is_lowered_from_outside(own: Stage) -> None:
    channel = line_channel(own, lines_per_pass=1)
    settle(own)
    channel.peer.sendall(b"a\r\n123456789\r\nb\r\n")
    own.loop(1, use_poll=True)
    channel.unread([b"12345"])
    channel.max_line = 4
    settle(own)
    assert channel.events == [b"a", ("long", b"12345", 5), ("long", b"123456789", 9), b"b"]


@pytest.mark.parametrize("way", ["pause", "limit"])
def test_begun_line_that_is_too_long_waits_for_no_input(own: Stage, way: str) -> None:
    """Where it was received in a pause, or under a higher limit."""

    def line_received(self: Any, line: bytes) -> None:
        if way == "pause":
            self.pause_reading()

    channel = line_channel(own, max_line=4 if way == "pause" else 40, line_received=line_received)
    assert tell(own, channel, b"x\r\n123456789") == []
    if way == "pause":
        channel.resume_reading()
    else:
        channel.max_line = 4
    settle(own)
    assert channel.events == [("long", b"123456789", 9)]
