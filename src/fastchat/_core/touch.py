"""Marks a channel whose interest in events may have changed, so that the next pass asks it again.

A loop keeps the registrations of its channels, and asks a channel with stock predicates again only
when it is marked.  ``push``, and everything else that queues or removes output, marks the channel;
so does ``listen``.  Outside of a loop that costs a look-up.  A channel that joins or leaves its map
is not marked here: the map tells its watch (``maps.py``).
"""

from __future__ import annotations

from typing import Any

# The watches of plain maps whose loop is running now, by the id of the map.  A channel_map has its
# own.
watches: dict[int, Any] = {}

# Weak references to the agendas (``agenda.py``) of plain maps, which channels, timers and the watch
# keep; and those that must stay because calls wait in them, or timers that belong to no channel.
agendas: dict[int, Any] = {}
working: dict[int, Any] = {}


def watch_of(map: Any) -> Any:
    """The watch that keeps the registrations of *map* now, or None."""
    # Of a class of the program's the map is not asked, because its __getattr__ may do anything.
    watch = map._watch if hasattr(type(map), "_watch") else None
    return watches.get(id(map)) if watch is None else watch


def touch(channel: Any) -> None:
    """Mark *channel*: the next pass asks what it waits for, and begins soon (``Watch.change``)."""
    watch = watch_of(getattr(channel, "_map", None))
    if watch is None:
        return
    fd = channel._fileno
    if fd is None:
        return  # it is in no map
    if fd not in watch.untracked:
        watch.touch(fd)
    elif not watch.is_asking(fd):
        watch.change()  # it is asked on every pass


def touch_softly(channel: Any) -> None:
    """Mark *channel*, whose queue the program looks at, for the next pass.

    A predicate may look at a queue in each pass.  If that ended the wait, the loop would spin.
    Only a look of another thread, or of a signal handler while the loop waits, ends that.
    """
    watch = watch_of(getattr(channel, "_map", None))
    if watch is None:
        return
    fd = channel._fileno
    if fd is None:
        return
    if not watch.is_in_this_thread():
        touch(channel)
    elif fd not in watch.untracked:
        watch.mark(fd)
