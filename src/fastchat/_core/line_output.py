"""Output of a ``LineChannel``: what hooks send, joined, and what the kernel has not taken.

The rules are those of ``line_state.py``.
"""

from __future__ import annotations

import errno
import inspect
import os
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastchat._core.line_stops import BUSY, CLOSING, FULL, GONE, UNBEGUN
from fastchat._core.lines import join_lines
from fastchat._reports import logger_of

if TYPE_CHECKING:
    from fastchat._core.line_state import LineState

logger = logger_of("channel")

# How much is sent for one event, in bytes, and what is enough for one call.
_AT_ONCE = 1 << 20
_PIECE = 65536


def add(state: LineState, reply: Any) -> None:
    """Send *reply*, which is no bytes, when the hook is done."""
    if isinstance(reply, (bytes, bytearray, memoryview)):
        state.add(bytes(reply))
    elif not isinstance(reply, list):
        raise TypeError(f"a reply is bytes, a list of bytes or None, {_instead(reply)}")
    elif reply:  # also where the hook has closed: what it returns is sent
        _put_behind(state, join(state, reply))


def put_out(state: LineState, data: bytes) -> None:
    """Send *data*: at once, or behind what the hook that runs has answered."""
    if not data or state.stops & (CLOSING | GONE):
        return
    if state.stops & UNBEGUN:
        state.enqueue(data, 0)
        check_output(state)
    elif state.stops & BUSY:
        _put_behind(state, data)
    else:
        if state.agenda.attached is not None:
            state.agenda.look()  # the last pass may have been long ago
        state.transmit(data)


def _put_behind(state: LineState, data: bytes) -> None:
    seal(state)
    _append(state, data)
    state.out_size += len(data)
    if state.out_size > _PIECE:
        state.flush()


def _append(state: LineState, data: bytes) -> None:
    if state.out is None:
        state.out = []
    state.out.append(data)


def seal(state: LineState) -> None:
    """Join what hooks have returned by now: what comes may end with another delimiter."""
    if not state.replies:
        return
    try:
        data = join(state, state.replies)
    except BaseException:
        keep_good(state)
        raise
    _append(state, data)
    state.replies = None


def keep_good(state: LineState) -> None:
    """A reply has a delimiter inside: drop those that have, which cost no other its way."""
    ending = state.delimiter
    good = [
        reply
        for reply in state.replies or ()
        if (reply + ending).find(ending) == len(reply)
        and not any(each in reply for each in state.others)
    ]
    if good:
        _append(state, join(state, good))
    state.replies = None


def take_all(state: LineState) -> bytes:
    """What hooks have left to send, joined."""
    seal(state)
    data = b"".join(state.out or ())
    state.out = None
    return data


def join(state: LineState, lines: Iterable[Any]) -> bytes:
    """*lines*, each with the delimiter behind it; raises where one has a delimiter inside."""
    if not state.others:
        return join_lines(lines, state.delimiter)
    lines = list(lines)
    data = join_lines(lines, state.delimiter)
    for other in state.others:  # which may begin in a line, as long as it does not end there
        join_lines([line for line in lines if other in bytes(line)], other)
    return data


def check_output(state: LineState) -> None:
    """More output waits: hold it to the limits."""
    if state.waiting > state.max_output:
        queue: Any = state.queue
        if state.tally is not None:
            state.tally.over_max_output += 1
        said = (state.waiting, state.channel.addr, len(queue[-1]), state.max_output)
        state.stops |= CLOSING  # what it has sent is not given to hooks, either
        problem = OSError(errno.ENOBUFS, f"{os.strerror(errno.ENOBUFS)} (max_output)")
        state.events.lose(state, problem)
        logger.warning(
            "%d bytes wait for %r, the last piece has %d, and max_output is %d: aborted", *said
        )
        return
    if state.waiting > state.high_water:
        state.stops |= FULL
    state.events.sync(state)


def send_waiting(state: LineState) -> None:
    """Send what waits, as far as the kernel takes it."""
    left = _AT_ONCE
    while state.queue and left > 0:
        data = _head(state.queue, state.offset)
        sent = state.send_head(data)
        if sent <= 0:
            return
        left -= sent
        state.heard = state.agenda.now
        state.taken += sent
        if state.taken >= _PIECE:  # who takes a byte now and then is not waited for
            state.wrote, state.taken = state.heard, 0
        if sent < len(data):
            return


def drop_output(state: LineState) -> None:
    """Send nothing of what is left."""
    state.queue = state.replies = state.out = None
    state.waiting = state.offset = state.out_size = state.taken = 0


def _head(queue: deque[bytes], offset: int) -> Any:
    """What to send next of *queue*: the first piece from *offset* on, or several small ones."""
    first = queue[0]
    if len(first) - offset >= _PIECE or len(queue) == 1:
        return memoryview(first)[offset : offset + _AT_ONCE] if offset else first
    pieces, size = [first[offset:]], len(first) - offset
    for index in range(1, len(queue)):
        if size >= _PIECE:
            break
        pieces.append(queue[index])
        size += len(queue[index])
    return b"".join(pieces)


def _instead(reply: Any) -> str:
    """What *reply* is, and what its author may have meant."""
    if isinstance(reply, str):
        return "not str: use .encode()"
    if inspect.iscoroutine(reply):
        reply.close()  # which it would say nobody has awaited
        return "and a hook no coroutine"
    return f"not {type(reply).__name__}"
