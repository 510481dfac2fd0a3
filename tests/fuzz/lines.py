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


def fault_of(modules: list[Any], program: bytes) -> str | None:
    """Play *program* on the LineBuffer of each of *modules*; what does not hold, or None."""
    bytes_left = iter(program[:400])
    played: list[Any] = []
    try:
        delimiters, max_line = _settings(bytes_left)
        mode = next(bytes_left)
        overflow, keepends = OVERFLOW[mode % 3], mode % 2 == 1
        oracle = NaiveBuffer(delimiters, max_line, overflow, keepends)
        buffers = [
            module.LineBuffer(
                as_argument(delimiters), max_line=max_line, overflow=overflow, keepends=keepends
            )
            for module in modules
        ]
        played.append((delimiters, max_line, overflow, keepends))
        fed = 0
        while fed < MOST:
            found, wanted = [], None
            action = next(bytes_left) % 7
            if action < 3:
                most = next(bytes_left) % 4 if action == 1 else 10**9
                data = _data(bytes_left, delimiters, max_line)
                played.append(("feed", data, most))
                fed += len(data)
                wanted = call(oracle.feed, data, most)
                for buffer in buffers:
                    if action == 2:
                        buffer.get_buffer()[: len(data)] = data
                        found.append(call(buffer.buffer_updated, len(data)))
                    else:
                        found.append(call(buffer.feed, data, most))
            elif action == 3:
                size = next(bytes_left) % 32
                played.append(("take", size))
                wanted = call(oracle.take, size)
                found = [call(buffer.take, size) for buffer in buffers]
            elif action == 4:
                delimiters, max_line = _settings(bytes_left)
                played.append(("set", delimiters, max_line))
                oracle.set(delimiters, max_line)
                for buffer in buffers:
                    buffer.delimiter, buffer.max_line = as_argument(delimiters), max_line
                found = [None] * len(buffers)
            elif action == 5:
                played.append(("rest",))
                wanted = oracle.rest()
                found = [buffer.rest() for buffer in buffers]
            else:
                played.append(("end",))
                found = [call(buffer.feed_eof) for buffer in buffers]
                is_uncut = "not cut yet" in str(found[0])
                wanted = found[0] if is_uncut else call(oracle.feed_eof)
                oracle.clear()
                for buffer in buffers:
                    buffer.clear()
            for result, buffer in zip(found, buffers, strict=True):
                state = (result, buffer.dropped, len(buffer))
                if state != (wanted, oracle.dropped, len(oracle.data)):
                    expected = (wanted, oracle.dropped, len(oracle.data))
                    return f"{type(buffer).__module__}: {played}: {state}, not {expected}"
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
