"""The loop: how many passes it makes, over which map, and how long each one waits.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: the time that a pass would wait is never spent.
"""

from __future__ import annotations

import select
import weakref
from collections import UserDict
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    alarms,
    both_pollers,
    forget,
    fresh,
    load_again,
    needs_poll,
    posix_only,
)
from tests.support.ducks import Duck, duck


class ReadOnlyMapping:
    """No dict and no subclass of one: only what a pass needs."""

    def __init__(self, content: dict[int, Any]) -> None:
        self._content = content

    def items(self) -> Any:
        return self._content.items()

    def get(self, fd: int) -> Any:
        return self._content.get(fd)

    def __len__(self) -> int:
        return len(self._content)


# Passes and their number.


def test_an_empty_map_ends_the_loop_at_once(stage: Stage) -> None:
    stage.asyncore.loop(60, False, {})


def test_an_empty_map_makes_no_pass_however_many_are_asked_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.asyncore, "poll", lambda *args: pytest.fail("a pass was made"))
    stage.asyncore.loop(60, False, {}, 3)


@pytest.mark.parametrize(("count", "passes"), [(3, 3), (1, 1), (0, 0), (-1, 0), (2.5, 3)])
def test_a_count_is_a_number_of_passes_and_may_be_a_float(
    stage: Stage, count: float, passes: int
) -> None:
    channel, _ = duck(stage)
    stage.asyncore.loop(0, False, stage.map, count)
    assert channel.events.count("readable") == passes


def test_without_a_count_the_loop_ends_with_the_last_channel(stage: Stage) -> None:
    first = stage.dispatcher(handle_read=lambda channel: channel.close())
    second = stage.dispatcher(handle_read=lambda channel: channel.close())
    first.peer.sendall(b"x")
    second.peer.sendall(b"x")
    stage.asyncore.loop(PATIENCE, False, stage.map)
    assert (first.events, second.events) == (["read"], ["read"])


def test_all_arguments_can_be_given_by_name(stage: Stage) -> None:
    channel, _ = duck(stage)
    stage.asyncore.loop(timeout=0, use_poll=False, map=stage.map, count=1)
    assert channel.events == ["readable", "writable"]


@both_pollers
def test_without_a_map_the_module_has_one(stage: Stage, use_poll: bool) -> None:
    mine, peer = stage.pair()
    channel = stage.asyncore.dispatcher(mine)
    channel.writable = lambda: False
    told: list[str] = []
    channel.handle_read = lambda: told.append("read")
    peer.sendall(b"x")
    stage.asyncore.loop(PATIENCE, use_poll, None, 1)
    channel.close()
    assert told == ["read"]


@pytest.mark.parametrize("name", ["poll", pytest.param("poll2", marks=needs_poll)])
def test_a_pass_can_be_made_without_the_loop(stage: Stage, name: str) -> None:
    channel, peer = duck(stage)
    peer.sendall(b"x")
    getattr(stage.asyncore, name)(PATIENCE, stage.map)
    assert channel.events == ["readable", "writable", "read"]


@pytest.mark.parametrize("name", ["poll", pytest.param("poll2", marks=needs_poll)])
def test_a_pass_without_a_map_is_made_over_the_modules_own(stage: Stage, name: str) -> None:
    channel, peer = duck(stage)
    peer.sendall(b"x")
    stage.asyncore.socket_map.update(stage.map)
    try:
        getattr(stage.asyncore, name)(PATIENCE)
    finally:
        stage.asyncore.socket_map.clear()
    assert channel.events == ["readable", "writable", "read"]


@pytest.mark.parametrize("name", ["poll", pytest.param("poll2", marks=needs_poll)])
def test_a_pass_over_an_empty_map_does_not_wait(stage: Stage, name: str) -> None:
    getattr(stage.asyncore, name)(60, {})


@pytest.mark.parametrize("name", ["poll", pytest.param("poll2", marks=needs_poll)])
def test_a_pass_waits_for_no_time_by_default(stage: Stage, name: str) -> None:
    channel, _ = duck(stage)
    getattr(stage.asyncore, name)(map=stage.map)
    assert channel.events == ["readable", "writable"]


def test_poll_is_found_when_it_is_needed_and_called_by_position(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(stage.asyncore, "poll", lambda *args, **names: calls.append((args, names)))
    stage.map[99] = Duck()
    stage.asyncore.loop(7.5, False, stage.map, 1)
    assert calls == [((7.5, stage.map), {})]


@needs_poll
def test_poll2_is_found_when_it_is_needed_and_called_by_position(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(stage.asyncore, "poll2", lambda *args, **names: calls.append((args, names)))
    stage.map[99] = Duck()
    stage.asyncore.loop(7.5, True, stage.map, 1)
    assert calls == [((7.5, stage.map), {})]


def test_a_system_without_poll_gets_select(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, peer = duck(stage)
    peer.sendall(b"x")
    monkeypatch.delattr(select, "poll", raising=False)
    stage.loop(use_poll=True, timeout=PATIENCE)
    assert channel.events == ["readable", "writable", "read"]


def test_a_pass_with_nothing_to_wait_for_sleeps(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(stage.asyncore.time, "sleep", slept.append)
    duck(stage, readable=False)
    stage.loop(timeout=12.5)
    assert slept == [12.5]


@needs_poll
def test_a_pass_with_nothing_to_wait_for_is_waited_out_by_poll_as_well(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []

    class Pollster:
        def poll(self, timeout: Any) -> list[Any]:
            waited.append(timeout)
            return []

    monkeypatch.setattr(stage.asyncore.select, "poll", Pollster)
    duck(stage, readable=False)
    stage.loop(use_poll=True, timeout=12.5)
    assert waited == [12500]


@needs_poll
def test_poll2_cuts_its_timeout_down_to_whole_milliseconds(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []

    class Pollster:
        def register(self, fd: int, flags: int) -> None:
            pass

        def poll(self, timeout: Any) -> list[Any]:
            waited.append(timeout)
            return []

    monkeypatch.setattr(stage.asyncore.select, "poll", Pollster)
    duck(stage)
    for timeout in (0.0019, None):
        stage.asyncore.poll2(timeout, stage.map)
    assert waited == [1, None]


def test_a_negative_timeout_is_the_callers_mistake(stage: Stage) -> None:
    duck(stage)
    with pytest.raises(ValueError, match="timeout"):
        stage.loop(timeout=-1)


def test_without_a_timeout_a_pass_waits_until_something_happens(stage: Stage) -> None:
    channel, peer = duck(stage)
    peer.sendall(b"x")
    stage.asyncore.poll(None, stage.map)
    assert channel.events == ["readable", "writable", "read"]


@posix_only
@both_pollers
def test_a_signal_runs_its_handler_and_does_not_end_the_pass(stage: Stage, use_poll: bool) -> None:
    channel, peer = duck(stage)
    # Again and again: the first may come just before the pass begins to wait.
    with alarms(lambda number, frame: peer.sendall(b"x"), 0.01, 0.01):
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["readable", "writable", "read"]


# Maps.


@pytest.mark.parametrize("kind", [dict, UserDict, weakref.WeakValueDictionary, ReadOnlyMapping])
@both_pollers
def test_any_mapping_is_a_map(stage: Stage, kind: Any, use_poll: bool) -> None:
    channel, peer = duck(stage)
    peer.sendall(b"x")
    stage.asyncore.loop(PATIENCE, use_poll, kind(stage.map), 1)
    assert channel.events == ["readable", "writable", "read"]


def test_a_channel_in_a_weak_map_lives_as_long_as_somebody_wants_it(stage: Stage) -> None:
    weak: Any = weakref.WeakValueDictionary()
    mine, peer = stage.pair()
    channels = [stage.asyncore.dispatcher(mine, weak)]
    assert list(weak.values()) == channels
    forget(channels)
    peer.sendall(b"x")
    stage.asyncore.loop(PATIENCE, False, weak)
    assert not weak


def test_channels_find_the_module_map_when_they_are_made(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    another: dict[int, Any] = {}
    monkeypatch.setattr(stage.asyncore, "socket_map", another)
    mine, _ = stage.pair()
    channel = stage.asyncore.dispatcher(mine)
    assert another == {mine.fileno(): channel}


def test_the_module_map_survives_that_the_module_is_loaded_again(stage: Stage) -> None:
    copy = fresh(stage.asyncore)
    copy.socket_map[7] = "channel"
    load_again(copy)
    assert copy.socket_map == {7: "channel"}
