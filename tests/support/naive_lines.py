"""The oracle of LineBuffer: all input in one bytes object, looked at anew from its beginning."""

from __future__ import annotations

from tests.support import naive

UNLIMITED = 10**9


class TooLong(Exception):
    """A line is over-long: the lines before it, its first bytes, its bytes, and those behind it."""

    def __init__(self, lines: list[bytes], prefix: bytes, size: int, waiting: int) -> None:
        self.lines, self.prefix, self.size, self.waiting = lines, prefix, size, waiting


class NaiveBuffer:
    """What LineBuffer should do."""

    def __init__(
        self, delimiters: tuple[bytes, ...], max_line: int, overflow: str, keepends: bool = False
    ) -> None:
        self.delimiters, self.max_line, self.overflow = delimiters, max_line, overflow
        self.keepends = keepends
        self.data = b""
        self.dropped = 0
        self.is_skipping = False

    def feed(self, data: bytes, most: int = UNLIMITED) -> list[bytes]:
        self.data += data
        lines: list[bytes] = []
        if self.is_skipping:
            self.skip(*self.find())
        while len(lines) < most:
            found, size, behind = self.find()
            if not self.is_skipping and size > self.max_line:
                if self.overflow == "split":
                    lines.append(self.cut(self.max_line))
                    continue
                prefix = self.cut(behind)[:size]
                self.dropped += size
                self.is_skipping = not found
                if self.overflow == "raise":
                    raise TooLong(lines, prefix, size, len(self.data) if found else 0)
            elif self.is_skipping:
                self.skip(found, size, behind)
            elif found:
                lines.append(self.cut(behind)[: behind if self.keepends else size])
            if not found:
                break
        return lines

    def find(self) -> tuple[bool, int, int]:
        """Whether a line ends, its bytes as far as they are certain, and how many that takes."""
        found = naive.find_first(self.data, self.delimiters)
        if found is not None:
            return True, found[0], found[0] + len(found[1])
        held = max(naive.prefix_at_end(self.data, each) for each in self.delimiters)
        return False, len(self.data) - held, len(self.data) - held

    def skip(self, found: bool, size: int, behind: int) -> None:
        self.cut(behind)
        self.dropped += size
        self.is_skipping = not found

    def cut(self, size: int) -> bytes:
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    def feed_eof(self) -> bytes | None:
        line = self.cut(len(self.data))
        if self.is_skipping or (len(line) > self.max_line and self.overflow != "split"):
            self.dropped += len(line)
            if not self.is_skipping and self.overflow == "raise":
                raise TooLong([], line, len(line), 0)
            return None
        return line or None

    def take(self, n: int) -> bytes | None:
        return None if self.is_skipping or n > len(self.data) else self.cut(n)

    def rest(self) -> bytes:
        if self.is_skipping:  # what was held back of the line that is dropped
            self.dropped += len(self.cut(len(self.data)))
            self.is_skipping = False
        return self.cut(len(self.data))

    def set(self, delimiters: tuple[bytes, ...], max_line: int) -> None:
        self.delimiters, self.max_line = delimiters, max_line
        if self.is_skipping:
            self.skip(*self.find())

    def clear(self) -> None:
        self.data, self.is_skipping = b"", False
