"""The names under which a transport calls a protocol: as attributes of the object.

Rules this file keeps:

* What a program would lose by assigning to one is told, and not done in silence.
* They are set whatever ``__setattr__`` the class has, such as a frozen dataclass's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Methods: TypeAlias = dict[str, Callable[..., Any]]

# What a transport may call no more once the connection is lost.
_ONCE = ("connection_lost", "eof_received", "pause_writing", "resume_writing")


def set_names(protocol: Any, methods: Methods) -> None:
    """Let a transport find *methods*, by their names, on *protocol*."""
    for name, method in methods.items():
        object.__setattr__(protocol, name, method)  # vars() would make each look-up slower


def check_names(protocol: Any, methods: Methods) -> None:
    """Raise TypeError where one of *methods* is no longer what a transport finds."""
    for name, method in methods.items():
        if getattr(protocol, name) != method:
            raise TypeError(
                f"{name} of the object is what the transport calls, and was assigned to: "
                "define the hook in the class"
            )


def forget_names(protocol: Any) -> None:
    """The connection is lost, and a transport has no more to tell *protocol*."""
    set_names(protocol, dict.fromkeys(_ONCE, _nothing))


def _nothing(*arguments: object) -> None:
    """What a transport finds that calls a protocol whose connection is lost."""
