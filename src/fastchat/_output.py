"""Bytes on their way out: what ``dispatcher_with_send`` queues.

The rule: the work is linear in the bytes, however small the pieces that are appended and however
little is taken at a time.
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
        if len(data):
            self._pieces.append(data)
            self._size += len(data)

    def head(self, size: int) -> bytes:
        """The first *size* bytes, or all where there are fewer."""
        pieces = self._pieces
        if not pieces:
            return b""
        if len(pieces[0]) - self._offset < size and len(pieces) > 1:
            # Each byte is copied here once: what is gathered is as long as what is sent.
            gathered = [pieces.popleft()[self._offset :]]
            length = len(gathered[0])
            while pieces and length < size:
                gathered.append(pieces.popleft())
                length += len(gathered[-1])
            pieces.appendleft(b"".join(gathered))
            self._offset = 0
        return pieces[0][self._offset : self._offset + size]

    def drop(self, count: int) -> None:
        """Forget the first *count* bytes, at most those that ``head`` returned."""
        count = min(count, self._size)
        self._offset += count
        self._size -= count
        if self._pieces and self._offset >= len(self._pieces[0]):
            self._pieces.popleft()
            self._offset = 0

    def joined(self) -> bytes:
        """All of it as one object."""
        return self.head(self._size)
