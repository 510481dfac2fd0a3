"""Every short stream, split in every way, on LineBuffer beside its oracle.

Each is played with each kind of delimiter, ``overflow`` and small ``max_line``; the shorter ones
also with a ``take()``, or a change of delimiter or of ``max_line``, between any two pieces.
``python -m tests.random.all_lines`` plays all; the suite plays one stream in so many.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from tests.random.lines import DELIMITERS, OVERFLOW
from tests.support import naive
from tests.support.implementations import FASTCHAT, load
from tests.support.naive_lines import NaiveBuffer, TooLong

LIMITS = (1, 2, 3, 4)
# The longest streams that are played, and the longest with an action between two pieces.
LENGTH, BETWEEN = 7, 5

Delimiters = tuple[bytes, ...]
Action = tuple[str, Any]


def alphabet_of(delimiters: Delimiters) -> bytes:
    """Three bytes of which *delimiters* are made, or two and another one."""
    return b"".join(sorted({bytes([byte]) for byte in b"".join(delimiters)} | {b"x"}))[:3]


def as_argument(delimiters: Delimiters) -> Any:
    return delimiters[0] if len(delimiters) == 1 else delimiters


def actions_of(delimiters: Delimiters) -> list[Action]:
    """What can be done between two pieces."""
    others = DELIMITERS[(DELIMITERS.index(delimiters) + 1) % len(DELIMITERS)]
    own = tuple(bytes([byte]) for byte in alphabet_of(delimiters)[:1])
    return [
        ("take", 1),
        ("take", 2),
        ("delimiter", others),
        ("delimiter", own),
        ("max_line", 1),
        ("max_line", 3),
    ]


def act(buffer: Any, action: Action) -> Any:
    """Do *action* on *buffer*, a LineBuffer or its oracle; what it returns."""
    name, value = action
    if name == "take":
        return buffer.take(value)
    if isinstance(buffer, NaiveBuffer):
        is_delimiter = name == "delimiter"
        buffer.set(
            value if is_delimiter else buffer.delimiters,
            buffer.max_line if is_delimiter else value,
        )
    else:
        setattr(buffer, name, as_argument(value) if name == "delimiter" else value)
    return None


def outcome(
    buffer: Any,
    pieces: list[bytes],
    error: type[Exception],
    action: Action | None = None,
    at: int = 0,
) -> tuple[Any, ...]:
    """What *buffer* makes of *pieces* and their end, with *action* before the piece *at*.

    That is its lines, where one was too long, what it took, the rest, and what it dropped.
    """
    got: list[Any] = []
    for number, piece in enumerate([*pieces, b""]):
        if action is not None and number == at:
            got.append([act(buffer, action), len(got)])
        while True:
            try:
                got.extend(buffer.feed(piece))
                break
            except error as failure:
                got.extend(failure.lines)  # type: ignore[attr-defined]
                got.append("too long")
                piece = b""
    try:
        rest = buffer.feed_eof()
    except error:
        rest = "too long"
    return got, rest, buffer.dropped


def plays(
    module: Any, delimiters: Delimiters, overflow: str, max_line: int, stream: bytes, between: bool
) -> Iterator[str | None]:
    """What does not hold, or None, of each way to split *stream*."""
    delimiter = as_argument(delimiters)
    actions = actions_of(delimiters) if between else [None]

    @cache
    def wanted(action: Action | None, offset: int) -> tuple[Any, ...]:
        oracle = NaiveBuffer(delimiters, max_line, overflow)
        return outcome(oracle, [stream[:offset], stream[offset:]], TooLong, action, 1)

    for pieces in naive.chunkings(stream):
        offsets = [0, *itertools.accumulate(map(len, pieces))] if between else [0]
        for action, (at, offset) in itertools.product(actions, enumerate(offsets)):
            buffer = module.LineBuffer(delimiter, max_line=max_line, overflow=overflow)
            found = outcome(buffer, pieces, module.LineTooLong, action, at)
            if found == wanted(action, offset) and not len(buffer):
                yield None
            else:
                yield (
                    f"{delimiters}, max_line {max_line}, {overflow}: {pieces}, {action} before "
                    f"{at}: {found}, not {wanted(action, offset)}"
                )


def play(
    module: Any,
    delimiters: Delimiters,
    overflow: str,
    length: int = LENGTH,
    between: int = BETWEEN,
    part: int = 0,
    of: int = 1,
) -> tuple[int, str | None]:
    """Play every stream, of which there are *of* parts, of one part; how many, and the first fault.

    Raises nothing but what the buffer raises against its contract.
    """
    count = 0
    for with_action, longest in ((False, length), (True, between)):
        streams = itertools.islice(naive.words(alphabet_of(delimiters), longest), part, None, of)
        for stream, max_line in itertools.product(streams, LIMITS):
            for fault in plays(module, delimiters, overflow, max_line, stream, with_action):
                count += 1
                if fault is not None:
                    return count, fault
    return count, None


def main(show: Callable[[str], None] = print) -> int:
    """Play all on both implementations; the exit status is 1 where one does not hold."""
    parser = argparse.ArgumentParser(description="play every short stream on LineBuffer")
    parser.add_argument("--length", type=int, default=LENGTH, help="bytes (default %(default)s)")
    parser.add_argument(
        "--between", type=int, default=BETWEEN, help="bytes with an action (default %(default)s)"
    )
    parser.add_argument("--only", choices=FASTCHAT, help="one implementation")
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else FASTCHAT:
        module, begin = load(name).core["lines"], time.monotonic()
        for delimiters in DELIMITERS:
            total = 0
            for overflow in OVERFLOW:
                count, fault = play(
                    module, delimiters, overflow, arguments.length, arguments.between
                )
                if fault is not None:
                    show(f"{name}: {fault}")
                    return 1
                total += count
            show(f"{name}: {delimiters}: {total} plays ({time.monotonic() - begin:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
