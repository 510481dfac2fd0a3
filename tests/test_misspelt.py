"""A name in the body of a class that is nearly a hook or a limit is warned of, and no other.

Of ``LineChannel`` and of ``fastchat.aio.LineProtocol``.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest

from tests.support.aio import Aio
from tests.support.channels import Stage


@pytest.fixture(params=["LineChannel", "LineProtocol"])
def base(request: pytest.FixtureRequest, own: Stage, alone: Aio) -> Any:
    """The class to derive from."""
    if request.param == "LineChannel":
        return own.implementation.channel.LineChannel
    return alone.LineProtocol


def hook(self: Any, *arguments: Any) -> None:
    """What a program has as a hook."""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("line_recieved", "line_received"),
        ("line_receive", "line_received"),
        ("lineReceived", "line_received"),
        ("lines_recieved", "lines_received"),
        ("line_to_long", "line_too_long"),
        ("connection_losts", "connection_lost"),
        ("connectionMade", "connection_made"),
        ("eof_recieved", "eof_received"),
        ("time_out", "timed_out"),
    ],
)
def test_misspelt_hook(base: Any, name: str, meant: str) -> None:
    with pytest.warns(UserWarning, match=rf"Mine\.{name}\(\) is no hook .* is {meant}\(\) meant"):
        type("Mine", (base,), {name: hook})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_lines", "max_line"),
        ("maxline", "max_line"),
        ("idletimeout", "idle_timeout"),
        ("delimeter", "delimiter"),
        ("high_watter", "high_water"),
    ],
)
def test_misspelt_limit(base: Any, name: str, meant: str) -> None:
    with pytest.warns(UserWarning, match=rf"Mine\.{name} is no limit .* is {meant} meant"):
        type("Mine", (base,), {name: 5})


def test_warning_names_the_line_of_the_class(base: Any) -> None:
    with pytest.warns(UserWarning, match="line_received") as caught:

        class Mine(base):  # type: ignore[misc]
            def line_recieved(self, line: bytes) -> None:
                pass

    lines, first = inspect.getsourcelines(Mine)
    assert caught[0].filename == __file__
    assert first <= caught[0].lineno < first + len(lines)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "members",
    [
        {"timeout": hook, "line": hook, "received": hook, "close_later": hook},
        {"timeout": 5, "lines": 5, "max_users": 5, "idle": 5, "name": b"", "low": None},
        {"_max_lines": 5, "_line_recieved": hook},  # nobody else's
        {"max_line": 5, "max_lines": 5},  # who has both means both
        {"line_received": hook, "line_recieved": hook},
        {"max_lines": hook, "line_recieved": 5},  # another kind
        {"max_lines": property(hook)},
        {"close": hook, "max_line": 5, "line_received": hook, "connection_lost": hook},
    ],
    ids=lambda members: ", ".join(members),
)
def test_other_names_are_not_warned_of(base: Any, members: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        derived = type("Mine", (base,), members)
        # What a base has been warned of, or means, a class derived from it is not warned of.
        type("Derived", (derived,), {"max_lines": 5} if "max_line" in members else {})


def test_every_hook_is_compared_with(base: Any) -> None:
    hooks = [
        name for name, value in vars(base).items() if (value.__doc__ or "").startswith("Hook: ")
    ]
    assert len(hooks) == 9
    for name in hooks:
        with pytest.warns(UserWarning, match=rf"is {name}\(\) meant"):
            type("Mine", (base,), {f"{name}_": hook})


def test_every_limit_is_compared_with(base: Any) -> None:
    limits = {"delimiter", "max_line", "high_water", "low_water", "idle_timeout", "line_timeout"}
    if base.__name__ == "LineChannel":
        limits |= {"lines_per_pass", "max_body", "max_output", "write_timeout", "linger_timeout"}
    for name in limits:
        with pytest.warns(UserWarning, match=rf"is {name} meant"):
            type("Mine", (base,), {f"{name}_": 5})
