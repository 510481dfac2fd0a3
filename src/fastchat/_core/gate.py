# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""The fast path of ``LineProtocol``: cut what was read, call a hook, and write its reply.

Rules this file keeps:

* It handles the case that nearly every read is.  Whatever stops lines, or is left by a hook, goes
  to the link, by its methods.
* ``stops`` is 0 when the next read may take that way; its bits are those of ``aio/_stops.py``, and
  here only that of a hook that runs has a meaning.
* It belongs to the thread of its event loop, as the transport does, and locks nothing.  ``_owner``
  and what else is an object changes when a connection is made, and at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastchat._core.line_rules import BUSY, LineTooLong

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from fastchat._core.lines import LineBuffer
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._scanner_py import join_checked


class Gate:
    """What a transport calls for input: *buffer* cuts it, and hooks of *owner* get the lines.

    *link* is a ``Link`` of ``aio/_link.py``.

    ``heard`` is when input came last, and ``began`` when the line that waits began or the one
    before it ended, -1 where none waits; both are times of the loop, which may begin at 0.  After
    the link has set ``has_overflowed`` a line that is too long may go on, which the link knows.
    """

    if not cython.compiled:
        __slots__ = (
            "_buffer",
            "_delimiter",
            "_is_plain",
            "_link",
            "_owner",
            "_time",
            "_write",
            "began",
            "has_overflowed",
            "heard",
            "stops",
        )

    def __init__(self, buffer: LineBuffer, owner: Any, link: Any) -> None:
        self._buffer: Any = buffer
        self._owner: Any = owner
        self._link: Any = link
        self._time: Any = None
        self._write: Any = None
        self._delimiter = b"\n"
        self._is_plain = False
        self.has_overflowed = False
        self.stops: int = 0
        self.heard: float = 0.0
        self.began: float = -1.0

    def open(
        self,
        time: Callable[[], float],
        write: Callable[[bytes], Any],
        delimiter: bytes,
        is_plain: bool,
    ) -> None:
        """There is a connection: *time* is the loop's clock, *write* sends.

        *delimiter* ends a reply; *is_plain* says that nothing else must not be in one.
        """
        self._time, self._write = time, write
        self._delimiter, self._is_plain = delimiter, is_plain

    def close(self) -> None:
        """The connection is gone: forget the owner and the link, which have this object."""
        self._owner = self._link = self._time = self._write = None

    def data_received(self, data: bytes) -> None:
        """Give the lines that *data* completes to the owner's hook."""
        if self.stops:
            if self._link is not None:
                self._link.hold(bytes(data))
            return
        now = self._time()
        self.heard = now
        try:
            lines = self._buffer.feed(data)
        except LineTooLong as failure:
            self._link.overflow(failure)
            return
        if lines:
            self.give(lines)
            waits = len(self._buffer) > 0 or (self.has_overflowed and self._link.has_begun_line())
            self.began = now if waits else -1.0
        elif self.began < 0.0:
            self.began = now

    def give(self, lines: list[bytes]) -> None:
        """Let the owner's hook have *lines*, and send what it answers."""
        self.stops |= BUSY
        try:
            reply = self._owner.lines_received(lines)
            if type(reply) is list and self.stops == BUSY and self._is_plain:
                if reply:
                    self._write(join_checked(reply, self._delimiter))
            elif reply is not None:
                self._link.add(reply)
        except BaseException as failure:
            self._link.fail(failure)
        if self.stops == BUSY:
            self.stops = 0
        else:
            self._link.settle()
