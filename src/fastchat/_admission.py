"""Who is connected to a server: counted, and held to the limits of the whole server.

Rules this file keeps:

* A connection counts from ``enter`` to ``left``, which ``LineChannel`` calls when it leaves its
  map.  ``LineState.owner`` is the way here.
* What waits is told by each connection when it has changed by ``GRAIN`` bytes, and never on the way
  of a line that leaves nothing behind: see ``LineState.weigh``.
* Over ``max_memory`` those that hold most are ended, which frees at once what they hold; their
  hooks hear of it in the next pass.  A sixteenth more than has to be is freed, so that a flood of
  small holders costs one look at them all for every so many bytes.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections import Counter
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from fastchat._core.line_ends import is_long_ago, lose
from fastchat._core.line_state import Tally
from fastchat._core.line_stops import CLOSING
from fastchat._reports import logger_of

logger = logger_of("server")

_counted = attrgetter("counted")


class Admission:
    """The connections of one server; *on_left* is called when one has left.

    The limits are numbers, ``math.inf`` for none.
    """

    def __init__(
        self, max_per_address: float, max_memory: float, on_left: Callable[[], None]
    ) -> None:
        self.max_connections = math.inf  # the server sets it when it starts
        self.max_per_address = max_per_address
        self.max_memory = max_memory
        # By the name of the class of channels; a class that was made anew goes on with the counts.
        self.tallies: dict[str, Tally] = {}
        self.open = 0
        self.memory = 0
        self.most_memory = 0
        self.is_stopping = False
        self._on_left = on_left
        # Those of which anything is counted.
        self._holders: set[Any] = set()
        # Only where addresses are counted.
        self._addresses: dict[Any, Any] = {}
        self._by_address: Counter[Any] = Counter()

    def refuses(self, family: int, address: Any) -> str:
        """The limit that keeps a connection from *address* out, "" where none does."""
        if self.open >= self.max_connections:
            return "max_connections"
        if self.max_per_address < math.inf:
            key = _key(family, address)
            if key is not None and self._by_address[key] >= self.max_per_address:
                return "max_per_address"
        return ""

    def tally_of(self, kind: type) -> Tally:
        """Where it is counted what channels of the class *kind* do."""
        name = f"{kind.__module__}.{kind.__qualname__}"
        tally = self.tallies.get(name)
        if tally is None:
            tally = self.tallies[name] = Tally(name)
        return tally

    def enter(self, state: Any, tally: Tally, family: int, address: Any) -> None:
        """Count *state*, a LineState that has begun or will."""
        self.open += 1
        tally.open += 1
        state.tally = tally
        if self.max_per_address < math.inf:
            key = _key(family, address)
            if key is not None:
                self._addresses[state] = key
                self._by_address[key] += 1
        state.owner = self

    def left(self, state: Any) -> None:
        """*state* has left its map."""
        self.open -= 1
        state.tally.open -= 1
        self.weigh(state, 0)
        key = self._addresses.pop(state, None)
        if key is not None:
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]
        self._on_left()

    def weigh(self, state: Any, size: int) -> None:
        """In *state* wait so many bytes now."""
        more = size - state.counted
        state.counted = size
        self.memory += more
        if size:
            self._holders.add(state)
        else:
            self._holders.discard(state)
        if self.memory > self.max_memory and more > 0:
            self._free()
        elif self.memory > self.most_memory:
            self.most_memory = self.memory

    def size_of(self, held: Any) -> int:
        """How many bytes the lines have that were cut and not given, without their delimiters."""
        return sum([len(line) for lines in held for line in lines])

    def note_goodbye(self, state: Any) -> None:
        """*state* has answered all: where nothing was sent for a while, it need not linger.

        Then no reply is on its way that unread input could destroy.
        """
        is_empty = not (state.waiting or len(state.buffer))
        if self.is_stopping and is_empty and is_long_ago(state, state.heard):
            state.linger_timeout = 0

    def _free(self) -> None:
        """End those that hold most."""
        waited, enough = self.memory, self.max_memory * 15 / 16
        ended = []
        for state in sorted(self._holders, key=_counted, reverse=True):
            if self.memory <= enough:
                break
            ended.append((state.channel.addr, state.counted))
            problem = OSError(errno.ENOBUFS, f"{os.strerror(errno.ENOBUFS)} (max_memory)")
            _cut_off(state, problem)
            self.weigh(state, 0)
            state.tally.over_max_memory += 1
        logger.warning(
            "%d bytes wait, and max_memory is %d: ended %d connections, the first of them %r,"
            " which held %d bytes",
            *(waited, self.max_memory, len(ended), *ended[0]),
        )


def _cut_off(state: Any, failure: OSError) -> None:
    """Free what *state* holds now, and end it by *failure* in the next pass.

    No hook is called before that, since this may be an event of another channel.
    """
    state.stops |= CLOSING
    state.held = None
    state.buffer.clear()
    lose(state, failure)


def _key(family: int, address: Any) -> Any:
    """What connections from *address* are counted under; None for those of Unix sockets.

    Of IPv6 that is the network of 64 bits, of which one customer has at least one whole.
    """
    if family == socket.AF_INET:
        return address[0]
    if family != socket.AF_INET6:
        return None
    packed = socket.inet_pton(family, address[0].partition("%")[0])
    if packed[:12] == b"\0" * 10 + b"\xff\xff":  # IPv4, by a socket that was given
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return packed[:8]
