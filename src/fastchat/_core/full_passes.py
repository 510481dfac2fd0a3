"""Passes over a map of which nothing is kept: ask every channel, wait, hand the events out.

``passes.py`` has the other kind, and uses what is here for events that need some thought.

Rules this file keeps:

* Functions that a program may have replaced in ``asyncore`` (``read``, ``write``, ``_exception``,
  ``readwrite``, and the modules ``select`` and ``time``) are looked up there when they are needed.
* An event belongs to the registration that was asked.  A channel that was closed, replaced or
  registered again in the meantime does not see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from fastchat._core.agenda import agenda_of
from fastchat._core.asking import Answer, ask_one, registration_of
from fastchat._core.failures import bury, contain, drop
from fastchat._core.family import Family
from fastchat._core.pollers import (
    INVALID,
    READ,
    URGENT,
    WRITE,
    Poll,
    as_select,
    is_refusal,
    rest_of,
)
from fastchat._core.system import system_of
from fastchat._hangups import was_told

_SELECTS = (READ, WRITE, URGENT)  # in the order of select's arguments


def _ask(family: Family, map: Any, timeout: Any) -> tuple[dict[int, Answer], Any]:
    """Ask every channel of *map* what it waits for.

    Returns a dict that takes descriptors to answers, and *timeout* (seconds or None), shortened to
    the end of the first rest of a listener, and to the first timer.
    """
    agenda = agenda_of(map)
    if agenda is not None:
        agenda.run()
        timeout = agenda.until_next(timeout)
    timeout = family.until_rest_ends(timeout, system_of(map))
    answers = {}
    for fd, channel in list(map.items()):
        answer = ask_one(family, channel, map, fd)
        if answer[2]:
            answers[fd] = answer
        elif answer[2] is None and not holds(map, fd, answer):
            timeout = 0  # it closed, or connected again: look at the map anew
    return answers, timeout


def holds(map: Any, fd: int, answer: Answer) -> bool:
    """Whether *fd* still belongs to the registration that gave *answer*."""
    channel, registration, _ = answer
    return map.get(fd) is channel and registration_of(channel) == registration


def _hand_out(family: Family, event: Any, answer: Answer, map: Any, fd: int, *args: Any) -> None:
    """Hand one event to the channel that gave *answer*, if *fd* is still its own."""
    if holds(map, fd, answer):
        _call_event(family, event, answer[0], map, fd, *args)


def _call_event(family: Family, event: Any, channel: Any, map: Any, fd: int, *args: Any) -> None:
    """Call *event*; what leaves it costs *channel* only, unless a program put *event* there."""
    if [stock for stock in family.events if stock is event]:
        contain(family, event, channel, map, fd, *args)
    else:
        event(channel, *args)


def hand_input(family: Family, channel: Any, map: Any, fd: int, is_poll2: bool) -> None:
    """Tell *channel* that there is input, by the function that a program has put there."""
    if is_poll2:
        _call_event(family, family.names["readwrite"], channel, map, fd, READ)
    else:
        _call_event(family, family.names["read"], channel, map, fd)


def select_once(family: Family, timeout: Any, map: Any) -> None:
    """``poll`` for a map of which nothing is kept."""
    system = system_of(map)
    answers, timeout = _ask(family, map, timeout)
    if not answers:
        system.sleep(family.names, timeout if map else 0)
        return
    sets = [[fd for fd, answer in answers.items() if (answer[2] or 0) & flag] for flag in _SELECTS]
    module = system.select_module(family.names)
    try:
        readable, writable, urgent = module.select(*sets, timeout)
    except (OSError, ValueError) as failure:
        if not is_refusal(failure, module.select):
            raise
        # A closed descriptor says nothing about the others: find it, and serve those next time.
        refused = {fd: system.refusal_of(fd) for fd in answers}
        if not _bury_refused(family, refused, answers, map):
            if ValueError not in refused.values() or not hasattr(module, "poll"):
                raise
            # One is too large for select(), and not for poll().
            hand_out_sets(family, answers, *select_by_poll(family, answers, timeout), map)
        return
    hand_out_sets(family, answers, readable, writable, urgent, map)


def _bury_refused(
    family: Family, refused: dict[int, Any], answers: dict[int, Answer], map: Any
) -> bool:
    """Bury the channels in *answers* that are closed, as *refused* says; returns whether any is."""
    dead = [fd for fd, kind in refused.items() if kind is OSError or (kind and fd < 0)]
    for fd in dead:
        if holds(map, fd, answers[fd]):  # the death of another may have closed it
            bury(family, answers[fd][0], map, fd)
    return bool(dead)


def select_by_poll(
    family: Family, answers: dict[int, Answer], timeout: Any
) -> tuple[list[int], list[int], list[int]]:
    """What ``select`` would return for the channels in *answers*, if it took their descriptors."""
    time = family.names["time"]
    poller = Poll()
    for fd, answer in answers.items():
        poller.register(fd, answer[2] or 0)
    milliseconds = -1 if timeout is None else math.ceil(timeout * 1000)
    since = time.monotonic()
    happened = poller.wait(milliseconds)
    sets = as_select([(fd, answers[fd][2] or 0, flags) for fd, flags in happened])
    if happened and not any(sets):  # hang-ups of which select() says nothing
        for fd, _ in happened:
            poller.mute(fd, answers[fd][2] or 0)
        happened = poller.wait(rest_of(milliseconds, since))
        sets = as_select([(fd, answers[fd][2] or 0, flags) for fd, flags in happened])
    return sets


def hand_out_sets(
    family: Family,
    answers: dict[int, Answer],
    readable: Iterable[int],
    writable: Iterable[int],
    urgent: Iterable[int],
    map: Any,
) -> None:
    """Hand the finds of ``select`` to the channels in *answers*: input first, urgent data last."""
    # That of eventlet may return what another call of it waited for.
    readable, writable, urgent = [
        [fd for fd in fds if fd in answers] for fds in (readable, writable, urgent)
    ]
    for fd in readable:
        _hand_out(family, family.names["read"], answers[fd], map, fd)
    # What heard of the hang-up while it read does not hear of it again while it writes.
    told = {fd for fd in readable if holds(map, fd, answers[fd]) and was_told(answers[fd][0])}
    for name, fds in (("write", writable), ("_exception", urgent)):
        for fd in fds:
            if fd not in told:
                _hand_out(family, family.names[name], answers[fd], map, fd)


def poll_once(family: Family, timeout: Any, map: Any) -> None:
    """``poll2`` for a map of which nothing is kept."""
    answers, timeout = _ask(family, map, timeout)
    pollster = system_of(map).select_module(family.names).poll()
    for fd, (channel, _, flags) in answers.items():
        wanted = flags or 0
        try:
            # As in CPython 3.11, which asks for urgent data together with input only.
            pollster.register(fd, wanted if wanted & READ else wanted & ~URGENT)
        except ValueError:
            key: Any = fd  # the map is the program's, and may have others
            if isinstance(key, int) and key >= 0:
                raise  # only of a negative number poll says so: it was a signal handler
            # The socket was closed.
            bury(family, channel, map, fd)
            timeout = 0
    if not map:  # a signal handler has closed every channel that was asked
        timeout = 0
    for fd, happened in pollster.poll(None if timeout is None else int(timeout * 1000)):
        if fd in answers:
            hand_out_flags(family, answers[fd], map, fd, happened)


def hand_out_flags(family: Family, answer: Answer, map: Any, fd: int, flags: int) -> None:
    """Hand out what ``poll`` found for *fd*, to whom gave *answer*."""
    _hand_out(family, family.names["readwrite"], answer, map, fd, flags)
    if flags & INVALID and holds(map, fd, answer):
        drop(family, answer[0], map, fd)
