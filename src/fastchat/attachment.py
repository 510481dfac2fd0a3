"""asyncore's channels inside a running asyncio or uvloop loop: ``attach()``.

A pass is cut in two at its wait, for which asyncio's stands: ``hand_out`` comes behind a wait,
``prepare`` before the next one.

Rules this file keeps:

* asyncio waits for the descriptor of the kernel's set (epoll, kqueue), which is readable where
  any channel has an event: for a duplicate, so that nobody who closes the set, or gets its number,
  is met.  Where there is no set, it waits for each descriptor by itself (``_Watched``).
* Whatever is changed between two passes calls ``wake()``, from any thread and any signal handler;
  so an idle map costs nothing.  During a pass of ours ``wake()`` only leaves a note.
* Each wake-up makes one pass, which waits for nothing.
* In a forked child nothing of the parent's loop is touched.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import math
import os
import select
from threading import get_ident
from typing import Any, Self

from fastchat import asyncore
from fastchat._core import passes, pollers
from fastchat._core.agenda import agenda_of
from fastchat._core.maps import end_loop, watch_over
from fastchat._core.quantities import seconds
from fastchat._core.touch import watches

__all__ = ["Attachment", "attach"]

_family: Any = asyncore._family  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

# What a loop says of a descriptor that is closed, or of a file that is always ready.
_NOT_TO_BE_WAITED_FOR = (errno.EBADF, errno.EPERM, errno.EINVAL)


def attach(
    loop: asyncio.AbstractEventLoop | None = None,
    map: Any = None,
    *,
    timeout: float | None = 30.0,
    use_poll: bool = False,
) -> Attachment:
    """Serve the channels of *map*, old ones and new ones, inside *loop*, until ``detach()``.

    *loop* is a loop of asyncio or uvloop, by default the one that runs; *map* is a ``channel_map``
    or a dict, ``asyncore.socket_map`` by default.  *use_poll* is that of ``asyncore.loop()``; so is
    *timeout* (seconds, None for ever), but it counts only where a channel overrides ``readable()``
    or ``writable()``, or *map* is a dict.  To be called in the thread of the loop.

    Raises TypeError where *loop* is none, *map* is another mapping or *timeout* no number,
    ValueError where *timeout* is not above 0, RuntimeError where there is no loop, or
    one that is closed, has no ``add_reader()`` or runs in another thread, where *map* is attached
    already, and where no registrations can be kept (as under gevent).
    """
    running = asyncio._get_running_loop()
    if loop is None:
        loop = running
    if loop is None:
        raise RuntimeError("no loop is running in this thread: attach(loop) wants one")
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise TypeError(
            f"a loop of asyncio or uvloop is wanted, not {type(loop).__name__}: give a map as map="
        )
    if loop.is_closed():
        raise RuntimeError(f"{loop!r} is closed")
    if loop.is_running() and loop is not running:
        raise RuntimeError(f"{loop!r} runs in another thread: call attach() there")
    if type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:
        raise RuntimeError(f"{loop!r} has no add_reader(): use asyncio.SelectorEventLoop")
    if timeout is not None and timeout != math.inf:
        seconds("timeout", timeout, 0, or_none=True, is_above=True)
    if map is None:
        map = asyncore.socket_map
    if type(map) not in (dict, asyncore.channel_map):
        raise TypeError(f"a channel_map or a dict can be attached, not {type(map).__name__}")
    for other in list(watches.values()):  # of plain dicts, which nobody else would ever let go
        attached = other.agenda.attached
        if attached is not None and attached._loop.is_closed():
            attached.detach()
    agenda = agenda_of(map)
    if agenda is not None and agenda.attached is not None:
        agenda.attached._give_way()
    watch = watch_over(map, _family, True)
    if watch is None:
        raise RuntimeError(
            "no registrations can be kept: select is replaced, or there is no descriptor left"
        )
    try:
        return Attachment(loop, map, watch, timeout, use_poll)
    except BaseException:
        end_loop(map)
        raise


class Attachment:
    """What ``attach()`` returns; a context manager, which detaches at its end."""

    _descriptor = -1  # also where an exception of a signal handler leaves __init__()

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        map: Any,
        watch: Any,
        timeout: float | None,
        use_poll: bool,
    ) -> None:
        self._loop = loop
        self._map = map
        self._watch = watch
        self._timeout = timeout
        self._use_poll = use_poll and hasattr(select, "poll")
        # In which all handlers run, whoever has woken the loop.
        self._context = contextvars.copy_context()
        # The poller for which asyncio waits, and by which descriptor of our own.
        self._poller: Any = None
        self._kind = watch.kind  # that of the pollers that the map had, and gets back
        # The next pass: when, and whether it is to come at once.
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = 0.0  # when nothing will have happened for long enough to check channels
        self._due = 0.0  # when the timer comes; uvloop's own does not say so if that is at once
        self._is_scheduled = False
        # The pass that is being made: by whom, and whether another one must follow.
        self._passing = 0
        self._is_wanted = False
        self._has_begun = False
        self._is_over = False
        self._failure: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._follow()
        watch.agenda.attached = self
        self._schedule()

    def __repr__(self) -> str:
        state = "detached" if self._is_over else f"{len(self._map)} channels"
        return f"<fastchat.Attachment: {state}>"

    def __del__(self) -> None:
        self._close_descriptor()  # its loop and its map went together, without a detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.detach()

    @property
    def is_attached(self) -> bool:
        """Whether it serves the map, which ``detach()`` and what leaves a pass have ended."""
        return not self._is_over

    async def wait(self) -> None:
        """Wait until the map is empty, as ``asyncore.loop()`` does, or it is detached.

        Raises what has left a handler and ended the attachment: ExitNow, or what a program's own
        ``handle_error()`` has raised.
        """
        while True:
            if self._is_over or not self._map:
                break
            await self._wait_once()
        if self._failure is not None:
            raise self._failure

    async def _wait_once(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def wake(self) -> None:
        """Make a pass soon.  Any thread and any signal handler may call this.

        A program calls it where it has changed what a ``readable()`` or ``writable()`` of its own
        will answer; of all else the loop is told.
        """
        if self._passing == get_ident():
            self._is_wanted = True
        elif not (self._is_scheduled or self._is_over):
            self._is_scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._run_soon, context=self._context)
            except BaseException:
                self._is_scheduled = False
                if not self._loop.is_closed():
                    raise
                self._let_go()  # it was closed before detach()

    def detach(self) -> None:
        """Serve the map no longer, whose channels stay as they are; to do so twice does nothing.

        To be called in the thread of the loop, also where that is closed.
        """
        if self._is_over:
            return
        self._let_go()
        if not self._passing:
            end_loop(self._map)

    def _give_way(self) -> None:
        """Another attachment of the map is wanted: raises RuntimeError while this one serves it."""
        if not self._loop.is_closed():
            raise RuntimeError(f"the map is attached to {self._loop!r}: detach() that first")
        self.detach()

    def _leave_to_the_parent(self) -> None:
        """In a forked child: serve nothing, and touch nothing of the parent's loop."""
        self._is_over = True
        self._watch.agenda.attached = None
        self._watch.kind = self._kind
        if isinstance(self._poller, _Watched):
            self._poller.followed.clear()  # for its close() would take them out of that loop
        self._close_descriptor()

    # Passes.

    def _run_soon(self) -> None:
        if self._is_scheduled:  # else a pass was made meanwhile
            self._run()

    def _run_late(self) -> None:
        self._timer = None
        self._run(is_idle=self._loop.time() >= self._quiet)

    def _run(self, is_idle: bool = False) -> None:
        """Make a pass."""
        if self._is_over:
            return
        self._is_scheduled = False
        outer, self._passing = self._passing, get_ident()
        rest: Any = 0
        try:
            rest = self._make_pass(is_idle)
        except (KeyboardInterrupt, SystemExit):
            raise  # they leave the loop; where that runs again, it goes on
        except BaseException as failure:
            self._end(failure)
        finally:
            self._passing = outer
            if self.is_attached:
                self._come_back(rest)
            else:
                end_loop(self._map)

    def _make_pass(self, is_idle: bool) -> Any:
        """Make a pass; returns how long the loop may wait for the next one."""
        watch = self._watch
        is_first = not self._has_begun
        if not is_first and (passes.hand_out(watch, self._use_poll, is_idle) or is_idle):
            # A millisecond less, because a timer of uvloop comes up to half of one too early.
            self._quiet = self._loop.time() + (passes.IDLE_MS - 1) / 1000
        self._has_begun = True
        self._is_wanted = False  # what was wanted so far, this does
        if self._is_over:
            return None
        rest = passes.prepare(watch, self._timeout, self._use_poll, is_first)
        if watch.poller is not self._poller:
            self._follow()
        return rest

    def _come_back(self, rest: Any) -> None:
        """Let the next pass be made in *rest* seconds at the latest, None for never."""
        if not self._map:
            self._tell()
        if self._is_wanted or rest == 0:
            self._schedule()
        elif rest is None:
            self._cancel_timer()
        else:
            when = self._loop.time() + rest
            # One that comes earlier may stay: in a busy map it would else be set anew each time.
            if self._timer is None or self._due > when:
                self._cancel_timer()
                self._due = when
                self._timer = self._loop.call_at(when, self._run_late, context=self._context)

    def _schedule(self) -> None:
        """Make a pass soon, in the thread of the loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run_soon, context=self._context)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The end.

    def _end(self, failure: BaseException) -> None:
        """*failure* has left a pass, as it leaves ``asyncore.loop()``."""
        self._failure = failure
        was_awaited = not all(waiter.cancelled() for waiter in self._waiters)
        self._let_go()
        if not was_awaited:
            message = "what a handler has raised has ended the attachment of asyncore's channels"
            self._loop.call_exception_handler({"message": message, "exception": failure})

    def _let_go(self) -> None:
        """Take everything back out of the loop."""
        self._is_over = True
        watch = self._watch
        watch.agenda.attached = None
        if not self._loop.is_closed():
            self._cancel_timer()
            self._unfollow()
            self._tell()
        self._close_descriptor()
        if watch.kind is not self._kind:
            watch.kind = self._kind
            watch.needs_new_set = True

    def _tell(self) -> None:
        """Let ``wait()`` look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # What the loop waits for.

    def _follow(self) -> None:
        """Let the loop wait for the poller that the map has now."""
        self._unfollow()
        watch = self._watch
        if not isinstance(watch.poller, _Watched):
            self._descriptor = _duplicate(watch.poller)
            if self._descriptor >= 0:
                self._loop.add_reader(self._descriptor, self._run)
            else:
                self._kind = watch.kind
                watch.make_new_set(_watched(self))
        self._poller = watch.poller

    def _unfollow(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            self._close_descriptor()
        if isinstance(self._poller, _Watched):
            for fd in list(self._poller.followed):
                self._follow_one(self._poller, fd, 0)

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _follow_one(self, poller: _Watched, fd: int, flags: int) -> None:
        """Let the loop wait for *flags* of *fd*, with which *poller* has it."""
        loop, had = self._loop, poller.followed.pop(fd, 0)
        poller.always.pop(fd, None)
        if loop.is_closed() or (self._is_over and not had):
            return
        try:
            if had & ~flags & pollers.READ:
                loop.remove_reader(fd)
            if had & ~flags & pollers.WRITE:
                loop.remove_writer(fd)
            if flags & ~had & pollers.READ:
                loop.add_reader(fd, self._schedule)
            if flags & ~had & pollers.WRITE:
                loop.add_writer(fd, self._schedule)
        except OSError as failure:
            if failure.errno not in _NOT_TO_BE_WAITED_FOR:
                raise
            poller.always[fd] = flags  # each pass asks the poller, which knows what it is
        except RuntimeError as failure:
            if "transport" not in str(failure):
                raise
            # The socket was closed behind the channel's back, and a transport of the loop has its
            # number now, which is left to that.  The next event shows the channel that it is over.
        else:
            if flags:
                poller.followed[fd] = flags


def _duplicate(poller: Any) -> int:
    """A descriptor of our own for the set of *poller*; -1 where there is none, or none is left."""
    if not hasattr(poller, "fileno"):
        return -1
    try:
        return os.dup(poller.fileno())
    except OSError as failure:
        if not pollers.is_ours(failure):
            raise
        return -1


class _Watched:
    """What a poller without a set has besides, where the loop waits for the same descriptors."""

    attachment: Attachment
    followed: dict[int, int]
    always: dict[int, int]


def _watched(attachment: Attachment) -> Any:
    """A kind of poller without a set, for whose descriptors the loop of *attachment* waits."""
    base: Any = type(pollers.without_a_set())

    class Watched(_Watched, base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.followed = {}

        def register(self, fd: int, flags: int) -> None:
            super().register(fd, flags)
            attachment._follow_one(self, fd, flags)

        def modify(self, fd: int, flags: int) -> None:
            super().modify(fd, flags)
            attachment._follow_one(self, fd, flags)

        def mute(self, fd: int, flags: int) -> None:
            super().mute(fd, flags)
            attachment._follow_one(self, fd, 0)

        def unregister(self, fd: int) -> bool:
            attachment._follow_one(self, fd, 0)
            was_there: bool = super().unregister(fd)
            return was_there

        def close(self) -> None:
            for fd in list(self.followed):
                attachment._follow_one(self, fd, 0)
            super().close()

    return Watched
