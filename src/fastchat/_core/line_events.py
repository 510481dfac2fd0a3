"""What happens to a ``LineChannel`` beside the ordinary way of its lines (``line_state.py``).

Each function does one thing to the ``LineState`` that it gets.  Those that call a hook end with
``settle``, which does what the hook has asked for.  The rules are those of ``line_state.py``.
"""

from __future__ import annotations

import math
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastchat._core.line_ends import (
    abort,
    close,
    close_now,
    close_overdue,
    end,
    finish,
    leave_map,
    leaves,
    lose,
    say_goodbye,
    shut,
    shut_down,
    tell_the_end,
    time_out,
)
from fastchat._core.line_output import (
    add,
    check_output,
    join,
    keep_good,
    put_out,
    seal,
    send_waiting,
    take_all,
)
from fastchat._core.line_stops import (
    BUSY,
    CLOSING,
    DONE,
    EXACT,
    FULL,
    GONE,
    HELD,
    LEFT,
    LINES,
    NESTED,
    OVER,
    PAUSED,
    RAW,
    UNBEGUN,
)
from fastchat._core.lines import LineBuffer, join_lines
from fastchat._core.pollers import READ, WRITE
from fastchat._core.touch import touch
from fastchat._reports import logger_of
from fastchat._scanner_py import as_bytes, check_line

if TYPE_CHECKING:
    from fastchat._core.line_state import LineState

logger = logger_of("channel")

# What LineState, the files below this one and LineChannel call as well.
__all__ = [
    "abort",
    "add",
    "check_output",
    "close",
    "close_overdue",
    "finish",
    "join",
    "keep_good",
    "leave_map",
    "lose",
    "put_out",
    "shut_down",
    "take_all",
    "time_out",
]

# How much of a line line_too_long() gets, in bytes.
_PREFIX = 1024
# How much of a body has to come in ``line_timeout``, in KiB, unless the rest is less.
_SHARE = 64
# Beside the flags of a poller: that the loop may not know what is wanted.
_UNKNOWN = 1 << 16


# Hooks.


def run(state: LineState, function: Callable[..., Any], *args: Any) -> None:
    """Call *function*, a hook that is not about lines, and send what it answers."""
    try:
        _run(state, function, *args)
    except BaseException:
        state.requeue()
        raise


def _run(state: LineState, function: Callable[..., Any], *args: Any) -> None:
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
            state.stops &= DONE
            state.end_hook()
    if is_outermost:
        settle(state)


def fail(state: LineState, failure: BaseException) -> None:
    """A hook has raised *failure*, which is being handled: send what was answered before."""
    try:
        state.flush()
    except BaseException as earlier:
        contain(state, earlier)
    contain(state, failure)


def contain(state: LineState, failure: BaseException) -> None:
    """End this channel, and no other, because of *failure*, which is being handled."""
    channel = state.channel
    if leaves(state, failure):
        state.requeue()
        raise failure
    if state.tally is not None:
        state.tally.hook_errors += 1
    try:
        channel.handle_error()
    except BaseException as worse:
        if leaves(state, worse):
            state.requeue()
            raise
        try:
            logger.error("handle_error() of %r has failed", channel, exc_info=worse)
        finally:  # a handler of logging may be what fails, and leaves the loop
            abort(state)


def settle(state: LineState) -> None:
    """Do what a hook has asked for that is done, or what was left undone."""
    if state.stops & GONE:
        if state.stops & CLOSING:
            finish(state)
        else:
            state.requeue()
        return
    if state.stops & CLOSING:
        close_now(state)
    else:
        if not state.stops & (FULL | PAUSED) and has_input(state):
            state.requeue()
        state.mark_begun()
    sync(state)


def begin(state: LineState) -> None:
    """The connection is there."""
    state.stops &= ~UNBEGUN
    state.heard = state.wrote = state.agenda.look()
    arm(state)
    run(state, state.channel.connection_made)


def look_for_peer(state: LineState) -> None:
    """There is an event of a socket that had no connection so far."""
    channel = state.channel
    if channel.connecting:
        channel.handle_connect_event()
        return
    try:
        channel.addr = channel.socket.getpeername()
    except OSError as failure:
        if not state.is_of_socket(failure):
            raise
        # A peer that has reset the connection before it was accepted is one that was there.
        number = channel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        lose(state, OSError(number, os.strerror(number)) if number else failure)
    else:
        channel.connected = True
        state.requeue()


def has_peer(state: LineState) -> bool:
    """Whether there is a connection, also one that is gone already."""
    try:
        state.channel.socket.getpeername()
    except OSError as failure:
        if not state.is_of_socket(failure):
            raise
        return False
    return True


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
    elif state.stops & UNBEGUN:
        if state.channel.connected:
            go_on(state)
        else:
            look_for_peer(state)


def overflow(state: LineState) -> None:
    """The line that waits is too long, if no delimiter has begun: drop it, and say so."""
    failure = state.drop_long(b"")
    if failure is not None:
        tell_long(state, failure.prefix, failure.size)


def tell_long(state: LineState, prefix: bytes, size: int) -> None:
    """A line of *size* bytes was dropped, which begins with *prefix*."""
    if state.tally is not None:
        state.tally.lines_too_long += 1
    run(state, state.channel.line_too_long, prefix, size)


def has_input(state: LineState) -> bool:
    """Whether there may be something to give that was received."""
    is_over = state.is_ending or (state.has_ended and not state.has_told_end)
    is_long = state.mode == LINES and len(state.buffer) > state.max_line
    return bool(state.held) or state.has_uncut() or is_over or is_long


def go_on(state: LineState) -> None:
    """Give the hooks what waits, as far as one pass may."""
    state.stops &= ~HELD
    if state.stops & BUSY:
        state.stops |= LEFT
        return
    state.end_hook()  # again, where that was interrupted
    if state.stops & GONE:
        end(state)
        return
    if state.stops & UNBEGUN and not state.stops & CLOSING:
        if not state.channel.connected:
            return
        begin(state)
    left = state.lines_per_pass
    while not state.stops & ~HELD:  # a hook may have asked for the next pass, but this one goes on
        if left <= 0:
            state.requeue()
            break
        given = give_some(state, left)
        if not given:
            break
        left -= given
    if state.stops:
        settle(state)
        return
    state.mark_begun()
    if state.is_ending:
        say_goodbye(state)
    elif state.has_ended:
        tell_the_end(state)
    sync(state)


def give_some(state: LineState, most: int) -> int:
    """Give the hooks something, at most so many lines; returns how many, or 0 for nothing."""
    if state.mode != LINES:
        if state.held:
            take_back(state)
        if state.held:  # until a line has ended that is being dropped
            return 0
    elif not state.held and not state.cut(most):
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
        state.began = 0.0
        if is_too_long:
            tell_long(state, event[0][:_PREFIX], len(event[0]))
        else:
            state.give(event)
        return size
    return 1 if state.give_raw() else 0


def take_back(state: LineState) -> None:
    """Let the lines that were cut, and not given, be input again, since the mode changes."""
    state.keep_batch()
    if state.held:
        put_before(state, b"")
        state.most = 1  # who changes the mode once may do so for each line


def recut(state: LineState) -> None:
    """Another limit of lines counts, also for those that were cut, and not given."""
    take_back(state)
    if has_input(state):
        change(state)


def put_before(state: LineState, data: bytes) -> None:
    """Let *data* be the next input, and what is held after it."""
    if state.held:
        data += join_lines([line for each in state.held for line in each], state.cut_by)
    if not state.is_skipping() or state.mode == RAW:
        state.put_back(data)
        return
    # A line is being dropped, and what is no line of its own in front of it is part of it.
    lines = LineBuffer(state.buffer.delimiter, max_line=sys.maxsize).feed(data)
    longest = state.max_line
    state.held = deque([(line,) if len(line) > longest else [line] for line in lines])


# What methods of the channel do.


def set_delimiter(state: LineState, delimiter: bytes | tuple[bytes, ...]) -> None:
    """Let *delimiter* end what was not given yet."""
    take_back(state)
    state.buffer.delimiter = delimiter
    set_ending(state, delimiter)
    if has_input(state):
        state.most = 1  # as in take_back()
    change(state)


def set_ending(state: LineState, delimiter: bytes | tuple[bytes, ...]) -> None:
    """Let *delimiter* end replies, or the first of several."""
    seal(state)
    several = (delimiter,) if isinstance(delimiter, bytes) else delimiter
    state.delimiter, state.others = several[0], several[1:]
    if not state.stops & BUSY:
        state.cut_by = several[0]
    set_most(state)


def set_most(state: LineState) -> None:
    """Cut as many lines at once as can be taken back, when a hook changes the mode."""
    state.most = state.most_ever()


def change_mode(state: LineState, mode: int, size: int = 0) -> None:
    """Give what follows as *mode* says."""
    take_back(state)
    if mode != LINES or state.mode != LINES:
        state.began = 0.0
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
        lines = [line if type(line) is bytes else check_line(line) for line in what]
        data = join_lines(lines, state.cut_by)  # which raises where they cannot be lines
        state.keep_batch()
        if state.has_changed or max(map(len, lines), default=0) > state.max_line:
            put_before(state, data)  # to be cut anew
        else:
            most = state.lines_per_pass
            for start in reversed(range(0, len(lines), most)):
                state.keep_first(lines[start : start + most])
    else:
        data = as_bytes(what, "unread() takes a list of lines, or bytes")
        state.keep_batch()
        put_before(state, data)
    state.began = 0.0
    change(state)


def pause(state: LineState) -> None:
    """Give no line, and read nothing."""
    state.stops |= PAUSED
    sync(state)


def resume(state: LineState) -> None:
    """Go on after ``pause``, in the next pass."""
    if state.stops & PAUSED:
        state.stops &= ~PAUSED
        if state.agenda is not None:
            state.heard = state.agenda.moment()
            restart_line(state)
        if not state.stops & (BUSY | FULL) and has_input(state):
            state.requeue()
        sync(state)


# What the loop calls, besides.


def write_event(state: LineState) -> None:
    """There is room for output."""
    try:
        _write(state)
    except BaseException:
        state.requeue()
        raise


def _write(state: LineState) -> None:
    if state.stops & UNBEGUN and not state.channel.connected:
        look_for_peer(state)
    send_waiting(state)
    if state.stops & GONE:
        return
    if state.stops & FULL and state.waiting <= low_mark(state):
        end_stop(state)
    is_closing = state.stops & CLOSING and not state.stops & BUSY and not state.has_shut
    if is_closing and not state.waiting:
        shut(state)
    sync(state)


def end_stop(state: LineState) -> None:
    """So little output waits that input goes on."""
    state.stops &= ~FULL
    restart_line(state)
    if not state.stops & (BUSY | PAUSED | CLOSING) and has_input(state):
        state.requeue()


def low_mark(state: LineState) -> int:
    """With how much waiting output input goes on: ``low_water``, or ``high_water`` if less."""
    return min(state.low_water, state.high_water)


def hold_output(state: LineState, name: str) -> None:
    """The limit *name* of output is another one: hold what waits to it."""
    if state.waiting and not state.stops & CLOSING:
        if name == "high_water" and state.stops & FULL and state.waiting <= state.high_water:
            end_stop(state)
        check_output(state)


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
        state.wants = wants | _UNKNOWN  # so that it is done anew where it is interrupted
        if not state.stops & OVER:
            touch(state.channel)
        state.wants = wants


def arm(state: LineState) -> None:
    """Look again when the next deadline may have passed, or one that begins meanwhile."""
    if state.stops & GONE or (state.stops & UNBEGUN and not state.stops & CLOSING):
        return
    now = state.agenda.now
    limits = (state.idle_timeout, state.line_timeout, state.write_timeout)
    ends = [due for due, _ in _deadlines(state)]
    due = min(ends + [now + each for each in limits])
    if due < math.inf:
        state.agenda.look_at(state, due)


def _deadlines(state: LineState) -> list[tuple[float, str]]:
    """When the deadlines that run now will have passed, and what they are called."""
    found = []
    if state.has_shut:
        return [(state.heard + state.linger_timeout, "linger")]
    if state.waiting:
        found.append((state.wrote + state.write_timeout, "write"))
    if not state.stops & (CLOSING | PAUSED | FULL):
        found.append((state.heard + state.idle_timeout, "idle"))
        if state.began:
            due = state.began + state.line_timeout
            if state.stops & HELD:  # what waits is given first, and may be the whole line
                due = max(due, state.agenda.now + 1)
            found.append((due, "line"))
    return found


def begin_anew(state: LineState, which: str) -> None:
    """Let the deadline *which* begin anew, and no other: what is done about one tells of none."""
    now = state.agenda.now
    if which in ("idle", "linger"):
        state.heard = now
    elif which == "line":
        restart_line(state)
    else:
        state.wrote, state.taken = now, 0


def restart_line(state: LineState) -> None:
    """Let what has begun have its whole time from now on: its peer is heard again."""
    state.began = 0.0
    state.mark_begun()
    state.begun_kib = len(state.buffer) // 1024


def _share_came(state: LineState) -> bool:
    """Whether enough of a body has come since its deadline began: few bytes hold no connection."""
    return len(state.buffer) // 1024 - state.begun_kib >= _SHARE


def look(state: LineState) -> None:
    """See whether a deadline has passed."""
    now = state.agenda.now
    due, which = min(_deadlines(state), default=(math.inf, ""))
    try:
        if due <= now and not state.stops & (BUSY | GONE):
            comes = which == "line" and state.mode == EXACT and _share_came(state)
            begin_anew(state, which)
            if comes:
                return
            if which == "linger":
                finish(state)
            elif state.stops & CLOSING:
                time_out(state)
            else:
                if state.tally is not None:
                    state.tally.count_timeout(which)
                run(state, state.channel.timed_out, which)
    finally:
        arm(state)
