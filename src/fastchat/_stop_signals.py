"""SIGTERM and SIGINT for a server: the first stops it in order, the second at once.

Rules this file keeps:

* What was handled before is handled so again at the end.
* ``AtOnce`` is raised once, and inside the context only: nothing interrupts the end it begins.
* A child that was forked meanwhile has what was handled before.
* A signal that is ignored stays so: a shell has said that to what it runs in the background.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from fastchat._reports import logger_of

logger = logger_of("server")

STOPPING = (signal.SIGTERM, signal.SIGINT)


class AtOnce(SystemExit):
    """The second signal has come; ``code`` is 128 more than its number, as shells have it."""


class StopSignals:
    """A context in which the first of *numbers* calls *stop*, and the next raises ``AtOnce``.

    *stop* must be safe to be called by a signal handler.  Outside of the main thread nothing is
    handled, and a warning says so.
    """

    def __init__(self, stop: Callable[[], None], numbers: Iterable[int] = STOPPING) -> None:
        self._stop = stop
        self._numbers = tuple(numbers)
        self._before: list[tuple[int, Any]] = []
        self._is_stopping = False
        self._may_raise = False
        self._pid = 0

    def __enter__(self) -> StopSignals:
        self._pid = os.getpid()
        try:
            self._take_over()
        except BaseException:  # of a handler that was there before
            self._put_back()
            raise
        self._may_raise = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._may_raise = False
        try:
            self._put_back()
        except BaseException:  # the same
            self._put_back()
            raise

    def _take_over(self) -> None:
        for number in self._numbers:
            before = signal.getsignal(number)
            if before is None or before == signal.SIG_IGN:
                continue  # None: what is no Python's could not be put back
            # Noted before, for the first signal may be there already.
            self._before.append((number, before))
            try:
                signal.signal(number, self._handle)
            except ValueError as failure:
                if not _is_of_signal(failure):
                    raise
                logger.warning(
                    "this is not the main thread: SIGTERM and SIGINT do not stop the server here,"
                    " Server.stop() does"
                )
                self._before.pop()
                break

    def _put_back(self) -> None:
        for number, before in self._before:
            signal.signal(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._put_back()
            os.kill(os.getpid(), number)
        elif not self._is_stopping:
            self._is_stopping = True
            self._stop()
        elif self._may_raise:
            self._may_raise = False
            raise AtOnce(128 + number)


def _is_of_signal(failure: ValueError) -> bool:
    """Whether ``signal.signal`` has raised *failure*, and no handler that ran meanwhile."""
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals is vars(signal)
