"""What becomes of an exception that leaves a handler of a channel.

The rule: it goes to the channel's ``handle_error``.  What leaves ``handle_error``, or what that
calls, costs this channel only: one line is logged, the channel is closed, and it is taken out of
the map whatever its ``close`` does.  Two kinds leave the loop: the exceptions that ``asyncore``
names in ``_reraised_exceptions``, and any that leaves a ``handle_error`` which is not the stock
one, because a program that raises there wants that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from fastchat._core.family import Family
from fastchat._hangups import forget_hang_up, hang_up, is_closed, is_dispatcher, was_told


def safe_repr(channel: Any) -> str:
    """``repr(channel)``, also where it raises."""
    try:
        return repr(channel)
    except BaseException:
        return f"<__repr__(self) failed for object at {id(channel):0x}>"


def fail(family: Family, channel: Any, failure: BaseException) -> None:
    """Hand *failure*, which is being handled, to *channel*: as a hang-up, where it means one."""
    if isinstance(failure, OSError) and failure.errno in family.names["_DISCONNECTED"]:
        if not was_told(channel):
            _hang_up_or_fail(family, channel)
            return
        if is_closed(channel):
            return
    channel.handle_error()


def fail_to_answer(family: Family, channel: Any, map: Any, fd: int) -> None:
    """Hand the exception being handled, which a predicate of *channel* raised, to the channel."""
    if isinstance(sys.exc_info()[1], family.reraised()):
        raise
    contain(family, _handle_error, channel, map, fd)


def settle_failure(family: Family, channel: Any, map: Any, fd: int, is_poll2: bool) -> None:
    """Hand the exception being handled to *channel*, whose event the pass handed out itself."""
    failure = sys.exc_info()[1]
    assert failure is not None
    if isinstance(failure, family.reraised()):
        raise failure
    if is_poll2:
        contain(family, lambda channel: fail(family, channel, failure), channel, map, fd)
    else:
        contain(family, _call_handle_error, channel, map, fd)


def contain(
    family: Family, handler: Callable[..., Any], channel: Any, map: Any, fd: int, *args: Any
) -> None:
    """Call ``handler(channel, *args)``; where even its error handling fails, drop the channel.

    What leaves a ``handle_error`` of the program's own leaves here, too.
    """
    try:
        handler(channel, *args)
    except family.reraised():
        raise
    except BaseException:
        if _overrides_handle_error(family, channel):
            raise
        _quietly(family, lambda: channel.log_info(_failure_of(family, channel), "error"))
        drop(family, channel, map, fd)


def bury(family: Family, channel: Any, map: Any, fd: int) -> None:
    """Close a channel whose descriptor was closed behind its back."""
    try:
        contain(family, lambda channel: _tell_the_end(family, channel), channel, map, fd)
    finally:
        drop(family, channel, map, fd)


def drop(family: Family, channel: Any, map: Any, fd: int) -> None:
    """Take *channel* out of *map* for good, whatever its own ``close`` does or raises."""
    if map.get(fd) is channel:
        _quietly(family, lambda: channel.close())
    if map.get(fd) is channel:
        del map[fd]
        _quietly(family, lambda: channel.socket.close())


def _overrides_handle_error(family: Family, channel: Any) -> bool:
    """Whether *channel* has another ``handle_error`` than that of ``dispatcher``."""
    try:
        function = getattr(channel.handle_error, "__func__", None)
        return function is not family.error or "handle_error" in getattr(channel, "__dict__", ())
    except family.reraised():
        raise
    except BaseException:
        return False  # it has none at all, or is a weak proxy of what is gone


def _call_handle_error(channel: Any) -> None:
    channel.handle_error()


def _handle_error(channel: Any) -> None:
    """Hand the exception being handled to *channel*, as an event of its own."""
    forget_hang_up(channel)
    channel.handle_error()


def _tell_the_end(family: Family, channel: Any) -> None:
    """Tell *channel* that it is over, as ``readwrite`` does of a closed descriptor."""
    forget_hang_up(channel)
    _hang_up_or_fail(family, channel)


def _hang_up_or_fail(family: Family, channel: Any) -> None:
    """Tell *channel* that its connection is gone, and what that raises."""
    try:
        hang_up(channel)
    except family.reraised():
        raise
    except BaseException as failure:
        if is_dispatcher(channel):
            fail(family, channel, failure)
        else:  # nobody knows what it was told, and it is not to be told for ever
            channel.handle_error()


def _failure_of(family: Family, channel: Any) -> str:
    """One line about the exception being handled, which *channel* could not handle itself."""
    _, kind, value, where = family.names["compact_traceback"]()
    return (
        f"exception in error handling, dropping channel {safe_repr(channel)}"
        f" ({kind}:{value!s} {where})"
    )


def _quietly(family: Family, function: Callable[[], Any]) -> None:
    """Call *function* where its failure does not matter any more."""
    try:
        function()
    except family.reraised():
        raise
    except BaseException:
        pass
