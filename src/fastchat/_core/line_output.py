"""Output of a ``LineChannel``: what hooks send, joined, and what the kernel has not taken.

The rules are those of ``line_state.py``.
"""

from __future__ import annotations

import errno
import inspect
import logging
import os
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastchat._core.line_stops import BUSY, CLOSING, FULL, GONE
from fastchat._core.lines import join_lines

if TYPE_CHECKING:
    from fastchat._core.line_state import LineState

logger = logging.getLogger("fastchat.channel")

# How much is sent for one event, in bytes, and what is enough for one call.
_AT_ONCE = 1 << 20
_PIECE = 65536


def add(state: LineState, reply: Any) -> None:
    """Send *reply*, which is no bytes, when the hook is done."""
    if not isinstance(reply, list):
        raise TypeError(f"a reply is bytes, a list of bytes or None, {_instead(reply)}")
    if reply:
        put_out(state, join(state, reply))


def put_out(state: LineState, data: bytes) -> None:
    """Send *data*: at once, or behind what the hook that runs has answered."""
    if state.stops & (CLOSING | GONE):
        return
    if not state.has_begun:
        state.enqueue(data, 0)
        check_output(state)
        return
    if not state.stops & BUSY:
        state.transmit(data)
        return
    out = state.out or []
    if state.replies:
        out.append(join(state, state.replies))
    state.replies, state.out = None, out
    out.append(data)
    state.out_size += len(data)
    if state.out_size > _PIECE:
        state.flush()


def take_all(state: LineState) -> bytes:
    """What hooks have left to send, joined."""
    replies, out = state.replies, state.out or []
    state.replies = state.out = None
    if replies:
        out.append(join(state, replies))
    return b"".join(out)


def join(state: LineState, lines: Iterable[Any]) -> bytes:
    """*lines*, each with the delimiter behind it; raises where one has a delimiter inside."""
    if state.others:
        lines = list(lines)
        for other in state.others:
            join_lines(lines, other)
    return join_lines(lines, state.delimiter)


def check_output(state: LineState) -> None:
    """More output waits: hold it to the limits."""
    if state.waiting > state.max_output:
        logger.warning(
            "%s does not read: %d bytes wait for it, and max_output is %d: aborted",
            *(repr(state.channel.addr), state.waiting, state.max_output),
        )
        problem = OSError(errno.ENOBUFS, f"{os.strerror(errno.ENOBUFS)} (max_output)")
        state.events.lose(state, problem)
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
        state.heard = state.wrote = state.agenda.now
        if sent < len(data):
            return


def drop_output(state: LineState) -> None:
    """Send nothing of what is left."""
    state.queue = state.replies = state.out = None
    state.waiting = state.offset = state.out_size = 0


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


def bytes_of(data: Any) -> bytes:
    if isinstance(data, str):
        raise TypeError("bytes are wanted, not str: use .encode()")
    return bytes(memoryview(data))


def _instead(reply: Any) -> str:
    """What *reply* is, and what its author may have meant."""
    if isinstance(reply, str):
        return "not str: use .encode()"
    if inspect.iscoroutine(reply):
        reply.close()  # which it would say nobody has awaited
        return "and a hook no coroutine"
    return f"not {type(reply).__name__}"
