"""Deliberate differences: a hang-up of a peer whose last bytes are still unread (d5).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, closes, fresh, needs_poll, posix_only, recording


def hung_up_pair(stage: Stage, kind: str, data: bytes) -> Any:
    """A socket whose peer sent *data*, or as much as there was room for, and then hung up.

    Returns the socket and what was sent.  ``poll()`` says POLLIN and POLLHUP of it.
    """
    mine, peer = stage.pair() if kind == "unix" else stage.tcp_pair()
    if kind == "tcp":
        mine.shutdown(socket.SHUT_WR)
    peer.setblocking(False)
    sent = 0
    try:
        while sent < len(data):
            sent += peer.send(data[sent:])
    except BlockingIOError:
        pass
    peer.close()
    pollster = select.poll()
    pollster.register(mine, 0)  # which leaves the hang-up
    assert pollster.poll(PATIENCE * 1000) == [(mine.fileno(), select.POLLHUP)]
    return mine, data[:sent]


LINES = b"".join(b"line %d of many\n" % number for number in range(3000))


@needs_poll
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_d5_all_that_was_sent_before_a_hang_up_arrives(stage: Stage, kind: str) -> None:
    mine, sent = hung_up_pair(stage, kind, LINES)
    chat = stage.chat(None, mine)
    chat.ac_in_buffer_size = 4096
    stage.until(lambda: not stage.map, use_poll=True)
    received = b"".join(chat.events[:-1])
    assert received == stage.either(fastchat=sent, stdlib=sent[:4096])


@needs_poll
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_d5_and_then_comes_one_close(own: Stage, kind: str) -> None:
    mine, _ = hung_up_pair(own, kind, LINES)
    chat = own.chat(sock=mine)
    chat.ac_in_buffer_size = 4096
    own.until(lambda: not own.map, use_poll=True)
    assert (closes(chat), chat.events[-1]) == (1, "close")


@needs_poll
def test_d5_with_the_sizes_that_are_usual(stage: Stage) -> None:
    # 200,000 bytes, where an AF_UNIX socket has the buffer that Linux gives it.
    mine, sent = hung_up_pair(stage, "unix", (LINES * 10)[:200000])
    chat = stage.chat(sock=mine)
    stage.until(lambda: not stage.map, use_poll=True)
    expected = stage.either(fastchat=sent, stdlib=sent[: chat.ac_in_buffer_size])
    assert chat.events.count("found") == expected.count(b"\n")


@needs_poll
@posix_only
def test_d5_all_that_went_into_a_pipe_arrives(stage: Stage) -> None:
    got: list[bytes] = []
    reading, writing = os.pipe()
    channel = recording(
        stage.asyncore.file_dispatcher,
        handle_read=lambda channel: got.append(channel.recv(10)),
        writable=lambda channel: False,
    )(reading, stage.map)
    os.close(reading)
    os.write(writing, b"much more than ten bytes")
    os.close(writing)
    stage.until(lambda: not stage.map, use_poll=True)
    assert b"".join(got) == stage.either(fastchat=b"much more than ten bytes", stdlib=b"much more ")
    assert channel.events[-1] == "close"


@needs_poll
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_d5_a_channel_that_never_reads_is_closed_at_once(stage: Stage, kind: str) -> None:
    mine, _ = hung_up_pair(stage, kind, b"unread")
    channel = stage.dispatcher(mine, handle_read=lambda channel: None)
    stage.loop(use_poll=True, timeout=PATIENCE)
    assert (channel.events, stage.map) == (["read", "close"], {})


@needs_poll
def test_d5_a_channel_that_waits_for_nothing_is_closed_at_once(stage: Stage) -> None:
    mine, _ = hung_up_pair(stage, "unix", b"")
    channel = stage.dispatcher(mine, writable=lambda channel: True, readable=lambda channel: False)
    stage.loop(use_poll=True, timeout=PATIENCE)
    assert stage.map == {}
    assert channel.events == ["close"]


@needs_poll
@pytest.mark.parametrize("module", ["fcntl", "termios"])
def test_d5_where_the_unread_bytes_cannot_be_asked_for_it_is_as_it_was(
    own: Stage, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    map: Any = own.map
    map._fc_system = fresh(own.implementation.core["system"]).System()
    mine, _ = hung_up_pair(own, "unix", b"one two")
    got: list[bytes] = []
    channel = own.dispatcher(mine, handle_read=lambda channel: got.append(channel.recv(4)))
    own.loop(use_poll=True, timeout=PATIENCE)
    assert (channel.events, got) == (["read", "close"], [b"one "])
