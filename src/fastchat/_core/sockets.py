"""What a socket is, found out without running code of the program's."""

from __future__ import annotations

import socket as _socket_module
from _socket import socket as raw_socket
from socket import SOCK_STREAM
from typing import Any

# The type of a socket, as the number that it is: the attribute makes an enum of it, in 700 ns.
type_of = raw_socket.type.__get__
raw_send = raw_socket.send


def is_plain_stream(sock: Any) -> bool:
    """Whether *sock* is a stream of the system's own, of which nobody can tell one send from two.

    What only looks like a socket, as that of gevent, a mock or that of a test, may look at what it
    is given one by one; TLS makes a record of each.
    """
    kind = type(sock)  # not isinstance(): mocks say that they are instances
    return (
        issubclass(kind, raw_socket)
        and kind.__getattribute__ is raw_socket.__getattribute__
        and has_raw_send(sock)
        and type_of(sock) == SOCK_STREAM
    )


def has_raw_send(sock: Any) -> bool:
    """Whether the ``send`` of *sock*, whatever that is, is the system's own."""
    kind: Any = type(sock)
    return getattr(kind, "send", None) is raw_send and "send" not in getattr(sock, "__dict__", ())


def standard_class() -> Any:
    """``socket.socket``, where that is the class which its module has defined; else None.

    By the time of the import a class of gevent's may be there, one of the program's, a function, or
    a mock.  Nothing is assumed of what these have, or of what their objects are.
    """
    found = _socket_module.socket
    is_standard = (
        type(found) is type
        and found.__bases__ == (raw_socket,)
        and all(
            getattr(getattr(found, name), "__globals__", None) is vars(_socket_module)
            for name in ("__init__", "accept")
        )
    )
    return found if is_standard else None
