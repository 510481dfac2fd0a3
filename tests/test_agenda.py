"""What the agenda of a map keeps, for how long, and how long a wait may be.

Times are those of a clock that the test moves.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
import socket
import sys
import threading
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Clock, Stage, fail_with, inside
from tests.support.line_channels import line_channel, settle, tell
from tests.support.waiting import all_maps


def agenda_for(stage: Stage, map: Any = None) -> Any:
    """The agenda of *map*, by default the map of *stage*."""
    map = stage.map if map is None else map
    agenda = stage.implementation.core["agenda"].agenda_for(map, stage.asyncore._family)
    agenda.is_used = True
    return agenda


def kept(stage: Stage) -> int:
    """How many plain maps have an agenda now."""
    gc.collect()
    touch: Any = stage.implementation.core["touch"]
    assert set(touch.working) <= set(touch.agendas)
    return len(touch.agendas)


class Line:
    """What has one deadline, as a LineState has."""

    def __init__(self, ran: list[Any], limit: float) -> None:
        self.ran = ran
        self.armed = 0.0
        self.limit = limit

    def _is_over(self, due: float) -> bool:
        return due != self.armed

    def _what(self) -> Line:
        return self

    def _run(self, due: float) -> None:
        self.armed = 0.0
        self.ran.append(self)


def at(stage: Stage, clock: Clock, seconds: float) -> None:
    """Make passes when so many *seconds* more have passed."""
    clock.now += seconds
    settle(stage, 2)


def test_any_agenda(own: Stage, clock: Clock) -> None:
    """Whatever is added, cancelled and moved: each runs once, at its time, and no heap grows."""
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    own.dispatcher()
    agenda = agenda_for(own)
    timers = own.implementation.timers
    ran: list[Any] = []
    active: dict[Any, tuple[float, Any]] = {}  # what is to come: when, and its timer
    lines: dict[Line, float] = {}
    numbers = itertools.count()
    for _ in range(5000):
        what = draw.choice(["timer", "timer", "line", "line", "sooner", "cancel", "end", "wait"])
        seconds = draw.choice([0.0, 0.1, 1 / 8, 1.001, 30.0, 60.0, 1e300])
        if what == "timer":
            number = next(numbers)
            timer = timers.call_later(seconds, ran.append, number, map=own.map)
            active[number] = clock.now + seconds, timer
        elif what == "line":
            line = Line(ran, seconds)
            lines[line] = clock.now + seconds
            agenda.look_at(line, lines[line])
        elif what == "sooner" and lines:
            line = draw.choice(list(lines))
            lines[line] = min(lines[line], clock.now + seconds)
            agenda.look_at(line, lines[line])
        elif what == "cancel" and active:
            active.pop(draw.choice(list(active)))[1].cancel()
        elif what == "end" and lines:
            line = draw.choice(list(lines))
            del lines[line]
            line.armed = 0.0
            agenda.forget_one()
        elif what == "wait":
            at(own, clock, draw.choice([0.0, 0.03, 1 / 8, 1.0, 29.0]))
            wanted = {each for each, (due, _) in active.items() if due <= clock.now}
            found = {each for each in ran if isinstance(each, int)}
            assert found == wanted, f"seed {seed}"
            for each in ran:
                if isinstance(each, Line):
                    assert lines.pop(each) <= clock.now, f"seed {seed}"
                else:
                    del active[each]
            assert len(set(ran)) == len(ran), f"seed {seed}"
            # Late by one tick at most.
            assert all(due > clock.now - 1 / 8 for due in lines.values()), f"seed {seed}"
            ran.clear()
        assert agenda.entries() <= 4 * (len(active) + len(lines) + 65), f"seed {seed}"
        left = agenda.until_next(None)
        assert left is None or 0 <= left <= 86400, f"seed {seed}"


def test_deadlines_are_looked_at_together(own: Stage, clock: Clock) -> None:
    """An idle loop is woken eight times a second, however many deadlines there are."""
    own.dispatcher()
    agenda = agenda_for(own)
    ran: list[Any] = []
    lines = [Line(ran, number / 1000) for number in range(1, 1001)]
    for line in lines:
        agenda.look_at(line, clock.now + line.limit)
    wakes = 0
    while len(ran) < len(lines):
        wakes += 1
        clock.now += agenda.until_next(None)
        settle(own, 1)
        assert all(line.armed for line in lines[len(ran) :])
    assert wakes == 8
    assert agenda.entries() == 0


def test_deadlines_that_are_over_leave_those_beside_them(own: Stage, clock: Clock) -> None:
    own.dispatcher()
    agenda = agenda_for(own)
    ran: list[Any] = []
    lines = [Line(ran, 1) for _ in range(200)]
    for line in lines:
        agenda.look_at(line, clock.now + 1)
    for number in range(150):
        lines[number].armed = 0.0
        agenda.forget_one()
    assert agenda.entries() < 150
    at(own, clock, 1)
    assert set(ran) == set(lines[150:])
    assert len(ran) == 50


def test_deadline_that_is_past_is_looked_at_soon(own: Stage, clock: Clock) -> None:
    """And not at once, or who cannot deal with it now would keep the loop busy."""
    own.dispatcher()
    agenda = agenda_for(own)
    ran: list[Any] = []
    agenda.look_at(Line(ran, 0), clock.now - 1000)
    settle(own)
    assert not ran
    at(own, clock, 1 / 8)
    assert len(ran) == 1


def test_ended_channels_leave(own: Stage, clock: Clock) -> None:
    """Whatever else keeps the heap busy, and though lingering has brought each a deadline more."""
    keeper = line_channel(own)
    settle(own)
    for _ in range(300):
        channel = line_channel(own, line_received=lambda self, line: self.close())
        tell(own, channel, b"quit\r\n")
        channel.peer.close()
        settle(own)
        assert channel.events == ["lost"]
    assert agenda_for(own).entries() < 150
    clock.now += 300
    settle(own)
    assert keeper.events == [("timed out", "idle"), "lost"]


def test_wait_is_not_shorter_than_meant(own: Stage, clock: Clock) -> None:
    """In whole milliseconds, of which ``poll2`` cuts off what is less than one."""
    clock.now = 0.0
    agenda = agenda_for(own)
    for milliseconds in [*range(1, 5000), 86_400_000 - 1]:
        timer = own.implementation.timers.call_later(milliseconds / 1000, print, map=own.map)
        left = agenda.until_next(None)
        assert milliseconds <= int(left * 1000) <= math.ceil(left * 1000) <= milliseconds + 2
        timer.cancel()


@all_maps
@pytest.mark.parametrize("seconds", [sys.float_info.max, 1e306, 1e10, 10**300])
@pytest.mark.parametrize("use_poll", [False, True], ids=["select", "poll"])
def test_far_time_ends_no_loop(
    own: Stage,
    clock: Clock,
    seconds: float,
    use_poll: bool,
    choose_map: Callable[[Stage], None],
) -> None:
    choose_map(own)
    channel = line_channel(own, idle_timeout=seconds, line_timeout=seconds, write_timeout=seconds)
    settle(own)
    own.implementation.timers.call_later(seconds, print, map=own.map)
    own.implementation.timers.call_every(seconds, print, map=own.map)
    own.loop(use_poll=use_poll)
    assert agenda_for(own).until_next(None) == 86400
    at(own, clock, 86400)
    assert channel.events == []


def test_timer_ends_a_wait_for_ever(own: Stage) -> None:
    """A negative time means that for ``poll2``, as None does."""
    own.dispatcher()
    called: list[Any] = []
    own.implementation.timers.call_later(0.01, called.append, 1, map=own.map)
    while not called:
        own.asyncore.loop(-1, True, own.map, 1)


def passes(stage: Stage, members: Any) -> None:
    for _ in range(6):
        stage.asyncore.loop(0, True, members, 1)


def with_a_channel(stage: Stage) -> dict[int, Any]:
    """A dict with a channel that has no use for an agenda."""
    members: dict[int, Any] = {}
    stage.asyncore.dispatcher(stage.pair()[0], members)
    return members


@pytest.mark.parametrize("kind", [dict, UserDict])
def test_agenda_of_a_plain_map_goes_with_its_channels(own: Stage, kind: Any) -> None:
    """Also where these are never closed."""
    before = kept(own)
    for is_closed in (True, False):
        members = kind()
        ours, peer = socket.socketpair()
        channel = own.implementation.channel.LineChannel(ours, members)
        passes(own, members)
        assert kept(own) == before + 1
        if is_closed:
            channel.abort()
        ours.close()
        peer.close()
        del members, channel
        assert kept(own) == before


def test_loops_over_a_dict_have_one_agenda(own: Stage) -> None:
    """So that what goes on in the next pass does, also where no deadline keeps the agenda."""
    members: dict[int, Any] = {}
    none: dict[str, Any] = dict.fromkeys(("idle_timeout", "line_timeout", "write_timeout"))
    own.map = members
    channel = line_channel(own, lines_per_pass=2, **none)
    own.asyncore.loop(0, True, members, 2)
    channel.peer.sendall(b"1\r\n2\r\n3\r\n4\r\n5\r\n")
    for _ in range(5):
        own.asyncore.loop(0, True, members, 2)
    assert channel.events == [b"1", b"2", b"3", b"4", b"5"]


def test_dict_for_which_there_is_no_poller_keeps_nothing(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept(own)
    system = own.implementation.core["system"].System

    def make(*args: Any) -> Any:
        raise OSError("no descriptor is left")  # a new one, which is not kept

    monkeypatch.setattr(system, "make", make)
    members: dict[int, Any] = {}
    ours, peer = socket.socketpair()
    channel = own.asyncore.dispatcher(ours, members)
    for _ in range(5):
        with pytest.raises(OSError, match="no descriptor is left"):
            own.asyncore._watch_over(members, own.asyncore._family, True)
    channel.close()
    peer.close()
    assert kept(own) == before


@pytest.mark.parametrize("way", ["later", "every", "threadsafe"])
def test_agenda_of_a_plain_map_stays_for_its_calls(own: Stage, way: str) -> None:
    """Though nothing else has it; and no longer."""
    timers, members = own.implementation.timers, with_a_channel(own)
    called: list[int] = []
    before = kept(own)
    if way == "threadsafe":
        timers.call_threadsafe(called.append, 1, map=members)
    else:
        timer = getattr(timers, f"call_{way}")(0.001, called.append, 1, map=members)
    assert kept(own) == before + 1
    while not called:
        own.asyncore.poll(0.002, members)
    if way == "every":
        assert kept(own) == before + 1
        timer.cancel()
    assert kept(own) == before


def test_call_that_leaves_the_loop_keeps_no_agenda(own: Stage) -> None:
    before, members = kept(own), with_a_channel(own)
    own.implementation.timers.call_threadsafe(fail_with(own.asyncore.ExitNow()), map=members)
    with pytest.raises(own.asyncore.ExitNow):
        own.asyncore.poll(0, members)
    assert kept(own) == before


def test_no_call_of_a_thread_is_lost(own: Stage) -> None:
    """While loops over the dict begin and end."""
    members = with_a_channel(own)
    called: list[int] = []

    def call() -> None:
        for number in range(2000):
            own.implementation.timers.call_threadsafe(called.append, number, map=members)

    thread = threading.Thread(target=call)
    thread.start()
    while thread.is_alive():
        own.asyncore.poll(0, members)
    thread.join()
    own.asyncore.poll(0, members)
    assert called == list(range(2000))


def test_call_is_kept_that_comes_when_the_agenda_is_let_go(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a thread, between the look whether anything waits and the end."""
    members = with_a_channel(own)
    called: list[int] = []

    class Late(dict[int, Any]):
        def pop(self, *args: Any) -> Any:
            monkeypatch.undo()
            agenda_for(own, members).calls.append((called.append, (2,)))
            return super().pop(*args)

    monkeypatch.setitem(inside(own, "agenda"), "working", Late())
    own.implementation.timers.call_threadsafe(called.append, 1, map=members)
    own.asyncore.poll(0, members)
    assert called == [1, 2]


def test_agenda_that_is_gone_is_none(own: Stage) -> None:
    """Though its weak reference is still there, as where objects go late."""
    members = with_a_channel(own)
    touch: Any = own.implementation.core["touch"]
    touch.agendas[id(members)] = lambda: None
    agenda = agenda_for(own, members)
    assert agenda is agenda_for(own, members)
    assert agenda.map is members


def test_an_agenda_that_is_gone_takes_no_other_with_it(own: Stage) -> None:
    """What is kept under its number may be that of a map which has the number now."""
    touch: Any = own.implementation.core["touch"]
    members: dict[Any, Any] = {}
    key, another = id(members), object()
    agenda = agenda_for(own, members)
    reference = touch.agendas[key]
    touch.agendas[key] = another
    del agenda
    gc.collect()
    assert reference() is None
    assert touch.agendas.pop(key) is another


@pytest.mark.parametrize("is_there", [False, True])
def test_what_was_interrupted_before_it_went_on_does_so_later(own: Stage, is_there: bool) -> None:
    """Also where it has put itself there already, and then once."""
    agenda = agenda_for(own)
    calls: list[Any] = []

    class Ready:
        def go_on(self) -> None:
            calls.append(self)
            if len(calls) == 1:
                if is_there:
                    agenda.ready.append(self)
                raise own.asyncore.ExitNow

    ready = Ready()
    agenda.ready.append(ready)
    with pytest.raises(own.asyncore.ExitNow):
        agenda.run()
    assert list(agenda.ready) == [ready]
    agenda.run()
    assert calls == [ready, ready]
    assert not agenda.ready
