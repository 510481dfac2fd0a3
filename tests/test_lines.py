"""LineBuffer against the oracle: every split of every short stream, and random feeds."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.random import lines as random_lines
from tests.support import naive
from tests.support.implementations import Implementation
from tests.support.naive_lines import NaiveBuffer, TooLong

DELIMITERS: tuple[tuple[bytes, ...], ...] = (
    (b"\n",),
    (b"\r\n",),
    (b"aa",),
    (b"a\na",),
    (b"\r\n", b"\n"),
    (b"\r", b"\r\n"),
    (b"a\n", b"\n", b"\r\n"),
)


@pytest.fixture
def lines(ours: Implementation) -> Any:
    """The module, compiled and Python."""
    return ours.core["lines"]


def outcome(buffer: Any, pieces: list[bytes], error: type[Exception]) -> tuple[Any, ...]:
    """What *buffer* makes of *pieces* and their end: lines and errors, and what it dropped."""
    got: list[Any] = []

    def note(failure: Any) -> None:
        got.extend(failure.lines)
        got.append("too long")

    for piece in [*pieces, b""]:
        while True:
            try:
                got.extend(buffer.feed(piece))
                break
            except error as failure:
                note(failure)
                piece = b""
    try:
        rest = buffer.feed_eof()
    except error as failure:
        note(failure)
        rest = None
    return got, rest, buffer.dropped


@pytest.mark.parametrize("overflow", ["raise", "discard", "split"])
@pytest.mark.parametrize("delimiters", DELIMITERS, ids=repr)
def test_every_split_of_every_short_stream(
    lines: Any, delimiters: tuple[bytes, ...], overflow: str
) -> None:
    alphabet = b"".join(sorted({bytes([byte]) for byte in b"".join(delimiters)} | {b"x"}))[:3]
    delimiter = delimiters[0] if len(delimiters) == 1 else delimiters
    for max_line in (1, 2, 4):
        for stream in naive.words(alphabet, 5):
            wanted = outcome(NaiveBuffer(delimiters, max_line, overflow), [stream], TooLong)
            for pieces in naive.chunkings(stream):
                buffer = lines.LineBuffer(delimiter, max_line=max_line, overflow=overflow)
                found = outcome(buffer, pieces, lines.LineTooLong)
                assert found == wanted, (max_line, pieces)
                assert len(buffer) == 0


def test_random_feeds(lines: Any) -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    for number in range(1000):
        fault = random_lines.fault_of(lines, draw)
        assert fault is None, f"seed {seed}, play {number}: {fault}"
