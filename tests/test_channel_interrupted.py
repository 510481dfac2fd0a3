"""``LineChannel`` under signal handlers that raise: what leaves the loop loses nothing.

Compiled, for there the hooks of these tests run no code of Python, so that a handler runs anywhere
but in them.  As it is, the core can be interrupted between a system call and what notes its result.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

import pytest

from tests.support.channels import Stage, alarms, posix_only
from tests.support.implementations import load
from tests.support.line_channels import line_channel

pytestmark = [posix_only, pytest.mark.compiled]

OFTEN = 0.0003  # in seconds
INTERRUPTIONS = 300


@pytest.fixture
def stage() -> Iterator[Stage]:
    """One for what is compiled, without the collector, in whose calls exceptions go nowhere."""
    gc.collect()
    gc.disable()
    try:
        with Stage(load("cython")) as stage:
            yield stage
    finally:
        gc.enable()


class Exchange:
    """What a peer sends and gets while handlers raise."""

    def __init__(self, stage: Stage, peer: socket.socket) -> None:
        self.stage = stage
        self.peer = peer
        self.sent = self.got = b""
        self.interruptions = 0
        self.is_in_loop = False
        peer.setblocking(False)

    def interrupt(self, number: int, frame: Any) -> None:
        # What is raised in the callback of a weak reference goes nowhere.  What is raised within
        # fstat() ends a debug build of CPython (seen with 3.11), which multiplies times behind it.
        is_fatal = hasattr(sys, "gettotalrefcount") and frame.f_code.co_name == "fstat"
        is_lost = frame.f_globals["__name__"] in ("_weakrefset", "weakref")
        if self.is_in_loop and not is_lost and not is_fatal:
            self.is_in_loop = False
            self.interruptions += 1
            raise self.stage.asyncore.ExitNow

    def loop(self) -> None:
        """Make passes until a handler raises, or nothing is left to do."""
        self.call(self.stage.asyncore.loop, 0, True, self.stage.map, 50)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call *function* with *args*, until a handler raises."""
        with contextlib.suppress(self.stage.asyncore.ExitNow):
            self.is_in_loop = True
            function(*args)
            self.is_in_loop = False

    def talk(self, lines: list[bytes]) -> None:
        """Send *lines*, as far as there is room, and receive."""
        data = b"".join([line + b"\r\n" for line in lines])
        with contextlib.suppress(BlockingIOError):
            self.sent += data[: self.peer.send(data)]
        self.loop()
        self.receive()

    def receive(self) -> None:
        try:
            while part := self.peer.recv(1 << 16):
                self.got += part
        except BlockingIOError:
            pass


@pytest.mark.parametrize("limit", [1, 3, 256], ids=lambda limit: f"{limit} a pass")
@pytest.mark.parametrize("hook", ["line_received", "lines_received"])
def test_each_line_is_given_and_answered_once(stage: Stage, hook: str, limit: int) -> None:
    given: list[Any] = []
    members: dict[str, Any] = {"lines_per_pass": limit, "high_water": 500, "low_water": 100}
    if hook == "lines_received":
        members[hook] = staticmethod(itemgetter(slice(None)))
    channel = line_channel(stage, **members)
    if hook == "line_received":
        channel.line_received = given.append
    exchange = Exchange(stage, channel.peer)
    rounds = 0
    with alarms(exchange.interrupt, OFTEN, OFTEN):
        while exchange.interruptions < INTERRUPTIONS and rounds < 20 * INTERRUPTIONS:
            exchange.talk([b"%d" % each for each in range(rounds, rounds + 10)])
            rounds += 1
    for _ in range(10 * rounds):
        stage.loop(use_poll=True)
        exchange.receive()
    lines = exchange.sent.split(b"\r\n")[:-1]
    if hook == "line_received":
        assert given == lines
    else:
        assert exchange.got == exchange.sent
    assert channel.events == []


def test_nothing_of_python_runs_between_the_input_and_its_hook(stage: Stage) -> None:
    """For there a signal handler could raise, and what was received would be lost."""
    base: Any = stage.implementation.channel.LineChannel
    mine, peer = stage.pair()
    channel = base(mine, stage.map)
    given: list[bytes] = []
    channel.line_received = given.append
    stage.loop(3, use_poll=True)
    called: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)

    for data in (b"one\r\ntwo\r\nthr", b"ee\r\n"):
        peer.send(data)
        sys.setprofile(note)
        channel._fc_line.read_event()
        sys.setprofile(None)
    assert given == [b"one", b"two", b"three"]
    assert called == []
    channel.abort()


@pytest.mark.parametrize("way", ["peer", "lines", "close", "abort"])
def test_each_end_is_told_once(stage: Stage, way: str) -> None:
    base: Any = stage.implementation.channel.LineChannel
    kind = type("Ending", (base,), {"linger_timeout": 0, "lines_per_pass": 3})
    exchange = Exchange(stage, stage.pair()[0])
    ended: list[tuple[list[Any], list[Any]]] = []
    kept = []  # for what is done when an object goes cannot be interrupted
    with alarms(exchange.interrupt, OFTEN, OFTEN):
        while exchange.interruptions < INTERRUPTIONS and len(ended) < 20 * INTERRUPTIONS:
            mine, peer = socket.socketpair()
            channel = kind(mine, stage.map)
            lost, given = [], []  # type: list[Any], list[Any]
            # Neither runs code of Python.
            channel.connection_lost, channel.line_received = lost.append, given.append
            ended.append((lost, given))
            kept.append(channel)
            if way == "lines":
                peer.send(b"line\r\n" * 10)
                channel.send(b"x")
            if way in ("peer", "lines"):
                peer.close()
            if way in ("close", "abort"):
                exchange.call(getattr(channel, way))
                getattr(channel, way)()  # for it may have been interrupted before it began
            while stage.map:
                exchange.loop()
            peer.close()
    assert {len(lost) for lost, _ in ended} == {1}
    assert {len(given) for _, given in ended} == {10 if way == "lines" else 0}


def test_timers_are_called_once(stage: Stage) -> None:
    timers = stage.implementation.timers
    channel = line_channel(stage)
    called: list[int] = []
    exchange = Exchange(stage, channel.peer)
    number = 0
    with alarms(exchange.interrupt, OFTEN, OFTEN):
        while exchange.interruptions < INTERRUPTIONS and number < 100_000:
            timers.call_later(0, called.append, number, map=stage.map)
            timers.call_threadsafe(called.append, -number - 1, map=stage.map)
            number += 1
            exchange.loop()
    stage.loop(2, use_poll=True)
    assert sorted(called) == list(range(-number, number))
