"""The methods of channels through which every byte goes, as programs see them.

What a program finds on the classes must pass for a function of Python, for ``inspect``, ``mock``
and whoever looks.  So each method is an object of the extension (``_methods.pxi``) that shows a
function from here, and calls it where a call is none that compiled code takes: with keywords, or
with a wrong number of arguments.  The function then calls the method in the plain way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastchat import _channel_py, _scanner

own_state = _scanner.own_state
begin = _scanner.begin
get_socket = _scanner.get_socket
get_fifo = _scanner.get_fifo
set_socket = _scanner.set_socket
drop_input = _scanner.drop_input
flush = _scanner.flush
flush_all = _scanner.flush_all
flush_everything = _scanner.flush_everything
leave_to_the_parent = _scanner.leave_to_the_parent
enqueue = _scanner.enqueue


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


def _functions() -> dict[str, Callable[..., Any]]:
    """The functions above, by name, as they are to be seen."""
    functions = {name: globals()[name] for name in _channel_py.DISPATCHERS + _channel_py.CHATS}
    for name, function in functions.items():
        function.__doc__ = getattr(_channel_py, name).__doc__
        _channel_py.dress(function)
    return functions


METHODS = _scanner.make_methods(_functions())
globals().update(METHODS)
