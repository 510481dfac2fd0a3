"""The methods of channels through which every byte goes, as functions of Python over compiled code.

What a program finds on the classes must be functions of Python, for ``inspect``, for ``mock`` and
for whoever looks.  These are, and do nothing but call the compiled function of the same name; the
extension makes calls that come from C go there at once.
"""

from __future__ import annotations

from typing import Any

from fastchat import _channel_py, _scanner

_push = _scanner.push  # called from Python, once for each line
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
    return _scanner.handle_read_event(self)


def handle_write_event(self: Any) -> Any:
    return _scanner.handle_write_event(self)


def handle_read(self: Any) -> Any:
    return _scanner.handle_read(self)


def handle_write(self: Any) -> Any:
    return _scanner.handle_write(self)


def get_terminator(self: Any) -> Any:
    return _scanner.get_terminator(self)


def readable(self: Any) -> Any:
    return _scanner.readable(self)


def writable(self: Any) -> Any:
    return _scanner.writable(self)


def initiate_send(self: Any) -> Any:
    return _scanner.initiate_send(self)


def recv(self: Any, buffer_size: Any) -> Any:
    return _scanner.recv(self, buffer_size)


def send(self: Any, data: Any) -> Any:
    return _scanner.send(self, data)


def push(self: Any, data: Any) -> Any:
    return _push(self, data)


METHODS = {name: globals()[name] for name in _channel_py.DISPATCHERS + _channel_py.CHATS}
for _name, _method in METHODS.items():
    _method.__doc__ = getattr(_channel_py, _name).__doc__
    _channel_py.dress(_method)
_scanner.adopt(METHODS)
