"""What the tests of other line decoders feed, and what becomes of it here.

The input, its pieces and the limits are those of the suites of anyio, Netty, tokio-util and
Twisted; where a result differs from theirs, a comment says so.  A step is what is fed, and what
comes of it: lines, and ``TOO_LONG`` where one is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

TOO_LONG = "too long"
EITHER = (b"\r\n", b"\n")  # what ends a line for Netty and tokio-util
ANY = (b",", b";", b"\n", b"\r")


@dataclass(frozen=True)
class Vector:
    steps: list[tuple[bytes, list[Any]]]
    rest: bytes | None = None
    delimiter: Any = EITHER
    max_line: int = 8192
    keepends: bool = False


VECTORS = {
    # anyio, tests/streams/test_buffered.py
    "anyio: no end, and it stays": Vector([(b"abcd", [])], b"abcd", b"de", 10),
    # Netty, LineBasedFrameDecoderTest
    "Netty: stripped": Vector([(b"first\r\nsecond\nthird", [b"first", b"second"])], b"third"),
    "Netty: not stripped": Vector(
        [(b"first\r\nsecond\nthird", [b"first\r\n", b"second\n"])], b"third", keepends=True
    ),
    "Netty: too long, and the next": Vector(
        [(b"12345678901234567890\r\nfirst\nsecond", [TOO_LONG, b"first\n"])],
        b"second",
        max_line=16,
        keepends=True,
    ),
    # Where it is not to fail fast it tells with the end of the line, here it is told at once.
    "Netty: too long in two pieces": Vector(
        [(b"12345678901234567", [TOO_LONG]), (b"890\r\nfirst\r\n", [b"first\r\n"])],
        max_line=16,
        keepends=True,
    ),
    "Netty: too long in three pieces": Vector(
        [
            (b"12345678901234567", [TOO_LONG]),
            (b"890", []),
            (b"123\r\nfirst\r\n", [b"first\r\n"]),
        ],
        max_line=16,
        keepends=True,
    ),
    "Netty: a dot": Vector([(b"line\r\n.\r\n", [b"line\r\n", b".\r\n"])], keepends=True),
    "Netty: fragments": Vector(
        [(b"huu", []), (b"haa\r", []), (b"\nhuuhaa\r\n", [b"huuhaa\r\n", b"huuhaa\r\n"])],
        keepends=True,
    ),
    "Netty: an empty line": Vector([(b"\nabcna\r\n", [b"", b"abcna"])]),
    "Netty: a limit of two": Vector(
        [
            (b"\x00\x01\x02", [TOO_LONG]),
            (b"\x03\x04", []),
            (b"\n", []),
            (b"5", []),
            (b"\n", [b"5\n"]),
        ],
        max_line=2,
        keepends=True,
    ),
    # Netty, DelimiterBasedFrameDecoderTest
    "Netty: two lines": Vector([(b"TestLine\r\ng\r\n", [b"TestLine", b"g"])]),
    "Netty: two lines in pieces": Vector(
        [(b"Test", []), (b"Line\r\ng\r\n", [b"TestLine\r\n", b"g\r\n"])], keepends=True
    ),
    "Netty: a delimiter of three bytes in three pieces": Vector(
        [(b"AB#", []), (b"#", []), (b"#", [b"AB"]), (b"CD###", [b"CD"])], delimiter=b"###"
    ),
    # Of the two, its line decoder skips all that is there, and then misses the split CRLF.
    "Netty: what is dropped ends in a split delimiter": Vector(
        [(b"1234567890123\r", [TOO_LONG]), (b"\nfirst\r", []), (b"\n", [b"first"])],
        delimiter=b"\r\n",
        max_line=12,
    ),
    # tokio-util, tests/codecs.rs
    "tokio: lines": Vector(
        [
            (b"line 1\nline 2\r\nline 3\n\r\n\r", [b"line 1", b"line 2", b"line 3", b""]),
            (b"k", []),
        ],
        b"\rk",
    ),
    # It counts the CR of a line end, so that line 3 is too long for it.
    "tokio: a limit": Vector(
        [
            (
                b"line 1 is too long\nline 2\nline 3\r\nline 4\n\r\n\r",
                [TOO_LONG, b"line 2", b"line 3", b"line 4", b""],
            ),
            (b"k", []),
        ],
        b"\rk",
        max_line=6,
    ),
    "tokio: one byte too many": Vector([(b"aaabbbc", [TOO_LONG])], max_line=6),
    "tokio: a limit that is passed before the end": Vector(
        [
            (b"line ", []),
            (b"too l", [TOO_LONG]),
            (b"ong\n", []),
            (b"line 2", []),
            (b"\n", [b"line 2"]),
        ],
        max_line=6,
    ),
    "tokio: a limit that is passed with the end": Vector(
        [(b"line ", []), (b"too l", []), (b"ong\n", [TOO_LONG])], max_line=10
    ),
    "tokio: a limit that is passed in a burst": Vector(
        [(b"line ", []), (b"too long!\n", [TOO_LONG])], max_line=10
    ),
    "tokio: a line of the limit": Vector(
        [(b"hello", []), (b"\nworld", [b"hello"])], b"world", max_line=5
    ),
    "tokio: dropped again": Vector([(b"aa", [TOO_LONG]), (b"a", [])], max_line=1),
    "tokio: dropped over several pieces": Vector(
        [
            (b"line ", []),
            (b"too very l", [TOO_LONG]),
            (b"a" * 23, []),
            (b"ong\nshort\n", [b"short"]),
        ],
        max_line=11,
    ),
    "tokio: one of four delimiters": Vector(
        [
            (b"chunk 1,chunk 2;chunk 3\n\r", [b"chunk 1", b"chunk 2", b"chunk 3", b""]),
            (b"k", []),
        ],
        b"k",
        ANY,
    ),
    "tokio: one of four delimiters, with a limit": Vector(
        [
            (
                b"chunk 1 is too long\nchunk 2\nchunk 3\r\nchunk 4\n\r\n",
                [TOO_LONG, b"chunk 2", b"chunk 3", b"", b"chunk 4", b"", b""],
            ),
        ],
        None,
        ANY,
        max_line=7,
    ),
}


@pytest.fixture
def lines(ours: Any) -> Any:
    """The module, compiled and Python."""
    return ours.core["lines"]


def fed(lines: Any, buffer: Any, data: bytes) -> list[Any]:
    """What comes of *data*, errors and all."""
    got: list[Any] = []
    while True:
        try:
            return [*got, *buffer.feed(data)]
        except lines.LineTooLong as failure:
            got += [*failure.lines, TOO_LONG]
            data = b""


@pytest.mark.parametrize("name", VECTORS)
def test_vector(lines: Any, name: str) -> None:
    vector = VECTORS[name]
    buffer = lines.LineBuffer(vector.delimiter, max_line=vector.max_line, keepends=vector.keepends)
    for data, wanted in vector.steps:
        assert fed(lines, buffer, data) == wanted, data
    assert buffer.feed_eof() == vector.rest


def test_anyio_two_delimiters(lines: Any) -> None:
    buffer = lines.LineBuffer(b"de", max_line=10)
    assert buffer.feed(b"abcd", 1) == []
    assert buffer.feed(b"efgh", 1) == [b"abc"]
    buffer.delimiter = b"h"
    assert buffer.feed(b"", 1) == [b"fg"]


def test_anyio_counted_bytes(lines: Any) -> None:
    buffer = lines.LineBuffer()
    buffer.feed(b"abcd", 0)
    assert buffer.take(8) is None
    buffer.feed(b"efgh", 0)
    assert buffer.take(8) == b"abcdefgh"
    buffer.feed(b"abcd", 0)
    assert [buffer.take(2), buffer.take(2), buffer.take(2)] == [b"ab", b"cd", None]
    buffer.feed(b"xxx", 0)
    buffer.feed(b"foo", 0)
    buffer.feed(b"abcd", 0)
    assert buffer.take(10) == b"xxxfooabcd"


def test_anyio_no_end_in_the_bytes_that_are_allowed(lines: Any) -> None:
    # There receive_until() gives the bytes back; here they are dropped up to the next delimiter.
    buffer = lines.LineBuffer(b"de", max_line=3)
    assert fed(lines, buffer, b"abcd") == []  # the last may begin the delimiter
    assert fed(lines, buffer, b"x") == [TOO_LONG]
    assert fed(lines, buffer, b"yzdefghde") == [b"fgh"]


def test_netty_several_delimiters_at_every_distance(lines: Any) -> None:
    for size in range(600):
        line = b"z" * size
        for data, wanted in (
            (line + b"xabczzz", [line, b""]),
            (line + b"abczzzx", [line, b"zzz"]),
            (line + b"abx", [line + b"ab"]),
            (line + b"abc", [line]),
        ):
            assert lines.LineBuffer((b"abc", b"x")).feed(data) == wanted


@pytest.mark.parametrize("extra", [-1, 0, 1, 2, 3])
def test_twisted_lengths_around_a_split_delimiter(lines: Any, extra: int) -> None:
    # It was off by one where the delimiter came in two reads, whose first byte it counted.
    longest = 64
    line = b"x" * (longest + extra)
    wanted: list[Any] = [line] if extra <= 0 else [TOO_LONG]
    data = line + b"\r\nr\r\n"
    for cut in range(len(data) + 1):
        buffer = lines.LineBuffer(b"\r\n", max_line=longest)
        got = fed(lines, buffer, data[:cut]) + fed(lines, buffer, data[cut:])
        assert got == [*wanted, b"r"], cut


def test_twisted_a_line_that_is_too_long_is_all_that_is_told(lines: Any) -> None:
    # There the hook got whatever was in the buffer, other lines too.
    longest = 64
    buffer = lines.LineBuffer(b"\r\n", max_line=longest)
    excessive = b"x" * (longest * 2 + 2)
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(excessive + b"\r\n" + excessive)
    assert (caught.value.prefix, caught.value.size) == (excessive, len(excessive))
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"")
    assert (caught.value.prefix, caught.value.size) == (excessive, len(excessive))
