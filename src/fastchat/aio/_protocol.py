"""``LineProtocol``: lines for hooks, whose return values are the replies.

Rules this file keeps:

* What a subclass overrides is a hook, and nothing depends on its calling ``super()``.  The methods
  that a transport calls under the same names are attributes of the object, which it finds first.
* All that is private is in one object, of ``_link.py``, under a name that is mangled: a subclass
  may use any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Self

from fastchat._core.line_rules import Data, Reply, check_one, check_several
from fastchat._misspelt import warn_of_names
from fastchat._reports import logger_of
from fastchat.aio import _changes
from fastchat.aio._link import Link
from fastchat.aio._stops import FULL

if TYPE_CHECKING:
    import ssl

logger = logger_of("aio")


# What a name in the body of a class may be meant to be.
_HOOKS = (
    *("connection_made", "line_received", "lines_received", "line_too_long", "timed_out"),
    *("eof_received", "connection_lost", "pause_writing", "resume_writing"),
)
_LIMITS = ("delimiter", "max_line", "high_water", "low_water", "idle_timeout", "line_timeout")


class LineProtocol(asyncio.Protocol):
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

    # What came behind the last delimiter, once the input has ended.
    unterminated: bytes = b""

    __link: Link

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Make a protocol that works, whatever its ``__init__`` does."""
        self = super().__new__(cls)
        object.__setattr__(self, "_LineProtocol__link", Link(self))  # also of a frozen dataclass
        return self

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises TypeError where a subclass overrides what no transport would find.

        Warns of a name in its body that is nearly a hook or a limit.
        """
        super().__init_subclass__(**options)
        for name in ("data_received", "get_buffer", "buffer_updated"):
            if getattr(cls, name, None) is not getattr(LineProtocol, name, None):
                raise TypeError(
                    f"{cls.__name__}.{name}() would never be called: "
                    "override line_received() or lines_received()"
                )
        warn_of_names(cls, LineProtocol, _HOOKS, _LIMITS)

    def __init__(self) -> None:
        """Take no arguments."""

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's transport, from ``connection_made()`` on; AttributeError before.

        None, where the program has assigned that before or after the connection.
        """
        return self.__link.shown()

    @transport.setter
    def transport(self, transport: asyncio.Transport | None) -> None:
        _changes.assign(self.__link, transport)

    # Hooks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hook: there is a connection, which ``self.transport`` is, too, with its exact type."""

    def line_received(self, line: bytes) -> Reply:
        """Hook: a line.  ``close()`` and ``pause_reading()`` in it stop before the next one."""
        raise NotImplementedError(
            f"{type(self).__name__} overrides neither line_received() nor lines_received()"
        )

    def lines_received(self, lines: list[bytes]) -> Reply:
        """Hook: the lines that one read has completed; gives each to ``line_received()``."""
        self.__link.give_each(lines)
        return None

    def line_too_long(self, prefix: bytes, size: int) -> Reply:
        """Hook: a line has *size* bytes or more, of which *prefix* are the first; it is dropped.

        Logs that, and closes.
        """
        peer = self.transport.get_extra_info("peername")
        logger.warning("%r sent a line of %d bytes or more, %r: closed", peer, size, prefix[:40])
        self.close()
        return None

    def timed_out(self, which: Literal["idle", "line"]) -> Reply:
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
        return bool(self.__link.gate.stops & FULL)

    def send_line(self, line: Data) -> None:
        """Send one line.  Raises what ``send_lines`` does."""
        check_one(line, "send_line()", "send_lines()")
        self.send_lines((line,))

    def send_lines(self, lines: Iterable[Data]) -> None:
        """Send *lines*, each with the delimiter behind it.

        Raises ValueError where a line has a delimiter inside, and TypeError where one is not bytes
        or the like.  Once the connection is closed they go nowhere, as those of ``write()``.
        """
        check_several(lines, "send_lines()")
        self.__link.write(self.__link.join(lines))

    def write(self, data: Data) -> None:
        """Send *data* as it is."""
        self.__link.write(data)

    # Control.

    def pause_reading(self) -> None:
        """Stop reading, and giving lines to hooks.  Deadlines stop, too."""
        self.__link.pause()

    def resume_reading(self) -> None:
        """Go on, from the loop: no hook is called before this returns."""
        self.__link.resume_reading()

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool, **options: Any
    ) -> None:
        """Go on over TLS, as the server or the client; returns when the handshake is done.

        The hook for the line that starts TLS calls ``pause_reading()``, and starts a task that
        calls this, then ``resume_reading()``.  What is sent meanwhile leaves behind the handshake.
        *options* are those of the loop's ``start_tls()``.

        Raises ConnectionAbortedError where the peer has sent plaintext behind that line, which
        would pass for protected; ConnectionResetError where the connection is closed; and what the
        loop raises for a handshake that fails.  The connection is aborted then.  Raises
        RuntimeError where a call of this runs already.
        """
        options["server_side"] = server_side
        await _changes.start_tls(self.__link, context, options)

    def detach(self) -> bytes:
        """Leave the connection to another protocol; returns the input that no hook was given.

        The hook for the line that asks for that calls ``pause_reading()``, and has the loop call
        what calls this, ``transport.set_protocol()`` and, with the rest, the other's
        ``data_received()``.  The transport does not read: ``transport.resume_reading()`` is for the
        caller.  No hook is called any more, ``connection_lost()`` neither.  Of several delimiters
        each line in the rest has the first.

        Raises RuntimeError in a hook and while TLS begins, ConnectionResetError where the
        connection is closed, LineTooLong or another ValueError where the rest is not whole because
        a line was too long.  Nothing has changed then.
        """
        return _changes.detach(self.__link)

    def close(self) -> None:
        """Close when all is sent.  In a hook that includes what it returns.  No line comes then.

        A peer that does not read is waited for as long as ``idle_timeout`` says.
        """
        self.__link.close()

    def abort(self) -> None:
        """Close at once; what is not sent is lost."""
        self.__link.abort()
