"""Taking a connection from a listening socket.

``socket.accept()`` makes enums of three numbers, only to turn them into numbers again for the new
socket: 0.85 us of the 30 us that ``python -m bench serve --workload churn`` shows for a connection.
What is done instead is the same for all who can look, and is done only for a socket of exactly the
standard class, as the interpreter has it; whatever replaces one of its parts is called as ever.
"""

from __future__ import annotations

import socket as _module
from _socket import socket as _raw
from typing import Any

from fastchat._channel_py import type_of

_Socket: Any = _module.socket
_family_of: Any = _raw.family.__get__
_accept: Any = None
_init: Any = None
_is_standard = False
# Anything may be there by now: a class of gevent's, a function, a mock.
_is_socket = isinstance(_Socket, type) and issubclass(_Socket, _raw)
if _is_socket:
    _accept = _Socket.accept
    _init = _Socket.__init__
    _is_standard = getattr(_accept, "__globals__", None) is vars(_module)


def accept(sock: Any) -> Any:
    """What ``sock.accept()`` returns; raises what it raises."""
    if (
        not _is_standard
        or type(sock) is not _Socket
        or _module.socket is not _Socket
        or _Socket.accept is not _accept
        or _Socket.__init__ is not _init
    ):
        return sock.accept()
    fd, address = sock._accept()
    made = _Socket(_family_of(sock), type_of(sock), sock.proto, fileno=fd)
    if sock.gettimeout() and _module.getdefaulttimeout() is None:
        made.setblocking(True)  # some systems let it inherit that it is not
    return made, address
