"""What people complain about where they read lines, each beside what becomes of it here.

The first half of each test shows the cause, with the standard library or the code that is written
by hand.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.memory import memory_of
from tests.support.searched import searched

LIMIT = 65536  # of asyncio's StreamReader, by default
LONG = b"x" * 100_000


@pytest.fixture
def lines(ours: Any) -> Any:
    """The module, compiled and Python."""
    return ours.core["lines"]


def with_reader(use: Callable[[asyncio.StreamReader], Coroutine[Any, Any, Any]]) -> Any:
    """What *use* returns of a StreamReader with its own limit."""

    async def main() -> Any:
        return await use(asyncio.StreamReader(LIMIT))

    return asyncio.run(main())


def test_a_limit_that_is_a_cliff(lines: Any) -> None:
    async def use(reader: asyncio.StreamReader) -> str:
        reader.feed_data(b"one\n" + LONG + b"\ntwo\n")
        assert await reader.readline() == b"one\n"
        with pytest.raises(asyncio.LimitOverrunError):
            await reader.readuntil(b"\n")
        with pytest.raises(asyncio.LimitOverrunError):  # it stays where it is
            await reader.readuntil(b"\n")
        with pytest.raises(ValueError, match="chunk") as caught:
            await reader.readline()
        return str(caught.value)

    assert "StreamReader" not in with_reader(use)  # nor does it name anything else to change
    buffer = lines.LineBuffer(max_line=LIMIT)
    with pytest.raises(lines.LineTooLong, match="max_line is 65536: raise max_line, or") as caught:
        buffer.feed(b"one\n" + LONG + b"\ntwo\n")
    assert (caught.value.lines, caught.value.size) == ([b"one"], len(LONG))
    assert buffer.feed(b"") == [b"two"]
    # And what most programs ended with is the default.
    document = json.dumps({"text": "x" * 10_000_000}).encode()
    assert lines.LineBuffer().feed(document + b"\n") == [document]


def test_the_limit_is_one_of_a_line_and_not_of_a_read(lines: Any) -> None:
    def by_hand(rest: bytes, data: bytes) -> list[bytes]:
        data = rest + data
        if len(data) > LIMIT:
            raise ValueError("too much")
        return data.split(b"\n")

    read = b"short\n" * 20_000
    with pytest.raises(ValueError, match="too much"):
        by_hand(b"", read)
    assert lines.LineBuffer(max_line=LIMIT).feed(read) == [b"short"] * 20_000


def test_no_limit_at_all(lines: Any) -> None:
    size = 5_000_000

    def peak_of(take: Callable[[bytes], Any]) -> int:
        read = b"x" * LIMIT
        return memory_of(lambda: [take(read) for _ in range(size // LIMIT)])[1]

    rest = b""

    def by_hand(read: bytes) -> None:
        nonlocal rest
        *_, rest = (rest + read).split(b"\n")

    assert peak_of(by_hand) > size
    buffer = lines.LineBuffer(max_line=LIMIT, overflow="discard")
    assert peak_of(buffer.feed) < 3 * LIMIT
    # A file's readline() can be told a limit, and then gives parts for lines.
    assert io.BytesIO(b"123456\n").readline(4) == b"1234"


def test_a_frame_that_is_spliced_from_what_was_cut_off(lines: Any) -> None:
    reads = [LONG, b'{"id": 1}\n{"id": 2}\n']

    async def use(reader: asyncio.StreamReader) -> bytes:
        reader.feed_data(reads[0])
        with pytest.raises(ValueError, match="chunk"):
            await reader.readline()
        reader.feed_data(reads[1])
        return await reader.readline()

    # The end of the line that was too long passes for a line, and here even for a good one.
    assert with_reader(use) == b'{"id": 1}\n'
    buffer = lines.LineBuffer(max_line=LIMIT)
    with pytest.raises(lines.LineTooLong):
        buffer.feed(reads[0])
    assert buffer.feed(reads[1]) == [b'{"id": 2}']
    assert buffer.dropped == len(LONG) + len(b'{"id": 1}')


def test_what_stands_behind_a_line_that_is_too_long_is_lost(lines: Any) -> None:
    async def use(reader: asyncio.StreamReader) -> bytes:
        reader.feed_data(LONG)
        reader.feed_data(b"x")
        with pytest.raises(ValueError, match="chunk"):
            await reader.readline()
        reader.feed_data(b"\ntwo\n")
        return await reader.readline()

    assert with_reader(use) == b"\n"  # a line that nobody has sent
    buffer = lines.LineBuffer(max_line=LIMIT)
    with pytest.raises(lines.LineTooLong):
        buffer.feed(LONG + b"x")
    assert buffer.feed(b"\ntwo\n") == [b"two"]


def test_what_was_searched_is_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    size, read = 1_000_000, b"x" * 1000
    looked_at, rest = 0, b""
    for _ in range(size // len(read)):
        data = rest + read
        looked_at += len(data)
        *_, rest = data.split(b"\r\n")
    assert looked_at > 400 * size

    def feed_all(module: Any) -> None:
        buffer = module.LineBuffer(b"\r\n")
        for _ in range(size // len(read)):
            buffer.feed(read)

    assert searched(monkeypatch, feed_all) <= 1.01 * size


def test_one_await_for_each_line(lines: Any) -> None:
    count = 1000
    read = b"short\n" * count

    async def use(reader: asyncio.StreamReader) -> int:
        reader.feed_data(read)
        reader.feed_eof()
        awaits = 0
        while await reader.readline():
            awaits += 1
        return awaits

    assert with_reader(use) == count
    assert lines.LineBuffer().feed(read) == [b"short"] * count  # one call
