"""What tests of interruptions share: where they run, what handlers raise, and at which points."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.random.points import Points
from tests.support.channels import posix_only
from tests.support.implementations import Implementation

where_there_are_points = [
    posix_only,
    pytest.mark.skipif(
        sys.implementation.name != "cpython" or sys.version_info >= (3, 15),
        reason="points are those of CPython up to 3.14",
    ),
]


class Interruption(KeyboardInterrupt, AttributeError, IndexError, KeyError, TypeError, ValueError):
    """What the handler raises: it leaves the loop, and no ``except`` may take it for its own."""


# Where getattr() with a default takes what is raised in a property for "there is none".
HAS_A_DEFAULT = {"hang_up", "_get_socket"}


def at_each_point(
    implementation: Implementation,
    scene: Callable[[], tuple[Callable[[], Any], Callable[[], None]]],
    then: Callable[[], None] | None = None,
) -> None:
    """Interrupt the first of what *scene* makes at each of its points, and call the second then.

    The handler calls *then*, or raises.
    """
    directory = os.path.dirname(implementation.asyncore.__file__)
    # The first fills caches, the second finds out which points there are.
    for _ in range(2):
        act, check = scene()
        points = Points(directory)
        with points:
            act()
        check()
    assert points.passed
    came: list[int] = []

    def handler(*args: Any) -> None:
        came.append(1)
        if then is None:
            raise Interruption
        then()

    before = signal.signal(signal.SIGINT, handler)
    try:
        for at in points.passed:
            came.clear()
            act, check = scene()
            try:
                with Points(directory, at):
                    act()
            except Interruption:
                assert then is None
            else:
                is_lost = bool(came) and at[0].co_name not in HAS_A_DEFAULT
                assert then is not None or not is_lost, f"nothing left {at}"
            try:
                check()
            except AssertionError as failure:
                raise AssertionError(f"interrupted at {at}") from failure
    finally:
        signal.signal(signal.SIGINT, before)
