"""Channels that are used by their public attributes only.

They are those whose class hides one of the properties over its state, those of classes that borrow
the methods of channels, and those that have a queue or input of another type than usual.  This is
the way of CPython 3.11, one piece at a time; the rest of the core comes here where its own way does
not fit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from fastchat._core.state import end_turn
from fastchat._scanner_py import (
    check_terminators,
    find_first_terminator,
    find_prefix_at_end,
    held_back,
)

# Stands for the terminator of a channel that was not asked for it yet.
NOT_ASKED = object()


# Input.


def drop_input_generic(channel: Any) -> None:
    """Empty what *channel* has as its ``ac_in_buffer``, if that can be sliced."""
    buffer: Any = getattr(channel, "ac_in_buffer", None)
    if hasattr(type(buffer), "__getitem__"):
        channel.ac_in_buffer = buffer[:0]


def cut_generic(channel: Any, closes: int, known_terminator: Any = NOT_ASKED) -> bool:
    """Deliver one piece using only the public attribute ``ac_in_buffer``, of whatever type.

    *closes* is how often the channel had been closed when the delivery began, *known_terminator* as
    in ``cut``.  Returns whether there may be more to deliver.  Raises what ``drive`` does.
    """
    if not channel.ac_in_buffer:
        return False
    terminator = channel.get_terminator() if known_terminator is NOT_ASKED else known_terminator
    buffer = channel.ac_in_buffer  # which that may have changed
    if getattr(channel, "_fc_closes", 0) != closes or not buffer:
        return False
    size = len(buffer)
    found = counted = False
    taken = held = 0
    piece = buffer
    if not terminator:
        pass
    elif isinstance(terminator, int):
        counted = True
        if terminator <= size:
            found, taken, piece = True, terminator, buffer[:terminator]
    elif isinstance(terminator, tuple):
        several = check_terminators(terminator)
        match = find_first_terminator(bytes(buffer), several)
        if match is not None:
            index, matched = match
            found, taken, piece = True, index + len(matched), buffer[:index]
        else:
            held = held_back(bytes(buffer), 0, several)
    else:
        if not isinstance(buffer, str):
            terminator = as_bytes(terminator)
        index = buffer.find(terminator)  # pyright: ignore[reportArgumentType]
        if index >= 0:
            found, taken, piece = True, index + len(terminator), buffer[:index]
        else:
            held = find_prefix_at_end(buffer, terminator)
    if held:
        piece = buffer[:-held]

    if piece or counted:
        channel.collect_incoming_data(piece)
        if getattr(channel, "_fc_closes", 0) != closes:
            return False
    if found:
        channel.ac_in_buffer = channel.ac_in_buffer[taken:]
        if counted:
            channel.terminator = 0
        elif isinstance(terminator, tuple):
            channel.matched_terminator = matched
        channel.found_terminator()
        return bool(getattr(channel, "_fc_closes", 0) == closes)
    if held:
        if piece:
            channel.ac_in_buffer = channel.ac_in_buffer[-held:]
        return False
    channel.ac_in_buffer = b""
    if counted:
        channel.terminator = channel.terminator - size
    return False


def as_bytes(terminator: Any) -> bytes:
    """*terminator*, any bytes-like object, as bytes.

    Raises TypeError where it is none, and ValueError where it is empty though it is true.
    """
    try:
        as_is = bytes(memoryview(terminator))
    except TypeError:
        raise TypeError(
            "a terminator must be bytes, a tuple of bytes, a number of bytes, or None; "
            f"{terminator!r} is {type(terminator).__name__}"
        ) from None
    if not as_is:
        raise ValueError(f"the terminator {terminator!r} is empty; it must have at least one byte")
    return as_is


# Output.


def writable_generic(channel: Any) -> Any:
    """``writable`` with nothing but public attributes."""
    return channel.producer_fifo or (not channel.connected)


def push_generic(channel: Any, data: Any, put: Callable[..., None]) -> None:
    """``push`` that holds nothing; *put* is ``enqueue``."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"data argument must be byte-ish ({type(data)!r}): "
            "push() takes bytes, bytearray or memoryview"
        )
    size = channel.ac_out_buffer_size
    # In one step, so that what another thread pushes does not come between the parts.
    if len(data) > size:
        put(channel, *[data[start : start + size] for start in range(0, len(data), size)])
    else:
        put(channel, data)
    channel.initiate_send()


def take_odd_count(
    state: Any, fifo: deque[Any], head: bytes, data: bytes, size: Any, sent: Any
) -> None:
    """Take *sent* off *head*, of which *data* was sent, for a count that no socket gives.

    A ``send`` of the program's may count what it adds to each piece, and says nothing about what
    is queued behind *head*.
    """
    if fifo[0] is head or (fifo[0] is state.unsent_head and state.unsent_head is not None):
        state.queue()
        take_off(fifo, fifo[0], data, size, sent)


def take_off(queue: Any, entry: Any, piece: Any, size: int, sent: Any) -> None:
    """Take *sent*, what ``send`` said of *piece*, off *entry*, the head of *queue*."""
    if sent >= len(piece) and len(entry) <= size:
        del queue[0]
    else:
        queue[0] = entry[sent:]


def take_produced(queue: Any, produced: Any) -> None:
    """Put what the producer at the head of *queue* gave before it; nothing is its end."""
    if produced:
        queue.appendleft(produced)
    else:
        del queue[0]


def is_data(entry: Any) -> bool:
    """Whether *entry* of a queue is data, which can be sliced, and no producer."""
    return hasattr(type(entry), "__getitem__") or isinstance(entry, type)


def send_piece(channel: Any) -> bool:
    """``initiate_send`` with nothing but public attributes: sends of one entry of the queue.

    Returns whether it found the end that ``close_when_done`` set; the caller tells the channel.
    """
    size = channel.ac_out_buffer_size
    entry, piece = _next_piece(channel, size)
    if entry is None:
        return bool(piece)
    if channel.use_encoding and isinstance(piece, str):
        piece = bytes(piece, channel.encoding)
    try:
        sent = channel.send(piece)
    except OSError:
        end_turn(channel)
        channel.handle_error()
        return False
    if sent:
        take_off(channel.producer_fifo, entry, piece, size, sent)
    return False


def _next_piece(channel: Any, size: int) -> tuple[Any, Any]:
    """What *channel* is to send next, at most *size* of it: the entry of its queue, and the piece.

    Producers at the head are asked until one gives data.  Where nothing is left that is None, and
    whether the end that ``close_when_done`` set was reached.
    """
    queue = channel.producer_fifo
    while queue and channel.connected:
        entry = queue[0]
        if not entry:
            del queue[0]
            if entry is None:
                return None, True
        try:
            return entry, entry[:size]
        except TypeError:  # not data, so a producer; what it gives may be another one
            produced = entry.more()
        queue = channel.producer_fifo  # more() may have put another one in its place
        take_produced(queue, produced)
    return None, False
