"""LineBuffer under calls that a fuzzer makes up: ``make fuzz``.

The input is a program of its own: three bytes of settings, then calls, each with its operands.
Both implementations play it beside the oracle.  What reaches code that nothing before it has
reached is kept in ``corpus``, which the suite plays, too.

``python -m tests.fuzz.lines tests/fuzz/corpus -max_total_time=600`` is what make runs; the options
are those of libFuzzer.  It wants atheris, which has wheels for CPython on Linux.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.random.all_lines import as_argument
from tests.random.lines import DELIMITERS, MORE, OVERFLOW, call
from tests.support.naive_lines import NaiveBuffer

CORPUS = Path(__file__).resolve().parent / "corpus"
LIMITS = (1, 2, 3, 4, 8, 65, 600)
ALL = DELIMITERS + MORE
# From here on a byte stands for a run of one, and the last for one that makes a line a long one.
RUN, LONG_RUN = 0xF0, 0xFF
# How many bytes a program may feed: the oracle looks at all that waits for each line.
MOST = 4000


def _settings(program: Iterator[int]) -> tuple[tuple[bytes, ...], int]:
    return ALL[next(program) % len(ALL)], LIMITS[next(program) % len(LIMITS)]


def _data(program: Iterator[int], delimiters: tuple[bytes, ...], max_line: int) -> bytes:
    data = b""
    for _ in range(next(program) % 16):
        byte = next(program)
        if byte >= RUN:
            # Of many short lines the oracle, which looks at all again for each, can take few.
            data += b"x" * (520 if byte == LONG_RUN and max_line > 60 else byte - RUN + 2)
        elif byte >= 0x80:
            data += delimiters[byte % len(delimiters)]
        else:
            data += bytes([byte])
    return data


class _Play:
    """A program, the oracle, and a buffer of each of *modules*.

    Each action returns what the buffers have found, and what the oracle has.  Raises StopIteration
    where the program is over.
    """

    def __init__(self, modules: list[Any], program: Iterator[int]) -> None:
        self.program = program
        self.delimiters, self.max_line = _settings(program)
        mode = next(program)
        overflow, keepends = OVERFLOW[mode % 3], mode % 2 == 1
        self.oracle = NaiveBuffer(self.delimiters, self.max_line, overflow, keepends)
        self.buffers = [
            module.LineBuffer(
                as_argument(self.delimiters),
                max_line=self.max_line,
                overflow=overflow,
                keepends=keepends,
            )
            for module in modules
        ]
        self.fed = 0
        self.played: list[Any] = [(self.delimiters, self.max_line, overflow, keepends)]

    def step(self) -> tuple[list[Any], Any]:
        """Do the next action of the program."""
        action = next(self.program) % 7
        if action < 3:
            return self.feed(some=action == 1, by_room=action == 2)
        return (self.take, self.set, self.rest, self.end)[action - 3]()

    def feed(self, some: bool, by_room: bool) -> tuple[list[Any], Any]:
        most = next(self.program) % 4 if some else 10**9
        data = _data(self.program, self.delimiters, self.max_line)
        self.played.append(("feed", data, most))
        self.fed += len(data)
        found = []
        for buffer in self.buffers:
            if by_room:
                buffer.get_buffer()[: len(data)] = data
                found.append(call(buffer.buffer_updated, len(data)))
            else:
                found.append(call(buffer.feed, data, most))
        return found, call(self.oracle.feed, data, most)

    def take(self) -> tuple[list[Any], Any]:
        size = next(self.program) % 32
        self.played.append(("take", size))
        return [call(buffer.take, size) for buffer in self.buffers], call(self.oracle.take, size)

    def set(self) -> tuple[list[Any], Any]:
        self.delimiters, self.max_line = _settings(self.program)
        self.played.append(("set", self.delimiters, self.max_line))
        self.oracle.set(self.delimiters, self.max_line)
        for buffer in self.buffers:
            buffer.delimiter, buffer.max_line = as_argument(self.delimiters), self.max_line
        return [None] * len(self.buffers), None

    def rest(self) -> tuple[list[Any], Any]:
        self.played.append(("rest",))
        return [buffer.rest() for buffer in self.buffers], self.oracle.rest()

    def end(self) -> tuple[list[Any], Any]:
        self.played.append(("end",))
        found = [call(buffer.feed_eof) for buffer in self.buffers]
        is_uncut = "not cut yet" in str(found[0])
        wanted = found[0] if is_uncut else call(self.oracle.feed_eof)
        for each in (self.oracle, *self.buffers):
            each.clear()
        return found, wanted


def fault_of(modules: list[Any], program: bytes) -> str | None:
    """Play *program* on the LineBuffer of each of *modules*; what does not hold, or None."""
    try:
        play = _Play(modules, iter(program[:400]))
        while play.fed < MOST:
            found, wanted = play.step()
            expected = (wanted, play.oracle.dropped, len(play.oracle.data))
            for result, buffer in zip(found, play.buffers, strict=True):
                state = (result, buffer.dropped, len(buffer))
                if state != expected:
                    where = type(buffer).__module__
                    return f"{where}: {play.played}: {state}, not {expected}"
    except StopIteration:  # the program is over
        pass
    return None


def main() -> None:
    # Only here, because the suite has no need of it.
    import atheris  # noqa: PLC0415

    from tests.support.implementations import FASTCHAT, load  # noqa: PLC0415

    with atheris.instrument_imports(include=["fastchat._core.lines", "fastchat._scanner_py"]):
        modules = [load(name).core["lines"] for name in FASTCHAT]

    def play(program: bytes) -> None:
        fault = fault_of(modules, program)
        if fault is not None:
            raise AssertionError(fault)

    atheris.Setup(sys.argv, play)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
