"""Arguments that a server is given, and that belong elsewhere.

All others that it does not have are left to Python, which names them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fastchat._core.line_limits import LIMITS

P = ParamSpec("P")
T = TypeVar("T")


def explains_names(function: Callable[P, T]) -> Callable[P, T]:
    """Let *function*, which makes a server, say where such an argument belongs."""

    @functools.wraps(function)
    def checked(*arguments: P.args, **options: P.kwargs) -> T:
        for name in options:
            if name in LIMITS:
                raise TypeError(
                    f"{name} is a limit of each connection, and no argument of a server: make it "
                    "an attribute of the channel's class"
                )
            if name in ("bind", "host", "port", "address"):
                raise TypeError(
                    f"{name} is no argument of a server: addresses come behind the class, without "
                    "a keyword, such as '127.0.0.1:8888'"
                )
        return function(*arguments, **options)

    return checked
