"""Channels of which the loop keeps the registrations, for the files test_watch_*.py.

One notes what it reads, one how often it is asked, and one hears of nothing but a hang-up.
"""

from __future__ import annotations

import os
from typing import Any

from tests.support.channels import Stage


def reader(stage: Stage, sock: Any = None, base: Any = None, **members: Any) -> Any:
    """A recording channel with stock predicates that reads what there is.

    Its *base* is a dispatcher_with_send by default.
    """
    members.setdefault("handle_read", lambda channel: channel.got.append(channel.recv(65536)))
    made = stage.channel(base or stage.asyncore.dispatcher_with_send, sock, **members)
    made.got = []
    return made


def asked(stage: Stage, **members: Any) -> Any:
    """A recording channel that counts how often it is asked, and reads nothing."""

    def readable(channel: Any) -> bool:
        channel.count = getattr(channel, "count", 0) + 1
        return True

    members.setdefault("handle_read", lambda channel: None)
    return stage.dispatcher(readable=readable, **members)


def deaf(stage: Stage, number: int = 0) -> Any:
    """A channel that wants to write where nobody can: the reading end of a pipe without a writer.

    It wants to read, too, as soon as its ``wants`` is true.
    """
    reading, writing = os.pipe()
    if number:
        os.dup2(reading, number)
        os.close(reading)
        reading = number
    channel = stage.channel(
        stage.asyncore.file_dispatcher,
        reading,
        readable=lambda channel: channel.wants,
        handle_read=lambda channel: channel.recv(9),
        handle_write=lambda channel: None,
        handle_close=lambda channel: channel.close(),
        wants=False,
    )
    for fd in (reading, writing):
        os.close(fd)
    return channel
