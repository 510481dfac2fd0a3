"""Output as it was up to Python 2.5, and is in the documentation of 2.6.

Only a channel that overrides ``refill_buffer()``, on its class or on itself, works this way:
``initiate_send`` calls it when ``ac_out_buffer`` holds less than ``ac_out_buffer_size``, and sends
from there.  For all others nothing here is ever called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastchat._hangups import hang_up


def refill_buffer(self: Any) -> None:
    """Move one piece from ``producer_fifo`` to the end of ``ac_out_buffer``.

    Calls ``more()`` of the producer at the head, and goes on to the next where it has nothing
    left.  Closes the channel at the end that ``close_when_done`` set.
    """
    while self.producer_fifo:
        head = self.producer_fifo[0]
        if head is None:
            if not self.ac_out_buffer:
                del self.producer_fifo[0]
                hang_up(self)
            return
        if isinstance(head, (bytes, bytearray, memoryview)):
            del self.producer_fifo[0]
            self.ac_out_buffer = self.ac_out_buffer + head
            return
        data = head.more()
        if data:
            self.ac_out_buffer = self.ac_out_buffer + data
            return
        del self.producer_fifo[0]


# As those of asynchat, it has a signature without annotations.
refill_buffer.__annotations__.clear()


class Refill:
    """The attribute ``refill_buffer`` of ``async_chat``: its state learns what replaces it."""

    def __get__(self, channel: Any, kind: type | None = None) -> Callable[..., None]:
        if channel is None:
            return refill_buffer
        own = None if channel._fc_state is None else channel._fc_state.refill
        method: Callable[..., None] = refill_buffer.__get__(channel) if own is None else own
        return method

    def __set__(self, channel: Any, method: Any) -> None:
        state = channel._fc_own_state()
        state.refill = method
        state.plain = None

    def __delete__(self, channel: Any) -> None:
        if channel._fc_state is None or channel._fc_state.refill is None:
            raise AttributeError("refill_buffer")
        channel._fc_state.refill = None


def is_overridden(kind: type) -> bool:
    """Whether the class *kind* has a ``refill_buffer`` of its own."""
    return getattr(kind, "refill_buffer", refill_buffer) is not refill_buffer


def send_refilled(channel: Any) -> None:
    """``initiate_send`` for a channel that overrides ``refill_buffer``."""
    size = channel.ac_out_buffer_size
    if len(channel.ac_out_buffer) < size:
        channel.refill_buffer()
    if channel.ac_out_buffer and channel.connected:
        try:
            sent = channel.send(channel.ac_out_buffer[:size])
        except OSError:
            channel.handle_error()
            return
        if sent:
            channel.ac_out_buffer = channel.ac_out_buffer[sent:]
