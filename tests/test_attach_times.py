"""When time wakes the loop of an attached map: timeouts, timers, and checks of quiet channels."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.attached import Inside, ask, rested
from tests.support.channels import Stage, watch_of


@pytest.mark.parametrize("timeout", [1e-9, 1e300, float("inf")])
def test_timeout_that_is_very_short_or_long(served: Inside, timeout: float) -> None:
    """uvloop's timer of less than half a millisecond is none."""
    served.stage.map = {}

    async def main() -> None:
        chat = served.chat()
        with served.attach(timeout=timeout):
            for _ in range(20):
                assert await ask(chat.peer, b"a\n") == [b"a\n"]
            chat.close()

    served.run(main)


def test_timer_that_a_predicate_sets(served: Inside) -> None:
    """It is no reason for another pass, in which that would set the next one."""

    async def main() -> None:
        timers: list[Any] = []

        def readable(channel: Any) -> bool:
            while timers:
                timers.pop().cancel()
            timers.append(served.later(called.append, 1, seconds=3600))
            return True

        called: list[int] = []
        channel = served.stage.dispatcher(readable=readable)
        with served.attach():
            await rested(served)
            before = served.passes
            for _ in range(100):
                await asyncio.sleep(0)
            assert served.passes - before < 10
            assert timers[-1].is_active
            channel.close()
            served.later(called.append, 2)
            while called != [2]:
                await asyncio.sleep(0)
            timers[-1].cancel()

    served.run(main)


class Clock:
    """The time of a loop of asyncio, which goes on only when a test says so."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        vars(loop)["time"] = lambda: self.now

    async def go_on(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(5):  # a timer, its pass, and what that schedules
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "quiet"])
def test_checks_wait_until_nothing_happens(own: Stage, is_busy: bool) -> None:
    """Where something happens every 5 ms none is made; a timer every 2 ms changes nothing."""
    served = Inside(own, "asyncio")

    async def main() -> None:
        chats = [served.chat() for _ in range(300)]
        with served.attach():
            clock = Clock()
            assert await ask(chats[0].peer, b"a\n") == [b"a\n"]
            left = []
            for _ in range(20):
                served.later(int, seconds=0)
                await clock.go_on(0.002)
                await clock.go_on(0.003)
                left.append(watch_of(own).unchecked)
                if is_busy:
                    assert await ask(chats[0].peer, b"a\n") == [b"a\n"]
            assert set(left) == ({300} if is_busy else {300, 44, -212})
            for chat in chats:
                chat.close()

    served.run(main)
