"""Changes from outside while the loop waits, and how the tests see that: for test_signals_*.py.

How long a wait lasts until the change comes decides nothing; a test that would hang fails when
``PATIENCE`` is over.
"""

from __future__ import annotations

import time
from collections import UserDict
from collections.abc import Callable

import pytest

from tests.support.channels import PATIENCE, Stage, alarms, watch_a_dict, watch_of

# How long the loop waits until the handler runs, in seconds: nothing depends on it.
SOON = 0.01


def kept(stage: Stage) -> None:
    """Passes over ``socket_map`` and its like."""


def kept_dict(stage: Stage) -> None:
    """Passes of a loop over a plain dict."""
    if stage.implementation.is_stdlib:
        stage.map = {}
    else:
        watch_a_dict(stage)


def not_kept(stage: Stage) -> None:
    """Passes over a mapping of which nothing is kept."""
    stage.map = UserDict()  # type: ignore[assignment]


all_maps = pytest.mark.parametrize(
    "choose_map", [kept, kept_dict, not_kept], ids=lambda function: function.__name__
)


def at_any_time() -> bool:
    return True


def is_waiting(stage: Stage) -> bool:
    """Whether the loop over the map of *stage*, which keeps registrations, waits."""
    watch = watch_of(stage)
    return watch is not None and bool(watch.waiting)


def from_a_handler(
    change: Callable[[], None], wait: Callable[[], None], when: Callable[[], bool] = at_any_time
) -> None:
    left = [change]

    def handler(*args: object) -> None:
        if left and when():
            left.pop()()

    with alarms(handler, SOON, SOON):
        wait()


def took(begun: float) -> float:
    """The seconds since *begun*, as a part of those for which the loop may wait."""
    return (time.monotonic() - begun) / PATIENCE
