"""System calls on raw descriptors, for the core where it is not compiled.

The twin of ``_sysio.pyx``.  That waits by itself, too, where here a poller does; and receives from
and sends to a plain socket, where here the methods of the socket do: ``recv``, and ``send``.
"""

from __future__ import annotations

from fastchat._core.pollers import READ, without_a_set


def is_readable(fd: int) -> bool:
    """Whether there is input on *fd* at this moment; false where it is closed."""
    one = without_a_set()
    one.register(fd, READ)
    return one.wait(0) == [(fd, READ)]
