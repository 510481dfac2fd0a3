"""Deliberate differences: one handle_close for one connection (d6), and nothing after it (d20).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.

Rules this file keeps: a loop that would spin is counted by its passes or its hooks, never timed;
random scenes have seeds, and the seed of a failure is in its message.
"""

from __future__ import annotations

import errno
import itertools
import random
import select
import socket
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    FakeSocket,
    Stage,
    arrived,
    both_pollers,
    closes,
    fail_with,
    failure,
    left_by,
    needs_poll,
    reset,
)

# d6: one handle_close for one connection.


@both_pollers
def test_d6_a_reset_with_output_waiting_is_one_close(stage: Stage, use_poll: bool) -> None:
    mine, peer = stage.tcp_pair()
    chat = stage.chat(sock=mine)
    chat.producer_fifo.append(b"output")
    reset(peer)
    arrived(mine)
    stage.until(lambda: not stage.map, use_poll)
    assert closes(chat) == stage.either(fastchat=1, stdlib=2 if use_poll else 1)


@both_pollers
def test_d6_a_reset_of_a_plain_dispatcher_is_one_close(stage: Stage, use_poll: bool) -> None:
    mine, peer = stage.tcp_pair()
    channel = stage.channel(
        stage.asyncore.dispatcher,
        mine,
        handle_read=lambda channel: channel.recv(10),
        handle_write=lambda channel: channel.send(b"x"),
    )
    reset(peer)
    arrived(mine)
    stage.until(lambda: not stage.map, use_poll)
    assert (closes(channel) == 1) is stage.either(fastchat=True, stdlib=not use_poll)


def read_and_fail(channel: Any) -> None:
    channel.recv(10)
    raise ValueError


@both_pollers
def test_d6_an_exception_after_the_end_is_one_close(stage: Stage, use_poll: bool) -> None:
    channel = stage.dispatcher(handle_read=read_and_fail)
    channel.peer.close()
    stage.until(lambda: not stage.map, use_poll)
    expected = stage.either(fastchat=[], stdlib=["close"])
    assert channel.events == ["read", "close", ValueError, *expected]


@both_pollers
def test_d6_output_after_the_end_is_one_close(stage: Stage, use_poll: bool) -> None:
    # An echo that does not look at what it received.
    channel = stage.dispatcher(handle_read=lambda channel: channel.send(channel.recv(10)))
    channel.peer.close()
    stage.until(lambda: not stage.map, use_poll)
    assert closes(channel) == stage.either(fastchat=1, stdlib=3 if use_poll else 2)


@both_pollers
@pytest.mark.parametrize("base", ["dispatcher", "dispatcher_with_send"])
def test_d6_several_sends_into_a_reset_are_one_close(
    stage: Stage, base: str, use_poll: bool
) -> None:
    def handle_write(channel: Any) -> None:
        for _ in range(3):
            channel.send(b"x")

    mine, peer = stage.tcp_pair()
    channel = stage.channel(
        getattr(stage.asyncore, base),
        mine,
        handle_write=handle_write,
        readable=lambda channel: False,
        writable=lambda channel: True,
    )
    if base == "dispatcher_with_send":
        channel.out_buffer = b"x"
    reset(peer)
    arrived(mine)
    stage.until(lambda: not stage.map, use_poll)
    assert (closes(channel) == 1) is stage.either(fastchat=True, stdlib=False)


def test_d6_several_sends_outside_of_the_loop_are_one_close(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.peer.close()
    for _ in range(3):
        channel.send(b"x")
    assert closes(channel) == stage.either(fastchat=1, stdlib=3)


@both_pollers
def test_d6_a_last_push_and_a_hang_up_are_one_close(stage: Stage, use_poll: bool) -> None:
    chat = stage.chat()
    chat.close_when_done()
    chat.peer.close()
    stage.until(lambda: not stage.map, use_poll)
    assert closes(chat) == stage.either(fastchat=1, stdlib=2 if use_poll else 1)


CLOSE_PROBLEMS = [ValueError(), OSError(errno.EIO, "I/O"), failure(errno.ENOTCONN)]


@pytest.mark.parametrize("problem", CLOSE_PROBLEMS, ids=["ValueError", "EIO", "ENOTCONN"])
@pytest.mark.parametrize(
    ("reads", "use_poll"),
    [
        pytest.param(True, False, id="select"),
        pytest.param(True, True, id="poll", marks=needs_poll),
        # select() cannot tell a hang-up from input.
        pytest.param(False, True, id="poll, never reads", marks=needs_poll),
    ],
)
def test_d6_a_handle_close_that_fails_is_called_once_and_the_channel_closed(
    stage: Stage, problem: Exception, reads: bool, use_poll: bool
) -> None:
    channel = stage.dispatcher(
        handle_read=lambda channel: channel.recv(10) if reads else None,
        handle_close=fail_with(problem),
    )
    channel.peer.close()
    left = left_by(stage, use_poll, passes=5)
    outcome = (left, closes(channel), len(stage.map))
    if stage.implementation.is_stdlib:
        assert outcome != (None, 1, 0)
    else:
        assert outcome == (None, 1, 0)
        assert channel.socket.fileno() == -1


@both_pollers
def test_d6_a_handle_close_that_does_not_close_is_called_once_in_a_pass(
    own: Stage, use_poll: bool
) -> None:
    mine, peer = own.tcp_pair()
    channel = own.channel(
        own.asyncore.dispatcher,
        mine,
        handle_read=lambda channel: channel.recv(10),
        handle_write=lambda channel: channel.send(b"x"),
        handle_close=lambda channel: None,
    )
    reset(peer)
    arrived(mine)
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert closes(channel) == 1


@both_pollers
def test_d6_a_handle_close_that_does_not_close_is_called_again_in_the_next_pass(
    stage: Stage, use_poll: bool
) -> None:
    channel = stage.dispatcher(
        handle_read=lambda channel: channel.recv(10), handle_close=lambda channel: None
    )
    channel.peer.close()
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    first = closes(channel)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (first, closes(channel)) == stage.either(
        fastchat=(1, 2), stdlib=(2, 4) if use_poll else (1, 2)
    )


FLAGS = ["POLLIN", "POLLOUT", "POLLPRI", "POLLHUP", "POLLERR", "POLLNVAL"]


@needs_poll
@pytest.mark.parametrize("state", ["open", "ended", "reset"])
@pytest.mark.parametrize("fails", [False, True])
def test_d6_any_flags_are_one_close_at_most(stage: Stage, state: str, fails: bool) -> None:
    def handle_read(channel: Any) -> None:
        try:
            channel.recv(10)
        except BlockingIOError:
            pass
        if fails:
            raise ValueError

    most = 0
    for chosen in itertools.product([False, True], repeat=len(FLAGS)):
        flags = 0
        for flag in itertools.compress(FLAGS, chosen):
            flags |= getattr(select, flag)
        mine, peer = stage.tcp_pair()
        channel = stage.channel(
            stage.asyncore.dispatcher,
            mine,
            handle_read=handle_read,
            handle_write=lambda channel: channel.send(b"x"),
            handle_expt=lambda channel: None,
        )
        if state != "open":
            (reset if state == "reset" else socket.socket.close)(peer)
            arrived(mine)
        stage.asyncore.readwrite(channel, flags)
        most = max(most, closes(channel))
        channel.close()
        peer.close()
    if stage.implementation.is_stdlib and state != "open":
        assert most > 1
    else:
        assert most == 1


class Scene:
    """One random life of one channel: what its hooks do, and what its peer does meanwhile."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.rng = random.Random(seed)
        self.use_poll = hasattr(select, "poll") and self.rng.random() < 0.6
        self.mine, self.peer = stage.tcp_pair() if self.rng.random() < 0.5 else stage.pair()
        self.peer.setblocking(False)
        choose = self.rng.choice
        reading = choose(
            ["recv", "recv", "recv send", "recv fail", "fail", "close", "", "recv recv"]
        )
        writing = choose(["send", "send send", "fail", "close", ""])
        ending = choose(["close", "close", "close", "close fail", "fail", "gone"])
        wants = choose([True, True, False])
        self.channel = stage.channel(
            stage.asyncore.dispatcher,
            self.mine,
            handle_read=lambda channel: self.act(channel, reading),
            handle_write=lambda channel: self.act(channel, writing),
            handle_close=lambda channel: self.act(channel, ending),
            writable=lambda channel: wants,
            handle_error=stage.asyncore.dispatcher.handle_error,
            log_info=lambda channel, *arguments: None,
        )

    def act(self, channel: Any, actions: str) -> None:
        for action in actions.split():
            if action == "recv":
                try:
                    channel.recv(4)
                except BlockingIOError:
                    pass
            elif action == "send":
                channel.send(b"x")
            elif action == "close":
                channel.close()
            elif action == "gone":
                channel.close()
                raise failure(errno.ENOTCONN)
            else:
                raise ValueError

    def peer_acts(self) -> None:
        action = self.rng.choice(["send", "send", "end", "reset", "half", "read", ""])
        try:
            if action == "send":
                self.peer.send(b"some input")
            elif action == "read":
                self.peer.recv(100)
            elif action == "half":
                self.peer.shutdown(socket.SHUT_WR)
            elif action == "end":
                self.peer.close()
            elif action == "reset":
                reset(self.peer)
        except OSError:
            pass  # it has ended, or been ended, earlier

    def breaks_the_rule(self) -> bool:
        """Live it; whether any hook was called after handle_close, or the loop was left."""
        try:
            for _ in range(8):
                self.peer_acts()
                self.stage.loop(use_poll=self.use_poll)
            self.peer.close()
            self.stage.loop(4, self.use_poll)
        except (ValueError, OSError):
            return True
        finally:
            self.channel.close()
            self.stage.map.clear()
        events = self.channel.events
        after = events[events.index("close") + 1 :] if "close" in events else []
        return any(isinstance(event, str) for event in after)


def test_d6_in_any_order_of_events_it_is_one_close_and_the_last_event(stage: Stage) -> None:
    broken = [seed for seed in range(400) if Scene(stage, seed).breaks_the_rule()]
    if stage.implementation.is_stdlib:
        assert broken
    else:
        assert broken == []


# d20, a part of d6: what is closed stays closed.


def connecting(stage: Stage, **members: Any) -> Any:
    """A channel that waits for a connect that is done, and closes in handle_connect."""
    channel = stage.channel(
        stage.asyncore.dispatcher,
        handle_connect=lambda channel: channel.close(),
        handle_read=lambda channel: None,
        handle_write=lambda channel: None,
        **members,
    )
    channel.connected, channel.connecting = False, True
    return channel


@pytest.mark.parametrize("event", ["read", "write"])
def test_d20_close_in_handle_connect_is_the_last_event(stage: Stage, event: str) -> None:
    channel = connecting(stage)
    getattr(stage.asyncore, event)(channel)
    assert channel.events == ["connect", *stage.either(fastchat=[], stdlib=[event])]


@pytest.mark.parametrize("event", ["read", "write"])
def test_d20_a_channel_closed_in_handle_connect_is_not_connected(stage: Stage, event: str) -> None:
    channel = connecting(stage)
    getattr(stage.asyncore, event)(channel)
    assert channel.connected is stage.either(fastchat=False, stdlib=True)


def test_d20_a_channel_closed_in_a_connect_that_is_done_at_once_is_not_connected(
    stage: Stage,
) -> None:
    channel = stage.bare(handle_connect=lambda channel: channel.close())
    channel.set_socket(FakeSocket(7))
    channel.connect(("192.0.2.1", 7))
    assert channel.connected is stage.either(fastchat=False, stdlib=True)


@both_pollers
def test_d20_a_reconnect_in_handle_connect_waits_for_its_own_connection(
    own: Stage, use_poll: bool
) -> None:
    def handle_connect(channel: Any) -> None:
        if channel.events == ["connect"]:
            channel.close()
            channel.set_socket(FakeSocket(7, connect_ex=[errno.EINPROGRESS]))
            channel.connect(("192.0.2.1", 7))

    channel = own.bare(handle_connect=handle_connect)
    channel.set_socket(FakeSocket(8))
    channel.connect(("192.0.2.1", 8))
    assert (channel.connected, channel.connecting) == (False, True)
    own.map.clear()


class Transport:
    """Something that can be opened again, such as a serial port."""

    def __init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.mine, self.peer = socket.socketpair()
        self.mine.setblocking(False)
        self.fileno, self.recv, self.send = self.mine.fileno, self.mine.recv, self.mine.send

    def setblocking(self, flag: bool) -> None:
        self.mine.setblocking(flag)

    def getpeername(self) -> str:
        return "a port"

    def close(self) -> None:
        self.mine.close()


@both_pollers
@pytest.mark.parametrize("base", ["async_chat", "dispatcher", "dispatcher_with_send"])
@pytest.mark.parametrize("how", ["add_channel", "set_socket"])
def test_d6_who_is_opened_again_hears_of_its_end_again(
    stage: Stage, base: str, how: str, use_poll: bool
) -> None:
    module = stage.asynchat if base == "async_chat" else stage.asyncore
    transport = Transport()
    channel = stage.channel(getattr(module, base), transport, handle_read=lambda one: one.recv(9))
    for _ in range(2):
        transport.peer.close()
        stage.loop(2, use_poll)
        assert (stage.map, "close" in channel.events) == ({}, True)
        channel.events.clear()
        transport.open()
        channel.connected = True
        if how == "add_channel":
            channel._fileno = transport.fileno()
            channel.add_channel()
        else:
            channel.set_socket(transport)
    channel.close()
    transport.peer.close()
