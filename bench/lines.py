"""Measure what cutting lines costs: ``python -m bench.lines``.

Input comes in reads of one size, and holds lines of one size.  Every contender takes the reads one
by one, and counts the lines.  All contenders take turns within a round; a ratio is that of one
round's CPU times, over what most programs write by hand:

    *lines, rest = (rest + data).split(b"\\r\\n")

which has no bound, and takes quadratic time for a line of many reads.  What is printed is the
median of the rounds, and the least and the most.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence

import fastchat
from tests.support.implementations import FASTCHAT, load

DELIMITER = b"\r\n"
READ = 65536
SIZES = (8, 32, 100, 1024, 8192, 1 << 20, 16 << 20)
MOST = 32 << 20  # bytes of input that a contender takes in a round
LEAST_LINES = 20000  # as far as that allows
MAX_LINE = 32 << 20

Contender = Callable[[Sequence[bytes]], int]


def by_hand(reads: Sequence[bytes]) -> int:
    count, rest = 0, b""
    for data in reads:
        *lines, rest = (rest + data).split(DELIMITER)
        count += len(lines)
    return count


def line_buffer(implementation: str) -> Contender:
    kind = load(implementation).core["lines"].LineBuffer

    def contender(reads: Sequence[bytes]) -> int:
        buffer, count = kind(DELIMITER, max_line=MAX_LINE), 0
        for data in reads:
            count += len(buffer.feed(data))
        return count

    return contender


def stream_reader(reads: Sequence[bytes]) -> int:
    async def count() -> int:
        reader, lines = asyncio.StreamReader(MAX_LINE), 0
        for data in reads:
            reader.feed_data(data)
        reader.feed_eof()
        while True:
            try:
                await reader.readuntil(DELIMITER)
            except asyncio.IncompleteReadError:
                return lines
            lines += 1

    return asyncio.run(count())


def read_line(reads: Sequence[bytes]) -> int:
    """Read a pipe by ``readline()``, whose lines end at the LF; another thread writes."""
    near, far = os.pipe()

    def write() -> None:
        with open(far, "wb", 0) as pipe:
            for data in reads:
                left = memoryview(data)
                while left:
                    left = left[pipe.write(left) :]

    writer = threading.Thread(target=write)
    writer.start()
    with open(near, "rb") as pipe:
        count = sum(1 for _ in iter(pipe.readline, b""))
    writer.join()
    return count


def contenders() -> dict[str, Contender]:
    """By name; the first is what the others are compared with."""
    made: dict[str, Contender] = {"split, by hand": by_hand}
    for implementation in FASTCHAT:
        try:
            made[f"LineBuffer, {implementation}"] = line_buffer(implementation)
        except ImportError as failure:
            print(f"left out: LineBuffer, {implementation} ({failure})")
    return made | {"StreamReader.readuntil": stream_reader, "readline of a pipe": read_line}


def measure(size: int, read: int, rounds: int) -> None:
    """Print a table row for each contender, for lines of *size* bytes in reads of *read* bytes."""
    line = b"x" * (size - len(DELIMITER)) + DELIMITER
    count = max(1, min(LEAST_LINES, MOST // size))
    data = line * count
    reads = [data[at : at + read] for at in range(0, len(data), read)]
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, contender in contenders().items():
            begin = time.process_time()
            found = contender(reads)
            taken.setdefault(name, []).append(time.process_time() - begin)
            if found != count:
                raise AssertionError(f"{name} found {found} lines of {size} bytes, not {count}")
    (first, *_) = taken
    for name, times in taken.items():
        ratios = [own / hand for own, hand in zip(times, taken[first], strict=True)]
        each = statistics.median(times) / count * 1e9
        print(
            f"{size:>9,} {read:>9,}  {name:24} {each:14,.0f} ns  {statistics.median(ratios):7.3f}"
            f"  ({min(ratios):.3f} - {max(ratios):.3f})",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="measure what cutting lines costs")
    parser.add_argument("--rounds", type=int, default=7, help="of all contenders (default 7)")
    parser.add_argument("--read", type=int, default=READ, help=f"bytes of a read (default {READ})")
    parser.add_argument("--size", type=int, action="append", help="bytes of a line, CRLF included")
    options = parser.parse_args()
    if options.rounds < 1 or options.read < 1 or min(options.size or SIZES) < len(DELIMITER):
        parser.error("at least one round, a read of one byte, and lines of two")
    print(f"Python {sys.version.split()[0]}, fastchat {fastchat.__version__}")
    print(f"{'line':>9} {'read':>9}  {'contender':24} {'CPU per line':>17}  over split by hand")
    for size in options.size or SIZES:
        measure(size, options.read, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
