"""System calls on raw descriptors, for the core where it is not compiled.

The twin of ``_sysio.pyx``, which waits by itself, too; here a poller does.
"""

from __future__ import annotations

from fastchat._core.pollers import READ, without_a_set


def is_readable(fd: int) -> bool:
    """Whether there is input on *fd* at this moment; false where it is closed."""
    one = without_a_set()
    one.register(fd, READ)
    return one.wait(0) == [(fd, READ)]
