"""Output of a ``dispatcher_with_send``: what it sends at once, and what it keeps.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: what a peer receives is read from a real socket; how the bytes are cut into
sends is seen by a ``send`` of the test, which takes as much as the test says.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tests.support.channels import PATIENCE, FakeSocket, Stage, both_pollers


def sender(stage: Stage, **members: Any) -> Any:
    """A recording dispatcher_with_send over one of a pair."""
    return stage.channel(stage.asyncore.dispatcher_with_send, **members)


def test_a_sender_sends_at_once_and_returns_nothing(stage: Stage) -> None:
    channel = sender(stage)
    assert channel.send(b"data") is None
    assert (channel.peer.recv(10), channel.out_buffer) == (b"data", b"")


def test_a_sender_keeps_what_was_not_taken(stage: Stage) -> None:
    sock = FakeSocket(7, send=[2, 0, 5])
    channel = stage.channel(stage.asyncore.dispatcher_with_send, sock)
    channel.send(b"1234567")
    assert channel.out_buffer == b"34567"
    channel.handle_write()
    assert channel.out_buffer == b"34567"
    channel.handle_write()
    assert (channel.out_buffer, b"".join(sock.sent)) == (b"", b"1234567")


def test_a_sender_offers_everything_up_to_64_kibibytes(stage: Stage) -> None:
    with mock.patch.object(stage.asyncore.dispatcher, "send", return_value=0) as send:
        channel = sender(stage)
        for size in (1, 65534, 1, 1):
            channel.send(bytes(size))
    offered = [len(call.args[-1]) for call in send.mock_calls]
    assert offered == [1, 65535, 65536, 65536]


def test_a_sender_wants_to_write_while_it_keeps_something(stage: Stage) -> None:
    channel = sender(stage)
    assert not channel.writable()
    channel.out_buffer = b"data"
    assert channel.writable()


def test_a_sender_wants_to_write_until_it_is_connected(stage: Stage) -> None:
    channel = stage.bare(stage.asyncore.dispatcher_with_send)
    assert channel.writable() is True


@both_pollers
def test_what_is_assigned_to_the_buffer_is_sent(stage: Stage, use_poll: bool) -> None:
    channel = sender(stage)
    channel.out_buffer = b"assigned"
    stage.until(lambda: not channel.out_buffer, use_poll)
    assert channel.peer.recv(100) == b"assigned"


def test_the_buffer_begins_empty(stage: Stage) -> None:
    assert sender(stage).out_buffer == b""


@pytest.mark.parametrize("data", ["text", None, 5])
def test_a_sender_refuses_what_is_no_bytes_and_loses_nothing(stage: Stage, data: Any) -> None:
    channel = stage.channel(stage.asyncore.dispatcher_with_send, FakeSocket(7, send=[0]))
    channel.send(b"before")
    with pytest.raises(TypeError):
        channel.send(data)
    assert channel.out_buffer == b"before"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_sender_takes_bytes_of_any_kind(stage: Stage, kind: Callable[[bytes], Any]) -> None:
    channel = sender(stage)
    channel.send(kind(b"data"))
    assert channel.peer.recv(10) == b"data"


def test_a_sender_copies_what_may_change(stage: Stage) -> None:
    sock = FakeSocket(7, send=[0, 6])
    channel = stage.channel(stage.asyncore.dispatcher_with_send, sock)
    data = bytearray(b"before")
    channel.send(data)
    data[:] = b"after!"
    channel.handle_write()
    assert sock.sent[-1] == b"before"


def test_a_sender_with_debug_says_what_it_sends(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = sender(stage, debug=True)
    channel.send(b"data")
    assert capsys.readouterr().out == "info: sending b'data'\n"


def test_a_sender_without_debug_does_not(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    sender(stage).send(b"data")
    assert capsys.readouterr().out == ""


def test_a_socket_that_does_not_say_how_much_it_took_took_nothing(stage: Stage) -> None:
    sock = FakeSocket(7, send=[None])
    channel = stage.channel(stage.asyncore.dispatcher_with_send, sock)
    channel.send(b"data")
    assert channel.out_buffer == b"data"


def test_a_socket_that_says_it_took_more_than_there_was_took_everything(stage: Stage) -> None:
    sock = mock.Mock()
    sock.fileno.return_value = 7
    sock.send.return_value = 100
    channel = stage.asyncore.dispatcher_with_send(sock, stage.map)
    channel.send(b"data")
    assert (channel.out_buffer, channel.writable()) == (b"", 0)


def test_a_sender_goes_through_initiate_send(stage: Stage) -> None:
    channel = sender(stage)
    with mock.patch.object(channel, "initiate_send") as initiate_send:
        channel.send(b"data")
        channel.handle_write()
    assert initiate_send.mock_calls == [mock.call()] * 2
    assert channel.out_buffer == b"data"


def test_initiate_send_goes_around_an_overridden_send(stage: Stage) -> None:
    channel = sender(stage, send=lambda channel, data: pytest.fail("its own send"))
    channel.out_buffer = b"data"
    channel.initiate_send()
    assert channel.peer.recv(10) == b"data"


@pytest.mark.parametrize("name", ["_queue", "_keep", "_output", "queue", "output"])
def test_a_sender_takes_any_attribute(stage: Stage, name: str) -> None:
    channel = sender(stage)
    setattr(channel, name, [])
    channel.send(b"data")
    assert (channel.peer.recv(10), getattr(channel, name)) == (b"data", [])


def test_another_class_may_borrow_the_methods_of_a_sender(stage: Stage) -> None:
    lender = stage.asyncore.dispatcher_with_send

    class Borrower(stage.asyncore.dispatcher):  # type: ignore[name-defined]
        out_buffer = b""

        send = lender.send
        initiate_send = lender.initiate_send
        handle_write = lender.handle_write
        writable = lender.writable

    mine, peer = stage.pair()
    borrower = Borrower(mine, stage.map)
    borrower.send(b"data")
    assert (peer.recv(10), borrower.out_buffer, borrower.writable()) == (b"data", b"", 0)


@pytest.mark.parametrize("limit", [2**31, sys.maxsize - 1000, sys.maxsize, 2**100])
def test_a_size_that_is_larger_than_all_there_is_lets_all_leave(own: Stage, limit: int) -> None:
    chat = own.chat()
    chat.ac_out_buffer_size = limit
    data = b"0123456789" * 300_000
    chat.push(data)
    chat.push(b"!")
    got = bytearray()
    chat.peer.setblocking(False)
    until = time.monotonic() + PATIENCE
    while len(got) <= len(data) and time.monotonic() < until:
        own.loop(timeout=0.01)
        with contextlib.suppress(BlockingIOError):
            got += chat.peer.recv(1 << 20)
    assert bytes(got) == data + b"!"
