# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""What the loop over one map does besides events: timers, calls of other threads, what goes on.

Rules this file keeps:

* A pass lets go on what is ready first; what that adds waits for the next pass.  It waits no longer
  than until the first timer is due, and not at all where something is to go on.  Behind its events
  it runs the timers, by the time for which they were set.  The calls of other threads are made at
  both ends.
* A call that raises costs nobody else anything: it is logged.  Only what ``asyncore`` names in
  ``_reraised_exceptions`` leaves the loop, and loses no other call.
* What is taken out of a queue is called without a call in between, behind which the exception of a
  signal handler could leave.
* ``now`` is what the clock said after the last wait, so that an event costs no look at it.
  Where there never was a timer, a call or a LineChannel, a pass does nothing of all this.
* An entry of the heap that stands for nothing any more is counted from that moment.  Such entries
  leave when they come to its top, or when they are more than half of all.
* Deadlines of channels share their entries: all that end within one eighth of a second are looked
  at together.  So a deadline costs its place in a list, and however many there are, an idle loop is
  woken eight times a second at most.

What has entries is a ``Timer``, or has the same methods, ``_is_over``, ``_what`` and ``_run``; what
``look_at`` gets has ``armed``, too: when it is looked at next, or 0.
"""

from __future__ import annotations

import heapq
import math
import time
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from fastchat._core import quantities
from fastchat._core.system import REAL, system_of
from fastchat._core.touch import agendas, watch_of, working

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from math import ceil, floor, nextafter

    from fastchat._core.family import Family

# How many entries of a heap may stand for nothing in any case.
_SOME = 64

# How often deadlines are looked at, in a second; a power of two, so that times stay exact.
_TICKS = 8

# The longest time to wait, or to leave a deadline alone, in seconds: what all systems can do.
_LONGEST = 86400.0

# The smallest number of seconds between two calls.
_LEAST = 0.001

# What a program has as the functions of the module time, without the look-up of its attributes.
_time_names = vars(time)


class Timer:
    """A call that is to be made later, once or again and again; ``cancel`` ends that."""

    if not cython.compiled:
        __slots__ = (
            "__weakref__",
            "_agenda",
            "_args",
            "_function",
            "_interval",
            "_is_running",
            "_others",
        )

    def __init__(
        self,
        agenda: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        interval: float,
        others: set[Any] | None = None,
    ) -> None:
        self._agenda: Any = agenda
        self._function: Any = function
        self._args: Any = args
        self._interval: float = interval  # in seconds; 0 for a call that is made once
        self._is_running = False  # again and again, and maybe making passes
        self._others: Any = others  # the timers of its channel that are active

    @property
    def is_active(self) -> bool:
        """Whether the call is still to be made."""
        return self._function is not None

    def cancel(self) -> None:
        """Do not make the call any more; to cancel twice, or too late, does nothing."""
        if self._function is not None:
            agenda = self._agenda
            self._end()
            agenda.forget_one()
            agenda.let_go()

    def _end(self) -> None:
        """It is active no more, and keeps nothing."""
        agenda, self._agenda = self._agenda, None
        self._function = self._args = None
        if self._others is None:
            agenda.count_timers(-1)
        else:
            self._others.discard(self)

    def _is_over(self, due: float) -> bool:
        """Whether its entry in the heap, for when it is *due*, stands for nothing."""
        return self._function is None

    def _what(self) -> Any:
        """What is called, for a message."""
        return self._function

    def _run(self, due: float) -> None:
        """It is *due*: make the call."""
        function, args = self._function, self._args
        if self._interval:
            agenda = self._agenda
            due += self._interval
            # Who was late by more than one interval does not make up for the calls it has missed.
            agenda.add(self, due if due > agenda.now else agenda.now + self._interval)
            if self._is_running:
                return
            try:
                self._is_running = True
                function(*args)
            finally:
                self._is_running = False
        else:
            self._end()
            function(*args)


class Agenda:
    """What is to be done in the loop over *map*, which *family* makes passes over."""

    if not cython.compiled:
        __slots__ = (
            "__weakref__",
            "_cancelled",
            "_count",
            "_due",
            "_heap",
            "_is_held",
            "_is_real",
            "_order",
            "_sound",
            "_ticks",
            "_timers",
            "attached",
            "calls",
            "family",
            "is_used",
            "map",
            "now",
            "ready",
            "system",
        )

    def __init__(self, map: Any, family: Family) -> None:
        self.map = map
        self.family = family
        self.system = system_of(map)
        self._is_real = self.system is REAL
        # What makes the passes where another loop waits (attachment.py).
        self.attached: Any = None
        self.now: float = 0.0
        # Functions with their arguments, from any thread; and what has a go_on().
        self.calls: deque[tuple[Any, tuple[Any, ...]]] = deque()
        self.ready: deque[Any] = deque()
        # When, a number that makes it unique, and who; and what of it is called in this pass.
        self._heap: list[tuple[float, int, Any]] = []
        self._due: deque[tuple[float, int, Any]] = deque()
        # The number of the first entry, if it was found to stand for something and none was ended
        # since; 0 for none.  Where that is not so, for a signal handler or a thread has ended one
        # meanwhile, a wait ends too early, and the entry goes then.
        self._sound = 0
        self._is_held = False  # in ``working``
        self._order = 0
        # The lists in the heap, by when they are due: of channels, to look at their deadlines.
        self._ticks: dict[float, list[Any]] = {}
        # How many entries there are, those in lists, too; how many of them stand for nothing.
        self._count = 0
        self._cancelled = 0
        # How many timers are active that belong to no channel; whether there ever was a timer, a
        # call or a LineChannel, without which a pass has nothing to do here.
        self._timers = 0
        self.is_used = False
        self.look()

    def moment(self) -> float:
        """What the clock says, in seconds; ``now``, by which deadlines pass, stays as it is."""
        names = self.family.names
        now: float
        if cython.compiled and self._is_real and names["time"] is time:  # compiled only
            now = _time_names["monotonic"]()
        else:
            now = self.system.monotonic(names)
        return now

    def look(self) -> float:
        """Look at the clock, and return what it says, in seconds."""
        self.now = self.moment()
        return self.now

    def entries(self) -> int:
        """How many entries there are, also such as stand for nothing."""
        return self._count

    def add(self, entry: Any, due: float) -> None:
        """Run *entry* when it is *due*, in seconds of the clock."""
        self._order += 1
        self._count += 1
        heapq.heappush(self._heap, (due, self._order, entry))

    def wake(self) -> None:
        """There is something to do: where another loop waits, let it make a pass soon."""
        attached = self.attached
        if attached is not None:
            attached.wake()

    def look_at(self, line: Any, due: float) -> None:
        """Run *line*, of a channel, at the first tick that is neither past nor before it is *due*.

        Where it is to be run no later anyway, that is enough.
        """
        tick = math.ceil(min(due, self.now + _LONGEST) * _TICKS)
        when = max(tick, math.floor(self.now * _TICKS) + 1) / _TICKS
        armed = line.armed
        if 0 < armed <= when:
            return
        together = self._ticks.get(when)
        if together is None:
            together = [line]
            self.add(together, when)
            self._ticks[when] = together
            self.wake()
        else:
            together.append(line)
        self._count += 1
        line.armed = when
        if armed:
            self.forget_one()

    def forget_one(self) -> None:
        """One more entry stands for nothing."""
        self._sound = 0
        self._cancelled += 1
        if self._cancelled > _SOME and 2 * self._cancelled > self._count:
            self._sweep()

    def _sweep(self) -> None:
        """Take all entries out that stand for nothing."""
        heap = self._heap
        self._cancelled = 0
        # In place and from behind, so that what comes in meanwhile stays in.
        for index in range(len(heap) - 1, -1, -1):
            when, _, entry = heap[index]
            if type(entry) is list:
                for place in range(len(entry) - 1, -1, -1):
                    if entry[place]._is_over(when):
                        entry[place] = entry[-1]
                        del entry[-1]
            if self._is_over(when, entry):
                heap[index] = heap[-1]
                del heap[-1]
        heapq.heapify(heap)
        self._count = len(heap) + sum([len(each) for each in self._ticks.values()])

    def _is_over(self, when: float, entry: Any) -> bool:
        """Whether *entry*, which is due *when*, stands for nothing."""
        if type(entry) is not list:
            return bool(entry._is_over(when))
        while entry and entry[-1]._is_over(when):
            del entry[-1]
            self._take_off(True)
        if not entry:
            self._ticks.pop(when, None)
        return not entry

    def _take_off(self, is_over: bool) -> None:
        """An entry is there no more, which stood for nothing if *is_over*."""
        self._count = max(self._count - 1, 0)
        if is_over:
            self._cancelled = max(self._cancelled - 1, 0)

    def until_next(self, timeout: Any) -> Any:
        """*timeout* (seconds, or None for ever), shortened to when something is to be done."""
        if self.calls or self.ready or self._due:
            return 0
        heap = self._heap
        while heap:
            first = heap[0]
            number = first[1]
            if number == self._sound:
                break
            if self._is_over(first[0], first[2]):
                self._take_off(type(heapq.heappop(heap)[2]) is not list)
            else:
                self._sound = number
        if not heap:
            return timeout
        due = heap[0][0]
        # In whole milliseconds, as all pollers wait, and not less: a pass too early is one in vain.
        milliseconds = ceil(min(max(due - self.look(), 0), _LONGEST) * 1000)
        left = milliseconds / 1000
        if floor(left * 1000) < milliseconds:
            left = nextafter(left, left + 1)
        # For poll2() a negative number means for ever, too.
        return left if timeout is None or timeout < 0 or left < timeout else timeout

    def run(self) -> None:
        """A pass begins: make the calls of other threads, and let go on what is ready."""
        self._make_calls()
        ready = self.ready
        for _ in range(len(ready)):
            if ready:
                self._let_go_on()

    def _let_go_on(self) -> None:
        which = self.ready[0]
        del self.ready[0]
        try:
            which.go_on()
        except BaseException:
            if which not in self.ready:  # it was interrupted before it began
                self.ready.append(which)
            raise

    def run_due(self) -> None:
        """A pass ends: make the calls of other threads, and run what was due after the wait."""
        self._make_calls()
        while self._heap and self._heap[0][0] <= self.now:
            # In one call, for behind each a signal handler might raise.
            self._due.extend(map(heapq.heappop, (self._heap,)))
        try:
            self._run_entries()
        finally:
            self.let_go()

    def _run_entries(self) -> None:
        due = self._due
        while due:
            when, _, entry = due[0]
            if type(entry) is list:
                # Before it is taken away; who is looked at twice has nothing to do.
                due.extend([(when, 0, each) for each in entry])
                self._ticks.pop(when, None)
                del due[0]
                self._take_off(False)
                continue
            del due[0]
            is_over = bool(entry._is_over(when))
            self._take_off(is_over)
            if is_over:
                continue
            what = entry._what()
            try:
                entry._run(when)
            except BaseException as failure:
                self._report(failure, what)

    def hold(self) -> None:
        """Stay, if the map is a plain dict, as long as there are calls or timers of no channel."""
        if not _has_own(self.map):
            self._is_held = True
            working[id(self.map)] = self

    def count_timers(self, more: int) -> None:
        """There are so many *more* timers of no channel; behind less, call ``let_go``."""
        self._timers += more

    def let_go(self) -> None:
        """Stay no longer than needed; see ``hold``.

        It may run Python, in which a signal handler raises: so it has no place between a call that
        is taken out and that call.
        """
        if self._is_held and not self._timers and not self.calls:
            self._is_held = False
            working.pop(id(self.map), None)
            if self.calls:  # of a thread that was faster
                self.hold()

    def _make_calls(self) -> None:
        calls = self.calls
        try:
            for _ in range(len(calls)):
                self._make_one()
        finally:
            self.let_go()

    def _make_one(self) -> None:
        if not self.calls:  # a nested pass has made it
            return
        function, args = self.calls[0]
        del self.calls[0]
        try:
            function(*args)
        except BaseException as failure:
            self._report(failure, function)

    def _report(self, failure: BaseException, what: Any) -> None:
        """Log *failure*, which is being handled, unless it leaves the loop."""
        if isinstance(failure, self.family.reraised()):
            raise failure
        # Not before: it imports logging, which takes as long as all the rest.
        from fastchat._reports import logger_of  # noqa: PLC0415

        logger = logger_of("loop")
        logger.error("a call in the loop has failed: %r", what, exc_info=failure)


def agenda_of(map: Any) -> Agenda | None:
    """The agenda of *map*, None where it has none."""
    if _has_own(map):
        own: Agenda | None = map._fc_agenda.get(0)
        return own
    kept = agendas.get(id(map))
    return None if kept is None else kept()


def agenda_for(map: Any, family: Family) -> Agenda:
    """The agenda of *map*, which is made where there is none."""
    agenda = agenda_of(map)
    while agenda is None:
        made = Agenda(map, family)
        # One step, so that no other thread has another one.
        if _has_own(map):
            agenda = map._fc_agenda.setdefault(0, made)
        else:
            key = id(map)
            agenda = agendas.setdefault(key, weakref.ref(made, partial(_forget, key)))()
            if agenda is None:
                agendas.pop(id(map), None)
    return agenda


def _forget(key: int, kept: Any) -> None:
    """The agenda is gone of which *kept* was the weak reference, under *key*."""
    if agendas.get(key) is kept:
        agendas.pop(key, None)


def _has_own(map: Any) -> bool:
    """Whether *map* is a ChannelMap, which has the place where its agenda is."""
    # Of a class of the program's the map is not asked, because its __getattr__ may do anything.
    return hasattr(type(map), "_fc_agenda")


def run_due(map: Any) -> None:
    """A pass over *map* ends of which nothing is kept."""
    agenda = agenda_of(map)
    if agenda is not None:
        agenda.look()
        agenda.run_due()


def add_later(
    map: Any,
    family: Family,
    seconds: float,
    function: Any,
    args: tuple[Any, ...],
    others: set[Any] | None = None,
) -> Timer:
    """Let the loop over *map* call *function* in so many *seconds*.

    *others* are the timers of the channel to which it belongs, if it belongs to one.
    """
    left = max(quantities.seconds("seconds", seconds, -quantities.MOST), 0.0)
    return _call(map, family, left, function, args, 0.0, others)


def add_every(
    map: Any, family: Family, seconds: float, function: Any, args: tuple[Any, ...]
) -> Timer:
    """Let the loop over *map* call *function* every so many *seconds*."""
    interval = quantities.seconds("seconds", seconds, _LEAST)
    return _call(map, family, interval, function, args, interval, None)


def add_call(map: Any, family: Family, function: Any, args: tuple[Any, ...]) -> None:
    """Let the loop over *map* call *function* soon."""
    agenda = agenda_for(map, family)
    agenda.calls.append((function_of(function), args))
    agenda.is_used = True
    agenda.hold()
    watch = watch_of(map)
    if watch is not None:
        watch.stir()


def _call(
    map: Any,
    family: Family,
    seconds: float,
    function: Any,
    args: tuple[Any, ...],
    interval: float,
    others: set[Any] | None,
) -> Timer:
    agenda = agenda_for(map, family)
    timer = Timer(agenda, function_of(function), args, interval, others)
    if others is None:
        agenda.count_timers(1)
        agenda.hold()
    else:
        others.add(timer)
    agenda.add(timer, agenda.look() + seconds)
    agenda.is_used = True
    watch = watch_of(map)
    if watch is not None:
        # It may wait for longer, where a signal handler has called.  No more than that: a pass
        # looks for the next timer behind all predicates, which may set one whenever they are asked.
        watch.change()
    return timer


def function_of(function: Any) -> Any:
    """*function*; raises TypeError where that cannot be called."""
    if not callable(function):
        raise TypeError(f"a function is to be called later, not {type(function).__name__}")
    return function
