"""What the channels of a map wait for, kept from one pass of the loop to the next.

The old loop asked every channel on every pass, and told the kernel everything anew.  A ``Watch``
keeps the registrations in a poller (``_pollers.py``), and changes them when an answer changes.

* A channel is *tracked* if its ``readable`` and ``writable`` are stock ones, whose answers change
  only when something happens to the channel.  It is asked when it joins the map, when it is
  touched (``_touch.py``), before an event is handed to it and after that.  Every other channel is
  asked on every pass, as ever.
* Nothing is believed for good, because programs reach everywhere: a descriptor can be closed and
  an attribute assigned without anybody being told.  So channels are checked in turn, one for every
  ``EVENTS_PER_CHECK`` events; all of them while nothing happens, before a wait that is longer than
  ``QUIET``; and, if they are few, in each pass that a program makes itself.  A check asks the
  channel, and looks whether its descriptor is what was registered.
* An event belongs to the registration that was waited for: an ``Entry`` knows in which pass it was
  made, and leaves ``entries`` the moment its channel leaves the map.
* The kernel's set follows what a descriptor refers to, not its number.  Descriptors are taken out
  before they are closed.  Where a program closed one behind our back, and a duplicate keeps it
  alive, events come for what nobody registered, and a new set is made.
* After a fork the child makes a set of its own, and leaves its parent's alone.
* A signal handler or another thread that changes something while the loop waits ends the wait.
"""

from __future__ import annotations

import errno
import math
import os
import select
import stat
import time
import weakref
from threading import get_ident
from typing import Any

from fastchat import _pollers
from fastchat._backend import events, methods
from fastchat._pollers import (
    ERROR,
    HANG_UP,
    INVALID,
    READ,
    URGENT,
    WRITE,
    PollerLost,
    as_select,
    is_ours,
)
from fastchat._touch import watches

# A check costs about half an event, so that checking takes less than 1 % of the time.
EVENTS_PER_CHECK = 64

# How long nothing has to happen until channels are checked, in milliseconds, and how many of them
# before the loop looks whether something has happened after all.
QUIET = 20
CHECKED_AT_ONCE = 256

# Up to how many channels are all checked in a pass that a program makes itself.
FEW = 32

# How many connections a listener takes, after the first, before others get their events.
AT_ONCE = 15

_GONE = HANG_UP | ERROR | INVALID

# The longest wait that all systems take, in milliseconds: 24 days.
_LONGEST = 2**31 - 1


class Watch:
    """The registrations of the channels of *map*, a dict.

    *core* are the globals of ``asyncore``, where programs replace functions; *kind* is the kind
    of poller.  Raises OSError where the system has no descriptor or memory for one.
    """

    def __init__(self, map: dict[int, Any], core: dict[str, Any], kind: Any) -> None:
        self.map = map
        self.core = core
        self.kind = kind
        self.poller = kind()
        self.is_told = isinstance(map, ChannelMap)
        # By descriptor: who is waited for, what the poller waits for, who is asked on every pass.
        self.entries: dict[int, Any] = {}
        self.registered = events.Flags()
        self.asked: dict[int, Any] = {}
        # Descriptors to be looked at in the next pass, in order.
        self.touched: dict[int, None] = dict.fromkeys(map)
        self.is_poll2 = False
        self.passes = 0
        # Whether nobody can tell one pass from two.
        self.is_endless = False
        # In which pass a channel left last: events for it are no surprise then.
        self.last_leave = 0
        self.needs_new_set = False
        # Numbers that were closed before we could take them out of the set: a file that lives on
        # under another number may still have events for the next who gets one of these.
        self.suspects: set[int] = set()
        # Whether the loop waits at this moment, and what ends that; and whether something has
        # changed since the pass began, so that it must not wait.
        self.is_waiting = False
        self.is_stirred = False
        self.waker: Waker | None = None
        self.maker: dict[str, int] = {}  # the thread that makes one
        # Of the checks: who is next, how many events none was made for yet, and how many channels
        # were not checked since the last event.
        self.order: list[int] = []
        self.events = 0
        self.unchecked = 0
        _all.add(self)

    def close(self) -> None:
        """Give the poller back; nothing else may be called after that."""
        _all.discard(self)
        self._give_back(self.poller)
        self.waker = None

    def leave_the_set(self) -> None:
        """In a forked child: touch the parent's set no more, not even to take something out."""
        self.maker.clear()  # a thread that only the parent has
        self._replace_poller(self.kind)

    def _replace_poller(self, kind: Any) -> None:
        """Take a poller of *kind* that knows nothing yet, or one that needs no descriptor.

        The latter also where something like gevent has taken *kind* away since it was chosen; until
        the next pass, which keeps no registrations then.  Where an exception interrupts this, the
        next pass does it again.
        """
        self.needs_new_set = True
        self.kind = kind
        poller, self.poller = self.poller, _pollers.without_a_set()
        self.registered = events.Flags()
        self.suspects.clear()
        self._give_back(poller)
        self.waker = None
        try:
            if hasattr(select, kind.name):
                self.poller = kind()
        except OSError as failure:
            if not is_ours(failure):
                raise
        self.kind = type(self.poller)

    # Joining and leaving the map.

    def note(self, fd: int) -> None:
        """A channel joined for *fd*; what was waited for there before is over."""
        entry = self.entries.get(fd)
        if entry is not None and not self._is_rejoining(entry):
            self.leave(fd)
        self.touch(fd)

    touch = events.touch_fd
    stir = events.stir

    def wake(self) -> None:
        """End the wait of the loop.  Any thread and any signal handler may call this."""
        waker = self.waker
        if waker is not None and waker.set():
            return
        me = get_ident()
        try:
            # One step, so that only one thread makes one; it is set after what the others changed.
            if self.maker.setdefault("thread", me) != me:
                return
            waker = Waker()
            self.poller.register(waker.fileno(), READ)
            self.waker = waker
            waker.set()
        except (OSError, ValueError) as failure:
            if not is_ours(failure):
                raise
            # No descriptor is left, and it is noticed when the wait ends; or the poller was closed,
            # and nobody waits for it.
        finally:
            try:  # without asking first, for another thread may take its own away meanwhile
                if self.maker["thread"] == me:
                    del self.maker["thread"]
            except KeyError:
                pass

    def _is_rejoining(self, entry: Any) -> bool:
        """Whether a program put the channel of *entry* where it is already, and nothing more."""
        channel = self.map.get(entry.fd)
        return channel is entry.channel and events.registration_of(channel) == entry.registration

    forget = events.forget

    def _is_current(self, entry: Any) -> bool:
        """Whether the channel of *entry* has not left since."""
        return self.entries.get(entry.fd) is entry

    def leave(self, fd: int) -> None:
        """What was waited for on *fd* is over."""
        if self.asked:
            self.asked.pop(fd, None)
        self.entries.pop(fd, None)
        self.last_leave = self.passes
        self.stir()

    def _find_changes(self) -> None:
        """``note`` and ``forget`` what happened to a map that tells nobody."""
        members = list(self.map.items())
        for fd, channel in members:
            entry = self.entries.get(fd)
            if entry is None or entry.channel is not channel:
                self.note(fd)
        if len(self.entries) + len(self.touched) > len(members):
            for fd in [fd for fd in list(self.entries) if fd not in self.map]:
                self.forget(fd)

    # The poller.

    def _register(self, fd: int, flags: int) -> None:
        """Let the poller wait for *flags* on *fd*; raises OSError or ValueError if closed."""
        known = self.registered[fd]
        if flags == known:
            return
        if not flags:
            self.unregister(fd)
            return
        if fd < 0:
            raise ValueError(f"a descriptor must not be negative, but is {fd}")
        if fd in self.suspects:
            self.needs_new_set = True
        try:
            if known:
                self.poller.modify(fd, flags)
            else:
                self.poller.register(fd, flags)
        except FileNotFoundError as failure:  # the number belongs to another file than it did
            if not is_ours(failure):
                raise
            self.needs_new_set = True
            self.poller.register(fd, flags)
        except FileExistsError as failure:
            if not is_ours(failure):
                raise
            # Somebody gave the number to a file that was there before.
            self.poller.modify(fd, flags)
        self.registered[fd] = flags

    def unregister(self, fd: int) -> None:
        """Let the poller wait for *fd* no more."""
        self.registered[fd] = 0
        was_there = False
        try:
            was_there = self.poller.unregister(fd)
        finally:
            if not was_there:
                self.suspects.add(fd)

    def _wait_for(self, entry: Any, flags: int) -> bool:
        """Wait for *flags* of *entry*; returns False where its descriptor is closed."""
        fd = entry.fd
        entry.flags = flags
        try:
            self._register(fd, flags)
        except (OSError, ValueError) as failure:
            if not is_ours(failure):
                raise
            # EINVAL: the number of a closed descriptor went to the poller's own set.
            is_closed = not isinstance(failure, OSError) or failure.errno in (
                errno.EBADF,
                errno.EINVAL,
            )
            if is_closed and self._is_open(fd):  # then it is the set that somebody closed
                self._make_new_set(self.kind)
                return True
            if not is_closed:
                # No memory, or too many watches for the kernel: it takes no more, poll() does.
                self._make_new_set(_pollers.Poll)
                return True
            self._bury(entry)
            return False
        return True

    def _is_open(self, fd: int) -> bool:
        """Whether *fd* is open, and not the poller's own."""
        try:
            os.fstat(fd)
        except (OSError, ValueError, OverflowError) as failure:
            if not is_ours(failure):
                raise
            return False
        return fd != getattr(self.poller, "fileno", int)() or not self._owns_its_number(self.poller)

    def _give_back(self, poller: Any) -> None:
        if self._owns_its_number(poller):
            poller.close()
        else:
            _lost.append(poller)  # to let it go would close what has its number now

    def _owns_its_number(self, poller: Any) -> bool:
        """Whether *poller* was not closed by a program, with all that it did not know."""
        if not isinstance(poller, _pollers.Epoll) or poller.number < 0:
            return True  # it has none, perhaps because a pass of a signal handler gave it back
        try:
            # A set of epoll is of none of the kinds of file.
            return stat.S_IFMT(os.fstat(poller.number).st_mode) == 0
        except OSError as failure:
            if not is_ours(failure):
                raise
            return False

    def _bury(self, entry: Any) -> None:
        """Close a channel whose descriptor was closed behind its back."""
        self.registered[entry.fd] = 0
        self.poller.unregister(entry.fd)
        self.core["_bury"](entry.channel, self.map, entry.fd)
        if self._is_current(entry):
            self.leave(entry.fd)

    def _make_new_set(self, kind: Any) -> None:
        """Replace the poller by one of *kind* that knows the entries and nothing else."""
        self._replace_poller(kind)
        self.needs_new_set = False  # unless what is found out meanwhile says so
        try:
            for entry in list(self.entries.values()):
                self._wait_again(entry)
        except BaseException:
            self.needs_new_set = True
            raise

    def _wait_again(self, entry: Any) -> None:
        if self._is_current(entry) and entry.flags:
            self._wait_for(entry, entry.flags)

    # Asking.

    def _ask(self, entry: Any) -> bool:
        """Ask a channel what it waits for; returns False where it failed, and left."""
        answer = self.core["_ask_one"](entry.channel, self.map, entry.fd)
        if not self._is_current(entry):
            return answer[2] is not None
        entry.said = -1
        flags = answer[2] or 0
        if self.is_poll2 and not flags & READ:
            flags &= ~URGENT  # as in CPython 3.11
        return self._wait_for(entry, flags)

    def _ask_anew(self, entry: Any) -> bool:
        """``_ask``, and find out whether that has to be done on every pass."""
        channel = entry.channel
        flags = events.ask_chat(channel, self.core["_STOCK_CHAT"])
        if flags:
            entry.tracked = True
            entry.state = channel._fc_state
            if self.asked:
                self.asked.pop(entry.fd, None)
            return self._wait_for(entry, flags)
        entry.tracked = self.core["_is_tracked"](entry.channel)
        entry.state = entry.channel._fc_state if entry.tracked else None
        if entry.tracked:
            self.asked.pop(entry.fd, None)
        else:
            self.asked[entry.fd] = entry
        return self._ask(entry)

    def _ask_touched(self) -> bool:
        """Ask who joined or was touched; returns False where one of them failed, and left."""
        touched, self.touched = self.touched, {}
        fine = True
        try:
            for fd in list(touched):
                fine &= self._ask_whom(fd)
                del touched[fd]
        finally:
            # Those that are left when an exception leaves the loop, and those that another thread
            # touched meanwhile.
            if touched:
                self.touched.update(touched)
        return fine

    def _ask_whom(self, fd: int) -> bool:
        """Ask who has *fd* now; returns False where that failed, and left."""
        channel = self.map.get(fd)
        entry = self.entries.get(fd)
        if entry is not None and entry.channel is not channel:
            self.leave(fd)
            entry = None
        if (channel is None or entry is None) and self.registered[fd]:
            self.unregister(fd)  # what was registered may be another file than this
        if channel is None:
            return True
        if entry is None:
            entry = events.enter(self, channel, fd)
            if entry is None:
                return True
            if entry.tracked:
                return self._wait_for(entry, entry.flags)
            return self._ask_anew(entry)
        # Who is in neither place joined, and then an exception left the loop.
        if entry.tracked or fd not in self.asked:
            return self._ask_anew(entry)
        return True

    def _ask_all_asked(self) -> bool:
        """Ask who is asked on every pass; returns False where one of them failed, and left."""
        core = self.core
        fine = True
        for fd, entry in list(self.asked.items()):
            if self.asked.get(fd) != entry:
                continue
            channel = entry.channel
            flags: int | None
            # As _ask_one() does it; most of what follows there is spared who says the same again.
            try:
                flags = READ if channel.readable() else 0
                if channel.writable() and not channel.accepting:
                    flags |= WRITE
            except BaseException:
                core["_fail_to_answer"](channel, self.map, fd)
                flags = None
            if flags != entry.said or core["_resting"]:
                fine &= self._take_answer(entry, flags)
        return fine

    def _take_answer(self, entry: Any, flags: int | None) -> bool:
        """Wait for *flags*, None where asking failed; returns False where it left, too."""
        if not self._is_current(entry):
            return flags is not None
        core, channel = self.core, entry.channel
        entry.said = flags
        if flags and core["_resting"] and core["_rests"](channel):
            flags &= ~READ
        if flags and core["_wants_urgent"](channel):
            flags |= URGENT
        flags = flags or 0
        if self.is_poll2 and not flags & READ:
            flags &= ~URGENT  # as in CPython 3.11
        return self._wait_for(entry, flags)

    def _check(self, fd: int) -> bool:
        """Believe nothing of *fd*; returns False where its channel failed, or was closed."""
        entry = self.entries.get(fd)
        if entry is None:
            return True
        if self.map.get(fd) is not entry.channel:
            self.note(fd)
            return True
        known = self.registered[fd]
        if known and self.poller.is_kernel_set:
            is_quiet = fd in self.poller.quiet
            try:
                (self.poller.quieten if is_quiet else self.poller.modify)(fd, known)
            except (OSError, ValueError) as failure:
                if not is_ours(failure):
                    raise
                if isinstance(failure, FileNotFoundError):
                    self.registered[fd] = 0  # asking registers it again
                    self.needs_new_set = True
                elif self._is_open(fd):
                    self.needs_new_set = True
                    return True
                else:
                    self._bury(entry)
                    return False
        entry.said = -1
        if entry.tracked or self.core["_is_tracked"](entry.channel):
            return self._ask_anew(entry)
        return True

    def _check_some(self, count: int) -> bool:
        """Check the next *count* channels; returns False where one failed, or was closed."""
        fine = True
        for _ in range(min(count, len(self.entries))):
            if not self.order:
                self.order = list(self.entries)
                if not self.order:
                    break
            fine &= self._check(self.order.pop())
            self.unchecked -= 1
        return fine

    # Passes.

    def make_pass(
        self, timeout: Any, is_poll2: bool, is_first: bool, is_endless: bool = False
    ) -> None:
        """Wait at most *timeout* seconds, and hand out what happened.

        The order of events, and the meaning of *timeout*, are those of ``poll2`` or ``poll``.
        *is_first* says that the program did something of its own before, *is_endless* that it
        does not count its passes.
        """
        self.is_endless = is_endless and self.is_told
        methods.flush_all()
        self.passes += 1
        self.is_stirred = False
        if is_poll2 != self.is_poll2:
            self._change_to(is_poll2)
        if not self.is_told:
            self._find_changes()
        fine = True
        if self.asked:
            fine = self._ask_all_asked()
        if self.touched:
            fine &= self._ask_touched()
        if is_first:
            fine &= self._check_some(FEW)
            self.unchecked = len(self.entries)
        elif self.events >= EVENTS_PER_CHECK:
            fine &= self._check_some(self.events // EVENTS_PER_CHECK)
            self.events %= EVENTS_PER_CHECK
        if self.needs_new_set:
            self._make_new_set(self.kind)
        if not fine:
            timeout = 0
        elif self.core["_resting"]:
            timeout = self.core["_until_rest_ends"](timeout)
        if not self.registered.count and not is_poll2 and self._has_to_sleep(timeout):
            self.core["time"].sleep(timeout if self.map else 0)
            return
        slow = self._serve(_milliseconds(timeout, is_poll2), is_poll2)
        if slow:
            self._hand_out(slow, is_poll2)

    def _has_to_sleep(self, timeout: Any) -> bool:
        """Whether a pass in which nobody waits for anything makes a real sleep, as CPython's does.

        The poller's wait can be ended; but it says other things about a wrong *timeout*, and a
        program may have replaced ``sleep``.
        """
        return (
            timeout is None
            or timeout < 0
            or not self.poller.is_kernel_set
            or self.core["time"].sleep is not _own_sleep
        )

    def _change_to(self, is_poll2: bool) -> None:
        """Ask all anew, because ``poll`` and ``poll2`` do not wait for the same."""
        self.is_poll2 = is_poll2
        self.touched |= dict.fromkeys(self.entries)
        if self.poller.quiet:
            self.needs_new_set = True  # poll2() tells of each hang-up
        for entry in list(self.asked.values()):
            entry.said = -1

    def _serve(self, milliseconds: int, is_poll2: bool) -> list[Any] | None:
        """Wait, hand out the plain input, and return what else there is; None after a time-out."""
        while self.unchecked > 0 and not 0 <= milliseconds <= QUIET:
            slow = self._wait(QUIET, is_poll2)
            if slow is not None:
                self.unchecked = len(self.entries)
                return slow
            milliseconds = max(milliseconds - QUIET, -1) if milliseconds > 0 else -1
            fine = self._check_some(CHECKED_AT_ONCE)
            fine &= self._ask_touched()
            if not fine or not self.map:
                return None
        slow = self._wait(milliseconds, is_poll2)
        # Whether something happened or not: what we were not told of, another thread may have done.
        self.unchecked = len(self.entries)
        if slow is None:
            self.events += 8 * EVENTS_PER_CHECK
        return slow

    def _wait(self, milliseconds: int, is_poll2: bool) -> list[Any] | None:
        """``serve``, also where a program closed the poller with all that it did not know."""
        slow: list[Any] | None = None
        try:
            # In this order: what another thread changes now either shows here, or ends the wait.
            self.is_waiting = True
            # The map is empty where a signal handler has closed all that this pass found.
            if self.is_stirred or not self.map:
                milliseconds = 0
            slow = events.serve(self, milliseconds, is_poll2)
        except PollerLost:
            self.needs_new_set = True
        finally:
            self.is_waiting = False
        return slow

    def take_stranger(self, fd: int, number: int) -> None:
        """There is an event for *fd*, which is no channel's, in pass *number*."""
        waker = self.waker
        if waker is not None and fd == waker.fileno():
            waker.clear()
        elif self.last_leave < number:
            # Where none left in this pass, the kernel knows something that we do not.
            self.needs_new_set = True

    def take_more(self, entry: Any, is_poll2: bool) -> None:
        """Let the listener of *entry*, which took a connection, take others that wait.

        As if the next passes had found nothing else: each asks who joined, and then the listener.
        To make real passes would cost as much as all else that is done for a connection.
        """
        core, channel = self.core, entry.channel
        for _ in range(AT_ONCE if channel.accepting else 0):
            self.passes += 1
            fine = self._ask_touched() and self._is_current(entry)
            if not fine or self.asked or core["_resting"]:
                return
            try:
                if not (events.is_readable(entry.fd) and channel.readable()):
                    return
                channel.handle_read_event()
            except BaseException:
                self.touched[entry.fd] = None
                core["_settle_failure"](channel, self.map, entry.fd, is_poll2)
                return

    def _hand_out(self, slow: list[tuple[Any, int, Any]], is_poll2: bool) -> None:
        """Hand out events that need some thought, as the old loop did."""
        core, map = self.core, self.map
        happened = {}
        for entry, flags, answer in slow:
            if not self._is_current(entry):
                continue
            if entry.tracked or answer is None:
                # It was not asked in this pass yet, or not in a way that could be kept.  What it
                # wants only since a hook of this pass was not waited for: no error means that.
                self.touched[entry.fd] = None
                channel, registration, wanted = core["_ask_one"](entry.channel, map, entry.fd)
                answer = channel, registration, (wanted or 0) & (entry.flags | flags)
            if answer[2]:
                happened[entry.fd] = answer, flags
        asked = {fd: answer for fd, (answer, _) in happened.items()}
        if is_poll2:
            for fd, (answer, flags) in happened.items():
                core["_hand_out_flags"](answer, map, fd, flags & (answer[2] | _GONE))
            return
        for fd, (answer, flags) in happened.items():
            if flags & INVALID and core["_holds"](map, fd, answer):
                core["_bury"](answer[0], map, fd)
        sets = as_select([(fd, answer[2], flags) for fd, (answer, flags) in happened.items()])
        if not any(sets) and not self.is_poll2:  # a hook may have made a pass with poll2()
            self._quieten(happened)
        core["_hand_out_sets"](asked, *sets, map)

    def _quieten(self, happened: dict[int, tuple[Any, int]]) -> None:
        """Let what select() would not tell of end no further wait: a hang-up, but no input wanted.

        *happened* are answers and flags by descriptor.
        """
        for fd in happened:
            known = self.registered[fd]
            if known and not known & READ:
                try:
                    self.poller.quieten(fd, known)
                except OSError as failure:
                    if not is_ours(failure):
                        raise
                    self.needs_new_set = True  # it was closed, or is another file now


def _milliseconds(timeout: Any, is_poll2: bool) -> int:
    """*timeout* (seconds, or None for ever) as the pollers want it."""
    if timeout is None:
        return -1
    if is_poll2:
        return min(max(int(timeout * 1000), -1), _LONGEST)
    if timeout < 0:
        raise ValueError("timeout must be non-negative")
    milliseconds: int = min(math.ceil(timeout * 1000), _LONGEST)
    return milliseconds


class Waker:
    """A pipe that becomes readable when ``set`` is called, from any thread or handler.

    A program may close the descriptors with all that it did not open, and their numbers may be
    another file's then: so each is looked at before it is used.  Raises OSError where there is no
    descriptor left, or no pipe that can be waited for (Windows).
    """

    # Of no file, for the case that the thread is interrupted while it makes one.
    _ends: tuple[int, ...] = ()
    _file: tuple[int, int] | None = (-1, -1)

    def __init__(self) -> None:
        if os.name != "posix":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._ends = os.pipe()
        self._file = _file_of(self._ends[0])
        for end in self._ends:
            os.set_blocking(end, False)

    def fileno(self) -> int:
        """What to wait for."""
        return self._ends[0]

    def set(self) -> bool:
        """Make it readable; returns False where a program has closed it."""
        if [_file_of(end) for end in self._ends] != [self._file] * 2:
            return False
        try:
            os.write(self._ends[1], b"!")
        except BlockingIOError as failure:
            if not is_ours(failure):
                raise
            # It is readable, and nobody has looked for long.
        return True

    def clear(self) -> None:
        """Make it readable no more."""
        if _file_of(self._ends[0]) == self._file:
            try:
                os.read(self._ends[0], _WAKES)
            except BlockingIOError as failure:
                if not is_ours(failure):
                    raise

    def __del__(self) -> None:
        # Not before nobody uses it: another thread may be in the middle of ``set``.
        for end in self._ends:
            if _file_of(end) == self._file:
                os.close(end)


# How much is read at once, more than a pipe has room for.
_WAKES = 1 << 20


def _file_of(fd: int) -> tuple[int, int] | None:
    """Which file has the number *fd* now, or None."""
    try:
        status = os.fstat(fd)
    except OSError as failure:
        if not is_ours(failure):
            raise
        return None
    return status.st_dev, status.st_ino


class ChannelMap(dict[int, Any]):
    """A map of channels that tells the loop what changes in it; otherwise a dict like any other.

    A pass over it costs what happens, and not what there is: ``asyncore.socket_map`` is one, and
    programs can make one of their own as ``asyncore.channel_map()``.
    """

    __slots__ = ("__weakref__", "_watch")

    def __init__(self, *args: Any, **channels: Any) -> None:
        self._watch: Watch | None = None
        super().__init__(*args, **channels)

    # Each change is noted twice, before it is made, too: between the two an exception of a signal
    # handler may leave.  Then the next pass finds out what has become of it.

    def __setitem__(self, fd: int, channel: Any) -> None:
        watch = self._watch
        if watch is not None:
            watch.touched[fd] = None
        dict.__setitem__(self, fd, channel)
        if watch is not None:
            watch.note(fd)

    def __delitem__(self, fd: int) -> None:
        watch = self._watch
        if watch is not None and fd in self:
            watch.touched[fd] = None
        dict.__delitem__(self, fd)
        if watch is not None:
            watch.forget(fd)

    def pop(self, key: int, /, *default: Any) -> Any:
        """As dict's."""
        watch = self._watch
        was_there = key in self
        if watch is not None and was_there:
            watch.touched[key] = None
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
        members = dict.fromkeys(self)
        if watch is not None:
            watch.touched.update(members)
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
            self[fd] = channel

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


def watch_over(map: Any, core: dict[str, Any], for_long: bool) -> Watch | None:
    """The watch for a pass over *map*, a new one where there is none yet; None where none can be.

    There is none for a mapping that is no plain dict, for a dict over which only one pass is made
    (*for_long* is false), where the system's own way to wait was replaced, and where it has no
    descriptor left.
    """
    watch: Watch | None = map._watch if type(map) is ChannelMap else watches.get(id(map))
    if watch is not None and not _is_own(core):
        release(map)
        return None
    if watch is None and (type(map) is ChannelMap or (for_long and type(map) is dict)):
        kinds = _pollers.available()
        if kinds and _is_own(core):
            try:
                watch = Watch(map, core, kinds[0])
            except OSError as failure:
                if not is_ours(failure):
                    raise
                return None
            if type(map) is ChannelMap:
                map._watch = watch
            else:
                watches[id(map)] = watch
    return watch


def _is_own(core: dict[str, Any]) -> bool:
    """Whether the ways to wait are the interpreter's own, as when ``_pollers`` looked last."""
    return (
        core["select"] is select
        and select.select is _own_select
        and getattr(select, "poll", None) is _own_poll
    )


_own_select = select.select
_own_poll = getattr(select, "poll", None)
_own_sleep = time.sleep


def release(map: Any) -> None:
    """Give back what ``watch_over`` made for *map*."""
    watch: Watch | None
    if type(map) is ChannelMap:
        watch, map._watch = map._watch, None
    else:
        watch = watches.pop(id(map), None)
    if watch is not None:
        watch.close()


# Pollers whose descriptor a program has closed.
_lost: list[Any] = []

# Every watch there is, for forks.
_all: weakref.WeakSet[Watch] = weakref.WeakSet()


def _forget_the_parents() -> None:
    for watch in list(_all):
        watch.leave_the_set()
    methods.leave_to_the_parent()


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(before=methods.flush_everything, after_in_child=_forget_the_parents)
