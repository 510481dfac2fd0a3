# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""Maps of channels, and which of them has a ``Watch``.

A ``ChannelMap`` has its watch for good.  A plain dict has one while a loop without a count runs
over it (``watches`` in ``touch.py``).
"""

from __future__ import annotations

import os
import select
import weakref
from threading import get_ident
from typing import TYPE_CHECKING, Any

from fastchat._core.pollers import is_ours
from fastchat._core.system import REAL, system_of
from fastchat._core.touch import watches

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._core._cy import get_item
    from fastchat._core.agenda import Agenda
    from fastchat._core.family import Family
    from fastchat._core.outgoing import flush_all_threads, leave_to_the_parent
    from fastchat._core.watch import Watch


class ChannelMap(dict[int, Any]):
    """A map of channels that tells the loop what changes in it; otherwise a dict like any other.

    A pass over it costs what happens, and not what there is: ``asyncore.socket_map`` is one, and
    programs can make one of their own as ``asyncore.channel_map()``.
    """

    __slots__ = ("__weakref__", "_fc_agenda", "_fc_system", "_watch")

    def __init__(self, *args: Any, **channels: Any) -> None:
        self._watch: Watch | None = None
        self._fc_agenda: dict[int, Agenda] = {}  # one, or none yet
        self._fc_system: Any = REAL
        super().__init__(*args, **channels)

    # Each change is noted twice, before it is made, too: between the two an exception of a signal
    # handler may leave.  Then the next pass finds out what has become of it.

    def __setitem__(self, fd: int, channel: Any) -> None:
        watch = self._watch
        if watch is not None:
            watch.mark(fd)
        dict.__setitem__(self, fd, channel)
        if watch is not None:
            watch.note(fd)

    def __delitem__(self, fd: int) -> None:
        watch = self._watch
        if watch is not None and fd in self:
            watch.mark(fd)
        dict.__delitem__(self, fd)
        if watch is not None:
            watch.forget(fd)

    def pop(self, key: int, /, *default: Any) -> Any:
        """As dict's."""
        watch = self._watch
        was_there = key in self
        if watch is not None and was_there:
            watch.mark(key)
        channel = dict.pop(self, key, *default)
        if watch is not None and was_there:
            watch.forget(key)
        return channel

    def popitem(self) -> tuple[int, Any]:
        """As dict's."""
        for fd in reversed(self):
            return fd, self.pop(fd)
        return super().popitem()  # which raises

    def clear(self) -> None:
        """As dict's."""
        watch = self._watch
        members = list(self.keys())
        if watch is not None:
            for fd in members:
                watch.mark(fd)
        super().clear()
        if watch is not None:
            for fd in members:
                watch.forget(fd)

    def setdefault(self, key: int, default: Any = None, /) -> Any:
        """As dict's."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **channels: Any) -> None:
        """As dict's."""
        for fd, channel in dict(*args, **channels).items():
            self[fd] = channel  # pyright: ignore[reportArgumentType]

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


def watch_over(map: Any, family: Family, for_long: bool) -> Watch | None:
    """The watch for a pass over *map*, a new one where there is none yet; None where none can be.

    There is none for a mapping that is no plain dict, for a dict over which only one pass is made
    (*for_long* is false), where the system's own way to wait was replaced, and where it has no
    descriptor left.
    """
    watch: Watch | None = map._watch if type(map) is ChannelMap else watches.get(id(map))
    if watch is not None and not _select_is_original(family) and watch.agenda.attached is None:
        release(map)
        return None
    if watch is None and (type(map) is ChannelMap or (for_long and type(map) is dict)):
        system = system_of(map)
        kinds = system.kinds()
        if kinds and _select_is_original(family):
            try:
                watch = Watch(map, family, kinds[0], type(map) is ChannelMap, system)
            except OSError as failure:
                if not is_ours(failure):
                    raise
                return None
            with cython.critical_section(_all):
                kept = _keep(map, watch)
            if kept is not watch:  # pragma: no cover (another thread was faster)
                watch.close()
            return kept
    return watch


def _keep(map: Any, watch: Watch) -> Watch:
    """Let *map* have *watch*; returns that of another thread, if it was faster."""
    if type(map) is ChannelMap:
        if map._watch is None:  # pragma: no branch (another thread was faster)
            map._watch = watch
        kept: Watch = map._watch
    else:
        kept = watches.setdefault(id(map), watch)
    _all.add(kept)
    return kept


def _select_is_original(family: Family) -> bool:
    """Whether the ways to wait are the interpreter's own, as at the import."""
    return (
        family.names["select"] is select
        and get_item(_select_names, "select") is _own_select
        and get_item(_select_names, "poll") is _own_poll
    )


# What a program has as the functions of the module select, without the look-up of its attributes.
_select_names = vars(select)
_own_select = select.select
_own_poll = getattr(select, "poll", None)


def is_outermost(watch: Watch) -> bool:
    """Whether a loop that begins to wait with *watch* is the first of this thread."""
    return get_ident() not in watch.loops


def begin_loop(watch: Watch) -> None:
    """A loop of this thread waits with *watch* from now on."""
    watch.loops[get_ident()] = None


def end_loop(map: Any) -> None:
    """The outermost loop of this thread over *map* ends, or *map* is empty.

    A ``ChannelMap`` keeps its watch while it has channels, a plain dict while a loop of any thread
    runs over it, and both while they are attached to another loop.
    """
    watch: Watch | None = map._watch if type(map) is ChannelMap else watches.get(id(map))
    if watch is None:
        return
    watch.loops.pop(get_ident(), None)
    if not cython.compiled:
        watch.end_wait()  # for the one that a signal handler has ended by an exception
    if watch.waiting and not map:
        watch.stir()  # let the loops of other threads end, too; they come here
        return
    if watch.agenda.attached is not None:
        return
    if not watch.loops and not (map and type(map) is ChannelMap):
        release(map)


def release(map: Any) -> None:
    """Give back what ``watch_over`` made for *map*."""
    watch: Watch | None
    if type(map) is ChannelMap:
        watch, map._watch = map._watch, None
    else:
        watch = watches.pop(id(map), None)
    if watch is not None:
        _all.discard(watch)
        watch.close()


# Every watch there is, for forks.
_all: weakref.WeakSet[Watch] = weakref.WeakSet()


def _send_what_is_held() -> None:
    flush_all_threads()


def _forget_the_parents() -> None:
    for watch in list(_all):
        watch.leave_the_set()
    leave_to_the_parent()


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(before=_send_what_is_held, after_in_child=_forget_the_parents)
