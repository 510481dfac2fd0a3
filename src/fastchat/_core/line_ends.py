"""How a ``LineChannel`` ends: in order, at once, or because its connection is gone.

Rules this file keeps, besides those of ``line_state.py``:

* ``lose`` and ``close`` call no hook, for they may be called in a hook of another channel.  The
  next pass, by ``end``, gives what was received before the connection was lost, and
  ``connection_lost``.  Only ``abort`` outside of a hook ends the channel at once.
* A channel that was closed, or is paused, is given no line, whatever becomes of its connection.
* Whatever leaves ``finish`` before ``connection_lost`` was called lets the next pass come back.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from fastchat._core.failures import drop
from fastchat._core.line_output import drop_output
from fastchat._core.line_stops import BUSY, CLOSING, FULL, GONE, LEFT, OVER, PAUSED, UNBEGUN
from fastchat._core.system import system_of
from fastchat._reports import logger_of

if TYPE_CHECKING:
    from fastchat._core.line_state import LineState

logger = logger_of("channel")

# How much is still received from a peer that goes on sending when the server stops, or has when
# its connection is lost, in bytes.
_MOST_AT_THE_END = 1 << 20
# What was sent so many seconds ago has arrived, unless the system knows better.
_QUIET = 1.0


def leaves(state: LineState, failure: BaseException) -> bool:
    """Whether *failure* is of those that leave the loop, which asyncore names."""
    return isinstance(failure, state.agenda.family.reraised())


# In order.


def tell_the_end(state: LineState) -> None:
    """The input has ended, and all of it was given, but what is no line."""
    if not state.has_told_end:
        state.channel.unterminated += state.buffer.rest()
        state.events.run(state, _tell_eof, state)
    if not state.stays_open:
        close(state)


def _tell_eof(state: LineState) -> None:
    hook = state.channel.eof_received
    state.has_told_end = True
    answer = hook()
    if not (answer is None or isinstance(answer, bool)):
        kind = type(answer).__name__
        raise TypeError(f"eof_received() returns whether to stay open, not {kind}: send() replies")
    state.stays_open = bool(answer)


def shut_down(state: LineState) -> None:
    """Read no more, answer all lines that were received in full, say goodbye, and close.

    Where no line is given now, what the socket has stays there until lines are given again.
    """
    if state.stops & CLOSING or state.is_ending:
        return
    if state.stops & (FULL | PAUSED):
        state.is_unread = not state.has_ended
    elif not state.has_ended:
        state.gather(_MOST_AT_THE_END)
        state.weigh()
    state.is_ending = True
    if state.stops & BUSY:
        state.stops |= LEFT
    elif not state.stops & (FULL | PAUSED):
        state.requeue()
    state.events.sync(state)


def say_goodbye(state: LineState) -> None:
    """All lines are answered that were received."""
    if state.is_unread:
        state.is_unread = False
        state.gather(_MOST_AT_THE_END)
        state.requeue()
        return
    if not state.has_said_goodbye:
        state.events.run(state, _say_goodbye, state)
    if state.owner is not None:
        state.owner.note_goodbye(state)
    close(state)


def _say_goodbye(state: LineState) -> Any:
    hook = state.channel.shutting_down
    state.has_said_goodbye = True
    return hook()


def close(state: LineState) -> None:
    """Send what waits, then close; no further line is given to a hook."""
    if state.stops & CLOSING:
        return
    if state.pid != os.getpid():  # the connection is that of the process that has forked
        abort(state)
        return
    state.stops |= CLOSING
    if state.stops & BUSY:
        state.stops |= LEFT
        return
    try:
        if state.stops & UNBEGUN:
            state.heard = state.wrote = state.agenda.look()
        if not state.stops & GONE:
            close_now(state)
        elif state.sock.fileno() < 0:  # it is about to be taken out of the map
            finish(state)
        if not state.stops & OVER:
            state.events.sync(state)
    except BaseException:
        state.requeue()
        raise


def close_now(state: LineState) -> None:
    """No hook runs: close once all is sent."""
    state.began = 0.0
    state.held = None
    state.buffer.clear()
    if state.waiting:
        state.events.arm(state)
    else:
        shut(state)


def close_overdue(state: LineState) -> None:
    """Close, because input did not come in time: see ``shut``."""
    state.is_overdue = True
    state.channel.close()


def shut(state: LineState) -> None:
    """All is sent: say so, and read on until the peer has read it, so that nothing destroys it.

    Who has let a deadline pass, and was sent nothing of late, is not waited for: else a client that
    sends a byte now and then, and never closes, would have its place for longer.
    """
    if not state.has_shut:
        state.heard = state.agenda.look()
        try:
            state.sock.shutdown(socket.SHUT_WR)
        except OSError as failure:
            if not state.is_of_socket(failure):
                raise
            state.has_ended = True  # there is no connection any more
        state.has_shut = True
    is_quiet = state.is_overdue and is_long_ago(state, state.wrote)
    if state.has_ended or state.linger_timeout <= 0 or is_quiet:
        lose(state, None)
    else:
        state.events.arm(state)


def is_long_ago(state: LineState, moment: float) -> bool:
    """Whether all that was sent until *moment* has arrived, so that nothing can destroy it.

    The kernel may have taken a reply whole, of which a slow peer has the least part.
    """
    is_late = state.agenda.now - moment > _QUIET
    return is_late and not system_of(state.channel._map).unsent(state.channel)


# At once.


def abort(state: LineState) -> None:
    """Close at once; what is not sent is lost, and so is what was not given."""
    state.stops |= CLOSING | GONE
    drop_output(state)
    state.held = None
    finish(state)


def time_out(state: LineState) -> None:
    """Close at once, because the peer takes nothing."""
    state.failure = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    abort(state)


# The connection is gone.


def lose(state: LineState, failure: BaseException | None) -> None:
    """The connection is gone, by *failure* or in order; a later pass ends the channel."""
    if state.stops & GONE:
        return
    state.failure = None if state.has_shut else failure  # what is sent then was sent in order
    state.stops = (state.stops | GONE) & ~FULL
    if not state.stops & BUSY:
        state.requeue()
    drop_output(state)
    state.events.sync(state)


def end(state: LineState) -> None:
    """Give what was received before the connection was lost, as far as one pass may; then end."""
    left = state.lines_per_pass
    while not state.stops & (CLOSING | PAUSED | UNBEGUN | OVER):
        if not state.has_ended and (state.is_unread or not state.is_ending):
            state.gather(_MOST_AT_THE_END)
            state.has_ended = True
        if left <= 0:
            state.requeue()
            return
        given = state.events.give_some(state, left)
        if not given:
            break
        left -= given
    finish(state)


def finish(state: LineState) -> None:
    """Give nothing any more, close, and tell that, once."""
    if state.stops & (OVER | BUSY):
        return
    try:
        _finish(state)
    except BaseException:
        state.requeue()
        raise


def _finish(state: LineState) -> None:
    channel = state.channel
    state.stops |= CLOSING | GONE
    for timer in list(state.timers or ()):
        timer.cancel()
    if state.armed:
        state.armed = 0.0
        state.agenda.forget_one()
    drop_output(state)
    state.held = state.timers = None
    state.buffer.clear()
    try:
        state.leave()
    except BaseException as problem:
        if leaves(state, problem):
            raise
        if state.tally is not None:
            state.tally.hook_errors += 1
        logger.error("connection_lost() of %r has failed", channel, exc_info=problem)


def leave_map(state: LineState) -> None:
    """Close the socket, and leave the map in any case, unless that is interrupted."""
    channel = state.channel
    fd, map = channel._fileno, channel._map
    try:
        channel._fc_leave()
    except BaseException as problem:
        if leaves(state, problem):
            raise
        logger.error("%r cannot be closed in order", channel, exc_info=problem)
        drop(state.agenda.family, channel, map, fd)
