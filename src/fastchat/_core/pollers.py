"""epoll, kqueue, poll and select behind one interface: what is waited for is kept between waits.

Rules this file keeps:

* It knows descriptors and flags, and nothing of channels, maps or passes.
* Each of the four is a ``Poller``, as ``poller.py`` says.
* Everything is level-triggered: what is still so at the next wait is reported again.
* The ``select`` module is looked at when something is made or asked, not at import: gevent and
  eventlet take parts of it away and replace others, at any time.
* An interrupted wait goes on for the rest of its time, for Python's own functions see to that
  (PEP 475).  An exception that a signal handler raises leaves, whatever its class: an error is
  taken for the system's own only if ``is_ours`` says so.

How the four differ, for those who use them:

**Closed descriptors.**  epoll and kqueue keep the registrations in the kernel: a descriptor that is
closed leaves them, silently.  poll reports it as INVALID at every wait.  select refuses to wait at
all; ``Select`` then looks for the descriptors that did it and reports those as INVALID, and nothing
else in that wait.

**Duplicates.**  epoll follows the open file behind the number, not the number.  Closing a number
whose file lives on under another one (``dup``, a child process) leaves the registration: events go
on coming with the old number, and neither number takes it out any more.  Hence unregister before
closing; and where an event comes for what was not registered, only a new set helps.  kqueue, poll
and select follow the number.

**Numbers that are used again.**  ``Epoll.modify`` notices that a number means another file now.
``Kqueue.modify`` notices only where it takes an interest away that the new file never had.  poll
and select cannot notice: the new file is waited for as the old one was.

**Files that cannot be waited for.**  To select and poll a regular file is always ready.  epoll
refuses it, and directories, ``/dev/null`` and the like; kqueue takes a regular file, but is silent
at its end.  Both keep such descriptors in ``always``, and a wait reports them without waiting.
These do not leave when they are closed: they are reported until they are unregistered.

**Order.**  poll and select report in the order of registration (select: first all that can be read,
then what can be written, then what is urgent), the others as the kernel likes.

**Processes and threads.**  A forked child shares its parent's epoll set, so that what it registers
there disturbs the parent; a kqueue is not inherited.  Two threads may wait with one object, except
with poll, which raises RuntimeError.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from fastchat._core.poller import Poller

# No system has all of it, so the checker cannot know it.
_system: Any = select

# The bits of poll(), which are those of epoll as well.
READ: int = getattr(select, "POLLIN", 1)
URGENT: int = getattr(select, "POLLPRI", 2)
WRITE: int = getattr(select, "POLLOUT", 4)
ERROR: int = getattr(select, "POLLERR", 8)
HANG_UP: int = getattr(select, "POLLHUP", 16)
INVALID: int = getattr(select, "POLLNVAL", 32)

# kqueue: room for at least this many events, even if fewer descriptors are registered.
_FEWEST_EVENTS = 64

# epoll: room for this many; the next wait returns the rest.
_MANY_EVENTS = 1024


class PollerLost(Exception):
    """The descriptor of the poller itself was closed, or given to another file."""


def is_ours(failure: BaseException) -> bool:
    """Whether *failure*, which the caller has caught, was raised by what fastchat itself called.

    A signal handler may run in the middle of any call, and raise an exception of any class.  Then
    the traceback, from the caller on, has the handler's frame, which is in another module.
    """
    trace = failure.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") in OWN_MODULES:
        trace = trace.tb_next
    return trace is None


# A test adds that of a system of its own.
OWN_MODULES = {
    "fastchat._core.pollers",
    "fastchat._core.watch",
    "fastchat._core.waker",
    "fastchat._core.maps",
    "fastchat._core.passes",
    "fastchat._core.full_passes",
    "fastchat._core.line_state",
    "fastchat._core.line_events",
    "fastchat._core.line_ends",
    "fastchat._core.lines",
    "fastchat._sysio",
    "fastchat._core.system",
    "fastchat.attachment",
    "fastchat.asyncore",
}


class Epoll:
    """epoll of Linux."""

    __slots__ = ("_set", "always", "fd", "muted")

    name: ClassVar[str] = "epoll"
    is_kernel_set: ClassVar[bool] = True

    def __init__(self) -> None:
        self._set = _system.epoll()
        self.fd: int = self._set.fileno()  # for system calls of our own; -1 where it is closed
        self.always: dict[int, int] = {}
        self.muted: dict[int, int] = {}

    def fileno(self) -> int:
        """The descriptor of the set: whoever waits on it directly misses those in ``always``."""
        return self.fd

    def register(self, fd: int, flags: int) -> None:
        try:
            self._set.register(fd, flags)
        except PermissionError as failure:
            if not is_ours(failure):
                raise
            self.always[fd] = flags  # it is a file that cannot be waited for
        else:
            if self.always:
                self.always.pop(fd, None)  # a file that had the number before
            if self.muted:
                self.muted.pop(fd, None)

    def modify(self, fd: int, flags: int) -> None:
        if self.muted:
            self.muted.pop(fd, None)
        # Asked of the kernel even for a file in `always`, as the number may mean another one now.
        was_always = self.always.pop(fd, None) is not None
        try:
            self._set.modify(fd, flags)
        except PermissionError as failure:
            if not is_ours(failure):
                raise
            if not was_always:
                raise _not_registered(fd) from None
            self.always[fd] = flags

    def mute(self, fd: int, flags: int) -> None:
        self.muted[fd] = flags  # before, for another thread may close it during the call
        try:
            self._set.modify(fd, flags | _system.EPOLLET)  # only what changes ends a wait
        except BaseException:
            self.muted.pop(fd, None)
            raise

    def unregister(self, fd: int) -> bool:
        if self.muted:
            self.muted.pop(fd, None)
        if self.always and self.always.pop(fd, None) is not None:
            return True
        try:
            self._set.unregister(fd)
        except (OSError, ValueError) as failure:  # ValueError: a negative number
            if not is_ours(failure):
                raise
            return False
        return True

    def wait(self, milliseconds: int) -> list[tuple[int, int]]:
        ready = _readable_or_writable(self.always) if self.always else []
        if ready:
            milliseconds = 0
        since = time.monotonic() if self.muted else 0.0
        events = self._wait_once(milliseconds)
        if self.muted and events:
            events = self._without_muted(events)
            if not events:  # a hang-up is told once more after mute()
                rest = rest_of(milliseconds, since)
                events = self._without_muted(self._wait_once(rest))
        return events + ready if ready else events

    def _wait_once(self, milliseconds: int) -> list[tuple[int, int]]:
        seconds = -1 if milliseconds < 0 else milliseconds / 1000
        try:
            events: list[tuple[int, int]] = self._set.poll(seconds, _MANY_EVENTS)
        except (OSError, ValueError) as failure:
            if _is_lost(failure):
                raise PollerLost from failure
            raise
        return events

    def _without_muted(self, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """*events* without the hang-ups of the muted; who has something else is muted no more."""
        for fd, flags in events:
            wanted = self.muted.get(fd)
            if wanted is not None and flags != HANG_UP:
                try:
                    self.modify(fd, wanted)
                except OSError as failure:
                    if not is_ours(failure):
                        raise
                    # It was closed behind the loop's back, which finds that out by itself.
        return [event for event in events if event[0] not in self.muted]

    def close(self) -> None:
        self.fd = -1
        self._set.close()
        self.always.clear()
        self.muted.clear()


class Kqueue:
    """kqueue of the BSDs and macOS: a filter for READ, one for WRITE.

    URGENT is never reported, for Python lacks the filter.
    """

    __slots__ = ("_filters", "_queue", "_registered", "always", "muted")

    name: ClassVar[str] = "kqueue"
    is_kernel_set: ClassVar[bool] = True

    def __init__(self) -> None:
        self._queue = _system.kqueue()
        self._filters = {READ: _system.KQ_FILTER_READ, WRITE: _system.KQ_FILTER_WRITE}
        self._registered: dict[int, int] = {}  # the READ and WRITE for which there is a filter
        self.always: dict[int, int] = {}
        self.muted: dict[int, int] = {}

    def fileno(self) -> int:
        """As that of ``Epoll``."""
        number: int = self._queue.fileno()
        return number

    def register(self, fd: int, flags: int) -> None:
        self.always.pop(fd, None)  # a file that had the number before
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self.always[fd] = flags
            return
        self._registered[fd] = 0
        try:
            self.modify(fd, flags)
        except OSError:
            self.unregister(fd)  # a filter that was added before the one that failed
            raise

    def modify(self, fd: int, flags: int) -> None:
        if fd in self.always:
            self.always[fd] = flags
            return
        if fd not in self._registered:
            raise _not_registered(fd)
        had = self._registered[fd]
        # What goes is first: it fails where the number means another file, with nothing done yet.
        self._change(fd, had & ~flags, _system.KQ_EV_DELETE)
        self._change(fd, flags & ~had, _system.KQ_EV_ADD)

    def _change(self, fd: int, flags: int, action: int) -> None:
        for flag, number in self._filters.items():
            if flags & flag:
                # One at a time, for what follows a change that fails is not done.
                self._queue.control([_system.kevent(fd, number, action)], 0, 0)
                self._registered[fd] ^= flag

    def mute(self, fd: int, flags: int) -> None:
        pass  # a hang-up comes together with READ or WRITE

    def unregister(self, fd: int) -> bool:
        if self.always.pop(fd, None) is not None:
            return True
        known = fd in self._registered
        for flag in self._filters:
            try:
                self._change(fd, self._registered.get(fd, 0) & flag, _system.KQ_EV_DELETE)
            except OSError as failure:
                if not is_ours(failure):
                    raise
                known = False
        self._registered.pop(fd, None)
        return known

    def wait(self, milliseconds: int) -> list[tuple[int, int]]:
        ready = _readable_or_writable(self.always) if self.always else []
        try:
            events = self._queue.control(
                None,
                max(len(self._filters) * len(self._registered), _FEWEST_EVENTS),
                _seconds(0 if ready else milliseconds),
            )
        except (OSError, ValueError) as failure:
            if _is_lost(failure):
                raise PollerLost from failure
            raise
        happened: dict[int, int] = {}
        for event in events:
            at_end = event.flags & _system.KQ_EV_EOF
            if event.filter == _system.KQ_FILTER_READ:
                # Only READ at an orderly end: what is unread comes first, and then the end.
                flags = READ | (HANG_UP | ERROR if at_end and event.fflags else 0)
            else:
                flags = WRITE | (HANG_UP if at_end else 0)
            happened[event.ident] = happened.get(event.ident, 0) | flags
        return [*happened.items(), *ready]

    def close(self) -> None:
        self._queue.close()
        self.always.clear()


class Poll:
    """poll of POSIX systems; it has no set in the kernel."""

    __slots__ = ("_poll", "always", "muted")

    name: ClassVar[str] = "poll"
    is_kernel_set: ClassVar[bool] = False

    def __init__(self) -> None:
        self._poll = _system.poll()
        self.always: dict[int, int] = {}
        self.muted: dict[int, int] = {}

    def register(self, fd: int, flags: int) -> None:
        self._poll.register(fd, flags)
        self.muted.pop(fd, None)

    def modify(self, fd: int, flags: int) -> None:
        if fd in self.muted:
            self.register(fd, flags)
        else:
            self._poll.modify(fd, flags)

    def mute(self, fd: int, flags: int) -> None:
        self.muted[fd] = flags  # before, so that a signal handler does not find it in neither
        self._take_out(fd)

    def unregister(self, fd: int) -> bool:
        was_muted = self.muted.pop(fd, None) is not None
        return self._take_out(fd) or was_muted

    def _take_out(self, fd: int) -> bool:
        try:
            self._poll.unregister(fd)
        except (KeyError, ValueError) as failure:  # ValueError: a negative number
            if not is_ours(failure):
                raise
            return False
        return True

    def wait(self, milliseconds: int) -> list[tuple[int, int]]:
        # A hang-up ends every wait of poll(), so the quiet are asked in between.
        while self.muted and (milliseconds < 0 or milliseconds > _ASK_QUIET):
            events = self._wait_once(_ASK_QUIET)
            if events:
                return events
            milliseconds = max(milliseconds - _ASK_QUIET, -1)
        return self._wait_once(milliseconds)

    def _wait_once(self, milliseconds: int) -> list[tuple[int, int]]:
        events: list[tuple[int, int]] = self._poll.poll(milliseconds)
        if self.muted:
            asked = _system.poll()
            for fd, flags in list(self.muted.items()):
                asked.register(fd, flags)
            for fd, flags in asked.poll(0):
                wanted = self.muted.get(fd)
                if wanted is not None and flags != HANG_UP:
                    # It is quiet no more.  Unlike modify(), this may follow an unregister().
                    self.register(fd, wanted)
                    events.append((fd, flags))
        return events

    def close(self) -> None:
        self.muted.clear()
        if hasattr(_system, "poll"):  # eventlet takes it away
            self._poll = _system.poll()


# How often Poll asks the quiet, in milliseconds.
_ASK_QUIET = 1000


class Select:
    """select of all systems; it has no set in the kernel.

    Windows refuses to wait where nothing is registered, and where more than 512 sockets are.
    """

    __slots__ = ("_lists", "_registered", "always", "muted")

    name: ClassVar[str] = "select"
    is_kernel_set: ClassVar[bool] = False

    def __init__(self) -> None:
        self._registered: dict[int, int] = {}
        # The arguments of select(), made again by the wait after a change.
        self._lists: tuple[list[int], ...] = ()
        self.always: dict[int, int] = {}
        self.muted: dict[int, int] = {}

    def register(self, fd: int, flags: int) -> None:
        """As with the others; raises ValueError where *fd* is too large for select()."""
        # The bound is not to be had from Python, so the function is asked.
        if fd >= 0 and refusal_of(fd) is ValueError:
            raise ValueError(f"descriptor {fd} is too large for select()")
        self._registered[fd] = flags
        self._lists = ()

    def modify(self, fd: int, flags: int) -> None:
        if fd not in self._registered:
            raise _not_registered(fd)
        self._registered[fd] = flags
        self._lists = ()

    def mute(self, fd: int, flags: int) -> None:
        pass  # it does not tell of hang-ups

    def unregister(self, fd: int) -> bool:
        self._lists = ()
        return self._registered.pop(fd, None) is not None

    def wait(self, milliseconds: int) -> list[tuple[int, int]]:
        """As with the others; raises what select() does where no descriptor is closed."""
        interests = (READ, WRITE, URGENT)  # in the order of select's arguments
        if not self._lists:
            registered = list(self._registered.items())
            self._lists = tuple([[fd for fd, flags in registered if flags & i] for i in interests])
        waited_for = self._lists  # a signal handler may unregister some, and close them
        try:
            results = _system.select(*waited_for, _seconds(milliseconds))
        except (OSError, ValueError) as failure:
            if not is_refusal(failure, _system.select):
                raise
            closed = [(fd, INVALID) for fd in filter(refusal_of, list(self._registered))]
            if not closed and self._registered.keys() >= {fd for fds in waited_for for fd in fds}:
                raise
            return closed
        happened: dict[int, int] = {}
        for interest, fds in zip(interests, results, strict=True):
            for fd in fds:
                happened[fd] = happened.get(fd, 0) | interest
        return list(happened.items())

    def close(self) -> None:
        self._registered.clear()
        self._lists = ()


KINDS: tuple[type[Poller], ...] = (Epoll, Kqueue, Poll, Select)  # the best first


def available() -> tuple[type[Poller], ...]:
    """Those of KINDS that this interpreter has now, the best first.

    None where ``select.select`` or ``select.poll`` is not the interpreter's own: something like
    gevent has replaced it, wants to see each wait, and may do so at any time.  No registrations
    are to be kept then.
    """
    for name in ("select", "poll"):
        if not isinstance(getattr(_system, name, _system.select), types.BuiltinFunctionType):
            return ()
    # A list first: in a generator a handler's StopIteration would only end the iteration.
    return tuple([kind for kind in KINDS if hasattr(_system, kind.name)])


def without_a_set() -> Poller:
    """A new poller that takes no descriptor of its own, of the best kind that there is now."""
    return Poll() if hasattr(_system, Poll.name) else Select()


def is_readable(fd: int) -> bool:
    """Whether there is input on *fd* at this moment; false where it is closed."""
    one = without_a_set()
    one.register(fd, READ)
    return one.wait(0) == [(fd, READ)]


def as_select(
    happened: Iterable[tuple[int, int, int]],
) -> tuple[list[int], list[int], list[int]]:
    """What select() would return for these descriptors, interests and flags of the others."""
    sets: tuple[list[int], list[int], list[int]] = ([], [], [])
    for fd, interest, flags in happened:
        if interest & READ and flags & (READ | HANG_UP | ERROR):
            sets[0].append(fd)
        if interest & WRITE and flags & (WRITE | ERROR):
            sets[1].append(fd)
        if interest & URGENT and flags & URGENT:
            sets[2].append(fd)
    return sets


def _readable_or_writable(always: dict[int, int]) -> list[tuple[int, int]]:
    wanted = READ | WRITE  # nothing is ever urgent about a file
    return [(fd, flags & wanted) for fd, flags in list(always.items()) if flags & wanted]


def rest_of(milliseconds: int, since: float) -> int:
    """What is left of *milliseconds* (negative for ever) that began at ``monotonic()`` *since*."""
    if milliseconds < 0:
        return milliseconds
    return max(milliseconds - int((time.monotonic() - since) * 1000), 0)


def _seconds(milliseconds: int) -> float | None:
    return None if milliseconds < 0 else milliseconds / 1000


def _is_lost(failure: OSError | ValueError) -> bool:
    """Whether *failure* of a wait means that the set is closed, or its number another file's.

    ValueError is raised where another thread has closed it with its ``close()``.
    """
    is_closed = not isinstance(failure, OSError) or failure.errno in (errno.EBADF, errno.EINVAL)
    return is_closed and is_ours(failure)


# What select() says of a closed socket on Windows is ENOTSOCK.
_CLOSED = (errno.EBADF, errno.ENOTSOCK)


def is_refusal(failure: Exception, select: Any) -> bool:
    """Whether *select* raised *failure*, which the caller has caught, because of a descriptor."""
    if isinstance(failure, OSError) and failure.errno not in _CLOSED:
        return False
    # Where something like gevent has put a function of its own there, its frames say nothing.
    return is_ours(failure) or not isinstance(select, types.BuiltinFunctionType)


def refusal_of(fd: int) -> type[Exception] | None:
    """The error that select() makes of *fd*: OSError if closed, ValueError if out of bounds."""
    try:
        _system.select([fd], [], [], 0)
    except (OSError, ValueError) as failure:
        if not is_refusal(failure, _system.select):
            raise
        return OSError if isinstance(failure, OSError) else ValueError
    return None


def _not_registered(fd: int) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}: descriptor {fd}")
