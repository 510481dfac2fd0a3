"""What happens to a ``LineChannel`` beside the ordinary way of its lines (``line_state.py``).

Each function does one thing to the ``LineState`` that it gets.  Those that call a hook end with
``settle``, which does what the hook has asked for.  The rules are those of ``line_state.py``.
"""

from __future__ import annotations

import logging
import math
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastchat._core.line_output import (
    add,
    bytes_of,
    check_output,
    drop_output,
    join,
    put_out,
    send_waiting,
    take_all,
)
from fastchat._core.line_stops import (
    BUSY,
    CLOSING,
    EXACT,
    FULL,
    GONE,
    HELD,
    LAST,
    LEFT,
    LINES,
    NESTED,
    OVER,
    PAUSED,
    RAW,
)
from fastchat._core.lines import LineTooLong, join_lines
from fastchat._core.pollers import READ, WRITE, is_ours
from fastchat._core.touch import touch

if TYPE_CHECKING:
    from fastchat._core.line_state import LineState

logger = logging.getLogger("fastchat.channel")

# What LineState calls as well.
__all__ = ["add", "bytes_of", "check_output", "join", "put_out", "take_all"]

# How much is received at once, and how much line_too_long() gets, in bytes.
_SIZE = 65536
_PREFIX = 1024
# How much is still received from a peer that goes on sending when the server stops, in bytes.
_MOST_AT_THE_END = 1 << 20


# Hooks.


def run(state: LineState, function: Callable[..., Any], *args: Any) -> None:
    """Call *function*, a hook that is not about lines, and send what it answers."""
    is_outermost = not state.stops & BUSY
    state.stops |= BUSY
    try:
        reply = function(*args)
        if reply is not None:
            state.add(reply)
        state.flush()
    except BaseException as failure:
        fail(state, failure)
    finally:
        if is_outermost:
            state.end_hook()
    if is_outermost:
        settle(state)


def fail(state: LineState, failure: BaseException) -> None:
    """A hook has raised *failure*, which is being handled: end this channel, and no other."""
    if isinstance(failure, state.agenda.family.reraised()):
        raise failure
    state.channel.handle_error()


def settle(state: LineState) -> None:
    """Do what a hook has asked for that is done, or what was left undone."""
    if state.stops & GONE:
        if not state.stops & LAST:
            finish(state)
        return
    if state.stops & CLOSING:
        if not state.has_shut:
            _close_now(state)
    elif not state.stops & (FULL | PAUSED) and has_input(state):
        state.requeue()
    sync(state)


def begin(state: LineState) -> None:
    """The connection is there."""
    state.has_begun = True
    state.heard = state.wrote = state.agenda.look()
    run(state, state.channel.connection_made)
    arm(state)


# Input.


def read_slowly(state: LineState) -> None:
    """There is input, and something stops the lines."""
    if state.stops & BUSY:
        state.stops |= NESTED | LEFT
        sync(state)
    elif state.stops & CLOSING:
        if state.receive() == b"":
            state.has_ended = True
            if state.has_shut:
                finish(state)
            else:
                sync(state)
    elif not state.has_begun:
        go_on(state)


def overflow(state: LineState) -> None:
    """The line that waits is too long, if no delimiter has begun: drop it, and say so.

    The buffer itself has no limit, so that nothing is dropped which a hook takes by another mode.
    """
    state.buffer.max_line = state.max_line
    try:
        state.buffer.feed(b"")
    except LineTooLong as failure:
        prefix, size = failure.prefix, failure.size
    else:
        return
    finally:
        state.buffer.max_line = sys.maxsize
    state.has_overflowed = True
    run(state, state.channel.line_too_long, prefix, size)


def has_input(state: LineState) -> bool:
    """Whether there may be something to give that was received."""
    is_over = state.is_ending or (state.has_ended and not state.has_told_end)
    return bool(state.held) or len(state.buffer) > 0 or is_over


def go_on(state: LineState) -> None:
    """Give the hooks what waits, as far as one pass may."""
    state.stops &= ~HELD
    if state.stops & BUSY:
        state.stops |= LEFT
        return
    if not state.has_begun and not state.stops & CLOSING:
        begin(state)
    left = state.lines_per_pass
    while not state.stops:
        if left <= 0:
            state.requeue()
        else:
            given = _give_some(state, left)
            if not given:
                break
            left -= given
    if state.stops:
        settle(state)
        return
    state.began = 0.0
    if state.is_ending:
        _say_goodbye(state)
    elif state.has_ended:
        _tell_the_end(state)
    elif state.mode == LINES and (len(state.buffer) or _is_skipping(state)):
        state.began = state.heard


def _give_some(state: LineState, most: int) -> int:
    """Give the hooks something, at most so many lines; returns how many, or 0 for nothing."""
    if state.mode != LINES:
        if state.held:
            take_back(state)
    elif not state.held and not state.cut(min(state.most, most)):
        size = len(state.buffer)
        if size > state.max_line:
            overflow(state)
        return 0
    if state.held:
        event = state.held[0]
        size, is_too_long = len(event), isinstance(event, tuple)
        # Without a call, behind which a signal handler could raise, until it is given.
        if size > most:
            state.held[0] = event[most:]
            event, size = event[:most], most
        else:
            del state.held[0]
        if is_too_long:
            run(state, state.channel.line_too_long, event[0][:_PREFIX], len(event[0]))
        else:
            state.give(event)
        return size
    data = state.buffer.rest() if state.mode == RAW else state.buffer.take(state.exact)
    if data is None or (state.mode == RAW and not data):
        return 0
    if state.mode == EXACT:
        state.mode = LINES
    run(state, state.channel.raw_received, data)
    return 1


def _is_skipping(state: LineState) -> bool:
    """Whether a line that is too long goes on."""
    state.has_overflowed = state.has_overflowed and state.buffer.take(0) is None
    return state.has_overflowed


def _tell_the_end(state: LineState) -> None:
    """The input has ended, and all of it was given, but what is no line."""
    if state.has_told_end:
        return
    state.has_told_end = True
    state.channel.unterminated = state.buffer.rest()
    stays = False

    def tell() -> None:
        nonlocal stays
        stays = bool(state.channel.eof_received())

    run(state, tell)
    if not stays:
        close(state)


def _keep_batch(state: LineState) -> None:
    """Hold what is left of the lines that ``line_received`` was to get."""
    lines, state.batch = state.batch, None
    if lines is not None and state.next_line < len(lines):
        state.keep_first(lines[state.next_line :])


def take_back(state: LineState) -> None:
    """Let the lines that were cut, and not given, be input again, since the mode changes."""
    _keep_batch(state)
    if state.held:
        lines = [line for each in state.held for line in each]
        state.held = None
        put_before(state, join_lines(lines, state.cut_by))


def put_before(state: LineState, data: bytes) -> None:
    """Let *data* be the next input."""
    rest = state.buffer.rest()
    state.buffer.feed(data + rest, 0)


# What methods of the channel do.


def set_delimiter(state: LineState, delimiter: bytes | tuple[bytes, ...]) -> None:
    """Let *delimiter* end what was not given yet."""
    take_back(state)
    state.buffer.delimiter = delimiter
    set_ending(state, delimiter)
    if state.has_begun:
        change(state)


def set_ending(state: LineState, delimiter: bytes | tuple[bytes, ...]) -> None:
    """Let *delimiter* end replies, or the first of several."""
    several = (delimiter,) if isinstance(delimiter, bytes) else delimiter
    state.delimiter, state.others = several[0], several[1:]
    if not state.stops & BUSY:
        state.cut_by = several[0]
    set_most(state)


def set_most(state: LineState) -> None:
    """Cut as many lines at once as can be taken back, when a hook changes the mode."""
    is_exact = state.is_batch or not state.others
    state.most = state.lines_per_pass if is_exact else 1


def change_mode(state: LineState, mode: int, size: int = 0) -> None:
    """Give what follows as *mode* says."""
    take_back(state)
    state.mode, state.exact = mode, size
    change(state)


def change(state: LineState) -> None:
    """What waits is to be given anew: now, or when the hook that runs is done."""
    state.has_changed = True
    if state.stops & BUSY:
        state.stops |= LEFT
    elif not state.stops & (CLOSING | FULL | PAUSED):
        state.requeue()


def unread(state: LineState, what: list[bytes] | bytes) -> None:
    """Let *what*, lines or bytes, come again, first."""
    if state.stops & CLOSING:
        return
    if isinstance(what, list):
        lines = list(what)
        data = join_lines(lines, state.cut_by)  # which raises where they cannot be lines
        if state.has_changed:
            take_back(state)
            put_before(state, data)
        elif lines:
            _keep_batch(state)
            state.keep_first(lines)
    else:
        take_back(state)
        put_before(state, bytes_of(what))
    change(state)


def pause(state: LineState) -> None:
    """Give no line, and read nothing."""
    state.stops |= PAUSED
    sync(state)


def resume(state: LineState) -> None:
    """Go on after ``pause``, in the next pass."""
    if state.stops & PAUSED:
        state.stops &= ~PAUSED
        state.heard = state.agenda.now
        if not state.stops & (BUSY | FULL) and has_input(state):
            state.requeue()
        sync(state)


# The end.


def write_event(state: LineState) -> None:
    """There is room for output."""
    send_waiting(state)
    if state.stops & GONE:
        return
    if state.stops & FULL and state.waiting <= state.low_water:
        state.stops &= ~FULL
        if not state.stops & (BUSY | PAUSED | CLOSING) and has_input(state):
            state.requeue()
    is_closing = state.stops & CLOSING and not state.stops & BUSY and not state.has_shut
    if is_closing and not state.waiting:
        _shut(state)
    sync(state)


def shut_down(state: LineState) -> None:
    """Read no more, answer all lines that were received in full, say goodbye, and close."""
    if state.stops & CLOSING or state.is_ending:
        return
    left = _MOST_AT_THE_END
    while left > 0 and not state.has_ended and (data := _receive_quietly(state)):
        state.buffer.feed(data, 0)
        left -= len(data)
    state.is_ending = True
    if state.stops & BUSY:
        state.stops |= LEFT
    elif not state.stops & (FULL | PAUSED):
        state.requeue()
    sync(state)


def _say_goodbye(state: LineState) -> None:
    run(state, state.channel.shutting_down)
    close(state)


def close(state: LineState) -> None:
    """Send what waits, then close; no further line is given to a hook."""
    if state.stops & CLOSING:
        return
    state.stops |= CLOSING
    state.held = None
    if state.stops & BUSY:
        state.stops |= LEFT
    else:
        _close_now(state)
        sync(state)


def _close_now(state: LineState) -> None:
    state.began = 0.0
    state.buffer.clear()
    if not state.waiting:
        _shut(state)


def _shut(state: LineState) -> None:
    """All is sent: say so, and read on until the peer has read it, so that nothing destroys it."""
    state.has_shut = True
    state.heard = state.agenda.look()
    try:
        state.sock.shutdown(socket.SHUT_WR)
    except OSError as failure:
        if not is_ours(failure):
            raise
        state.has_ended = True  # there is no connection any more
    if state.has_ended or state.linger_timeout <= 0:
        finish(state)
    else:
        arm(state)


def abort(state: LineState) -> None:
    """Close at once; what is not sent is lost, and so is what was not given."""
    state.stops |= CLOSING | GONE | LEFT
    drop_output(state)
    state.held = None
    if not state.stops & BUSY:
        finish(state)


def lose(state: LineState, failure: BaseException | None) -> None:
    """The connection is gone, by *failure* or in order."""
    if state.stops & GONE:
        return
    state.failure = failure
    state.stops |= GONE | LEFT
    drop_output(state)
    if not state.stops & BUSY:
        finish(state)


def finish(state: LineState) -> None:
    """Nothing can be sent any more: give what was received, and tell the end, once."""
    if state.stops & (OVER | BUSY | LAST):
        return
    channel = state.channel
    if not state.stops & CLOSING and state.has_begun:
        _give_the_last(state)
    state.stops |= OVER | CLOSING | GONE
    for timer in list(state.timers or ()):
        timer.cancel()
    if state.armed:
        state.armed = 0.0
        state.agenda.forget_one()
    drop_output(state)
    state.held = state.timers = None
    state.buffer.clear()
    channel._fc_leave()
    failure, state.failure = state.failure, None
    try:
        channel.connection_lost(failure)
    except BaseException as problem:
        if isinstance(problem, state.agenda.family.reraised()):
            raise
        logger.error("connection_lost() of %r has failed", channel, exc_info=problem)
    finally:
        state.channel = state.sock = None


def _give_the_last(state: LineState) -> None:
    """Give the hooks what came before the connection was lost."""
    state.stops = GONE | LAST
    if not state.has_ended and state.sock.fileno() >= 0:
        while data := _receive_quietly(state):
            state.buffer.feed(data, 0)
    while not state.stops & (CLOSING | BUSY) and _give_some(state, state.lines_per_pass):
        pass
    state.stops &= ~LAST


def _receive_quietly(state: LineState) -> bytes:
    try:
        data: bytes = state.sock.recv(_SIZE)
    except OSError as failure:
        if not is_ours(failure):
            raise
        return b""
    return data


# What to wait for, and how long.


def sync(state: LineState) -> None:
    """Let the loop wait for what can be dealt with now."""
    wants = 0
    if not state.stops & GONE:
        is_stopped = state.stops & (FULL | PAUSED) and not state.stops & CLOSING
        is_done = state.has_ended or (state.is_ending and not state.stops & CLOSING)
        if not (is_stopped or is_done or state.stops & NESTED):
            wants = READ
        if state.waiting:
            wants |= WRITE
    if wants != state.wants:
        state.wants = wants
        if not state.stops & OVER:
            touch(state.channel)


def arm(state: LineState) -> None:
    """Look again when the next deadline may have passed, or one that begins meanwhile."""
    if state.stops & OVER or not state.has_begun:
        return
    now = state.agenda.now
    limits = (state.idle_timeout, state.line_timeout, state.write_timeout)
    ends = [due for due, _ in _deadlines(state)]
    due = min(ends + [now + each for each in limits])
    if due < math.inf and not 0 < state.armed <= due:
        state.armed = due  # an entry for later is still in the heap, and is none any more
        state.agenda.add(state, due)


def _deadlines(state: LineState) -> list[tuple[float, str]]:
    """When the deadlines that run now will have passed, and what they are called."""
    found = []
    if state.has_shut:
        return [(state.heard + state.linger_timeout, "linger")]
    if state.waiting:
        found.append((state.wrote + state.write_timeout, "write"))
    if not state.stops & (CLOSING | PAUSED | FULL):
        found.append((state.heard + state.idle_timeout, "idle"))
        if state.began and not state.stops & HELD:
            found.append((state.began + state.line_timeout, "line"))
    return found


def look(state: LineState) -> None:
    """See whether a deadline has passed."""
    now = state.agenda.now
    due, which = min(_deadlines(state), default=(math.inf, ""))
    try:
        if due <= now and not state.stops & BUSY:
            state.heard = state.wrote = now
            state.began = now if state.began else 0.0
            if which == "linger":
                finish(state)
            elif state.stops & CLOSING:
                abort(state)
            else:
                run(state, state.channel.timed_out, which)
    finally:
        arm(state)
