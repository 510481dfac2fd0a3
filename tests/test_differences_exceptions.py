"""Deliberate differences: no exception of a channel costs the others anything (d10).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import re
import socket
from collections import UserDict
from typing import Any

import pytest

from tests.support.channels import (
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
    """A channel whose *hook* raises *problem* as soon as its peer has sent something.

    Its ``handle_error`` is the stock one, unless that is the hook.
    """
    members: dict[str, Any] = {
        "handle_error": stage.asyncore.dispatcher.handle_error,
        "handle_read": fail_with(ValueError()),
        hook: fail_with(problem),
    }
    if hook == "handle_close":
        members["handle_read"] = lambda channel: channel.handle_close()
    channel = stage.dispatcher(**members)
    channel.peer.sendall(b"x")
    return channel


HOOKS = ["handle_close", "readable", "writable", "close", "log_info"]


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


class NotDecided:
    """Of which nobody can say whether it is true."""

    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")


def deleted_attribute(name: str) -> dict[str, Any]:
    return {"__slots__": (name,)}


def failing_attribute(name: str) -> dict[str, Any]:
    return {name: property(fail_with(ValueError()), lambda channel, value: None)}


def undecided_attribute(name: str) -> dict[str, Any]:
    return {name: property(lambda channel: NotDecided(), lambda channel, value: None)}


@both_pollers
@pytest.mark.parametrize("base", ["dispatcher", "dispatcher_with_send", "async_chat"])
@pytest.mark.parametrize("name", ["accepting", "connected"])
@pytest.mark.parametrize("spoil", [deleted_attribute, failing_attribute, undecided_attribute])
def test_d10_an_attribute_that_fails_costs_one_channel_only(
    own: Stage, spoil: Any, name: str, base: str, use_poll: bool
) -> None:
    kind = getattr(own.asynchat if base == "async_chat" else own.asyncore, base)
    mine, peer = own.pair()
    broken = type("Broken", (kind,), spoil(name))(mine, own.map)
    if spoil is deleted_attribute:
        setattr(broken, name, False)
        delattr(broken, name)
    peer.sendall(b"x")
    other = bystander(own)
    own.loop(3, use_poll)
    assert (list(own.map.values()), other.events) == ([other], ["read"])


@both_pollers
@pytest.mark.parametrize("base", ["dispatcher", "async_chat"])
@pytest.mark.parametrize("name", ["accepting", "connected"])
def test_d10_an_attribute_may_begin_to_fail(
    own: Stage, name: str, base: str, use_poll: bool
) -> None:
    broken = own.dispatcher() if base == "dispatcher" else own.chat()
    own.loop(2, use_poll)
    setattr(broken, name, NotDecided())
    broken.peer.sendall(b"x")
    other = bystander(own)
    own.loop(3, use_poll)
    assert (list(own.map.values()), other.events) == ([other], ["read"])


@both_pollers
def test_d10_an_exception_of_repr_costs_one_channel_only(stage: Stage, use_poll: bool) -> None:
    broken = troubled(stage, "__repr__", ValueError())
    stage.loop(2, use_poll)
    assert (broken.events, stage.map) == (["read", "close"], {})


@both_pollers
@pytest.mark.parametrize("hook", [*HOOKS, "handle_read", "handle_error"])
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
    channel = troubled(own, "handle_close", ValueError())
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
    assert (broken.events[:1], own.map) == (["read"], {})


def test_d10_dropping_a_channel_says_why(own: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    channel = troubled(own, "handle_close", ZeroDivisionError("the text"))
    name = repr(channel)
    own.loop(timeout=PATIENCE)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("error: uncaptured python exception, closing channel")
    assert re.fullmatch(
        rf"error: exception in error handling, dropping channel {re.escape(name)} "
        r"\(<class 'ZeroDivisionError'>:the text( \[[^|\]]+\|[\w<>]+\|\d+\])+\)",
        second,
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


# What leaves a handle_error of the program's own leaves the loop: that is how programs ask for it.


def on_the_class(stage: Stage, function: Any) -> dict[str, Any]:
    return {"handle_error": function}


def on_the_object(stage: Stage, function: Any) -> dict[str, Any]:
    return {"_own_error": lambda channel: function(channel)}


def of_another_object(stage: Stage, function: Any) -> dict[str, Any]:
    return {"_own_error": type("Other", (), {"handle_error": lambda self: function(self)})()}


def a_callable_object(stage: Stage, function: Any) -> dict[str, Any]:
    class Calling:
        def __call__(self) -> None:
            function(None)

    return {"handle_error": Calling()}


def a_partial(stage: Stage, function: Any) -> dict[str, Any]:
    # From 3.14 on a bare one would be a method, and 3.13 warns of that.
    return {"handle_error": staticmethod(functools.partial(function, None))}


def a_property(stage: Stage, function: Any) -> dict[str, Any]:
    return {"handle_error": property(lambda channel: lambda: function(channel))}


def a_static_method(stage: Stage, function: Any) -> dict[str, Any]:
    return {"handle_error": staticmethod(lambda: function(None))}


PLACES = [on_the_class, on_the_object, of_another_object, a_callable_object]
PLACES += [a_partial, a_property, a_static_method]


def raise_again(channel: Any) -> None:
    raise


class Watched(Exception):
    """What the handler raises that fails first."""


def failing(stage: Stage, event: str, place: Any, problem: BaseException, then: Any) -> Any:
    """A channel of which *event* fails with *problem*; its ``handle_error`` does *then*."""
    members = place(stage, then)
    own_error = members.pop("_own_error", None)
    fail = fail_with(problem)
    if event == "connect":
        members["handle_connect"] = fail
    elif event == "accept":

        def handle_accepted(channel: Any, sock: socket.socket, address: Any) -> None:
            sock.close()
            raise problem

        members["handle_accepted"] = handle_accepted
    elif event == "hang-up":
        members |= {"handle_close": fail, "readable": lambda channel: False}
    else:
        members[event] = fail
    kind = type("Failing", (stage.asyncore.dispatcher,), members)
    if event == "accept":
        channel = kind(None, stage.map)
        channel.create_socket()
        channel.bind(("127.0.0.1", 0))
        channel.listen(5)
        channel.peer = stage.client(channel.socket.getsockname())
    elif event == "connect":
        channel = kind(None, stage.map)
        channel.create_socket()
        server = stage.keep(socket.create_server(("127.0.0.1", 0)))
        channel.connect(server.getsockname())
    else:
        mine, channel_peer = stage.pair()
        channel = kind(mine, stage.map)
        channel.peer = channel_peer
        channel_peer.sendall(b"x")
        if event == "hang-up":
            channel_peer.close()
    stage.at_the_end(channel.socket.close)
    if own_error is not None:
        error = getattr(own_error, "handle_error", None)
        channel.handle_error = error or functools.partial(own_error, channel)
    return channel


EVENTS = ["handle_read", "handle_write", "connect", "accept", "hang-up", "readable", "writable"]


@both_pollers
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_d10_what_leaves_an_overridden_handle_error_leaves_the_loop(
    stage: Stage, event: str, place: Any, use_poll: bool
) -> None:
    if event == "hang-up" and not use_poll:
        event = "handle_read"
    other = bystander(stage)
    channel = failing(stage, event, place, Watched("first"), raise_again)
    with pytest.raises(Watched, match="first"):
        stage.asyncore.loop(PATIENCE, use_poll, stage.map, 3)
    # What was to be handed out is there in the next pass, and so is the channel.
    assert channel in stage.map.values()
    channel.close()
    stage.until(lambda: other.events == ["read"], use_poll)


@both_pollers
@pytest.mark.parametrize(
    "problem",
    [
        ValueError("second"),
        TimeoutError("second"),
        failure(errno.EBADF),
        failure(errno.ECONNRESET),
        asyncio.CancelledError("second"),
    ],
    ids=lambda problem: type(problem).__name__,
)
@pytest.mark.parametrize("is_kept", [True, False])
def test_d10_whatever_it_raises_leaves_the_loop(
    stage: Stage, problem: BaseException, is_kept: bool, use_poll: bool
) -> None:
    if not is_kept:
        stage.map = UserDict()  # type: ignore[assignment]
    failing(stage, "handle_read", on_the_class, Watched("first"), fail_with(problem))
    with pytest.raises(type(problem)) as caught:
        stage.asyncore.loop(PATIENCE, use_poll, stage.map, 3)
    assert caught.value is problem


def test_d10_a_handle_error_that_was_patched_into_the_class_is_an_overridden_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.asyncore.dispatcher, "handle_error", raise_again)
    mine, peer = stage.pair()
    channel = type("Failing", (stage.asyncore.dispatcher,), {"handle_read": fail_with(Watched())})(
        mine, stage.map
    )
    stage.at_the_end(channel.close)
    peer.sendall(b"x")
    with pytest.raises(Watched):
        stage.loop(timeout=PATIENCE)


def test_d10_a_duck_without_handle_error_costs_itself_only(own: Stage) -> None:
    class Duck:
        readable = writable = handle_read_event = fail_with(Watched())
        accepting = False

    mine, peer = own.pair()
    own.map[mine.fileno()] = Duck()
    peer.sendall(b"x")
    own.loop()
    assert not own.map


@both_pollers
def test_d10_what_a_channel_has_to_send_is_sent_after_its_error_has_left(
    own: Stage, use_poll: bool
) -> None:
    # Its event has changed what it waits for, and the next pass has to know.
    mine, peer = own.tcp_pair()
    base = own.asynchat.async_chat

    def collect(chat: Any, data: bytes) -> None:
        chat.producer_fifo.append(b"reply")
        raise Watched

    members = {"collect_incoming_data": collect, "handle_error": raise_again}
    chat = type("Chat", (base,), members)(mine, own.map)
    chat.set_terminator(None)
    own.at_the_end(chat.close)
    for _ in range(40):
        own.dispatcher()  # more than are looked at in a pass that the program makes itself
    own.loop(use_poll=use_poll)
    peer.sendall(b"x")
    with pytest.raises(Watched):
        own.asyncore.loop(PATIENCE, use_poll, own.map)
    chat.ac_in_buffer = b""
    own.loop(use_poll=use_poll)
    assert peer.recv(10) == b"reply"
