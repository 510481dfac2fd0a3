"""What ends the process, or makes it wait for another one, from inside a hook.

Output that a channel holds at that moment would be lost, or late.  So it is sent first, where what
happens can be seen: by an audit hook (PEP 578), an exit function, or, for functions that raise no
audit event, a function in their place.  All of that is set up when output is held for the first
time, so that a program which holds none has nothing of it.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

# Audit events of what ends the process, replaces it, or waits.
EVENTS = frozenset(
    {
        "_posixsubprocess.fork_exec",
        "builtins.input",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.kill",
        "os.killpg",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.system",
        "signal.pthread_kill",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "subprocess.Popen",
        "time.sleep",
    }
)

# Functions of os that raise no audit event: those that end the process at once, and elsewhere than
# on CPython some more.
_ENDS = ("_exit", "abort")
_SILENT_ELSEWHERE = (
    "execv",
    "execve",
    "kill",
    "killpg",
    "posix_spawn",
    "posix_spawnp",
    "system",
)

# What sends all that is held, for each implementation in this process, one as a rule.
_flushes: list[Callable[[], None]] = []


def watch(flush: Callable[[], None]) -> None:
    """From now on call *flush*, which sends all that is held, before anything of that kind."""
    if flush in _flushes:
        return
    if not _flushes:
        _set_up()
    _flushes.append(flush)


def _set_up() -> None:
    sys.addaudithook(_on_event)
    atexit.register(_flush)
    names = _ENDS if sys.implementation.name == "cpython" else _ENDS + _SILENT_ELSEWHERE
    for name in names:
        if hasattr(os, name):  # pragma: no branch (Windows has not all of them)
            setattr(os, name, _flushing_first(getattr(os, name)))


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    if event in EVENTS:
        _flush()


def _flush() -> None:
    for flush in _flushes:
        flush()


def _flushing_first(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def flush_first(*args: Any, **keywords: Any) -> Any:
        try:
            _flush()
        except BaseException:
            # As from an audit hook, unless nobody is left to hear of it.
            if function.__name__ not in _ENDS:
                raise
        return function(*args, **keywords)

    return flush_first
