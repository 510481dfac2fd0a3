"""Chats that answer lines and count their sends, for the files test_coalescing_*.py.

Held output: what hooks push leaves in one send, and nobody can tell but by counting.  The row of
docs/compat.md is what is tested; ``_channel_py.py`` has the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.channels import PATIENCE, Stage, has_nothing

Hook = Callable[[Any, bytes], Any]


def serve(stage: Stage, hook: Hook, sock: Any = None, **members: Any) -> Any:
    """A chat that calls *hook* with itself and each line.

    What each send was given is in its ``sends``; what it takes, if that is not everything, in
    ``takes``: a number, None, or an exception.
    """
    base = stage.asynchat.async_chat
    takes: list[Any] = []
    sends: list[bytes] = []
    parts: list[bytes] = []

    def send(chat: Any, data: Any) -> Any:
        take = takes.pop(0) if takes else len(data)
        if isinstance(take, BaseException):
            sends.append(bytes(data))
            raise take
        taken = base.send(chat, data[:take]) if take or not len(data) else take
        sends.append(bytes(data))  # afterwards, because what was held is sent by the one above
        return taken

    def found_terminator(chat: Any) -> None:
        line = b"".join(parts)
        parts.clear()
        hook(chat, line)

    members.setdefault("send", send)
    made = stage.chat(
        sock=sock,
        collect_incoming_data=lambda chat, data: parts.append(data),
        found_terminator=found_terminator,
        **members,
    )
    made.takes, made.sends = takes, sends
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
