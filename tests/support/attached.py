"""A map that is served inside a loop of asyncio or uvloop, for test_attach*.py.

Rules this file keeps: peers are real sockets; a test awaits what it waits for, so that a loop that
is not woken makes it fail after ``PATIENCE``; what a loop reports is a failure, unless the test
asks for it.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.aio import PATIENCE, Aio
from tests.support.channels import Stage, inside, watch_of


class Inside:
    """The map of *stage*, and a loop by the name *loop* in which it is to be served."""

    def __init__(self, stage: Stage, loop: str) -> None:
        self.stage = stage
        self.loop = loop
        self.aio = Aio(stage.implementation, loop)
        self.run: Callable[[Callable[[], Coroutine[Any, Any, None]]], None] = self.aio.run

    def attach(self, loop: Any = None, **options: Any) -> Any:
        """What ``attach()`` of the implementation returns for the map."""
        return self.stage.implementation.attachment.attach(loop, self.stage.map, **options)

    @property
    def passes(self) -> int:
        """How many passes were made over the map, since registrations are kept for it."""
        return int(watch_of(self.stage).passes)

    def chat(self, **members: Any) -> Any:
        """An ``async_chat`` that echoes lines, and its ``peer``."""
        mine, peer = self.stage.pair()
        channel = echo_class(self.stage, **members)(mine, self.stage.map)
        self.stage.at_the_end(mine.close)
        channel.peer = peer
        return channel

    def later(self, function: Callable[..., Any], *args: Any, seconds: float = 0) -> Any:
        timers = self.stage.implementation.timers
        return timers.call_later(seconds, function, *args, map=self.stage.map)


def echo_class(stage: Stage, **members: Any) -> Any:
    """An ``async_chat`` as old programs have it: it echoes lines, and ends at its peer's end."""
    base: Any = stage.asynchat.async_chat

    class Echo(base):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.parts: list[bytes] = []
            self.set_terminator(b"\n")

        def collect_incoming_data(self, data: bytes) -> None:
            self.parts.append(data)

        def found_terminator(self) -> None:
            line = b"".join(self.parts)
            self.parts.clear()
            self.push(line + b"\n")

    return type("Echoing", (Echo,), members)


async def received(peer: socket.socket, end: bytes = b"\n") -> bytes:
    """What *peer* receives until *end*, or until its end."""
    peer.setblocking(False)
    parts = [b""]
    while not parts[-1].endswith(end):
        parts.append(await asyncio.get_running_loop().sock_recv(peer, 1 << 20))
        if not parts[-1]:
            break
    return b"".join(parts)


async def ask(peer: socket.socket, *lines: bytes) -> list[bytes]:
    """What comes back for each of *lines*."""
    peer.setblocking(False)
    answers = []
    for line in lines:
        await asyncio.get_running_loop().sock_sendall(peer, line)
        answers.append(await received(peer))
    return answers


async def rested(served: Inside) -> None:
    """Let the loop come to where nothing is left to be done, not even checks."""
    while True:
        await asyncio.sleep(0.001)  # there is nothing to await
        if watch_of(served.stage).unchecked <= 0:
            return


class Selector(selectors.DefaultSelector):
    """One that calls ``idle()`` where the loop would wait for ever."""

    idle: Callable[[], None] = staticmethod(lambda: None)

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            self.idle()
            timeout = 0
        assert timeout < PATIENCE, f"the loop would wait for {timeout} seconds"
        return super().select(timeout)


KINDS = [name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)]


@pytest.fixture(params=["asyncio", "uvloop"])
def some_loop(request: pytest.FixtureRequest) -> str:
    """The loops in which a map is served."""
    name: str = request.param
    if name != "asyncio":
        pytest.importorskip(name)
    return name


@pytest.fixture
def served(own: Stage, some_loop: str) -> Inside:
    """Both implementations in each loop."""
    return Inside(own, some_loop)


@pytest.fixture(params=KINDS)
def polled(served: Inside, request: pytest.FixtureRequest, monkeypatch: Any) -> Inside:
    """The same with each kind of poller that the system has."""
    pollers = inside(served.stage, "pollers")
    kinds = tuple(kind for kind in pollers["KINDS"] if kind.name == request.param)
    monkeypatch.setitem(pollers, "KINDS", kinds)
    return served
