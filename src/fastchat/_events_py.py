"""Waiting for events, and handing out those that are plain input, in Python.

The twin of ``_events.pxi``: the same names, the same results, the same errors.
"""

from __future__ import annotations

from typing import Any
from weakref import ProxyTypes

from fastchat._channel_py import binds
from fastchat._hangups import forget_hang_up
from fastchat._pollers import READ, WRITE, without_a_set
from fastchat._state_py import Absent, State


class Entry:
    """One channel that is waited for, under one descriptor, since one pass."""

    __slots__ = (
        "born",
        "channel",
        "fd",
        "flags",
        "registration",
        "said",
        "state",
        "tracked",
    )

    def __init__(self, channel: Any, fd: int, born: int) -> None:
        self.channel = channel
        self.fd = fd
        self.born = born
        self.registration: Any = 0
        self.said: (
            int | None
        ) = -1  # flags of the last answer, if that was asked for as on every pass
        self.flags = 0  # what is waited for: what was answered, as the poller has it
        self.tracked = False  # whether it is asked only when something happens
        self.state: Any = None  # that of an async_chat


class Flags:
    """Flags by descriptor: a byte each, where a dict would take a hundred."""

    __slots__ = ("_bytes", "count")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.count = 0  # how many descriptors have any

    def __getitem__(self, fd: Any) -> int:
        # Nobody waits for what is no descriptor, and may have any key in a map.
        try:
            return self._bytes[fd] if fd >= 0 else 0
        except (IndexError, TypeError):
            return 0

    def __setitem__(self, fd: int, flags: int) -> None:
        had = self[fd]
        if had == flags:
            return
        if fd >= len(self._bytes):
            self._bytes.extend(bytes(fd + 64 - len(self._bytes)))
        change = bool(flags) - bool(had)
        # Nothing is called here: behind a call an exception of a signal handler may leave.
        self._bytes[fd] = flags
        self.count += change


def is_readable(fd: int) -> bool:
    """Whether there is input on *fd* at this moment; false where it is closed."""
    one = without_a_set()
    one.register(fd, READ)
    return one.wait(0) == [(fd, READ)]


def has_own(channel: Any, name: str, function: Any) -> bool:
    """Whether *function* is the method *name* of the class of *channel*, and no other hides it."""
    # The class first: what it has may be a property, whose code is not run here.
    return getattr(type(channel), name, None) is function and binds(
        getattr(channel, name, None), function, channel
    )


def has_bools(channel: Any) -> bool:
    """Whether to look at *connected* and *accepting* of *channel* runs no code of the program's."""
    kind = type(channel)
    return (
        type(getattr(kind, "connected", None)) in _BOOLS
        and type(getattr(kind, "accepting", None)) in _BOOLS
        and type(channel.connected) in _BOOLS
        and type(channel.accepting) in _BOOLS
    )


_BOOLS = (bool, int)


def ask_chat(channel: Any, stock: tuple[Any, ...]) -> int:
    """What an ordinary async_chat waits for, as flags; 0 where *channel* is none.

    *stock* are the functions that it must have as ``readable``, ``writable``, ``handle_expt`` and
    ``handle_expt_event``.  Runs no code of the program's.
    """
    kind: Any = type(channel)
    if kind.__getattribute__ is not object.__getattribute__:
        return 0  # a proxy, perhaps of what is gone
    if not hasattr(kind, "_fc_state"):
        return 0  # no dispatcher, and its __getattr__ may do anything
    state = channel._fc_state
    if type(state) is not State or kind is not state.plain:
        return 0
    if not (
        has_own(channel, "readable", stock[0])
        and has_own(channel, "writable", stock[1])
        and has_own(channel, "handle_expt", stock[2])
        and has_own(channel, "handle_expt_event", stock[3])
    ):
        return 0
    if type(state.fifo) is Absent or not has_bools(channel) or channel.accepting:
        return 0
    return READ | WRITE if state.fifo or not channel.connected else READ


def touch_fd(watch: Any, fd: int) -> None:
    """Ask who has *fd* in the next pass, and let that be soon."""
    while True:
        # A pass of another thread takes the dict away, and makes a new one.
        touched = watch.touched
        touched[fd] = None
        if touched is watch.touched:
            break
    stir(watch)


def stir(watch: Any) -> None:
    """Something has changed of which the poller knows nothing: let the loop not wait."""
    watch.is_stirred = True
    if watch.is_waiting:
        watch.wake()


def enter(watch: Any, channel: Any, fd: int) -> Entry | None:
    """Give *channel*, which is new, its entry in *watch*.

    Returns it, tracked and with its flags where ``ask_chat`` has any; from C also None, where
    nothing is left to do, because the poller waits for it already.
    """
    entry = Entry(channel, fd, watch.passes)
    entry.registration = registration_of(channel)
    flags = ask_chat(channel, watch.core["_STOCK_CHAT"])
    if flags:
        entry.tracked = True
        entry.state = channel._fc_state
        entry.flags = flags
    watch.entries[fd] = entry
    return entry


def forget(watch: Any, fd: int) -> None:
    """The channel of *fd* left; its socket may be closed next."""
    if fd in watch.entries:
        watch.leave(fd)
    if watch.registered[fd]:
        watch.unregister(fd)


def serve(watch: Any, milliseconds: int, is_poll2: bool) -> list[tuple[Any, int, Any]] | None:
    """Wait for events of *watch*; hand out plain input, then room for output to who is tracked.

    Returns what else happened, as entries, flags and the answers of those who are asked on every
    pass (None for others); and None where nothing did in *milliseconds* (-1 for ever, 0 not at
    all).
    """
    number = watch.passes
    happened = watch.poller.wait(milliseconds)
    watch.is_waiting = False
    if not happened:
        return None
    watch.events += len(happened)
    asked = watch.asked
    answers = {}
    plain = (READ, WRITE) if watch.core["_is_plain"](is_poll2) else ()
    if asked:
        # Kept before any hook runs: it may make a pass of its own, which asks them anew.
        answers = {
            fd: _answer_of(entry)
            for fd, flags in happened
            if (entry := asked.get(fd)) and (flags != READ or not plain)
        }
    slow, roomy = _hand_out(watch, happened, answers, plain, is_poll2, number)
    if slow and not is_poll2:  # poll() hands out all input first
        return slow + [(entry, WRITE, None) for entry in roomy]
    for entry in roomy:
        is_there = watch.entries.get(entry.fd) is entry
        if is_there and (watch.is_told or watch.map.get(entry.fd) is entry.channel):
            _give_room(watch, entry, is_poll2)
    return slow


def _hand_out(
    watch: Any,
    happened: list[tuple[int, int]],
    answers: dict[int, Any],
    plain: tuple[int, ...],
    is_poll2: bool,
    number: int,
) -> tuple[list[Any], list[Any]]:
    """Hand out plain input; returns what else there is, and the entries with room for output.

    *answers* are those of channels that are asked on every pass, *plain* are the flags that may be
    handed out here, *number* is that of the pass.
    """
    entries, is_told, read = watch.entries, watch.is_told, READ
    slow = []
    roomy = []
    for fd, flags in happened:
        entry = entries.get(fd)
        if entry is None:
            watch.take_stranger(fd, number)
            continue
        if entry.born > number:
            continue
        if flags not in plain or not (entry.tracked or flags == read):
            slow.append((entry, flags, answers.get(fd)))
            continue
        # Who is tracked is believed to be in a map that tells of all changes.
        if not (is_told and entry.tracked) and watch.map.get(fd) is not entry.channel:
            continue
        if not entry.tracked:
            _give_asked_input(watch, entry, is_poll2)
            continue
        if flags != read:
            roomy.append(entry)
            continue
        channel, state = entry.channel, entry.state
        try:
            if not channel.readable():
                watch.touched[fd] = None
                continue
            if state.told if state is not None else channel._fc_hung_up is not None:
                forget_hang_up(channel)
            channel.handle_read_event()
        except BaseException:
            watch.touched[fd] = None  # for what follows may leave the loop
            watch.core["_settle_failure"](channel, watch.map, fd, is_poll2)
        if state is None and watch.is_endless:
            watch.take_more(entry, is_poll2)
        if state is None or state.fifo or entry.flags != read:
            _settle(watch, entry)
    return slow, roomy


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


def _answer_of(entry: Entry) -> tuple[Any, int | None, int]:
    """What the channel of *entry* said in this pass, as ``_ask_one`` has it."""
    return entry.channel, registration_of(entry.channel), entry.flags


def _give_asked_input(watch: Any, entry: Entry, is_poll2: bool) -> None:
    """Tell the channel of *entry*, which is asked on every pass, that there is input."""
    if not watch.core["_is_plain"](is_poll2):  # a hook has replaced what hands it out
        watch.core["_hand_input"](entry.channel, watch.map, entry.fd, is_poll2)
        return
    try:
        forget_hang_up(entry.channel)
        entry.channel.handle_read_event()
    except BaseException:
        watch.core["_settle_failure"](entry.channel, watch.map, entry.fd, is_poll2)


def _give_room(watch: Any, entry: Any, is_poll2: bool) -> None:
    """Tell the channel of *entry* that there is room for output, if it still wants any."""
    channel = entry.channel
    state = entry.state
    try:
        if channel.writable() and not channel.accepting:
            if state.told if state is not None else channel._fc_hung_up is not None:
                forget_hang_up(channel)
            channel.handle_write_event()
    except BaseException:
        watch.touched[entry.fd] = None
        watch.core["_settle_failure"](channel, watch.map, entry.fd, is_poll2)
    _settle(watch, entry)


def _settle(watch: Any, entry: Any) -> None:
    """Let the channel of *entry* be asked again, unless it clearly waits for the same."""
    state = entry.state
    if state is not None:
        if bool(state.fifo) == bool(entry.flags & WRITE):
            return
    elif entry.flags == READ and entry.channel.accepting and entry.channel._fc_rest is None:
        return
    watch.touched[entry.fd] = None
