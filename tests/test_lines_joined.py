"""join_lines(): the way back from lines to bytes, and what it refuses."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.support import naive
from tests.support.claims import claiming
from tests.support.implementations import Implementation

on_cpython = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="it writes to an object of CPython's"
)


@pytest.fixture
def lines(ours: Implementation) -> Any:
    """The module, compiled and Python."""
    return ours.core["lines"]


def test_join_lines(lines: Any) -> None:
    assert lines.join_lines([]) == b""
    assert lines.join_lines([b"one", b"", b"two"]) == b"one\n\ntwo\n"
    assert lines.join_lines((line for line in [b"one", b"two"]), b"\r\n") == b"one\r\ntwo\r\n"
    assert lines.join_lines([bytearray(b"one"), memoryview(b"two")]) == b"one\ntwo\n"
    assert type(lines.join_lines([bytearray(b"one")])) is bytes
    assert lines.join_lines([memoryview(b"o-n-e-")[::2]]) == b"one\n"


def test_a_subclass_of_bytes_joins_as_its_bytes(lines: Any) -> None:
    class Odd(bytes):
        def join(self, some: Any) -> bytes:
            return b"odd"

    assert lines.join_lines([b"one", Odd(b"two")], Odd(b"\r\n")) == b"one\r\ntwo\r\n"
    with pytest.raises(ValueError, match="has the delimiter"):
        lines.join_lines([b"o\nne"], Odd(b"\n"))


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"aa", b"aba", b"abab"])
def test_a_line_that_would_end_before_is_refused(lines: Any, delimiter: bytes) -> None:
    alphabet = b"".join(sorted({bytes([byte]) for byte in delimiter} | {b"x"}))
    for line in naive.words(alphabet, 5):
        for some in ([line], [b"before", line, b"behind"]):
            if naive.find(line + delimiter, delimiter) == len(line):
                joined = lines.join_lines(some, delimiter)
                assert joined == b"".join(each + delimiter for each in some)
                assert lines.LineBuffer(delimiter).feed(joined) == some
            else:
                with pytest.raises(ValueError, match="has the delimiter"):
                    lines.join_lines(some, delimiter)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ([b"one"], TypeError, r"join_lines\(\) takes a list of lines, not bytes"),
        (["one"], TypeError, r"join_lines\(\) takes a list of lines, not str"),
        ([["one"]], TypeError, r"a line must be bytes, not str: use .encode\(\)"),
        ([[b"one", 2]], TypeError, "a line must be bytes, not int"),
        ([[b"one"], "\n"], TypeError, "the delimiter must be bytes, not str"),
        ([[b"one"], b""], ValueError, "the delimiter is empty"),
    ],
)
def test_what_cannot_be_joined(
    lines: Any, arguments: list[Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        lines.join_lines(*arguments)


@on_cpython
def test_lines_with_more_bytes_than_can_be_counted(lines: Any) -> None:
    with claiming(sys.maxsize // 2 + 1) as line:
        for delimiter in (b"\n", b"\r\n"):
            with pytest.raises(OverflowError, match="too long"):
                lines.join_lines([line] * 2, delimiter)
            with pytest.raises(OverflowError, match="too long"):
                lines.join_lines([line] * 4, delimiter)  # whose sum in C is 0 and a little


class Changing:
    """Something bytes-like with other bytes each time it is looked at."""

    def __init__(self, *looks: bytes) -> None:
        self.looks = list(looks)

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])


with_buffers = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="a class in Python can be bytes-like from 3.12 on"
)


@with_buffers
@pytest.mark.parametrize("delimiter", [b"\n", b"aba"])
def test_what_is_joined_is_what_was_checked(lines: Any, delimiter: bytes) -> None:
    good, bad = b"one", b"o" + delimiter + b"ne"
    assert lines.join_lines([Changing(good, bad)], delimiter) == good + delimiter
    with pytest.raises(ValueError, match="has the delimiter"):
        lines.join_lines([Changing(bad, good)], delimiter)


@pytest.mark.parametrize("call", ["feed", "join_lines"])
def test_an_error_of_the_program_s_own_is_not_hidden(lines: Any, call: str) -> None:
    class Odd:
        def __buffer__(self, flags: int) -> memoryview:
            raise TypeError("of its own")

    take = lines.LineBuffer().feed if call == "feed" else lines.join_lines
    odd: Any = Odd() if call == "feed" else [Odd()]
    # CPython calls that from 3.12 on, and PyPy does in 3.11.
    is_called = sys.version_info >= (3, 12) or sys.implementation.name == "pypy"
    said = "of its own" if is_called else "bytes-like"
    with pytest.raises(TypeError, match=said):
        take(odd)
