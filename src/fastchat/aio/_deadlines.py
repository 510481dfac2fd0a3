"""The deadlines of a ``LineProtocol``: how long a connection may be idle, and a line take.

Rules this file keeps:

* They cost a look at the clock for each read.  One timer for each connection looks whether one has
  passed, and is set again for the next.
* Input that is there already when a deadline has passed counts.
* A peer that takes output, if slowly, is not idle.
* Whatever stops lines stops the time of the line that has begun, and gives it no new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastchat.aio._stops import CLOSING, FULL, GONE, PAUSED

if TYPE_CHECKING:
    import asyncio

    from fastchat.aio._link import Link

# The least and the most that a timer is set to, in seconds; infinity is too much for uvloop.
_TICK = 0.001
_DAY = 86400.0


class Deadlines:
    """Those of *link*, whose gate has the times of the loop that they count from."""

    def __init__(self, link: Link) -> None:
        self._link: Any = link
        self._idle_timeout: float | None = None
        self._line_timeout: float | None = None
        self._is_due = False  # one, when somebody looked last
        self.output_size = 0  # how many bytes of output waited then
        self._stopped_at: float | None = None  # when lines were, if they are
        self.timer: asyncio.TimerHandle | None = None

    def begin(self, protocol: Any) -> None:
        """Take the deadlines of *protocol*.  Raises ValueError where one is no seconds."""
        self._idle_timeout = _seconds_of(protocol, "idle_timeout")
        self._line_timeout = _seconds_of(protocol, "line_timeout")

    def end(self) -> None:
        """The connection is gone: look no more, and forget the link, which has this object."""
        if self.timer is not None:
            self.timer.cancel()
        self._link = None

    def stop(self) -> None:
        """No line can be given from now on."""
        if self._stopped_at is None:
            self._stopped_at = self._link.time()

    def go_on(self) -> None:
        """Lines can be given again: put off the deadlines by the time in which none could."""
        if self._stopped_at is None:
            return
        gate, now = self._link.gate, self._link.time()
        stopped = now - self._stopped_at
        self._stopped_at = None
        gate.heard = min(gate.heard + stopped, now)
        if gate.began >= 0:
            gate.began = min(gate.began + stopped, now)

    def set_timer(self) -> None:
        """Look again when a deadline may have passed that is the next, or begins meanwhile."""
        link = self._link
        if link is None or link.gate.stops & GONE:
            return
        limits = [each for each in (self._idle_timeout, self._line_timeout) if each is not None]
        if limits:
            now = link.time()
            dues = [due for due, _ in self._running()]
            at = min(dues + [now + each for each in limits])
            self.timer = link.loop.call_later(min(max(at - now, _TICK), _DAY), self.look)

    def look(self) -> None:
        """See whether a deadline has passed; tell the hook, or abort what was to close.

        Where one has, this looks again behind the input that may be there already: some loops call
        timers before they read.
        """
        try:
            self._look()
        finally:  # a transport that the program has closed twice may raise
            self.set_timer()

    def _look(self) -> None:
        link = self._link
        gate = link.gate
        now = link.time()
        output_size = link.transport.get_write_buffer_size()
        if output_size < self.output_size:
            gate.heard = now
        self.output_size = output_size
        due, which = min(self._running(), default=(now + 1, ""))
        was_due, self._is_due = self._is_due, due <= now
        if self._is_due and was_due:
            self._is_due = False
            if gate.stops & CLOSING:
                link.abort()
            else:
                gate.heard = now
                gate.began = now if gate.began >= 0 else -1.0
                link.run(lambda: link.answer(link.protocol.timed_out(which)))

    def _running(self) -> list[tuple[float, str]]:
        """When the deadlines that run now will have passed, and what they are called."""
        gate = self._link.gate
        found = []
        is_waiting = gate.stops & PAUSED and not gate.stops & (FULL | CLOSING)
        if self._idle_timeout is not None and not is_waiting:
            found.append((gate.heard + self._idle_timeout, "idle"))
        if self._line_timeout is not None and gate.began >= 0 and not gate.stops:
            found.append((gate.began + self._line_timeout, "line"))
        return found


def _seconds_of(protocol: Any, name: str) -> float | None:
    """The deadline *name* of *protocol*.  Raises ValueError where it is none."""
    seconds: Any = getattr(protocol, name)
    if seconds is not None and (isinstance(seconds, str) or not seconds > 0):
        raise ValueError(f"{name} must be seconds, more than 0, or None, not {seconds!r}")
    return None if seconds is None else float(seconds)
