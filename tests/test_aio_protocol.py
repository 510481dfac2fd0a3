"""``fastchat.aio.LineProtocol``: lines and replies, over real sockets and TLS.

What happens where output is full, hooks raise, and deadlines pass is in the other files of this
name.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False, disable-error-code="name-defined, misc"

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from fastchat.aio._stops import HELD
from tests.support.aio import Aio, Transport, link_of, turns


def test_importing_fastchat_imports_no_asyncio() -> None:
    program = "import fastchat, sys; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_lines_are_answered_by_what_the_hook_returns(net: Aio) -> None:
    class Upper(net.LineProtocol):
        def line_received(self, line: bytes) -> Any:
            return {b"none": None, b"two": [b"1", b"2"], b"empty": []}.get(line, line.upper())

    async def main() -> None:
        async with net.talking(Upper) as (reader, writer):
            writer.write(b"one\nnone\ntwo\nempty\n\nlast\n")
            assert await reader.readexactly(14) == b"ONE\n1\n2\n\nLAST\n"

    net.run(main)


def test_a_hook_gets_the_lines_of_a_read(net: Aio) -> None:
    class Batches(net.LineProtocol):
        delimiter = b"\r\n"

        def lines_received(self, lines: list[bytes]) -> Any:
            return lines if lines[0] != b"count" else b"%d" % len(lines)

    async def main() -> None:
        async with net.talking(Batches) as (reader, writer):
            writer.write(b"one\r\ntwo\r\nth")
            assert await reader.readexactly(10) == b"one\r\ntwo\r\n"
            writer.write(b"ree\r\n")
            assert await reader.readexactly(7) == b"three\r\n"
            writer.write(b"count\r\n\r\n\r\n")
            assert await reader.readexactly(3) == b"3\r\n"

    net.run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or os.name == "nt", reason="Unix sockets")
def test_unix_sockets(tcp: Aio, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        server = await asyncio.get_running_loop().create_unix_server(tcp.echo(), path)
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        client.setblocking(False)
        reader, writer = await tcp.module.open_lines(sock=client)
        await writer.write_line(b"one")
        assert await reader.line() == b"one"
        writer.close()
        await writer.wait_closed()
        server.close()

    tcp.run(main)


def test_long_input_comes_back_as_it_was(net: Aio) -> None:
    class Echo(net.LineProtocol):
        def lines_received(self, lines: list[bytes]) -> Any:
            return lines

    sent = b"".join(b"%d %s\n" % (number, b"x" * (number % 3000)) for number in range(2000))

    async def main() -> None:
        async with net.talking(Echo) as (reader, writer):
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent

    net.run(main)


@pytest.mark.parametrize("size", range(1, 12))
def test_lines_do_not_depend_on_the_reads(alone: Aio, size: int) -> None:
    data = b"one\r\n\r\ntwo\r\nthree\r\n"
    got = []

    class Lines(alone.LineProtocol):
        delimiter = b"\r\n"

        def line_received(self, line: bytes) -> None:
            got.append(line)

    async def main() -> None:
        transport = Transport()
        transport.connect(Lines())
        for at in range(0, len(data), size):
            transport.receive(data[at : at + size])

    alone.run(main)
    assert got == [b"one", b"", b"two", b"three"]


def test_what_hooks_send_leaves_in_order_and_at_once(alone: Aio) -> None:
    class Sends(alone.LineProtocol):
        delimiter = (b"\r\n", b"\n")

        def connection_made(self, transport: Any) -> None:
            assert transport is self.transport
            self.send_line(b"hello")

        def line_received(self, line: bytes) -> bytes:
            self.send_lines([b"a", bytearray(b"b")])
            self.write(b"raw ")
            return line

    class Counting(Transport):
        def write(self, data: bytes) -> None:
            self.did.append("write")
            super().write(data)

    async def main() -> None:
        transport = Counting()
        protocol = transport.connect(Sends())
        transport.receive(b"1\n2\r\n")
        assert transport.sent == b"hello\r\na\r\nb\r\nraw 1\r\na\r\nb\r\nraw 2\r\n"
        protocol.send_line(b"later")
        assert transport.did == ["write"] * 3
        with pytest.raises(ValueError, match="delimiter"):
            protocol.send_lines([b"fine", b"in\njected"])
        with pytest.raises(TypeError, match="encode"):
            protocol.send_line("text")
        assert transport.sent.endswith(b"raw 2\r\nlater\r\n")

    alone.run(main)


@pytest.mark.parametrize("reply", [None, [], [b"reply"]])
def test_what_a_hook_sends_comes_before_what_it_returns(alone: Aio, reply: Any) -> None:
    class Sends(alone.LineProtocol):
        def lines_received(self, lines: list[bytes]) -> Any:
            if lines != [b"quiet"]:
                self.send_lines(lines)
            return reply

    async def main() -> None:
        transport = Transport()
        transport.connect(Sends())
        transport.receive(b"1\n2\n")
        transport.receive(b"quiet\n")
        assert transport.sent == b"1\n2\n" + (b"reply\n" * 2 if reply else b"")

    alone.run(main)


@pytest.mark.parametrize("way", ["return", "list", "send_line", "send_lines", "write"])
def test_many_replies_to_one_read_leave_in_pieces(alone: Aio, way: str) -> None:
    class Amplifies(alone.LineProtocol):
        def line_received(self, line: bytes) -> Any:
            reply = line * 40000
            if way == "return":
                return reply
            if way == "list":
                return [reply]
            what = {"send_line": reply, "send_lines": [reply], "write": reply + b"\n"}[way]
            return getattr(self, way)(what)

    async def main() -> None:
        transport = Transport(high=100000)
        transport.connect(Amplifies())
        transport.receive(b"1\n2\n3\n4\n5\n")
        assert (len(transport.sent), transport.did) == (160004, ["pause"])
        transport.protocol.resume_writing()
        await turns()
        assert (transport.sent[-1:-20000:-10000], transport.did) == (b"\n5", ["pause", "resume"])

    alone.run(main)


def test_closing_in_a_hook_sends_its_reply_and_stops_before_the_next_line(net: Aio) -> None:
    got: list[bytes] = []

    class Quits(net.LineProtocol):
        def line_received(self, line: bytes) -> bytes:
            got.append(line)
            if line == b"quit":
                self.close()
                self.close()
                self.send_line(b"nowhere")
                return b"bye"
            return line

    async def main() -> None:
        async with net.talking(Quits) as (reader, writer):
            writer.write(b"one\nquit\nafter\n")
            assert await reader.read() == b"one\nbye\n"

    net.run(main)
    assert got == [b"one", b"quit"]


def test_aborting_in_a_hook_sends_nothing_more(net: Aio) -> None:
    got: list[bytes] = []

    class Aborts(net.LineProtocol):
        def line_received(self, line: bytes) -> bytes:
            got.append(line)
            self.abort()
            self.abort()
            self.close()
            return line

    async def main() -> None:
        async with net.talking(Aborts) as (reader, writer):
            writer.write(b"one\ntwo\n")
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass

    net.run(main)
    assert got == [b"one"]


def test_the_end_is_told_once_and_last(net: Aio) -> None:
    events: list[Any] = []

    class Recorded(net.LineProtocol):
        lost: asyncio.Future[None]

        def connection_made(self, transport: Any) -> None:
            events.append("made")

        def line_received(self, line: bytes) -> None:
            events.append(line)

        def eof_received(self) -> None:
            events.append(["eof", self.unterminated])

        def connection_lost(self, exc: Exception | None) -> None:
            events.append(exc)
            self.send_line(b"to nobody")
            self.lost.set_result(None)

    async def main() -> None:
        Recorded.lost = asyncio.get_running_loop().create_future()
        async with net.talking(Recorded) as (_, writer):
            writer.write(b"one\nunterm")
            writer.write(b"inated")
            writer.close()
            await Recorded.lost

    net.run(main)
    assert events == ["made", b"one", ["eof", b"unterminated"], None]


def test_a_half_closed_connection_can_be_kept_for_output(tcp: Aio) -> None:
    class Late(tcp.LineProtocol):
        def line_received(self, line: bytes) -> None:
            self.line = line

        def eof_received(self) -> bool:
            asyncio.get_running_loop().call_soon(self.answer)
            return True

        def answer(self) -> None:
            self.send_line(self.line)
            self.close()

    async def main() -> None:
        async with tcp.talking(Late) as (reader, writer):
            writer.write(b"one\n")
            writer.write_eof()
            assert await reader.read() == b"one\n"

    tcp.run(main)


def test_a_line_that_is_too_long_is_logged_and_ends_the_connection(
    net: Aio, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with net.talking(net.echo(max_line=10)) as (reader, writer):
            writer.write(b"0123456789\n0123456789X\nnext\n")
            assert await reader.read() == b"0123456789\n"

    with caplog.at_level(logging.WARNING, "fastchat.aio"):
        net.run(main)
    assert "sent a line of 11 bytes or more, b'0123456789X'" in caplog.text


def test_after_a_line_that_is_too_long_no_other_is_lost_or_spliced(net: Aio) -> None:
    class Goes(net.LineProtocol):
        max_line = 3

        def line_received(self, line: bytes) -> bytes:
            return line

        def line_too_long(self, prefix: bytes, size: int) -> bytes:
            return b"%d %s" % (size, prefix)

    async def main() -> None:
        async with net.talking(Goes) as (reader, writer):
            writer.write(b"1\nlong\n2\nlonger\nlong\n3\n")
            assert await reader.readexactly(29) == b"1\n4 long\n2\n6 longer\n4 long\n3\n"
            writer.write(b"lo")
            writer.write(b"ng\n4\n")
            assert await reader.readexactly(9) == b"4 long\n4\n"

    net.run(main)


def test_an_init_without_super_does_no_harm_and_can_set_limits(alone: Aio) -> None:
    class Careless(alone.LineProtocol):
        def __init__(self, delimiter: bytes, *, longest: int) -> None:
            self.delimiter, self.max_line = delimiter, longest
            self.high_water = None

        def line_received(self, line: bytes) -> bytes:
            return line

        def line_too_long(self, prefix: bytes, size: int) -> bytes:
            return b"no"

    async def main() -> None:
        transport = Transport()
        transport.connect(Careless(b";", longest=2))
        transport.receive(b"ab;abc;a\n;")
        await turns()
        assert transport.sent == b"ab;no;a\n;"
        assert transport.limits == (2**31 - 1, 65536)

    alone.run(main)
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        alone.LineProtocol(1)


# By limit, what it cannot be, and what is said of that.
NO_LIMITS = [
    ("delimiter", "\n", "encode"),
    ("max_line", 0, "max_line must be at least 1"),
    ("idle_timeout", "30", "idle_timeout must be seconds, more than 0, or None, not '30'"),
    ("line_timeout", float("nan"), "line_timeout must be seconds"),
    ("line_timeout", 0, "line_timeout must be seconds"),
]


@pytest.mark.parametrize(("name", "value", "said"), NO_LIMITS)
def test_a_limit_that_is_none_is_refused(alone: Aio, name: str, value: Any, said: str) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(type("Limited", (alone.LineProtocol,), {name: value})())
        assert transport.did == ["abort"]
        assert link_of(protocol).deadlines.timer is None
        (failure,) = alone.failures()
        assert said in failure

    alone.run(main)


def test_a_limit_may_be_as_large_as_one_likes(net: Aio) -> None:
    marks = {"high_water": 2**40, "low_water": 2**39}
    large = net.echo(idle_timeout=float("inf"), line_timeout=1e12, **marks)

    async def main() -> None:
        async with net.talking(large) as (
            reader,
            writer,
        ):
            writer.write(b"one\n")
            assert await reader.readexactly(4) == b"one\n"

    net.run(main)


def test_sending_before_there_is_a_connection_says_what_is_missing(alone: Aio) -> None:
    with pytest.raises(AttributeError, match="no connection yet, and no transport to write"):
        alone.LineProtocol().send_line(b"x")
    with pytest.raises(AttributeError, match="no connection yet"):
        _ = alone.LineProtocol().transport
    for name in ("pause_reading", "resume_reading", "close", "abort"):
        protocol = alone.LineProtocol()
        with pytest.raises(AttributeError, match="no connection yet"):
            getattr(protocol, name)()
        assert link_of(protocol).gate.stops == HELD


def test_what_is_no_bytes_is_taken_as_bytes(alone: Aio) -> None:
    """Some transports give bytearrays, and may write to them again."""
    got: list[Any] = []

    class Lines(alone.LineProtocol):
        def lines_received(self, lines: list[bytes]) -> None:
            got.extend(lines)

    async def main() -> None:
        protocol = Transport().connect(Lines())
        data = bytearray(b"one\ntwo")
        protocol.data_received(data)
        data[:] = b"xxxxxxx"
        protocol.pause_reading()
        data = bytearray(b"\nthree\n")
        protocol.data_received(data)
        data[:] = b"xxxxxxx"
        protocol.resume_reading()
        await asyncio.sleep(0)
        protocol.abort()

    alone.run(main)
    assert got == [b"one", b"two", b"three"]
    assert set(map(type, got)) == {bytes}


def test_no_hook_hears_of_input_after_the_close(alone: Aio) -> None:
    got: list[Any] = []

    class Closes(alone.LineProtocol):
        def lines_received(self, lines: list[bytes]) -> None:
            got.append(lines)

        def eof_received(self) -> None:
            got.append("eof")

        def connection_lost(self, exc: Exception | None) -> None:
            got.append(exc)

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(Closes())
        protocol.close()
        transport.receive(b"late\n")
        assert protocol.eof_received() is False
        protocol.connection_lost(None)
        transport.receive(b"later\n")
        protocol.connection_lost(None)
        protocol.pause_reading()
        protocol.abort()
        assert transport.did == ["close"]

    alone.run(main)
    assert got == [None]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="objects are freed later")
def test_a_lost_connection_is_in_no_cycle(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(alone.echo()())
        transport.receive(b"one\n")
        protocol.connection_lost(None)
        transport.protocol, left = None, weakref.ref(protocol)
        gc.disable()
        try:
            del protocol
            assert left() is None
        finally:
            gc.enable()

    alone.run(main)


def test_a_subclass_must_override_a_hook_for_lines(alone: Aio) -> None:
    async def main() -> None:
        transport = Transport()
        transport.connect(alone.LineProtocol())
        transport.receive(b"x\n")
        assert transport.did == ["abort"]
        (failure,) = alone.failures()
        assert "LineProtocol overrides neither line_received() nor lines_received()" in failure

    alone.run(main)


def test_a_subclass_may_use_any_name_of_its_own(net: Aio) -> None:
    """As its authors would name them, and as limits may stand in a class."""

    class Named(net.LineProtocol):
        __slots__ = ("max_line",)
        delimiter = None

        def __init__(self) -> None:
            self.delimiter, self.max_line = b"\n", 50
            self._buffer: list[bytes] = []
            self._out = self._held = self._replies = self._gate = self._loop = None
            self._timer = self._time = self._transport = self._link = None

        def _run(self) -> None: ...

        def _write(self, kind: bytes) -> bytes:
            return kind

        def _answer(self, line: bytes) -> bytes:
            return b"<" + line

        _add = _settle = _hold = _fail = _give = _flush = _end = _lose = _fill = _run

        def line_received(self, line: bytes) -> bytes:
            self._buffer.append(line)
            return self._answer(line)

        def line_too_long(self, prefix: bytes, size: int) -> bytes:
            return b"%d" % len(self._buffer)

    async def main() -> None:
        async with net.talking(Named) as (reader, writer):
            writer.write(b"one\n" + b"x" * 51 + b"\n")
            assert await reader.readexactly(7) == b"<one\n1\n"

    net.run(main)


@pytest.mark.parametrize("name", ["connection_lost", "resume_writing", "data_received"])
def test_a_hook_that_is_assigned_to_the_object_is_refused(alone: Aio, name: str) -> None:
    """What the transport calls under that name would be lost."""

    class Assigned(alone.LineProtocol):
        def __init__(self) -> None:
            setattr(self, name, print)

    async def main() -> None:
        transport = Transport()
        transport.connect(Assigned())
        assert transport.did == ["abort"]
        (failure,) = alone.failures()
        assert f"{name} of the object is what the transport calls" in failure

    alone.run(main)
