"""``LineChannel``: lines for hooks, whose return values are the replies, in asyncore's loop.

Rules this file keeps:

* What a subclass overrides is a hook, and nothing depends on its calling ``super()``.
* The work is done in ``_core/line_state.py`` and ``_core/line_events.py``; here is what a program
  sees of it.  What a ``dispatcher`` calls by itself, ``handle_close`` and its kind, is no hook: a
  class that overrides it gets what it asks for, by a slower way.
* Limits are descriptors, which check what is assigned, and let it count at once.
"""

from __future__ import annotations

import errno
import logging
import os
import socket as _socket
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from fastchat import asyncore
from fastchat._core import line_events
from fastchat._core.agenda import Timer, add_later, agenda_for, function_of
from fastchat._core.line_limits import LIMITS, Defaults, Limit, declare, limits_of, take_over
from fastchat._core.line_rules import Reply, check_one, check_several
from fastchat._core.line_state import LineState
from fastchat._core.line_stops import EXACT, LINES, OVER, RAW, UNBEGUN
from fastchat._core.pollers import READ, WRITE
from fastchat._misspelt import warn_of_names
from fastchat._reports import logger_of
from fastchat._scanner_py import as_bytes

_Data: TypeAlias = bytes | bytearray | memoryview
_Socket: TypeAlias = _socket.socket

logger: logging.Logger = logger_of("channel")
_family: Any = asyncore._family  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

# What asyncore and asynchat call, and the loop of a LineChannel does not.
_NO_HOOKS = (
    *("handle_read", "handle_write", "handle_close", "handle_connect", "handle_accept"),
    *("handle_accepted", "recv", "collect_incoming_data", "found_terminator"),
)
# What a name in the body of a class may be meant to be.
_HOOKS = (
    *("connection_made", "line_received", "lines_received", "raw_received", "line_too_long"),
    *("timed_out", "eof_received", "shutting_down", "connection_lost"),
)


class LineChannel(asyncore.dispatcher):
    """Lines from one connection, and replies to them; to be derived from.

    *sock* is a connected socket, or None (then call ``create_socket`` and ``connect``); *map* is
    the map to join, ``asyncore.socket_map`` by default.

    Override ``line_received`` or ``lines_received``.  What a hook returns is the reply: a list of
    bytes is one line each, bytes are one line, None is nothing.  Delimiters are taken off lines,
    and put behind replies.  The class attributes below are the limits.  They can be assigned on a
    channel, too, and count from then on; a wrong one raises TypeError or ValueError, which names
    it, also in the body of a class.  A name there that is nearly one of them, or of the hooks, gets
    a UserWarning.

    An exception in a hook goes to ``handle_error``, which logs it and aborts the connection.  All
    methods belong to the thread of the loop; ``call_threadsafe`` is the way there.
    """

    if TYPE_CHECKING:  # a subclass assigns plain values, which become descriptors
        # What ends a line; a reply ends with the first of several.
        delimiter: bytes | tuple[bytes, ...]
        # The most bytes of a line, its delimiter not counted.
        max_line: int | None
        # The most lines that hooks get before other channels have their turn.
        lines_per_pass: int | None
        # The most bytes that receive_exactly() takes.
        max_body: int | None
        # How many bytes of output wait before no further line is read or given to a hook, and how
        # few before that goes on.
        high_water: int | None
        low_water: int | None
        # With how many waiting bytes the connection is aborted.
        max_output: int | None
        # Seconds without input or output; from the first byte of a line to its delimiter, and in
        # which 64 KiB of a body come; in which the peer takes none of the output that waits; and
        # that its input is read after close().
        idle_timeout: float | None
        line_timeout: float | None
        write_timeout: float | None
        linger_timeout: float | None
    else:
        delimiter = Limit("delimiter", b"\r\n")
        max_line = Limit("max_line", 65536)
        lines_per_pass = Limit("lines_per_pass", 256)
        max_body = Limit("max_body", 16 * 2**20)
        high_water = Limit("high_water", 256 * 1024)
        low_water = Limit("low_water", 64 * 1024)
        max_output = Limit("max_output", 8 * 2**20)
        idle_timeout = Limit("idle_timeout", 300.0)
        line_timeout = Limit("line_timeout", 60.0)
        write_timeout = Limit("write_timeout", 60.0)
        linger_timeout = Limit("linger_timeout", 5.0)

    # What came behind the last delimiter, once the input has ended.
    unterminated: bytes = b""

    _fc_line: LineState
    _fc_socket: Any
    _fc_defaults: Defaults | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in LIMITS:
            declare(cls, name)
        for name in _NO_HOOKS:
            if getattr(cls, name, None) is not getattr(LineChannel, name, None):
                raise TypeError(
                    f"{cls.__name__}.{name}() would not be called: a LineChannel has other hooks, "
                    "as line_received() and connection_lost()"
                )
        is_batch = cls.lines_received is not LineChannel.lines_received
        if is_batch and "line_received" in vars(cls) and "lines_received" not in vars(cls):
            raise TypeError(
                f"{cls.__name__}.line_received() would not be called, for a base has "
                "lines_received(): override that, too"
            )
        warn_of_names(cls, LineChannel, _HOOKS, LIMITS)

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """Make a channel that has its limits, whatever its ``__init__`` does."""
        self = super().__new__(cls)
        self._fc_socket = None
        self._fc_new_state()
        return self

    def _fc_new_state(self) -> None:
        """Keep what is kept for one connection anew, with the limits of the class."""
        cls = type(self)
        self._fc_line = state = LineState(self, line_events)
        limits = limits_of(self)
        if cls._fc_defaults is None or cls._fc_defaults.limits != limits:
            cls._fc_defaults = Defaults(limits)
        state.is_batch = cls.lines_received is not LineChannel.lines_received
        cls._fc_defaults.give_to(state)

    def __init__(self, sock: _Socket | None = None, map: Any = None) -> None:
        super().__init__(sock, map)
        if self.connected:
            self._fc_line.requeue()

    # Hooks.

    def connection_made(self) -> Reply:
        """Hook: there is a connection; ``addr`` is its peer."""
        return None

    def line_received(self, line: bytes) -> Reply:
        """Hook: a line.

        ``close()``, ``pause_reading()`` and a change of mode in it stop before the next line.
        """
        raise NotImplementedError(
            f"{type(self).__name__} overrides neither line_received() nor lines_received()"
        )

    def lines_received(self, lines: list[bytes]) -> Reply:
        """Hook: the lines that one read has completed, at most ``lines_per_pass``.

        A class that has it gets no ``line_received()``.  What it has not used when it changes the
        mode, it gives back by ``unread()``.
        """
        raise NotImplementedError(f"{type(self).__name__} overrides no lines_received()")

    def raw_received(self, data: bytes) -> Reply:
        """Hook: input that is no line, after ``receive_exactly()`` or ``read_raw()``."""
        raise NotImplementedError(f"{type(self).__name__} overrides no raw_received()")

    def line_too_long(self, prefix: bytes, size: int) -> Reply:
        """Hook: a line has *size* bytes or more, of which *prefix* are the first; it is dropped.

        Logs that, and closes.
        """
        logger.warning(
            "%r sent a line of %d bytes or more, %r: closed", self.addr, size, prefix[:40]
        )
        self.close()
        return None

    def timed_out(self, which: str) -> Reply:
        """Hook: a deadline has passed, ``"idle"``, ``"line"`` or ``"write"``.

        Closes, without lingering where nothing that was sent may be on its way, or aborts where the
        peer does not read.  After an override that does neither, the deadline begins anew.
        """
        if which == "write":
            line_events.time_out(self._fc_line)
        else:
            line_events.close_overdue(self._fc_line)
        return None

    def eof_received(self) -> bool | None:
        """Hook: the peer sends no more; ``unterminated`` has what was no line.

        Where it returns True the connection stays open for output.
        """
        return None

    def shutting_down(self) -> Reply:
        """Hook: the server stops, and this connection is closed when the reply is sent."""
        return None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Hook: the connection is gone, by *exc* or else in order.  It comes once, and last."""

    # Output.

    @property
    def waiting(self) -> int:
        """How many bytes of output wait."""
        return self._fc_line.waiting

    def send(self, data: _Data) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Send *data* as it is.  Once the channel is closed that goes nowhere.

        Raises TypeError where it is not bytes-like, OSError (ENOTCONN) before there is a socket.
        """
        state = self._fc_line
        if type(data) is not bytes:
            data = as_bytes(data, "send() takes bytes")
        if state.agenda is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        line_events.put_out(state, data)

    def send_line(self, line: _Data) -> None:
        """Send one line.  Raises what ``send_lines`` does."""
        if type(line) is not bytes:
            check_one(line, "send_line()", "send_lines()")
        self.send_lines((line,))

    def send_lines(self, lines: Iterable[_Data]) -> None:
        """Send *lines*, each with the delimiter behind it.

        Raises ValueError where a line has a delimiter inside, TypeError where one is not
        bytes-like, and what ``send()`` does.
        """
        check_several(lines, "send_lines()")
        self.send(line_events.join(self._fc_line, lines))

    # Input.

    def unread(self, what: list[bytes] | bytes) -> None:
        """Let *what*, lines or bytes, be the next input, before all that waits.

        Lines get the (first) delimiter behind them, where they are to be anything but lines.
        Raises what ``send_lines()`` does.
        """
        line_events.unread(self._fc_line, what)

    def receive_exactly(self, size: int) -> None:
        """Give the next *size* bytes to ``raw_received()``, in one piece; then lines again.

        From the first of them on, 64 KiB, or all the rest, have to come in each ``line_timeout``.
        Raises TypeError where that is no int, ValueError where it is negative or above
        ``max_body``.
        """
        limit = self._fc_line.max_body
        if type(size) is not int:
            raise TypeError(f"receive_exactly() wants an int, not {type(size).__name__}")
        if not 0 <= size <= limit:
            raise ValueError(f"receive_exactly() takes 0 to {limit} bytes (max_body), not {size}")
        line_events.change_mode(self._fc_line, EXACT, size)

    def read_raw(self) -> None:
        """Give all that follows to ``raw_received()``, as it comes."""
        line_events.change_mode(self._fc_line, RAW)

    def read_lines(self) -> None:
        """Give lines again, also of what was received already."""
        line_events.change_mode(self._fc_line, LINES)

    def pause_reading(self) -> None:
        """Stop reading, and giving lines to hooks.  The deadlines of input stop, too."""
        line_events.pause(self._fc_line)

    def resume_reading(self) -> None:
        """Go on, in the next pass: no hook is called before this returns."""
        line_events.resume(self._fc_line)

    # Control.

    def close(self) -> None:
        """Close when all is sent.  In a hook that includes what it returns.  No line comes then.

        What the peer still sends is read and dropped for up to ``linger_timeout``, so that it does
        not destroy what is on its way.
        """
        if self._fc_line.agenda is None:
            self._fc_leave()
        else:
            line_events.close(self._fc_line)

    def abort(self) -> None:
        """Close at once; what is not sent is lost.

        ``connection_lost()`` comes before this returns, or when the hook that runs is done.
        """
        if self._fc_line.agenda is None:
            self._fc_leave()
        else:
            line_events.abort(self._fc_line)

    def shut_down(self) -> None:
        """Close when all lines are answered that were received in full, as a server that stops.

        Nothing more is read; what ``shutting_down()`` returns is sent last.
        """
        state = self._fc_line
        if state.agenda is None or state.stops & UNBEGUN:
            self.close()
        else:
            line_events.shut_down(state)

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> Timer:
        """Let the loop call ``function(*args)`` in so many *seconds*, if the channel is there.

        Raises what ``fastchat.call_later()`` does, OSError (ENOTCONN) once the channel is closed.
        """
        state = self._fc_line
        if state.agenda is None or state.stops & OVER:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        function_of(function)
        if state.timers is None:
            state.timers = set()

        def without_reply() -> None:
            function(*args)

        what = (state, without_reply)
        return add_later(state.agenda.map, _family, seconds, line_events.run, what, state.timers)

    # What the loop and dispatcher call.

    @property
    def socket(self) -> Any:
        """The socket, None before there is one.  Another one that is assigned counts at once."""
        return self._fc_socket

    @socket.setter
    def socket(self, sock: Any) -> None:
        secure = getattr(sys.modules.get("ssl"), "SSLSocket", None)  # None blocks an import
        if secure is not None and isinstance(sock, secure):
            raise TypeError("a LineChannel cannot speak TLS: let a TLS proxy stand before it")
        self._fc_socket = sock
        if not self._fc_line.stops & OVER:
            self._fc_line.sock = sock

    def set_socket(self, sock: Any, map: Any = None) -> None:
        if self._fc_line.stops & OVER:  # it connects again
            before = self._fc_line
            self._fc_new_state()
            take_over(self._fc_line, before)
            self.unterminated = b""
        self.socket = sock
        state = self._fc_line
        state.agenda = agenda_for(self._map if map is None else map, _family)
        state.pid = os.getpid()
        state.agenda.is_used = True
        super().set_socket(sock, map)

    def listen(self, num: int) -> None:
        """Raises TypeError: a LineChannel is a connection."""
        raise TypeError("a LineChannel is one connection: let an asyncore.dispatcher listen")

    def add_channel(self, map: Any = None) -> None:
        """As of ``dispatcher``; raises ValueError where *map* is not the one it was made for."""
        agenda = self._fc_line.agenda
        if map is not None and agenda is not None and map is not agenda.map:
            raise ValueError("a LineChannel stays in its map, where its deadlines are")
        super().add_channel(map)

    def readable(self) -> bool:
        """Whether to wait for input."""
        return self._fc_line.wants & READ != 0

    def writable(self) -> bool:
        """Whether to wait for room for output."""
        state = self._fc_line
        return (state.stops & UNBEGUN != 0 and not self.connected) or state.wants & WRITE != 0

    def handle_read_event(self) -> None:
        """There is input."""
        state = self._fc_line
        if state.agenda is not None:
            state.agenda.look()
            state.read_event()

    def handle_write_event(self) -> None:
        """There is room for output, or the connection is there."""
        self._fc_line.agenda.look()
        line_events.write_event(self._fc_line)

    def handle_connect_event(self) -> None:
        """The connection is there, or cannot be had."""
        number = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if not number and not line_events.has_peer(self._fc_line):
            number = errno.ENOTCONN  # for what connect() raised the socket does not tell again
        if number:
            line_events.lose(self._fc_line, OSError(number, os.strerror(number)))
        else:
            self.connected, self.connecting = True, False
            self._fc_line.requeue()  # for this may be called by connect()

    def handle_close(self) -> None:
        """The connection is gone."""
        state = self._fc_line
        number = errno.EBADF
        if self.socket.fileno() >= 0:
            number = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if not number and not self.connected and state.stops & UNBEGUN:
            number = errno.ENOTCONN
        if not number and state.waiting:
            number = errno.ECONNRESET
        line_events.lose(state, OSError(number, os.strerror(number)) if number else None)
        state.go_on()

    def handle_error(self) -> None:
        """An exception left a hook: log it, and abort the connection."""
        state = self._fc_line
        if not state.stops & OVER:
            logger.error(
                "a hook of %s for %r has raised, and its connection is aborted",
                *(type(self).__name__, self.addr),
                exc_info=True,
            )
            state.failure = sys.exc_info()[1]
            line_events.abort(state)

    def _fc_leave(self) -> None:
        """Leave the map and close the socket."""
        state = self._fc_line
        owner, state.owner = state.owner, None
        if owner is not None:
            owner.left(state)
        super().close()


_family.line_stock = (
    LineChannel.readable,
    LineChannel.writable,
    LineChannel.handle_read_event,
    LineChannel.handle_write_event,
)
_family.line_state = LineState
