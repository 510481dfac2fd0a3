"""Loops of several threads over one map, as old programs have them: one ends, the other goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, both_pollers, watch_of
from tests.support.waiting import is_waiting


def until(true: Callable[[], Any]) -> None:
    """Returns when *true* is, and fails if that takes too long."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.001)


@both_pollers
@pytest.mark.parametrize("is_plain", [False, True], ids=["channel_map", "dict"])
def test_a_loop_goes_on_where_another_over_the_same_map_ends(
    own: Stage, is_plain: bool, use_poll: bool
) -> None:
    if is_plain:
        own.map = {}
    chat = own.chat()
    own.chat(readable=lambda chat: True)
    problems: list[BaseException] = []

    def run() -> None:
        try:
            own.asyncore.loop(PATIENCE, use_poll, own.map)
        except BaseException as problem:
            problems.append(problem)

    first, second = threading.Thread(target=run), threading.Thread(target=run)
    own.at_the_end(own.asyncore.close_all, own.map)
    first.start()
    until(lambda: is_waiting(own))
    watch = watch_of(own)
    for _ in range(3):
        own.asyncore.loop(0, use_poll, own.map, 2)
    second.start()
    until(lambda: len(watch.loops) == 2)
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert watch_of(own) is watch
    # More than the kernel takes: what waits for room has to end the wait of a loop.
    chat.push(b"x" * (1 << 21) + b"end")
    chat.peer.settimeout(PATIENCE / 2)
    while not chat.peer.recv(1 << 16).endswith(b"end"):
        pass
    own.asyncore.close_all(own.map)
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert not first.is_alive()
    assert not second.is_alive()
    assert (problems, watch_of(own)) == ([], None)
