"""Deliberate differences: an urgent byte that nobody reads (d3).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.
"""

from __future__ import annotations

import errno
import functools
import os
import select
import socket
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from tests.support.channels import PATIENCE, FakeSocket, Stage, both_pollers


def urge(stage: Stage, base: Any = None, **members: Any) -> tuple[Any, socket.socket]:
    """A channel over TCP with an urgent byte waiting, and its peer."""
    mine, peer = stage.tcp_pair()
    channel = stage.channel(base or stage.asyncore.dispatcher, mine, **members)
    peer.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [mine], PATIENCE)[2]
    return channel, peer


@both_pollers
@pytest.mark.parametrize("base", ["dispatcher", "async_chat"])
def test_d3_an_urgent_byte_that_nobody_wants_wakes_nobody(
    stage: Stage, base: str, use_poll: bool
) -> None:
    warnings: list[str] = []
    channel, _ = urge(
        stage,
        getattr(stage.asyncore if base == "dispatcher" else stage.asynchat, base),
        writable=lambda channel: False,
        log_info=lambda channel, text, kind: warnings.append(text),
    )
    channel.terminator = b"\n"
    stage.loop(5, use_poll)
    warning = "unhandled incoming priority event"
    assert warnings == stage.either(fastchat=[], stdlib=[warning] * 5)


@both_pollers
def test_d3_other_input_arrives_around_it(stage: Stage, use_poll: bool) -> None:
    chat, peer = urge(stage, stage.asynchat.async_chat, log_info=lambda *arguments: None)
    chat.set_terminator(b"\n")
    peer.sendall(b"line\n")
    stage.until(lambda: chat.events, use_poll)
    assert chat.events == [b"line", "found"]


def take(channel: Any) -> None:
    """A handle_expt that reads what is urgent."""
    channel.urgent = channel.socket.recv(1, socket.MSG_OOB)


class Taking:
    """The same for a mixin."""

    handle_expt = take


@both_pollers
@pytest.mark.parametrize("hook", ["handle_expt", "handle_expt_event"])
@pytest.mark.parametrize("where", ["class", "object"])
def test_d3_an_urgent_byte_is_for_those_who_override_the_hook(
    stage: Stage, hook: str, where: str, use_poll: bool
) -> None:
    members = {hook: take} if where == "class" else {}
    channel, _ = urge(stage, writable=lambda channel: False, **members)
    if where == "object":
        setattr(channel, hook, functools.partial(take, channel))
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.urgent == b"!"


@both_pollers
def test_d3_an_urgent_byte_is_for_a_mixin_that_overrides_the_hook(
    stage: Stage, use_poll: bool
) -> None:
    class Mixed(Taking, stage.asyncore.dispatcher):  # type: ignore[misc, name-defined]
        pass

    channel, _ = urge(stage, Mixed, writable=lambda channel: False)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.urgent == b"!"


@both_pollers
@pytest.mark.parametrize("hook", ["handle_expt", "handle_expt_event"])
@pytest.mark.parametrize("where", ["class", "object"])
def test_d3_an_urgent_byte_is_for_a_mock_in_place_of_the_hook(
    stage: Stage, hook: str, where: str, use_poll: bool
) -> None:
    channel, _ = urge(stage, writable=lambda channel: False)
    target = stage.asyncore.dispatcher if where == "class" else channel
    with mock.patch.object(target, hook) as patched:
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    patched.assert_called_once_with()


@both_pollers
def test_d3_an_urgent_byte_is_for_whatever_is_no_dispatcher(stage: Stage, use_poll: bool) -> None:
    told: list[str] = []
    mine, peer = stage.tcp_pair()
    stage.map[mine.fileno()] = SimpleNamespace(
        readable=lambda: True,
        writable=lambda: False,
        accepting=False,
        handle_expt_event=lambda: told.append("expt"),
        handle_read_event=lambda: told.append("read"),
    )
    peer.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [mine], PATIENCE)[2]
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert told == ["expt"]


@both_pollers
def test_d3_poll_looks_for_urgent_data_together_with_input_only(
    stage: Stage, use_poll: bool
) -> None:
    # As ever; select() looks for it together with either.
    channel, _ = urge(
        stage,
        handle_expt=lambda channel: None,
        handle_write=lambda channel: None,
        readable=lambda channel: False,
    )
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["write", *([] if use_poll else ["expt"])]


@pytest.mark.parametrize("connecting", [True, False])
def test_d3_windows_says_in_urgent_data_that_a_connect_failed(
    own: Stage, monkeypatch: pytest.MonkeyPatch, connecting: bool
) -> None:
    asked: list[Any] = []

    def note(*lists: Any) -> Any:
        asked.append(lists)
        return [], [], lists[2]

    channel = own.dispatcher(writable=lambda channel: True)
    fd = channel.socket.fileno()
    channel.connected, channel.connecting = False, connecting
    channel.socket = FakeSocket(fd, getsockopt=[errno.ECONNREFUSED])
    monkeypatch.setattr(own.asyncore, "os", SimpleNamespace(name="nt", strerror=os.strerror))
    monkeypatch.setattr(own.implementation.core["asking"], "os", SimpleNamespace(name="nt"))
    monkeypatch.setattr(own.asyncore, "select", SimpleNamespace(select=note))
    own.loop()
    assert asked == [([fd], [fd], [fd] if connecting else [], 0)]
    assert channel.events == (["close"] if connecting else [])
