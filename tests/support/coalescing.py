"""Chats that answer lines and count their sends, for the files test_coalescing_*.py.

Held output: what hooks push leaves in one send, and nobody can tell but by counting.  The row of
docs/compat.md is what is tested; ``_core/outgoing.py`` has the rules.

A program that has a ``send`` of its own, of the channel or of the socket, could tell; so nothing is
held for it.  Here a socket counts whose ``send`` fastchat is told to take for the system's own.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, has_nothing
from tests.support.implementations import passing_for_the_systems

Hook = Callable[[Any, bytes], Any]


class Counted(socket.socket):
    """The socket *sock*, whose descriptor it takes over, with a ``send`` that counts.

    What each send was given is in ``sends``; what it takes, if that is not everything, in
    ``takes``: a number, 0 and None for nothing now, or an exception.  ``act``, if there is one, is
    called in each send, before it is made.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.takes: list[Any] = []
        self.sends: list[bytes] = []
        self.act: Callable[[], Any] | None = None

    def send(self, data: Any, *flags: Any) -> int:
        take = self.takes.pop(0) if self.takes else len(data)
        self.sends.append(bytes(data))
        if self.act is not None:
            self.act()
        if isinstance(take, BaseException):
            raise take
        if not take and len(data):
            raise BlockingIOError(errno.EAGAIN, "not now")
        return super().send(data[:take])


def count_sends(stage: Stage, sock: socket.socket) -> Counted:
    """*sock*, counting; until *stage* is left its ``send`` passes for the system's own."""
    stage.enter(passing_for_the_systems(stage.implementation, Counted.send))
    counted: Counted = stage.keep(Counted(sock))
    return counted


def serve(stage: Stage, hook: Hook, sock: Any = None, **members: Any) -> Any:
    """A chat that calls *hook* with itself and each line.

    Its socket, by default one of a new pair, is ``Counted`` if it is a real one, and then also its
    ``sock``; its ``sends`` and ``takes`` are those of that.
    """
    parts: list[bytes] = []
    peer = None
    if sock is None:
        sock, peer = stage.pair()
    if isinstance(sock, socket.socket):
        sock = count_sends(stage, sock)

    def found_terminator(chat: Any) -> None:
        line = b"".join(parts)
        parts.clear()
        hook(chat, line)

    made = stage.chat(
        sock=sock,
        collect_incoming_data=lambda chat, data: parts.append(data),
        found_terminator=found_terminator,
        **members,
    )
    made.sock, made.peer = sock, peer
    made.takes, made.sends = getattr(sock, "takes", None), getattr(sock, "sends", None)
    return made


def echo(chat: Any, line: bytes) -> None:
    chat.push(line + b";")


def do_nothing(*args: Any) -> None:
    pass


def exceptions_of(chat: Any) -> list[type[BaseException]]:
    """Those that ``handle_error`` was called for."""
    return [event for event in chat.events if isinstance(event, type)]


def drained(stage: Stage, chat: Any) -> bytes:
    """What the peer of *chat* receives until nothing is queued any more."""
    data = b""
    for _ in range(10_000):
        while not has_nothing(chat.peer):
            part = chat.peer.recv(65536)
            if not part:
                return data
            data += part
        if chat not in stage.map.values() or not chat.producer_fifo:
            break
        stage.loop(timeout=PATIENCE)
    else:
        pytest.fail(f"still queued: {len(chat.producer_fifo)} entries")
    while not has_nothing(chat.peer) and (part := chat.peer.recv(65536)):
        data += part
    return data
