"""What a LineBuffer is after a call that a signal handler, or a lack of memory, has ended.

At each point of the call the handler raises.  Then the buffer is as if the call had not been made,
or as if the input had been taken and nothing cut, or as if the call was over and its result lost:
what follows tells these apart, and anything else.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.implementations import load
from tests.support.interruption import at_each_point, where_there_are_points

pytestmark = where_there_are_points

# More than a line that is begun has as bytes; see SMALL in lines.py.
LONG = b"x" * 700
PIECES = [b"one\r\ntwo\r\nth", b"y" * 600, b"ree\r\nfour\r", b"\nz" * 400, b"\r\nfive\r\nsix"]


@dataclass
class Call:
    """A call on a buffer: *before* is fed to it, and waits uncut from *uncut* on."""

    act: Callable[[Any], Any]
    before: list[bytes] = field(default_factory=list)
    uncut: list[bytes] = field(default_factory=list)
    # What it takes, which may then wait uncut.
    data: bytes = b""
    max_line: int = 1000
    overflow: str = "raise"
    delimiter: Any = b"\r\n"

    def buffer(self, module: Any) -> Any:
        buffer = module.LineBuffer(self.delimiter, max_line=self.max_line, overflow=self.overflow)
        for data in self.before:
            with suppress(module.LineTooLong):
                buffer.feed(data)
        for data in self.uncut:
            buffer.feed(data, 0)
        return buffer


def feeding(data: bytes, most: int | None = None, **members: Any) -> Call:
    return Call(lambda buffer: buffer.feed(data, most), data=data, **members)


def setting(name: str, value: Any, **members: Any) -> Call:
    return Call(lambda buffer: setattr(buffer, name, value), **members)


def filling(buffer: Any) -> Any:
    buffer.get_buffer()[:9] = b"ne\r\ntwo\r\n"
    return buffer.buffer_updated(9)


BOTH = (b"\r\n", b"\n")
CALLS: dict[str, Call] = {
    "lines": feeding(b"one\r\ntwo\r\nthree"),
    "lines of several": feeding(b"one\ntwo\r\nthree\r", delimiter=BOTH),
    "the end of a line": feeding(b"e\r\ntwo", before=[b"on"]),
    "the end of a delimiter": feeding(b"\ntwo\r", before=[b"one\r"]),
    "a line goes on": feeding(b"e", before=[b"on\r"]),
    "a long line begins": feeding(LONG[:200], before=[LONG[:600]]),
    "a long line goes on": feeding(LONG[:200], before=[LONG[:600], b"x"]),
    "a long line ends": feeding(b"x\r\ntwo", before=[LONG, LONG[:200]]),
    "room for the longest": feeding(LONG[:60], before=[LONG, b"x" * 200]),
    "a part of what waits": feeding(b"six\r\n", 2, uncut=PIECES, max_line=5000),
    "all that waits": feeding(b"six\r\n", uncut=PIECES, max_line=5000),
    "it waits": feeding(b"six\r\n", 0, uncut=[*PIECES, b"more"]),
    "it waits behind what is begun": feeding(b"six\r\n", 0, before=[b"on"]),
    "dropped to its end": feeding(b"x\r\ntwo", before=[LONG * 2], overflow="discard"),
    "more is dropped": feeding(b"x\r", before=[LONG * 2], overflow="discard"),
    "room": Call(filling, before=[b"o"], data=b"ne\r\ntwo\r\n"),
    "take": Call(lambda buffer: buffer.take(800), uncut=PIECES),
    "take from a line": Call(lambda buffer: buffer.take(3), before=[LONG, b"yy\r"]),
    "rest": Call(lambda buffer: buffer.rest(), before=[b"on\r"], uncut=PIECES),
    "rest of what is dropped": Call(lambda buffer: buffer.rest(), before=[LONG * 2 + b"\r"]),
    "clear": Call(lambda buffer: buffer.clear(), before=[LONG], uncut=PIECES),
    "the end": Call(lambda buffer: buffer.feed_eof(), before=[LONG, b"x\r"]),
    "the end of what is dropped": Call(lambda buffer: buffer.feed_eof(), before=[LONG * 2 + b"\r"]),
    "an end that is too long": Call(lambda buffer: buffer.feed_eof(), before=[b"x" * 1000 + b"\r"]),
    "delimiter": setting("delimiter", b"\r", before=[b"on\r"]),
    "delimiter of a long line": setting("delimiter", b"x\r", before=[LONG, b"x\r"], uncut=PIECES),
    "delimiter of what is dropped": setting("delimiter", b"\r", before=[LONG * 2 + b"\r"]),
    "max_line": setting("max_line", 2, before=[b"on\r"]),
    "a lower max_line": setting("max_line", 10, before=[LONG, b"x"]),
}
for overflow in ("raise", "discard", "split"):
    CALLS |= {
        f"too long, {overflow}": feeding(b"one\r\n" + LONG * 2 + b"\r\ntwo", overflow=overflow),
        f"begun, too long, {overflow}": feeding(
            LONG + b"\r\ntwo\r\n", before=[LONG, b"x"], overflow=overflow
        ),
        f"without an end, {overflow}": feeding(LONG, before=[LONG, b"x\r"], overflow=overflow),
        f"too long in pieces, {overflow}": feeding(
            LONG + b"\r\ntwo\r\nthree", uncut=[LONG, LONG, LONG], overflow=overflow
        ),
    }


def state_of(buffer: Any, error: type[Exception]) -> tuple[Any, ...]:
    """All that *buffer* shows, now and as it goes on."""
    shown: list[Any] = [len(buffer), buffer.dropped, buffer.delimiter, buffer.max_line]
    for data in (b"", b"q\r", b"\nr\rs\r\n" + LONG[:300], b"\r\nt"):
        for _ in range(3):  # what stood behind a line that was raised
            try:
                shown.append(buffer.feed(data))
            except error as failure:
                shown.append(failure.args)
            except ValueError as failure:
                shown.append(str(failure))
            data = b""
        shown += [len(buffer), buffer.dropped]
    with suppress(error, ValueError):
        shown.append(buffer.feed_eof())
    return (*shown, buffer.dropped)


def allowed(call: Call, module: Any) -> list[tuple[Any, ...]]:
    """The states in which *call* may leave a buffer."""
    states = []
    for act in (lambda buffer: None, call.act, lambda buffer: buffer.feed(call.data, 0)):
        buffer = call.buffer(module)
        with suppress(module.LineTooLong):
            act(buffer)
        states.append(state_of(buffer, module.LineTooLong))
    return states


def check(call: Call, buffer: Any, module: Any, states: list[tuple[Any, ...]]) -> None:
    assert state_of(buffer, module.LineTooLong) in states


@pytest.mark.parametrize("name", CALLS)
def test_a_handler_raises_at_each_point(name: str) -> None:
    implementation = load("python")
    module, call = implementation.core["lines"], CALLS[name]
    states = allowed(call, module)

    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        buffer = call.buffer(module)

        def act() -> None:
            with suppress(module.LineTooLong):
                call.act(buffer)

        return act, lambda: check(call, buffer, module, states)

    at_each_point(implementation, scene)


# The interpreter does not always survive it: so only what runs none of its code, and only where
# there is a GIL.  Without one CPython 3.13 fails to set an exception where some allocations fail:
# code in Python gets a SystemError, and compiled code crashes.  Where a long line cannot grow,
# BytesIO gives up all that it has.
@pytest.mark.compiled
@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without a GIL CPython 3.13 does not survive that memory is short",
)
@pytest.mark.parametrize(
    "name",
    [
        "lines",
        "lines of several",
        "the end of a line",
        "the end of a delimiter",
        "a part of what waits",
        "all that waits",
        "it waits behind what is begun",
        "take",
        "rest",
        "too long, discard",
        "too long, split",
        "too long in pieces, discard",
    ],
)
def test_memory_is_short_at_each_allocation(name: str) -> None:
    memory = pytest.importorskip("_testcapi", reason="CPython's own tests can make memory short")
    module, call = load("cython").core["lines"], CALLS[name]
    states = allowed(call, module)
    failed = 0
    for number in range(60):
        buffer = call.buffer(module)
        memory.set_nomemory(number, number + 1)
        try:
            call.act(buffer)
        except MemoryError:
            failed += 1
        finally:
            memory.remove_mem_hooks()
        check(call, buffer, module, states)
    assert failed
