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
* Cancelled entries leave the heap when they are due, or when they are more than half of it.

What has entries in the heap is a ``Timer``, or has the same two methods, ``_is_over`` and ``_run``.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from fastchat._core.system import system_of
from fastchat._core.touch import watch_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._core.family import Family

# How many cancelled entries a heap may have in any case.
_SOME = 64


class Timer:
    """A call that is to be made later, once or again and again; ``cancel`` ends that."""

    if not cython.compiled:
        __slots__ = ("__weakref__", "_agenda", "_args", "_function", "_interval")

    def __init__(
        self, agenda: Any, function: Callable[..., Any], args: tuple[Any, ...], interval: float
    ) -> None:
        self._agenda: Any = agenda
        self._function: Any = function
        self._args: Any = args
        self._interval: float = interval  # in seconds; 0 for a call that is made once

    @property
    def is_active(self) -> bool:
        """Whether the call is still to be made."""
        return self._function is not None

    def cancel(self) -> None:
        """Do not make the call any more; to cancel twice, or too late, does nothing."""
        if self._function is not None:
            self._function = self._args = None
            self._agenda.forget_one()

    def _is_over(self) -> bool:
        """Whether its entry in the heap stands for nothing."""
        return self._function is None

    def _run(self, due: float) -> None:
        """It is *due*: make the call."""
        function, args = self._function, self._args
        if self._interval:
            agenda = self._agenda
            due += self._interval
            # Who was late by more than one interval does not make up for the calls it has missed.
            agenda.add(self, due if due > agenda.now else agenda.now + self._interval)
        else:
            self._function = self._args = None
        function(*args)


class Agenda:
    """What is to be done in the loop over *map*, which *family* makes passes over."""

    if not cython.compiled:
        __slots__ = (
            "_cancelled",
            "_due",
            "_heap",
            "_order",
            "calls",
            "family",
            "map",
            "now",
            "ready",
            "system",
        )

    def __init__(self, map: Any, family: Family) -> None:
        self.map = map
        self.family = family
        self.system = system_of(map)
        self.now: float = 0.0
        # Functions with their arguments, from any thread; and what has a go_on().
        self.calls: deque[tuple[Any, tuple[Any, ...]]] = deque()
        self.ready: deque[Any] = deque()
        # When, a number that makes it unique, and who; and what of it is called in this pass.
        self._heap: list[tuple[float, int, Any]] = []
        self._due: deque[tuple[float, int, Any]] = deque()
        self._order = 0
        self._cancelled = 0
        self.look()

    def look(self) -> float:
        """Look at the clock, and return what it says, in seconds."""
        now: float = self.system.monotonic(self.family.names)
        self.now = now
        return now

    def is_busy(self) -> bool:
        """Whether there is anything to do, now or later."""
        return bool(self._heap or self.calls or self.ready or self._due)

    def entries(self) -> int:
        """How many entries the heap has, cancelled ones, too."""
        return len(self._heap)

    def add(self, entry: Any, due: float) -> None:
        """Run *entry* when it is *due*, in seconds of the clock."""
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, entry))

    def forget_one(self) -> None:
        """One more entry of the heap stands for nothing."""
        self._cancelled += 1
        if self._cancelled > _SOME and 2 * self._cancelled > len(self._heap):
            self._cancelled = 0
            left = [each for each in self._heap if not each[2]._is_over()]
            heapq.heapify(left)
            self._heap = left

    def until_next(self, timeout: Any) -> Any:
        """*timeout* (seconds, or None for ever), shortened to when something is to be done."""
        if self.calls or self.ready or self._due:
            return 0
        while self._heap and self._heap[0][2]._is_over():
            heapq.heappop(self._heap)
            self._cancelled = max(self._cancelled - 1, 0)
        if not self._heap:
            return timeout
        # In whole milliseconds, as all pollers wait, and not less: a pass too early is one in vain.
        left = math.ceil(max(self._heap[0][0] - self.look(), 0) * 1000) / 1000
        return left if timeout is None or left < timeout else timeout

    def run(self) -> None:
        """A pass begins: make the calls of other threads, and let go on what is ready."""
        self._make_calls()
        ready = self.ready
        for _ in range(len(ready)):
            if ready:
                which = ready[0]
                del ready[0]
                which.go_on()

    def run_due(self) -> None:
        """A pass ends: make the calls of other threads, and run what was due after the wait."""
        self._make_calls()
        due = self._due
        while self._heap and self._heap[0][0] <= self.now:
            # In one call, for behind each a signal handler might raise.
            due.extend(map(heapq.heappop, (self._heap,)))
        while due:
            when, _, entry = due[0]
            del due[0]
            if entry._is_over():
                self._cancelled = max(self._cancelled - 1, 0)
                continue
            try:
                entry._run(when)
            except BaseException as failure:
                self._report(failure, entry)

    def _make_calls(self) -> None:
        calls = self.calls
        for _ in range(len(calls)):
            if calls:  # a nested pass may have made them
                function, args = calls[0]
                del calls[0]
                try:
                    function(*args)
                except BaseException as failure:
                    self._report(failure, function)

    def _report(self, failure: BaseException, what: Any) -> None:
        """Log *failure*, which is being handled, unless it leaves the loop."""
        if isinstance(failure, self.family.reraised()):
            raise failure
        import logging  # noqa: PLC0415 (it takes as long to import as all the rest)

        logger = logging.getLogger("fastchat.loop")
        logger.error("a call in the loop has failed: %r", what, exc_info=failure)


# Those of maps that are none of ours, by the id of the map, which is kept as long as there is one.
_others: dict[int, Agenda] = {}


def agenda_of(map: Any) -> Agenda | None:
    """The agenda of *map*, None where it has none."""
    return map._fc_agenda.get(0) if _has_own(map) else _others.get(id(map))


def agenda_for(map: Any, family: Family) -> Agenda:
    """The agenda of *map*, which is made where there is none."""
    agenda = agenda_of(map)
    if agenda is None:
        # One step, so that no other thread has another one.
        place, key = (map._fc_agenda, 0) if _has_own(map) else (_others, id(map))
        agenda = place.setdefault(key, Agenda(map, family))
    return agenda


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


def release(map: Any) -> None:
    """A loop over *map* has ended: keep its agenda only if there is something to do."""
    agenda = _others.get(id(map))
    if agenda is not None and not agenda.is_busy():
        _others.pop(id(map), None)


def add_later(
    map: Any, family: Family, seconds: float, function: Any, args: tuple[Any, ...]
) -> Timer:
    """Let the loop over *map* call *function* in so many *seconds*."""
    return _call(map, family, _duration(seconds, least=0.0), function, args, 0.0)


def add_every(
    map: Any, family: Family, seconds: float, function: Any, args: tuple[Any, ...]
) -> Timer:
    """Let the loop over *map* call *function* every so many *seconds*."""
    interval = _duration(seconds, least=0.001)
    return _call(map, family, interval, function, args, interval)


def add_call(map: Any, family: Family, function: Any, args: tuple[Any, ...]) -> None:
    """Let the loop over *map* call *function* soon."""
    agenda_for(map, family).calls.append((_callable(function), args))
    watch = watch_of(map)
    if watch is not None:
        watch.stir()


def _call(
    map: Any, family: Family, seconds: float, function: Any, args: tuple[Any, ...], interval: float
) -> Timer:
    agenda = agenda_for(map, family)
    timer = Timer(agenda, _callable(function), args, interval)
    agenda.add(timer, agenda.look() + seconds)
    watch = watch_of(map)
    if watch is not None:
        watch.stir()  # it may wait for longer, where a signal handler has called
    return timer


def _callable(function: Any) -> Any:
    if not callable(function):
        raise TypeError(f"a function is to be called later, not {type(function).__name__}")
    return function


def _duration(seconds: Any, least: float) -> float:
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"a time is a number of seconds, not {type(seconds).__name__}")
    if not least <= seconds < math.inf:
        raise ValueError(f"a time must be at least {least:g} seconds and finite, not {seconds!r}")
    return seconds
