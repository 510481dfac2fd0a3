"""LineBuffer under random input, settings and calls, beside its oracle.

``python -m tests.random.lines --count 1000000`` is the long run; the suite does a short one.
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
ALPHABET = b"ab\r\n"
OVERFLOW = ("raise", "discard", "split")


def _some(draw: random.Random, longest: int) -> bytes:
    return bytes(draw.choices(ALPHABET, k=draw.randint(0, longest)))


def _call(function: Any, *args: Any) -> Any:
    """What a call returns, or the error it raises, in a form that can be compared."""
    try:
        return function(*args)
    except Exception as raised:
        failure: Any = raised
        if isinstance(failure, TooLong) or type(failure).__name__ == "LineTooLong":
            return ["too long", failure.lines, failure.size, failure.prefix[:1024]]
        return repr(failure)


def _set(buffer: Any, oracle: NaiveBuffer, delimiters: tuple[bytes, ...], max_line: int) -> None:
    buffer.delimiter = delimiters[0] if len(delimiters) == 1 else delimiters
    buffer.max_line = max_line
    oracle.set(delimiters, max_line)


def fault_of(module: Any, draw: random.Random) -> str | None:
    """Play a random script on the LineBuffer of *module*; what does not hold, or None."""
    delimiters, overflow = draw.choice(DELIMITERS), draw.choice(OVERFLOW)
    max_line, keepends = draw.choice((1, 2, 3, 4, 8, 1000)), draw.random() < 0.3
    buffer = module.LineBuffer(
        delimiters[0] if len(delimiters) == 1 else delimiters,
        max_line=max_line,
        overflow=overflow,
        keepends=keepends,
    )
    oracle = NaiveBuffer(delimiters, max_line, overflow, keepends)
    played: list[Any] = [(delimiters, max_line, overflow, keepends)]
    for _ in range(draw.randint(1, 12)):
        action = draw.choice(
            ("feed", "feed", "feed", "feed", "some", "take", "set", "rest", "room")
        )
        data = _some(draw, draw.choice((2, 5, 20)))
        if action == "feed":
            step: tuple[Any, ...] = (action, data)
            found, wanted = _call(buffer.feed, data), _call(oracle.feed, data)
        elif action == "some":
            most = draw.randint(0, 3)
            step = (action, data, most)
            found, wanted = _call(buffer.feed, data, most), _call(oracle.feed, data, most)
        elif action == "room":
            step = (action, data)
            buffer.get_buffer(-1)[: len(data)] = data
            found, wanted = _call(buffer.buffer_updated, len(data)), _call(oracle.feed, data)
        elif action == "take":
            size = draw.randint(0, 6)
            step = (action, size)
            found, wanted = _call(buffer.take, size), _call(oracle.take, size)
        elif action == "rest":
            step = (action,)
            found, wanted = _call(buffer.rest), _call(oracle.rest)
        else:
            delimiters, max_line = draw.choice(DELIMITERS), draw.choice((1, 2, 3, 4, 8, 1000))
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
