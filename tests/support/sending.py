"""Sends that take what a test says, and producers, for the files test_output_*.py."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest


class Sends:
    """A ``send`` that takes what it is told to take: everything, unless *takes* has a number."""

    def __init__(self, *takes: Any) -> None:
        self.takes = list(takes)
        self.offered: list[Any] = []
        self.taken = b""

    def __call__(self, data: Any) -> Any:
        self.offered.append(data if isinstance(data, str) else bytes(data))
        take = self.takes.pop(0) if self.takes else len(data)
        if isinstance(take, BaseException):
            raise take
        self.taken += data[:take] if take else b""
        return take


class Producer:
    """Gives its *chunks* one after the other, then what an exhausted producer gives."""

    def __init__(self, *chunks: Any, at_the_end: Any = b"") -> None:
        self.chunks = list(chunks)
        self.at_the_end = at_the_end
        self.asked = 0

    def more(self) -> Any:
        self.asked += 1
        chunk = self.chunks.pop(0) if self.chunks else self.at_the_end
        return chunk() if callable(chunk) else chunk


def queue_of(chat: Any) -> list[Any]:
    """What *chat* has queued."""
    return list(chat.producer_fifo)


def send_everything(chat: Any) -> None:
    """Give *chat* room for output until it has none left, without a loop."""
    for _ in range(1000):
        if not chat.producer_fifo:
            return
        chat.handle_write_event()
    pytest.fail(f"still queued: {queue_of(chat)}")


def fill(sock: socket.socket) -> None:
    """Let *sock* take no more."""
    sock.setblocking(False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(b"." * size)
