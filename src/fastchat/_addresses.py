"""Addresses to listen on, as a program writes them: what they mean, and how they are shown.

An address is ``"host:port"``, ``"[IPv6]:port"``, ``":port"`` (all of IPv4 and IPv6),
``"unix:/path"``, ``"systemd"``, or a socket.  What stands here touches no network: see
``_binding.py``.
"""

from __future__ import annotations

import re
import socket
from typing import Any, NamedTuple

_FORMS = "it must be host:port, [IPv6]:port, :port, unix:/path, systemd or a socket"


class Place(NamedTuple):
    """Where to listen: exactly one of the four."""

    text: str  # as it was given
    port: int | None = None  # with the host, "" for all addresses of the machine
    host: str = ""
    path: str = ""
    sock: Any = None
    is_systemd: bool = False


def understood(what: Any) -> Place:
    """The place that *what* means.

    Raises TypeError where it is no str and no socket, ValueError where a str means nothing.
    """
    if isinstance(what, socket.socket):
        if what.type != socket.SOCK_STREAM:
            raise ValueError(f"cannot listen on {what!r}: it must be a stream socket")
        return Place(repr(what), sock=what)
    if not isinstance(what, str):
        raise TypeError(f"cannot listen on {what!r}: {_FORMS}")
    if what == "systemd":
        return Place(what, is_systemd=True)
    if what.startswith("unix:"):
        path = what.removeprefix("unix:")
        if not path or "\0" in path:
            raise ValueError(f"cannot listen on {what!r}: unix: is followed by a path")
        return Place(what, path=path)
    found = re.fullmatch(r"(\[[^\[\]\s]+\]|[^\[\]\s]*):([0-9]{1,5})", what, re.ASCII)
    if found is None:
        raise ValueError(f"cannot listen on {what!r}: {_FORMS}")
    host, port = found[1], int(found[2])
    if port > 65535:
        raise ValueError(f"cannot listen on {what!r}: a port is a number from 0 to 65535")
    if host.startswith("["):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError(f"cannot listen on {what!r}: only IPv6 addresses stand in brackets")
    elif ":" in host:
        raise ValueError(f"cannot listen on {what!r}: IPv6 addresses stand in brackets, [::1]:80")
    return Place(what, port, "" if host == "*" else host)


def shown(sock: socket.socket) -> str:
    """The address that *sock* listens on, in a form that ``understood`` takes, if it has one."""
    address: Any = sock.getsockname()
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"unix:{address}" if isinstance(address, str) else repr(address)
