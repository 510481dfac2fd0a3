"""``LineProtocol``: lines for hooks, whose return values are the replies.

Rules this file keeps:

* What a subclass overrides is a hook, and nothing depends on its calling ``super()``.  The methods
  that a transport calls under the same names are attributes of the object, which it finds first.
* Hooks get lines one after the other, in the order of the input, and none while another hook runs.
  What has been cut and cannot be given now is held; ``stops`` says why, and is 0 on the way that
  nearly every read takes, which is in ``_core/gate.py``.
* What hooks send, and what they return, leaves in that order, joined, when they are done.
* After ``close()``, ``abort()`` or ``connection_lost()`` a hook hears of no further line.
* Deadlines cost a look at the clock for each read.  One timer for each connection looks whether one
  has passed, and is set again for the next.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Self, TypeAlias

from fastchat import LineBuffer, LineTooLong, join_lines
from fastchat._core.gate import Gate

Reply: TypeAlias = list[bytes] | bytes | None
_Data: TypeAlias = bytes | bytearray | memoryview

logger = logging.getLogger("fastchat.aio")

# Why no line is given to a hook now: bits of the gate's ``stops``.
_BUSY = 1  # a hook runs; in _core/gate.py, too
_FULL = 2  # the transport has enough output
_PAUSED = 4  # by pause_reading()
_HELD = 8  # what is held comes first, as soon as the loop calls _go_on()
_CLOSING = 16  # by close()
_GONE = 32  # aborted or lost: nothing can be sent any more
_LEFT = 64  # a hook has left output to send, or lines to give
_SHUT = _CLOSING | _GONE
_STOPPED = _FULL | _PAUSED | _CLOSING

# Of how many bytes on the replies to single lines leave before the next line is given to a hook.
_FLUSH = 65536
# As water mark, in bytes: the most that uvloop takes.
_UNLIMITED = 2**31 - 1
# The least that a timer is set to, in seconds.
_TICK = 0.001

# What transports call that has the name of a hook, too.
_OF_TRANSPORT = (
    "connection_made",
    "connection_lost",
    "eof_received",
    "pause_writing",
    "resume_writing",
)


def _nothing(*arguments: object) -> None:
    """What a transport finds that calls a protocol whose connection is lost."""


class LineProtocol(asyncio.BufferedProtocol):
    """Lines from one connection, and replies to them; to be derived from.

    Override ``line_received`` or ``lines_received``.  What it returns is the reply: a list of bytes
    is one line each, bytes are one line, None is nothing.  Delimiters are taken off lines, and put
    behind replies.

    The class attributes are the limits.  They count as they are when the connection is made, so
    ``__init__`` may set them, too; a wrong one raises then what LineBuffer raises, and ends the
    connection.  An exception in a hook goes to the loop's exception handler, and the connection is
    aborted.

    All methods belong to the thread of the loop.
    """

    # What ends a line; a reply ends with the first of several.
    delimiter: bytes | tuple[bytes, ...] = b"\n"
    # The most bytes of a line, its delimiter not counted.
    max_line: int = 65536
    # How many bytes of output wait before no further line is read or given to a hook, and how few
    # before that goes on; None for no limit.
    high_water: int | None = 256 * 1024
    low_water: int = 64 * 1024
    # Seconds without input or output, and from the first byte of a line to its delimiter; None for
    # no limit.
    idle_timeout: float | None = 300.0
    line_timeout: float | None = 60.0

    transport: asyncio.Transport
    # What came behind the last delimiter, once the input has ended.
    unterminated: bytes = b""

    _buffer: LineBuffer
    _gate: Gate
    _loop: asyncio.AbstractEventLoop
    _held: deque[list[bytes] | LineTooLong]
    _replies: list[bytes]  # of the hook that runs, to be joined
    _out: list[_Data]  # what leaves before these, when the hook is done
    _delimiter = b"\n"  # of replies
    _others: tuple[bytes, ...] = ()
    _is_reading = True
    _has_ended = False
    _timer: asyncio.TimerHandle | None = None

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Make a protocol that works, whatever its ``__init__`` does."""
        self = super().__new__(cls)
        self._buffer = LineBuffer(cls.delimiter, max_line=cls.max_line)
        self._gate = gate = Gate(self._buffer, self)
        self._held, self._replies, self._out = deque(), [], []
        methods = (self._connect, self._lose, self._end, self._fill, self._drain)
        for name, method in (
            *zip(_OF_TRANSPORT, methods, strict=True),
            ("get_buffer", gate.get_buffer),
            ("buffer_updated", gate.buffer_updated),
        ):
            setattr(self, name, method)  # vars() would make each look-up of an attribute slower
        return self

    def __init__(self) -> None:
        """Take no arguments."""

    # Hooks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hook: there is a connection, which ``self.transport`` is, too, with its exact type."""

    def line_received(self, line: bytes) -> Reply:
        """Hook: a line.  ``close()`` and ``pause_reading()`` in it stop before the next one."""
        raise NotImplementedError("override line_received() or lines_received()")

    def lines_received(self, lines: list[bytes]) -> Reply:
        """Hook: the lines that one read has completed; gives each to ``line_received()``."""
        received, size = self.line_received, 0
        rest = iter(lines)
        for line in rest:
            reply = received(line)
            if reply is not None:
                size += self._add(reply)
                if size > _FLUSH:
                    self._flush()
                    size = 0
            if self._gate.stops & _STOPPED:
                break
        left = list(rest)
        if left:
            self._held.appendleft(left)
            self._gate.stops |= _LEFT
        return None

    def line_too_long(self, prefix: bytes, size: int) -> Reply:
        """Hook: a line has *size* bytes or more, of which *prefix* are the first; it is dropped.

        Logs that, and closes.
        """
        peer = self.transport.get_extra_info("peername")
        logger.warning("%r sent a line of %d bytes or more, %r: closed", peer, size, prefix[:40])
        self.close()
        return None

    def timed_out(self, which: str) -> Reply:
        """Hook: a deadline has passed, ``"idle"`` or ``"line"``; closes, or aborts a full output.

        After an override that does neither, the deadline begins anew.
        """
        if self.is_full:
            self.abort()
        else:
            self.close()
        return None

    def eof_received(self) -> bool | None:
        """Hook: the peer sends no more; ``unterminated`` has what was no line.

        Where it returns True the connection stays open for output, except with TLS.
        """
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Hook: the connection is gone, by *exc* or else in order.  It comes once, and last."""

    def pause_writing(self) -> None:
        """Hook: the output is full, and no line comes before ``resume_writing()``."""

    def resume_writing(self) -> None:
        """Hook: there is room for output again."""

    # Output.

    @property
    def is_full(self) -> bool:
        """Whether the output is above its high water mark, until it falls below the low one."""
        return bool(self._gate.stops & _FULL)

    def send_line(self, line: _Data) -> None:
        """Send one line.  Raises what ``send_lines`` does."""
        self.send_lines((line,))

    def send_lines(self, lines: Iterable[_Data]) -> None:
        """Send *lines*, each with the delimiter behind it.

        Raises ValueError where a line has a delimiter inside, and TypeError where one is not bytes
        or the like.  Once the connection is closed they go nowhere, as those of ``write()``.
        """
        self.write(self._join(lines))

    def write(self, data: _Data) -> None:
        """Send *data* as it is."""
        if self._gate.stops & (_CLOSING | _GONE):
            return
        if self._gate.stops & _BUSY:
            self._take_replies()
            self._out.append(bytes(data))
            self._gate.stops |= _LEFT
        else:
            self.transport.write(data)
            if not self._gate.stops & _FULL:
                self._gate.heard = self._time()

    # Control.

    def pause_reading(self) -> None:
        """Stop reading, and giving lines to hooks.  Deadlines stop, too."""
        if not self._gate.stops & _GONE:
            self._gate.stops |= _PAUSED
            self._stop_reading()

    def resume_reading(self) -> None:
        """Go on, from the loop: no hook is called before this returns."""
        self._resume(_PAUSED)

    def close(self) -> None:
        """Close when all is sent.  In a hook that includes what it returns.  No line comes then.

        A peer that does not read is waited for as long as ``idle_timeout`` says.
        """
        if not self._gate.stops & _CLOSING:
            self._gate.stops |= _CLOSING
            self._held.clear()
            if not self._gate.stops & (_BUSY | _GONE):
                self._close_now()

    def abort(self) -> None:
        """Close at once; what is not sent is lost."""
        was_gone = self._gate.stops & _GONE
        self._gate.stops |= _SHUT
        self._held.clear()
        self._out.clear()
        self._replies.clear()
        if not was_gone:
            self.transport.abort()

    # What the transport calls, beside the methods of the gate.

    def _connect(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._loop = loop = asyncio.get_running_loop()
        self._time: Callable[[], float] = loop.time
        self._gate.heard = loop.time()
        self._run(lambda: self._begin(transport))
        self._set_timer()

    def _begin(self, transport: asyncio.Transport) -> None:
        delimiter = self.delimiter
        self._buffer.delimiter, self._buffer.max_line = delimiter, self.max_line
        several = (delimiter,) if isinstance(delimiter, bytes) else delimiter
        self._delimiter, self._others = several[0], several[1:]
        self._gate.open(self._time, transport.write, several[0], not self._others)
        high = _UNLIMITED if self.high_water is None else self.high_water
        transport.set_write_buffer_limits(high, min(self.low_water, high))
        type(self).connection_made(self, transport)

    def _lose(self, exc: Exception | None) -> None:
        if self._gate.stops & _BUSY:  # a transport that did not wait for the loop
            self._loop.call_soon(self._lose, exc)
            return
        if self._timer is not None:
            self._timer.cancel()
        for name in _OF_TRANSPORT:  # so that this does not come twice, and no cycle is left
            setattr(self, name, _nothing)
        if not self._gate.stops & _CLOSING:
            self._gate.stops = _GONE
            self._give_held()
        self._gate.stops |= _SHUT
        self._run(lambda: type(self).connection_lost(self, exc))
        self._gate.close()

    def _end(self) -> bool | None:
        if self._gate.stops & _SHUT:
            return None
        if self._gate.stops:
            self._has_ended = True
            # With TLS the transport closes in any case, and what is held comes from _lose().
            return self.transport.get_extra_info("sslcontext") is None
        return self._give_end()

    def _fill(self) -> None:
        self._gate.stops |= _FULL
        self._stop_reading()
        self._run(lambda: type(self).pause_writing(self))

    def _drain(self) -> None:
        self._resume(_FULL)
        self._run(lambda: type(self).resume_writing(self))

    # Giving lines to hooks.

    def _run(self, call: Callable[[], Any]) -> Any:
        """Call a hook that is not about lines; None where that raises."""
        is_outermost = not self._gate.stops & _BUSY
        self._gate.stops |= _BUSY
        result = None
        try:
            result = call()
        except BaseException as failure:
            self._fail(failure)
        if is_outermost:
            self._settle()
        return result

    def _settle(self) -> None:
        """Send what a hook has left, and do what it has asked for."""
        try:
            self._flush()
        except BaseException as failure:
            self._fail(failure)
        self._gate.stops &= ~(_BUSY | _LEFT)
        if self._gate.stops & _CLOSING:
            if not self._gate.stops & _GONE:
                self._close_now()
        elif self._held or not self._is_reading:
            self._resume(0)

    def _fail(self, failure: BaseException) -> None:
        """A hook has raised: end this connection, and no other."""
        self.abort()
        if not isinstance(failure, Exception):
            self._gate.stops &= ~(_BUSY | _LEFT)
            raise failure
        self._loop.call_exception_handler(
            {
                "message": "a hook of a LineProtocol has raised, and its connection is aborted",
                "exception": failure,
                "protocol": self,
                "transport": self.transport,
            }
        )

    def _hold(self, data: bytes) -> None:
        """Cut *data*, and keep the lines for later."""
        if self._gate.stops & _SHUT:
            return
        self._gate.heard = self._time()
        try:
            lines = self._buffer.feed(data)
        except LineTooLong as failure:
            self._hold_too_long(failure)
        else:
            if lines:
                self._held.append(lines)
        self._leave()
        if self._gate.stops & (_FULL | _PAUSED):
            self._is_reading = True  # as uvloop does in spite of a pause in connection_made()
            self._stop_reading()

    def _leave(self) -> None:
        """What is held, or in the way out, is looked for when the hook that runs is done."""
        if self._gate.stops & _BUSY:
            self._gate.stops |= _LEFT

    def _overflow(self, failure: LineTooLong) -> None:
        """A read has shown that a line is too long."""
        self._hold_too_long(failure)
        self._go_on()

    def _hold_too_long(self, failure: LineTooLong) -> None:
        self._gate.has_overflowed = True
        if failure.lines:
            self._held.append(failure.lines)
        self._held.append(failure)

    def _resume(self, why: int) -> None:
        """*why* does no longer stop lines; when nothing else does, the loop goes on with them."""
        self._gate.stops &= ~why
        if not self._gate.stops:
            self._gate.stops = _HELD
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Give what is held to the hooks, then read on."""
        self._gate.stops &= ~_HELD
        self._give_held()
        if self._gate.stops:
            return
        self._gate.heard = self._time()
        self._gate.began = self._gate.heard if self._waits() else 0.0
        if not (self._is_reading or self.transport.is_closing()):
            self._is_reading = True
            self.transport.resume_reading()

    def _give_held(self) -> None:
        """Give what is held to the hooks, until something stops that."""
        while not self._gate.stops & ~_GONE:
            if not self._held and not self._cut_rest():
                if self._has_ended and not self._give_end():
                    self.close()
                break
            event = self._held.popleft()
            if isinstance(event, list):
                self._gate.give(event)
            else:
                self._run(partial(self._report, event.prefix, event.size))

    def _report(self, prefix: bytes, size: int) -> None:
        self._answer(self.line_too_long(prefix, size))

    def _cut_rest(self) -> bool:
        """Cut what a line that is too long has left; whether there was something."""
        try:
            lines = self._buffer.feed(b"")
        except LineTooLong as failure:
            self._hold_too_long(failure)
            return True
        if lines:
            self._held.append(lines)
        return bool(lines)

    def _give_end(self) -> bool:
        """Let the hook hear of the end of the input; whether the connection stays open."""
        self._has_ended = False
        self.unterminated, self._gate.began = self._buffer.rest(), 0.0
        return bool(self._run(lambda: type(self).eof_received(self)))

    def _waits(self) -> bool:
        """Whether the beginning of a line waits, or a line that is too long goes on."""
        return len(self._buffer) > 0 or self._buffer.take(0) is None

    # Replies.

    def _answer(self, reply: Reply) -> None:
        if reply is not None:
            self._add(reply)

    def _add(self, reply: list[bytes] | bytes) -> int:
        """Send *reply* when the hook is done; returns how many bytes that adds."""
        self._gate.stops |= _LEFT
        if isinstance(reply, bytes):
            self._replies.append(reply)
            return len(reply)
        if not isinstance(reply, list):
            raise TypeError(f"a reply is bytes, a list of bytes or None, {_instead(reply)}")
        data = self._join(reply)
        self._take_replies()
        self._out.append(data)
        return len(data)

    def _join(self, lines: Iterable[_Data]) -> bytes:
        if self._others:
            lines = list(lines)
            for other in self._others:
                join_lines(lines, other)  # raises where one has it inside
        return join_lines(lines, self._delimiter)

    def _take_replies(self) -> None:
        """Join the replies so far, since something else is sent behind them."""
        if self._replies:
            data = self._join(self._replies)
            self._replies.clear()
            self._out.append(data)

    def _flush(self) -> None:
        """Send all that hooks have left."""
        while self._replies or self._out:  # the transport may call a hook that sends
            self._take_replies()
            data = b"".join(self._out)
            self._out.clear()
            if data and not self._gate.stops & _GONE:
                self.transport.write(data)

    # Reading, closing, deadlines.

    def _stop_reading(self) -> None:
        if self._is_reading and not self.transport.is_closing():
            self._is_reading = False
            self._leave()
            self.transport.pause_reading()

    def _close_now(self) -> None:
        self._gate.heard = self._time()
        self.transport.close()

    def _set_timer(self) -> None:
        """Look again when a deadline may have passed that is the next, or begins meanwhile."""
        limits = [each for each in (self.idle_timeout, self.line_timeout) if each is not None]
        if limits:
            now = self._time()
            dues = [due for due, _ in self._deadlines()]
            at = min(dues + [now + each for each in limits])
            self._timer = self._loop.call_later(max(at - now, _TICK), self._look)

    def _deadlines(self) -> list[tuple[float, str]]:
        """When the deadlines that run now will have passed, and what they are called."""
        found = []
        is_waiting = self._gate.stops & _PAUSED and not self._gate.stops & (_FULL | _CLOSING)
        if self.idle_timeout is not None and not is_waiting:
            found.append((self._gate.heard + self.idle_timeout, "idle"))
        if self.line_timeout is not None and self._gate.began and not self._gate.stops:
            found.append((self._gate.began + self.line_timeout, "line"))
        return found

    def _look(self) -> None:
        """See whether a deadline has passed."""
        now = self._time()
        due, which = min(self._deadlines(), default=(now + 1, ""))
        if due <= now:
            if self._gate.stops & _CLOSING:
                self.abort()
            else:
                self._gate.heard = now
                self._gate.began = now if self._gate.began else 0.0
                self._run(lambda: self._answer(self.timed_out(which)))
        self._set_timer()


def _instead(reply: object) -> str:
    """What *reply* is, and what its author may have meant."""
    if isinstance(reply, str):
        return "not str: use .encode()"
    if inspect.iscoroutine(reply):
        reply.close()  # which it would say nobody has awaited
        return "and a hook no coroutine: let it start a task"
    return f"not {type(reply).__name__}"
