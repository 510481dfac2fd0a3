"""The least that a loop can serve, for the files test_loop_*.py."""

from __future__ import annotations

import socket
from typing import Any

from tests.support.channels import Stage


class Duck:
    """The least that a loop can serve: no dispatcher, and nothing that one has besides."""

    accepting = False

    def __init__(self, sock: Any = None, **hooks: Any) -> None:
        self.socket = sock
        self.events: list[str] = []
        self.hooks = hooks

    def readable(self) -> Any:
        return self._told("readable", True)

    def writable(self) -> Any:
        return self._told("writable", False)

    def handle_read_event(self) -> Any:
        return self._told("read", None)

    def handle_write_event(self) -> Any:
        return self._told("write", None)

    def handle_expt_event(self) -> Any:
        return self._told("expt", None)

    def handle_close(self) -> Any:
        return self._told("close", None)

    def handle_error(self) -> Any:
        return self._told("error", None)

    def _told(self, event: str, answer: Any) -> Any:
        self.events.append(event)
        hook = self.hooks.get(event, answer)
        if isinstance(hook, BaseException):
            raise hook
        return hook(self) if callable(hook) else hook


def duck(stage: Stage, **hooks: Any) -> tuple[Duck, socket.socket]:
    """A duck in the map over one of two sockets, and the other."""
    mine, peer = stage.pair()
    mine.setblocking(False)
    made = stage.map[mine.fileno()] = Duck(mine, **hooks)
    return made, peer
