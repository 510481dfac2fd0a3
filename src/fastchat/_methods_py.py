"""The methods of channels through which every byte goes, where the core runs as it is.

``_methods_c.py`` has the same where it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastchat._core import facts, incoming, outgoing
from fastchat._core.shown import CHATS, DISPATCHERS, dress


def locked(function: Callable[..., Any]) -> Callable[..., Any]:
    """*function* as it is: what it uses of a state any thread may use at any time."""
    return function


METHODS: dict[str, Any] = {
    name: getattr(incoming, name, None) or getattr(outgoing, name) for name in DISPATCHERS + CHATS
}
for _method in METHODS.values():
    dress(_method)
facts.set_stock(METHODS)
globals().update(METHODS)
