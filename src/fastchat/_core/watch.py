# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""What the channels of a map wait for, kept from one pass of the loop to the next.

The old loop asked every channel on every pass, and told the kernel everything anew.  A ``Watch``
keeps the registrations in a poller (``pollers.py``), and changes them when an answer changes.  The
rule of registrations:

* A channel is *tracked* if its ``readable`` and ``writable`` are stock ones, whose answers change
  only when something happens to the channel.  It is asked when it joins the map, when it is
  touched (``touch.py``), before an event is handed to it and after that.  Every other channel is
  asked on every pass, as ever.
* Nothing is believed for good, because programs reach everywhere: a descriptor can be closed and
  an attribute assigned without anybody being told.  So channels are checked in turn, one for every
  ``EVENTS_PER_CHECK`` events; while nothing happens, ``CHECKED_AT_ONCE`` of them every ``IDLE_MS``;
  and, if they are few, in each pass that a program makes itself.  A check asks the
  channel, and looks whether its descriptor is what was registered.
* An event belongs to the registration that was waited for: an ``Entry`` knows in which pass it was
  made, and leaves ``entries`` the moment its channel leaves the map.
* The kernel's set follows what a descriptor refers to, not its number.  Descriptors are taken out
  before they are closed.  Where a program closed one behind our back, and a duplicate keeps it
  alive, events come for what nobody registered, and a new set is made.
* After a fork the child makes a set of its own, and leaves its parent's alone.
* A signal handler or another thread that changes something while the loop waits ends the wait.
* A predicate may change other channels each time it is asked.  That cuts a wait short, but never
  two in a row: else the loop would spin, and the old one did not.
* Where there is no GIL, and this is compiled, one thread at a time makes a pass, with the lock of
  ``passing``; but whoever waits for the lock of the watch gives that up.  So a field that is
  assigned in the course of a pass is read and assigned with the lock of the watch, or what it had
  is kept (``replaced``).

``passes.py`` has what is done with events.
"""

from __future__ import annotations

import errno
import stat
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any

from fastchat._core import pollers
from fastchat._core.agenda import agenda_for
from fastchat._core.failures import bury, fail_to_answer
from fastchat._core.pollers import READ, URGENT, WRITE, Epoll, is_ours
from fastchat._core.system import REAL

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._core._cy import get_item
    from fastchat._core.asking import (
        ask_chat,
        ask_line,
        ask_one,
        is_tracked,
        line_of,
        registration_of,
        wants_urgent,
    )
    from fastchat._core.family import Family

    if TYPE_CHECKING:
        from fastchat._core._externs import HAS_GIL
        from fastchat._sysio import EventBuffer, add, remove


# Stands for the descriptor of who is asked, where that is over, and what it was answered is lost.
NOBODY = object()

# Pollers whose descriptor a program has closed.
_lost: list[Any] = []


class Entry:
    """One channel that is waited for, under one descriptor, since one pass."""

    __slots__ = (
        "born",
        "channel",
        "fd",
        "flags",
        "line",
        "registration",
        "said",
        "state",
        "tracked",
    )

    def __init__(self, channel: Any, fd: Any, born: int) -> None:
        self.channel = channel
        self.fd = fd
        self.born = born
        self.registration = registration_of(channel)
        # Of a channel that is asked on every pass: the flags of its last answer; None where asking
        # failed, -1 where it is to be looked at anew.
        self.said: int | None = -1
        self.flags = 0  # what is waited for: what was answered, as the poller has it
        self.tracked = False  # whether it is asked only when something happens
        self.state: Any = None  # that of an async_chat
        self.line: Any = None  # that of a LineChannel whose methods are stock ones


class Flags:
    """Flags by descriptor: a byte each, where a dict would take a hundred."""

    __slots__ = ("_bytes", "count")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.count = 0  # how many descriptors have any

    def __getitem__(self, fd: Any) -> int:
        with cython.critical_section(self):
            # Nothing is called inside the try: a signal handler might raise one of these there.
            try:
                return self._bytes[fd] if fd >= 0 else 0
            except (IndexError, TypeError):
                return 0  # nobody waits for what is no descriptor, and may have any key in a map

    def clear(self) -> None:
        """From now on no descriptor has any."""
        with cython.critical_section(self):
            self._bytes = bytearray()
            self.count = 0

    def has_any(self) -> bool:  # compiled only
        """Whether any descriptor has any."""
        with cython.critical_section(self):
            return self.count > 0

    def __setitem__(self, fd: int, flags: int) -> None:
        with cython.critical_section(self):
            had = self[fd]
            if had == flags:
                return
            if fd >= len(self._bytes):
                self._bytes.extend(bytes(fd + 64 - len(self._bytes)))
            change = bool(flags) - bool(had)
            # Nothing is called here: behind a call an exception of a signal handler may leave.
            self._bytes[fd] = flags
            self.count += change


class Watch:
    """The registrations of the channels of *map*, a dict.

    *family* is the import of ``asyncore`` that makes passes over it; *kind* is the kind of poller;
    *reports_changes* says that the map tells of all changes; *system* is what the loop asks of
    descriptors and time.  Raises OSError where the system has no descriptor or memory for a poller.

    A channel is *lost* if it left the map because asking it failed, or its descriptor is closed.
    The pass that finds that out must not wait.
    """

    def __init__(
        self,
        map: dict[int, Any],
        family: Family,
        kind: Any,
        reports_changes: bool,
        system: Any = REAL,
    ) -> None:
        self.map = map
        self.passing = object()
        self.family = family
        self.kind = kind
        self.system = system
        self.is_real = system is REAL  # for compiled code, which may then make system calls
        self.agenda = agenda_for(map, family)
        self.poller = system.make(kind)
        # Those that it was last: where there is no GIL, another thread's pass may still use one.
        self.replaced: deque[Any] = deque(maxlen=16)
        self.reports_changes = reports_changes
        # By descriptor: channels that are waited for, flags that the poller has, channels that are
        # asked on every pass.
        self.entries: dict[Any, Entry] = {}
        self.registered = Flags()
        self.untracked: dict[Any, Entry] = {}
        # The descriptor of the channel that is asked now, and the thread that makes the pass.
        self.asking: Any = None
        self.thread = 0
        # The threads that have a loop over the map.
        self.loops: dict[int, None] = {}
        # Descriptors to be looked at in the next pass, in order.
        self.touched: dict[int, None] = dict.fromkeys(list(map.keys()))
        self.is_poll2 = False
        self.passes = 0
        # Whether the program cannot tell one pass from two: loop() has no count, and the map
        # reports its changes.
        self.is_endless = False
        # In which pass a channel left last: events for it are no surprise then.
        self.last_leave = 0
        self.needs_new_set = False
        # Numbers that were closed before we could take them out of the set: a file that lives on
        # under another number may still have events for the next who gets one of these.
        self.suspects: set[int] = set()
        # The threads that wait at this moment (compiled, how many), and what ends that; whether
        # something has changed since the pass began, so that it must not wait; whether a predicate
        # has changed something, and whether the last wait was cut short because one had.
        self.waiting: Any = 0 if cython.compiled else {}
        self.is_stirred = False
        self.is_changed = False
        self.was_cut = False
        self.waker: Any = None
        self.waker_lock: dict[str, int] = {}  # the thread that makes one
        # Of the checks: who is next, how many events none was made for yet, and how many channels
        # were not checked since the last event.
        self.order: list[int] = []
        self.events = 0
        self.unchecked = 0
        # Room for events, taken away while some are handed out: a hook may make a pass, too.
        self.event_buffer: EventBuffer | None = None

    def close(self) -> None:
        """Give the poller back; nothing else may be called after that."""
        self._give_back(self.poller)
        with cython.critical_section(self):
            self.waker = None

    def leave_the_set(self) -> None:
        """In a forked child: touch the parent's set no more, not even to take something out."""
        self.waker_lock.clear()  # a thread that only the parent has
        self.waiting = 0 if cython.compiled else {}
        if self.agenda.attached is not None:
            self.agenda.attached._leave_to_the_parent()
        for thread in [thread for thread in self.loops if thread != get_ident()]:
            del self.loops[thread]
        self._replace_poller(self.kind)

    def _replace_poller(self, kind: Any) -> None:
        """Take a poller of *kind* that knows nothing yet, or one that needs no descriptor.

        The latter also where something like gevent has taken *kind* away since it was chosen; until
        the next pass, which keeps no registrations then.  Where an exception interrupts this, the
        next pass does it again.
        """
        self.needs_new_set = True
        with cython.critical_section(self):
            poller = self.poller
        if cython.compiled and not HAS_GIL:
            self.replaced.append(poller)
        self._set_poller(self.system.without_a_set(), kind)
        self.suspects.clear()
        self._give_back(poller)
        try:
            if self.system.has(kind):
                self._set_poller(self.system.make(kind), kind)
        except OSError as failure:
            if not is_ours(failure):
                raise
        with cython.critical_section(self):
            self.kind = type(self.poller)

    def _set_poller(self, poller: Any, kind: Any) -> None:
        """From now on wait with *poller*, of *kind*, which knows nothing yet."""
        with cython.critical_section(self):
            self.kind = kind
            self.poller = poller
            self.registered.clear()
            self.waker = None

    # Joining and leaving the map.

    def note(self, fd: int) -> None:
        """A channel joined for *fd*; what was waited for there before is over."""
        with cython.critical_section(self):
            entry = get_item(self.entries, fd)
            if entry is not None and not self._is_rejoining(entry):
                self.leave(fd)
            self.touch(fd)

    def touch(self, fd: Any) -> None:
        """Ask who has *fd* in the next pass, and let that be soon."""
        self.mark(fd)
        self.change()

    def mark(self, fd: Any) -> None:
        """Ask who has *fd* in the next pass, whenever that is."""
        self.touched[fd] = None

    def is_asking(self, fd: Any) -> bool:
        """Whether this thread asks who has *fd* at this moment, and so gets its answer."""
        with cython.critical_section(self):
            return self.thread == get_ident() and fd == self.asking

    def set_asking(self, asking: Any) -> Any:
        """From now on *asking* is who is asked; returns who was."""
        if cython.compiled:
            with cython.critical_section(self):
                outer, self.asking = self.asking, asking
        else:
            outer, self.asking = self.asking, asking
        return outer

    def begin_pass(self) -> None:  # compiled only
        """This thread begins a pass, in which nothing has happened yet."""
        with cython.critical_section(self):
            self._begin_pass()

    def _begin_pass(self) -> None:
        self.passes += 1
        self.is_stirred = self.is_changed = False
        self.thread = get_ident()

    def is_in_this_thread(self) -> bool:
        """Whether this thread makes a pass, and does not wait."""
        with cython.critical_section(self):
            return self.thread == get_ident() and not self.waiting

    def change(self) -> None:
        """The program has changed something: ``stir``, unless a predicate has done it."""
        if self.is_in_this_thread() and self.asking is not None:
            self.is_changed = True
        else:
            self.stir()

    def cuts_wait(self) -> bool:
        """Whether this pass does not wait because a predicate has changed something."""
        self.was_cut = self.is_changed and not self.was_cut
        return self.was_cut

    def stir(self) -> None:
        """Something has changed of which the poller knows nothing: let the loop not wait."""
        if cython.compiled:
            # What is written here is seen by the pass, or what that writes is seen here.
            with cython.critical_section(self):
                self.is_stirred = True
                is_waiting = bool(self.waiting)
            if is_waiting:
                self.wake()
        else:
            self.is_stirred = True
            if self.waiting:
                self.wake()
        self.agenda.wake()

    def begin_to_wait(self) -> bool:
        """From now on ``stir`` ends the wait; returns whether it was called in this pass before."""
        if cython.compiled:
            with cython.critical_section(self):
                self.waiting += 1
                return self.is_stirred
        else:
            # Not a number, which would stay wrong if a signal handler raised at the wrong moment.
            self.waiting[get_ident()] = None
            return self.is_stirred

    def end_wait(self) -> None:
        """This thread does not wait any more."""
        if cython.compiled:
            with cython.critical_section(self):
                if self.waiting:
                    self.waiting -= 1
        else:
            self.waiting.pop(get_ident(), None)

    def wake(self) -> None:
        """End the wait of the loop.  Any thread and any signal handler may call this."""
        with cython.critical_section(self):
            waker, poller = self.waker, self.poller
        if waker is not None and waker.set():
            return
        me = get_ident()
        try:
            # One step, so that only one thread makes one; it is set after what the others changed.
            if self.waker_lock.setdefault("thread", me) != me:
                return
            waker = self.system.make_waker()
            poller.register(waker.fileno(), READ)
            with cython.critical_section(self):
                if poller is self.poller:  # pragma: no branch (the pass may have replaced it)
                    self.waker = waker
            waker.set()
        except (OSError, ValueError) as failure:
            if not is_ours(failure):
                raise
            # No descriptor is left, and it is noticed when the wait ends; or the poller was closed,
            # and nobody waits for it.
        finally:
            try:  # without asking first, for another thread may take its own away meanwhile
                if self.waker_lock["thread"] == me:
                    del self.waker_lock["thread"]
            except KeyError:
                pass

    def _is_rejoining(self, entry: Any) -> bool:
        """Whether a program put the channel of *entry* where it is already, and nothing more."""
        channel = self.map.get(entry.fd)
        return channel is entry.channel and registration_of(channel) == entry.registration

    def forget(self, fd: Any) -> None:
        """The channel of *fd* left; its socket may be closed next."""
        with cython.critical_section(self):
            if fd in self.entries:
                self.leave(fd)
            if self.registered[fd]:
                self.unregister(fd)

    def is_current(self, entry: Any) -> bool:
        """Whether the channel of *entry* has not left since."""
        return get_item(self.entries, entry.fd) is entry

    def leave(self, fd: int) -> None:
        """What was waited for on *fd* is over."""
        if self.untracked:
            self.untracked.pop(fd, None)
        self.entries.pop(fd, None)
        with cython.critical_section(self):
            self.last_leave = self.passes
        self.change()

    def find_changes(self) -> None:
        """``note`` and ``forget`` what happened to a map that tells nobody."""
        members = list(self.map.items())
        for fd, channel in members:
            entry = get_item(self.entries, fd)
            if entry is None or entry.channel is not channel:
                self.note(fd)
        if len(self.entries) + len(self.touched) > len(members):
            for fd in [fd for fd in list(self.entries) if fd not in self.map]:
                self.forget(fd)

    # The poller.

    def epoll_fd(self) -> int:  # compiled only
        """The descriptor of the kernel's set, if that says all there is to say; else -1."""
        poller = self.poller
        if type(poller) is Epoll and not poller.always and not poller.muted:
            return poller.fd
        return -1

    def _register(self, fd: int, flags: int) -> None:
        """Let the poller wait for *flags* on *fd*; raises OSError or ValueError if closed."""
        registered = self.registered[fd]
        if flags == registered:
            return
        if not flags:
            self.unregister(fd)
            return
        if fd < 0:
            raise ValueError(f"a descriptor must not be negative, but is {fd}")
        if fd in self.suspects:
            self.needs_new_set = True
        if cython.compiled and not registered and not self.suspects:
            # Of no other type and no other size is what the system call takes.
            epoll = self.epoll_fd() if type(fd) is int and fd < 1 << 30 else -1
            if epoll >= 0 and add(epoll, fd, flags):
                self.registered[fd] = flags
                return
        try:
            if registered:
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
        if cython.compiled:
            epoll = self.epoll_fd()
            if epoll >= 0:
                if not remove(epoll, fd):
                    self.suspects.add(fd)
                return
        was_there = False
        try:
            was_there = self.poller.unregister(fd)
        finally:
            if not was_there:
                self.suspects.add(fd)

    def _set_interest(self, entry: Any, flags: int) -> bool:
        """Wait for *flags* of *entry*; returns False if its channel is lost."""
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
                self.make_new_set(self.kind)
                return True
            if isinstance(failure, (FileNotFoundError, FileExistsError)):  # pragma: no cover
                # Another thread has changed the same at the same time.
                self.make_new_set(self.kind)
                return True
            if not is_closed:
                # No memory, or too many watches for the kernel: it takes no more, poll() does.
                self.make_new_set(pollers.Poll)
                return True
            self._bury(entry)
            return False
        return True

    def _is_open(self, fd: int) -> bool:
        """Whether *fd* is open, and not the poller's own."""
        try:
            self.system.fstat(fd)
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
        if not isinstance(poller, pollers.Epoll) or poller.fd < 0:
            return True  # it has none, perhaps because a pass of a signal handler gave it back
        try:
            # A set of epoll is of none of the kinds of file.
            return stat.S_IFMT(self.system.fstat(poller.fd).st_mode) == 0
        except OSError as failure:
            if not is_ours(failure):
                raise
            return False

    def _bury(self, entry: Any) -> None:
        """Close a channel whose descriptor was closed behind its back."""
        self.registered[entry.fd] = 0
        self.poller.unregister(entry.fd)
        bury(self.family, entry.channel, self.map, entry.fd)
        if self.is_current(entry):
            self.leave(entry.fd)

    def make_new_set(self, kind: Any) -> None:
        """Replace the poller by one of *kind* that knows the entries and nothing else."""
        self._replace_poller(kind)
        self.needs_new_set = False  # unless what is found out meanwhile says so
        try:
            for entry in list(self.entries.values()):
                self._register_again(entry)
        except BaseException:
            self.needs_new_set = True
            raise

    def _register_again(self, entry: Any) -> None:
        if self.is_current(entry) and entry.flags:
            self._set_interest(entry, entry.flags)

    # Asking.

    def _ask(self, entry: Any) -> bool:
        """Ask a channel what it waits for; returns False if it is lost."""
        outer = self.set_asking(entry.fd)
        try:
            answer = ask_one(self.family, entry.channel, self.map, entry.fd)
        finally:
            self.set_asking(outer)
        if answer[2] is None:
            self.is_changed = True  # for handle_error() may have changed what it wants
        if not self.is_current(entry):
            return answer[2] is not None
        entry.said = -1
        flags = answer[2] or 0
        if self.is_poll2 and not flags & READ:
            flags &= ~URGENT  # as in CPython 3.11
        return self._set_interest(entry, flags)

    def _ask_anew(self, entry: Any) -> bool:
        """``_ask``, and find out whether that has to be done on every pass."""
        channel = entry.channel
        flags = ask_chat(channel, self.family.stock_chat)
        line = None if flags else ask_line(self.family, channel)
        if flags or line is not None:
            entry.tracked = True
            entry.state = channel._fc_state if flags else None
            entry.line = line
            if line is not None:
                entry.said = -1
                # In ``wants`` may be more, where sync() of line_events.py was interrupted.
                flags = line.wants & (READ | WRITE)
            if self.untracked:
                self.untracked.pop(entry.fd, None)
            return self._set_interest(entry, flags)
        entry.tracked = is_tracked(self.family, channel)
        entry.line = line_of(self.family, channel) if entry.tracked else None
        entry.state = channel._fc_state if entry.tracked else None
        if entry.tracked:
            self.untracked.pop(entry.fd, None)
        else:
            self.untracked[entry.fd] = entry
        return self._ask(entry)

    def ask_touched(self) -> bool:
        """Ask who joined or was touched; returns False if one is lost."""
        ok = True
        for fd in list(self.touched):
            try:
                # First, for it may be touched while it is asked.
                self.touched.pop(fd, None)
                ok &= self._ask_whom(fd)
            except BaseException:
                self.touched[fd] = None
                raise
        return ok

    def _ask_whom(self, fd: int) -> bool:
        """Ask who has *fd* now; returns False if it is lost."""
        channel = self.map.get(fd)
        entry = get_item(self.entries, fd)
        if entry is not None and entry.channel is not channel:
            self.leave(fd)
            entry = None
        if (channel is None or entry is None) and self.registered[fd]:
            self.unregister(fd)  # what was registered may be another file than this
        if channel is None:
            return True
        if entry is None:
            return self._enter(channel, fd)
        # Who is in neither place joined, and then an exception left the loop.
        if entry.tracked or fd not in self.untracked:
            return self._ask_anew(entry)
        return True

    def _enter(self, channel: Any, fd: int) -> bool:
        """Ask *channel*, which joined for *fd*; returns False if it is lost."""
        entry = Entry(channel, fd, self.passes)
        entry.flags = ask_chat(channel, self.family.stock_chat)
        self.entries[fd] = entry
        if not entry.flags:
            return self._ask_anew(entry)
        entry.tracked = True
        entry.state = channel._fc_state
        return self._set_interest(entry, entry.flags)

    def ask_untracked(self) -> bool:
        """Ask who is asked on every pass; returns False if one is lost."""
        family = self.family
        ok = True
        outer = self.set_asking(NOBODY)
        try:
            for fd, entry in list(self.untracked.items()):
                if get_item(self.untracked, fd) is not entry:
                    continue
                self.set_asking(fd)
                channel = entry.channel
                flags: int | None
                # As ask_one() does it; most of what follows is spared who says the same again.
                try:
                    flags = READ if channel.readable() else 0
                    if channel.writable() and not channel.accepting:
                        flags |= WRITE
                except BaseException:
                    self.set_asking(NOBODY)  # what handle_error() changes is in no answer
                    fail_to_answer(family, channel, self.map, fd)
                    flags = None
                if flags != entry.said or family.resting:
                    ok &= self._take_answer(entry, flags)
        finally:
            self.set_asking(outer)
        return ok

    def _take_answer(self, entry: Any, flags: int | None) -> bool:
        """Wait for *flags*, None if asking failed; returns False if its channel is lost."""
        if not self.is_current(entry):
            return flags is not None
        family, channel = self.family, entry.channel
        entry.said = flags
        if flags and family.resting and family.rests(channel):
            flags &= ~READ
        if flags and wants_urgent(family, channel):
            flags |= URGENT
        flags = flags or 0
        if self.is_poll2 and not flags & READ:
            flags &= ~URGENT  # as in CPython 3.11
        return self._set_interest(entry, flags)

    def _check(self, fd: int) -> bool:
        """Believe nothing of *fd*; returns False if it is lost."""
        entry = get_item(self.entries, fd)
        if entry is None:
            return True
        if self.map.get(fd) is not entry.channel:
            self.note(fd)
            return True
        registered = self.registered[fd]
        if registered and self.poller.is_kernel_set:
            is_muted = fd in self.poller.muted
            try:
                (self.poller.mute if is_muted else self.poller.modify)(fd, registered)
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
        if entry.tracked or is_tracked(self.family, entry.channel):
            return self._ask_anew(entry)
        return True

    def check_some(self, count: int) -> bool:
        """Check the next *count* channels; returns False if one is lost."""
        ok = True
        for _ in range(min(count, len(self.entries))):
            order = self.order
            if not order:
                order = self.order = list(self.entries)
            try:
                fd = order.pop()
            except IndexError as failure:  # pragma: no cover (another thread's pass was faster)
                if not is_ours(failure):
                    raise
                break
            ok &= self._check(fd)
            self.unchecked -= 1
        return ok

    def change_to(self, is_poll2: bool) -> None:
        """Ask all anew, because ``poll`` and ``poll2`` do not wait for the same."""
        self.is_poll2 = is_poll2
        self.touched.update(dict.fromkeys(list(self.entries)))
        if self.poller.muted:
            self.needs_new_set = True  # poll2() tells of each hang-up
        for entry in list(self.untracked.values()):
            entry.said = -1
