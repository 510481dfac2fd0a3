"""Timers in asyncore's loop, and calls into it from other threads.

They belong to a map, and do not keep its loop running: that ends when the map is empty, as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# The agenda imports _reports where a call has failed, when no file may be opened any more.
from fastchat import _reports, asyncore  # noqa: F401
from fastchat._core import agenda
from fastchat._core.agenda import Timer

__all__ = ["Timer", "call_every", "call_later", "call_threadsafe"]

_family: Any = asyncore._family  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def call_later(seconds: float, function: Callable[..., Any], *args: Any, map: Any = None) -> Timer:
    """Let the loop over *map* call ``function(*args)`` in so many *seconds*.

    *map* is ``asyncore.socket_map`` by default.  The clock is ``time.monotonic()``.  What is to be
    called at one time is called in the order of the calls.  To be called in the thread of the loop.
    An exception that *function* raises is logged ("fastchat.loop"), and no other call hears of it.
    *seconds* below 0 count as 0.

    Raises TypeError where *seconds* is no number or *function* cannot be called, and ValueError
    where *seconds* is not finite.
    """
    return agenda.add_later(_map(map), _family, seconds, function, args)


def call_every(seconds: float, function: Callable[..., Any], *args: Any, map: Any = None) -> Timer:
    """As ``call_later``, again and again until the timer is cancelled, every so many *seconds*.

    The times do not drift; calls that a busy loop has missed are not made up for.  Raises as
    ``call_later`` does, and ValueError where *seconds* is below 0.001.
    """
    return agenda.add_every(_map(map), _family, seconds, function, args)


def call_threadsafe(function: Callable[..., Any], *args: Any, map: Any = None) -> None:
    """Let the loop over *map* call ``function(*args)`` soon, and end its wait.

    Any thread and any signal handler may call this.  Calls are made in order, in the loop, and
    wait for it where none runs.  On Windows, where a map has no registrations that are kept, and
    where no descriptor is left, they are made when the wait ends by itself.  Raises TypeError where
    *function* cannot be called.
    """
    agenda.add_call(_map(map), _family, function, args)


def _map(map: Any) -> Any:
    return asyncore.socket_map if map is None else map
