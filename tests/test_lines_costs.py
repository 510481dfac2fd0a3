"""What a LineBuffer costs: memory by what the interpreter allocates, work by the bytes searched."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from tests.support.channels import fail_with
from tests.support.implementations import load
from tests.support.memory import memory_of
from tests.support.searched import searched

READ = 65536
# What the buffer's own objects and those of the test take besides.
SLACK = 8192


@pytest.fixture
def lines(ours: Any) -> Any:
    """The module, compiled and Python."""
    return ours.core["lines"]


@pytest.mark.parametrize("overflow", ["raise", "discard", "split"])
@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", (b"\r\n", b"\n")])
@pytest.mark.parametrize("max_line", [100_000, 2**20 + 1, 16 * 2**20])
def test_input_without_a_delimiter(
    lines: Any, delimiter: Any, max_line: int, overflow: str
) -> None:
    buffer = lines.LineBuffer(delimiter, max_line=max_line, overflow=overflow)
    data = b"x" * (READ - 1) + b"\r"
    count, raised = 200_000_000 // READ, 0

    def feed_all() -> None:
        nonlocal raised
        for _ in range(count):
            try:
                buffer.feed(data)
            except lines.LineTooLong:
                raised += 1

    assert memory_of(feed_all)[1] <= max_line + 131_072
    assert raised == (overflow == "raise")
    if overflow == "split":
        assert len(buffer) <= max_line + 1
    else:
        assert buffer.dropped + len(buffer) == count * READ


@pytest.mark.parametrize("overflow", ["raise", "discard", "split"])
def test_input_without_a_delimiter_in_the_buffer_s_own_place(lines: Any, overflow: str) -> None:
    max_line = 2**20
    buffer = lines.LineBuffer(b"\r\n", max_line=max_line, overflow=overflow)

    def fill() -> None:
        for _ in range(200):
            room = buffer.get_buffer()
            room[:] = b"x" * (READ - 1) + b"\r"
            with suppress(lines.LineTooLong):
                buffer.buffer_updated(READ)

    # The place itself, what was read as bytes, and what of it begins a line.
    assert memory_of(fill)[1] <= max_line + 3 * READ + SLACK


@pytest.mark.parametrize("keepends", [False, True])
def test_a_line_that_is_returned_costs_its_bytes_once(lines: Any, keepends: bool) -> None:
    size = 2**20
    buffer = lines.LineBuffer(b"\r\n", max_line=size, keepends=keepends)
    found: list[bytes] = []

    def feed_all() -> None:
        for _ in range(size // READ):
            assert buffer.feed(b"x" * READ) == []
        found.extend(buffer.feed(b"\r\n"))

    assert memory_of(feed_all)[1] <= size + READ + SLACK
    assert found == [b"x" * size + (b"\r\n" if keepends else b"")]
    assert buffer.feed(b"one\r\n")[0][:3] == b"one"


@pytest.mark.parametrize(("size", "read"), [(1000, 1), (20_000, 1), (1_000_000, 700)])
def test_a_waiting_line_costs_its_bytes_and_a_third(lines: Any, size: int, read: int) -> None:
    buffer = lines.LineBuffer(max_line=size)
    piece = b"x" * read

    def feed_all() -> None:
        for _ in range(size // read):
            buffer.feed(piece)

    assert memory_of(feed_all)[1] <= size * 4 / 3 + SLACK


@pytest.mark.parametrize("overflow", ["raise", "discard", "split"])
@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", (b"\r\n", b"\n")])
@pytest.mark.parametrize("ending", [b"", b"\r\n"])
@pytest.mark.parametrize("before", [b"", b"begun\r"])
def test_no_byte_is_searched_often_however_few_lines_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, delimiter: Any, overflow: str, ending: bytes, before: bytes
) -> None:
    size = 20_000

    def feed_all(module: Any) -> None:
        buffer = module.LineBuffer(delimiter, max_line=100, overflow=overflow)
        buffer.feed(before)
        data = b"x" * size + ending
        while True:
            try:
                if not buffer.feed(data, 1):
                    break
            except module.LineTooLong:
                pass
            data = b""

    assert size <= searched(monkeypatch, feed_all) <= 3 * size


@pytest.mark.parametrize("delimiter", [b"\r\n", (b"\r\n", b"\n")])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_no_byte_is_searched_often_however_the_input_is_split(
    monkeypatch: pytest.MonkeyPatch, delimiter: Any, piece: int
) -> None:
    data = b"x" * 20_000 + b"\r\n"

    def feed_all(module: Any) -> None:
        buffer = module.LineBuffer(delimiter)
        for at in range(0, len(data), piece):
            buffer.feed(data[at : at + piece])
        assert len(buffer) == 0

    assert searched(monkeypatch, feed_all) <= 2 * len(data)


@pytest.mark.parametrize("delimiter", [(b"\r\n", b"\n"), (b"\n",), (b"aab", b"ab", b"b")])
def test_ends_of_one_byte_cost_python_no_search_for_each_line(
    monkeypatch: pytest.MonkeyPatch, delimiter: tuple[bytes, ...]
) -> None:
    implementation = load("python")
    scanner: Any = implementation.scanner
    monkeypatch.setattr(scanner, "_find_first", fail_with(AssertionError("a search")))
    buffer = implementation.core["lines"].LineBuffer(delimiter, max_line=100)
    data = b"".join(b"x" * 30 + end for end in delimiter) * 1000
    assert buffer.feed(data) == [b"x" * 30] * 1000 * len(delimiter)


@pytest.mark.parametrize("delimiter", [b"\r\n", (b"\r\n", b"\n")])
def test_what_changes_nothing_costs_no_search_of_what_is_begun(
    monkeypatch: pytest.MonkeyPatch, delimiter: Any
) -> None:
    piece, count = b"x" * 100, 200

    def feed_all(module: Any) -> None:
        buffer = module.LineBuffer(delimiter)
        for _ in range(count):
            buffer.delimiter = delimiter
            buffer.max_line = 2**20
            assert buffer.take(0) == b""
            assert buffer.feed(piece) == []
        assert buffer.feed_eof() == piece * count

    assert searched(monkeypatch, feed_all) <= 2 * count * len(piece)


@pytest.mark.parametrize("change", ["take", "delimiter"])
def test_what_changes_nothing_makes_no_copy_of_what_is_begun(lines: Any, change: str) -> None:
    buffer = lines.LineBuffer()
    buffer.feed(b"x" * 2**20)

    def repeat() -> None:
        if change == "take":
            assert buffer.take(0) == b""
        else:
            buffer.delimiter = b"\n"

    assert memory_of(repeat)[1] < SLACK
