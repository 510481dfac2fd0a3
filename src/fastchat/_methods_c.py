"""The methods of channels through which every byte goes, as programs see them.

What a program finds on the classes must pass for a function of Python, for ``inspect``, ``mock``
and whoever looks.  So each method is an object of the extension (``_method.pyx``) that shows a
function from here, and calls it where a call is none that compiled code takes: with keywords, or
with a wrong number of arguments.  The function then calls the method in the plain way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastchat import _method
from fastchat._core import facts, incoming, outgoing
from fastchat._core.shown import CHATS, DISPATCHERS, dress


def handle_read_event(self: Any) -> Any:
    return METHODS["handle_read_event"](self)


def handle_write_event(self: Any) -> Any:
    return METHODS["handle_write_event"](self)


def handle_read(self: Any) -> Any:
    return METHODS["handle_read"](self)


def handle_write(self: Any) -> Any:
    return METHODS["handle_write"](self)


def get_terminator(self: Any) -> Any:
    return METHODS["get_terminator"](self)


def readable(self: Any) -> Any:
    return METHODS["readable"](self)


def writable(self: Any) -> Any:
    return METHODS["writable"](self)


def initiate_send(self: Any) -> Any:
    return METHODS["initiate_send"](self)


def recv(self: Any, buffer_size: Any) -> Any:
    return METHODS["recv"](self, buffer_size)


def send(self: Any, data: Any) -> Any:
    return METHODS["send"](self, data)


def push(self: Any, data: Any) -> Any:
    return METHODS["push"](self, data)


# The core knows without a look-up whether an object has one of these as its own.
GUARDS = ("send", "initiate_send", "get_terminator")


def let_guard() -> None:
    """Let those methods be guards, as long as nobody assigns to them on an object."""
    for name in GUARDS:
        _method.let_guard(METHODS[name])


def _functions() -> dict[str, Callable[..., Any]]:
    """The functions above, by name, as they are to be seen."""
    functions = {name: globals()[name] for name in DISPATCHERS + CHATS}
    for name, function in functions.items():
        function.__doc__ = (vars(incoming).get(name) or vars(outgoing)[name]).__doc__
        dress(function)
    return functions


locked = _method.locked

METHODS = _method.make_methods(
    _functions(), vars(incoming)["__pyx_capi__"] | vars(outgoing)["__pyx_capi__"]
)
let_guard()
facts.set_stock(METHODS)
globals().update(METHODS)
