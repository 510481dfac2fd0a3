# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""What a channel waits for.

Rules this file keeps:

* ``ask_one`` calls the predicates of a channel.  ``ask_untracked`` in ``watch.py`` does so for the
  channels that are asked on every pass, and ``passes.py`` before it hands out an event.
* A class is looked at before its object: what the class has under a name may be a property, whose
  code is not run here.
* An object that is no dispatcher is asked for nothing private, because its ``__getattr__`` may have
  an answer to every name, or fail.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from weakref import ProxyTypes

from fastchat._core.failures import fail_to_answer
from fastchat._core.pollers import READ, URGENT, WRITE
from fastchat._core.shown import Absent
from fastchat._hangups import dispatcher_attribute, is_dispatcher
from fastchat._output import Output

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._core.facts import binds
    from fastchat._core.family import Family
    from fastchat._core.state import State

    if TYPE_CHECKING:
        from fastchat._core.line_state import LineState

# Who was asked, how often it had joined or left its map, and what it waits for, as flags: None
# where asking failed.
Answer = tuple[Any, int | None, int | None]


def has_stock(channel: Any, name: str, function: Any) -> bool:
    """Whether *function* is the method *name* of the class of *channel*, and no other hides it."""
    return getattr(type(channel), name, None) is function and binds(
        getattr(channel, name, None), function, channel
    )


def _is_bool(value: Any) -> bool:
    return type(value) is bool or type(value) is int


def has_bools(channel: Any) -> bool:
    """Whether to look at *connected* and *accepting* of *channel* runs no code of the program's."""
    kind: Any = type(channel)
    return (
        _is_bool(getattr(kind, "connected", None))
        and _is_bool(getattr(kind, "accepting", None))
        and _is_bool(channel.connected)
        and _is_bool(channel.accepting)
    )


def ask_chat(channel: Any, stock: tuple[Any, ...]) -> int:
    """What an ordinary async_chat waits for, as flags; 0 where *channel* is none.

    *stock* are the functions that it must have as ``readable``, ``writable``, ``handle_expt`` and
    ``handle_expt_event``.
    """
    kind: Any = type(channel)
    if kind.__getattribute__ is not object.__getattribute__:
        return 0  # a proxy, perhaps of what is gone
    if not hasattr(kind, "_fc_state"):
        return 0  # no dispatcher, and its __getattr__ may do anything
    found = channel._fc_state
    if type(found) is not State:
        return 0
    state: State = found
    with cython.critical_section(state):
        is_usual = state.fits(channel) and type(state.fifo) is not Absent
        has_output = is_usual and (state.held or bool(state.fifo))
    if (
        not is_usual
        or not has_stock(channel, "readable", stock[0])
        or not has_stock(channel, "writable", stock[1])
        or not has_stock(channel, "handle_expt", stock[2])
        or not has_stock(channel, "handle_expt_event", stock[3])
        or not has_bools(channel)
        or channel.accepting
    ):
        return 0
    return READ | WRITE if has_output or not channel.connected else READ


def registration_of(channel: Any) -> int | None:
    """How often *channel* joined or left its map; None where it is no dispatcher, -1 where gone."""
    kind: Any = type(channel)
    if issubclass(kind, ProxyTypes):
        try:
            # No call: a signal handler may run behind one, whose exception would be lost here.
            kind = channel.__class__
        except ReferenceError:
            return -1
    if type(getattr(kind, "_fc_registration", None)) is not int:
        return None
    count: int = channel._fc_registration
    return count


def ask_one(family: Family, channel: Any, map: Any, fd: int) -> Answer:
    """Ask *channel* what it waits for.

    Where asking fails, ``handle_error`` is called.
    """
    registration: int | None = None
    try:
        registration = dispatcher_attribute(channel, "_fc_registration")
        flags = READ if channel.readable() else 0
        if channel.writable() and not channel.accepting:
            flags |= WRITE
        if family.resting and family.rests(channel):
            flags &= ~READ
        if flags and wants_urgent(family, channel):
            flags |= URGENT
        return channel, dispatcher_attribute(channel, "_fc_registration"), flags
    except BaseException:
        fail_to_answer(family, channel, map, fd)
        return channel, registration, None


def wants_urgent(family: Family, channel: Any) -> bool:
    """Whether *channel* has a use for urgent (out-of-band) data.

    The stock ``handle_expt`` reads nothing, so that one urgent byte would keep the descriptor
    ready for ever.
    """
    if not is_dispatcher(channel):
        return True
    if issubclass(type(channel), ProxyTypes):
        channel = getattr(channel.handle_expt, "__self__", None)
    if not (
        has_stock(channel, "handle_expt", family.expt)
        and has_stock(channel, "handle_expt_event", family.expt_event)
    ):
        return True
    # Windows reports a refused connection here and nowhere else.
    return os.name == "nt" and bool(channel.connecting)


def _fits(state: State, channel: Any) -> bool:
    """``state.fits``, for who has not the lock of *state*."""
    with cython.critical_section(state):
        return state.fits(channel)


def line_of(family: Family, channel: Any) -> LineState | None:
    """What *channel* keeps as a LineChannel with stock methods; None where it is no such thing."""
    if type(getattr(channel, "_fc_line", None)) is not family.line_state:
        return None
    if not has_bools(channel) or channel.accepting:
        return None
    stock = family.line_stock
    if (
        has_stock(channel, "readable", stock[0])
        and has_stock(channel, "writable", stock[1])
        and has_stock(channel, "handle_read_event", stock[2])
        and has_stock(channel, "handle_write_event", stock[3])
    ):
        found: LineState = channel._fc_line
        return found
    return None


def ask_line(family: Family, channel: Any) -> LineState | None:
    """What an ordinary LineChannel keeps, whose ``wants`` is its answer then; None for others."""
    kind: Any = type(channel)
    if kind.__getattribute__ is not object.__getattribute__:
        return None
    if type(getattr(kind, "_fc_registration", None)) is not int:
        return None  # no dispatcher
    line = line_of(family, channel)
    if line is None or not channel.connected or wants_urgent(family, channel):
        return None
    return line


def is_tracked(family: Family, channel: Any) -> bool:
    """Whether *channel* has stock predicates, and so has to be asked only when it was touched."""
    kind: Any = type(channel)
    if kind.__getattribute__ is not object.__getattribute__:
        return False
    if type(getattr(kind, "_fc_registration", None)) is not int:
        return False  # no dispatcher
    # The class first: what it has may be a property, whose code is not run here.
    readable, writable = kind.readable, kind.writable
    if readable is family.line_stock[0]:
        return line_of(family, channel) is not None
    if readable is not family.readables[0] and readable is not family.readables[1]:
        return False
    if writable is family.stock_chat[1]:
        state = channel._fc_state
        knows = type(state) is State and _fits(state, channel)
    elif writable is family.sender_writable:
        knows = type(getattr(channel, "_fc_output", None)) is Output
    else:
        knows = writable is family.writable
    return (
        knows
        and has_bools(channel)
        and has_stock(channel, "readable", readable)
        and has_stock(channel, "writable", writable)
        and not (family.resting and family.rests(channel))
    )
