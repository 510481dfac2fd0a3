"""Show that the work is linear in the bytes: ``make linear``.

Each case is played with an input and with twice that input, and the CPU time of the two is
compared: at most 2.2 times as much, on the compiled scanner and on its twin.  The standard
library, where the interpreter still has it, is shown beside them and not judged.

Sockets are replaced by objects in memory, so that nothing but the modules is measured.  The two
sizes take turns and the least time of each counts, because whatever else the machine does can
only add to it.  Exit status 1 where a case takes more than 2.2 times as long, in all of several
tries.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.implementations import FASTCHAT, STDLIB, Implementation, load

LIMIT = 2.2

# How often each size is timed, and how often a case that is over the limit is tried again.
ROUNDS = 7
TRIES = 3

Case = Callable[[Implementation, int], None]


class Feed:
    """A socket that holds its input already, and takes a little of what is sent."""

    def __init__(self, data: bytes, takes: int = 0) -> None:
        self.data = memoryview(data)
        self.at = 0
        self.takes = takes

    def fileno(self) -> int:
        return 1_000_000

    def setblocking(self, flag: bool) -> None:
        pass

    def getpeername(self) -> str:
        return "memory"

    def recv(self, size: int) -> bytes:
        piece = bytes(self.data[self.at : self.at + size])
        self.at += len(piece)
        return piece

    def send(self, data: bytes) -> int:
        return min(len(data), self.takes)


def receive(
    implementation: Implementation, data: bytes, terminator: Any, size: int = 65536
) -> None:
    """Let a channel with *terminator* receive all of *data*, *size* bytes at a time."""

    class Channel(implementation.asynchat.async_chat):  # type: ignore[misc, name-defined]
        ac_in_buffer_size = size
        collected = found = 0

        def collect_incoming_data(self, piece: bytes) -> None:
            self.collected += len(piece)

        def found_terminator(self) -> None:
            self.found += 1
            self.set_terminator(terminator)

    channel = Channel(map={})
    channel.socket = Feed(data)
    channel.set_terminator(terminator)
    for _ in range(-(-len(data) // size)):
        channel.handle_read()
    # The check that the work was done: all bytes were either given out, cut off or held back.
    several = terminator if isinstance(terminator, tuple) else (terminator,)
    rest = len(data) - channel.collected - len(channel.ac_in_buffer)
    lengths = [len(each) if isinstance(each, bytes) else 0 for each in several]
    assert min(lengths) * channel.found <= rest <= max(lengths) * channel.found


def newlines(implementation: Implementation, size: int) -> None:
    receive(implementation, b"\n" * size, b"\n", 2**20)


def short_lines(implementation: Implementation, size: int) -> None:
    receive(implementation, b"x" * 6 + b"\r\n", b"\r\n", 2**20)
    receive(implementation, (b"x" * 6 + b"\r\n") * (size // 8), b"\r\n", 2**20)


def endless_line(implementation: Implementation, size: int) -> None:
    receive(implementation, b"x" * size * 64, b"\r\n", 4096)


def byte_by_byte(implementation: Implementation, size: int) -> None:
    receive(implementation, b"x" * (size // 8), b"\r\n", 1)


def false_beginnings(implementation: Implementation, size: int) -> None:
    receive(implementation, b"\r" * size, b"\r\n\r\n", 64)


def false_ends(implementation: Implementation, size: int) -> None:
    receive(implementation, b"\n" * size * 4, b"\r\n\r\n", 2**20)


def long_false_ends(implementation: Implementation, size: int) -> None:
    receive(implementation, b"a" * size, b"b" + b"a" * 63, 2**20)


def rare_among_several(implementation: Implementation, size: int) -> None:
    receive(implementation, (b"x" * 6 + b"\r\n") * (size // 16), (b"\0", b"\r\n"), 2**20)


def counted_bytes(implementation: Implementation, size: int) -> None:
    receive(implementation, b"x" * (size // 8), 3, 2**20)


def small_sends(implementation: Implementation, size: int) -> None:
    """Many small sends to a peer that takes little: the queue grows all the time."""
    channel = implementation.asyncore.dispatcher_with_send(Feed(b"", takes=10), {})
    for _ in range(size // 256):
        channel.send(b"x" * 100)


def produced_pieces(implementation: Implementation, size: int) -> None:
    producer = implementation.asynchat.simple_producer(b"x" * size * 16)
    while producer.more():
        pass


def large_piece(implementation: Implementation, size: int) -> None:
    """A producer that gives all it has at once, to a peer that takes little."""
    channel = implementation.asynchat.async_chat(Feed(b"", takes=4096), {})
    channel.push_with_producer(implementation.asynchat.simple_producer(b"x" * size, size))
    while channel.writable():
        channel.initiate_send()


def feed(
    implementation: Implementation, data: bytes, read: int, most: int | None = None, **settings: Any
) -> None:
    """Feed all of *data* to a LineBuffer, *read* bytes at a time, and take *most* lines a call."""
    buffer = implementation.core["lines"].LineBuffer(b"\r\n", **settings)
    count = 0
    for at in range(0, len(data), read):
        lines = buffer.feed(data[at : at + read], most)
        while lines:
            count += len(lines)
            lines = buffer.feed(b"", most) if most else []
    assert count or len(buffer) or buffer.dropped


def buffered_lines(implementation: Implementation, size: int) -> None:
    feed(implementation, (b"x" * 30 + b"\r\n") * (size // 32), 2**16)


def buffered_long_line(implementation: Implementation, size: int) -> None:
    feed(implementation, b"x" * size + b"\r\n", 4096, max_line=size)


def buffered_byte_by_byte(implementation: Implementation, size: int) -> None:
    feed(implementation, b"x" * size + b"\r\n", 1)


def buffered_false_ends(implementation: Implementation, size: int) -> None:
    feed(implementation, b"\r" * size + b"\r\n", 1024)


def buffered_dropped(implementation: Implementation, size: int) -> None:
    feed(implementation, b"x" * size, 4096, max_line=1000, overflow="discard")


def buffered_one_by_one(implementation: Implementation, size: int) -> None:
    feed(implementation, (b"x" * 30 + b"\r\n") * (size // 32), size, 1)


def buffered_split_one_by_one(implementation: Implementation, size: int) -> None:
    feed(implementation, b"x" * size, size, 1, max_line=100, overflow="split")


# What is played, with what size (the smaller one), and with what size on the standard library:
# as much as it can take in a moment, 0 where it cannot take it at all.
CASES: list[tuple[Case, int, int]] = [
    (newlines, 2**17, 2**15),
    (short_lines, 2**19, 2**17),
    (endless_line, 2**20, 2**20),
    (byte_by_byte, 2**18, 2**18),
    (false_beginnings, 2**20, 2**20),
    (false_ends, 2**20, 2**20),
    (long_false_ends, 2**22, 2**22),
    (rare_among_several, 2**18, 0),
    (counted_bytes, 2**20, 2**20),
    (small_sends, 2**21, 2**18),
    (produced_pieces, 2**21, 2**16),
    (large_piece, 2**23, 2**21),
    (buffered_lines, 2**21, 0),
    (buffered_long_line, 2**22, 0),
    (buffered_byte_by_byte, 2**16, 0),
    (buffered_false_ends, 2**22, 0),
    (buffered_dropped, 2**23, 0),
    (buffered_one_by_one, 2**20, 0),
    (buffered_split_one_by_one, 2**20, 0),
]


def ratios(
    case: Case, implementation: Implementation, size: int, rounds: int
) -> tuple[float, float]:
    """The CPU seconds of *case* at *size*, and how many times as many it takes at twice that."""
    least = {size: float("inf"), 2 * size: float("inf")}
    for _ in range(rounds):
        for each in least:
            begin = time.process_time()
            case(implementation, each)
            least[each] = min(least[each], time.process_time() - begin)
    return least[size], least[2 * size] / least[size]


def measure(cases: list[tuple[Case, int, int]]) -> Iterator[tuple[str, str, float, float, bool]]:
    """Rows of case, implementation, seconds, ratio, and whether that is good enough."""
    for case, size, size_for_stdlib in cases:
        for name in FASTCHAT:
            for _ in range(TRIES):
                seconds, ratio = ratios(case, load(name), size, ROUNDS)
                if ratio <= LIMIT:
                    break
            yield case.__name__, name, seconds, ratio, ratio <= LIMIT
        if size_for_stdlib and STDLIB:
            seconds, ratio = ratios(case, load("stdlib"), size_for_stdlib, 2)
            part = size // size_for_stdlib
            label = "stdlib" if part == 1 else f"stdlib, 1/{part} of it"
            yield case.__name__, label, seconds, ratio, True


def main() -> int:
    parser = argparse.ArgumentParser(description="compare the CPU time of an input and twice it")
    parser.add_argument("--case", action="append", help="only this case (may be repeated)")
    wanted = parser.parse_args().case
    names = [case.__name__ for case, _, _ in CASES]
    if unknown := set(wanted or []) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    cases = [row for row in CASES if not wanted or row[0].__name__ in wanted]
    print(f"{'case':20} {'implementation':20} {'CPU ms':>8} {'twice the input':>16}")
    over = 0
    for case, name, seconds, ratio, good in measure(cases):
        print(f"{case:20} {name:20} {1000 * seconds:8.1f} {ratio:15.2f}x", end="")
        print("" if good else f"  more than {LIMIT}", flush=True)
        over += not good
    print(f"at most {LIMIT}x: {'all' if not over else f'all but {over}'}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
