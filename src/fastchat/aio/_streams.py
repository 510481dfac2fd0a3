"""``LineReader`` and ``LineWriter``: lines for coroutines, from and to whatever reads and writes.

Rules this file keeps:

* A reader waits in nothing but its source's ``read()``, and has no line of its own in hand then: a
  cancellation loses none, unless it loses bytes of the source.
* Lines come in their order, and an error behind those that stand before it.  Each error comes once,
  and whoever goes on reading gets what is behind it.
* It reads no more before all lines of the last read are taken: who does not take them stops the
  source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal, Protocol

from fastchat import LineBuffer, LineTooLong, join_lines
from fastchat._core.line_rules import Data, check_one, check_several

# How many bytes one read asks for, and how many bytes of lines from an iterator leave at once.
SIZE = 65536


class Source(Protocol):
    """What lines can be read from: an ``asyncio.StreamReader``, or what is like one."""

    async def read(self, n: int, /) -> bytes:
        """The next bytes, about *n* of them; ``b""`` at the end."""
        ...


class Sink(Protocol):
    """What lines can be written to: an ``asyncio.StreamWriter``, or what is like one."""

    @property
    def transport(self) -> Any: ...
    def write(self, data: bytes, /) -> Any: ...
    async def drain(self) -> Any: ...
    def write_eof(self) -> Any: ...
    def get_extra_info(self, name: str, default: Any = None, /) -> Any: ...
    def close(self) -> Any: ...
    async def wait_closed(self) -> Any: ...


class LineReader:
    """The lines of *source*, which is an ``asyncio.StreamReader`` or has a ``read()`` like it.

    ``async for line in reader`` gives one at a time, ``async for lines in reader.batches()`` those
    of one read, and ``line()`` the next.  The other arguments are those of ``fastchat.LineBuffer``,
    and so is what is raised for a wrong one.

    All raise LineTooLong once for a line that is too long, behind the lines before it, so that its
    own ``lines`` is empty; what is read next is behind that line.  A loop ends by it, and another
    one goes on.  The last line comes also without a delimiter; ``is_terminated`` tells.

    One task at a time reads.
    """

    def __init__(
        self,
        source: Source,
        *,
        delimiter: bytes | tuple[bytes, ...] = b"\n",
        max_line: int = 16 * 2**20,
        keepends: bool = False,
        overflow: Literal["raise", "discard", "split"] = "raise",
    ) -> None:
        self._source = source
        self._closer: object = None  # of a connection, which is there as long as this is
        self._buffer = LineBuffer(
            delimiter, max_line=max_line, keepends=keepends, overflow=overflow
        )
        self._lines: deque[bytes] = deque()
        self._failure: LineTooLong | None = None
        self._is_cut = True
        self._has_ended = False
        # Whether the last line had a delimiter; False once one came that had none.
        self.is_terminated: bool = True

    async def line(self) -> bytes | None:
        """The next line; None at the end.  Raises LineTooLong, and what the source's read does."""
        if not self._lines:
            await self._fill()
        return self._lines.popleft() if self._lines else None

    def batches(self) -> AsyncIterator[list[bytes]]:
        """Iterate over lists of lines, never empty: those that wait, or else those of a read."""
        return _Batches(self)

    def close(self) -> None:
        """Close what the lines come from, if that can be done; a StreamReader has no such method.

        Of a connection the writer is closed, too.  A line that has begun then is dropped.
        """
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def __aiter__(self) -> LineReader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.line()
        if line is None:
            raise StopAsyncIteration
        return line

    async def _batch(self) -> list[bytes]:
        """All lines that wait; none at the end."""
        if not self._lines:
            await self._fill()
        lines = list(self._lines)
        self._lines.clear()
        return lines

    async def _fill(self) -> None:
        """Read until there is a line, or the end.  Raises what waits to be raised."""
        while not self._lines:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            if self._has_ended:
                return
            # What is behind a line that is too long waits to be cut.
            data = await self._source.read(SIZE) if self._is_cut else b""
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Cut *data*; where it is empty, what waits to be cut, or else it is the end."""
        is_end = self._is_cut and not data
        try:
            if is_end:
                self._has_ended = True
                is_cut_off = getattr(self._source, "is_cut_off", None)
                if is_cut_off is not None and is_cut_off():
                    self._buffer.clear()  # a begun line, whose end might have come
                last = self._buffer.feed_eof()
                if last is not None:
                    self._lines.append(last)
                    self.is_terminated = False
            else:
                self._is_cut = True
                self._lines.extend(self._buffer.feed(data))
        except LineTooLong as failure:
            self._lines.extend(failure.lines)
            self._failure = LineTooLong([], failure.prefix, failure.size, failure.limit)
            self._is_cut = False


class _Batches(AsyncIterator[list[bytes]]):
    """What ``batches()`` returns: unlike a generator, it goes on after an error."""

    def __init__(self, reader: LineReader) -> None:
        self._reader = reader

    async def __anext__(self) -> list[bytes]:
        lines = await self._reader._batch()
        if not lines:
            raise StopAsyncIteration
        return lines


class LineWriter:
    """Writes lines to *sink*, which is an ``asyncio.StreamWriter`` or has methods like its.

    Each line gets *delimiter* behind it, bytes that are not empty.  A write returns when the sink
    has room for more, and raises what its ``drain()`` does.
    """

    def __init__(self, sink: Sink, *, delimiter: bytes = b"\n") -> None:
        join_lines((), delimiter)  # raises for a wrong one
        self._sink = sink
        self._closer: object = None  # as LineReader has it
        self._delimiter = delimiter

    async def write_line(self, line: Data) -> None:
        """Write one line.  Raises what ``writelines()`` does."""
        check_one(line, "write_line()", "writelines()")
        await self.writelines((line,))

    async def writelines(self, lines: Iterable[Data]) -> None:
        """Write *lines*: a list or a tuple at once, any other iterable in pieces of some 64 KiB.

        Raises ValueError where a line has the delimiter inside, and TypeError where one is not
        bytes or the like (``str`` wants ``.encode()``); of that list or piece nothing is written.
        A cancelled one has written whole lines.
        """
        check_several(lines, "writelines()")
        if isinstance(lines, (list, tuple)):
            await self._write(lines)
            return
        piece, size = [], 0
        for line in lines:
            piece.append(line)
            size += len(line) + len(self._delimiter)
            if size >= SIZE:
                await self._write(piece)
                piece, size = [], 0
        if piece:
            await self._write(piece)

    async def _write(self, lines: Iterable[Data]) -> None:
        data = join_lines(lines, self._delimiter)
        if data:
            self._sink.write(data)
        await self._sink.drain()

    def write_eof(self) -> None:
        """Send no more, and read on.  Raises NotImplementedError where TLS has no such thing."""
        self._sink.write_eof()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows under *name*, such as ``"peername"``; *default* for nothing."""
        return self._sink.get_extra_info(name, default)

    def abort(self) -> None:
        """Close the sink at once; what is not sent is lost.  For a peer that takes nothing."""
        getattr(self._sink, "abort", self._sink.transport.abort)()

    def close(self) -> None:
        """Close the sink, when what was written is sent.  The reader beside it ends, too."""
        self._sink.close()

    async def wait_closed(self) -> None:
        """Wait until the sink is closed.  Raises what has ended it."""
        await self._sink.wait_closed()
