"""One channel, one event: what is remembered of a channel so that each hears of its end once.

All calls of ``handle_close`` that the two modules make go through ``hang_up``.  What it remembers
stands in attributes of the channel, which begin with ``_fc_`` because programs put their own on
it, and which have their defaults on the class.  Whatever is no dispatcher is asked for none of
them, because its ``__getattr__`` may have an answer to every name, or fail; it is served as it was
in CPython 3.11.
"""

from __future__ import annotations

import sys
from errno import EBADF, ECONNABORTED, ECONNRESET, ENOTCONN, EPIPE, ESHUTDOWN
from typing import Any
from weakref import ProxyTypes

# Errors of recv() and send() that mean the connection is gone rather than that something broke, as
# long as no program puts another set in the place of asyncore's.
DISCONNECTED = frozenset({ECONNRESET, ENOTCONN, ESHUTDOWN, ECONNABORTED, EPIPE, EBADF})


def means_gone(channel: Any, failure: OSError) -> bool:
    """Whether *failure* of a call of the socket of *channel* means that the connection is gone."""
    core: dict[str, Any] | None = getattr(type(channel), "_fc_core", None)
    if core is None:  # something of a class of its own that borrows recv() or send()
        module = sys.modules.get("fastchat.asyncore")
        return failure.errno in getattr(module, "_DISCONNECTED", DISCONNECTED)
    return failure.errno in core["_DISCONNECTED"]


def hang_up(channel: Any) -> None:
    """Tell *channel* that its connection is gone, unless it was told and has closed."""
    if is_dispatcher(channel):
        if was_told(channel) and is_closed(channel):
            return
        sock = getattr(channel, "socket", None)
        _set_hung_up(channel, channel if sock is None else sock)
    channel.handle_close()


def forget_hang_up(channel: Any) -> None:
    """A new event begins: a channel that outlived a hang-up is told of the next."""
    if was_told(channel) and not is_closed(channel):
        _set_hung_up(channel, None)


def _set_hung_up(channel: Any, told_of: Any) -> None:
    """Remember of the end of what *channel* was told, None for nothing."""
    try:
        channel._fc_hung_up = told_of
    except AttributeError:
        pass
    state = getattr(channel, "_fc_state", None)
    if state is not None:  # the same for the hot path, which has the state at hand
        state.close_notified = told_of is not None


def was_told(channel: Any) -> bool:
    """Whether ``handle_close`` was called in this event, or before the channel closed."""
    return is_dispatcher(channel) and channel._fc_hung_up is not None


def is_closed(channel: Any) -> bool:
    """Whether *channel* was closed and has no new socket yet."""
    closed = dispatcher_attribute(channel, "_fc_closed")
    return closed is not None and closed is getattr(channel, "socket", None)


def is_dispatcher(channel: Any) -> bool:
    """Whether *channel* is a dispatcher, or a weak proxy of one.

    Raises ReferenceError where the dispatcher is gone.
    """
    kind = type(channel)
    if issubclass(kind, ProxyTypes):
        kind = channel.__class__  # of what it stands for
    # Neither isinstance() nor an attribute of the object, which would run code of the program's.
    # Not the class dispatcher either: there is another where a program imports the modules anew.
    return type(getattr(kind, "_fc_registration", None)) is int


def dispatcher_attribute(channel: Any, name: str) -> Any:
    """What *channel* keeps as *name*, None where it is no dispatcher."""
    return getattr(channel, name) if is_dispatcher(channel) else None


# What borrows the methods of dispatcher may have no room for an attribute (__slots__).  Nothing is
# called inside these try statements, not even setattr(): behind a call a signal handler may raise
# an AttributeError of its own.


def remember_closed(channel: Any, sock: Any) -> None:
    """Remember the socket that *channel* had when it closed; None when it joins again."""
    try:
        channel._fc_closed = sock
    except AttributeError:
        pass


def begin_to_rest(channel: Any, end: Any) -> bool:
    """Let *channel* accept nothing until *end*, in seconds of the clock of its loop.

    Returns whether it accepted something before.
    """
    is_first = not getattr(channel, "_fc_accept_failing", False)
    try:
        channel._fc_rest = end
        channel._fc_accept_failing = True
    except AttributeError:
        pass
    return is_first


def count_close(channel: Any) -> None:
    """Add one to how often *channel* was closed."""
    closes = closes_of(channel) + 1
    try:
        channel._fc_closes = closes
    except AttributeError:
        pass


def closes_of(channel: Any) -> int:
    """How often *channel* was closed."""
    closes: int = getattr(channel, "_fc_closes", 0)
    return closes
