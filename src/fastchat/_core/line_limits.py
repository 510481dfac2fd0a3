"""The limits of a ``LineChannel``: what may be assigned, and what becomes of it.

A limit is a descriptor: read on a class it is the default, on a channel what counts there.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from fastchat._core import line_events
from fastchat._core.lines import LineBuffer
from fastchat._core.quantities import seconds, whole

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
# Where 0 would be over as soon as it begins.
_ALWAYS_LATER = ("idle_timeout", "line_timeout", "write_timeout")
_TIMES = (*_ALWAYS_LATER, "linger_timeout")
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
        if state.buffer is None:  # see limits_of()
            return self
        if self._name == "delimiter":
            return state.buffer.delimiter
        value = getattr(state, self._name)
        if self._name == "low_water":
            value = line_events.low_mark(state)
        return None if value in (sys.maxsize, math.inf) else value

    def __set__(self, channel: Any, value: Any) -> None:
        _set(channel._fc_line, self._name, _checked(self._name, value))


class Defaults:
    """The *limits* of a class of channels, in the order of ``LIMITS``, and what they come to."""

    __slots__ = ("_checked", "_model", "limits")

    def __init__(self, limits: list[Limit]) -> None:
        self.limits = limits
        self._checked = [
            _checked(name, limit._value) for name, limit in zip(LIMITS, limits, strict=True)
        ]
        # What all buffers can share is its own.
        self._model = LineBuffer(self._checked[0])

    def give_to(self, state: LineState) -> None:
        """Let them count for *state*, which is new."""
        delimiter, *others = self._checked
        state.buffer = LineBuffer(delimiter, max_line=sys.maxsize)
        state.buffer._share(self._model)
        for name, value in zip(LIMITS[1:], others, strict=True):
            setattr(state, name, value)
        line_events.set_ending(state, delimiter)


def limits_of(channel: Any) -> list[Limit]:
    """The limits of the class of *channel*, which is new.

    A plain value that hides one, because it was assigned to the class, becomes one.
    """
    # Such a channel, whose state has no buffer, says which object is found for a name.
    found = [getattr(channel, name) for name in LIMITS]
    for index, name in enumerate(LIMITS):
        if type(found[index]) is not Limit:
            declare(type(channel), name)
            found[index] = getattr(channel, name)
    return found


def declare(kind: Any, name: str) -> None:
    """Let the value that *kind* has as the limit *name* be one, also where a mixin brings it."""
    owner = next(each for each in kind.__mro__ if name in vars(each))
    value = vars(owner)[name]
    if type(value) is not Limit:
        # A mixin may belong to classes that are no channels.
        is_channel = hasattr(owner, "_fc_defaults")
        setattr(owner if is_channel else kind, name, Limit(name, value))


def _checked(name: str, value: Any) -> Any:
    """*value* as the limit *name*, as a ``LineState`` has it."""
    if name == "delimiter":
        return LineBuffer(value).delimiter  # which raises where it is none
    if name in _TIMES:
        if value is None or value == math.inf:
            return math.inf
        return seconds(name, value, 0, or_none=True, is_above=name in _ALWAYS_LATER)
    if value is None:
        return sys.maxsize
    return min(whole(name, value, _SIZES[name], or_none=True), sys.maxsize)


def _set(state: LineState, name: str, value: Any) -> None:
    if name == "delimiter":
        line_events.set_delimiter(state, value)
        return
    has_changed = getattr(state, name) != value
    setattr(state, name, value)
    if name == "max_line":
        line_events.recut(state)
    elif name in ("high_water", "max_output"):
        line_events.hold_output(state, name)
    elif name == "lines_per_pass":
        line_events.set_most(state)
    elif name in _TIMES and state.agenda is not None:
        state.agenda.look()
        if has_changed:  # from now on, so that it is not over before anybody could know of it
            line_events.begin_anew(state, name.removesuffix("_timeout"))
        line_events.arm(state)


def take_over(state: LineState, before: LineState) -> None:
    """Let the limits of *before*, of an earlier connection, count for *state*, which is new."""
    for name in LIMITS[1:]:
        setattr(state, name, getattr(before, name))
    state.buffer.delimiter = before.buffer.delimiter
    line_events.set_ending(state, before.buffer.delimiter)
