"""LineBuffer under random input, settings and calls, beside its oracle.

``python -m tests.random.lines --count 250000`` is the long run, of more than a million feeds to
each implementation; the suite does a short one.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

from tests.support.implementations import FASTCHAT, load
from tests.support.naive_lines import NaiveBuffer, TooLong

DELIMITERS: tuple[tuple[bytes, ...], ...] = (
    (b"\n",),
    (b"\r\n",),
    (b"aa",),
    (b"aba",),
    (b"a\na",),
    (b"\r\n", b"\n"),
    (b"\r", b"\r\n"),
    (b"ab", b"b", b"\n"),
    (b"a\nb", b"\nb", b"aa"),
)
# Those that are searched otherwise, or end and begin in one another, besides.
MORE: tuple[tuple[bytes, ...], ...] = (
    (b"ab" * 33 + b"\n",),
    (b"a" * 65,),
    (b"a" * 66 + b"\n", b"\n"),
    (b"aab", b"ab", b"b"),
    (b"abab", b"ba"),
    (b"aaabbb", b"ab", b"bb"),
)
LIMITS = (1, 2, 3, 4, 8, 64, 65, 70, 300, 600, 1000)
ALPHABET = b"ab\r\n"
SHORT, LONG = (1, 2, 5), (100, 256, 520, 1025)
OVERFLOW = ("raise", "discard", "split")
ACTIONS = ("feed", "feed", "feed", "feed", "some", "some", "take", "set", "rest", "room", "end")


def _some(draw: random.Random, max_line: int, delimiters: tuple[bytes, ...]) -> bytes:
    """Bytes of the alphabet, or delimiters, their parts and what is between them."""
    longest = draw.choice((2, 5, 20))
    if draw.random() < 0.6:
        return bytes(draw.choices(ALPHABET, k=draw.randint(0, longest)))
    data = b""
    while len(data) < longest:
        part = draw.choice(delimiters)
        cut = draw.randint(0, len(part))
        # Of much the oracle, which looks at all of it for each line, can take a few lines only.
        length = draw.choice(LONG if max_line > 60 and draw.random() < 0.05 else SHORT)
        data += draw.choice((part, part[:cut], part[cut:], b"x" * length))
    return data


def call(function: Any, *args: Any) -> Any:
    """What a call returns, or the error it raises, in a form that can be compared."""
    try:
        return function(*args)
    except Exception as raised:
        failure: Any = raised
        if isinstance(failure, TooLong) or type(failure).__name__ == "LineTooLong":
            return ["too long", failure.lines, failure.size, failure.prefix[:1024], failure.waiting]
        return repr(failure)


def _set(buffer: Any, oracle: NaiveBuffer, delimiters: tuple[bytes, ...], max_line: int) -> None:
    buffer.delimiter = delimiters[0] if len(delimiters) == 1 else delimiters
    buffer.max_line = max_line
    oracle.set(delimiters, max_line)


def fault_of(module: Any, draw: random.Random) -> str | None:
    """Play a random script on the LineBuffer of *module*; what does not hold, or None."""
    delimiters, overflow = draw.choice(DELIMITERS + MORE), draw.choice(OVERFLOW)
    max_line, keepends = draw.choice(LIMITS), draw.random() < 0.3
    buffer = module.LineBuffer(
        delimiters[0] if len(delimiters) == 1 else delimiters,
        max_line=max_line,
        overflow=overflow,
        keepends=keepends,
    )
    oracle = NaiveBuffer(delimiters, max_line, overflow, keepends)
    played: list[Any] = [(delimiters, max_line, overflow, keepends)]
    for _ in range(draw.randint(1, 12)):
        action = draw.choice(ACTIONS)
        data = _some(draw, max_line, delimiters)
        if action == "feed":
            step: tuple[Any, ...] = (action, data)
            found, wanted = call(buffer.feed, data), call(oracle.feed, data)
        elif action == "some":
            most = draw.randint(0, 3)
            step = (action, data, most)
            found, wanted = call(buffer.feed, data, most), call(oracle.feed, data, most)
        elif action == "room":
            step = (action, data)
            buffer.get_buffer()[: len(data)] = data
            found, wanted = call(buffer.buffer_updated, len(data)), call(oracle.feed, data)
        elif action == "take":
            size = draw.randint(0, 6)
            step = (action, size)
            found, wanted = call(buffer.take, size), call(oracle.take, size)
        elif action == "rest":
            step = (action,)
            found, wanted = call(buffer.rest), call(oracle.rest)
        elif action == "end":
            step = (action,)
            found = call(buffer.feed_eof)
            wanted = found if "not cut yet" in str(found) else call(oracle.feed_eof)
            buffer.clear()
            oracle.clear()
        else:
            delimiters, max_line = draw.choice(DELIMITERS + MORE), draw.choice(LIMITS)
            step = (action, delimiters, max_line)
            found = wanted = None
            _set(buffer, oracle, delimiters, max_line)
        played.append(step)
        state = (found, buffer.dropped, len(buffer))
        if state != (wanted, oracle.dropped, len(oracle.data)):
            return f"{played}: {state}, not {(wanted, oracle.dropped, len(oracle.data))}"
    return None


def main() -> int:
    """Play scripts on both implementations; the exit status is 1 where one does not hold."""
    parser = argparse.ArgumentParser(description="play random scripts on LineBuffer")
    parser.add_argument("--count", type=int, default=10000, help="scripts (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    for name in FASTCHAT:
        module = load(name).core["lines"]
        draw = random.Random(arguments.seed)
        for _ in range(arguments.count):
            fault = fault_of(module, draw)
            if fault is not None:
                print(f"{name}: {fault}")
                return 1
        print(f"{name}: {arguments.count} scripts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
