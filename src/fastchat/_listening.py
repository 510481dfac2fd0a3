"""The listeners of a server: channels that take connections, and hand them on.

Rules this file keeps:

* A listener closes when the server says so, and not because of an error: then it rests.
* Where there are no descriptors, ``dispatcher.accept`` lets it rest for half a second, or until a
  connection of the server ends.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable
from typing import Any

from fastchat import asyncore
from fastchat._accepting import accept
from fastchat._binding import Bound
from fastchat._core.agenda import Timer, add_later
from fastchat._core.touch import touch
from fastchat._reports import logger_of

logger = logger_of("server")
_family: Any = asyncore._family  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

# How many connections are taken for one event.
AT_ONCE = 64
# How long a listener is left alone after an error, and after a line that says that there are no
# descriptors until the next one, in seconds.
_REST = 0.5
_SILENCE = 60.0
# What accept() says where nothing waits, and where no descriptor or memory is left.
_EMPTY = (errno.EAGAIN, errno.EWOULDBLOCK)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener(asyncore.dispatcher):
    """Serves the socket of *bound* in *map*; *take* gets each connection, and its address.

    *on_gone* is called when it was closed, by whomever.
    """

    _fc_rest: float | None  # of dispatcher, whose stub has nothing that is private

    def __init__(
        self,
        bound: Bound,
        map: Any,
        take: Callable[[Any, Any], None],
        on_gone: Callable[[], None],
    ) -> None:
        super().__init__(None, map)
        self.times_exhausted = 0
        self._bound = bound
        self._take = take
        self._on_gone = on_gone
        self._said_at = -math.inf
        self._rest: Timer | None = None
        self._is_suspended = False
        self.addr = bound.name

    def begin(self) -> None:
        """Join the map."""
        self.accepting = True
        self._bound.sock.setblocking(False)
        self.set_socket(self._bound.sock)

    def withdraw(self) -> None:
        """Leave the map, and the socket as it is: the server does not come to be."""
        self.accepting = False
        if self._fileno is not None:
            self.del_channel()

    def handle_accept(self) -> None:
        self.take_some(AT_ONCE)

    def take_some(self, most: int) -> None:
        """Take what waits, at most so many connections."""
        for _ in range(most):
            pair = self.accept()
            if pair is None:
                return
            self._take(*pair)
            if not self.accepting or self._is_suspended:
                return

    def take_backlog(self, most: int) -> bool:
        """Take what waits, at most so many connections; False where there is no room for one.

        Whatever becomes of one that waits, the others are taken.
        """
        problem: OSError | None = None
        for _ in range(most):
            if not self.accepting:
                break
            try:
                pair = accept(self.socket)
            except OSError as failure:
                if failure.errno in _EMPTY:
                    break
                if failure.errno in _EXHAUSTED:
                    self.log_info(f"cannot accept a connection on {self.addr}: {failure}", "error")
                    return False
                problem = failure
            else:
                self._take(*pair)
        if problem is not None:
            logger.error("some that waited on %s have gone: %s", self.addr, problem)
        return True

    def suspend(self) -> None:
        """Take no connection; those that come wait in the backlog."""
        self._is_suspended = True
        self._set_readable()

    def resume(self) -> None:
        """Go on after ``suspend``."""
        self._is_suspended = False
        self._set_readable()

    def end_shortage(self) -> None:
        """There may be a descriptor again."""
        if self._fc_rest is not None:
            self._fc_rest = None
            touch(self)

    def close(self) -> None:
        """Leave the map, and remove what belongs to the socket."""
        was_open = self.accepting
        if self._rest is not None:
            self._rest.cancel()
        super().close()
        self._bound.close()
        if was_open:
            self._on_gone()

    def handle_error(self) -> None:
        """It could not accept: say so, and try again later."""
        logger.error("cannot accept on %s for now", self.addr, exc_info=True)
        if self.accepting:
            self._rest = add_later(self._map, _family, _REST, self._end_rest, ())
            self._set_readable()

    def handle_close(self) -> None:
        """Somebody has shut the socket down."""
        try:
            logger.error("%s does not listen any more", self.addr)
        finally:
            self.close()

    def log_info(self, message: Any, type: str = "info") -> None:
        if type == "error":  # there are no descriptors, where there were some before
            self.times_exhausted += 1
            now = time.monotonic()
            if now - self._said_at >= _SILENCE:
                self._said_at = now
                logger.error("%s", message)

    def _end_rest(self) -> None:
        self._rest = None
        self._set_readable()

    def _set_readable(self) -> None:
        """Let the loop wait for connections, or not."""
        # On the object, so that it is asked on every pass only as long as it takes none.
        if self._is_suspended or self._rest is not None:
            self.__dict__["readable"] = _never
        else:
            self.__dict__.pop("readable", None)
        touch(self)


def _never() -> bool:
    return False
