"""Telling the loop that a channel may wait for something else now.

A loop keeps what its channels wait for, and asks a channel with the stock predicates again only
after something has happened to it.  Whatever makes output wait, or takes it away, touches the
channel; so does a listener that begins to listen.  Outside of a loop that costs a look-up.
"""

from __future__ import annotations

from typing import Any

# The watches of plain maps whose loop is running now, by the id of the map.  A channel_map has its
# own.
watches: dict[int, Any] = {}


def watch_of(map: Any) -> Any:
    """The watch that keeps the registrations of *map* now, or None."""
    # Of a class of the program's the map is not asked, because its __getattr__ may do anything.
    watch = map._watch if hasattr(type(map), "_watch") else None
    return watches.get(id(map)) if watch is None else watch


def touch(channel: Any) -> None:
    """Let *channel* be asked again in the next pass."""
    watch = watch_of(getattr(channel, "_map", None))
    if watch is None:
        return
    fd = channel._fileno
    if fd is None:
        return  # it left the map
    if fd not in watch.asked:
        watch.touch(fd)
    else:
        watch.stir()  # it is asked on every pass; let the next one be soon
