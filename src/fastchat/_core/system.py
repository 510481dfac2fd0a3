"""The seam between a loop and the system: descriptors, waiting, and the clock.

Whatever a loop asks of the system while it makes passes, it asks of one object: the ``System`` of
its map.  All programs have ``REAL``.  A test gives a map another one, which may lead to a network
that does not exist (``_fc_system`` of the map, set before the first pass).

Rules this file keeps:

* What programs replace is looked at when it is needed: ``select`` and ``time`` in the globals of
  ``asyncore``, and the functions of the ``select`` module.
* The hot path does not come here.  Compiled code makes the system calls of epoll itself, where the
  poller is exactly ``Epoll``, which only ``REAL`` gives to a watch.
* What a system raises counts as the system's own error if its module is in ``OWN_MODULES`` of
  ``pollers.py``.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from typing import Any

from fastchat._core import pollers
from fastchat._core.pollers import is_ours, is_readable
from fastchat._core.touch import watches
from fastchat._core.waker import Waker

try:
    from fcntl import ioctl as _ioctl
    from termios import FIONREAD as _FIONREAD
    from termios import TIOCOUTQ as _TIOCOUTQ  # on Linux SIOCOUTQ, too: tcp(7)
except ImportError:  # Windows, which has no poll() either and so no use for them
    _ioctl = _FIONREAD = _TIOCOUTQ = None  # type: ignore[assignment,misc]  # pyright: ignore[reportGeneralTypeIssues]


class System:
    """The system as the interpreter has it.

    *names* are the globals of the ``asyncore`` that asks.
    """

    __slots__ = ()

    # Waiting.

    def kinds(self) -> tuple[Any, ...]:
        """The kinds of poller that there are now, the best first; none where none may be used."""
        return pollers.available()

    def has(self, kind: Any) -> bool:
        """Whether pollers of *kind* can be made now."""
        return hasattr(select, kind.name)

    def make(self, kind: Any) -> Any:
        """A new poller of *kind*; raises OSError where it needs a descriptor and none is left."""
        return kind()

    def without_a_set(self) -> Any:
        """A new poller that takes no descriptor of its own."""
        return pollers.without_a_set()

    def make_waker(self) -> Any:
        """What ends a wait; raises OSError where no descriptor is left."""
        return Waker()

    def select_module(self, names: dict[str, Any]) -> Any:
        """What has the functions ``select`` and ``poll`` for passes that keep nothing."""
        return names["select"]

    # Descriptors.

    def fstat(self, fd: int) -> Any:
        """The status of the file that has the number *fd*.

        Raises OSError where that is closed, ValueError or OverflowError where it is no number of
        a descriptor.
        """
        return os.fstat(fd)

    # Whether a descriptor has input, or a connection to take, at this moment.
    is_readable = staticmethod(is_readable)

    def refusal_of(self, fd: int) -> Any:
        """The class of the error that ``select`` makes of *fd*, or None."""
        return pollers.refusal_of(fd)

    def unread(self, channel: Any) -> int:
        """How many bytes wait in the kernel for *channel*; 0 where that cannot be told."""
        return self._told(channel, _FIONREAD)

    def unsent(self, channel: Any) -> int:
        """How many bytes that *channel* has sent the peer's kernel has not acknowledged.

        0 where that cannot be told: elsewhere than on Linux.  And 0 for a Unix socket, of which the
        peer has at once what was sent, and keeps it.
        """
        is_tcp = getattr(channel.socket, "family", None) in (socket.AF_INET, socket.AF_INET6)
        return self._told(channel, _TIOCOUTQ) if is_tcp and sys.platform == "linux" else 0

    def _told(self, channel: Any, request: Any) -> int:
        """The number that ioctl(2) tells of the descriptor of *channel*; 0 for none."""
        try:
            size = _ioctl(channel.socket.fileno(), request, b"\0\0\0\0")  # pyright: ignore[reportOptionalCall]
        except (OSError, AttributeError, TypeError, ValueError) as failure:
            if not is_ours(failure):
                raise
            return 0
        return int.from_bytes(size, sys.byteorder)

    # The clock.

    def monotonic(self, names: dict[str, Any]) -> float:
        """Seconds since some moment that does not change."""
        now: float = names["time"].monotonic()
        return now

    def sleep(self, names: dict[str, Any], seconds: Any) -> None:
        """Do nothing for *seconds*; raises what ``time.sleep`` does of a wrong number."""
        names["time"].sleep(seconds)


REAL = System()


def system_of(map: Any) -> Any:
    """The system of the loop over *map*."""
    # Of a class of the program's the map is not asked, because its __getattr__ may do anything.
    if hasattr(type(map), "_fc_system"):
        return map._fc_system
    watch = watches.get(id(map))
    return REAL if watch is None else watch.system
