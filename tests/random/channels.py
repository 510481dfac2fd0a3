"""LineChannel on a network that does not exist, beside an oracle that has only a LineBuffer.

What hooks do is decided by the lines that they get, so what they hear does not depend on how the
input is split, on what the peer reads, or on when the loop runs:

* a number asks for so many bytes; ``r`` for raw input up to ``!``; ``d`` for another delimiter;
* ``m`` assigns another limit of lines;
* ``p`` pauses until the script resumes; ``c`` closes;
* ``x`` leaves the loop, which then runs again;
* every line is its own reply, sent or returned, and every body, too.

All of it is heard before the input ends, but the end itself.

What does not change anything happens in between: timers, empty output, and sends from outside when
the client has gone.  No hook is called inside of these, and none of a line while reading is paused.

``python -m tests.random.channels --count 100000`` is the long run; the suite does a short one.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.implementations import FASTCHAT, load
from tests.support.simulated import Network, SimulatedSystem

ALPHABET = b"\n\r2rpcdax!0m"
# Some begin again inside themselves, or end where another one does.
DELIMITERS: tuple[Any, ...] = (
    *(b"\n", b"\r\n", b"aa", b"\r\r\n", b"\n\r\n"),
    *((b"\r\n", b"\n"), (b"\r", b"\r\n"), (b"a\n", b"\n"), (b"\n", b"aaaaaa")),
)
OTHER = b"a"  # what ``d`` makes of the delimiter
LIMIT = 4  # what ``m`` makes of max_line
SINGLE = (b"d", b"p", b"c", b"r", b"x", b"m")  # lines that do something


@dataclass(frozen=True)
class Setting:
    """A class of channels: its delimiter, limits, and whether its hook gets batches."""

    delimiter: Any = b"\n"
    max_line: int = 8
    is_batch: bool = False
    lines_per_pass: int | None = 256
    high_water: int = 64
    # How a line is answered: "send", or what the hook returns, "bytes" or "list".
    reply: str = "send"


def expected(implementation: Any, stream: bytes, setting: Setting) -> tuple[list[Any], bytes]:
    """What hooks hear of *stream*, and what they send."""
    module = implementation.core["lines"]
    events: list[Any] = []
    sent = b""
    delimiter = setting.delimiter
    buffer = module.LineBuffer(delimiter, max_line=setting.max_line)
    buffer.feed(stream, 0)
    while True:
        try:
            lines = buffer.feed(b"", 1)
        except module.LineTooLong:
            events.append("long")
            continue
        if not lines:
            events.append(("eof", buffer.rest()))
            return events, sent
        line = lines[0]
        events.append(line)
        ending = delimiter[0] if isinstance(delimiter, tuple) else delimiter
        if line == b"c":
            return events, sent + line + ending
        if line == b"d":
            delimiter = ending = OTHER
            buffer.delimiter = delimiter
        if line == b"m":
            buffer.max_line = LIMIT
        if line != b"x":
            sent += line + ending
        if line.isdigit():
            body = buffer.take(int(line))
            if body is None:
                events.append(("eof", buffer.rest()))
                return events, sent
            events.append(("raw", body))
            sent += body
        elif line == b"r":
            raw, end, rest = buffer.rest().partition(b"!")
            events.append(("raw", raw))
            sent += raw
            if not end:
                events.append(("eof", b""))
                return events, sent
            buffer.feed(rest, 0)


def class_of(module: Any, setting: Setting) -> Any:
    """The class that *setting* describes."""

    class Channel(module.LineChannel):  # type: ignore[misc]
        delimiter = setting.delimiter
        max_line = setting.max_line
        lines_per_pass = setting.lines_per_pass
        high_water = setting.high_water
        low_water = setting.high_water // 2
        is_raw = False
        is_paused = False
        # What is called from outside of the loop, in which no hook may be.
        outside = ""

        def __init__(self, *arguments: Any) -> None:
            self.events: list[Any] = []
            self.lost: list[Any] = []
            super().__init__(*arguments)

        def answer(self, line: bytes) -> None:
            """Do what *line* says."""
            self.note(line)
            if line == b"d":
                self.delimiter = OTHER
            if line == b"m":
                self.max_line = LIMIT
            if line == b"x":
                raise self.asyncore.ExitNow
            if setting.reply == "send":
                self.send_line(line)
            if line == b"p":
                self.pause_reading()
                self.is_paused = True
            elif line == b"c":
                self.close()
            elif line.isdigit():
                self.receive_exactly(int(line))
            elif line == b"r":
                self.is_raw = True
                self.events.append(("raw", b""))
                self.read_raw()

        def note(self, event: Any) -> None:
            self.events.append(event)
            if self.outside or self.is_paused:
                self.events.append(f"in {self.outside or 'a pause'}")

        def resume_reading(self) -> None:
            self.is_paused = False
            super().resume_reading()

        def raw_received(self, data: bytes) -> None:
            if not self.is_raw:
                self.note(("raw", data))
                self.send(data)
                return
            raw, end, rest = data.partition(b"!")
            self.events[-1] = ("raw", self.events[-1][1] + raw)
            self.send(raw)
            if end:
                self.is_raw = False
                self.read_lines()
                self.unread(rest)

        def line_too_long(self, prefix: bytes, size: int) -> None:
            if size <= self.max_line:
                raise AssertionError(f"a line of {size} bytes is not too long")
            self.events.append("long")

        def eof_received(self) -> None:
            self.events.append(("eof", self.unterminated))

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.append(exc)
            if self.outside:
                self.events.append(f"lost in {self.outside}")

        def handle_error(self) -> None:
            self.events.append(repr(sys.exc_info()[1]))
            self.abort()

    def reply(line: bytes) -> Any:
        return {"send": None, "bytes": line, "list": [line]}[setting.reply]

    def line_received(self: Any, line: bytes) -> Any:
        self.answer(line)
        return reply(line)

    def lines_received(self: Any, lines: list[bytes]) -> Any:
        # A line that does something has a batch of its own.
        size = next(
            (index for index, line in enumerate(lines) if line in SINGLE or line.isdigit()),
            len(lines),
        )
        size = max(size, 1)
        self.unread(lines[size:])
        for line in lines[:size]:
            self.answer(line)
        return None if setting.reply == "send" else lines[:size]

    hook = lines_received if setting.is_batch else line_received
    return type("Scripted", (Channel,), {hook.__name__: hook})


class Server:
    """One channel of *kind*, of *implementation*, and its client, over a network of its own."""

    def __init__(self, implementation: Any, kind: Any, room: int = 20_000) -> None:
        self.asyncore = implementation.asyncore
        self.map = self.asyncore.channel_map()
        network = Network()
        self.map._fc_system = SimulatedSystem(network, implementation.core)
        mine, self.client = network.pair(room)
        self.channel = kind(mine, self.map)
        self.channel.asyncore = self.asyncore
        self.got = b""
        self.is_over = False

    def loop(self, passes: int) -> None:
        """Make *passes* passes that wait for nothing."""
        for _ in range(passes):
            with contextlib.suppress(self.asyncore.ExitNow):
                self.asyncore.loop(0, True, self.map, 1)

    def call_outside(self, name: str, *args: Any) -> None:
        """Call a method of the channel as another one would."""
        self.channel.outside = name
        getattr(self.channel, name)(*args)
        self.channel.outside = ""

    def send(self, data: bytes) -> bool:
        """Let the client send all of *data*; False where the server has gone."""
        while data:
            try:
                data = data[self.client.send(data) :]
            except BlockingIOError:
                self.read()
                self.channel.resume_reading()
                self.loop(2)
            except OSError:
                return False
        return True

    def read(self, size: int = 1 << 16) -> None:
        """Let the client read what there is."""
        try:
            data = self.client.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.is_over |= not data
        self.got += data

    def end(self) -> None:
        """Let all that was sent be heard, then end the input, of which nothing else is heard."""
        events, quiet = self.channel.events, 0
        while quiet < 2 and not self.is_over:
            before = (len(events), self.got)
            self.channel.resume_reading()
            self.loop(1)
            self.read()
            quiet = quiet + 1 if before == (len(events), self.got) else 0
        heard = len(events)
        if not self.is_over:
            self.client.shutdown(1)
        self.finish()
        if any(event[:1] != ("eof",) for event in events[heard:]):
            events.append(f"only {events[:heard]!r} before the end")

    def finish(self) -> None:
        """Let all that is there be dealt with, and end."""
        for _ in range(1000):
            if not self.map and self.is_over:
                break
            self.channel.resume_reading()
            self.loop(1)
            self.read()
            if self.is_over:
                self.client.close()
        self.channel.abort()
        self.client.close()


def play(
    implementation: Any, kind: Any, chunks: Iterable[bytes], passes: int = 2
) -> tuple[list[Any], bytes, list[Any]]:
    """What *kind* hears of *chunks*, and the end behind them; what it sends; how it was lost."""
    server = Server(implementation, kind)
    for chunk in chunks:
        if not server.send(chunk):
            break
        server.loop(passes)
        server.channel.resume_reading()
    server.end()
    return server.channel.events, server.got, server.channel.lost


def splits(stream: bytes) -> Iterator[list[bytes]]:
    """Every way to send *stream* in pieces."""
    for bits in range(1 << max(len(stream) - 1, 0)):
        pieces, start = [], 0
        for at in range(1, len(stream)):
            if bits >> (at - 1) & 1:
                pieces.append(stream[start:at])
                start = at
        yield [*pieces, stream[start:]]


def fault_of(implementation: Any, draw: random.Random) -> str | None:
    """Play a random script on *implementation*; what does not hold, or None."""
    delimiter = draw.choice(DELIMITERS)
    setting = Setting(
        delimiter,
        max_line=draw.choice((1, 3, 8, 20)),
        # Lines that a batch gives back have lost which of several delimiters they had.
        is_batch=not isinstance(delimiter, tuple) and draw.random() < 0.5,
        lines_per_pass=draw.choice((1, 2, 256, None)),
        high_water=draw.choice((0, 4, 64)),
        reply=draw.choice(("send", "bytes", "list")),
    )
    stream = bytes(
        draw.choices(
            ALPHABET, (6, 3, 1, 1, 1, 0.3, 0.5, 3, 0.5, 1, 0.7, 0.5), k=draw.randint(0, 60)
        )
    )
    events, sent = expected(implementation, stream, setting)
    server = Server(implementation, class_of(implementation.channel, setting), draw.choice((1, 20)))
    played: list[Any] = [setting, stream]
    breaks = draw.random() < 0.3
    if draw.random() < 0.2:
        server.call_outside("send", b"")
    while stream:
        size = draw.choice((1, 2, 5, 60))
        if not server.send(stream[:size]):
            break
        stream = stream[size:]
        if draw.random() < 0.5:
            server.loop(draw.randint(1, 3))
        if draw.random() < 0.5:
            server.read(draw.choice((1, 30)))
        if draw.random() < 0.1:
            server.call_outside("send_lines", [])
        if draw.random() < 0.1 and server.map:
            server.channel.call_later(0, server.channel.send, b"")
        if draw.random() < 0.3:
            server.channel.resume_reading()
        if breaks and draw.random() < 0.2:
            break
    if breaks:
        played.append("the client closes")
        server.client.close()
        server.is_over = True
        for _ in range(draw.choice((0, 3))):
            server.call_outside("send", b"y")
        if draw.random() < 0.3:
            server.call_outside("close")
        server.loop(draw.choice((0, 3)))
        server.finish()
    else:
        server.end()
    found, lost = server.channel.events, server.channel.lost
    if len(lost) != 1:
        return f"connection_lost came {len(lost)} times: {played!r}"
    if breaks:
        is_right = sent.startswith(server.got) and _is_beginning(found, events)
    else:
        is_right = (found, server.got) == (events, sent)
    if is_right:
        return None
    return f"{played!r}\nhears {found!r}\n not  {events!r}\nsends {server.got!r}\n not  {sent!r}"


def _is_beginning(found: list[Any], events: list[Any]) -> bool:
    """Whether *found*, but for an end, is what begins *events*; its last may be shorter, if raw."""
    found = found[:-1] if found and found[-1][:1] == ("eof",) else found
    if found == events[: len(found)]:
        return True
    *found, last = found
    wanted = events[len(found) :][:1]
    return (
        found == events[: len(found)]
        and isinstance(last, tuple)
        and any(isinstance(event, tuple) and event[1].startswith(last[1]) for event in wanted)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    for name in FASTCHAT:
        implementation = load(name)
        for number in range(options.count):
            fault = fault_of(implementation, random.Random(options.seed + number))
            if fault is not None:
                sys.exit(f"{name}, --seed {options.seed + number} --count 1: {fault}")
        print(f"{name}: {options.count} servers")


if __name__ == "__main__":
    main()
