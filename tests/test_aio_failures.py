"""What raises in the hooks of ``fastchat.aio.LineProtocol``, and what comes out of turn.

An exception ends its own connection, is reported once, and no other connection suffers.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False, disable-error-code="name-defined, misc"

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.aio import Aio, Transport, link_of, turns


async def coroutine() -> None:
    """What a hook returns that is ``async``."""


# By hook, what it is to return, and what is said of it; "raise" is to be raised.
WRONG = {
    "str": ("text", "TypeError('a reply is bytes, a list of bytes or None, not str: use .encode()"),
    "int": (1, "TypeError('a reply is bytes, a list of bytes or None, not int')"),
    "list of str": (["text"], "TypeError("),
    "list of int": ([1], "TypeError("),
    "delimiter inside": (b"a\nb", "ValueError("),
    "delimiter in a list": ([b"a", b"a\nb"], "ValueError("),
}


@pytest.mark.parametrize(("reply", "said"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
def test_a_wrong_reply_ends_the_connection(alone: Aio, hook: str, reply: Any, said: str) -> None:
    kind = type("Wrong", (alone.LineProtocol,), {hook: lambda self, line: reply})

    async def main() -> None:
        transport = Transport()
        transport.connect(kind())
        transport.receive(b"one\n")
        assert (transport.sent, transport.did) == (b"", ["abort"])
        (failure,) = alone.failures()
        assert failure.startswith(said)
        if "str" in said or reply == ["text"]:
            assert "encode" in failure

    alone.run(main)


def test_a_hook_that_is_a_coroutine_function_is_told_so(alone: Aio) -> None:
    class Wrong(alone.LineProtocol):
        async def line_received(self, line: bytes) -> bytes:
            return line

    async def main() -> None:
        transport = Transport()
        transport.connect(Wrong())
        transport.receive(b"one\ntwo\n")
        (failure,) = alone.failures()
        assert "a hook no coroutine" in failure

    alone.run(main)  # a coroutine that nobody awaits would be a warning, hence an error


@pytest.mark.parametrize("hook", ["connection_made", "eof_received", "pause_writing"])
def test_any_other_hook_that_is_a_coroutine_function_is_told_so(alone: Aio, hook: str) -> None:
    async def wrong(self: Any, *arguments: Any) -> None:
        raise AssertionError("nobody runs this")

    async def main() -> None:
        transport = Transport(high=1)
        protocol = transport.connect(type("Wrong", (alone.LineProtocol,), {hook: wrong})())
        protocol.send_line(b"full")
        protocol.resume_writing()
        await turns()
        protocol.eof_received()
        (failure,) = alone.failures()
        assert "no coroutine function: let it start a task" in failure

    alone.run(main)


@pytest.mark.parametrize("data", [5, [65, 66], "text", None])
@pytest.mark.parametrize("is_in_hook", [True, False])
def test_what_is_no_bytes_is_not_sent(alone: Aio, data: Any, is_in_hook: bool) -> None:
    class Writes(alone.LineProtocol):
        def connection_made(self, transport: Any) -> None:
            if is_in_hook:
                with pytest.raises(TypeError, match=r"write\(\) takes bytes, not"):
                    self.write(data)

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(Writes())
        if not is_in_hook:
            with pytest.raises(TypeError, match=r"write\(\) takes bytes, not"):
                protocol.write(data)
        protocol.write(memoryview(bytearray(b"ABCD"))[::2])
        assert transport.sent == b"AC"

    alone.run(main)


def test_replies_are_checked_for_each_of_several_delimiters(alone: Aio) -> None:
    class Several(alone.LineProtocol):
        delimiter = (b"\r\n", b"\n")

        def lines_received(self, lines: list[bytes]) -> Any:
            return [b"a\nb"] if lines == [b"inject"] else lines

    async def main() -> None:
        transport = Transport()
        transport.connect(Several())
        transport.receive(b"one\n")
        transport.receive(b"inject\n")
        assert (transport.sent, transport.did) == (b"one\r\n", ["abort"])
        (failure,) = alone.failures()
        assert failure.startswith("ValueError(")

    alone.run(main)


@pytest.mark.parametrize("failing", ["line", "too long", "eof"])
def test_an_exception_aborts_its_own_connection_and_no_other(net: Aio, failing: str) -> None:
    class Fails(net.LineProtocol):
        max_line = 20

        def line_received(self, line: bytes) -> bytes:
            if line == b"fail":
                raise LookupError("line")
            return line

        def line_too_long(self, prefix: bytes, size: int) -> None:
            raise LookupError("too long")

        def eof_received(self) -> None:
            if self.unterminated:
                raise LookupError("eof")

    what = {"line": b"fail\nnext\n", "too long": b"x" * 30, "eof": b"unterminated"}[failing]

    async def main() -> None:
        async with net.serving(Fails) as address:
            good, writer = await asyncio.open_connection(**address)
            bad, failing_writer = await asyncio.open_connection(**address)
            failing_writer.write(what)
            if failing == "eof":
                if net.is_tls:
                    failing_writer.close()
                else:
                    failing_writer.write_eof()
            try:
                assert await bad.read() == b""
            except ConnectionResetError:
                pass
            failing_writer.transport.abort()
            writer.write(b"one\n")
            assert await good.readexactly(4) == b"one\n"
            writer.transport.abort()
        while not net.reports:
            await asyncio.sleep(0)
        assert net.failures() == [f"LookupError({failing!r})"]

    net.run(main)


@pytest.mark.parametrize(
    "hook", ["connection_made", "connection_lost", "pause_writing", "resume_writing", "timed_out"]
)
def test_an_exception_in_any_other_hook_is_reported_once(alone: Aio, hook: str) -> None:
    def fail(self: Any, *arguments: Any) -> None:
        raise LookupError(hook)

    members = {hook: fail, "lines_received": lambda self, lines: lines}
    kind = type("Fails", (alone.LineProtocol,), members)

    async def main() -> None:
        transport = Transport(high=2)
        protocol = transport.connect(kind())
        transport.receive(b"one\n")
        protocol.resume_writing()
        await turns()
        link_of(protocol).gate.heard -= 1000
        for _ in range(2):
            link_of(protocol).deadlines.look()
        protocol.connection_lost(None)
        protocol.connection_lost(None)
        assert alone.failures() == [f"LookupError({hook!r})"]
        assert transport.did[-1] == ("close" if hook == "connection_lost" else "abort")

    alone.run(main)


def test_what_ends_the_program_leaves_a_hook(alone: Aio) -> None:
    class Stops(alone.LineProtocol):
        def line_received(self, line: bytes) -> None:
            raise KeyboardInterrupt

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(Stops())
        with pytest.raises(KeyboardInterrupt):
            transport.receive(b"one\ntwo\n")
        assert transport.did == ["abort"]
        protocol.connection_lost(None)

    alone.run(main)


def test_input_that_comes_while_a_hook_runs_waits_for_its_end(alone: Aio) -> None:
    got: list[Any] = []

    class Nested(alone.LineProtocol):
        max_line = 10

        def lines_received(self, lines: list[bytes]) -> None:
            got.append(lines)
            if lines == [b"one"]:
                transport.receive(b"two\n")
                transport.receive(b"x" * 11 + b"\nthree\n")
                transport.receive(b"begun")
            got.append("done")

        def line_too_long(self, prefix: bytes, size: int) -> None:
            got.append(size)

    transport = Transport()

    async def main() -> None:
        transport.connect(Nested())
        transport.receive(b"one\n")
        await turns()

    alone.run(main)
    assert got == [[b"one"], "done", [b"two"], "done", 11, [b"three"], "done"]


def test_a_connection_that_is_lost_while_a_hook_runs_is_lost_behind_it(alone: Aio) -> None:
    got: list[Any] = []

    class Lost(alone.LineProtocol):
        def line_received(self, line: bytes) -> None:
            got.append(line)
            if line == b"one":
                self.transport.protocol.eof_received()
                self.transport.protocol.connection_lost(None)

        def eof_received(self) -> None:
            got.append("eof")

        def connection_lost(self, exc: Exception | None) -> None:
            got.append(exc)

    async def main() -> None:
        transport = Transport()
        transport.connect(Lost())
        transport.receive(b"one\ntwo\n")
        await turns()

    alone.run(main)
    assert got == [b"one", b"two", "eof", None]


def test_hooks_may_stop_the_lines_that_come_at_the_end(alone: Aio) -> None:
    got: list[Any] = []

    class Stops(alone.LineProtocol):
        def line_received(self, line: bytes) -> bytes:
            got.append(line)
            if line == b"one":
                self.pause_reading()
            else:
                self.close()
            return line

        def connection_lost(self, exc: Exception | None) -> None:
            got.append(exc)

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(Stops())
        transport.receive(b"one\ntwo\nthree\n")
        protocol.connection_lost(None)
        assert transport.did == ["pause"]

    alone.run(main)
    assert got == [b"one", b"two", None]


@pytest.mark.parametrize("failure", [asyncio.CancelledError, KeyboardInterrupt])
def test_whatever_a_hook_raises_at_the_end_the_end_is_told(alone: Aio, failure: Any) -> None:
    got: list[Any] = []

    class Raises(alone.LineProtocol):
        def line_received(self, line: bytes) -> None:
            got.append(line)
            self.pause_reading()
            if line == b"raise":
                raise failure

        def connection_lost(self, exc: Exception | None) -> None:
            got.append(exc)
            raise failure

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(Raises())
        transport.receive(b"one\nraise\nafter\n")
        with pytest.raises(failure):
            protocol.connection_lost(None)
        protocol.connection_lost(None)
        transport.receive(b"late\n")
        assert link_of(protocol).protocol is None

    alone.run(main)
    assert got == [b"one", b"raise", None]


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_protocol_refuses_a_second_connection(net: Aio, is_lost: bool) -> None:
    events: list[Any] = []

    class Client(net.LineProtocol):
        def connection_made(self, transport: Any) -> None:
            events.append("made")

        def line_received(self, line: bytes) -> None:
            events.append(line)

        def connection_lost(self, exc: Exception | None) -> None:
            events.append(exc)

    async def main() -> None:
        connect: Any = asyncio.get_running_loop().create_connection
        async with net.serving(net.echo()) as address:
            protocol = Client()
            await connect(lambda: protocol, **address)
            if is_lost:
                protocol.close()
                while events[-1] is not None:
                    await asyncio.sleep(0)
            said: list[str] = []
            try:
                await connect(lambda: protocol, **address)
            except (RuntimeError, OSError) as failure:  # of some loops
                said.append(repr(failure))
            while not any("make a new one for each" in each for each in said):
                said += net.failures()
                await asyncio.sleep(0)
            if not is_lost:
                protocol.send_line(b"one")
                while events[-1] != b"one":
                    await asyncio.sleep(0)
                protocol.close()
            while events[-1] is not None:
                await asyncio.sleep(0)

    net.run(main)
    assert events == ["made", *([] if is_lost else [b"one"]), None]


@pytest.mark.parametrize(
    ("method", "argument", "said"),
    [
        ("send_line", [b"x"], "send_line() takes one line, not list: send_lines() takes several"),
        ("send_line", 5, "a line must be bytes, not int"),
        ("send_lines", b"x", "send_lines() takes a list of lines, not bytes"),
        ("send_lines", None, "send_lines() takes a list of lines, not NoneType"),
    ],
    ids=str,
)
def test_what_is_no_line_is_not_sent(alone: Aio, method: str, argument: Any, said: str) -> None:
    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(type("Mine", (alone.LineProtocol,), {})())
        with pytest.raises(TypeError) as caught:
            getattr(protocol, method)(argument)
        assert str(caught.value) == said
        protocol.send_line(bytearray(b"one"))
        assert transport.sent == b"one\n"

    alone.run(main)
