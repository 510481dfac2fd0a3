"""The bytes of a download, in the pieces in which every engine sends them.

Pieces of 64 KiB that count up, each from another beginning, so that one that is lost, repeated or
out of its place is noticed.  They are made once: producing costs nothing, sending is what is
measured.
"""

from __future__ import annotations

SIZE = 65536
PIECES = [(bytes(range(256)) * (SIZE // 256 + 1))[31 * i % 256 :][:SIZE] for i in range(16)]


class Producer:
    """Gives *size* bytes, piece by piece: ``more()``, as asynchat's producers have it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.produced = 0

    def more(self) -> bytes:
        """The next piece; nothing at the end."""
        piece = PIECES[self.produced // SIZE % len(PIECES)]
        if self.size - self.produced < SIZE:
            piece = piece[: self.size - self.produced]
        self.produced += len(piece)
        return piece
