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

from fastchat._core.sockets import standard_class, type_of

_Socket: Any = standard_class()
_family_of: Any = _raw.family.__get__
# What it had at the import, to see that it has it still; a socket of None there is none.
_accept: Any = getattr(_Socket, "accept", None)
_init: Any = getattr(_Socket, "__init__", None)


def accept(sock: Any) -> Any:
    """What ``sock.accept()`` returns; raises what it raises."""
    if (
        type(sock) is not _Socket
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
