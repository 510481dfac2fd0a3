"""Channels that scenarios need beside the echo of the command line."""

from __future__ import annotations

from fastchat import LineChannel

PIECE = 65536


class Patient(LineChannel):
    """Answers each line with itself, and drops one that is too long instead of closing."""

    def lines_received(self, lines: list[bytes]) -> list[bytes]:
        return lines

    def line_too_long(self, prefix: bytes, size: int) -> None:
        pass


class Feed(LineChannel):
    """Sends as many pieces of 64 KiB as a line asks for by a number, and looks at no answer.

    ``N`` are sent at once, ``N slowly`` one every few milliseconds; any other line is echoed.
    """

    def line_received(self, line: bytes) -> bytes | None:
        number, _, how = line.partition(b" ")
        if not number.isdigit():
            return line
        if how:
            self.more(int(number))
        else:
            for left in range(int(number)):
                self.send(b"%*d" % (PIECE, left))  # each is an object of its own
        return None

    def more(self, left: int) -> None:
        self.send(b"%*d" % (PIECE, left))
        if left > 1:
            self.call_later(0.003, self.more, left - 1)
