"""``fastchat.aio.LineReader`` and ``LineWriter``: over streams, connections, pipes and files."""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False, disable-error-code="name-defined, misc"

from __future__ import annotations

import asyncio
import gc
import importlib
import itertools
import os
import socket
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.aio import Aio, turns

posix_only = pytest.mark.skipif(os.name == "nt", reason="pipes of Unix")


def fed(*pieces: bytes) -> asyncio.StreamReader:
    """A stream that has ended, from which *pieces* can be read."""
    stream = asyncio.StreamReader()
    for piece in pieces:
        stream.feed_data(piece)
    stream.feed_eof()
    return stream


async def rest_of(reader: Any) -> list[Any]:
    """All that comes, in order: lines, and the sizes of those that are too long."""
    found: list[Any] = []
    while True:
        try:
            async for line in reader:
                found.append(line)
        except ValueError as failure:
            found += [getattr(failure, "size", failure), *getattr(failure, "lines", [])]
        else:
            return found


def test_each_way_to_read_gives_the_same_lines(alone: Aio) -> None:
    data = b"one\n\ntwo\nunterminated"

    async def main() -> None:
        expected = [b"one", b"", b"two", b"unterminated"]
        reader = alone.module.LineReader(fed(data))
        assert [line async for line in reader] == expected
        assert not reader.is_terminated
        reader = alone.module.LineReader(fed(data))
        batches = [lines async for lines in reader.batches()]
        assert batches == [expected[:3], expected[3:]]
        reader = alone.module.LineReader(fed(data))
        assert [await reader.line() for _ in range(6)] == [*expected, None, None]
        reader = alone.module.LineReader(fed(data + b"\n"), keepends=True)
        assert await reader.line() == b"one\n"
        assert [lines async for lines in reader.batches()] == [[b"\n", b"two\n", b"unterminated\n"]]
        assert reader.is_terminated

    alone.run(main)


def test_a_line_that_is_too_long_costs_no_other(alone: Aio) -> None:
    async def main() -> None:
        data = b"one\nlonger\ntwo\nlonger still\nlong\nthree\nlong"
        reader = alone.module.LineReader(fed(data), max_line=3)
        assert await rest_of(reader) == [b"one", 6, b"two", 12, 4, 5, 4]
        reader = alone.module.LineReader(fed(data), max_line=5, overflow="discard")
        assert await rest_of(reader) == [b"one", b"two", b"long", b"three", b"long"]
        reader = alone.module.LineReader(fed(b"abcd"), max_line=3, overflow="split")
        assert await rest_of(reader) == [b"abc", b"d"]
        reader = alone.module.LineReader(fed(b"one\ntwo\nlong\n"), max_line=3)
        batches = reader.batches()
        assert await anext(batches) == [b"one", b"two"]
        with pytest.raises(ValueError, match="max_line is 3"):
            await anext(batches)
        with pytest.raises(StopAsyncIteration):
            await anext(batches)

    alone.run(main)


def test_what_may_begin_a_delimiter_can_make_the_last_line_too_long(alone: Aio) -> None:
    async def main() -> None:
        reader = alone.module.LineReader(fed(b"one\r"), max_line=3, delimiter=b"\r\n")
        assert await rest_of(reader) == [4]
        assert await reader.line() is None

    alone.run(main)


def test_a_cancelled_read_loses_nothing(tcp: Aio) -> None:
    class Server(tcp.LineProtocol):
        def line_received(self, line: bytes) -> list[bytes]:
            return [line, line]

    async def main() -> None:
        async with tcp.serving(Server) as address:
            reader, writer = await tcp.module.open_lines(**address)
            for number in range(20):
                waiting = asyncio.create_task(reader.line())
                await asyncio.sleep(0)
                if number % 2:
                    await writer.write_line(b"%d" % number)
                waiting.cancel()
                await asyncio.wait([waiting])
                if number % 2:
                    assert waiting.cancelled()
                    assert [await reader.line(), await reader.line()] == [b"%d" % number] * 2
            writer.close()
            await writer.wait_closed()
            assert await reader.line() is None

    tcp.run(main)


def test_a_connection_of_lines(net: Aio) -> None:
    class Server(net.LineProtocol):
        delimiter = b"\r\n"

        def lines_received(self, lines: list[bytes]) -> Any:
            if lines == [b"quit"]:
                self.close()
                return [b"bye", b"bye"]
            return lines

    async def main() -> None:
        async with net.serving(Server) as address:
            reader, writer = await net.module.open_lines(**address, delimiter=(b"\r\n", b"\n"))
            await writer.write_line(b"one")
            assert await reader.line() == b"one"
            sent = [b"%d" % number * 500 for number in range(3000)]
            task = asyncio.create_task(writer.writelines(iter(sent)))
            found = []
            async for lines in reader.batches():
                found += lines
                if len(found) == len(sent):
                    break
            await task
            assert found == sent
            with pytest.raises(ValueError, match="delimiter"):
                await writer.write_line(b"in\r\njected")
            with pytest.raises(TypeError, match="encode"):
                await writer.writelines(["text"])
            with pytest.raises(TypeError, match="a list of lines, not bytes"):
                await writer.writelines(b"text")
            with pytest.raises(TypeError, match="a list of lines, not NoneType"):
                await writer.writelines(None)
            with pytest.raises(TypeError, match=r"one line, not list: writelines\(\) takes"):
                await writer.write_line([b"text"])
            await writer.writelines([])
            await writer.write_line(b"quit")
            assert [line async for line in reader] == [b"bye", b"bye"]
            reader.close()
            await writer.wait_closed()
            with pytest.raises(ConnectionResetError, match="the connection is closed"):
                await writer.write_line(b"late")

    net.run(main)


def test_writing_waits_for_a_peer_that_does_not_read(tcp: Aio) -> None:
    taken = 0

    def lines() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(400):
            taken += 1
            yield b"x" * 65536

    async def main() -> None:
        async with tcp.opened() as (_, writer, peer):
            peer.setblocking(False)
            task = asyncio.create_task(writer.writelines(lines()))
            while writer._sink._has_room.is_set():
                await asyncio.sleep(0)
            await turns()
            seen = taken
            assert seen < 400
            cancelled = asyncio.create_task(writer.write_line(b"cancelled"))
            await turns()
            assert not cancelled.done()
            cancelled.cancel()
            await asyncio.wait([cancelled])
            loop, size = asyncio.get_running_loop(), 0
            while size < 400 * 65537 + 10:
                size += len(await loop.sock_recv(peer, 2**20))
            await task
            assert (taken, size) == (400, 400 * 65537 + 10)
            writer.close()

    tcp.run(main)


def test_reading_stops_while_nobody_takes_lines(tcp: Aio) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        line, count = b"x" * 9999 + b"\n", 3000
        async with tcp.opened() as (reader, writer, peer):
            peer.setblocking(False)
            task = asyncio.create_task(loop.sock_sendall(peer, line * count))
            while reader._source._is_reading:
                await asyncio.sleep(0)
            await turns()
            assert not task.done()
            assert reader._source._size < 2**20
            for _ in range(count):
                assert await reader.line() == line[:-1]
            await task
        assert await reader.line() is None
        writer.close()

    tcp.run(main)


def test_what_came_before_a_reset_can_be_read(tcp: Aio) -> None:
    async def main() -> None:
        async with tcp.opened() as (reader, writer, peer):
            peer.sendall(b"one\ntwo\n")
            while not reader._source._pieces:
                await asyncio.sleep(0)
            waiting = asyncio.create_task(writer.wait_closed())
            await turns()
            linger = (1).to_bytes(4, sys.byteorder) + bytes(4)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with pytest.raises(ConnectionError):
            await waiting
        assert [await reader.line(), await reader.line()] == [b"one", b"two"]
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await reader.line()
        with pytest.raises(ConnectionError):
            await writer.write_line(b"x")

    tcp.run(main)


def drop(users: list[Any]) -> list[str]:
    """Drop the last of *users*; what the warnings say that fastchat gives, and no transport."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        users.pop()
        gc.collect()
        said = [str(warning.message) for warning in caught]
        caught.clear()  # which has the connection, in a cycle
        gc.collect()
    return [each for each in said if each.startswith("neither reader nor writer was closed: ")]


def test_a_pair_that_nobody_has_closed_warns_and_is_closed(tcp: Aio) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            users = [*await tcp.module.open_lines(*server.getsockname())]
            peer, _ = server.accept()
        with peer:
            peer.setblocking(False)
            assert drop(users) == []
            await loop.sock_sendall(peer, b"one\n")
            assert await users[0].line() == b"one"
            assert len(drop(users)) == 1
            assert await loop.sock_recv(peer, 1) == b""

    tcp.run(main)


def test_a_pair_that_outlives_its_loop_warns(alone: Aio) -> None:
    users: list[Any] = []

    async def main() -> None:
        users.append(await alone.module.open_lines(*server.getsockname()))

    with socket.create_server(("127.0.0.1", 0)) as server:
        alone.run(main)
        assert len(drop(users)) == 1


@posix_only
def test_a_pipe_that_nobody_has_closed_warns_and_is_closed(tcp: Aio) -> None:
    async def main() -> None:
        near, far = os.pipe()
        writer = [await tcp.module.open_writer(open(far, "wb", 0))]  # noqa: SIM115 (it closes)
        assert len(drop(writer)) == 1
        await turns()
        assert os.read(near, 1) == b""
        os.close(near)
        near, far = os.pipe()
        reader = [await tcp.module.open_reader(open(near, "rb", 0))]  # noqa: SIM115 (it closes)
        assert len(drop(reader)) == 1
        await turns()
        with pytest.raises(BrokenPipeError):
            os.write(far, b"x")
        os.close(far)

    tcp.run(main)


def test_two_tasks_cannot_read_at_once(alone: Aio) -> None:
    async def main() -> None:
        async with alone.opened() as (reader, writer, peer):
            first = asyncio.create_task(reader.line())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="two tasks"):
                await reader.line()
            peer.sendall(b"one\n")
            assert await first == b"one"
        writer.close()
        await writer.wait_closed()

    alone.run(main)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"delimiter": ""}, "bytes"), ({"max_line": 0}, "max_line"), ({"overflow": "x"}, "overflow")],
)
def test_wrong_settings_are_refused_before_anything_is_opened(
    alone: Aio, options: Any, said: str
) -> None:
    async def main() -> None:
        with pytest.raises((TypeError, ValueError), match=said):
            await alone.module.open_lines("256.0.0.1", 1, **options)
        with pytest.raises((TypeError, ValueError), match=said):
            alone.module.LineReader(fed(b""), **options)
        with pytest.raises(ValueError, match="empty"):
            alone.module.LineWriter(None, delimiter=b"")

    alone.run(main)


ECHO = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line)"


@posix_only
@pytest.mark.parametrize("loop_name", ["asyncio"], indirect=True)
def test_a_subprocess(tcp: Aio) -> None:
    async def main() -> None:
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ECHO, stdin=pipe, stdout=pipe
        )
        assert process.stdin is not None
        assert process.stdout is not None
        reader = tcp.module.LineReader(process.stdout)
        writer = tcp.module.LineWriter(process.stdin)
        await writer.writelines([b"one", b"x" * 100000])
        writer.close()
        await writer.wait_closed()
        assert [line async for line in reader] == [b"one", b"x" * 100000]
        reader.close()
        assert await process.wait() == 0

    tcp.run(main)


@posix_only
def test_pipes(tcp: Aio) -> None:
    sent = [b"%d" % number for number in range(100000)]

    async def write(writer: Any) -> None:
        await writer.writelines(iter(sent))
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        near, far = os.pipe()
        reader = await tcp.module.open_reader(open(near, "rb", 0))  # noqa: SIM115 (it closes)
        file = open(far, "wb")  # noqa: SIM115 (the writer closes it)
        file.write(b"before\n")
        task = asyncio.create_task(write(await tcp.module.open_writer(file)))
        assert await rest_of(reader) == [b"before", *sent]
        await task
        reader.close()

    tcp.run(main)


def test_plain_files(alone: Aio, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "lines"
        writer = await alone.module.open_writer(path.open("wb"))
        await writer.writelines([b"one", b"two"])
        writer.close()
        await writer.wait_closed()
        assert path.read_bytes() == b"one\ntwo\n"
        reader = await alone.module.open_reader(path.open("rb", 0))
        waiting = asyncio.create_task(reader.line())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert [line async for line in reader] == [b"one", b"two"]
        reader.close()

    alone.run(main)


def test_standard_input_and_output(alone: Aio, tmp_path: Path) -> None:
    program = textwrap.dedent(
        """\
        import asyncio, sys
        from fastchat import aio, implementation

        async def main():
            reader = await aio.open_reader(sys.stdin)
            writer = await aio.open_writer(sys.stdout)
            await writer.write_line(implementation.encode())
            async for lines in reader.batches():
                await writer.writelines(line.upper() for line in lines)
            writer.close()
            await writer.wait_closed()

        asyncio.run(main())
        """
    )
    command = [sys.executable, "-W", "error", "-c", program]
    environment = os.environ | {"FASTCHAT_IMPLEMENTATION": alone.name}
    run: Any = partial(subprocess.run, command, env=environment)
    wanted = alone.name.encode() + b"\nONE\nTWO\n"
    if os.name != "nt":
        done = run(input=b"one\ntwo\n", capture_output=True)
        assert (done.stdout, done.stderr) == (wanted, b"")
    (tmp_path / "in").write_bytes(b"one\ntwo\n")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "w+b") as file:
        assert run(stdin=source, stdout=file).returncode == 0
        file.seek(0)
        assert file.read() == wanted


def test_a_peer_that_takes_nothing_can_be_given_up(net: Aio) -> None:
    class Deaf(net.LineProtocol):
        def connection_made(self, transport: Any) -> None:
            protocols.append(self)

    protocols: list[Any] = []

    async def main() -> None:
        async with net.serving(Deaf) as address:
            reader, writer = await net.module.open_lines(**address)
            while not protocols:
                await asyncio.sleep(0)
            protocols[0].pause_reading()
            assert writer.get_extra_info("peername") == (address["host"], address["port"])
            assert writer.get_extra_info("nothing", 1) == 1
            task = asyncio.create_task(writer.writelines([b"x" * 2**25]))
            await turns()
            writer.abort()
            await asyncio.wait([task, asyncio.create_task(writer.wait_closed())])
            assert isinstance(task.exception(), (ConnectionResetError, type(None)))
            assert await reader.line() is None
            protocols[0].abort()
            await turns()

    net.run(main)


def test_the_output_can_end_before_the_input(tcp: Aio) -> None:
    class Counts(tcp.LineProtocol):
        def eof_received(self) -> None:
            self.send_line(b"the end of " + self.unterminated)

    async def main() -> None:
        async with tcp.serving(Counts) as address:
            streams = await asyncio.open_connection(**address)
            for reader, writer in (
                await tcp.module.open_lines(**address),
                (tcp.module.LineReader(streams[0]), tcp.module.LineWriter(streams[1])),
            ):
                writer.write_eof()
                assert await reader.line() == b"the end of "
                assert await reader.line() is None
                writer.abort()
                await writer.wait_closed()

    tcp.run(main)


def test_nothing_comes_of_lines_without_end_but_pieces(alone: Aio) -> None:
    """Of empty lines, too."""
    sizes: list[int] = []

    class Sink:
        def write(self, data: bytes) -> None:
            sizes.append(len(data))

        async def drain(self) -> None: ...

    async def main() -> None:
        await alone.module.LineWriter(Sink()).writelines(b"" for _ in range(200000))
        assert sum(sizes) == 200000
        assert max(sizes) <= 65536

    alone.run(main)


def test_a_plain_file_is_closed_behind_the_read_that_was_begun(alone: Aio, tmp_path: Path) -> None:
    """Its number would go to another file, whose bytes the read would take."""

    async def main() -> None:
        loop, gate = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        blocking = loop.run_in_executor(None, gate.wait)
        (tmp_path / "lines").write_bytes(b"one\n")
        file: Any = (tmp_path / "lines").open("rb", 0)
        reader = await alone.module.open_reader(file)
        waiting = asyncio.create_task(reader.line())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two tasks"):
            await reader.line()
        waiting.cancel()
        await asyncio.wait([waiting])
        pending = reader._source._pending
        reader.close()
        assert not file.closed
        gate.set()
        await blocking
        await asyncio.wait([pending])
        await turns()
        assert file.closed

        file = (tmp_path / "lines").open("rb", 0)
        reader = await alone.module.open_reader(file)
        reader._source._pending = loop.create_future()
        reader.close()
        reader._source._pending.cancel()
        await turns()
        assert file.closed
        writer = await alone.module.open_writer((tmp_path / "lines").open("wb"))
        writer.write_eof()
        assert writer.get_extra_info("peername", 1) == 1
        writer.abort()

    alone.run(main)


@posix_only
def test_a_terminal_that_hangs_up_has_ended(tcp: Aio) -> None:
    pty: Any = importlib.import_module("pty")

    async def main() -> None:
        master, slave = pty.openpty()
        reader = await tcp.module.open_reader(open(master, "rb", 0))  # noqa: SIM115 (it closes)
        file = open(slave, "wb", 0)  # noqa: SIM115 (the writer closes it)
        writer = await tcp.module.open_writer(file)
        assert os.get_blocking(slave)  # for what shares it
        await writer.write_line(b"one")
        assert await reader.line() == b"one\r"
        os.write(slave, b"begun")
        assert await next_piece(reader) == b"begun"
        writer.close()
        await writer.wait_closed()
        assert file.closed
        assert await rest_of(reader) == [b"begun"]
        assert not reader.is_terminated

    tcp.run(main)


@posix_only
def test_a_terminal_that_cannot_be_opened_is_used_as_it_is(
    alone: Aio, monkeypatch: pytest.MonkeyPatch
) -> None:
    pty: Any = importlib.import_module("pty")

    def refuse(number: int) -> str:
        raise PermissionError("another user's")

    monkeypatch.setattr(os, "ttyname", refuse)

    async def main() -> None:
        master, slave = pty.openpty()
        writer = await alone.module.open_writer(open(slave, "wb", 0))  # noqa: SIM115 (it closes)
        await writer.write_line(b"one")
        assert os.read(master, 10) == b"one\r\n"
        writer.close()
        await writer.wait_closed()
        os.close(master)

    alone.run(main)


async def next_piece(reader: Any) -> bytes:
    """What comes next, which *reader* finds then."""
    while not reader._source._pieces:
        await asyncio.sleep(0)
    piece: bytes = reader._source._pieces[0]
    return piece


@posix_only
def test_who_reads_no_more_has_broken_the_pipe(tcp: Aio) -> None:
    async def main() -> None:
        near, far = os.pipe()
        writer = await tcp.module.open_writer(open(far, "wb"))  # noqa: SIM115 (the writer closes it)
        await writer.write_line(b"one")
        os.close(near)
        with pytest.raises(BrokenPipeError):
            await writer.writelines(itertools.repeat(b"more" * 10000))
        for _ in range(3):
            with pytest.raises(BrokenPipeError) as found:
                await writer.write_line(b"more")
            assert len(traceback.extract_tb(found.tb)) < 10

    tcp.run(main)
