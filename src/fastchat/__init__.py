"""asyncore and asynchat for today's Python, with a compiled hot path.

``fastchat.asyncore`` and ``fastchat.asynchat`` are drop-in replacements of the modules that left
the standard library in Python 3.12.  ``install()`` makes them importable under the old names;
``python -m fastchat run PROGRAM.py`` runs a program that way without touching it.

``LineChannel`` serves lines in asyncore's loop, with limits, and ``serve()`` is a whole server of
them; ``call_later()`` and its kind are timers of that loop, which ``attach()`` lets run inside
asyncio's.  ``LineBuffer`` cuts lines out of bytes for any program; ``join_lines()`` is the way
back.  ``fastchat.aio``, which is imported by itself, has both for asyncio.

``implementation`` says whether compiled modules are in use: ``"cython"`` or ``"python"``;
``python -m fastchat --version`` says why they are not.

Every name: https://github.com/fastchat/fastchat/blob/main/docs/reference.md
"""

import importlib
from typing import TYPE_CHECKING

from fastchat import asynchat, asyncore
from fastchat._backend import implementation

if TYPE_CHECKING:
    from fastchat._core.line_rules import LineTooLong, Reply
    from fastchat._core.lines import LineBuffer, join_lines
    from fastchat._reports import limit_logs
    from fastchat.aliases import install, uninstall
    from fastchat.attachment import Attachment, attach
    from fastchat.channel import LineChannel
    from fastchat.server import ChannelStats, Server, ServerStats, serve
    from fastchat.timers import Timer, call_every, call_later, call_threadsafe

__version__ = "0.1.0"

__all__ = [
    "Attachment",
    "ChannelStats",
    "LineBuffer",
    "LineChannel",
    "LineTooLong",
    "Reply",
    "Server",
    "ServerStats",
    "Timer",
    "__version__",
    "asynchat",
    "asyncore",
    "attach",
    "call_every",
    "call_later",
    "call_threadsafe",
    "implementation",
    "install",
    "join_lines",
    "limit_logs",
    "serve",
    "uninstall",
]


_ELSEWHERE = {
    "Attachment": "attachment",
    "ChannelStats": "server",
    "LineBuffer": "_core.lines",
    "LineChannel": "channel",
    "LineTooLong": "_core.line_rules",
    "Reply": "_core.line_rules",
    "Server": "server",
    "ServerStats": "server",
    "Timer": "timers",
    "attach": "attachment",
    "call_every": "timers",
    "call_later": "timers",
    "call_threadsafe": "timers",
    "install": "aliases",
    "join_lines": "_core.lines",
    "limit_logs": "_reports",
    "serve": "server",
    "uninstall": "aliases",
}


if not TYPE_CHECKING:  # which would take any name for one of the package

    def __getattr__(name: str) -> object:
        # Most programs import the modules by their own names, and need none of these.
        module = _ELSEWHERE.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(importlib.import_module(f"fastchat.{module}"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
