"""Bytes on their way out: what ``dispatcher_with_send`` queues.

Rules this file keeps:

* The work is linear in the bytes, however small the pieces that are appended and however little is
  taken at a time.
* An exception of a signal handler, which may leave behind any call, leaves the bytes in order.
"""

from __future__ import annotations

from collections import deque
from typing import Any


class Output:
    """Bytes to be sent: appended in pieces, taken from the front, joined no more than needed."""

    __slots__ = ("_offset", "_pieces", "_size")

    def __init__(self, data: bytes) -> None:
        self._pieces: deque[bytes] = deque([data] if len(data) else ())
        self._offset = 0  # how much of the first piece is gone
        self._size = len(data)

    def __len__(self) -> int:
        return self._size

    def append(self, data: Any) -> None:
        """Add *data*, anything bytes-like, behind the rest; raises TypeError where it is not."""
        if type(data) is not bytes:
            data = b"" + data  # a copy, for it may be changed later
        size = len(data)
        if size:
            self._size += size
            self._pieces.append(data)

    def head(self, size: int) -> bytes:
        """The first *size* bytes, or all where there are fewer."""
        pieces = self._pieces
        if not pieces:
            return b""
        if len(pieces[0]) - self._offset < size and len(pieces) > 1:
            # Each byte is copied here once: what is gathered is as long as what is sent.
            gathered: list[bytes] = []
            length = -self._offset
            try:
                # Where "while" has a condition, CPython 3.12 and later leave the jump back to it
                # out of what "try" covers.
                while True:
                    if not pieces or length >= size:
                        break
                    piece = pieces[0]
                    del pieces[0]
                    gathered.append(piece)
                    length += len(piece)
                joined = b"".join([piece[self._offset :] for piece in gathered[:1]] + gathered[1:])
            except BaseException:
                pieces.extendleft(reversed(gathered))
                raise
            self._offset = 0
            pieces.appendleft(joined)
        # None is left where a handler has made a pass, which sent it.
        return pieces[0][self._offset : self._offset + size] if pieces else b""

    def drop(self, count: int) -> None:
        """Forget the first *count* bytes, at most those that ``head`` returned."""
        pieces = self._pieces
        head = pieces[0] if pieces else b""
        size = len(head)
        count = min(count, self._size)
        # From here on nothing is called until all is done.
        if not pieces or pieces[0] is not head:
            return  # a handler has made a pass, which has sent it
        self._size -= count
        self._offset += count
        if self._offset >= size:
            self._offset = 0
            del pieces[0]

    def joined(self) -> bytes:
        """All of it as one object."""
        return self.head(self._size)
