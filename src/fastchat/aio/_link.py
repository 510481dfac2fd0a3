"""What is beneath a ``LineProtocol``: the state of a connection, and what its transport calls.

It is an object of its own, so that a subclass may give its attributes whatever names it likes.

Rules this file keeps:

* Hooks get lines one after the other, in the order of the input, and none while another hook runs.
  What has been cut and cannot be given now is held; ``stops`` says why, and is 0 in the
  usual case, which ``_core/gate.py`` handles.
* What hooks send, and what they return, leaves in that order, joined, when they are done.
* After ``close()``, ``abort()`` or ``connection_lost()`` a hook hears of no further line.
* Input that comes while no line can be given waits uncut, and stops the reading: no peer can make
  it grow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from fastchat import LineBuffer, LineTooLong
from fastchat._core.gate import Gate
from fastchat._core.line_rules import Data, Reply
from fastchat._scanner_py import as_bytes
from fastchat.aio._deadlines import Deadlines
from fastchat.aio._names import check_names, forget_names, set_names
from fastchat.aio._replies import check_run, join, not_a_reply
from fastchat.aio._stops import (
    BUSY,
    CLOSING,
    FULL,
    GONE,
    HELD,
    LEFT,
    PAUSED,
    SHUT,
    STOPPED,
    TLS_BEGINS,
)

# More bytes of replies than this leave before ``line_received()`` gets its next line.
_FLUSH = 65536
# As water mark, in bytes: the most that uvloop takes.
_UNLIMITED = 2**31 - 1
# The least with TLS, which has output of its own, such as the session tickets of TLS 1.3: reading
# would stop for it, and with that what sends it.
_OF_TLS = 16384


class _NoTransport:
    """What stands for a transport before there is a connection."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no connection yet, and no transport to {name}()")


class _Left(deque[bytes]):
    """Lines that the hook for one line was not given, and gets next.

    They are taken off one by one, so that a hook that stops at each costs no copy of the others.
    """

    def take(self) -> Iterator[bytes]:
        for _ in range(len(self)):
            yield self.popleft()


class Link:
    """The connection of *protocol*, whose hooks it calls."""

    loop: asyncio.AbstractEventLoop
    time: Callable[[], float]

    def __init__(self, protocol: Any) -> None:
        self.protocol: Any = protocol
        self.transport: Any = _NoTransport()
        self.buffer = LineBuffer()  # with what else counts when the connection is made
        self.gate = Gate(self.buffer, protocol, self)
        self.held: deque[list[bytes] | _Left | LineTooLong] = deque()
        self.left = _Left()  # what the hook that runs was not given
        self.replies: list[bytes] = []  # of the hook that runs, to be joined
        self.out: list[bytes] = []  # what leaves before these, when the hook is done
        self.unsent_size = 0  # of both, in bytes, without the delimiters still to come
        self.delimiter = b"\n"  # of replies
        self.others: tuple[bytes, ...] = ()
        self.deadlines = Deadlines(self)
        self.is_reading = True
        self.has_ended = False  # which no hook has heard yet
        self.stays_open: bool | None = None  # what the hook has said that heard it
        self.room_notice: asyncio.Handle | None = None  # that will tell a hook of room for output
        self.piece = self.most_out = _FLUSH  # of output, in bytes: what leaves at once, what waits
        self.handshake: asyncio.Task[Any] | None = None
        self.room: asyncio.Event | None = None  # what start_tls() waits for where output is full
        self.loss: Callable[[], None] | None = None  # that was told too early
        self.shows_none = False  # instead of a transport, as the program has said
        self.held_before_layer: bool | None = None  # whether input was, when a layer took over
        self.gate.stops = HELD  # what comes before there is a connection
        set_names(protocol, self.for_transport())

    def for_transport(self) -> dict[str, Callable[..., Any]]:
        """By the name that a transport calls, what it is to find on the protocol."""
        return {
            "connection_made": self.connection_made,
            "connection_lost": self.connection_lost,
            "eof_received": self.eof_received,
            "pause_writing": self.pause_writing,
            "resume_writing": self.resume_writing,
            "data_received": self.gate.data_received,
        }

    # What the transport calls, beside the methods of the gate.

    def connection_made(self, transport: asyncio.Transport) -> None:
        """There is a connection: take the limits, and call the hook.

        Raises RuntimeError for a second one, which is aborted.
        """
        if self.has_transport():
            transport.set_protocol(asyncio.Protocol())  # so that this one hears nothing of it
            transport.abort()
            raise RuntimeError("a protocol is for one connection: make a new one for each")
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.time = self.loop.time
        self.gate.heard = self.time()
        self.gate.stops &= ~HELD
        self.shows_none = False
        self.run(self.begin)
        if len(self.buffer) or self.has_ended:
            self.resume(0)
        self.deadlines.set_timer()
        if self.loss is not None:
            self.loop.call_soon(self.loss)

    def begin(self) -> Any:
        """Take the limits of the protocol, then call its hook.  Raises what a wrong one raises."""
        protocol = self.protocol
        check_names(protocol, self.for_transport())
        self.deadlines.begin(protocol)
        delimiter = protocol.delimiter
        self.buffer.delimiter, self.buffer.max_line = delimiter, protocol.max_line
        several = (delimiter,) if isinstance(delimiter, bytes) else delimiter
        self.delimiter, self.others = several[0], several[1:]
        self.open()
        made = type(protocol).connection_made(protocol, self.transport)
        check_names(protocol, self.for_transport())
        return made

    def open(self) -> None:
        """Send by the transport from now on, within the water marks of the protocol."""
        self.gate.open(self.time, self.transport.write, self.delimiter, not self.others)
        high, low = self.protocol.high_water, self.protocol.low_water
        high = _UNLIMITED if high is None else min(high, _UNLIMITED)
        if self.is_tls():
            high = max(high, _OF_TLS)
        self.most_out, self.piece = high, min(high, _FLUSH)
        self.transport.set_write_buffer_limits(high, min(low, high))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: give the hooks what came before, and then that, once."""
        protocol = self.protocol
        if protocol is None:  # it is lost
            return
        if self.gate.stops & BUSY:  # a transport that did not wait for the loop
            self.loop.call_soon(self.connection_lost, exc)
            return
        if self.gate.stops & TLS_BEGINS or not self.has_transport():
            # What was received by the new transport comes before, once that is known.
            self.loss = partial(self.connection_lost, exc)
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

    def eof_received(self) -> bool:
        """The peer sends no more, which a transport says again that is told to read on.

        Returns whether the transport is to stay open for output.
        """
        if self.gate.stops & SHUT:
            return False
        if self.stays_open is not None:
            return self.stays_open
        if self.gate.stops:
            self.has_ended = True
            # With TLS the transport closes in any case; connection_lost() then gives what is held.
            return not self.is_tls()
        stays = self.give_end()
        if not stays:  # the transport closes
            self.gate.stops |= CLOSING
        return stays

    def is_tls(self) -> bool:
        """Whether the transport cannot close one direction alone, or may be of that kind."""
        if self.gate.stops & TLS_BEGINS or not self.has_transport():
            return True
        return self.transport.get_extra_info("sslcontext") is not None

    def pause_writing(self) -> None:
        """The transport has enough: read no more, and tell the hook, unless it knows that."""
        self.gate.stops |= FULL
        self.deadlines.stop()
        self.deadlines.output_size = self.transport.get_write_buffer_size()
        self.stop_reading()
        if self.room_notice is not None:  # of which the hook has not heard
            self.room_notice.cancel()
            self.room_notice = None
        else:
            self.run(self.tell_full)

    def tell_full(self) -> Any:
        """Call the hook.  Raises TypeError where nothing would be told of room later."""
        check_names(self.protocol, self.for_transport())
        return type(self.protocol).pause_writing(self.protocol)

    def resume_writing(self) -> None:
        """There is room: go on, and tell the hook.

        It is told by the loop, since transports of asyncio cannot be closed within this.
        """
        self.room_notice = self.loop.call_soon(self.tell_room)
        self.gate.heard = self.time()
        self.resume(FULL)
        self.end_wait()

    def end_wait(self) -> None:
        """There is room, or will never be: let who waits for it look."""
        if self.room is not None:
            self.room.set()
            self.room = None

    def tell_room(self) -> None:
        """Call the hook for room, unless nothing can be sent any more."""
        self.room_notice = None
        if not self.gate.stops & GONE:
            self.run(lambda: type(self.protocol).resume_writing(self.protocol))

    def forget(self) -> None:
        """The transport has no more to tell, and nobody looks at deadlines."""
        self.deadlines.end()
        self.end_wait()
        forget_names(self.protocol)
        self.gate.close()
        self.buffer.clear()
        self.protocol = None  # so that no cycle is left

    # What the program calls.

    def has_transport(self) -> bool:
        """Whether there is a connection, or was one."""
        return not isinstance(self.transport, _NoTransport)

    def shown(self) -> asyncio.Transport:
        """What the program sees: ``current()``, or None where it has assigned that."""
        nothing: Any = None
        return nothing if self.shows_none else self.current()

    def current(self) -> asyncio.Transport:
        """The transport.  Raises AttributeError where there is none yet."""
        if not self.has_transport():
            raise AttributeError("there is no connection yet, and no transport")
        transport: asyncio.Transport = self.transport
        return transport

    def write(self, data: Data) -> None:
        """Send *data*, or keep it until the hook that runs is done; nothing, once it is closed.

        Raises TypeError where *data* is not bytes-like.
        """
        if self.gate.stops & SHUT:
            return
        if type(data) is not bytes:  # which may change meanwhile, and an int is no data
            data = as_bytes(data, "write() takes bytes")
        if self.gate.stops & (BUSY | TLS_BEGINS):
            self.take_replies()
            self.out.append(data)
            self.unsent_size += len(data)
            self.leave()
            self.bound_out()
        else:
            self.send(data)
            if not self.gate.stops & FULL:
                self.gate.heard = self.time()

    def bound_out(self) -> None:
        """Let output that waits here leave, or be full, so that ``is_full`` is true in a hook."""
        if self.gate.stops & TLS_BEGINS:
            if self.unsent_size > self.most_out and not self.gate.stops & FULL:
                self.pause_writing()
        elif self.unsent_size > self.piece:
            self.flush()

    def pause(self) -> None:
        """Read no more, and give no line to a hook.  Raises AttributeError as ``current()``."""
        self.current()
        if not self.gate.stops & GONE:
            self.gate.stops |= PAUSED
            self.deadlines.stop()
            self.stop_reading()

    def resume_reading(self) -> None:
        """Undo ``pause()``, if that was called.  Raises AttributeError as ``current()``."""
        self.current()
        if self.gate.stops & PAUSED:
            self.resume(PAUSED)

    def close(self) -> None:
        """Close when all is sent.  Raises AttributeError as ``current()``."""
        self.current()
        if not self.gate.stops & CLOSING:
            self.gate.stops |= CLOSING
            self.held.clear()
            if not self.gate.stops & (BUSY | GONE):
                self.close_now()

    def abort(self) -> None:
        """Close at once, and send nothing more.  Raises AttributeError as ``current()``."""
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

    def give_each(self, lines: list[bytes] | _Left) -> None:
        """Give *lines* to the hook for one line, until something stops that.

        That hook may be another one from the next line on.
        """
        if not self.gate.stops & BUSY:  # no hook for lines calls this, but the program
            self.run(partial(self.give_each, lines))
            return
        rest = lines.take() if isinstance(lines, _Left) else iter(lines)
        if not (self.left or self.gate.stops & STOPPED):
            protocol, add, gate = self.protocol, self.add, self.gate
            for line in rest:
                reply = protocol.line_received(line)
                if reply is not None:
                    add(reply)
                if self.unsent_size > _FLUSH:
                    self.flush()
                if gate.stops & STOPPED:
                    break
        if isinstance(lines, _Left):
            lines.extendleft(reversed(self.left))
            self.left = lines
        else:
            self.left.extend(rest)
        if self.left:
            self.gate.stops |= LEFT

    def run(self, call: Callable[[], Any]) -> Any:
        """*call* a hook that is not about lines; what it returns, or None where it raises."""
        is_outermost = not self.gate.stops & BUSY
        self.gate.stops |= BUSY
        result = None
        try:
            result = call()
            check_run(result)
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
        if self.left:
            if not self.gate.stops & CLOSING:
                self.held.appendleft(self.left)
            self.left = _Left()
        self.gate.stops &= ~(BUSY | LEFT)
        if self.gate.stops & CLOSING:
            if not self.gate.stops & GONE:
                self.close_now()
        elif self.held or not self.is_reading:
            self.resume(0)

    def fail(self, failure: BaseException) -> None:
        """A hook has raised: end this connection, and no other.

        Raises *failure* where it is no Exception, but what ends the program.
        """
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
        """Keep *data*, which no hook can have now, and read no more before ``go_on()``.

        It is not cut: many lines that are too long would each be reported in a turn of the loop,
        and more would come meanwhile.
        """
        if self.gate.stops & SHUT:
            return
        if self.has_transport():
            self.gate.heard = self.time()
            is_taken_over = self.transport.get_protocol() is not self.protocol
            if is_taken_over and self.held_before_layer is None:
                self.held_before_layer = self.holds_input()
        self.buffer.feed(data, 0)
        self.is_reading = True  # as uvloop does in spite of a pause in connection_made()
        self.stop_reading()

    def holds_input(self) -> bool:
        """Whether lines, or the beginning of one, wait here that no hook has seen."""
        return bool(self.held or self.left) or self.has_begun_line()

    def leave(self) -> None:
        """What is held, or in the way out, is looked for when the hook that runs is done."""
        if self.gate.stops & BUSY:
            self.gate.stops |= LEFT

    def overflow(self, failure: LineTooLong) -> None:
        """A read has shown that a line is too long."""
        self.hold_too_long(failure)
        self.go_on()

    def hold_too_long(self, failure: LineTooLong) -> None:
        """Keep what *failure* tells, and the lines before it, for the hooks."""
        self.gate.has_overflowed = True
        if failure.lines:
            self.held.append(failure.lines)
        self.held.append(failure)

    def resume(self, why: int) -> None:
        """*why* does no longer stop lines; when nothing else does, the loop goes on with them."""
        self.gate.stops &= ~why
        if not self.gate.stops:
            self.gate.stops = HELD
            self.deadlines.go_on()
            self.loop.call_soon(self.go_on)

    def go_on(self) -> None:
        """Give what is held to the hooks, then read on."""
        self.gate.stops &= ~HELD
        self.give_held()
        if self.gate.stops:
            return
        self.held_before_layer = None
        if not self.has_begun_line():
            self.gate.began = -1.0
        elif self.gate.began < 0:
            self.gate.began = self.time()
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
            self.gate.began = -1.0  # what waits behind it began later
            if isinstance(event, list):
                self.gate.give(event)
            elif isinstance(event, _Left):
                self.give_each(event)
            else:
                self.run(partial(self.report, event.prefix, event.size))

    def report(self, prefix: bytes, size: int) -> None:
        """Let the hook hear of a line of *size* bytes or more, which begins with *prefix*."""
        self.answer(self.protocol.line_too_long(prefix, size))

    def cut_rest(self) -> bool:
        """Cut input that waits uncut, up to a line that is too long; whether there was a line."""
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
        object.__setattr__(self.protocol, "unterminated", self.buffer.rest())
        self.gate.began = -1.0
        stays = self.run(lambda: type(self.protocol).eof_received(self.protocol))
        self.stays_open = bool(stays) and not self.is_tls()
        return self.stays_open

    def has_begun_line(self) -> bool:
        """Whether the beginning of a line waits, or a line that is too long goes on."""
        return len(self.buffer) > 0 or self.buffer.take(0) is None

    # Replies.

    def answer(self, reply: Reply) -> None:
        """Send *reply*, if it is one, when the hook is done.  Raises as ``add()`` does."""
        if reply is not None:
            self.add(reply)

    def add(self, reply: list[bytes] | bytes) -> None:
        """Send *reply* when the hook is done.

        Raises TypeError where it is none, and ValueError where a line has a delimiter inside.
        """
        self.gate.stops |= LEFT
        if isinstance(reply, bytes):
            self.replies.append(reply)
            self.unsent_size += len(reply)
            return
        if not isinstance(reply, list):
            raise not_a_reply(reply)
        data = self.join(reply)
        self.take_replies()
        self.out.append(data)
        self.unsent_size += len(data)

    def join(self, lines: Iterable[Data]) -> bytes:
        """The *lines* with the first delimiter behind each.  Raises ValueError as ``join()``."""
        return join(lines, (self.delimiter, *self.others))

    def take_replies(self) -> None:
        """Join the replies so far, since something else is sent behind them.

        Raises what ``join()`` does.
        """
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
            self.unsent_size = 0
            if data and not self.gate.stops & GONE:
                self.send(data)

    def send(self, data: Data) -> None:
        """Give *data* to the transport, which says by ``pause_writing()`` when it has enough."""
        if self.gate.stops & FULL:
            self.deadlines.output_size += len(data)
        self.transport.write(data)

    # Reading and closing.

    def stop_reading(self) -> None:
        """Let the transport read no more, until ``go_on()`` has given what is held."""
        if self.gate.stops & TLS_BEGINS:  # which reads; who changes the transport looks again
            return
        if self.is_reading and self.has_transport() and not self.transport.is_closing():
            self.is_reading = False
            self.leave()
            self.transport.pause_reading()

    def close_now(self) -> None:
        """Let the transport close when it has sent all."""
        self.gate.heard = self.time()
        if self.gate.stops & TLS_BEGINS:  # nothing can be sent in order
            self.abort()
        else:
            if (
                not self.transport.is_closing()
            ):  # asyncio's with TLS is of no use after a second one
                self.transport.close()
            self.deadlines.output_size = self.transport.get_write_buffer_size()
