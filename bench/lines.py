"""Measure what cutting lines costs: ``python -m bench lines``.

Input comes in reads of one size, and holds lines of one size, which end in CRLF.  Every contender
takes the reads one by one, and counts the lines.  What is compared with is what most programs
write by hand:

    *lines, rest = (rest + data).split(b"\\r\\n")

which has no bound, and takes quadratic time for a line of many reads.  A ratio is that of two CPU
times of the thread, one taken right after the other; what is printed is the median of the rounds.

The input repeats after ``DISTINCT`` bytes, because what a program has just received is in the
cache.  More than the cache holds, by ``--distinct``, measures what is not, as from a large file.

Rules this file keeps:

* Whoever finds another number of lines than there are ends the run.
* Time is bounded: a case takes as many rounds as fit, but ``LEAST_ROUNDS``; and who would copy
  for seconds, because what is left is joined to each read, is left out and named.
* Nobody pays for what only the measurement does: the thread that writes into a pipe is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench import terminal
from bench.results import Figure
from bench.serve.server import LARGE_BLOCK
from bench.tables import Table, median, number, spread
from tests.support.implementations import FASTCHAT, Implementation, load

DELIMITER = b"\r\n"
READS = (4096, 65536, 1 << 20)
SIZES = (8, 32, 100, 1024, 8192, 1 << 20, 16 << 20)
MOST = 16 << 20  # bytes of input that a contender takes in a round
MOST_LINES = 50000  # or of LEAST_READS reads, where those have more
LEAST_READS = 4
DISTINCT = 512 << 10
MAX_LINE = 32 << 20

ROUNDS, LEAST_ROUNDS = 7, 3
SECONDS = 6.0  # for a case, if the least number of rounds fits

HAND = "split, by hand"
COMPILED, PURE = (f"LineBuffer, {name}" for name in FASTCHAT)
STREAM = "StreamReader.readuntil"
PIPE = "readline of a pipe"
JARACO = "jaraco.stream"
H11 = "h11's buffer"
# Who joins what is left to each read, and how many bytes of that take it seconds.
QUADRATIC = {HAND: 4 << 30, JARACO: 1 << 29}

Contender = Callable[[Sequence[bytes]], int]


class Miscount(Exception):
    """A contender found another number of lines than there are."""


# Contenders: how many lines each finds in the reads.


def by_hand(reads: Sequence[bytes]) -> int:
    count, rest = 0, b""
    for data in reads:
        *lines, rest = (rest + data).split(DELIMITER)
        count += len(lines)
    return count


def line_buffer(implementation: Implementation, reads: Sequence[bytes]) -> int:
    kind = implementation.core["lines"].LineBuffer
    buffer, count = kind(DELIMITER, max_line=MAX_LINE), 0
    for data in reads:
        count += len(buffer.feed(data))
    return count


def stream_reader(reads: Sequence[bytes]) -> int:
    """All reads are there before the first line is asked for, so the loop never has to wait."""

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


def jaraco_buffer(module: Any, reads: Sequence[bytes]) -> int:
    """By its public interface; a line ends at LF or CRLF there."""
    buffer, count = module.LineBuffer(), 0
    for data in reads:
        buffer.feed(data)
        count += len(list(buffer.lines()))
    return count


def h11_buffer(module: Any, reads: Sequence[bytes]) -> int:
    """By the class that h11 keeps its input in, which is private: h11 itself gives no lines.

    Its lines are bytearrays with the CRLF.
    """
    buffer, count = module.ReceiveBuffer(), 0
    for data in reads:
        buffer += data
        while buffer.maybe_extract_next_line() is not None:
            count += 1
    return count


def contenders() -> tuple[dict[str, Contender], list[str]]:
    """By name, and sentences that say who is missing."""
    made: dict[str, Contender] = {HAND: by_hand, STREAM: stream_reader, PIPE: read_line}
    absent = []

    def add(name: str, load: Callable[[], Any], contender: Callable[..., int]) -> None:
        try:
            made[name] = partial(contender, load())
        except ImportError as failure:
            absent.append(f"Left out: {name} ({failure}).")

    for name, implementation in zip((COMPILED, PURE), FASTCHAT, strict=True):
        add(name, partial(load, implementation), line_buffer)
    add(JARACO, partial(importlib.import_module, "jaraco.stream.buffer"), jaraco_buffer)
    add(H11, partial(importlib.import_module, "h11._receivebuffer"), h11_buffer)
    return made, absent


# Measuring.


@dataclass
class Case:
    """Lines of *size* bytes in reads of *read* bytes, and what each contender took.

    The input repeats after *distinct* bytes, or after a read or a line where that is larger.
    *times* has the seconds of each round, and those of ``HAND`` right before, None where it is left
    out.
    """

    size: int
    read: int
    distinct: int = DISTINCT
    count: int = 0
    times: dict[str, list[tuple[float, float | None]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def ratio(self, name: str) -> Figure | None:
        """The CPU time of *name* over that of ``HAND``."""
        return Figure.of(taken / hand for taken, hand in self.times.get(name, []) if hand)

    def each(self, name: str) -> float | None:
        """Nanoseconds for a line."""
        figure = Figure.of(taken for taken, _ in self.times.get(name, []))
        return figure.median / self.count * 1e9 if figure else None

    def copied(self) -> int:
        """How many bytes are copied and searched again where what is left is joined to a read."""
        reads = max(1, self.size // self.read)
        return self.count * reads * (reads - 1) // 2 * self.read


def input_of(case: Case) -> list[bytes]:
    """The reads of *case*, whose ``count`` is set."""
    least = -(-LEAST_READS * case.read // case.size)
    wanted = max(1, min(max(MOST_LINES, least), MOST // case.size))
    distinct = min(wanted, max(1, max(case.distinct, case.read) // case.size))
    times = -(-wanted // distinct)
    case.count = distinct * times
    data = (b"x" * (case.size - len(DELIMITER)) + DELIMITER) * distinct
    return [data[at : at + case.read] for at in range(0, len(data), case.read)] * times


def timed(name: str, contender: Contender, reads: Sequence[bytes], count: int) -> float:
    """The CPU seconds of this thread.  Raises Miscount."""
    begin = time.thread_time()
    found = contender(reads)
    taken = time.thread_time() - begin
    if found != count:
        raise Miscount(f"{name} found {found} lines, not {count}")
    return taken


def measure(case: Case, among: Mapping[str, Contender], rounds: int, seconds: float) -> None:
    """Fill *case*: *rounds* of all contenders, or as many as fit into *seconds* of wall time."""
    reads, end = input_of(case), time.monotonic() + seconds
    for name, most in QUADRATIC.items():
        if case.copied() > most:
            case.left_out[name] = f"it would copy {case.copied() / 1e9:,.0f} GB"
    for turn in range(rounds):
        if turn >= LEAST_ROUNDS and time.monotonic() > end:
            break
        for name, contender in among.items():
            if name in case.left_out or name == HAND:
                continue
            hand = None
            if HAND not in case.left_out:
                hand = timed(HAND, by_hand, reads, case.count)
                case.times.setdefault(HAND, []).append((hand, hand))
            taken = timed(name, contender, reads, case.count)
            case.times.setdefault(name, []).append((taken, hand))


# What is meant to be reached.


@dataclass(frozen=True)
class Target:
    """What *contender* may take of what ``HAND`` does, for reads of 64 KiB: on CPython 3.11, and
    on later ones."""

    size: int
    contender: str
    bounds: tuple[float, float]

    @property
    def bound(self) -> float:
        return self.bounds[sys.version_info >= (3, 12)]

    def measured(self, cases: Iterable[Case]) -> Figure | None:
        found = [case for case in cases if (case.size, case.read) == (self.size, 65536)]
        return found[0].ratio(self.contender) if found else None

    def is_met(self, cases: Iterable[Case]) -> bool:
        figure = self.measured(cases)
        return figure is not None and figure.median <= self.bound


TARGETS = [
    Target(32, COMPILED, (0.75, 0.85)),
    Target(100, COMPILED, (0.45, 0.60)),
    Target(8192, COMPILED, (0.10, 0.15)),
    Target(16 << 20, COMPILED, (0.02, 0.02)),
    Target(32, PURE, (1.3, 1.3)),
    Target(8192, PURE, (0.5, 0.5)),
]


# Tables.


def cost_table(read: int, cases: Sequence[Case], names: Iterable[str]) -> Table:
    """All cases of one size of read: the ratio, and ns for a line."""
    table = Table(
        f"Lines in reads of {read:,} bytes: CPU time over split by hand (ns for a line)",
        ["contender", *(f"{case.size:,} B" for case in cases)],
    )
    for name in names:
        cells = []
        for case in cases:
            each = number(case.each(name))
            cells.append(f"{median(case.ratio(name))} ({each})".strip() if each else "left out")
        table.rows.append([name, *cells])
    for case in cases:
        for name, reason in case.left_out.items():
            table.remarks.append(f"{name}, lines of {case.size:,} bytes: {reason}.")
    return table


def target_table(cases: Sequence[Case]) -> Table:
    """The targets, and whether they are met."""
    table = Table(
        "Targets: CPU time over split by hand, reads of 65,536 bytes",
        ["contender", "line", "at most", "median", "least - most", "met"],
    )
    for target in TARGETS:
        figure = target.measured(cases)
        met = "yes" if target.is_met(cases) else "NO" if figure else "not measured"
        row = [target.contender, f"{target.size:,} B", number(target.bound)]
        table.rows.append([*row, median(figure), spread(figure), met])
    return table


def losses(cases: Iterable[Case]) -> list[str]:
    """Sentences that say where a LineBuffer takes more than somebody else."""
    said = []
    for case in cases:
        for own in (COMPILED, PURE):
            behind = []
            for name in case.times:
                mine, theirs = case.each(own), case.each(name)
                if name not in (COMPILED, PURE) and mine and theirs and mine > theirs:
                    behind.append(f"{number(mine / theirs)} times {name}")
            if behind:
                where = f"lines of {case.size:,} bytes in reads of {case.read:,}"
                said.append(f"Behind: {own}, {where}: {'; '.join(behind)}.")
    return said


# The command line.


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``bench lines``."""
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at most (default {ROUNDS})")
    parser.add_argument("--read", type=int, action="append", help="bytes of a read; repeatable")
    parser.add_argument(
        "--size", type=int, action="append", help="bytes of a line, CRLF included; repeatable"
    )
    parser.add_argument(
        "--distinct",
        type=int,
        default=DISTINCT,
        help=f"bytes of input before it repeats (default {DISTINCT}: what is in the cache)",
    )
    parser.add_argument(
        "--targets", action="store_true", help="measure what the targets need, and judge by them"
    )


def wanted(options: argparse.Namespace) -> list[Case]:
    """The cases that *options* ask for.  Raises ValueError where they make no sense."""
    reads, sizes = options.read or READS, options.size or SIZES
    if options.targets:
        reads, sizes = [65536], sorted({target.size for target in TARGETS})
    if min(options.rounds, options.distinct, *reads) < 1 or min(sizes) < len(DELIMITER):
        raise ValueError("--rounds, --read and --distinct have to be at least 1, and --size 2")
    return [Case(size, read, options.distinct) for read in reads for size in sizes]


def run(options: argparse.Namespace) -> int:
    """Measure and print what *options* ask for; the exit status is that of ``python -m bench``."""
    where, status = terminal.console(), 0
    try:
        cases = wanted(options)
    except ValueError as failure:
        terminal.complain(str(failure))
        return 2
    bytes(LARGE_BLOCK)  # freed at once, as in servers that are measured
    among, absent = contenders()
    steps = [
        (f"lines of {case.size:,} in reads of {case.read:,}", partial(measure, case, among))
        for case in cases
    ]
    try:
        terminal.take(
            where, [(label, partial(step, options.rounds, SECONDS)) for label, step in steps]
        )
    except KeyboardInterrupt:
        terminal.complain("interrupted; this is what there is")
        status = 130
    except Miscount as failure:
        terminal.complain(str(failure))
        return 1
    done = [case for case in cases if case.times]
    for read in dict.fromkeys(case.read for case in done):
        terminal.show(where, cost_table(read, [case for case in done if case.read == read], among))
    table = target_table(done)
    table.remarks = [*losses(done), *absent]
    terminal.show(where, table)
    if options.targets and not all(target.is_met(done) for target in TARGETS):
        status = status or 1
    return status


if __name__ == "__main__":
    # By the same parser; and whoever imports this needs no terminal.
    sys.exit(importlib.import_module("bench.__main__").main(["lines", *sys.argv[1:]]))
