"""What ``bench scan`` compares: ways to find terminators, and ways to cut input at them.

A searcher is ``count(data, terminator, repeats)``.  A cutter is ``cut(feed, size, terminator,
counts)``, which receives all of the feed and hands out the pieces; what it does with them is
nothing, or counting them, so that the very code that is timed can be checked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import compiled
from tests.support.implementations import FASTCHAT, STDLIB, Implementation, load

# How many terminators there are, each time that they are counted together.
Searcher = Callable[[bytes, bytes, int], int]
# How many terminators, and bytes between them, there are.
Cutter = Callable[["Feed", int, bytes, bool], tuple[int, int]]

# Names, as tables have them.
COMPILED = "fastchat, compiled"
PYTHON = "fastchat, Python"
STANDARD = "stdlib asynchat"
MEMCHR = "C, memchr"
FIND = "bytes.find"
SPLIT = "bytes.split"

ORDER = [COMPILED, PYTHON, STANDARD, MEMCHR, FIND, SPLIT]

_LABELS = {"cython": COMPILED, "python": PYTHON, "stdlib": STANDARD}


def implementations() -> tuple[dict[str, Implementation], dict[str, str]]:
    """What can be loaded here, by its name in tables, and why the rest cannot."""
    loaded, absent = {}, {}
    for name in (*FASTCHAT, *STDLIB):
        try:
            loaded[_LABELS[name]] = load(name)
        except ImportError as failure:
            absent[_LABELS[name]] = str(failure)
    if not STDLIB:
        absent[STANDARD] = "Python 3.11 was the last with asynchat"
    return loaded, absent


# Searching.


def searchers(loaded: dict[str, Implementation]) -> tuple[dict[str, Searcher], dict[str, str]]:
    """All ways to search, by name, and those that are absent."""
    found: dict[str, Searcher] = {}
    absent = {}
    for name, implementation in loaded.items():
        if implementation.scanner is not None:
            found[name] = with_find_terminators(implementation.scanner.find_terminators)
    try:
        found[MEMCHR] = with_memchr()
    except compiled.NoCompiler as failure:
        absent[MEMCHR] = str(failure)
    found[FIND] = with_bytes_find
    found[SPLIT] = with_bytes_split
    return found, absent


def with_find_terminators(find_all: Callable[[bytes, bytes], Sequence[int]]) -> Searcher:
    def count(data: bytes, terminator: bytes, repeats: int) -> int:
        found = 0
        for _ in range(repeats):
            found += len(find_all(data, terminator))
        return found

    return count


def with_bytes_find(data: bytes, terminator: bytes, repeats: int) -> int:
    found, length = 0, len(terminator)
    for _ in range(repeats):
        at = data.find(terminator)
        while at >= 0:
            found += 1
            at = data.find(terminator, at + length)
    return found


def with_bytes_split(data: bytes, terminator: bytes, repeats: int) -> int:
    found = 0
    for _ in range(repeats):
        found += len(data.split(terminator)) - 1
    return found


def with_memchr() -> Searcher:
    """The loop of memchr.c.  Raises NoCompiler."""
    source = Path(__file__).resolve().parent / "memchr.c"
    count = ctypes.CDLL(str(compiled.build(source, *compiled.LIBRARY_FLAGS))).count_terminators
    size = ctypes.c_size_t
    count.argtypes = [ctypes.c_char_p, size, ctypes.c_char_p, size, size]
    count.restype = size

    def call(data: bytes, terminator: bytes, repeats: int) -> int:
        return int(count(data, len(data), terminator, len(terminator), repeats))

    return call


# Cutting.


class Feed:
    """A socket that has received everything already, in pieces that were cut beforehand."""

    def __init__(self, stream: bytes, size: int) -> None:
        self.pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        self.at = 0

    def fileno(self) -> int:
        return 1_000_000

    def recv(self, size: int) -> bytes:
        piece = self.pieces[self.at]
        self.at += 1
        return piece


def cutters(loaded: dict[str, Implementation]) -> dict[str, Cutter]:
    """All ways to cut, by name."""
    found = {name: with_handle_read(each) for name, each in loaded.items()}
    found[SPLIT] = by_splitting
    return found


def with_handle_read(implementation: Implementation) -> Cutter:
    """``handle_read`` of an async_chat, once for each piece of the feed."""
    async_chat: Any = implementation.asynchat.async_chat

    def collect_nothing(self: Any, data: bytes) -> None:
        pass

    def found_nothing(self: Any) -> None:
        pass

    def collect(self: Any, data: bytes) -> None:
        self.collected += len(data)

    def found(self: Any) -> None:
        self.found += 1

    idle = {"collect_incoming_data": collect_nothing, "found_terminator": found_nothing}
    counting = {"collect_incoming_data": collect, "found_terminator": found}
    counters = {"found": 0, "collected": 0}
    idle_class = type("Idle", (async_chat,), idle | counters)
    counting_class = type("Counting", (async_chat,), counting | counters)

    def cut(feed: Feed, size: int, terminator: bytes, counts: bool) -> tuple[int, int]:
        channel = (counting_class if counts else idle_class)(map={})
        channel.ac_in_buffer_size = size
        channel.socket = feed
        channel.connected = True
        channel.set_terminator(terminator)
        handle_read = channel.handle_read
        feed.at = 0
        for _ in feed.pieces:
            handle_read()
        return channel.found, channel.collected + len(channel.ac_in_buffer)

    return cut


def by_splitting(feed: Feed, size: int, terminator: bytes, counts: bool) -> tuple[int, int]:
    """What somebody writes who has no asynchat: no hooks, all lines of a piece at once."""
    found = collected = 0
    rest = b""
    feed.at = 0
    for _ in feed.pieces:
        *lines, rest = (rest + feed.recv(size)).split(terminator)
        if counts:
            found += len(lines)
            collected += sum(map(len, lines))
    return found, collected + len(rest)
