"""Deliberate differences: no exception of a channel costs the others anything (d10).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.
"""

from __future__ import annotations

import asyncio
import errno
import re
from typing import Any

import pytest

from tests.channels import (
    ENDING,
    PATIENCE,
    Clock,
    Stage,
    both_pollers,
    bystander,
    dead_proxy,
    fail_with,
    failure,
)


def troubled(stage: Stage, hook: str, problem: BaseException) -> Any:
    """A channel whose *hook* raises *problem* as soon as its peer has sent something."""
    fail = fail_with(problem)
    members: dict[str, Any] = {"handle_read": fail_with(ValueError()), hook: fail}
    if hook == "handle_close":
        members["handle_read"] = lambda channel: channel.handle_close()
    channel = stage.dispatcher(**members)
    channel.peer.sendall(b"x")
    return channel


HOOKS = ["handle_error", "handle_close", "readable", "writable", "close", "log_info"]


@both_pollers
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    "problem",
    [ValueError(), failure(errno.ENOTCONN), RecursionError(), asyncio.CancelledError()],
    ids=lambda problem: type(problem).__name__,
)
def test_d10_an_exception_of_any_hook_costs_one_channel_only(
    stage: Stage, hook: str, problem: BaseException, use_poll: bool
) -> None:
    broken = troubled(stage, hook, problem)
    sock = broken.socket
    other = bystander(stage)
    try:
        stage.loop(3, use_poll)
        left = False
    except BaseException:
        left = True
    assert left is stage.either(fastchat=False, stdlib=True)
    if not left:
        assert (list(stage.map.values()), other.events) == ([other], ["read"])
        assert sock.fileno() == -1


@both_pollers
def test_d10_an_exception_of_repr_costs_one_channel_only(stage: Stage, use_poll: bool) -> None:
    broken = troubled(stage, "__repr__", ValueError())
    stage.loop(2, use_poll)
    assert (broken.events, stage.map) == (["read", ValueError, "close"], {})


@both_pollers
@pytest.mark.parametrize("hook", [*HOOKS, "handle_read"])
@pytest.mark.parametrize("kind", ENDING)
def test_d10_what_ends_the_program_leaves_the_loop_from_every_hook(
    stage: Stage, hook: str, kind: Any, use_poll: bool
) -> None:
    wanted = stage.ending(kind)
    troubled(stage, hook, wanted())
    with pytest.raises(wanted):
        stage.loop(2, use_poll)


@pytest.mark.parametrize("kind", ENDING)
@pytest.mark.parametrize("method", ["log_info", "close"])
def test_d10_what_ends_the_program_leaves_the_loop_while_a_channel_is_dropped(
    own: Stage, kind: Any, method: str
) -> None:
    wanted = own.ending(kind)
    channel = troubled(own, "handle_error", ValueError())
    setattr(channel, method, fail_with(wanted()))
    with pytest.raises(wanted):
        own.loop()


@both_pollers
def test_d10_a_channel_that_fails_in_everything_is_dropped(own: Stage, use_poll: bool) -> None:
    class Broken:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            raise RuntimeError

    mine, _ = own.pair()
    own.map[mine.fileno()] = Broken()
    other = bystander(own)
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (list(own.map.values()), other.events) == ([other], ["read"])


@both_pollers
def test_d10_a_proxy_whose_channel_is_gone_is_dropped(own: Stage, use_poll: bool) -> None:
    mine, _ = own.pair()
    own.map[mine.fileno()] = dead_proxy(own)
    own.loop(use_poll=use_poll)
    assert own.map == {}


@both_pollers
def test_d10_an_exception_without_a_text_costs_one_channel_only(own: Stage, use_poll: bool) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise Mute

    broken = troubled(own, "handle_read", Mute())
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (broken.events[:2], own.map) == (["read", Mute], {})


def test_d10_dropping_a_channel_says_why(own: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    channel = troubled(own, "handle_error", ZeroDivisionError("the text"))
    name = repr(channel)
    own.loop(timeout=PATIENCE)
    assert re.fullmatch(
        rf"error: exception in error handling, dropping channel {re.escape(name)} "
        r"\(<class 'ZeroDivisionError'>:the text( \[[^|\]]+\|\w+\|\d+\])+\)\n",
        capsys.readouterr().out,
    )


def test_d10_an_exception_of_readable_goes_to_handle_error(own: Stage) -> None:
    channel = own.dispatcher(readable=fail_with(ValueError()), handle_error=lambda channel: None)
    own.loop(2)
    assert channel.events == [ValueError, ValueError]
    assert own.map


def test_d10_a_pass_that_begins_with_an_exception_does_not_wait(own: Stage, clock: Clock) -> None:
    # Its channel may have closed, or have got a new socket that nobody asked about yet.
    own.dispatcher(readable=fail_with(ValueError()))
    own.loop(timeout=30)
    assert clock.slept == [0]


def test_d10_an_exception_of_close_does_not_keep_the_descriptor(own: Stage) -> None:
    channel = troubled(own, "close", ValueError())
    own.loop(timeout=PATIENCE)
    assert (own.map, channel.socket.fileno()) == ({}, -1)
