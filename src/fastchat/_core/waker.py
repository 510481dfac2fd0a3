"""What ends the wait of a loop: a pipe that any thread, and any signal handler, can write into."""

from __future__ import annotations

import errno
import os

from fastchat._core.pollers import is_ours


class Waker:
    """A pipe that becomes readable when ``set`` is called, from any thread or handler.

    A program may close the descriptors with all that it did not open, and their numbers may be
    another file's then: so each is looked at before it is used.  Raises OSError where there is no
    descriptor left, or no pipe that can be waited for (Windows).
    """

    # Of no file, for the case that the thread is interrupted while it makes one.
    _ends: tuple[int, ...] = ()
    _file: tuple[int, int] | None = (-1, -1)

    def __init__(self) -> None:
        if os.name != "posix":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._ends = os.pipe()
        self._file = _file_of(self._ends[0])
        for end in self._ends:
            os.set_blocking(end, False)

    def fileno(self) -> int:
        """What to wait for."""
        return self._ends[0]

    def set(self) -> bool:
        """Make it readable; returns False where a program has closed it."""
        if [_file_of(end) for end in self._ends] != [self._file] * 2:
            return False
        try:
            os.write(self._ends[1], b"!")
        except BlockingIOError as failure:
            if not is_ours(failure):
                raise
            # It is readable, and nobody has looked for long.
        return True

    def clear(self) -> None:
        """Make it readable no more."""
        if _file_of(self._ends[0]) == self._file:
            try:
                os.read(self._ends[0], _WAKES)
            except BlockingIOError as failure:
                if not is_ours(failure):
                    raise

    def __del__(self) -> None:
        # Not before nobody uses it: another thread may be in the middle of ``set``.
        for end in self._ends:
            if _file_of(end) == self._file:
                os.close(end)


# How much is read at once, more than a pipe has room for.
_WAKES = 1 << 20


def _file_of(fd: int) -> tuple[int, int] | None:
    """Which file has the number *fd* now, or None."""
    try:
        status = os.fstat(fd)
    except OSError as failure:
        if not is_ours(failure):
            raise
        return None
    return status.st_dev, status.st_ino
