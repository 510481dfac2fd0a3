"""The limits of a ``LineChannel``: what may be assigned, and what becomes of it.

A limit is a descriptor: read on a class it is the default, on a channel what counts there.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from fastchat._core import line_events
from fastchat._core.lines import LineBuffer

if TYPE_CHECKING:
    from fastchat._core.line_state import LineState

# Those that are numbers, and the least that each may be; those of times are in seconds.
_SIZES = {
    "max_line": 1,
    "lines_per_pass": 1,
    "max_body": 0,
    "high_water": 0,
    "low_water": 0,
    "max_output": 0,
}
_TIMES = ("idle_timeout", "line_timeout", "write_timeout", "linger_timeout")
LIMITS = ("delimiter", *_SIZES, *_TIMES)


class Limit:
    """The limit *name*, whose default is *value*, None for no limit.

    Raises TypeError where *value* is of a wrong type, and ValueError where it is too small.
    """

    __slots__ = ("_name", "_value")

    def __init__(self, name: str, value: Any) -> None:
        self._name = name
        self._value = value
        _checked(name, value)

    def __get__(self, channel: Any, kind: Any) -> Any:
        if channel is None:
            return self._value
        state: LineState = channel._fc_line
        if self._name == "delimiter":
            return state.buffer.delimiter
        value = getattr(state, self._name)
        return None if value in (sys.maxsize, math.inf) else value

    def __set__(self, channel: Any, value: Any) -> None:
        _set(channel._fc_line, self._name, _checked(self._name, value))


class Defaults:
    """The limits of a class of channels, *values* in the order of ``LIMITS``, checked once."""

    __slots__ = ("_checked", "values")

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values
        self._checked = [_checked(*each) for each in zip(LIMITS, values, strict=True)]

    def give_to(self, state: LineState) -> None:
        """Let them count for *state*, which is new."""
        delimiter, *others = self._checked
        state.buffer = LineBuffer(delimiter, max_line=sys.maxsize)
        for name, value in zip(LIMITS[1:], others, strict=True):
            setattr(state, name, value)
        line_events.set_ending(state, delimiter)


def _checked(name: str, value: Any) -> Any:
    """*value* as the limit *name*, as a ``LineState`` has it."""
    if name == "delimiter":
        return LineBuffer(value).delimiter  # which raises where it is none
    is_time = name in _TIMES
    if value is None:
        return math.inf if is_time else sys.maxsize
    wanted: Any = (int, float) if is_time else int
    if not isinstance(value, wanted) or isinstance(value, bool):
        kind = "a number of seconds" if is_time else "an int"
        raise TypeError(f"{name} must be {kind} or None, not {type(value).__name__}")
    least = 0 if is_time else _SIZES[name]
    if not value >= least:  # of which NaN is none, either
        raise ValueError(f"{name} must be at least {least}, or None for no limit, not {value!r}")
    return min(value, math.inf if is_time else sys.maxsize)


def _set(state: LineState, name: str, value: Any) -> None:
    if name == "delimiter":
        line_events.set_delimiter(state, value)
    else:
        setattr(state, name, value)
        if name == "lines_per_pass":
            line_events.set_most(state)
        elif name in _TIMES and state.agenda is not None:
            state.agenda.look()
            line_events.arm(state)
