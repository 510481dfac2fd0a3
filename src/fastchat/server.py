"""``serve`` and ``Server``: connections for ``LineChannel``, and an end that drops no reply.

Rules this file keeps:

* A server starts whole or not at all, and once.
* Every limit is on, has a name, and is switched off by None.
* To stop takes what the backlog holds, answers each line that was received in full, and keeps
  nobody longer than the grace period.  The process may be told to stop by any thread and by a
  signal handler; all else belongs to the thread of the loop.
* A process that was forked in a hook closes its copies of the descriptors, and ends nothing.
* What it serves stands in one map, in which other channels may be, too: it leaves those alone.

How addresses are understood and opened is in ``_addresses.py`` and ``_binding.py``, the listeners
in ``_listening.py``, limits and counts in ``_admission.py``, signals in ``_stop_signals.py``.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import methodcaller
from typing import Any, Literal, TypeAlias

from fastchat import asyncore
from fastchat._addresses import understood
from fastchat._admission import Admission
from fastchat._binding import all_opened
from fastchat._core.agenda import Timer, add_call, add_later
from fastchat._core.line_stops import CLOSING, OVER, UNBEGUN
from fastchat._core.quantities import YEAR, seconds, whole
from fastchat._listening import Listener
from fastchat._misplaced import explains_names
from fastchat._reports import logger_of
from fastchat._scanner_py import as_bytes
from fastchat._stop_signals import AtOnce, StopSignals
from fastchat.channel import LineChannel

logger: logging.Logger = logger_of("server")
_family: Any = asyncore._family  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
_Socket: TypeAlias = socket.socket
_Data: TypeAlias = bytes | bytearray | memoryview

# Descriptors that are left for everything but connections, and the most connections by default.
_SPARE = 64
_MOST = 10_000
# How many connections are told of a stop in one pass, and how many passes wait for new ones.
_AT_ONCE = 64
_LOOKS = 100
# The longest backlog that listen() takes, as a C int.
_MOST_BACKLOG = 2**31 - 1
# When a stop tries again what it could not do yet, in seconds.
_SOON = 0.05


@dataclass(frozen=True)
class ChannelStats:
    """What channels of one class are in a server, and have done there."""

    # The class, with its module.
    name: str
    # Connections that are there now, and that were given to a channel so far.
    open: int
    accepted: int
    # Bytes that hooks had or have waiting, and that the kernel took.
    received: int
    sent: int
    # Lines that hooks were given; one that a hook gives back counts again.
    lines: int
    # Lines that were dropped because of max_line.
    lines_too_long: int
    # Exceptions that left a hook.
    hook_errors: int
    # Connections that were ended because of max_output, and of the server's max_memory.
    over_max_output: int
    over_max_memory: int
    # Deadlines that have passed.
    idle_timeouts: int
    line_timeouts: int
    write_timeouts: int


@dataclass(frozen=True)
class ServerStats:
    """What a server is, and has done since it started."""

    # "new", "running", "suspended", "stopping" or "stopped".
    state: str
    # What it listens on, as Server.addresses.
    addresses: tuple[str, ...]
    # Seconds since the start, 0 before.
    uptime: float
    # Connections that are there now, and that were given to a channel so far.
    open: int
    accepted: int
    # Connections that were refused: by max_connections, and by max_per_address.
    over_max_connections: int
    over_max_per_address: int
    # Connections that were ended because of max_memory.
    over_max_memory: int
    # Connections for which no channel could be made, because that raised.
    failed: int
    # How many times there were no descriptors, or no memory, for a connection.
    exhausted: int
    # Deadlines that have passed.
    idle_timeouts: int
    line_timeouts: int
    write_timeouts: int
    # Bytes of input and output that wait now, to within 1 KiB a connection, and the most so far.
    memory: int
    most_memory: int
    # The limits, None for none; that of connections is not known before the start.
    max_connections: int | None
    max_memory: int | None
    # The same by the class of the channels: the server's own, and those that its function has made.
    channels: tuple[ChannelStats, ...]


_COUNTS = tuple([each.name for each in fields(ChannelStats)])


class Server:
    """Listens on each *bind*, and makes a *channel* for each connection.

    *channel* is a class derived from LineChannel, or a function that makes such a channel of a
    socket and a map.  *bind* is ``"host:port"``, ``"[IPv6]:port"``, ``":port"`` (all addresses of
    IPv4 and IPv6), ``"unix:/path"``, ``"systemd"`` or a socket.  The server serves in the loop over
    *map*, by default ``asyncore.socket_map``.

    *backlog* is how many connections wait in the kernel, *unix_mode* the mode of socket files (by
    default that of the umask), *refusal* what a connection is sent that a limit keeps out, *grace*
    the seconds that ``stop`` takes at most.  The limits are ``max_connections`` ("auto": the limit
    of descriptors less 64, at most 10,000), ``max_per_address`` (of IPv6: per network of 64 bits)
    and ``max_memory``, the bytes of input and output that wait in all connections; None is none.

    Raises TypeError and ValueError, which name what is wrong.
    """

    @explains_names
    def __init__(
        self,
        channel: Callable[..., LineChannel],
        *bind: str | _Socket,
        map: Any = None,
        backlog: int = 1024,
        unix_mode: int | None = None,
        max_connections: int | Literal["auto"] | None = "auto",
        max_per_address: int | None = None,
        max_memory: int | None = 256 * 2**20,
        refusal: _Data = b"",
        grace: float = 8.0,
    ) -> None:
        if isinstance(channel, type) and not issubclass(channel, LineChannel):
            raise TypeError(f"{channel!r} is no channel: derive it from fastchat.LineChannel")
        if not callable(channel):
            raise TypeError(f"a class derived from LineChannel is wanted, not {channel!r}")
        if not bind:
            raise ValueError("a server needs an address to listen on, such as '127.0.0.1:8888'")
        self._make = channel
        self._places = [understood(each) for each in bind]
        self._map = asyncore.socket_map if map is None else map
        self._backlog = whole("backlog", backlog, 1, _MOST_BACKLOG)
        self._unix_mode = None if unix_mode is None else _mode(unix_mode)
        # None until the start, which looks for the limit of descriptors then.
        is_auto = max_connections == "auto"
        self._most = None if is_auto else _limit_or_none("max_connections", max_connections, 1)
        per_address = _limit_or_none("max_per_address", max_per_address, 1)
        self._refusal = as_bytes(refusal, "refusal must be bytes")
        self._grace = _grace(grace)
        memory = _limit_or_none("max_memory", max_memory, 0)
        self._admission = Admission(per_address, memory, self._note_left)
        if isinstance(channel, type):  # there from the start, also for who looks at the counts
            self._admission.tally_of(channel)
        self._state = "new"
        self._pid = 0
        self._listeners: list[Listener] = []
        self._names: tuple[str, ...] = ()
        self._begun = 0.0
        self._failed = 0
        self._refused = {"max_connections": 0, "max_per_address": 0}
        self._timers: list[Timer] = []
        self._looks = 0
        self._on_stopped: Callable[[], None] | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """What it listens on, in the form of *bind*, with the ports that it got; () before."""
        return self._names

    def start(self) -> None:
        """Listen.  Raises OSError, which names the address that cannot be had; then none is.

        Raises RuntimeError where it has started before.
        """
        if self._state != "new":
            raise RuntimeError(f"the server is {self._state}: it starts once")
        most = _descriptors_less_some() if self._most is None else self._most
        with all_opened(self._places, self._backlog, self._unix_mode) as opened:
            listeners = [Listener(each, self._map, self._take, self._note_end) for each in opened]
            try:
                for listener in listeners:
                    listener.begin()
                self._begun, self._pid = time.monotonic(), os.getpid()
                self._admission.max_connections = most
                self._names = tuple([each.name for each in opened])
                self._listeners, self._state = listeners, "running"
            except BaseException:
                self._listeners, self._state, self._names = [], "new", ()
                _each(listeners, methodcaller("withdraw"))
                raise

    def suspend(self) -> None:
        """Take no new connection; who comes waits in the backlog.  RuntimeError if not running."""
        self._change("running", "suspended")
        for each in self._listeners:
            each.suspend()

    def resume(self) -> None:
        """Take connections again.  Raises RuntimeError where it was not suspended."""
        self._change("suspended", "running")
        for each in self._listeners:
            each.resume()

    def stop(self, grace: float | None = None) -> None:
        """Stop in order, soon: any thread and any signal handler may call this.

        The backlog is taken, the listeners close, and each connection ends when the lines are
        answered that were received in full; after *grace* seconds, by default those of the server,
        what is left is aborted.  Raises TypeError and ValueError as the constructor does.
        """
        most = self._grace if grace is None else _grace(grace)
        add_call(self._map, _family, self._stop, (most,))

    def abort(self) -> None:
        """Close everything at once; what is not sent is lost.

        In a process that was forked meanwhile only its own descriptors are closed, and no hook is
        called.
        """
        if self._state == "new":
            self._state = "stopped"
            return
        if self._pid != os.getpid():
            for each in (*self._listeners, *self._channels()):
                each.socket.close()
            return
        if self._state in ("running", "suspended"):
            self._state = "stopping"
        try:
            _each(self._listeners, methodcaller("close"))
        finally:
            try:
                _each(self._channels(), methodcaller("abort"))
            finally:
                self._finish()

    def stats(self) -> ServerStats:
        """What it is and has done; any thread may ask."""
        admission = self._admission
        tallies = admission.tallies.copy().values()
        channels = [
            ChannelStats(**{each: getattr(tally, each) for each in _COUNTS}) for tally in tallies
        ]
        return ServerStats(
            state=self._state,
            addresses=self._names,
            uptime=time.monotonic() - self._begun if self._begun else 0.0,
            open=admission.open,
            accepted=sum([each.accepted for each in channels]),
            over_max_connections=self._refused["max_connections"],
            over_max_per_address=self._refused["max_per_address"],
            over_max_memory=sum([each.over_max_memory for each in channels]),
            failed=self._failed,
            exhausted=sum([each.times_exhausted for each in self._listeners]),
            idle_timeouts=sum([each.idle_timeouts for each in channels]),
            line_timeouts=sum([each.line_timeouts for each in channels]),
            write_timeouts=sum([each.write_timeouts for each in channels]),
            memory=admission.memory,
            most_memory=admission.most_memory,
            max_connections=_int_or_none(admission.max_connections),
            max_memory=_int_or_none(admission.max_memory),
            channels=tuple(channels),
        )

    # Connections.

    def _take(self, sock: Any, address: Any) -> None:
        """A listener has taken a connection."""
        limit = self._admission.refuses(sock.family, address)
        if limit:
            self._refused[limit] += 1
            self._send_off(sock)
            return
        channel: Any = None
        try:
            channel = self._make(sock, self._map)
            if not issubclass(type(channel), LineChannel):
                raise TypeError(f"{self._make!r} has made {channel!r}, which is no LineChannel")
            if channel.socket is None and not channel._fc_line.stops & OVER:
                raise TypeError(
                    f"{channel!r} has no socket: let its __init__() call "
                    "super().__init__(sock, map)"
                )
            agenda = channel._fc_line.agenda
            if agenda is not None and agenda.map is not self._map:
                channel.abort()
                raise TypeError(
                    f"{type(channel).__name__} has joined another map than that of the server: let "
                    "its __init__() call super().__init__(sock, map)"
                )
        except BaseException as failure:
            self._give_up(sock)
            if isinstance(failure, _family.reraised()):
                raise
            self._failed += 1
            logger.error("no channel could be made for %r", address, exc_info=True)
            return
        tally = self._admission.tally_of(type(channel))
        tally.accepted += 1
        state = channel._fc_line
        if not state.stops & OVER:  # it may have had enough in its __init__()
            self._admission.enter(state, tally, sock.family, address)
            if channel.addr is None:  # the peer has gone already
                channel.addr = address
            if self._state == "stopped":  # its __init__() has called abort()
                channel.abort()

    def _send_off(self, sock: Any) -> None:
        with sock:
            if self._refusal:
                sock.setblocking(False)
                try:
                    sock.send(self._refusal)
                except OSError:
                    pass  # it has gone, or does not read

    def _give_up(self, sock: Any) -> None:
        """Close *sock*, of which a channel was not made, or not to its end."""
        half_made: Any = self._map.get(sock.fileno())
        if issubclass(type(half_made), LineChannel) and half_made.socket is sock:
            half_made.abort()
        sock.close()

    def _channels(self) -> list[Any]:
        """The channels of this server, of all that are in the map."""
        admission = self._admission
        channels = [
            each for each in list(self._map.values()) if issubclass(type(each), LineChannel)
        ]
        return [each for each in channels if each._fc_line.owner is admission]

    # The end.

    def _change(self, before: str, after: str) -> None:
        if self._state not in (before, after):
            raise RuntimeError(f"the server is {self._state}, not {before}")
        self._state = after

    def _stop(self, grace: float) -> None:
        """What ``stop`` does, in the loop."""
        if self._state == "stopped":
            return
        if self._state == "new" or not grace:
            self.abort()
            return
        self._later(grace, self._end_grace, grace)
        if self._state == "stopping":
            return
        self._state = "stopping"
        self._admission.is_stopping = True
        try:
            self._take_backlogs()
        finally:
            self._note_end()

    def _take_backlogs(self) -> None:
        """Take what the backlogs hold, and let all connections end.

        A listener closes when that is done.  Where there is no descriptor for a connection, it is
        tried again soon, when some may have ended, until the grace period is over.
        """
        listeners = [each for each in self._listeners if each.accepting]
        try:
            _each(listeners, self._take_backlog)
        finally:
            if _any_accepting(listeners):
                self._later(_SOON, self._take_backlogs)
            self._shut_connections_down()

    def _take_backlog(self, listener: Listener) -> None:
        listener.suspend()  # its next look is that of _take_backlogs()
        is_all = True
        try:
            # As many as can wait there: while it is open, more may come without end.
            is_all = listener.take_backlog(self._backlog + 1)
        finally:
            if is_all:
                listener.close()

    def _shut_connections_down(self) -> None:
        """Let each connection answer what it has received, and end; some in each pass."""
        left, is_early = [], False
        for channel in self._channels():
            state = channel._fc_line
            if state.stops & CLOSING or state.is_ending:
                continue
            if state.stops & UNBEGUN:
                is_early = True  # it was taken a moment ago
            else:
                left.append(channel)
        try:
            _each(left[:_AT_ONCE], methodcaller("shut_down"))
        finally:
            is_more = len(left) > _AT_ONCE
            if self._state == "stopping" and (is_more or is_early):
                self._looks += 1
                # One that does not begin in so many passes is not worth all of them.
                is_next = is_more or self._looks < _LOOKS
                self._later(0 if is_next else _SOON, self._shut_connections_down)

    def _end_grace(self, grace: float) -> None:
        left = self._admission.open
        try:
            logger.warning("%d connections did not end in %g s: aborted", left, grace)
        finally:
            self.abort()

    def _later(self, seconds: float, function: Callable[..., None], *args: Any) -> None:
        self._timers = [each for each in self._timers if each.is_active]
        self._timers.append(add_later(self._map, _family, seconds, function, args))

    def _note_left(self) -> None:
        """A connection has gone."""
        for listener in self._listeners:
            listener.end_shortage()
        self._note_end()

    def _note_end(self) -> None:
        """A listener or the last connection has gone: perhaps that was all."""
        is_listening = any(each.accepting for each in self._listeners)
        if self._state != "new" and not self._admission.open and not is_listening:
            self._finish()

    def _finish(self) -> None:
        if self._state == "stopped":
            return
        self._state = "stopped"
        self._cancel_timers()
        if self._on_stopped is not None:
            # In the next pass: connection_lost() of the last one is still to be called.
            self._later(0, self._on_stopped)

    def _end(self) -> None:
        """``serve`` is left: leave nothing behind, in the agenda of the map neither."""
        self._on_stopped = None
        self.abort()
        self._cancel_timers()

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class _Stopped(asyncore.ExitNow):
    """The *server* has stopped: leave the loop, up to the ``serve`` that runs it."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server


@explains_names
def serve(
    channel: Callable[..., LineChannel],
    *bind: str | _Socket,
    map: Any = None,
    backlog: int = 1024,
    unix_mode: int | None = None,
    max_connections: int | Literal["auto"] | None = "auto",
    max_per_address: int | None = None,
    max_memory: int | None = 256 * 2**20,
    refusal: _Data = b"",
    grace: float = 8.0,
    on_start: Callable[[Server], object] | None = None,
) -> int:
    """Run a ``Server`` until it has stopped, and return an exit status.

    The arguments are those of Server; *on_start* is called with it when it listens.  SIGTERM and
    SIGINT stop it in order, which returns 0; the second of them stops it at once, which returns 128
    more than its number, as a shell has it.  What was handled before is handled so again at the
    end.  Outside of the main thread no signal is handled, and a warning says so.

    Other channels of *map* are served, too, and left as they are.  ``asyncore.ExitNow`` of a hook
    closes everything at once, and 0 is returned.

    Raises what Server and ``Server.start`` raise, and what leaves the loop or *on_start*; then
    nothing of the server is left open.  That includes the end of another ``serve`` in whose hook
    this one runs, over the same map.
    """
    server = Server(
        channel,
        *bind,
        map=map,
        backlog=backlog,
        unix_mode=unix_mode,
        max_connections=max_connections,
        max_per_address=max_per_address,
        max_memory=max_memory,
        refusal=refusal,
        grace=grace,
    )
    server._on_stopped = functools.partial(_leave, server)
    status = 0
    with StopSignals(server.stop):
        try:
            status = _run_to_the_end(server, on_start)
        except AtOnce as now:  # in the midst of the end
            status = int(str(now))
            server._end()
        except _Stopped as stopped:
            if stopped.server is not server:
                raise
        except asyncore.ExitNow:
            pass
    return status


def _run_to_the_end(server: Server, on_start: Callable[[Server], object] | None) -> int:
    status = 0
    try:
        _run(server, on_start)
    except AtOnce as now:
        status = int(str(now))
    finally:
        server._end()
    return status


def _run(server: Server, on_start: Callable[[Server], object] | None) -> None:
    server.start()
    if on_start is not None:
        on_start(server)
    # Windows does not end a wait for a signal, nor for a call of another thread.
    timeout = 0.5 if os.name == "nt" or not isinstance(server._map, dict) else 30.0
    asyncore.loop(timeout, use_poll=True, map=server._map)


def _leave(server: Server) -> None:
    raise _Stopped(server)


def _each(things: Iterable[Any], function: Callable[[Any], object]) -> None:
    """Call *function* with each of *things*; what it raises first leaves when that is done."""
    first: BaseException | None = None
    for thing in things:
        try:
            function(thing)
        except BaseException as failure:
            first = first or failure
    if first is not None:
        raise first


def _any_accepting(listeners: Iterable[Listener]) -> bool:
    return any(each.accepting for each in listeners)


# What may be given.


def _limit_or_none(name: str, value: Any, least: int) -> float:
    return math.inf if value is None else whole(name, value, least, or_none=True)


def _int_or_none(limit: float) -> int | None:
    return None if limit == math.inf else int(limit)


def _mode(value: Any) -> int:
    mode = whole("unix_mode", value, 0)
    if mode > 0o777:
        raise ValueError(f"unix_mode must be at most 0o777, not {mode:#o}")
    return mode


def _grace(value: Any) -> float:
    return seconds("grace", value, 0, YEAR)


def _descriptors_less_some() -> int:
    """How many connections the limit of descriptors allows, at most ``_MOST``."""
    try:
        import resource  # noqa: PLC0415 (Windows has none, and no such limit)
    except ImportError:
        return _MOST
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if limit == resource.RLIM_INFINITY else max(min(limit - _SPARE, _MOST), 1)
