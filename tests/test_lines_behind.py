"""What waits uncut in a LineBuffer: behind an over-long line, and where a program takes bytes."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import pytest

from tests.support.claims import claiming
from tests.support.implementations import Implementation
from tests.support.memory import memory_of

# Of each read the natural loop of a program that ignores what waits gets one ping in hundreds.
READ = (b"y" * 101 + b"\nping\n") * 600


@pytest.fixture
def lines(ours: Implementation) -> Any:
    """The module, compiled and Python."""
    return ours.core["lines"]


def cut(lines: Any, buffer: Any, data: bytes) -> tuple[int, int]:
    """How many lines *data* has for the loop that the manual shows, and how many are too long."""
    good = bad = 0
    while True:
        try:
            return good + len(buffer.feed(data)), bad
        except lines.LineTooLong as failure:
            good += len(failure.lines)
            bad += 1
            data = b""


def test_an_over_long_line_says_how_much_waits_behind_it(lines: Any) -> None:
    buffer = lines.LineBuffer(b"\r\n", max_line=3)
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"one\r\nlong\r\ntwo\r\nlonger\r\nth")
    assert caught.value.waiting == len(buffer) == 15
    assert str(caught.value).endswith("; feed(b'') cuts the 15 bytes behind it")
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"")
    assert (caught.value.lines, caught.value.waiting) == ([b"two"], 2)
    assert buffer.feed(b"") == []
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"reex\r")  # the CR waits, too, but not to be cut
    assert (caught.value.waiting, len(buffer)) == (0, 1)
    assert "behind it" not in str(caught.value)


def test_a_program_that_cuts_what_waits_keeps_up(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=100)

    def feed_all() -> None:
        for _ in range(50):
            assert cut(lines, buffer, READ) == (600, 600)
            assert len(buffer) == 0

    assert memory_of(feed_all)[1] < 2 * len(READ)


def test_a_program_that_does_not_is_told_before_it_falls_behind_far(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=100)
    count = good = bad = 0
    words = r"bytes wait behind lines that were too long: after LineTooLong call feed\(b''\) until"
    with pytest.raises(ValueError, match=words):  # noqa: PT012 (the loop is the subject)
        while count < 1000:
            try:
                good += len(buffer.feed(READ))
            except lines.LineTooLong as failure:
                good += len(failure.lines)
                bad += 1
            count += 1
    assert 2**20 < len(buffer) < 2**20 + 2 * len(READ)
    # What was refused was not taken, and all the rest is there.
    more = cut(lines, buffer, b"")
    assert (good + more[0], bad + more[1]) == (600 * count, 600 * count)
    assert cut(lines, buffer, READ) == (600, 600)


def test_one_large_read_may_wait_while_the_next_is_fed(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=100)
    for _ in range(3):
        with pytest.raises(lines.LineTooLong):
            buffer.feed(b"y" * 101 + b"\n" + b"ping\n" * 500_000)
        assert buffer.feed(b"ping\n") == [b"ping"] * 500_001


def test_input_that_a_program_leaves_waiting_itself_is_not_refused(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=100)
    with pytest.raises(lines.LineTooLong):
        buffer.feed(b"y" * 101 + b"\nbody 3000000\n", 1)
    assert buffer.feed(b"", 1) == [b"body 3000000"]
    for _ in range(30):
        assert buffer.feed(b"\n" * 100_000, 0) == []
    assert buffer.feed(b"\n" * 1000, 3_000_000) == [b""] * 3_000_000
    assert buffer.feed(b"end\n") == [b""] * 1000 + [b"end"]


def test_the_end_of_the_input_inside_a_body(lines: Any) -> None:
    buffer = lines.LineBuffer()
    assert buffer.feed(b"put 6\na\nb", 1) == [b"put 6"]
    with pytest.raises(ValueError, match=r"3 bytes were not cut yet: .* or rest\(\) if they are"):
        buffer.feed_eof()
    assert buffer.rest() == b"a\nb"
    assert buffer.feed_eof() is None


def test_the_end_of_the_input_behind_an_over_long_line(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=3)
    with suppress(lines.LineTooLong):
        buffer.feed(b"long\none\ntwo")
    with pytest.raises(ValueError, match=r"7 bytes were not cut yet: call feed\(b''\) before"):
        buffer.feed_eof()
    assert buffer.feed(b"") == [b"one"]
    assert buffer.feed_eof() == b"two"


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="it writes to an object of CPython's"
)
def test_more_bytes_than_can_be_counted(lines: Any) -> None:
    buffer = lines.LineBuffer()
    with claiming(sys.maxsize // 4) as data:
        buffer.feed(data, 0)
        buffer.feed(data, 0)
        with pytest.raises(MemoryError, match="more bytes wait than can be counted"):
            buffer.feed(data, 0)
        assert len(buffer) == 2 * (sys.maxsize // 4)
        buffer.clear()
    assert buffer.feed(b"one\n") == [b"one"]
