# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""One pass over a map whose registrations are kept: wait, and hand each event to its channel.

Plain input of any channel, and plain room for output of a tracked one, are handed out here.
Hang-ups, errors, urgent data, and room for output of channels that are asked on every pass are
*slow* events: they go through ``read``, ``write``, ``_exception`` and ``readwrite`` of
``asyncore``, as in a pass of the old kind.  Where a program has replaced one of these functions,
everything does.

Rules this file keeps:

* ``poll`` hands out all input before any room for output.
* Answers of channels that are asked on every pass are saved before callbacks run, because a nested
  loop overwrites them.
* An entry that is younger than the wait has no events yet, and one that left has none any more.
* What is to be done is noted before what may leave the loop.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from fastchat._core.failures import bury, settle_failure
from fastchat._core.full_passes import hand_input, hand_out_flags, hand_out_sets, holds
from fastchat._core.pollers import (
    ERROR,
    HANG_UP,
    INVALID,
    READ,
    WRITE,
    PollerLost,
    as_select,
    is_ours,
)
from fastchat._hangups import forget_hang_up

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._core._cy import get_item
    from fastchat._core.asking import ask_one, registration_of
    from fastchat._core.family import Family
    from fastchat._core.maps import watch_over
    from fastchat._core.outgoing import flush_this_thread
    from fastchat._core.pollers import is_readable
    from fastchat._core.state import has_queue
    from fastchat._core.watch import Entry, Watch

    if TYPE_CHECKING:
        from math import ceil

        from fastchat._core._externs import truncated
        from fastchat._core.line_state import LineState
        from fastchat._core.state import State, set_current
        from fastchat._sysio import EventBuffer, fd_at, flags_at, wait

# A check of a LineChannel costs three times what its event costs, 13,500 instructions, so that
# checking takes 2 % of what the loop and one connection cost, and 5 % where each pass has many.
EVENTS_PER_CHECK = 64

# How many channels are checked in the next pass after a time-out.
CHECKS_AFTER_TIMEOUT = 8

# How long nothing has to happen until channels are checked, in milliseconds, and how many of them
# before the loop looks whether something has happened after all.
IDLE_MS = 20
CHECKED_AT_ONCE = 256

# Up to how many channels are all checked in a pass that a program makes itself.
CHECK_ALL_UP_TO = 32

# How many connections a listener takes, after the first, before others get their events.
EXTRA_ACCEPTS = 15

# Up to how many passes are made before what runs the loop is asked whether to go on.
PASSES_AT_ONCE = 64

_GONE = HANG_UP | ERROR | INVALID

# The longest wait that all systems take, in milliseconds: 24 days.
_LONGEST_WAIT = 2**31 - 1

_own_sleep = time.sleep


def make_passes(watch: Watch, family: Family, timeout: Any, is_poll2: bool, is_first: bool) -> None:
    """Make passes as ``loop`` of *family* does without a count: up to ``PASSES_AT_ONCE``.

    *family* may be another import of ``asyncore`` than that of *watch*, whose ``select`` then says
    whether registrations may be kept.

    Where nothing has happened, and now and then, the interpreter gets to run: it may have an
    exception for this thread from another one, and looks for that in Python only.
    """
    for _ in range(PASSES_AT_ONCE):
        has_happened = make_pass(watch, timeout, is_poll2, is_first, True)
        if not has_happened or not watch.map:
            return
        if watch_over(watch.map, family, True) is not watch:
            return
        is_first = False


def make_pass(  # compiled only
    watch: Watch, timeout: Any, is_poll2: bool, is_first: bool, is_endless: bool = False
) -> bool:
    """Wait at most *timeout* seconds, and hand out what happened to the channels of *watch*.

    Returns whether anything had.  The order of events, and the meaning of *timeout*, are those of
    ``poll2`` or ``poll``.  *is_first*: code of the program ran since the last pass (``poll``,
    ``poll2``, or the first pass of ``loop``).  *is_endless*: ``loop`` has no count.
    """
    with cython.critical_section(watch.passing):
        return _make_pass_alone(watch, timeout, is_poll2, is_first, is_endless)


def _make_pass_alone(
    watch: Watch, timeout: Any, is_poll2: bool, is_first: bool, is_endless: bool = False
) -> bool:
    """``make_pass``, while no other thread makes one over the same map."""
    # A predicate may make a pass.
    outer = watch.set_asking(None) if cython.compiled or watch.asking is not None else None
    slow: list[Any] | None = None
    try:
        timeout = _prepare(watch, timeout, is_poll2, is_first, is_endless)
        agenda = watch.agenda
        registered = watch.registered
        waits = registered.has_any() if cython.compiled else registered.count > 0
        if not waits and not is_poll2 and _has_to_sleep(watch, timeout):
            watch.system.sleep(watch.family.names, timeout if watch.map else 0)
            agenda.look()
        else:
            slow = _wait_and_check(watch, _milliseconds(timeout, is_poll2), is_poll2)
            if slow:
                _hand_out_slow(watch, slow, is_poll2)
        if agenda.is_used:
            agenda.run_due()
    finally:
        if outer is not None:
            watch.set_asking(outer)
        watch.agenda.wake()  # what this pass has left to the next one, another loop shall do
    return slow is not None


def _prepare(watch: Watch, timeout: Any, is_poll2: bool, is_first: bool, is_endless: bool) -> Any:
    """Do all that a pass does before it waits; returns how long it may wait, as *timeout*."""
    watch.is_endless = is_endless and watch.reports_changes
    flush_this_thread()
    if cython.compiled:
        watch.begin_pass()
    else:
        watch._begin_pass()
    if is_poll2 != watch.is_poll2:
        watch.change_to(is_poll2)
    agenda = watch.agenda
    if agenda.is_used:
        agenda.run()
    if not watch.reports_changes:
        watch.find_changes()
    ok = True
    if watch.untracked:
        ok = watch.ask_untracked()
    if watch.touched:
        ok &= watch.ask_touched()
    if is_first:
        ok &= watch.check_some(CHECK_ALL_UP_TO)
        watch.unchecked = len(watch.entries)
    elif watch.events >= EVENTS_PER_CHECK:
        ok &= watch.check_some(watch.events // EVENTS_PER_CHECK)
        watch.events %= EVENTS_PER_CHECK
    if watch.needs_new_set:
        watch.make_new_set(watch.kind)
    is_cut = (watch.is_changed or watch.was_cut) and watch.cuts_wait()
    if is_cut or not ok:
        timeout = 0
    elif watch.family.resting:
        timeout = watch.family.until_rest_ends(timeout, watch.system)
    if agenda.is_used:
        timeout = agenda.until_next(timeout)
    return timeout


def hand_out(watch: Watch, is_poll2: bool, is_idle: bool) -> bool:
    """Do what a pass does behind its wait, where another loop has waited.

    Returns whether anything had happened.  *is_idle*: nothing has for about ``IDLE_MS``.
    """
    with cython.critical_section(watch.passing):
        outer = watch.set_asking(None)
        try:
            slow = _wait(watch, 0, is_poll2)
            if slow is not None:
                watch.unchecked = len(watch.entries)
                if slow:
                    _hand_out_slow(watch, slow, is_poll2)
            elif is_idle and watch.unchecked > 0:
                watch.check_some(CHECKED_AT_ONCE)
            if watch.agenda.is_used:
                watch.agenda.run_due()
        finally:
            watch.set_asking(outer)
    return slow is not None


def prepare(watch: Watch, timeout: Any, is_poll2: bool, is_first: bool) -> Any:
    """Do what a pass does before its wait, where another loop is going to wait.

    Returns how long that may be, in seconds, or None for ever.  It is at most *timeout* where the
    loop is not told of all changes.
    """
    with cython.critical_section(watch.passing):
        outer = watch.set_asking(None)
        try:
            rest = _prepare(watch, None, is_poll2, is_first, True)
        finally:
            watch.set_asking(outer)
    with cython.critical_section(watch):
        watch.thread = 0  # what follows is not done by the pass
    if watch.untracked or not watch.reports_changes:
        rest = _shorter(rest, timeout)
    watch.unchecked = min(watch.unchecked, len(watch.entries))  # some may have left
    if watch.unchecked > 0:
        rest = _shorter(rest, IDLE_MS / 1000)
    poller = watch.poller
    if poller.always or watch.needs_new_set:  # of these the descriptor of the set says nothing
        return 0
    if poller.muted and not poller.is_kernel_set:
        return _shorter(rest, 1)
    return rest


def _shorter(one: Any, other: Any) -> Any:
    """The shorter of two waits, of which None is for ever."""
    return other if one is None or (other is not None and other < one) else one


if not cython.compiled:
    make_pass = _make_pass_alone  # there is nothing to lock


def _has_to_sleep(watch: Watch, timeout: Any) -> bool:
    """Whether a pass in which nobody waits for anything makes a real sleep, as CPython's does.

    The poller's wait can be ended; but it says other things about a wrong *timeout*, and a
    program may have replaced ``sleep``.
    """
    return (
        timeout is None
        or timeout < 0
        or not watch.poller.is_kernel_set
        or watch.family.names["time"].sleep is not _own_sleep
    )


def _milliseconds(timeout: Any, is_poll2: bool) -> int:
    """*timeout* (seconds, or None for ever) as the pollers want it."""
    if timeout is None:
        return -1
    if cython.compiled and type(timeout) is float:  # compiled only
        exact = timeout * 1000
        if 0 <= exact < _LONGEST_WAIT:
            return truncated(exact if is_poll2 else ceil(exact))
    if is_poll2:
        return min(max(int(timeout * 1000), -1), _LONGEST_WAIT)
    if timeout < 0:
        raise ValueError("timeout must be non-negative")
    milliseconds: int = min(math.ceil(timeout * 1000), _LONGEST_WAIT)
    return milliseconds


def _wait_and_check(watch: Watch, milliseconds: int, is_poll2: bool) -> list[Any] | None:
    """Wait, hand out the plain events, and return what else there is; None after a time-out.

    Channels are checked while nothing happens.
    """
    while watch.unchecked > 0 and not 0 <= milliseconds <= IDLE_MS:
        slow = _wait(watch, IDLE_MS, is_poll2)
        if slow is not None:
            watch.unchecked = len(watch.entries)
            return slow
        milliseconds = max(milliseconds - IDLE_MS, -1)
        ok = watch.check_some(CHECKED_AT_ONCE)
        ok &= watch.ask_touched()
        if not ok or not watch.map:
            return None
    slow = _wait(watch, milliseconds, is_poll2)
    # Whether something happened or not: what we were not told of, another thread may have done.
    watch.unchecked = len(watch.entries)
    if slow is None:
        watch.events += CHECKS_AFTER_TIMEOUT * EVENTS_PER_CHECK
    return slow


def _wait(watch: Watch, milliseconds: int, is_poll2: bool) -> list[Any] | None:
    """``_wait_and_dispatch``; a poller whose descriptor the program closed is replaced."""
    slow: list[Any] | None = None
    try:
        # In this order: what another thread changes now either shows here, or ends the wait.
        is_stirred = watch.begin_to_wait()
        # The map is empty where a signal handler has closed all that this pass found.
        if is_stirred or not watch.map:
            milliseconds = 0
        slow = _wait_and_dispatch(watch, milliseconds, is_poll2)
    except PollerLost:
        watch.needs_new_set = True
    return slow


def _wait_and_dispatch(watch: Watch, milliseconds: int, is_poll2: bool) -> list[Any] | None:
    """Wait for events of *watch*; hand out plain input, then room for output to who is tracked.

    Returns what else happened, as entries, flags and the answers of those who are asked on every
    pass (None for others); and None where nothing did in *milliseconds* (-1 for ever, 0 not at
    all).
    """
    pass_number = watch.passes
    room: EventBuffer | None = None
    happened: Any = ()  # descriptors with their flags
    try:
        epoll = watch.epoll_fd() if cython.compiled else -1
        if epoll >= 0:  # compiled only
            room, watch.event_buffer = watch.event_buffer, None
            if room is None:
                room = EventBuffer()
            count = wait(epoll, room, milliseconds)
        else:
            happened = watch.poller.wait(milliseconds)
            count = len(happened)
    finally:
        watch.end_wait()
    agenda = watch.agenda
    if agenda.is_used:
        agenda.look()
    if not count:
        watch.event_buffer = room
        return None
    watch.events += count
    is_stock = watch.family.has_stock_events(is_poll2)
    answers: dict[Any, Any] | None = None
    if watch.untracked:
        answers = {}
        for index in range(count):
            if room is not None:  # compiled only
                fd, flags = fd_at(room, index), flags_at(room, index)
            else:
                fd, flags = happened[index]
            if flags != READ or not is_stock:
                _save_answer(watch, answers, fd)
    slow: list[Any] = []
    roomy: list[Entry] | None = None
    entries = watch.entries
    for index in range(count):
        if room is not None:  # compiled only
            fd, flags = fd_at(room, index), flags_at(room, index)
        else:
            fd, flags = happened[index]
        key = fd
        entry = get_item(entries, key)
        if entry is None:
            _handle_unregistered(watch, fd, pass_number)
            continue
        if entry.born > pass_number:
            continue
        if not is_stock or not (flags == READ or (flags == WRITE and entry.tracked)):
            slow.append((entry, flags, None if answers is None else get_item(answers, key)))
            continue
        # In a map that reports its changes a tracked entry needs no look at the map.
        if (
            not (watch.reports_changes and entry.tracked)
            and watch.map.get(key) is not entry.channel
        ):
            continue
        if flags == WRITE:
            if roomy is None:
                roomy = []
            roomy.append(entry)
        elif entry.tracked:
            _give_input(watch, entry, is_poll2)
        else:
            _give_asked_input(watch, entry, is_poll2)
    watch.event_buffer = room
    if slow and not is_poll2:  # poll() hands out all input first
        return slow + [(entry, WRITE, None) for entry in roomy or ()]
    for entry in roomy or ():
        if get_item(entries, entry.fd) is entry and (
            watch.reports_changes or watch.map.get(entry.fd) is entry.channel
        ):
            _give_room(watch, entry, is_poll2)
    return slow


def _save_answer(watch: Watch, answers: dict[Any, Any], fd: int) -> None:
    """Put into *answers* what was said for *fd* in this pass, as ``ask_one`` has it."""
    entry = get_item(watch.untracked, fd)
    if entry is not None:
        answers[fd] = entry.channel, registration_of(entry.channel), entry.flags


def _give_input(watch: Watch, entry: Entry, is_poll2: bool) -> None:
    """Tell the channel of *entry*, which is tracked, that there is input, if it still wants any."""
    channel = entry.channel
    line: LineState | None = entry.line
    if line is not None:
        try:
            line.read_event()
        except BaseException:
            watch.mark(entry.fd)
            settle_failure(watch.family, channel, watch.map, entry.fd, is_poll2)
        return
    state: State | None = entry.state
    try:
        if cython.compiled and state is not None:
            set_current(channel, state)
        if not channel.readable():
            watch.mark(entry.fd)
            return
        if state.close_notified if state is not None else channel._fc_hung_up is not None:
            forget_hang_up(channel)
        channel.handle_read_event()
    except BaseException:
        watch.mark(entry.fd)  # for what follows may leave the loop
        settle_failure(watch.family, channel, watch.map, entry.fd, is_poll2)
    finally:
        if cython.compiled:
            set_current(None, None)
    if state is None:
        if watch.is_endless:
            _take_more(watch, entry, is_poll2)
    elif entry.flags == READ and not (has_queue(state) if cython.compiled else state.fifo):
        return  # it waits for the same
    _settle(watch, entry)


def _give_asked_input(watch: Watch, entry: Entry, is_poll2: bool) -> None:
    """Tell the channel of *entry*, which is asked on every pass, that there is input."""
    channel = entry.channel
    family = watch.family
    if not family.has_stock_events(is_poll2):  # a hook has replaced what hands it out
        hand_input(family, channel, watch.map, entry.fd, is_poll2)
        return
    try:
        forget_hang_up(channel)
        channel.handle_read_event()
    except BaseException:
        settle_failure(family, channel, watch.map, entry.fd, is_poll2)


def _give_room(watch: Watch, entry: Entry, is_poll2: bool) -> None:
    """Tell the channel of *entry* that there is room for output, if it still wants any."""
    channel = entry.channel
    state: State | None = entry.state
    try:
        if channel.writable() and not channel.accepting:
            if state.close_notified if state is not None else channel._fc_hung_up is not None:
                forget_hang_up(channel)
            channel.handle_write_event()
    except BaseException:
        watch.mark(entry.fd)  # for what follows may leave the loop
        settle_failure(watch.family, channel, watch.map, entry.fd, is_poll2)
    _settle(watch, entry)


def _settle(watch: Watch, entry: Entry) -> None:
    """Let the channel of *entry* be asked again, unless it clearly waits for the same."""
    state: State | None = entry.state
    if state is not None:
        if has_queue(state) == bool(entry.flags & WRITE):
            return
    elif entry.flags == READ and entry.channel.accepting and entry.channel._fc_rest is None:
        return
    watch.mark(entry.fd)


def _handle_unregistered(watch: Watch, fd: int, pass_number: int) -> None:
    """There is an event for *fd*, which is no channel's, in pass *pass_number*."""
    with cython.critical_section(watch):
        waker = watch.waker
    if waker is not None and fd == waker.fileno():
        waker.clear()
    elif watch.last_leave < pass_number:
        # No channel left in this pass, so the kernel has a registration that nobody made.
        watch.needs_new_set = True


def _take_more(watch: Watch, entry: Entry, is_poll2: bool) -> None:
    """Let the listener of *entry*, which took a connection, take others that wait.

    As if the next passes had found nothing else: each asks who joined, and then the listener.
    To make real passes would cost as much as all else that is done for a connection.
    """
    family, channel = watch.family, entry.channel
    for _ in range(EXTRA_ACCEPTS if channel.accepting else 0):
        watch.passes += 1
        ok = watch.ask_touched() and watch.is_current(entry)
        if not ok or watch.untracked or family.resting:
            return
        try:
            has_more = (
                is_readable(entry.fd) if watch.is_real else watch.system.is_readable(entry.fd)
            )
            if not (has_more and channel.readable()):
                return
            channel.handle_read_event()
        except BaseException:
            watch.mark(entry.fd)
            settle_failure(family, channel, watch.map, entry.fd, is_poll2)
            return


def _hand_out_slow(watch: Watch, slow: list[tuple[Any, int, Any]], is_poll2: bool) -> None:
    """Hand out events that need some thought, as the old loop did."""
    family, map = watch.family, watch.map
    happened = {}
    for entry, flags, answer in slow:
        if not watch.is_current(entry):
            continue
        if entry.tracked or answer is None:
            # It was not asked in this pass, or its answer was not saved.  What a hook of this pass
            # made it want was not waited for, so an error says nothing about that.
            watch.mark(entry.fd)
            channel, registration, wanted = ask_one(family, entry.channel, map, entry.fd)
            answer = channel, registration, (wanted or 0) & (entry.flags | flags)
        if answer[2]:
            happened[entry.fd] = answer, flags
    asked = {fd: answer for fd, (answer, _) in happened.items()}
    if is_poll2:
        for fd, (answer, flags) in happened.items():
            hand_out_flags(family, answer, map, fd, flags & (answer[2] | _GONE))
        return
    for fd, (answer, flags) in happened.items():
        if flags & INVALID and holds(map, fd, answer):
            bury(family, answer[0], map, fd)
    sets = as_select([(fd, answer[2], flags) for fd, (answer, flags) in happened.items()])
    if not any(sets) and not watch.is_poll2:  # a hook may have made a pass with poll2()
        _mute(watch, happened)
    hand_out_sets(family, asked, *sets, map)


def _mute(watch: Watch, happened: dict[int, tuple[Any, int]]) -> None:
    """Keep hang-ups of channels that want no input from ending the next waits.

    ``select`` would not report them.  *happened* has answers and flags by descriptor.
    """
    for fd in happened:
        registered = watch.registered[fd]
        if registered and not registered & READ:
            try:
                watch.poller.mute(fd, registered)
            except OSError as failure:
                if not is_ours(failure):
                    raise
                watch.needs_new_set = True  # it was closed, or is another file now
