"""Random scripts, played on every implementation, whose traces must agree call by call.

A script is made from a seed: what the socket receives and accepts, what the program does between
events and inside its hooks.  Playing it records every hook with the type and value of its
argument, every send, every exception, and after each step every attribute that programs look at.

``python -m tests.random.traces --count 100000`` is the long run; the suite does a short one.

What is compared with the standard library leaves out the deliberate differences of
``docs/compat.md`` that a script can reach, and nothing else:

* no input after close: the standard library's trace ends, like ours, when the channel is closed;
* texts of exceptions, of which only the type counts;
* held output, which is for sockets of the system, and so off here;
* tuples of terminators, which are played on fastchat's two implementations only.
"""

from __future__ import annotations

import argparse
import errno
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.support.implementations import (
    FASTCHAT,
    STDLIB,
    Implementation,
    load,
    passing_for_the_systems,
)

Record = tuple[Any, ...]
Action = tuple[Any, ...]

# Few letters, so that terminators and their beginnings are everywhere.
ALPHABET = b"ab\r\n"


@dataclass(frozen=True)
class Script:
    """What is played: everything that is random is decided here."""

    seed: int
    several: bool  # whether terminators may be tuples
    options: dict[str, Any]
    steps: list[Action]
    reactions: list[Action]  # what the hooks do, one after the other
    sends: list[Any]  # how much the socket takes, or the error it raises
    last_words: list[Action]  # what handle_error() and handle_close() do, one after the other


def _some_bytes(draw: random.Random, longest: int, shortest: int = 0) -> bytes:
    return bytes(draw.choices(ALPHABET, k=draw.randint(shortest, longest)))


def _chunk(draw: random.Random) -> bytes:
    if draw.random() < 0.05:
        return _some_bytes(draw, 600)  # past the first window of the search for several
    if draw.random() < 0.05:
        return bytes(draw.choices(b"ab", k=90)) + b"\r\n" + _some_bytes(draw, 9)
    return _some_bytes(draw, 24)


def _terminator(draw: random.Random, several: bool) -> Any:
    kind = draw.random()
    if several and kind < 0.5:
        return tuple(_some_bytes(draw, 4, 1) for _ in range(draw.randint(1, 4)))
    if kind < 0.72:
        return draw.choice(
            [b"\r\n", b"\n", b"\r\n\r\n", b"ab", b"aab", b"\r\r\n", _some_bytes(draw, 5, 1)]
        )
    if kind < 0.84:
        return draw.randint(1, 30)
    if kind < 0.95:
        # Objects that live as long as the script: identity and mutability are the program's.
        return draw.choice(
            [None, 0, b"", "", False, True, bytearray(b"\r\n"), memoryview(b"ab"), "\r\n"]
        )
    return draw.choice([1.5, ["\n"], "ab\u20ac", 10**30])


def _producer(draw: random.Random, depth: int = 0) -> list[Any]:
    """What a producer gives, in order; a list stands for a producer that it gives."""
    pieces: list[Any] = []
    for _ in range(draw.randint(0, 3)):
        if depth < 2 and draw.random() < 0.3:
            pieces.append(_producer(draw, depth + 1))
        else:
            kind = draw.choice([bytes, bytes, bytearray, memoryview])
            pieces.append(kind(_some_bytes(draw, 30, 1)))
    if draw.random() < 0.1:
        pieces.append("text")
    pieces.append(draw.choice([b"", None, b""]))
    return pieces


def _output(draw: random.Random) -> Action:
    kind = draw.random()
    if kind < 0.6:
        return ("push", draw.choice([bytes, bytearray, memoryview])(_some_bytes(draw, 40)))
    if kind < 0.9:
        return ("produce", _producer(draw))
    if kind < 0.95:
        return ("push", draw.choice(["text", 7, None, [b"a"]]))
    return ("produce", None)


def _reaction(draw: random.Random, several: bool) -> Action:
    """What a hook does; mostly nothing, because what follows is what is tested."""
    kind = draw.random()
    if kind < 0.55:
        return ("nothing",)
    if kind < 0.67:
        return ("terminator", _terminator(draw, several))
    if kind < 0.72:
        return ("look",)
    if kind < 0.80:
        return _output(draw)
    return draw.choice(
        [
            ("assign terminator", draw.choice([-3, -1, 2, None, b"b"])),
            ("buffer", b""),
            ("buffer", _some_bytes(draw, 12)),
            ("buffer", bytearray(_some_bytes(draw, 12))),
            ("prepend", _some_bytes(draw, 12)),
            ("append", _some_bytes(draw, 12)),
            ("discard",),
            ("raise", ValueError),
            ("raise", OSError),
            ("raise", "ExitNow"),
            ("receive", _chunk(draw)),
            ("close",),
            ("close when done",),
            ("in size", draw.randint(1, 40)),
            ("out size", draw.randint(1, 40)),
        ]
    )


def _last_word(draw: random.Random) -> Action:
    kind = draw.random()
    if kind < 0.5:
        return ("nothing",)
    if kind < 0.8:
        return ("push", _some_bytes(draw, 40))
    return draw.choice([("discard",), ("produce", [_some_bytes(draw, 12, 1)]), ("write",)])


def _step(draw: random.Random, several: bool) -> Action:
    kind = draw.random()
    if kind < 0.62:
        return ("read", _chunk(draw))
    if kind < 0.72:
        return ("write",)
    if kind < 0.80:
        return _output(draw)
    if kind < 0.85:
        return ("read", draw.choice([None, errno.EWOULDBLOCK, errno.EIO]))
    if kind < 0.86:
        return ("read", draw.choice([b"", errno.ECONNRESET]))
    return _reaction(draw, several)


def make(seed: int, several: bool) -> Script:
    """The script of *seed*."""
    draw = random.Random(f"{seed} {several}")
    return Script(
        seed=seed,
        several=several,
        options={
            "encodes": draw.random() < 0.15,
            "in_size": draw.choice([65536, 65536, 7, 30]),
            "out_size": draw.choice([65536, 16, 5]),
            "terminator": draw.choice(["unset"] + 20 * [_terminator(draw, several)]),
            "getter": draw.random() < 0.2,
            "shadowed": draw.random() < 0.1,
            "received": draw.choice([bytes] * 8 + [bytearray, memoryview, lambda data: None]),
            "survives": draw.random() < 0.6,
            "falsy": draw.random() < 0.1,
        },
        steps=[_step(draw, several) for _ in range(draw.randint(1, 14))],
        reactions=[_reaction(draw, several) for _ in range(30)],
        sends=[
            draw.choice([1000] * 6 + [0, 1, 3, 10, None, errno.EWOULDBLOCK, errno.EPIPE, errno.EIO])
            for _ in range(40)
        ],
        last_words=[_last_word(draw) for _ in range(6)],
    )


@dataclass
class _Socket:
    """A socket that receives and accepts what the script says."""

    script: Script
    records: list[Record]
    waiting: list[Any] = field(default_factory=list)
    taken: int = 0

    def fileno(self) -> int:
        return 1_000_000

    def setblocking(self, flag: bool) -> None:
        pass

    def getpeername(self) -> str:
        return "peer"

    def close(self) -> None:
        self.records.append(("socket closed",))

    def recv(self, size: int) -> Any:
        what = self.waiting.pop(0) if self.waiting else errno.EWOULDBLOCK
        if isinstance(what, int):
            raise OSError(what, "recv")
        if what is None:
            return what
        if len(what) > size:
            self.waiting.insert(0, what[size:])
        data: bytes = what[:size]
        return data

    def send(self, data: Any) -> Any:
        self.records.append(("send", type(data).__name__, bytes(data)))
        self.taken += 1
        takes = self.script.sends[self.taken % len(self.script.sends)]
        if takes in (errno.EWOULDBLOCK, errno.EPIPE, errno.EIO):
            raise OSError(takes, "send")
        return takes if takes is None else min(takes, len(data))


class _Producer:
    def __init__(self, pieces: Sequence[Any], falsy: bool) -> None:
        self.pieces = list(pieces)
        self.falsy = falsy

    def __bool__(self) -> bool:
        return not self.falsy

    def more(self) -> Any:
        piece = self.pieces.pop(0) if self.pieces else b""
        return _Producer(piece, self.falsy) if isinstance(piece, list) else piece


@cache
def _channel_class(name: str, shadowed: bool, getter: bool) -> Any:
    """A subclass of *name*'s ``async_chat`` that records its hooks and plays the reactions."""
    implementation = load(name)

    class Channel(implementation.asynchat.async_chat):  # type: ignore[misc, name-defined]
        if shadowed:
            ac_in_buffer = b""

        def __init__(self, script: Script, records: list[Record]) -> None:
            self.script = script
            self.records = records
            self.reactions = iter(script.reactions)
            self.last_words = iter(script.last_words)
            self.depth = 0
            self.fake = _Socket(script, records)
            super().__init__(self.fake, {})

        def recv(self, size: int) -> Any:
            data = super().recv(size)
            return self.script.options["received"](data) if data else data

        def collect_incoming_data(self, data: Any) -> None:
            self.records.append(("collect", type(data).__name__, _plain(data)))
            self.react()

        def found_terminator(self) -> None:
            self.records.append(("found", getattr(self, "matched_terminator", None)))
            self.react()

        def handle_error(self) -> None:
            kind = sys.exc_info()[0]
            assert kind is not None
            self.records.append(("error", kind.__name__))
            self.say_last_word()
            if not self.script.options["survives"]:
                self.handle_close()

        def handle_close(self) -> None:
            self.records.append(("close",))
            self.say_last_word()
            super().handle_close()

        def say_last_word(self) -> None:
            act(self, next(self.last_words, ("nothing",)), implementation)

        def react(self) -> None:
            act(self, next(self.reactions, ("nothing",)), implementation)

    if getter:

        def get_terminator(self: Any) -> Any:
            self.records.append(("getter",))
            return self.terminator

        Channel.get_terminator = get_terminator
    return Channel


def _plain(value: Any) -> Any:
    """*value* in a form that compares by what it holds."""
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, _Producer):
        return [_plain(piece) for piece in value.pieces]
    return value


def act(channel: Any, action: Action, implementation: Implementation) -> None:
    """Do what *action* says, in a hook or between two events."""
    match action:
        case ("terminator", terminator):
            channel.set_terminator(terminator)
        case ("assign terminator", terminator):
            channel.terminator = terminator
        case ("look",):
            channel.records.append(("look", _plain(channel.ac_in_buffer)))
        case ("buffer", data):
            channel.ac_in_buffer = type(data)(data)
        case ("prepend", data):
            channel.ac_in_buffer = data + bytes(channel.ac_in_buffer)
        case ("append", data):
            channel.ac_in_buffer += data
        case ("discard",):
            channel.discard_buffers()
        case ("raise", "ExitNow"):
            raise implementation.asyncore.ExitNow
        case ("raise", kind):
            raise kind("scripted")
        case ("receive", data):
            if channel.depth < 3:  # as deep as any program nests it
                channel.depth += 1
                channel.fake.waiting.append(data)
                channel.handle_read()
                channel.depth -= 1
        case ("close",):
            channel.close()
        case ("close when done",):
            channel.close_when_done()
        case ("in size", size):
            channel.ac_in_buffer_size = size
        case ("out size", size):
            channel.ac_out_buffer_size = size
        case ("push", data):
            channel.push(data)
        case ("produce", pieces):
            falsy = channel.script.options["falsy"]
            channel.push_with_producer(None if pieces is None else _Producer(pieces, falsy))
        case ("read", data):
            channel.fake.waiting.append(data)
            implementation.asyncore.read(channel)
        case ("write",):
            implementation.asyncore.write(channel)
        case ("nothing",):
            pass
        case _:
            raise AssertionError(f"no such action: {action}")


def play(script: Script, name: str) -> list[Record]:
    """Play *script* on the implementation *name*, and return what was recorded.

    The trace ends where the channel is closed.
    """
    implementation = load(name)
    with passing_for_the_systems(implementation, _Socket.send):
        return _play(script, name, implementation)


def _play(script: Script, name: str, implementation: Implementation) -> list[Record]:
    records: list[Record] = []
    options = script.options
    channel = _channel_class(name, options["shadowed"], options["getter"])(script, records)
    channel.use_encoding = options["encodes"]
    if script.several:  # that is, where the standard library does not play
        channel._fc_state.is_stream = True  # hold output for a socket that is none
    channel.ac_in_buffer_size = options["in_size"]
    channel.ac_out_buffer_size = options["out_size"]
    steps = list(script.steps)
    if options["terminator"] != "unset":
        steps.insert(0, ("terminator", options["terminator"]))
    for step in steps:
        records.append(("step", step[0]))
        try:
            act(channel, step, implementation)
        except Exception as failure:
            records.append(("raised", type(failure).__name__))
        if ("socket closed",) in records:
            return _until_closed(records, implementation)
        records.append(_state(channel))
    return records


def _state(channel: Any) -> Record:
    return (
        "state",
        type(channel.ac_in_buffer).__name__,
        _plain(channel.ac_in_buffer),
        _plain(getattr(channel, "terminator", "unset")),
        [_plain(entry) for entry in channel.producer_fifo],
        channel.connected,
    )


def _until_closed(records: list[Record], implementation: Implementation) -> list[Record]:
    end = records.index(("socket closed",)) + 1
    if not implementation.is_stdlib:
        late = [record for record in records[end:] if record[0] in ("collect", "found")]
        assert not late, f"input after close: {late}"
    return records[:end]


def disagreement(seed: int) -> str | None:
    """What differs between the implementations on the scripts of *seed*; None where nothing."""
    for several in (False, True):
        script = make(seed, several)
        names = FASTCHAT if several else (*FASTCHAT, *STDLIB)
        # A script is made anew for each: it holds bytearrays, which a program may change.
        traces = {name: play(make(seed, several), name) for name in names}
        first = traces[names[0]]
        for name in names[1:]:
            if traces[name] != first:
                return _explain(script, names[0], first, name, traces[name])
    return None


def _explain(script: Script, one: str, ones: list[Record], other: str, others: list[Record]) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(ones, others, strict=False)) if a != b),
        min(len(ones), len(others)),
    )
    return "\n".join(
        [
            f"seed {script.seed}, several={script.several}: {one} and {other} differ at {at}",
            f"options: {script.options}",
            *(f"  both: {record}" for record in ones[max(0, at - 6) : at]),
            *(f"  {one}: {record}" for record in ones[at : at + 3]),
            *(f"  {other}: {record}" for record in others[at : at + 3]),
        ]
    )


def main(show: Callable[[str], None] = print) -> int:
    """Play many scripts; the exit status is 1 where two implementations disagree."""
    parser = argparse.ArgumentParser(description="compare the traces of random scripts")
    parser.add_argument("--count", type=int, default=100_000, help="scripts (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="the first seed")
    arguments = parser.parse_args()
    show(
        f"{arguments.count} scripts from seed {arguments.seed}, "
        f"on {', '.join((*FASTCHAT, *STDLIB))}"
    )
    begin = time.monotonic()
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    for number, seed in enumerate(seeds, 1):
        difference = disagreement(seed)
        if difference is not None:
            show(difference)
            return 1
        if number % 10_000 == 0:
            show(f"  {number} agree ({time.monotonic() - begin:.0f} s)")
    show(f"{arguments.count} scripts agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
