# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""Lines from bytes that come in pieces: bounded, exact, and no input or output of its own.

Rules this file keeps:

* The lines do not depend on how the input was split.  A line ends at the match of a delimiter that
  ends first; of those that end at one byte the longest counts.  Nothing waits for a byte that may
  never come: with ``(b"\\r", b"\\r\\n")`` a CR ends the line, and the LF behind it the next one,
  which is empty.
* ``max_line`` bounds each line, without its delimiter, and never a read that holds many.  Bytes at
  the end of the input that may begin a delimiter are not counted before it is known.
* What was cut off from an over-long line is never joined to what follows its delimiter.
* Work is linear in the bytes.  The begun line is a bytearray, and each byte of it is searched once.
  Only where an over-long line is split for a *most* is what waits of it searched once a call.
* A call that raises what it is said to raise leaves a buffer that goes on, and has lost nothing but
  what it says.
* ``cut_lines`` and its kind, in the scanner, have no state; all the rest is here.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from fastchat._scanner_py import check_terminators

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal, TypeAlias

    import cython

    # What is bytes-like, as far as its type says so.
    _Data: TypeAlias = bytes | bytearray | memoryview
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._scanner_py import (
        cut_lines,
        cut_lines_of_several,
        find_first_terminator,
        find_terminator,
        held_back,
        join_begun,
        join_checked,
    )

# How many bytes of an over-long line its exception shows.
PREFIX = 1024
# What ``get_buffer`` gives where it is asked for nothing else, in bytes, and at most.
ROOM = 65536
MOST_ROOM = 1 << 20
# Of how many bytes on a piece of input waits as its own object, which has some 40 bytes besides.
SMALL = 512
UNLIMITED = sys.maxsize

RAISE, DISCARD, SPLIT = 0, 1, 2
_MODES = {"raise": RAISE, "discard": DISCARD, "split": SPLIT}


class LineTooLong(ValueError):
    """A line is longer than ``max_line`` allows.

    ``lines`` are the lines that stand before it in what was fed, ``prefix`` its first bytes (1,024
    at most), ``size`` the bytes of it that were seen so far, ``limit`` what ``max_line`` was.
    """

    def __init__(self, lines: list[bytes], prefix: bytes, size: int, limit: int) -> None:
        super().__init__(lines, prefix, size, limit)
        self.lines = lines
        self.prefix = prefix
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"a line has {self.size} bytes or more, and max_line is {self.limit}: raise max_line, "
            f"or let overflow be 'discard' or 'split'; the line begins {self.prefix[:40]!r}"
        )


class LineBuffer:
    """Cuts bytes into lines.

    *delimiter* is what ends a line: bytes, or a tuple of bytes, of which the match that ends first
    counts.  A line has at most *max_line* bytes, the delimiter not counted.  With *keepends* a line
    has its delimiter.  *overflow* says what becomes of a longer line: ``"raise"`` raises
    LineTooLong, once, and drops it; ``"discard"`` drops it; ``"split"`` makes it lines of
    *max_line* bytes and a last one of what is left.

    Raises TypeError where *delimiter* is no bytes and no tuple of bytes, or *max_line* no int;
    ValueError where a delimiter is empty or there twice, *max_line* is less than 1, or *overflow*
    none of the three.

    A buffer belongs to one thread at a time.  Two that feed it at once crash nothing, and get lines
    that are no lines.
    """

    if not cython.compiled:
        __slots__ = (
            "__weakref__",
            "_ahead",
            "_ahead_at",
            "_ahead_size",
            "_begun",
            "_held",
            "_is_over",
            "_is_skipping",
            "_keepends",
            "_longest",
            "_longest_delimiter",
            "_mode",
            "_room",
            "_several",
            "_single",
            "dropped",
        )

    def __init__(
        self,
        delimiter: bytes | tuple[bytes, ...] = b"\n",
        *,
        max_line: int = 16 * 2**20,
        keepends: bool = False,
        overflow: Literal["raise", "discard", "split"] = "raise",
    ) -> None:
        if overflow not in _MODES:
            raise ValueError(f"overflow is {overflow!r}; it can be 'raise', 'discard' or 'split'")
        # What is not known yet, for the setters below.
        self._begun = bytearray()
        self._held = b""
        self._ahead: Any = None
        self._ahead_at = self._ahead_size = 0
        self._is_skipping = self._is_over = False
        self._room: Any = None
        self.dropped: int = 0
        self._mode = _MODES[overflow]
        self._keepends = bool(keepends)
        self.delimiter = delimiter
        self.max_line = max_line

    # Settings.

    @property
    def delimiter(self) -> bytes | tuple[bytes, ...]:
        """What ends a line.  A new one counts from the begun line on, which is searched anew."""
        with cython.critical_section(self):
            return self._several if self._single is None else self._single

    @delimiter.setter
    def delimiter(self, delimiter: bytes | tuple[bytes, ...]) -> None:
        single, several = _checked(delimiter)
        with cython.critical_section(self):
            begun = bytes(self._begun)
            self._begin()
            self._single, self._several = single, several
            self._longest_delimiter = max([len(each) for each in several])
            if self._is_skipping:
                self._skip(begun, 0)
            else:
                self._put_back(begun, 0)

    @property
    def max_line(self) -> int:
        """The most bytes that a line may have, its delimiter not counted."""
        return self._longest

    @max_line.setter
    def max_line(self, max_line: int) -> None:
        if not _is_number(max_line):
            raise TypeError(f"max_line must be an int, not {type(max_line).__name__}")
        if max_line < 1:
            raise ValueError(f"max_line must be at least 1, but is {max_line}")
        self._longest = min(max_line, UNLIMITED)

    # Input.

    def feed(self, data: _Data, most: int | None = None) -> list[bytes]:
        """Take *data*, bytes or the like, and return the lines that are complete.

        At most *most* lines, where it is given: the others wait, and come with the next call, which
        may be ``feed(b"")``; ``feed(data, 0)`` adds to what waits for ``take()``.  A line whose
        delimiter is still to come waits, too.

        Raises LineTooLong (see there) for an over-long line, once; what was fed behind it comes
        with the next call.  Raises TypeError where *data* is not bytes-like or *most* no int, and
        ValueError where *most* is negative, or after ``feed_eof()``; nothing is taken then.
        """
        if type(data) is not bytes:
            data = _bytes_of(data)
        if self._is_over:
            raise ValueError("feed() after feed_eof(): clear() makes the buffer a new one")
        count = UNLIMITED if most is None else _count_of(most)
        lines: list[bytes] = []
        with cython.critical_section(self):
            if self._is_skipping:
                self._skip(data, 0)
            elif count and not self._ahead_size:
                self._take(data, 0, lines, count)
                return lines
            elif data:
                self._put_behind(data)
            self._take_ahead(lines, count)
        return lines

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where the next input can be written to, as ``asyncio.BufferedProtocol`` wants it.

        It has 65,536 bytes, or *sizehint* where that is more, up to 1 MiB, which the buffer keeps
        until ``clear()``.
        """
        wanted = min(max(sizehint, ROOM), MOST_ROOM)
        with cython.critical_section(self):
            if self._room is None or len(self._room) < wanted:
                self._room = bytearray(wanted)
            return memoryview(self._room)  # a new one each time: who has it may release it

    def buffer_updated(self, nbytes: int) -> list[bytes]:
        """Take the first *nbytes* of what ``get_buffer()`` gave, as ``feed()`` does.

        Raises what that raises, and ValueError where there are not so many.
        """
        with cython.critical_section(self):
            room = self._room
        have = 0 if room is None else len(room)
        if room is None or not 0 <= nbytes <= have:
            raise ValueError(f"get_buffer() gave {have} bytes, of which {nbytes} cannot be filled")
        return self.feed(bytes(memoryview(room)[:nbytes]))

    def feed_eof(self) -> bytes | None:
        """The input has ended: return the line that has no delimiter, None where there is none.

        Raises ValueError where input waits that was not cut yet, because ``feed()`` has raised or
        got a *most*, or because ``take()`` or a new delimiter came behind it: ``feed(b"")`` cuts
        it.  Raises LineTooLong where the last bytes, which might have begun a delimiter, make the
        line too long; it is dropped then, as with ``"discard"``, and with ``"split"`` returned
        whole.
        """
        with cython.critical_section(self):
            if self._ahead_size:
                size = self._ahead_size
                raise ValueError(f"{size} bytes were not cut yet: call feed(b'') before")
            self._is_over = True
            line = bytes(self._begun)
            self._begin()
            is_too_long = len(line) > self._longest and self._mode != SPLIT
            if not (self._is_skipping or is_too_long):
                return line or None
            self.dropped += len(line)
            if is_too_long and not self._is_skipping and self._mode == RAISE:
                raise LineTooLong([], line[:PREFIX], len(line), self._longest)
            self._is_skipping = False
            return None

    # Input that is no line.

    def take(self, n: int) -> bytes | None:
        """The next *n* bytes as they came, once that many wait; None, and nothing taken, before.

        For a body whose length a line has told: ``feed(data, 1)`` leaves it waiting, and
        ``feed(data, 0)`` adds to it.  While an over-long line is dropped, up to its delimiter, it
        is None.  Raises TypeError unless *n* is an int, ValueError where it is negative.
        """
        if not _is_number(n):
            raise TypeError(f"take() wants an int, not {type(n).__name__}")
        if n < 0:
            raise ValueError(f"take() wants a number of bytes, which cannot be {n}")
        with cython.critical_section(self):
            if n > self._size() or self._is_skipping:
                return None
            return self._take_raw(n)

    def rest(self) -> bytes:
        """All that waits, as it came, which then waits no more: for a change of protocol.

        The next input begins a line, also where an over-long one was being dropped.
        """
        with cython.critical_section(self):
            if self._is_skipping:
                self.dropped += len(self._begun)
                self._is_skipping = False
                self._begin()
            return self._take_raw(self._size())

    def clear(self) -> None:
        """Forget all that waits, the end of the input, and the place that ``get_buffer`` gave.

        ``dropped`` stays as it is.
        """
        with cython.critical_section(self):
            self._begin()
            self._ahead = self._room = None
            self._ahead_at = self._ahead_size = 0
            self._is_skipping = self._is_over = False

    def __len__(self) -> int:
        """How many bytes wait."""
        with cython.critical_section(self):
            return self._size()

    def __bool__(self) -> bool:
        """True: an empty buffer is one, too."""
        return True

    def __reduce__(self) -> Any:
        raise TypeError("a LineBuffer cannot be copied or pickled")

    # How it works.

    def _begin(self) -> None:
        """No line is begun."""
        self._begun = bytearray()
        self._held = b""

    def _size(self) -> int:
        """How many bytes wait, also where a subclass has a length of its own."""
        return len(self._begun) + self._ahead_size

    def _take_raw(self, size: int) -> bytes:
        """The next *size* bytes, of those that wait."""
        begun = bytes(self._begun)
        if begun:
            self._begin()
            self._put_back(begun, 0)
        pieces = []
        while size:
            data, at = self._next_ahead()
            if len(data) - at > size:
                self._put_back(data, at + size)
            pieces.append(data[at : at + size])
            size -= len(pieces[-1])
        return b"".join(pieces)

    def _put_back(self, data: bytes, at: int) -> None:
        """``data[at:]`` is the next input."""
        if at >= len(data):
            return
        if at > len(data) - at:  # so that what waits keeps at most as much again alive
            data, at = data[at:], 0
        if self._ahead is None:
            self._ahead = deque()
        self._ahead.appendleft(data)  # before what is whole: nobody puts back two beginnings
        self._ahead_at = at
        self._ahead_size += len(data) - at

    def _put_behind(self, data: bytes) -> None:
        """*data* is the last input."""
        if self._ahead is None:
            self._ahead = deque()
        self._ahead_size += len(data)
        if self._ahead and len(data) < SMALL and len(self._ahead[-1]) < SMALL:
            data = self._ahead.pop() + data
        self._ahead.append(data)

    def _next_ahead(self) -> tuple[bytes, int]:
        """The next piece of input, which waits no more, and where in it that begins."""
        data, at = self._ahead.popleft(), self._ahead_at
        self._ahead_at = 0
        self._ahead_size -= len(data) - at
        return data, at

    def _take_ahead(self, lines: list[bytes], count: int) -> None:
        while self._ahead_size and len(lines) < count:
            data, at = self._next_ahead()
            self._take(data, at, lines, count)

    def _take(self, data: bytes, start: int, lines: list[bytes], count: int) -> None:
        """Append the lines that end in ``data[start:]`` to *lines*, until it has *count*."""
        if self._begun:
            start = self._go_on(data, start, lines, count)
            if start < 0:
                return
        while True:
            most = count - len(lines)
            if self._single is not None:
                end = cut_lines(
                    data, start, self._single, self._longest, most, self._keepends, lines
                )
            else:
                end = cut_lines_of_several(
                    data, start, self._several, self._longest, most, self._keepends, lines
                )
            if end >= 0:
                break
            start = self._refuse(data, ~end, lines, count)
        if len(lines) < count:
            self._keep(data, end, lines, count)
        else:
            self._put_back(data, end)

    def _find(self, data: bytes, start: int) -> tuple[int, int]:
        """Where a line ends in ``data[start:]``, and where the next begins; -1 where none ends."""
        if self._single is not None:
            index = find_terminator(data, self._single, start)
            return index, index + len(self._single) if index >= 0 else -1
        found = find_first_terminator(data, self._several, start)
        if found is None:
            return -1, -1
        return found[0], found[0] + len(found[1])

    def _go_on(self, data: bytes, start: int, lines: list[bytes], count: int) -> int:
        """End the begun line with ``data[start:]``; returns where the next begins, or -1."""
        held = len(self._held)
        index = behind = -1
        if held:  # a delimiter that begins there ends in the bytes of one
            seam = self._held + data[start : start + self._longest_delimiter - 1]
            index, behind = self._find(seam, 0)
            if behind >= 0:
                index += start - held  # before *start*, if it begins in what was there
                behind += start - held
        if behind < 0:
            index, behind = self._find(data, start)
        if behind < 0:
            self._add(data, start, lines, count)
            return -1
        size = len(self._begun) + index - start
        if self._is_skipping:
            self.dropped += size
            self._is_skipping = False
        elif size <= self._longest:
            lines.append(join_begun(self._begun, data, start, behind if self._keepends else index))
        elif self._mode == SPLIT:
            self._take_joined(data, start, lines, count)
            return -1
        else:
            self.dropped += size
            if self._mode == RAISE:
                prefix = bytes(self._begun[:PREFIX]) + data[start : start + PREFIX]
                self._begin()
                self._put_back(data, behind)
                raise LineTooLong(lines, prefix[: min(size, PREFIX)], size, self._longest)
        self._begin()
        return behind

    def _take_joined(self, data: bytes, start: int, lines: list[bytes], count: int) -> None:
        """Take the begun line and ``data[start:]`` as one piece, to be split."""
        joined = join_begun(self._begun, data, start, len(data))
        self._begin()
        self._take(joined, 0, lines, count)

    def _refuse(self, data: bytes, start: int, lines: list[bytes], count: int) -> int:
        """A line that is too long begins at *start*: where to go on, behind it, or in it."""
        end, behind = self._find(data, start + self._longest)
        if self._mode == SPLIT:
            while end - start > self._longest and len(lines) < count:
                lines.append(data[start : start + self._longest])
                start += self._longest
            return start
        self.dropped += end - start
        if self._mode == RAISE:
            self._put_back(data, behind)
            prefix = data[start : min(end, start + PREFIX)]
            raise LineTooLong(lines, prefix, end - start, self._longest)
        return behind

    def _keep(self, data: bytes, start: int, lines: list[bytes], count: int) -> None:
        """``data[start:]``, in which no line ends, begins one."""
        size = len(data) - start
        if size > self._longest:
            certain = size - held_back(data, start, self._several)
            if self._mode == SPLIT:
                while certain > self._longest:
                    if len(lines) >= count:
                        self._put_back(data, start)
                        return
                    lines.append(data[start : start + self._longest])
                    start += self._longest
                    certain -= self._longest
            elif certain > self._longest:
                self._begun = bytearray(data[start + certain :])
                self._held = data[start + certain :]
                self._give_up(data[start : start + PREFIX], lines, certain)
                return
        if start < len(data):
            self._begun += data[start:]
            self._hold()

    def _add(self, data: bytes, start: int, lines: list[bytes], count: int) -> None:
        """``data[start:]``, in which no line ends, goes on with the begun one."""
        if self._is_skipping:
            size = len(self._begun) + len(data) - start
            room = self._longest_delimiter - 1
            self._begun += data[max(start, len(data) - room) :]
            self._hold()
            self._begun = bytearray(self._held)
            self.dropped += size - len(self._held)
            return
        self._begun += data[start:] if start else data
        self._hold()
        certain = len(self._begun) - len(self._held)
        if certain <= self._longest:
            return
        if self._mode == SPLIT:
            self._take_joined(b"", 0, lines, count)
            return
        prefix = bytes(self._begun[:PREFIX])
        self._begun = bytearray(self._held)
        self._give_up(prefix, lines, certain)

    def _give_up(self, prefix: bytes, lines: list[bytes], size: int) -> None:
        """Drop the begun line, of which *size* bytes were seen, up to its delimiter.

        *prefix* may go on behind these.
        """
        dropped = self.dropped
        self.dropped += size
        self._is_skipping = True
        while self._is_skipping and self._ahead_size:  # so that no input that waits belongs to it
            data, at = self._next_ahead()
            prefix += data[at : at + PREFIX - len(prefix)]
            self._skip(data, at)
        if self._mode == RAISE:
            size = self.dropped - dropped
            raise LineTooLong(lines, prefix[:size], size, self._longest)

    def _skip(self, data: bytes, start: int) -> None:
        """``data[start:]`` goes on with a line that is dropped; what is behind it waits."""
        behind = self._go_on(data, start, [], 0)
        if behind >= 0:
            self._put_back(data, behind)

    def _hold(self) -> None:
        """Find the bytes at the end of the begun line that may begin a delimiter."""
        room = self._longest_delimiter - 1
        if not room:
            return
        tail = bytes(self._begun[-room:])
        held = held_back(tail, 0, self._several)
        self._held = tail[len(tail) - held :]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bytes_of(data: Any) -> bytes:
    if isinstance(data, str):
        raise TypeError("feed() takes bytes, not str: use .encode()")
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"feed() takes bytes or the like, not {type(data).__name__}") from None


def _count_of(most: Any) -> int:
    if not _is_number(most):
        raise TypeError(f"most must be an int, not {type(most).__name__}")
    if most < 0:
        raise ValueError(f"most must not be negative, but is {most}")
    count: int = min(most, UNLIMITED)
    return count


def _checked(delimiter: Any) -> tuple[bytes | None, tuple[bytes, ...]]:
    """*delimiter* if it is one, else None, and as a tuple."""
    if isinstance(delimiter, bytes):
        if not delimiter:
            raise ValueError("the delimiter is empty; it must have at least one byte")
        single = bytes(memoryview(delimiter))
        return single, (single,)
    if not isinstance(delimiter, tuple):
        hint = ": use .encode()" if isinstance(delimiter, str) else ""
        raise TypeError(
            f"a delimiter must be bytes or a tuple of bytes, not {type(delimiter).__name__}{hint}"
        )
    several = check_terminators(delimiter)
    if len(set(several)) < len(several):
        raise ValueError(f"one of the delimiters {several!r} is there twice")
    return (several[0], several) if len(several) == 1 else (None, several)


def join_lines(lines: Iterable[_Data], delimiter: bytes = b"\n") -> bytes:
    """The *lines*, each with *delimiter* behind it, as one bytes object.

    Raises ValueError where a line has the delimiter inside, so that who receives it would see
    another line: what a peer has sent may be in it.  Raises TypeError where *lines* is bytes, or a
    line is not bytes-like (``str`` wants ``.encode()``), or *delimiter* not bytes; ValueError where
    that is empty.
    """
    if not isinstance(delimiter, bytes):
        raise TypeError(f"the delimiter must be bytes, not {type(delimiter).__name__}")
    if not delimiter:
        raise ValueError("the delimiter is empty; it must have at least one byte")
    if isinstance(lines, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"join_lines() takes a list of lines, not {type(lines).__name__}")
    some = list(lines)  # its own, so that no other thread changes it meanwhile
    if not some:
        return b""
    return join_checked(some, bytes(memoryview(delimiter)))
