"""Numbers that programs give: each place that takes one says in one way what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Stage
from tests.support.line_channels import line_channel
from tests.support.servers import LOCAL, channels


def of_server(own: Stage, name: str) -> Callable[[Any], object]:
    kind, map = channels(own), own.map
    return lambda value: own.implementation.server.Server(kind, LOCAL, map=map, **{name: value})


def of_stop(own: Stage, name: str) -> Callable[[Any], object]:
    server = own.implementation.server.Server(channels(own), LOCAL, map=own.map)
    return lambda value: server.stop(value)


def of_channel(own: Stage, name: str) -> Callable[[Any], object]:
    channel = line_channel(own)
    return lambda value: setattr(channel, name, value)


def of_class(own: Stage, name: str) -> Callable[[Any], object]:
    return lambda value: type("Limited", (own.implementation.channel.LineChannel,), {name: value})


def of_timers(own: Stage, name: str) -> Callable[[Any], object]:
    return lambda value: getattr(own.implementation.timers, name)(value, print, map=own.map)


# Where a number is given, its name, and what is said of those that it may not be.
AT_LEAST = "at least {}, not"
OR_NONE = "at least {}, or None for no limit, not"
COUNTS = [
    (of_server, "backlog", "from 1 to 2147483647, not", False),
    (of_server, "max_connections", OR_NONE.format(1), True),
    (of_server, "max_per_address", OR_NONE.format(1), True),
    (of_server, "max_memory", OR_NONE.format(0), True),
    (of_server, "unix_mode", AT_LEAST.format(0), False),
    *[
        (place, name, OR_NONE.format(least), True)
        for place in (of_channel, of_class)
        for name, least in [
            *(("max_line", 1), ("lines_per_pass", 1), ("max_body", 0)),
            *(("high_water", 0), ("low_water", 0), ("max_output", 0)),
        ]
    ],
]
LATER = "more than 0 s, or None for no limit, not"
SECONDS = [
    (of_server, "grace", "from 0 to 31536000 s, not", False),
    (of_stop, "grace", "from 0 to 31536000 s, not", True),
    (of_timers, "call_later", "finite, not", False),
    (of_timers, "call_every", "at least 0.001 s, not", False),
    *[
        (place, name, LATER, True)
        for place in (of_channel, of_class)
        for name in ("idle_timeout", "line_timeout", "write_timeout")
    ],
    (of_channel, "linger_timeout", "at least 0 s, or None for no limit, not", True),
    (of_class, "linger_timeout", "at least 0 s, or None for no limit, not", True),
]


def refused(own: Stage, place: Any, name: str, value: Any, kind: type[Exception]) -> str:
    """What is said of *value*, behind its name."""
    give = place(own, name)
    with pytest.raises(kind) as caught:
        give(value)
    said = str(caught.value)
    shown = "seconds" if place is of_timers else name
    assert said.startswith(f"{shown} must be ")
    assert "\n" not in said
    assert len(said) < 150
    return said.removeprefix(f"{shown} must be ")


@pytest.mark.parametrize("value", [-1, -(10**400), -(10**5000)], ids=["-1", "long", "longest"])
@pytest.mark.parametrize(("place", "name", "said", "or_none"), COUNTS)
def test_a_count_that_is_none(
    own: Stage, place: Any, name: str, said: str, or_none: bool, value: int
) -> None:
    shown = "-1" if value == -1 else f"an int of {value.bit_length()} bits"
    assert refused(own, place, name, value, ValueError) == f"{said} {shown}"


@pytest.mark.parametrize("value", [True, 1.0, "1", b"1", math.nan, math.inf, "x" * 10**6, [1]])
@pytest.mark.parametrize(("place", "name", "said", "or_none"), COUNTS)
def test_what_is_no_count(
    own: Stage, place: Any, name: str, said: str, or_none: bool, value: Any
) -> None:
    shown = repr(value) if len(repr(value)) < 60 else f"'{'x' * 59}..."
    optional = " or None" if or_none else ""
    assert refused(own, place, name, value, TypeError) == f"an int{optional}, not {shown}"


@pytest.mark.parametrize("value", [2**31, 10**400, 10**5000], ids=["C", "long", "longest"])
def test_a_backlog_that_is_no_int_of_c(own: Stage, value: int) -> None:
    said = refused(own, of_server, "backlog", value, ValueError)
    assert said.startswith("from 1 to 2147483647, not ")
    of_server(own, "backlog")(2**31 - 1)


@pytest.mark.parametrize(
    "value",
    [-1, -0.5, math.nan, -math.inf, 10**400, 10**5000],
    ids=["-1", "-0.5", "nan", "-inf", "long", "longest"],
)
@pytest.mark.parametrize(("place", "name", "said", "or_none"), SECONDS)
def test_seconds_that_are_none(
    own: Stage, place: Any, name: str, said: str, or_none: bool, value: Any
) -> None:
    if name == "call_later" and value in (-1, -0.5):
        place(own, name)(value).cancel()  # which is over already, and so due at once
        return
    assert refused(own, place, name, value, ValueError).startswith(said)


@pytest.mark.parametrize("name", ["idle_timeout", "line_timeout", "write_timeout", "call_every"])
def test_no_time_at_all(own: Stage, name: str) -> None:
    place = of_timers if name == "call_every" else of_channel
    assert refused(own, place, name, 0, ValueError).endswith(", not 0")


@pytest.mark.parametrize("value", [True, "1", b"1", [1]])
@pytest.mark.parametrize(("place", "name", "said", "or_none"), SECONDS)
def test_what_are_no_seconds(
    own: Stage, place: Any, name: str, said: str, or_none: bool, value: Any
) -> None:
    optional = " or None" if or_none and place is not of_stop else ""
    words = f"a number of seconds{optional}, not {value!r}"
    assert refused(own, place, name, value, TypeError) == words


@pytest.mark.parametrize("place", [of_channel, of_class])
@pytest.mark.parametrize("name", ["idle_timeout", "linger_timeout"])
def test_an_infinite_deadline_is_none(own: Stage, place: Any, name: str) -> None:
    place(own, name)(math.inf)
