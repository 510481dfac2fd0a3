"""Every short stream, split in every way, on LineBuffer beside its oracle.

Each is played with each kind of delimiter, ``overflow`` and small ``max_line``, and once more with
a ``take()``, or a change of delimiter or of ``max_line``, between any two pieces.
``python -m tests.random.all_lines --only cython`` plays all of up to 7 bytes, in half an hour, and
with ``--part 1/10`` a tenth of them.  The suite plays one stream in so many.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tests.random.lines import DELIMITERS, OVERFLOW
from tests.support import naive
from tests.support.implementations import FASTCHAT, load
from tests.support.naive_lines import NaiveBuffer, TooLong

LIMITS = (1, 2, 3, 4)
# The longest streams, in bytes, in which also actions are played that are idle.
IDLE = 5

Delimiters = tuple[bytes, ...]
Action = tuple[str, Any]


def alphabet_of(delimiters: Delimiters) -> bytes:
    """Three bytes of which *delimiters* are made, or two and another one."""
    return b"".join(sorted({bytes([byte]) for byte in b"".join(delimiters)} | {b"x"}))[:3]


def as_argument(delimiters: Delimiters) -> Any:
    return delimiters[0] if len(delimiters) == 1 else delimiters


def actions_of(delimiters: Delimiters, max_line: int) -> list[Action]:
    """What can be done between two pieces, but for what changes no setting."""
    others = DELIMITERS[(DELIMITERS.index(delimiters) + 1) % len(DELIMITERS)]
    own = tuple(bytes([byte]) for byte in alphabet_of(delimiters)[:1])
    actions: list[Action] = [("take", 1), ("take", 2), ("delimiter", others)]
    if own != delimiters:
        actions.append(("delimiter", own))
    return actions + [("max_line", other) for other in (1, 3) if other != max_line]


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


def feed_each(buffer: Any, pieces: Iterable[bytes], got: list[Any], error: type[Exception]) -> None:
    """Feed *pieces*; *got* gets the lines, and where one was too long."""
    for piece in pieces:
        try:
            got += buffer.feed(piece)
        except error as failure:
            got += [*failure.lines, "too long"]  # type: ignore[attr-defined]
            feed_each(buffer, [b""], got, error)


def outcome(
    buffer: Any,
    before: Iterable[bytes],
    behind: Iterable[bytes],
    error: type[Exception],
    action: Action | None,
) -> tuple[Any, ...]:
    """What *buffer* makes of the pieces *before*, *action*, the pieces *behind* and the end.

    That is its lines, where one was too long, what it took, the rest, and what it dropped.
    """
    got: list[Any] = []
    dropped = buffer.dropped
    feed_each(buffer, before, got, error)
    if action is not None:
        got.append([act(buffer, action)])
    feed_each(buffer, behind, got, error)
    try:
        rest = buffer.feed_eof()
    except error:
        rest = "too long"
    return got, rest, buffer.dropped - dropped


def is_idle(oracle: NaiveBuffer, action: Action) -> bool:
    """Whether *action* takes nothing, or finds a buffer that is as one with that setting begins."""
    name, value = action
    if name == "take":
        return oracle.is_skipping or len(oracle.data) < value
    return not (oracle.is_skipping or oracle.data)


def plays(
    module: Any, delimiters: Delimiters, overflow: str, max_line: int, stream: bytes, between: bool
) -> Iterator[str | None]:
    """What does not hold, or None, of each way to split *stream*.

    With *between* there is an action at each place in it or behind it.  None comes before it, and
    in a stream of more than ``IDLE`` bytes none that is idle: what those show, shorter ones do, or
    those without an action.  A buffer is used again, unless its delimiter was changed.
    """
    splits = {
        offset: (list(naive.chunkings(stream[:offset])), list(naive.chunkings(stream[offset:])))
        for offset in (range(1, len(stream) + 1) if between else [0])
    }
    actions = actions_of(delimiters, max_line) if between else [None]
    for (offset, (befores, behinds)), action in itertools.product(splits.items(), actions):
        oracle = NaiveBuffer(delimiters, max_line, overflow)
        if action is not None and len(stream) > IDLE:
            feed_each(oracle, [stream[:offset]], [], TooLong)
            if is_idle(oracle, action):
                continue
            oracle = NaiveBuffer(delimiters, max_line, overflow)
        wanted = outcome(oracle, [stream[:offset]], [stream[offset:]], TooLong, action)
        is_used_again = action is not None and action[0] != "delimiter"
        buffer = None
        for before, behind in itertools.product(befores, behinds):
            if buffer is not None and is_used_again:
                buffer.clear()
                buffer.max_line = max_line
            else:
                buffer = module.LineBuffer(
                    as_argument(delimiters), max_line=max_line, overflow=overflow
                )
            found = outcome(buffer, before, behind, module.LineTooLong, action)
            if found == wanted and not len(buffer):
                yield None
            else:
                yield (
                    f"{delimiters}, max_line {max_line}, {overflow}: {before}, {action}, {behind}: "
                    f"{found}, not {wanted}"
                )


def play(
    module: Any,
    delimiters: Delimiters,
    overflow: str,
    *,
    length: int,
    between: int,
    part: int = 0,
    of: int = 1,
) -> tuple[int, str | None]:
    """Play every stream, of which there are *of* parts, of one part; how many, and the first fault.

    Streams have *length* bytes at most, and *between* those with an action.  Raises nothing but
    what the buffer raises against its contract.
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


def part_of(text: str) -> tuple[int, int]:
    """``2/5`` as 1, 5: the second of five.  Raises ValueError where it is no such thing."""
    number, _, of = text.partition("/")
    part = int(number) - 1, int(of)
    if not 0 <= part[0] < part[1]:
        raise ValueError(text)
    return part


def main() -> int:
    """Play all on both implementations; the exit status is 1 where one does not hold."""
    parser = argparse.ArgumentParser(description="play every short stream on LineBuffer")
    parser.add_argument(
        "--length", type=int, default=7, help="bytes of the longest (default %(default)s)"
    )
    parser.add_argument(
        "--between",
        type=int,
        default=7,
        help="bytes of the longest that has an action between two pieces (default %(default)s)",
    )
    parser.add_argument("--only", choices=FASTCHAT, help="one implementation")
    parser.add_argument(
        "--part",
        type=part_of,
        default=(0, 1),
        metavar="K/N",
        help="the K-th of N parts of the streams (default all)",
    )
    arguments = parser.parse_args()
    part, of = arguments.part
    for name in [arguments.only] if arguments.only else FASTCHAT:
        module, begin = load(name).core["lines"], time.monotonic()
        total = 0
        for delimiters, overflow in itertools.product(DELIMITERS, OVERFLOW):
            count, fault = play(
                module,
                delimiters,
                overflow,
                length=arguments.length,
                between=arguments.between,
                part=part,
                of=of,
            )
            if fault is not None:
                print(f"{name}: {fault}")
                return 1
            total += count
            spent = time.monotonic() - begin
            so_far = f"{total} plays so far ({spent:.0f} s)"
            print(f"{name}: {delimiters}, {overflow}: {so_far}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
