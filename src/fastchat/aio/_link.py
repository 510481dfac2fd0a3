"""What is beneath a ``LineProtocol``: the state of a connection, and what its transport calls.

It is an object of its own, so that a subclass may give its attributes whatever names it likes.

Rules this file keeps:

* Hooks get lines one after the other, in the order of the input, and none while another hook runs.
  What has been cut and cannot be given now is held; ``stops`` says why, and is 0 in the
  usual case, which ``_core/gate.py`` handles.
* What hooks send, and what they return, leaves in that order, joined, when they are done.
* After ``close()``, ``abort()`` or ``connection_lost()`` a hook hears of no further line.
* Deadlines cost a look at the clock for each read.  One timer for each connection looks whether one
  has passed, and is set again for the next.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from fastchat import LineBuffer, LineTooLong, join_lines
from fastchat._core.gate import Gate

Reply: TypeAlias = list[bytes] | bytes | None
Data: TypeAlias = bytes | bytearray | memoryview

# Why no line is given to a hook now: bits of the gate's ``stops``.
BUSY = 1  # a hook runs; in _core/gate.py, too
FULL = 2  # the transport has enough output
PAUSED = 4  # by pause_reading()
HELD = 8  # what is held comes first, as soon as the loop calls go_on()
CLOSING = 16  # by close()
GONE = 32  # aborted or lost: nothing can be sent any more
LEFT = 64  # a hook has left output to send, or lines to give
TLS_BEGINS = 128  # start_tls() runs, and what is sent waits for its end
SHUT = CLOSING | GONE
STOPPED = FULL | PAUSED | CLOSING

# More bytes of replies than this leave before ``line_received()`` gets its next line.
_FLUSH = 65536
# As water mark, in bytes: the most that uvloop takes.
_UNLIMITED = 2**31 - 1
# The least with TLS, which has output of its own, such as the session tickets of TLS 1.3: reading
# would stop for it, and with that what sends it.
_OF_TLS = 16384
# The least and the most that a timer is set to, in seconds; infinity is too much for uvloop.
_TICK = 0.001
_DAY = 86400.0

# What a transport may call no more once the connection is lost.
_ONCE = ("connection_lost", "eof_received", "pause_writing", "resume_writing")


def _nothing(*arguments: object) -> None:
    """What a transport finds that calls a protocol whose connection is lost."""


class _None:
    """What stands for a transport before there is a connection."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no connection yet, and no transport to {name}()")


class Link:
    """The connection of *protocol*, whose hooks it calls."""

    loop: asyncio.AbstractEventLoop
    time: Callable[[], float]

    def __init__(self, protocol: Any) -> None:
        self.protocol: Any = protocol
        self.transport: Any = _None()
        self.buffer = LineBuffer()  # with what else counts when the connection is made
        self.gate = Gate(self.buffer, protocol, self)
        self.held: deque[list[bytes] | LineTooLong] = deque()
        self.left: list[bytes] = []  # that the hook that runs was not given
        self.replies: list[bytes] = []  # of the hook that runs, to be joined
        self.out: list[bytes] = []  # what leaves before these, when the hook is done
        self.size = 0  # of both, in bytes
        self.delimiter = b"\n"  # of replies
        self.others: tuple[bytes, ...] = ()
        self.idle_timeout: float | None = None
        self.line_timeout: float | None = None
        self.is_reading = True
        self.has_ended = False  # which no hook has heard yet
        self.stays_open: bool | None = None  # what the hook has said that heard it
        self.waiting = 0  # how much output did when somebody looked last, in bytes
        self.is_due = False  # a deadline, when somebody looked last
        self.room: asyncio.Handle | None = None  # that will tell a hook of room for output
        self.timer: asyncio.TimerHandle | None = None
        self.handshake: asyncio.Task[Any] | None = None
        for name, method in self.for_transport().items():
            setattr(protocol, name, method)  # vars() would make each look-up of one slower

    def for_transport(self) -> dict[str, Callable[..., Any]]:
        """By the name that a transport calls, what it is to find on the protocol."""
        return {
            "connection_made": self.connect,
            "connection_lost": self.lose,
            "eof_received": self.end,
            "pause_writing": self.fill,
            "resume_writing": self.drain,
            "get_buffer": self.gate.get_buffer,
            "buffer_updated": self.gate.buffer_updated,
        }

    # What the transport calls, beside the methods of the gate.

    def connect(self, transport: asyncio.Transport) -> None:
        if self.is_connected():
            transport.set_protocol(asyncio.Protocol())  # so that this one hears nothing of it
            transport.abort()
            raise RuntimeError("a protocol is for one connection: make a new one for each")
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.time = self.loop.time
        self.gate.heard = self.time()
        self.run(self.begin)
        self.set_timer()

    def begin(self) -> Any:
        protocol = self.protocol
        for name, method in self.for_transport().items():
            if getattr(protocol, name) != method:
                raise TypeError(
                    f"{name} of the object is what the transport calls, and was assigned to: "
                    "define the hook in the class"
                )
        self.idle_timeout = _seconds_of(protocol, "idle_timeout")
        self.line_timeout = _seconds_of(protocol, "line_timeout")
        delimiter = protocol.delimiter
        self.buffer.delimiter, self.buffer.max_line = delimiter, protocol.max_line
        several = (delimiter,) if isinstance(delimiter, bytes) else delimiter
        self.delimiter, self.others = several[0], several[1:]
        self.open()
        return type(protocol).connection_made(protocol, self.transport)

    def open(self) -> None:
        """Send by the transport from now on, within the limits."""
        self.gate.open(self.time, self.transport.write, self.delimiter, not self.others)
        high, low = self.protocol.high_water, self.protocol.low_water
        high = _UNLIMITED if high is None else min(high, _UNLIMITED)
        if self.is_tls():
            high = max(high, _OF_TLS)
        self.transport.set_write_buffer_limits(high, min(low, high))

    def lose(self, exc: Exception | None) -> None:
        protocol = self.protocol
        if protocol is None:  # it is lost
            return
        if self.gate.stops & BUSY:  # a transport that did not wait for the loop
            self.loop.call_soon(self.lose, exc)
            return
        try:
            if not self.gate.stops & CLOSING:
                self.gate.stops = GONE
                self.give_held()
        finally:  # a hook may raise what ends the program
            self.gate.stops |= SHUT
            try:
                self.run(lambda: type(protocol).connection_lost(protocol, exc))
            finally:
                self.forget()

    def end(self) -> bool:
        """The peer sends no more, which a transport says again that is told to read on."""
        if self.gate.stops & SHUT:
            return False
        if self.stays_open is not None:
            return self.stays_open
        if self.gate.stops:
            self.has_ended = True
            # With TLS the transport closes in any case, and what is held comes from lose().
            return not self.is_tls()
        return self.give_end()

    def is_tls(self) -> bool:
        return self.transport.get_extra_info("sslcontext") is not None

    def fill(self) -> None:
        self.gate.stops |= FULL
        self.waiting = self.transport.get_write_buffer_size()
        self.stop_reading()
        if self.room is not None:  # of which the hook has not heard
            self.room.cancel()
            self.room = None
        else:
            self.run(lambda: type(self.protocol).pause_writing(self.protocol))

    def drain(self) -> None:
        # By the loop, since transports of asyncio cannot be closed within this.
        self.room = self.loop.call_soon(self.tell_room)
        self.resume(FULL)

    def tell_room(self) -> None:
        self.room = None
        if not self.gate.stops & GONE:
            self.run(lambda: type(self.protocol).resume_writing(self.protocol))

    def forget(self) -> None:
        """The transport has no more to tell, and nobody looks at deadlines."""
        if self.timer is not None:
            self.timer.cancel()
        for name in _ONCE:
            setattr(self.protocol, name, _nothing)
        self.gate.close()
        self.protocol = None  # so that no cycle is left

    # What the program calls.

    def is_connected(self) -> bool:
        """Whether there is a connection, or was one."""
        return not isinstance(self.transport, _None)

    def current(self) -> asyncio.Transport:
        """The transport.  Raises AttributeError where there is none yet."""
        if not self.is_connected():
            raise AttributeError("there is no connection yet, and no transport")
        transport: asyncio.Transport = self.transport
        return transport

    def write(self, data: Data) -> None:
        if self.gate.stops & SHUT:
            return
        if type(data) is not bytes:  # which may change meanwhile, and an int is no data
            data = bytes(memoryview(data))
        if self.gate.stops & (BUSY | TLS_BEGINS):
            self.take_replies()
            self.out.append(data)
            self.size += len(data)
            self.leave()
        else:
            self.send(data)
            if not self.gate.stops & FULL:
                self.gate.heard = self.time()

    def pause(self) -> None:
        self.current()
        if not self.gate.stops & GONE:
            self.gate.stops |= PAUSED
            self.stop_reading()

    def close(self) -> None:
        self.current()
        if not self.gate.stops & CLOSING:
            self.gate.stops |= CLOSING
            self.held.clear()
            if not self.gate.stops & (BUSY | GONE):
                self.close_now()

    def abort(self) -> None:
        self.current()
        was_gone = self.gate.stops & GONE
        self.gate.stops |= SHUT
        self.held.clear()
        self.out.clear()
        self.replies.clear()
        if self.handshake is not None:
            self.handshake.cancel()  # uvloop's would wait for its end
        if not was_gone:
            self.transport.abort()

    # Giving lines to hooks.

    def give_each(self, lines: list[bytes]) -> None:
        """Give *lines* to the hook for one line, until something stops that."""
        if not self.gate.stops & BUSY:  # no hook for lines calls this, but the program
            self.run(partial(self.give_each, lines))
            return
        rest = iter(lines)
        if not (self.left or self.gate.stops & STOPPED):
            received, add, gate = self.protocol.line_received, self.add, self.gate
            for line in rest:
                reply = received(line)
                if reply is not None:
                    add(reply)
                if self.size > _FLUSH:
                    self.flush()
                if gate.stops & STOPPED:
                    break
        self.left += rest
        if self.left:
            self.gate.stops |= LEFT

    def run(self, call: Callable[[], Any]) -> Any:
        """Call a hook that is not about lines; None where that raises."""
        is_outermost = not self.gate.stops & BUSY
        self.gate.stops |= BUSY
        result = None
        try:
            result = call()
            if inspect.iscoroutine(result):
                result.close()  # which it would say nobody has awaited
                raise TypeError("a hook is no coroutine function: let it start a task")
        except BaseException as failure:
            result = None
            self.fail(failure)
        if is_outermost:
            self.settle()
        return result

    def settle(self) -> None:
        """Send what a hook has left, and do what it has asked for."""
        try:
            self.flush()
        except BaseException as failure:
            self.fail(failure)
        if self.left and not self.gate.stops & CLOSING:
            self.held.appendleft(self.left)
        self.left = []
        self.gate.stops &= ~(BUSY | LEFT)
        if self.gate.stops & CLOSING:
            if not self.gate.stops & GONE:
                self.close_now()
        elif self.held or not self.is_reading:
            self.resume(0)

    def fail(self, failure: BaseException) -> None:
        """A hook has raised: end this connection, and no other."""
        self.abort()
        if not isinstance(failure, Exception):
            self.gate.stops &= ~(BUSY | LEFT)
            raise failure
        self.loop.call_exception_handler(
            {
                "message": "a hook of a LineProtocol has raised, and its connection is aborted",
                "exception": failure,
                "protocol": self.protocol,
                "transport": self.transport,
            }
        )

    def hold(self, data: bytes) -> None:
        """Cut *data*, and keep the lines for later."""
        if self.gate.stops & SHUT:
            return
        self.gate.heard = self.time()
        try:
            lines = self.buffer.feed(data)
        except LineTooLong as failure:
            self.hold_too_long(failure)
        else:
            if lines:
                self.held.append(lines)
        self.leave()
        if self.gate.stops & (FULL | PAUSED):
            self.is_reading = True  # as uvloop does in spite of a pause in connection_made()
            self.stop_reading()

    def leave(self) -> None:
        """What is held, or in the way out, is looked for when the hook that runs is done."""
        if self.gate.stops & BUSY:
            self.gate.stops |= LEFT

    def overflow(self, failure: LineTooLong) -> None:
        """A read has shown that a line is too long."""
        self.hold_too_long(failure)
        self.go_on()

    def hold_too_long(self, failure: LineTooLong) -> None:
        self.gate.has_overflowed = True
        if failure.lines:
            self.held.append(failure.lines)
        self.held.append(failure)

    def resume(self, why: int) -> None:
        """*why* does no longer stop lines; when nothing else does, the loop goes on with them."""
        self.gate.stops &= ~why
        if not self.gate.stops:
            self.gate.stops = HELD
            self.gate.heard = self.time()  # for a timer that comes before go_on()
            self.loop.call_soon(self.go_on)

    def go_on(self) -> None:
        """Give what is held to the hooks, then read on."""
        self.gate.stops &= ~HELD
        self.give_held()
        if self.gate.stops:
            return
        self.gate.heard = self.time()
        self.gate.began = self.gate.heard if self.waits() else 0.0
        if not (self.is_reading or self.stays_open is not None or self.transport.is_closing()):
            self.is_reading = True
            self.transport.resume_reading()

    def give_held(self) -> None:
        """Give what is held to the hooks, until something stops that."""
        while not self.gate.stops & ~GONE:
            if not self.held and not self.cut_rest():
                if self.has_ended and not self.give_end():
                    self.close()
                break
            event = self.held.popleft()
            if isinstance(event, list):
                self.gate.give(event)
            else:
                self.run(partial(self.report, event.prefix, event.size))

    def report(self, prefix: bytes, size: int) -> None:
        self.answer(self.protocol.line_too_long(prefix, size))

    def cut_rest(self) -> bool:
        """Cut what a line that is too long has left; whether there was something."""
        try:
            lines = self.buffer.feed(b"")
        except LineTooLong as failure:
            self.hold_too_long(failure)
            return True
        if lines:
            self.held.append(lines)
        return bool(lines)

    def give_end(self) -> bool:
        """Let the hook hear of the end of the input; whether the connection stays open."""
        self.has_ended, self.stays_open = False, False
        self.protocol.unterminated, self.gate.began = self.buffer.rest(), 0.0
        stays = self.run(lambda: type(self.protocol).eof_received(self.protocol))
        self.stays_open = bool(stays) and not self.is_tls()
        return self.stays_open

    def waits(self) -> bool:
        """Whether the beginning of a line waits, or a line that is too long goes on."""
        return len(self.buffer) > 0 or self.buffer.take(0) is None

    # Replies.

    def answer(self, reply: Reply) -> None:
        if reply is not None:
            self.add(reply)

    def add(self, reply: list[bytes] | bytes) -> None:
        """Send *reply* when the hook is done."""
        self.gate.stops |= LEFT
        if isinstance(reply, bytes):
            self.replies.append(reply)
            self.size += len(reply)
            return
        if not isinstance(reply, list):
            raise TypeError(f"a reply is bytes, a list of bytes or None, {_instead(reply)}")
        data = self.join(reply)
        self.take_replies()
        self.out.append(data)
        self.size += len(data)

    def join(self, lines: Iterable[Data]) -> bytes:
        if self.others:
            lines = list(lines)
            for other in self.others:
                join_lines(lines, other)  # raises where one has it inside
        return join_lines(lines, self.delimiter)

    def take_replies(self) -> None:
        """Join the replies so far, since something else is sent behind them."""
        if self.replies:
            data = self.join(self.replies)
            self.replies.clear()
            self.out.append(data)

    def flush(self) -> None:
        """Send all that hooks have left, and what they leave when the output fills."""
        while (self.replies or self.out) and not self.gate.stops & TLS_BEGINS:
            self.take_replies()
            data = b"".join(self.out)
            self.out.clear()
            self.size = 0
            if data and not self.gate.stops & GONE:
                self.send(data)

    def send(self, data: Data) -> None:
        if self.gate.stops & FULL:
            self.waiting += len(data)
        self.transport.write(data)

    # Reading, closing, deadlines.

    def stop_reading(self) -> None:
        if self.gate.stops & TLS_BEGINS:  # which reads; who changes the transport looks again
            return
        if self.is_reading and not self.transport.is_closing():
            self.is_reading = False
            self.leave()
            self.transport.pause_reading()

    def close_now(self) -> None:
        self.gate.heard = self.time()
        if self.gate.stops & TLS_BEGINS:  # nothing can be sent in order
            self.abort()
        else:
            self.transport.close()
            self.waiting = self.transport.get_write_buffer_size()

    def set_timer(self) -> None:
        """Look again when a deadline may have passed that is the next, or begins meanwhile."""
        if self.gate.stops & GONE:
            return
        limits = [each for each in (self.idle_timeout, self.line_timeout) if each is not None]
        if limits:
            now = self.time()
            dues = [due for due, _ in self.deadlines()]
            at = min(dues + [now + each for each in limits])
            self.timer = self.loop.call_later(min(max(at - now, _TICK), _DAY), self.look)

    def deadlines(self) -> list[tuple[float, str]]:
        """When the deadlines that run now will have passed, and what they are called."""
        found = []
        is_waiting = self.gate.stops & PAUSED and not self.gate.stops & (FULL | CLOSING)
        if self.idle_timeout is not None and not is_waiting:
            found.append((self.gate.heard + self.idle_timeout, "idle"))
        if self.line_timeout is not None and self.gate.began and not self.gate.stops:
            found.append((self.gate.began + self.line_timeout, "line"))
        return found

    def look(self) -> None:
        """See whether a deadline has passed.

        Where one has, this looks again behind the input that may be there already: some loops call
        timers before they read.
        """
        now = self.time()
        waiting = self.transport.get_write_buffer_size()
        if waiting < self.waiting:  # the peer takes it, if slowly
            self.gate.heard = now
        self.waiting = waiting
        due, which = min(self.deadlines(), default=(now + 1, ""))
        was_due, self.is_due = self.is_due, due <= now
        if self.is_due and was_due:
            self.is_due = False
            if self.gate.stops & CLOSING:
                self.abort()
            else:
                self.gate.heard = now
                self.gate.began = now if self.gate.began else 0.0
                self.run(lambda: self.answer(self.protocol.timed_out(which)))
        self.set_timer()


def _seconds_of(protocol: Any, name: str) -> float | None:
    """The deadline *name* of *protocol*.  Raises ValueError where it is none."""
    seconds: Any = getattr(protocol, name)
    if seconds is not None and (isinstance(seconds, str) or not seconds > 0):
        raise ValueError(f"{name} must be seconds, more than 0, or None, not {seconds!r}")
    return seconds


def _instead(reply: object) -> str:
    """What *reply* is, and what its author may have meant."""
    if isinstance(reply, str):
        return "not str: use .encode()"
    if inspect.iscoroutine(reply):
        reply.close()  # which it would say nobody has awaited
        return "and a hook no coroutine: let it start a task"
    return f"not {type(reply).__name__}"
