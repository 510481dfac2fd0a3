"""The limit in Python: an asynchat that calls the hooks for each line, and does nothing else.

It keeps none of asynchat's contract: a ``send`` that takes less, a hook that closes, raises, or
changes the terminator are all more than it can.  What it costs any implementation has to cost whose
loop and channels are Python, and the hooks of a line cost the compiled one as well.  The program
that it runs is the one of all engines with the names ``asynchat`` and ``asyncore``.
"""

from __future__ import annotations

import importlib
import select
import socket
import sys
from types import ModuleType
from typing import Any

SIZE = 65536  # of a receive, as in asynchat

_channels: dict[int, Any] = {}
_set = select.epoll()


class dispatcher:
    """A listener."""

    def create_socket(self) -> None:
        self.socket = socket.socket()
        _join(self)

    def bind(self, address: tuple[str, int]) -> None:
        self.socket.bind(address)

    def listen(self, backlog: int) -> None:
        self.socket.listen(backlog)

    def handle_read_event(self) -> None:
        sock, address = self.socket.accept()
        self.handle_accepted(sock, address)

    def handle_accepted(self, sock: socket.socket, addr: object) -> None:
        raise NotImplementedError


class async_chat:
    """A client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.rest = b""
        _join(self)

    def set_terminator(self, terminator: bytes) -> None:
        self.terminator = terminator

    def push(self, data: bytes) -> None:
        self.socket.send(data)

    def handle_read_event(self) -> None:
        try:
            data = self.socket.recv(SIZE)
        except ConnectionResetError:
            data = b""
        if not data:
            _set.unregister(self.socket)
            del _channels[self.socket.fileno()]
            self.socket.close()
            return
        if self.rest:
            data = self.rest + data
        lines = data.split(self.terminator)
        self.rest = lines.pop()
        for line in lines:
            self.collect_incoming_data(line)
            self.found_terminator()

    def collect_incoming_data(self, data: bytes) -> None:
        raise NotImplementedError

    def found_terminator(self) -> None:
        raise NotImplementedError


def _join(channel: Any) -> None:
    _channels[channel.socket.fileno()] = channel
    _set.register(channel.socket, select.EPOLLIN)


def loop(use_poll: bool) -> None:
    while True:
        for fd, _ in _set.poll(-1, 1024):
            _channels[fd].handle_read_event()


def serve(engine: str, service: str) -> None:
    """Serve until the process ends."""
    for name in ("asynchat", "asyncore"):
        sys.modules[name] = module = ModuleType(name)
        vars(module).update(dispatcher=dispatcher, async_chat=async_chat, loop=loop)
    importlib.import_module("bench.serve.engines.async_chat").serve(engine, service)
