# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""What belongs to one import of ``asyncore``: what programs may replace in it, and what is stock.

A program that throws fastchat out of ``sys.modules`` and imports it again has the module twice,
with classes of its own each; the compiled modules of the core are there once.

Rules this file keeps: of ``names``, the module's globals, only those are looked up that CPython
3.11 had in the module, at the moment they are needed; everything else the module says once, when it
has defined it.
"""

from __future__ import annotations

from typing import Any

from fastchat._core.system import system_of
from fastchat._hangups import dispatcher_attribute


class Family:
    """One import of ``asyncore``, whose globals are *names*."""

    __slots__ = (
        "error",
        "events",
        "expt",
        "expt_event",
        "line_state",
        "line_stock",
        "names",
        "readables",
        "resting",
        "sender_writable",
        "stock_chat",
        "writable",
    )

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        # Stock functions: read, write, _exception, readwrite; the predicates of the classes; what
        # is called for urgent data and for errors; and what an ordinary async_chat has (see
        # ask_chat() in asking.py).
        self.events: tuple[Any, ...] = ()
        self.readables: tuple[Any, ...] = ()
        self.writable: Any = None
        self.sender_writable: Any = None
        self.expt: Any = None
        self.expt_event: Any = None
        self.error: Any = None
        self.stock_chat: tuple[Any, ...] = ()
        # Of LineChannel, once that is there, readable, writable, handle_read_event and
        # handle_write_event, and what such a channel keeps itself in: an import of asyncore alone
        # does not import these.
        self.line_stock: tuple[Any, ...] = (None, None, None, None)
        self.line_state: Any = None
        # When the rests of listeners end (time.monotonic() in seconds), by the id of the channel: a
        # pass must not sleep through it.
        self.resting: dict[int, float] = {}

    def reraised(self) -> Any:
        """The exceptions that leave the loop."""
        return self.names["_reraised_exceptions"]

    def has_stock_events(self, is_poll2: bool) -> bool:
        """Whether what hands out events is the module's own, so that a pass may do it itself."""
        read, write, _, readwrite = self.events
        names = self.names
        if is_poll2:
            return names["readwrite"] is readwrite
        return names["read"] is read and names["write"] is write

    def rests(self, channel: Any) -> bool:
        """Whether *channel* is a listener that found no descriptors a moment ago."""
        end = dispatcher_attribute(channel, "_fc_rest")
        return end is not None and end > system_of(getattr(channel, "_map", None)).monotonic(
            self.names
        )

    def until_rest_ends(self, timeout: Any, system: Any) -> Any:
        """*timeout* (seconds or None), shortened to the end of the first rest of a listener.

        *system* has the clock.
        """
        resting = self.resting
        if resting:
            now = system.monotonic(self.names)
            # Copied first, because the listener of another thread's loop may join at any moment.
            for key, end in list(resting.items()):
                if end <= now:
                    resting.pop(key, None)
            rests = [end - now for end in list(resting.values())]
            if rests and (timeout is None or timeout > min(rests)):
                timeout = min(rests)
        return timeout
