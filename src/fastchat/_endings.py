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

# Audit events of what ends or replaces the process, or starts another: all that is held is sent.
ENDS = frozenset(
    {
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
        "subprocess.Popen",
    }
)

# Of what makes a thread wait: only what this thread holds is sent, for to send may close a channel.
WAITS = frozenset(
    {
        "builtins.input",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "time.sleep",
    }
)

# Functions of os that raise no audit event: those that end the process at once, and elsewhere than
# on CPython some more.
_SILENT = ("_exit", "abort")
_SILENT_ELSEWHERE = (
    "execv",
    "execve",
    "kill",
    "killpg",
    "posix_spawn",
    "posix_spawnp",
    "system",
)

# What sends all that is held, and what sends only what the calling thread holds: for each
# implementation in this process, one as a rule.
_flushes: list[tuple[Callable[[], None], Callable[[], None]]] = []


def watch(flush_all_threads: Callable[[], None], flush_own: Callable[[], None]) -> None:
    """From now on send what is held before anything of that kind.

    *flush_all_threads* sends all of it, *flush_own* what the calling thread holds.
    """
    flushes = flush_all_threads, flush_own
    if flushes in _flushes:
        return
    if not _flushes:
        _set_up()
    _flushes.append(flushes)


def _set_up() -> None:
    sys.addaudithook(_on_event)
    atexit.register(_flush)
    names = _SILENT if sys.implementation.name == "cpython" else _SILENT + _SILENT_ELSEWHERE
    for name in names:
        if hasattr(os, name):  # pragma: no branch (Windows has not all of them)
            setattr(os, name, _flushing_first(getattr(os, name)))


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    if event in ENDS:
        _flush()
    elif event in WAITS:
        for _, flush_own in _flushes:
            flush_own()


def _flush() -> None:
    for flush_all_threads, _ in _flushes:
        flush_all_threads()


def _flushing_first(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def flush_first(*args: Any, **keywords: Any) -> Any:
        try:
            _flush()
        except BaseException:
            # As from an audit hook, unless nobody is left to hear of it.
            if function.__name__ not in _SILENT:
                raise
        return function(*args, **keywords)

    return flush_first
