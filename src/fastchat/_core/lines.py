# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""Lines from bytes that come in pieces: bounded, exact, and no input or output of its own.

What is *begun* is a line whose delimiter has not come, or that is dropped up to its delimiter: the
bytes that are known to be its own, and those held behind them, which may begin a delimiter.

Rules this file keeps:

* The lines do not depend on how the input was split.  A line ends at the match of a delimiter that
  ends first; of those that end at one byte the longest counts.  Nothing waits for a byte that may
  never come: with ``(b"\\r", b"\\r\\n")`` a CR ends the line, and the LF behind it the next one,
  which is empty.
* ``max_line`` bounds each line, without its delimiter, and never a read that holds many.  Bytes at
  the end of the input that may begin a delimiter are not counted before it is known.
* What was cut off from an over-long line is never joined to what follows its delimiter.
* Work is linear in the bytes.  Each is searched once, and copied once while its line waits: what is
  begun is a BytesIO as soon as it is long, which gives its bytes away without a copy.
* What is begun has never more than ``max_line`` bytes: they are counted before they are added.
* What waits behind over-long lines is bounded, too: a program that does not have it cut is told.
* A call that raises what it is said to raise leaves a buffer that goes on, and has lost nothing but
  what it says.  One that a signal handler interrupts by an exception has taken its input and cut
  nothing, or done nothing, or all: what changes the state is put back, or stands in lines that call
  nothing.  So it is where memory is short, but for a long line that cannot grow, which is lost.
* ``cut_lines`` and its kind, in the scanner, have no state; all the rest is here.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from fastchat._core.line_rules import (
    BACKLOG,
    MEMBERS,
    PREFIX,
    UNLIMITED,
    Data,
    LineTooLong,
    Signature,
    backlog_error,
    bytes_of,
    cannot_fill,
    check_delimiter,
    check_joining,
    count_of,
    limit_of,
    number_of,
    uncut_error,
)

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._scanner_py import (
        cut_lines,
        cut_lines_of_several,
        find_line_end,
        held_back,
        join_begun,
        join_checked,
    )

# What ``get_buffer`` gives where it is asked for nothing else, in bytes, and at most.
ROOM = 65536
MOST_ROOM = 1 << 20
# Of how many bytes on a piece of input that waits is its own object, which has some 40 bytes
# besides, and a line that is begun a BytesIO.
SMALL = 512

RAISE, DISCARD, SPLIT = 0, 1, 2
_MODES = {"raise": RAISE, "discard": DISCARD, "split": SPLIT}


class LineBuffer:
    """Cuts bytes into lines.

    *delimiter* is what ends a line: bytes, or a tuple of bytes, of which the match that ends first
    counts.  A line has at most *max_line* bytes, the delimiter not counted.  With *keepends* a line
    has its delimiter.  *overflow* says what becomes of a longer line: ``"raise"`` raises
    LineTooLong, once, and drops it; ``"discard"`` drops it; ``"split"`` makes it lines of
    *max_line* bytes and a last one of what is left.

    ``dropped`` is how many bytes of over-long lines were dropped so far.

    Raises TypeError where *delimiter* is no bytes and no tuple of bytes, or *max_line* no int;
    ValueError where a delimiter is empty or there twice, *max_line* is less than 1, or *overflow*
    none of the three.

    A buffer belongs to one thread at a time.  Two that feed it at once crash nothing, and get lines
    that are no lines.
    """

    if not cython.compiled:
        __slots__ = MEMBERS

    __signature__ = Signature()  # type: Signature  # Cython takes no annotation here

    def __init__(
        self,
        delimiter: bytes | tuple[bytes, ...] = b"\n",
        *,
        max_line: int = 16 * 2**20,
        keepends: bool = False,
        overflow: Literal["raise", "discard", "split"] = "raise",
    ) -> None:
        if overflow not in tuple(_MODES):  # which may be of a type that has no hash
            raise ValueError(f"overflow is {overflow!r}; it can be 'raise', 'discard' or 'split'")
        single, several = check_delimiter(delimiter)
        longest, is_kept = limit_of(max_line), bool(keepends)
        # What is begun: the first _size bytes of _begun, bytes or a BytesIO, which has room for
        # _reserved; what is held; and whether it is dropped.
        self._begun: Any = b""
        self._held = b""
        self._reserved = self._size = 0
        self._is_skipping = self._has_ended = False
        # What waits uncut: pieces, of which some may be cut already, where it begins, its bytes,
        # and those of all pieces.  While a line is dropped there is none.
        self._ahead: list[bytes] = []
        self._ahead_first = self._ahead_at = self._ahead_size = self._ahead_alive = 0
        # The most of that, in bytes, behind which more may be fed that is to be cut.
        self._most_ahead = UNLIMITED
        self._room: Any = None
        # How an over-long line begins that is to be raised, and its bytes so far.
        self._prefix: bytes | None = None
        self._too_long_size = 0
        self._dropped: int = 0
        self._mode = _MODES[overflow]
        self._keepends = is_kept
        self._single, self._several, self._longest = single, several, longest
        self._longest_delimiter = max(map(len, several))

    # Settings.

    @property
    def delimiter(self) -> bytes | tuple[bytes, ...]:
        """What ends a line.  A new one counts from the begun line on, which is searched anew."""
        with cython.critical_section(self):
            return self._several if self._single is None else self._single

    @delimiter.setter
    def delimiter(self, delimiter: bytes | tuple[bytes, ...]) -> None:
        single, several = check_delimiter(delimiter)
        longest = max(map(len, several))
        with cython.critical_section(self):
            if several == self._several:
                return
            if not self._is_skipping:
                self._take_back()
            held = self._held  # of a line that is dropped
            end, behind = find_line_end(held, 0, len(held), several)
            is_over = behind >= 0
            if not is_over:
                end = behind = len(held) - held_back(held, 0, several)
            rest, dropped = held[behind:], self._dropped + end
            size = len(rest)
            self._single, self._several, self._longest_delimiter = single, several, longest
            if self._is_skipping:
                self._dropped = dropped
                self._held = rest
                if is_over:
                    self._is_skipping, self._held, self._ahead = False, b"", [rest]
                    self._ahead_first = self._ahead_at = 0
                    self._ahead_size = self._ahead_alive = size

    @property
    def max_line(self) -> int:
        """The most bytes that a line may have, its delimiter not counted."""
        with cython.critical_section(self):
            return self._longest

    @max_line.setter
    def max_line(self, max_line: int) -> None:
        longest = limit_of(max_line)
        with cython.critical_section(self):
            if self._size > longest:
                self._take_back()
            self._longest = longest

    @property
    def dropped(self) -> int:
        """How many bytes of over-long lines were dropped so far."""
        with cython.critical_section(self):
            return self._dropped

    def _share(self, other: LineBuffer) -> None:
        """Have the tuple of *other*, whose delimiters are the same: idle buffers are many."""
        self._several = other._several

    # Input.

    def feed(self, data: Data, most: int | None = None) -> list[bytes]:
        """Take *data*, bytes or the like, and return the lines that are complete.

        At most *most* lines, where it is given: the others wait, and come with the next call, which
        may be ``feed(b"")``; ``feed(data, 0)`` adds to what waits for ``take()``.  A line whose
        delimiter is still to come waits, too.

        Raises LineTooLong for an over-long line, once; what was fed behind it comes with the next
        call.  So a program that goes on calls ``feed(b"")`` until none is raised, as shown there.
        Raises TypeError where *data* is not bytes-like or *most* no int, and ValueError where
        *most* is negative, after ``feed_eof()``, or where a program has fed on without that until
        1 MiB more waits than the first over-long line has left; nothing is taken then.
        """
        if type(data) is not bytes:
            data = bytes_of(data)
        count = UNLIMITED if most is None else count_of(most)
        if not cython.compiled:  # there the section below locks nothing, and takes its time
            return self._feed(data, count)
        with cython.critical_section(self):  # compiled only
            return self._feed(data, count)

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where the next input can be written to, as ``asyncio.BufferedProtocol`` wants it.

        It has 65,536 bytes, or *sizehint* where that is more, up to 1 MiB, which the buffer keeps
        until ``clear()``.
        """
        wanted = min(max(number_of(sizehint, "sizehint must be an int, not"), ROOM), MOST_ROOM)
        with cython.critical_section(self):
            if self._room is None or len(self._room) < wanted:
                self._room = bytearray(wanted)
            return memoryview(self._room)  # a new one each time: who has it may release it

    def buffer_updated(self, nbytes: int, most: int | None = None) -> list[bytes]:
        """Take the first *nbytes* of what ``get_buffer()`` gave, as ``feed()`` does.

        Raises what that raises, and ValueError where there are not so many.
        """
        size = number_of(nbytes, "nbytes must be an int, not")
        with cython.critical_section(self):
            room = self._room
        have = 0 if room is None else len(room)
        if room is None or not 0 <= size <= have:
            raise cannot_fill(have, size)
        return self.feed(bytes(memoryview(room)[:size]), most)

    def feed_eof(self) -> bytes | None:
        """The input has ended: return the line that has no delimiter, None where there is none.

        Raises ValueError where input waits that was not cut yet, because ``feed()`` has raised or
        got a *most*, or because ``take()``, a new delimiter or a lower ``max_line`` came behind it:
        ``feed(b"")`` cuts it, and ``rest()`` returns what is no line, but part of a body.  Raises
        LineTooLong where the last bytes, which might have begun a delimiter, make the line too
        long; it is dropped then, as with ``"discard"``, and with ``"split"`` returned whole.
        """
        with cython.critical_section(self):
            if self._ahead_size:
                raise uncut_error(self._ahead_size)
            line = self._begun_with(self._held, 0, len(self._held))
            size, was_skipping = len(line), self._is_skipping
            is_too_long = size > self._longest and self._mode != SPLIT
            if is_dropped := was_skipping or is_too_long:
                self._dropped += size
            self._begun = self._held = b""
            self._reserved = self._size = 0
            self._is_skipping, self._has_ended = False, True
            if is_too_long and not was_skipping and self._mode == RAISE:
                raise LineTooLong([], line[:PREFIX], size, self._longest)
            return line if size and not is_dropped else None

    # Input that is no line.

    def take(self, n: int) -> bytes | None:
        """The next *n* bytes as they came, once that many wait; None, and nothing taken, before.

        For a body whose length a line has told: ``feed(data, 1)`` leaves it waiting, and
        ``feed(data, 0)`` adds to it.  While an over-long line is dropped, up to its delimiter, it
        is None.  What is taken of a begun line copies that, and what is left is searched anew.
        Raises TypeError unless *n* is an int, ValueError where it is negative.
        """
        size = number_of(n, "take() wants an int, not")
        if size < 0:
            raise ValueError(f"take() wants a number of bytes, which cannot be {size}")
        with cython.critical_section(self):
            if self._is_skipping or size > self._waiting():
                return None
            return self._take_raw(size) if size else b""

    def rest(self) -> bytes:
        """All that waits, as it came, which then waits no more: for a change of protocol.

        The next input begins a line, also where an over-long one was being dropped.
        """
        with cython.critical_section(self):
            if not self._is_skipping:
                return self._take_raw(self._waiting())
            dropped = self._dropped + len(self._held)
            self._dropped, self._is_skipping, self._held = dropped, False, b""
            return b""

    def clear(self) -> None:
        """Forget all that waits, the end of the input, and the place that ``get_buffer`` gave.

        ``dropped`` stays as it is.  The next input begins a line, as behind ``rest()``.
        """
        with cython.critical_section(self):
            self._begun = self._held = b""
            self._room = None
            self._ahead = []
            self._reserved = self._size = 0
            self._ahead_first = self._ahead_at = self._ahead_size = self._ahead_alive = 0
            self._is_skipping = self._has_ended = False

    def __len__(self) -> int:
        """How many bytes wait."""
        with cython.critical_section(self):
            return self._waiting()

    def __bool__(self) -> bool:
        """True: an empty buffer is one, too."""
        return True

    def __reduce__(self) -> Any:
        raise TypeError("a LineBuffer cannot be copied or pickled")

    # How it works.

    def _waiting(self) -> int:
        """How many bytes wait, also where a subclass has a length of its own."""
        return self._size + len(self._held) + self._ahead_size

    def _feed(self, data: bytes, count: int) -> list[bytes]:
        if self._has_ended:
            raise ValueError("feed() after feed_eof(): clear() makes the buffer a new one")
        lines: list[bytes] = []
        if self._ahead_size and data:
            if self._ahead_size > self._most_ahead and count == UNLIMITED:
                raise backlog_error(self._ahead_size)
            self._put_behind(data)
        else:
            self._most_ahead = UNLIMITED
        begun, reserved = self._begun, self._reserved
        size, held, is_skipping = self._size, self._held, self._is_skipping
        ahead, first, at = self._ahead, self._ahead_first, self._ahead_at
        waiting, alive, dropped = self._ahead_size, self._ahead_alive, self._dropped
        try:
            if waiting:
                self._cut_ahead(lines, count)
            else:
                end = self._cut(data, 0, lines, count)
                if end < len(data):
                    self._ahead_alive = len(data)
                    self._leave([data], 0, end, len(data) - end)
            prefix, self._prefix = self._prefix, None
        except BaseException:
            self._begun, self._reserved = begun, reserved
            self._size, self._held, self._is_skipping = size, held, is_skipping
            self._ahead, self._ahead_first, self._ahead_at = ahead, first, at
            self._ahead_size, self._ahead_alive, self._dropped = waiting, alive, dropped
            self._prefix = None
            raise
        if prefix is None:
            self._most_ahead = UNLIMITED
            return lines
        if self._most_ahead == UNLIMITED:
            self._most_ahead = self._ahead_size + BACKLOG
        raise LineTooLong(lines, prefix, self._too_long_size, self._longest, self._ahead_size)

    # Input that waits uncut.

    def _put_behind(self, data: bytes) -> None:
        """*data* is the last input."""
        size, last = len(data), self._ahead[-1]
        if size > UNLIMITED - self._ahead_alive:  # of pieces that are one object, in 32 bits
            raise MemoryError("more bytes wait than can be counted")
        if size < SMALL and len(last) < SMALL:
            self._ahead[-1] = last + data
        else:
            self._ahead += [data]
        self._ahead_size += size
        self._ahead_alive += size

    def _put_first(self, data: bytes) -> None:
        """Let *data* be the next input, before all that waits; a line that is dropped has ended.

        What a hook gives back was cut there as a rule, so this costs what *data* has, and not what
        waits behind it.
        """
        if self._is_skipping:
            self.rest()
        self._take_back()
        size, at = len(data), self._ahead_at
        piece = self._ahead[self._ahead_first] if self._ahead_size else b""
        if size <= at and piece[at - size : at] == data:
            self._ahead_at = at - size
            self._ahead_size += size
            return
        ahead = self._ahead[self._ahead_first + 1 :] if self._ahead_size else []
        begin = piece[at:]
        if size + len(begin) < SMALL:
            ahead.insert(0, data + begin)
        else:
            ahead[:0] = [data, begin] if begin else [data]
        self._ahead, self._ahead_first, self._ahead_at = ahead, 0, 0
        self._ahead_size += size
        self._ahead_alive = self._ahead_size

    def _cut_ahead(self, lines: list[bytes], count: int) -> None:
        """Cut what waits, also beyond *count* where it belongs to a line that is dropped."""
        first, at, size = self._ahead_first, self._ahead_at, self._ahead_size
        while size and (self._is_skipping or (len(lines) < count and self._prefix is None)):
            data = self._ahead[first]
            end = self._cut(data, at, lines, count)
            size -= end - at
            if end == len(data):
                first += 1
                end = 0
            at = end
        self._leave(self._ahead, first, at, size)

    def _leave(self, ahead: list[bytes], first: int, at: int, size: int) -> None:
        """What waits is *size* bytes of *ahead*, from *at* of the piece *first* on."""
        alive = self._ahead_alive
        if 2 * size < alive:  # so that what waits keeps at most as much again alive
            ahead = ahead[first:] if size else []
            if at:
                ahead[0] = ahead[0][at:]
            first = at = 0
            alive = size
        self._ahead, self._ahead_first, self._ahead_at = ahead, first, at
        self._ahead_size, self._ahead_alive = size, alive

    def _take_raw(self, size: int) -> bytes:
        """The next *size* bytes, of those that wait."""
        self._take_back()
        first, at, left = self._ahead_first, self._ahead_at, size
        pieces = []
        while left:
            data = self._ahead[first]
            pieces.append(data[at : at + left])
            left -= len(pieces[-1])
            at += len(pieces[-1])
            if at == len(data):
                first += 1
                at = 0
        taken = b"".join(pieces)
        self._leave(self._ahead, first, at, self._ahead_size - size)
        return taken

    def _take_back(self) -> None:
        """Let what is begun be input that waits."""
        whole = self._begun_with(self._held, 0, len(self._held))
        size = len(whole)
        if not size:
            return
        # Of what waits behind it nothing was cut yet, not even a part of its first piece.
        self._ahead = [whole, *self._ahead[self._ahead_first :]]
        self._ahead_size += size
        self._ahead_alive = self._ahead_size
        self._ahead_first = 0
        self._begun = self._held = b""
        self._reserved = self._size = 0

    # The begun line.

    def _forget_begun(self) -> None:
        """No line is begun."""
        self._begun = b""
        self._reserved = self._size = 0

    def _begun_with(self, data: bytes, start: int, end: int) -> bytes:
        """What is begun, and ``data[start:end]``: a line, if it is one."""
        if isinstance(self._begun, bytes):
            return join_begun(self._begun, data, start, end) if self._size else data[start:end]
        self._write(data, start, end)
        self._begun.truncate()
        line: bytes = self._begun.getvalue()
        return line

    def _extend(self, data: bytes, start: int, end: int) -> None:
        """``data[start:end]`` goes on with what is begun."""
        size = self._size + end - start
        if not self._size:
            self._begun = data[start:end]
        elif size <= SMALL:  # never again, once it is a BytesIO
            self._begun = join_begun(self._begun, data, start, end)
        else:
            if isinstance(self._begun, bytes):
                self._begun = BytesIO(self._begun)
            self._write(data, start, end)
        self._size = size

    def _write(self, data: bytes, start: int, end: int) -> None:
        """Write ``data[start:end]`` behind what is begun, of which it is no part yet."""
        size, most = self._size + end - start, self._longest + self._longest_delimiter
        if self._reserved < size and size > most - most // 4:
            # By itself it would make room for an eighth more than the longest line has.
            self._begun.seek(most - 1)
            self._begun.write(b"\0")
            self._reserved = most
        self._begun.seek(self._size)
        self._begun.write(data if end - start == len(data) else memoryview(data)[start:end])

    # Cutting.

    def _cut(self, data: bytes, start: int, lines: list[bytes], count: int) -> int:
        """Append the lines that end in ``data[start:]`` to *lines*, until it has *count*.

        Returns where it stopped: at the end of *data*, or behind the last of these lines, or behind
        one that is to be raised.
        """
        size = len(data)
        while start < size:
            if self._is_skipping:
                start = self._continue_line(data, start, start, lines)
            elif len(lines) >= count or self._prefix is not None:
                break
            elif self._size or self._held:
                start = self._continue_line(data, start, start, lines)
            else:
                most = count - len(lines)
                if self._single is not None:
                    end = cut_lines(
                        data, start, self._single, self._longest, most, self._keepends, lines
                    )
                else:
                    end = cut_lines_of_several(
                        data, start, self._several, self._longest, most, self._keepends, lines
                    )
                if end < 0:  # no end in so many bytes
                    start = self._continue_line(data, ~end, ~end + self._longest, lines)
                elif len(lines) < count and end < size:
                    start = self._continue_line(data, end, size, lines)
                else:
                    start = end
        return start

    def _continue_line(self, data: bytes, start: int, searched: int, lines: list[bytes]) -> int:
        """Take what ``data[start:]`` has of one line, which may be begun; returns what is behind.

        Up to *searched* no delimiter is that could end it.
        """
        held = len(self._held)
        end, behind = self._end_of(data, start, searched)
        kept = self._may_begin(data, start) if behind < 0 and self._longest_delimiter > 1 else b""
        if behind < 0:
            end = len(data) - len(kept)
        is_too_long = self._size + held + end - start > self._longest
        if is_too_long and self._mode == SPLIT:
            return self._split(data, start, lines)
        if self._is_skipping or is_too_long:
            self._drop(data, start, end)
            self._is_skipping = behind < 0
        else:
            if behind >= 0 and self._keepends:
                end = behind
            if held:
                self._extend(self._held, 0, min(held, held + end - start))
                end = max(start, end)
            if behind < 0:
                self._extend(data, start, end)
            else:
                lines.append(self._begun_with(data, start, end))
                self._forget_begun()
        self._held = kept
        return len(data) if behind < 0 else behind

    def _end_of(self, data: bytes, start: int, searched: int) -> tuple[int, int]:
        """Where the line that ``data[start:]`` continues ends, and its delimiter; or -1 and -1.

        It ends before *start* where its delimiter begins in what is held.
        """
        held, size = len(self._held), len(data)
        if held:  # a delimiter that begins there ends in the bytes of one
            seam = self._held + data[start : start + self._longest_delimiter - 1]
            end, behind = find_line_end(seam, 0, len(seam), self._several)
            if behind >= 0:
                return end + start - held, behind + start - held
        if self._mode == SPLIT:  # what ends farther away makes the line too long
            room = self._longest - self._size + self._longest_delimiter
            if room < size - start:
                size = start + room
        return find_line_end(data, searched, size, self._several)

    def _goes_on(self, data: bytes) -> bool:
        """Whether no line ends in *data*, and nothing waits before it but a line that is begun."""
        return not self._ahead_size and self._end_of(data, 0, 0)[1] < 0

    def _may_begin(self, data: bytes, start: int) -> bytes:
        """The bytes at the end of what is begun and ``data[start:]`` that may begin a delimiter."""
        room = self._longest_delimiter - 1
        tail = data[max(start, len(data) - room) :]
        if len(tail) < room:
            tail = (self._held + tail)[-room:]
        return tail[len(tail) - held_back(tail, 0, self._several) :]

    def _split(self, data: bytes, start: int, lines: list[bytes]) -> int:
        """Make a line of the first ``max_line`` bytes of a longer one; returns what is behind."""
        held, room = self._held, self._longest - self._size
        size = min(room, len(held))
        self._extend(held, 0, size)
        behind = start + room - size
        lines.append(self._begun_with(data, start, behind))
        self._forget_begun()
        self._held = held[size:]
        return behind

    def _drop(self, data: bytes, start: int, end: int) -> None:
        """Drop what is begun, and ``data[start:end]``, of an over-long line."""
        size = len(self._held) + end - start
        prefix = self._prefix
        if not self._is_skipping and self._mode == RAISE:
            begun = self._begun if isinstance(self._begun, bytes) else self._begun.getvalue()
            prefix = begun[: min(self._size, PREFIX)]
            self._too_long_size = 0
        size += self._size
        self._dropped += size
        if prefix is not None:
            self._too_long_size += size
            prefix += self._held + data[start : start + PREFIX]
            self._prefix = prefix[: min(self._too_long_size, PREFIX)]
        self._forget_begun()


def join_lines(lines: Iterable[Data], delimiter: bytes = b"\n") -> bytes:
    """The *lines*, each with *delimiter* behind it, as one bytes object.

    Raises ValueError where a line has the delimiter inside, so that who receives it would see
    another line: what a peer has sent may be in it.  A bare CR or LF passes where *delimiter* is
    CRLF; a receiver may end a line there, too.  Raises TypeError where *lines* is bytes, or a
    line is not bytes-like (``str`` wants ``.encode()``), or *delimiter* not bytes; ValueError where
    that is empty.
    """
    some, plain = check_joining(lines, delimiter)
    return join_checked(some, plain) if some else b""
